//! Live destinations on real servers and on servers with bad manners, all at once: each has its own fate, and none touches another's packets.
//!
//! The stream is encoded once, and fed into the ring in real time; what the servers recorded is compared with it byte by byte.

// A test program fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use recorder_core::ids::TargetId;
use recorder_core::live::splice::{Shows, Splice};
use recorder_core::live::{CertificateFault, LiveState, Reason, Step};
use recorder_core::secret::Secret;
use recorder_core::time::SessionTime;
use roomcast::clock::SessionClock;
use roomcast::programme::ring::Ring;
use roomcast::programme::slate::SlateSource;
use roomcast::target::rtmp::{Destination, LiveFigures, LiveReport, LiveSettings, LiveTarget, ProbeDepth, probe};

use world::certificates::Certificates;
use world::clip::{BYTES_PER_S, Clip};
use world::rtmp::{Nginx, USER, decode, read_flv};
use world::stand_in::{Manner, StandIn};
use world::{after, cpu_seconds, free_tcp_port, until};

use roomcast_world as world;

/// A destination under observation.
struct Watched {
    name: &'static str,
    target: LiveTarget,
    reports: Arc<Mutex<Vec<(Duration, LiveReport)>>>,
}

impl Watched {
    fn states(&self) -> Vec<(Duration, LiveState)> {
        let reports = self.reports.lock().unwrap();
        let states = reports.iter().filter_map(|(at, report)| match report {
            LiveReport::State(state) => Some((*at, state.clone())),
            LiveReport::Figures(_) | LiveReport::Parked => None,
        });
        states.collect()
    }

    fn figures(&self) -> Vec<LiveFigures> {
        let reports = self.reports.lock().unwrap();
        let figures = reports.iter().filter_map(|(_, report)| match report {
            LiveReport::Figures(figures) => Some(*figures),
            LiveReport::State(_) | LiveReport::Parked => None,
        });
        figures.collect()
    }

    /// When a state that fits was told first, at `from` or later.
    fn first(&self, from: Duration, fits: impl Fn(&LiveState) -> bool) -> Option<Duration> {
        self.states().into_iter().find(|(at, state)| *at >= from && fits(state)).map(|(at, _)| at)
    }

    fn is_told_within(&self, from: Duration, limit: Duration, fits: impl Fn(&LiveState) -> bool) {
        let at = self.first(from, fits);
        assert!(
            at.is_some_and(|at| at - from <= limit),
            "{}: not told within {limit:?} of {from:?}: {:#?}",
            self.name,
            self.states()
        );
    }

    fn never(&self, fits: impl Fn(&LiveState) -> bool) {
        assert_eq!(self.first(Duration::ZERO, fits), None, "{}: {:#?}", self.name, self.states());
    }
}

fn retrying(wanted: Reason) -> impl Fn(&LiveState) -> bool {
    move |state| matches!(state, LiveState::Retrying { reason, .. } if *reason == wanted)
}

fn refused(wanted: Reason) -> impl Fn(&LiveState) -> bool {
    move |state| matches!(state, LiveState::Refused { reason, .. } if *reason == wanted)
}

fn is_refused(state: &LiveState) -> bool {
    matches!(state, LiveState::Refused { .. })
}

fn is_retrying(state: &LiveState) -> bool {
    matches!(state, LiveState::Retrying { .. })
}

const SECOND: Duration = Duration::from_secs(1);

