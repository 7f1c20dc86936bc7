//! What only a long run can show. Not part of the usual tests: `scripts/test long`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use recorder_core::address::AddressPolicy;
use recorder_core::ids::TargetId;
use recorder_core::live::splice::{Shows, Splice};
use recorder_core::live::{LiveState, Reason};
use recorder_core::secret::Secret;
use recorder_core::time::SessionTime;
use roomcast::clock::SessionClock;
use roomcast::programme::ring::Ring;
use roomcast::programme::slate::SlateSource;
use roomcast::rehearsal::card::PEOPLE;
use roomcast::service::usage::PeakMemory;
use roomcast::target::rtmp::{Destination, LiveEnvironment, LiveReport, LiveSettings, LiveTarget};
use serde_json::json;
use world::clip::{BYTES_PER_S, Clip};
use world::crowd::{Crowd, Joining};
use world::family::Family;
use world::film::TileRect;
use world::film::judge::Judge;
use world::livekit::LiveKit;
use world::recording::record;
use world::stand_in::{Manner, StandIn};
use world::{after, until};

const SECOND: Duration = Duration::from_secs(1);

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A server takes nothing for two minutes: the stream is tried again and again, and this machine's memory does not grow.
#[test]
fn a_destination_that_stalls_for_two_minutes_costs_no_memory() {
    let stand_in = StandIn::start(Manner::Stalls);
    let clip = Arc::new(Clip::encode());
    let (ring, clock, is_over) = (Ring::default(), SessionClock::start(), Arc::new(AtomicBool::new(false)));
    let player = clip.play(&ring, clock, &is_over);
    let policy = AddressPolicy::allowing(vec!["127.0.0.0/8".parse().unwrap()]);
    let environment = LiveEnvironment::new(policy, None).unwrap();
    let settings = LiveSettings {
        id: TargetId::new("stalls"),
        destination: Destination::new(&stand_in.address(), Secret::new("canary")).unwrap(),
        splice: Splice::new(SessionTime::ZERO, Shows::Programme),
        slate: SlateSource::default(),
        bytes_per_s: BYTES_PER_S,
        seed: 7,
    };
    let states = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&states);
    let report = move |report| {
        if let LiveReport::State(state) = report {
            into.lock().unwrap().push(state);
        }
    };
    let target = LiveTarget::start(environment, settings, ring, clock, report).unwrap();
    let begin = Instant::now();
    // The ring is full after 15 s, and the first stall is over.
    let is_at = |seconds: u32| after(begin, f64::from(seconds));
    is_at(25);
    let mut seen = vec![resident_kib()];
    for seconds in (45..=145).step_by(20) {
        is_at(seconds);
        seen.push(resident_kib());
    }
    target.end_at_once();
    until(8 * SECOND, "the end", || target.is_ended().then_some(()));
    is_over.store(true, Ordering::Relaxed);
    player.join().unwrap();
    let states = states.lock().unwrap();
    let stalls = states.iter().filter(|state| matches!(state, LiveState::Retrying { reason: Reason::Stalled, .. })).count();
    println!("memory each 20 s in KiB: {seen:?}; {stalls} stalls");
    assert!(stalls >= 5, "{states:?}");
    let (first, last) = (seen[0], *seen.last().unwrap());
    assert!(last < first + 2048, "{first} KiB, later {last} KiB");
}

/// People who stay for the whole churn.
const STAYING: usize = 4;
/// Seconds in which somebody comes or goes each second.
const CHURN_S: u64 = 120;

/// All places that a grid of 1280x720 has for four, five and six people, the four first.
fn places() -> Vec<TileRect> {
    let mut all: Vec<TileRect> = (0..4).map(|index| TileRect::in_grid(index, 2, 640, 360)).collect();
    let small = |x, y| TileRect { x, y, width: 426, height: 240 };
    all.extend(
        [(0, 120), (426, 120), (852, 120), (214, 360), (640, 360), (0, 360), (426, 360), (852, 360)].map(|(x, y)| small(x, y)),
    );
    all
}

