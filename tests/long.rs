//! What only a long run can show. Not part of the usual tests: `scripts/test long`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use recorder_core::address::AddressPolicy;
use recorder_core::ids::TargetId;
use recorder_core::live::{LiveState, Reason};
use recorder_core::secret::Secret;
use recorder_core::time::SessionTime;
use roomcast::clock::SessionClock;
use roomcast::programme::ring::Ring;
use roomcast::target::rtmp::{Destination, LiveEnvironment, LiveReport, LiveSettings, LiveTarget};
use world::clip::{BYTES_PER_S, Clip};
use world::stand_in::{Manner, StandIn};
use world::until;

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
        start: SessionTime::ZERO,
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
    let is_at = |seconds: u64| {
        let limit = Duration::from_secs(seconds) + SECOND;
        until(limit, "time passes", || (begin.elapsed() >= Duration::from_secs(seconds)).then_some(()));
    };
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