/// Everything that is logged while the tests run, down to the smallest detail.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn many_destinations_at_once_each_with_its_own_fate() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let certificates = Certificates::make();
    let (nginx, mut leaving, mediamtx) = (Nginx::start(), Nginx::start(), certificates.mediamtx());
    let stand_ins: HashMap<&str, StandIn> = [
        ("black hole", Manner::BlackHole),
        ("resets", Manner::Resets),
        ("rejects application", Manner::RejectsApplication),
        ("rejects stream", Manner::RejectsStream),
        ("stalls", Manner::Stalls),
        ("cuts", Manner::CutsAfter(2 * SECOND)),
        ("vanishes", Manner::Vanishes(6 * SECOND)),
        ("slow", Manner::Slow(62_500)),
        ("garbage", Manner::Garbage),
        ("fussy", Manner::Fussy),
    ]
    .map(|(name, manner)| (name, StandIn::start(manner)))
    .into();

    let clip = Arc::new(Clip::encode());
    let ring = Ring::default();
    let clock = SessionClock::start();
    let is_over = Arc::new(AtomicBool::new(false));
    let player = clip.play(&ring, clock, &is_over);

    let environment = certificates.environment();
    let begin = Instant::now();
    let start = |name: &'static str, address: &str, key: &str| {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&reports);
        let settings = LiveSettings {
            id: TargetId::new(name),
            destination: Destination::new(address, Secret::new(key)).unwrap(),
            splice: Splice::new(SessionTime::ZERO, Shows::Programme),
            slate: SlateSource::default(),
            bytes_per_s: BYTES_PER_S,
            seed: name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte)),
        };
        let report = move |report| into.lock().unwrap().push((begin.elapsed(), report));
        let target = LiveTarget::start(environment.clone(), settings, ring.clone(), clock, report).unwrap();
        Watched { name, target, reports }
    };
    let (rtmp, rtmps) = (mediamtx.port, mediamtx.tls_port);
    let good = [
        start("nginx", &nginx.address(), "good-canary-1"),
        start("nginx again", &nginx.address(), "good-canary-2"),
        start("mediamtx", &format!("rtmp://127.0.0.1:{rtmp}/live"), "good-canary-3"),
        start("mediamtx with a user", &format!("rtmp://127.0.0.1:{rtmp}/priv"), &format!("canary-4?{USER}")),
        start("mediamtx by TLS", &format!("rtmps://localhost:{rtmps}/live"), "good-canary-5"),
        start("fussy", &stand_ins["fussy"].address(), "canary-6"),
    ];
    let away = start("away for twenty seconds", &leaving.address(), "good-canary-7");
    let dropped = start("dropped once", &nginx.address(), "good-canary-8");
    let bad = [
        start("refused", &format!("rtmp://127.0.0.1:{}/live", free_tcp_port()), "canary"),
        start("no name", "rtmp://gone.example/live", "canary"),
        start("forbidden", "rtmp://inner.example/live", "canary"),
        start("expired", &format!("rtmps://localhost:{}/live", certificates.tls_server("expired")), "canary"),
        start("foreign", &format!("rtmps://localhost:{}/live", certificates.tls_server("foreign")), "canary"),
        start("wrong name", &format!("rtmps://other.example:{rtmps}/live"), "canary"),
        start("wrong key", &nginx.address(), "canary-wrong"),
        start("unknown application", &format!("rtmp://127.0.0.1:{}/canteen", nginx.port), "canary"),
        start("late rejection", &format!("rtmp://127.0.0.1:{rtmp}/priv"), "canary?user=streamer&pass=wrong"),
        start("black hole", &stand_ins["black hole"].address(), "canary"),
        start("resets", &stand_ins["resets"].address(), "canary"),
        start("rejects application", &stand_ins["rejects application"].address(), "canary"),
        start("rejects stream", &stand_ins["rejects stream"].address(), "canary-key"),
        start("stalls", &stand_ins["stalls"].address(), "canary"),
        start("cuts", &stand_ins["cuts"].address(), "canary"),
        start("vanishes", &stand_ins["vanishes"].address(), "canary"),
        start("slow", &stand_ins["slow"].address(), "canary"),
        start("garbage", &stand_ins["garbage"].address(), "canary"),
    ];
    let bad: HashMap<&str, &Watched> = bad.iter().map(|watched| (watched.name, watched)).collect();
    let is_at = |seconds: u32| after(begin, f64::from(seconds));

    is_at(12);
    let memory = resident_mib();
    leaving.kill();
    let gone = begin.elapsed();
    nginx.drop_publisher("good-canary-8");
    let drop_at = begin.elapsed();
    is_at(32);
    leaving.come_back();
    let back = begin.elapsed();
    is_at(44);
    let cpu = cpu_seconds(std::process::id(), "live");
    let lasted = begin.elapsed().as_secs_f64();
    let memory_later = resident_mib();

    // The end, at a programme instant that is still to come.
    let end = clock.now() + SECOND / 2;
    let all: Vec<&Watched> = good.iter().chain([&away, &dropped]).chain(bad.values().copied()).collect();
    all.iter().for_each(|watched| watched.target.end_take(end));
    for watched in &all {
        // Three seconds for the last packets, three for the farewell over a line that is full.
        until(8 * SECOND, watched.name, || watched.target.is_ended().then_some(()));
        assert_eq!(watched.states().last().map(|(_, state)| state.clone()), Some(LiveState::Ended), "{}", watched.name);
    }
    is_over.store(true, Ordering::Relaxed);
    player.join().unwrap();

    // Figures first, so that they are seen whatever fails below.
    let most = cpu.iter().copied().fold(0.0, f64::max) / lasted;
    let mean = cpu.iter().sum::<f64>() / cpu.len() as f64 / lasted;
    println!(
        "{} destinations, {lasted:.0} s: CPU of a core each: mean {:.2} %, most {:.2} %",
        cpu.len(),
        mean * 100.0,
        most * 100.0
    );
    println!("memory: {memory} MiB at 12 s, {memory_later} MiB at 44 s");
    for watched in &all {
        let states: Vec<String> = watched
            .states()
            .iter()
            .map(|(at, state)| match state {
                LiveState::Retrying { reason, .. } => format!("{:.1} retrying {reason:?}", at.as_secs_f64()),
                LiveState::Refused { reason, .. } => format!("{:.1} refused {reason:?}", at.as_secs_f64()),
                state => format!("{:.1} {state:?}", at.as_secs_f64()),
            })
            .collect();
        let last = watched.figures().last().copied().unwrap_or_default();
        let kept: Vec<_> = states.iter().take(6).chain(states.iter().skip(6).last()).cloned().collect();
        println!(
            "{:22} {:>8} B, {} publishings, {} left out, {} resent: {}",
            watched.name,
            last.confirmed_bytes,
            last.publishings,
            last.left_out,
            last.resent,
            kept.join("; ")
        );
    }

    for watched in &good {
        let states: Vec<_> = watched.states().into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, [LiveState::Connecting, LiveState::Live, LiveState::Ended], "{}", watched.name);
        let live = watched.first(Duration::ZERO, |state| *state == LiveState::Live).unwrap();
        assert!(live >= 3 * SECOND && live < 5 * SECOND, "{}: live at {live:?}", watched.name);
        let figures = *watched.figures().last().unwrap();
        assert_eq!((figures.publishings, figures.left_out), (1, 0), "{}", watched.name);
        assert!(figures.confirmed_bytes > BYTES_PER_S * 20, "{}: {figures:?}", watched.name);
    }
    assert!(stand_ins["fussy"].pongs() > 50, "{} pings answered", stand_ins["fussy"].pongs());

    // Away and back.
    away.is_told_within(gone, 5 * SECOND, is_retrying);
    away.is_told_within(back, 9 * SECOND, |state| *state == LiveState::Live);
    away.never(is_refused);
    dropped.is_told_within(drop_at, 5 * SECOND, retrying(Reason::Cut));
    dropped.is_told_within(drop_at, 6 * SECOND, |state| *state == LiveState::Live);

    // The others: right within 5 s, later where servers are late.
    let at_once = |name: &str, fits: &dyn Fn(&LiveState) -> bool| bad[name].is_told_within(Duration::ZERO, 5 * SECOND, fits);
    at_once("refused", &retrying(Reason::ConnectionRefused));
    at_once("no name", &retrying(Reason::UnknownHost));
    at_once("forbidden", &refused(Reason::ForbiddenAddress));
    at_once("expired", &refused(Reason::Certificate(CertificateFault::Expired)));
    at_once("foreign", &refused(Reason::Certificate(CertificateFault::UnknownIssuer)));
    at_once("wrong name", &refused(Reason::Certificate(CertificateFault::WrongName)));
    at_once("wrong key", &is_refused);
    at_once("unknown application", &is_refused);
    at_once("rejects application", &refused(Reason::Rejected(Step::Enter)));
    at_once("rejects stream", &refused(Reason::Rejected(Step::Publish)));
    at_once("black hole", &retrying(Reason::NoAnswer(Step::Handshake)));
    at_once("resets", &is_retrying);
    at_once("garbage", &refused(Reason::NotRtmp));
    bad["late rejection"].is_told_within(Duration::ZERO, 15 * SECOND, is_refused);
    bad["stalls"].is_told_within(Duration::ZERO, 8 * SECOND, retrying(Reason::Stalled));
    // Its connection is half open: only the missing confirmations tell.
    bad["vanishes"].is_told_within(6 * SECOND, 9 * SECOND, retrying(Reason::Stalled));
    bad["vanishes"].is_told_within(Duration::ZERO, 6 * SECOND, |state| *state == LiveState::Live);
    bad["cuts"].is_told_within(Duration::ZERO, 10 * SECOND, refused(Reason::Cut));
    for name in ["refused", "no name", "black hole", "resets", "stalls"] {
        bad[name].never(is_refused);
        bad[name].never(|state| *state == LiveState::Live);
    }
    // Never a storm, and never rare where it should not be.
    for (name, stand_in) in &stand_ins {
        assert!(stand_in.gaps().iter().all(|gap| *gap >= SECOND * 99 / 100), "{name}: {:?}", stand_in.gaps());
    }
    assert!(stand_ins["resets"].gaps().iter().all(|gap| *gap <= 4 * SECOND), "{:?}", stand_ins["resets"].gaps());
    for name in ["rejects application", "rejects stream"] {
        assert!(stand_ins[name].gaps().iter().all(|gap| *gap >= 29 * SECOND), "{name}: {:?}", stand_ins[name].gaps());
    }
    // Slow: late, but by 10 s at most, and never given up.
    let slow = bad["slow"];
    slow.never(is_retrying);
    slow.never(is_refused);
    assert!(slow.first(Duration::ZERO, |state| matches!(state, LiveState::Behind { .. })).is_some(), "{:?}", slow.states());
    let latest = slow.figures().iter().map(|figures| figures.behind).max().unwrap();
    assert!(latest > 2 * SECOND && latest <= 10 * SECOND, "{latest:?}");
    assert!(slow.figures().last().unwrap().left_out > 0);

    // What the servers have.
    for name in ["good-canary-1", "good-canary-2"] {
        let [file] = &nginx.recordings(name)[..] else { panic!("one recording of {name}\n{}", nginx.log()) };
        let seconds = is_whole(&clip, file, end);
        assert!(seconds > 30.0, "{name}: {seconds} s");
    }
    for (server, name) in [(&leaving, "good-canary-7"), (&nginx, "good-canary-8")] {
        let files = server.recordings(name);
        assert_eq!(files.len(), 2, "{name}: before and after");
        assert!(is_whole(&clip, &files[0], SessionTime::ZERO) > 5.0);
        assert!(is_whole(&clip, &files[1], end) > 5.0);
    }
    for path in ["live/good-canary-3", "priv/canary-4", "live/good-canary-5"] {
        let files = mediamtx.recordings(path);
        assert!(!files.is_empty(), "{path}\n{}", mediamtx.log());
        let pictures: Vec<usize> = files.iter().map(|file| decode(file)).collect();
        // It listens for three seconds before it begins to record, at the next keyframe.
        assert!(pictures.iter().sum::<usize>() > 30 * 28, "{path}: {pictures:?}\n{}", mediamtx.log());
        files.iter().for_each(|file| has_no_gap(file));
    }

    // What it cost, and what was said.
    assert!(cpu.len() == all.len() && most <= 0.02, "CPU {cpu:?} in {lasted} s");
    assert!(memory_later <= memory + 16, "{memory} MiB, later {memory_later} MiB");
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("live destination"), "the log was listened to");
    let told = format!("{:?}", all.iter().map(|watched| watched.reports.lock().unwrap().clone()).collect::<Vec<_>>());
    assert!(!logged.contains("canary") && !told.contains("canary"));
}