/// Proportional memory of the product's processes, in KiB.
fn product_kib(pid: u32) -> u64 {
    let mut memory = PeakMemory::default();
    memory.sample(Family::of(pid).members.into_iter().map(|(pid, _)| pid));
    memory.bytes() / 1024
}

/// Whoever stays is shown and heard as if nobody came and went, although all tiles move each second; and nothing piles up.
#[test]
fn two_minutes_of_coming_and_going_each_second() {
    let server = LiveKit::start();
    let mut crowd = Crowd::gather(PEOPLE.len());
    crowd.join_all(&server, "room", &[0, 1, 2, 3].map(Joining::usual));
    let seconds = format!("{}s", CHURN_S + 8);
    let recording = record(&server.url(), "room", Some(&seconds));
    recording.is_under_way(3 * SECOND);
    let begin = recording.product.age();
    let (mut here, mut memory) = (VecDeque::new(), Vec::new());
    let mut newcomers = (STAYING..PEOPLE.len()).cycle();
    for second in 0..CHURN_S {
        // Four, five and six tiles: two come one after the other, then they go.
        if second % 4 < 2 {
            let person = newcomers.next().expect("endless");
            crowd.join(&server, "room", &Joining::usual(person));
            here.push_back(person);
        } else if let Some(person) = here.pop_front() {
            crowd.ask(person, "leave", json!({}));
        }
        if second % 20 == 19 {
            memory.push(product_kib(recording.product.pid()));
        }
        recording.is_under_way(begin + (second as u32 + 1) * SECOND);
    }
    let (mut film, outcome) = recording.film(Duration::from_secs(90), &places());
    println!("{}\nmemory each 20 s in KiB: {memory:?}", outcome.said);
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let everywhere: Vec<usize> = (0..places().len()).collect();
    let followed: Vec<usize> = (0..STAYING).map(|person| film.follow(person, &everywhere)).collect();
    let changes = film.pictures.windows(2).filter(|pair| pair[0].tiles[0].person != pair[1].tiles[0].person).count();
    let length = (CHURN_S + 8) as f64;
    let mut judge = Judge::new(&film);
    judge.decodes_clean().is_of(1280, 720, length).has_constant_rate(30.0);
    judge.promise(changes as u64 >= CHURN_S / 4, format!("the first tile of four became another {changes} times"));
    let steady = 1.0..length - 0.2;
    for (person, tile) in followed.into_iter().enumerate() {
        judge
            .shows(tile, person, steady.clone())
            .shows_each_once(tile, steady.clone())
            .hears(person, 25.0, steady.clone())
            .is_in_sync(tile, person, 20.0, 45.0, steady.clone());
    }
    // The first seconds fill caches; what grows with each who comes would be seen from there on.
    let (first, last) = (memory[1], memory[memory.len() - 1]);
    judge.promise(last < first + 8192, format!("memory is {first} KiB after 40 s, {last} KiB at the end"));
    judge.finish();
    crowd.disperse();
}

/// How often somebody comes and goes: `ROOMCAST_JOINS`, to try it out with fewer.
fn joins() -> u32 {
    std::env::var("ROOMCAST_JOINS").ok().map_or(2_000, |text| text.parse().expect("a number"))
}
/// From one who comes to the next: 2,000 take 50 minutes.
const BETWEEN_JOINS: Duration = Duration::from_millis(1_500);
/// Between two looks at what the product uses.
const JOINS_A_LOOK: u32 = 20;
/// The last seconds of that film are looked at.
const LAST_S: f64 = 20.0;

/// What the processes of the product use at one instant.
#[derive(Clone, Copy, Debug)]
struct Use {
    at: Duration,
    threads: usize,
    descriptors: usize,
    kib: u64,
}

impl Use {
    fn of(pid: u32, at: Duration) -> Use {
        let count = |what: &str| {
            let entries = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
            Family::of(pid).members.iter().map(|(pid, _)| entries(*pid)).sum()
        };
        Use { at, threads: count("task"), descriptors: count("fd"), kib: product_kib(pid) }
    }
}