/// Each picture follows the one before it by a thirtieth of a second.
fn has_no_gap(file: &Path) {
    let output = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .unwrap();
    let times: Vec<f64> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_matches(',').parse().unwrap()).collect();
    assert!(times.len() > 30);
    for pair in times.windows(2) {
        // RTMP counts whole milliseconds.
        assert!((pair[1] - pair[0] - 1.0 / 30.0).abs() < 0.0015, "{}: {:.4} s after {:.4} s", file.display(), pair[1], pair[0]);
    }
}

/// Checks what a server recorded: the same packets as in the ring from a keyframe on, each once, each at its exact time, and clean to decode. With an `end` other than zero:
/// up to the last picture before it. Gives the seconds.
fn is_whole(clip: &Clip, file: &Path, end: SessionTime) -> f64 {
    let tags = read_flv(file);
    let media = |kind: u8, prefix: usize| -> Vec<_> {
        let tags = tags.iter().filter(move |tag| tag.kind == kind && tag.body.get(1) == Some(&1));
        tags.map(move |tag| (tag.time_ms, &tag.body[prefix..])).collect()
    };
    let (pictures, sounds) = (media(9, 5), media(8, 2));
    let first = clip.video.iter().position(|packet| packet.data[..] == *pictures[0].1).expect("a picture of the stream");
    assert!(clip.video[first].keyframe, "{} begins with a keyframe", file.display());
    let zero = clip.video_ns(first as u64);
    for (n, (time_ms, body)) in pictures.iter().enumerate() {
        let n = first as u64 + n as u64;
        assert_eq!(*body, &clip.video[n as usize % clip.video.len()].data[..], "{}: picture {n}", file.display());
        assert_eq!(
            u64::from(*time_ms),
            (clip.video_ns(n) - zero + 500_000) / 1_000_000,
            "{}: time of picture {n}",
            file.display()
        );
    }
    let first_sound = clip.sound.iter().position(|packet| packet.data[..] == *sounds[0].1).expect("sound of the stream");
    // The clip repeats: of the possible frames the first one at or after the first picture is meant.
    let first_sound = [0, 1].map(|lap| (first_sound + lap * clip.sound.len()) as u64);
    let first_sound = *first_sound.iter().find(|n| clip.sound_ns(**n) >= zero).unwrap();
    for (n, (time_ms, body)) in sounds.iter().enumerate() {
        let n = first_sound + n as u64;
        assert_eq!(*body, &clip.sound[n as usize % clip.sound.len()].data[..], "{}: sound {n}", file.display());
        assert_eq!(u64::from(*time_ms), (clip.sound_ns(n) - zero + 500_000) / 1_000_000, "{}: time of sound {n}", file.display());
    }
    assert!(tags.is_sorted_by_key(|tag| tag.time_ms), "{}: times go back", file.display());
    if end != SessionTime::ZERO {
        // Which lap it was shows in the end: the last picture is the last one before the end of the Take.
        let last = clip.video_ns(first as u64 + pictures.len() as u64 - 1);
        let since_end = (end.as_nanos() - clip.begin_ns - last) % 8_000_000_000;
        assert!(since_end > 0 && since_end <= 1_000_000_000 / 30 + 1, "{}: ends {since_end} ns before the end", file.display());
    }
    assert_eq!(decode(file), pictures.len());
    f64::from(pictures.last().unwrap().0) / 1000.0
}

#[test]
fn a_probe_tells_what_a_destination_would_say() {
    let certificates = Certificates::make();
    let environment = certificates.environment();
    let (nginx, mediamtx) = (Nginx::start(), certificates.mediamtx());
    let ask = |address: &str, key: &str, depth| probe(&environment, &Destination::new(address, Secret::new(key)).unwrap(), depth);
    let by_tls = format!("rtmps://localhost:{}/live", mediamtx.tls_port);
    for (address, key) in [(nginx.address(), "good"), (by_tls, "good")] {
        for depth in [ProbeDepth::Connect, ProbeDepth::Publish] {
            let answer = ask(&address, key, depth).unwrap();
            assert!(answer.round_trip > Duration::ZERO && answer.took < 2 * SECOND, "{answer:?}");
        }
    }
    // The key is not sent when only the connection is tried.
    assert!(ask(&nginx.address(), "wrong", ProbeDepth::Connect).is_ok());
    let answer = ask(&nginx.address(), "wrong", ProbeDepth::Publish);
    assert!(matches!(answer, Err(Reason::Rejected(Step::Publish) | Reason::Closed(Step::Publish))), "{answer:?}");
    let nobody = format!("rtmp://127.0.0.1:{}/live", free_tcp_port());
    assert_eq!(ask(&nobody, "k", ProbeDepth::Connect), Err(Reason::ConnectionRefused));
    assert_eq!(ask("rtmp://inner.example/live", "k", ProbeDepth::Connect), Err(Reason::ForbiddenAddress));
    let foreign = format!("rtmps://localhost:{}/live", certificates.tls_server("foreign"));
    assert_eq!(ask(&foreign, "k", ProbeDepth::Connect), Err(Reason::Certificate(CertificateFault::UnknownIssuer)));
}