/// The slope of the line with the least squares through the memory, in KiB an hour.
fn kib_an_hour(looks: &[Use]) -> f64 {
    let hours = |look: &Use| look.at.as_secs_f64() / 3_600.0;
    let mean = |value: &dyn Fn(&Use) -> f64| looks.iter().map(value).sum::<f64>() / looks.len() as f64;
    let (middle, level) = (mean(&hours), mean(&|look| look.kib as f64));
    let along: f64 = looks.iter().map(|look| (hours(look) - middle) * (look.kib as f64 - level)).sum();
    along / looks.iter().map(|look| (hours(look) - middle).powi(2)).sum::<f64>()
}

fn median(of: impl Iterator<Item = usize>) -> usize {
    let mut all: Vec<usize> = of.collect();
    all.sort_unstable();
    all[all.len() / 2]
}

/// Two thousand strangers come and go: at the end lips and voices still fit, and nothing is left of whoever went.
#[test]
fn two_thousand_come_and_go_within_an_hour() {
    let joins = joins();
    let server = LiveKit::start();
    let mut crowd = Crowd::gather(PEOPLE.len());
    crowd.join_all(&server, "room", &[0, 1, 2].map(Joining::usual));
    let length = BETWEEN_JOINS * (joins + 1) + 10 * SECOND;
    let recording = record(&server.url(), "room", Some(&format!("{}ms", length.as_millis())));
    recording.is_under_way(3 * SECOND);
    let begin = recording.product.age();
    // Nobody comes twice, and no newcomer looks or sounds like those who stay.
    let mut strangers = (PEOPLE.len()..).filter(|person| person % PEOPLE.len() > 2);
    let (mut guest, mut looks) = (None, Vec::new());
    for join in 1..=joins {
        let stranger = strangers.next().expect("endless");
        crowd.join(&server, "room", &Joining::usual(stranger));
        if let Some(before) = guest.replace(stranger) {
            crowd.ask(before, "leave", json!({}));
        }
        recording.is_under_way(begin + join * BETWEEN_JOINS);
        if join % JOINS_A_LOOK == 0 {
            looks.push(Use::of(recording.product.pid(), recording.product.age()));
        }
    }
    let from_s = (length.as_secs_f64() - LAST_S).floor() + 0.01;
    let (mut film, outcome) = recording.film_from(length + 60 * SECOND, &places(), from_s);
    println!("{}", outcome.said);
    for look in &looks {
        println!("{look:?}");
    }
    // Two fifths for warming up: heaps and pools reach the size of the fullest moment only after a while.
    let warm = &looks[looks.len() * 2 / 5..];
    let (first, last) = warm.split_at(warm.len() / 2);
    let slope = kib_an_hour(warm);
    println!(
        "slope of the memory {slope:.0} KiB an hour; load {}",
        std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim()
    );
    let everywhere: Vec<usize> = (0..places().len()).collect();
    let followed: Vec<usize> = (0..3).map(|person| film.follow(person, &everywhere)).collect();
    let mut judge = Judge::new(&film);
    judge.decodes_clean();
    judge.promise((film.duration_s - length.as_secs_f64()).abs() < 0.2, format!("it lasts {} s", film.duration_s));
    let steady = from_s..film.duration_s - 0.2;
    for (person, tile) in followed.into_iter().enumerate() {
        judge.shows(tile, person, steady.clone()).hears(person, 25.0, steady.clone()).is_in_sync(
            tile,
            person,
            20.0,
            40.0,
            steady.clone(),
        );
    }
    for (what, count) in [("threads", (|look| look.threads) as fn(&Use) -> usize), ("descriptors", |look| look.descriptors)] {
        let (early, late) = (median(first.iter().map(count)), median(last.iter().map(count)));
        judge.promise(early == late, format!("{what}: {early} in the first half of the warm time, {late} in the second"));
    }
    judge.promise(slope < 1_024.0, format!("memory grows by {slope:.0} KiB an hour"));
    judge.finish();
    crowd.disperse();
}
