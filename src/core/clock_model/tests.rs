//! Senders with every fault of a clock, on virtual time.

use std::time::Instant;

use super::ClockModel;
use crate::ids::{ParticipantId, TrackId, TrackKind};
use crate::time::SessionTime;

const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;
const HOUR: i64 = 3_600 * S;

/// One Track of a made-up sender. All times in nanoseconds; true time is the session clock.
struct Sender {
    id: TrackId,
    clock_hz: u32,
    stream: u32,
    frame_ns: i64,
    /// True time of its first frame, and of its last.
    from_ns: i64,
    until_ns: i64,
    ppm: i64,
    /// What the sender's NTP clock is ahead of true time.
    ntp_ahead_ns: i64,
    /// At this true time the NTP clock is set by so much.
    step: Option<(i64, i64)>,
    first_report_ns: i64,
    report_every_ns: i64,
    transit_ns: i64,
    jitter: Jitter,
}

#[derive(Clone, Copy)]
enum Jitter {
    /// Up to 10 ms, always.
    Light,
    /// Light, and for 300 ms of every 2 s nothing arrives, then everything.
    Bursts,
}

struct Shown {
    captured_ns: i64,
    shown: SessionTime,
}

enum Packet {
    Frame { captured_ns: i64, rtp: u64 },
    Report { ntp_ns: i64, rtp: u64 },
}

fn sound() -> Sender {
    Sender {
        id: TrackId::new(ParticipantId::new("ann"), TrackKind::Microphone),
        clock_hz: 48_000,
        stream: 1,
        frame_ns: 20 * MS,
        from_ns: S,
        until_ns: 60 * S,
        ppm: 0,
        ntp_ahead_ns: 0,
        step: None,
        first_report_ns: 3 * S,
        report_every_ns: 3 * S,
        transit_ns: 30 * MS,
        jitter: Jitter::Light,
    }
}

fn picture() -> Sender {
    Sender {
        id: TrackId::new(ParticipantId::new("ann"), TrackKind::Camera),
        clock_hz: 90_000,
        frame_ns: 33_333_333,
        transit_ns: 42 * MS,
        first_report_ns: 3 * S + 700 * MS,
        ..sound()
    }
}

impl Sender {
    fn rtp(&self, captured_ns: i64) -> u64 {
        let media = i128::from(captured_ns - self.from_ns) * i128::from(1_000_000 + self.ppm) / 1_000_000;
        (4_294_900_000_i128 + media * i128::from(self.clock_hz) / i128::from(S)) as u64
    }

    fn packets(&self, seed: &mut u64) -> Vec<(i64, i64, Packet)> {
        let mut all = Vec::new();
        let mut last = 0;
        let mut captured = self.from_ns;
        let mut report = self.from_ns + self.first_report_ns;
        while captured < self.until_ns {
            let mut arrival = captured + self.transit_ns + (random(seed) % 10_000_000) as i64;
            if let Jitter::Bursts = self.jitter
                && arrival % (2 * S) < 300 * MS
            {
                arrival += 300 * MS - arrival % (2 * S);
            }
            last = arrival.max(last + 1);
            if report <= captured {
                let step = self.step.filter(|&(at, _)| at <= report).map_or(0, |(_, by)| by);
                let ntp_ns = report + self.ntp_ahead_ns + step;
                all.push((last, 0, Packet::Report { ntp_ns, rtp: self.rtp(report) }));
                report += self.report_every_ns;
            }
            all.push((last, 1, Packet::Frame { captured_ns: captured, rtp: self.rtp(captured) }));
            captured += self.frame_ns;
        }
        all
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Runs the senders against one model, in the order of arrival.
fn run(model: &mut ClockModel, senders: &[Sender]) -> Vec<Vec<Shown>> {
    let mut seed = 7;
    let mut all: Vec<(i64, i64, usize, Packet)> = Vec::new();
    for (n, sender) in senders.iter().enumerate() {
        all.extend(sender.packets(&mut seed).into_iter().map(|(at, order, packet)| (at, order, n, packet)));
    }
    all.sort_by_key(|&(at, order, n, _)| (at, n, order));
    let mut shown: Vec<Vec<Shown>> = senders.iter().map(|_| Vec::new()).collect();
    for (at, _, n, packet) in all {
        let Sender { id, stream, clock_hz, .. } = &senders[n];
        let arrival = SessionTime::from_nanos(at as u64);
        match packet {
            Packet::Frame { captured_ns, rtp } => {
                let capture = model.arrived(id, *stream, *clock_hz, rtp, arrival);
                shown[n].push(Shown { captured_ns, shown: capture });
            }
            Packet::Report { ntp_ns, rtp } => model.sender_report(id, *stream, *clock_hz, ntp_ns, rtp, arrival),
        }
    }
    shown
}

/// How much later than the sound the picture is shown, in ms, for each picture captured from `from_ns` on.
fn offsets_ms(sound: &[Shown], picture: &[Shown], from_ns: i64) -> Vec<f64> {
    let late = |s: &Shown| s.shown.as_nanos() as i64 - s.captured_ns;
    let mut n = 0;
    let mut all = Vec::new();
    for p in picture.iter().filter(|p| p.captured_ns >= from_ns) {
        while n + 1 < sound.len() && sound[n + 1].captured_ns <= p.captured_ns {
            n += 1;
        }
        all.push((late(p) - late(&sound[n])) as f64 / 1e6);
    }
    all
}

fn median(list: &[f64]) -> f64 {
    let mut list: Vec<f64> = list.iter().map(|v| v.abs()).collect();
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

fn worst(list: &[f64]) -> f64 {
    list.iter().fold(0.0, |worst: f64, v| worst.max(v.abs()))
}

/// The largest deviation of the pace of capture times from that of the media, over consecutive frames.
fn roughness(sender: &Sender, shown: &[Shown], from_ns: i64) -> f64 {
    let mut worst: f64 = 0.0;
    for pair in shown.windows(2).filter(|w| w[0].captured_ns >= from_ns) {
        assert!(pair[1].shown > pair[0].shown, "{} went back at {} ns", sender.id.kind as u8, pair[0].captured_ns);
        let media = (pair[1].captured_ns - pair[0].captured_ns) as f64;
        worst = worst.max(((pair[1].shown.signed_since(pair[0].shown)) as f64 / media - 1.0).abs());
    }
    worst
}

/// Runs sound and picture, and asserts what must hold whatever the fault: in sync, smooth.
fn assert_sync(senders: [Sender; 2]) -> Vec<Vec<Shown>> {
    let shown = run(&mut ClockModel::new(), &senders);
    let early = offsets_ms(&shown[0], &shown[1], 0);
    assert!(median(&early) < 20.0, "median {:.1} ms", median(&early));
    assert!(worst(&early) < 45.0, "worst {:.1} ms", worst(&early));
    let settled = offsets_ms(&shown[0], &shown[1], senders[1].from_ns + 14 * S);
    assert!(worst(&settled) < 6.0, "once settled: worst {:.1} ms, median {:.1} ms", worst(&settled), median(&settled));
    for (sender, shown) in senders.iter().zip(&shown) {
        assert!(roughness(sender, shown, sender.from_ns + 600 * MS) < 0.51);
        let calm = roughness(sender, shown, senders[1].from_ns + 16 * S);
        assert!(calm < 0.0055, "{calm}");
    }
    shown
}

#[test]
fn sound_and_picture_of_one_sender_agree() {
    let shown = assert_sync([sound(), picture()]);
    // Capture is what the fastest way of the sender allows: transit without jitter.
    let last = shown[0].last().unwrap();
    let late = last.shown.as_nanos() as i64 - last.captured_ns;
    assert!((late - 30 * MS).abs() < 3 * MS, "{late}");
}

#[test]
fn a_sender_an_hour_wrong_is_as_good() {
    for ahead in [HOUR, -HOUR, 50 * 365 * 24 * HOUR] {
        let shown = assert_sync([Sender { ntp_ahead_ns: ahead, ..sound() }, Sender { ntp_ahead_ns: ahead, ..picture() }]);
        let last = shown[1].last().unwrap();
        assert!((last.shown.as_nanos() as i64 - last.captured_ns - 30 * MS).abs() < 5 * MS);
    }
}

#[test]
fn tracks_whose_reports_are_of_different_clocks_fall_back_to_arrival() {
    let shown = run(&mut ClockModel::new(), &[Sender { ntp_ahead_ns: HOUR, ..sound() }, picture()]);
    let offsets = offsets_ms(&shown[0], &shown[1], 0);
    assert!(worst(&offsets) < 20.0, "{:.1}", worst(&offsets));
}

#[test]
fn a_clock_that_is_set_in_the_middle_does_not_part_sound_from_picture() {
    for by in [2 * S, -2 * S, 150 * MS] {
        // The picture's reports come 2.3 s after the sound's.
        let step = Some((25 * S, by));
        let shown = assert_sync([Sender { step, ..sound() }, Sender { step, first_report_ns: 3 * S + 2_300 * MS, ..picture() }]);
        for shown in &shown {
            let last = shown.last().unwrap();
            let late = last.shown.as_nanos() as i64 - last.captured_ns;
            assert!((late - 30 * MS).abs() < 6 * MS, "{late}");
        }
    }
}

#[test]
fn a_track_that_begins_after_the_clock_was_set_takes_the_correction_that_fits() {
    let step = Some((25 * S, 2 * S));
    for begins in [26 * S, 40 * S] {
        // At 26 s it is the picture that reports the new time first.
        assert_sync([
            Sender { step, ..sound() },
            Sender { step, from_ns: begins, first_report_ns: 100 * MS, report_every_ns: S, ..picture() },
        ]);
    }
}

#[test]
fn a_wrong_first_report_is_mended_by_the_second() {
    for wrong_by in [300 * MS, -300 * MS, 120 * MS, -120 * MS] {
        let mut model = ClockModel::new();
        let late = Sender { from_ns: 10 * S, ..picture() };
        let early = run(&mut model, &[Sender { until_ns: 10 * S, ..sound() }]);
        assert!(!early[0].is_empty());
        // A report from before the encoder's first picture.
        let at = SessionTime::from_nanos(10 * S as u64);
        model.sender_report(&late.id, 1, 90_000, 10 * S + wrong_by, late.rtp(10 * S), at);
        let shown = run(&mut model, &[Sender { from_ns: 10 * S, stream: 2, ..sound() }, late]);
        let offsets = offsets_ms(&shown[0], &shown[1], 40 * S);
        assert!(worst(&offsets) < 6.0, "{wrong_by}: {:.1}", worst(&offsets));
    }
}

#[test]
fn capture_times_do_not_go_back_when_a_stream_restarts() {
    let id = sound().id;
    let mut model = ClockModel::new();
    let mut last = SessionTime::ZERO;
    for n in 0..1_000_u64 {
        // The way becomes 140 ms shorter, which is followed slowly; the new stream begins where its arrivals are.
        let transit = if n < 800 { 200 } else { 60 };
        let capture = model.arrived(&id, 1 + (n / 820) as u32, 48_000, n * 960, SessionTime::from_millis(20 * n + transit));
        assert!(capture >= last, "{n}");
        last = capture;
    }
}

#[test]
fn media_clocks_may_drift() {
    for (a, v) in [(100, -100), (-100, 100), (100, 0)] {
        assert_sync([Sender { ppm: a, until_ns: 600 * S, ..sound() }, Sender { ppm: v, until_ns: 600 * S, ..picture() }]);
    }
}

#[test]
fn bursts_of_jitter_are_not_seen() {
    let shown = assert_sync([Sender { jitter: Jitter::Bursts, ..sound() }, Sender { jitter: Jitter::Bursts, ..picture() }]);
    let last = shown[0].last().unwrap();
    assert!((last.shown.as_nanos() as i64 - last.captured_ns - 30 * MS).abs() < 5 * MS);
}

#[test]
fn a_late_first_report_moves_slowly() {
    // Without reports the picture's longer way is taken for lateness; the report at 20 s mends it without a jump.
    let picture = Sender { first_report_ns: 20 * S, transit_ns: 90 * MS, ..picture() };
    let shown = run(&mut ClockModel::new(), &[sound(), picture]);
    assert!(worst(&offsets_ms(&shown[0], &shown[1], 10 * S)) > 50.0, "the case tests nothing");
    assert!(worst(&offsets_ms(&shown[0], &shown[1], 32 * S)) < 6.0);
    assert!(shown[1].windows(2).all(|w| w[1].shown > w[0].shown));
}

#[test]
fn a_stream_that_restarts_keeps_going() {
    let mut model = ClockModel::new();
    let first = run(&mut model, &[Sender { until_ns: 20 * S, ..sound() }, Sender { until_ns: 20 * S, ..picture() }]);
    let again = [
        Sender { from_ns: 21 * S, stream: 2, first_report_ns: S, ..sound() },
        Sender { from_ns: 21 * S, stream: 2, first_report_ns: S, ..picture() },
    ];
    let second = run(&mut model, &again);
    assert!(second[0][0].shown > first[0].last().unwrap().shown);
    let offsets = offsets_ms(&second[0], &second[1], 0);
    assert!(median(&offsets) < 6.0 && worst(&offsets) < 25.0, "{:.1} {:.1}", median(&offsets), worst(&offsets));
    // A report of the stream before is not taken for one of this.
    let id = &again[0].id;
    model.sender_report(id, 1, 48_000, 99 * HOUR, 5, SessionTime::from_millis(60_000));
    let rtp = again[0].rtp(60 * S);
    let after = model.arrived(id, 2, 48_000, rtp, SessionTime::from_nanos((60 * S + 30 * MS) as u64));
    assert!((after.as_nanos() as i64 - 60 * S - 30 * MS).abs() < 5 * MS);
}

#[test]
fn an_rtp_time_that_jumps_is_followed_at_once() {
    let id = sound().id;
    for jump in [-500_000_i64, 500_000] {
        let mut model = ClockModel::new();
        let mut last = SessionTime::ZERO;
        for n in 0..1_000_i64 {
            let rtp = 1_000_000 + n * 960 + if n < 500 { 0 } else { jump };
            let arrival = SessionTime::from_millis(1_000 + 20 * n as u64);
            let capture = model.arrived(&id, 1, 48_000, rtp as u64, arrival);
            assert!(capture >= last && arrival.signed_since(capture).abs() < 5 * MS, "{n}: {capture} {arrival}");
            last = capture;
        }
    }
}

#[test]
fn a_route_that_becomes_slower_is_followed_within_half_a_minute() {
    let id = sound().id;
    let mut model = ClockModel::new();
    let mut shown = SessionTime::ZERO;
    for n in 0..2_500_u64 {
        let slower = if n < 1_000 { 0 } else { 900 };
        let arrival = SessionTime::from_millis(1_000 + 20 * n + slower);
        let capture = model.arrived(&id, 1, 48_000, n * 960, arrival);
        assert!(capture > shown);
        shown = capture;
    }
    assert!((shown.as_nanos() as i64 - (1_000 + 20 * 2_499 + 900) * MS).abs() < 8 * MS, "{shown}");
}

#[test]
fn a_burst_that_waited_for_the_connection_does_not_make_a_track_late() {
    // 400 ms of frames come at once; those after it take 20 ms.
    let mut model = ClockModel::new();
    let id = sound().id;
    let captures: Vec<i64> = (0..100_i64)
        .map(|n| {
            let arrival = (1_000 + n * 20 + 20).max(1_400) * MS;
            model.arrived(&id, 1, 48_000, n as u64 * 960, SessionTime::from_nanos(arrival as u64)).as_nanos() as i64
        })
        .collect();
    assert!(captures.is_sorted());
    for (n, capture) in captures.iter().enumerate().skip(20) {
        assert_eq!(*capture, (1_000 + n as i64 * 20 + 20) * MS, "packet {n}");
    }
}

#[test]
fn what_a_server_makes_up_is_placed_and_teaches_nothing() {
    let mut model = ClockModel::new();
    let id = sound().id;
    assert_eq!(model.place(&id, 1, 0), None);
    let packet = |n: u64| (n * 960, SessionTime::from_millis(1000 + n * 20));
    for (rtp, arrival) in (0..100).map(packet) {
        model.arrived(&id, 1, 48_000, rtp, arrival);
    }
    // The server's silence comes 30 ms before speech could.
    for n in 100..150 {
        let (rtp, expected) = packet(n);
        assert_eq!(model.place(&id, 1, rtp), Some(expected), "{n}");
        assert_eq!(model.place(&id, 2, rtp), None, "of a stream that nobody knows");
    }
    let (rtp, expected) = packet(200);
    assert_eq!(model.arrived(&id, 1, 48_000, rtp, expected), expected, "the first word is where it was spoken");
}

#[test]
fn nothing_is_captured_before_the_session() {
    let mut model = ClockModel::new();
    let id = sound().id;
    // The first frame took 400 ms, those after it come at once: the first ones were captured before the epoch.
    let captures: Vec<_> = (0..200_u64)
        .map(|n| {
            model.arrived(&id, 1, 48_000, 96_000 + n * 960, SessionTime::from_millis(if n < 15 { 1 } else { 1 + 20 * (n - 15) }))
        })
        .collect();
    assert!(captures.windows(2).all(|w| w[0] <= w[1]));
    assert!(captures[199].as_nanos() < 4_200 * MS as u64);
}

#[test]
fn values_from_hell_are_survived() {
    let mut model = ClockModel::new();
    let id = sound().id;
    for (n, value) in [0, u64::MAX, 1 << 63, 77, i64::MAX as u64].into_iter().cycle().take(200).enumerate() {
        let at = SessionTime::from_millis(n as u64 * 20);
        let _ = model.arrived(&id, n as u32 / 7, (n % 3) as u32 * 48_000, value, at);
        model.sender_report(&id, n as u32 / 7, 0, value as i64, value.wrapping_mul(3), at);
    }
    model.forget(&id);
    assert!(model.participants.is_empty());
}

#[test]
fn twelve_hours_cost_little_and_drift_nowhere() {
    let begun = Instant::now();
    let mut model = ClockModel::new();
    let (sound, picture) = (sound().id, picture().id);
    let media = |ns: i64, ppm: i64, hz: i64| {
        (i128::from(ns) * i128::from(1_000_000 + ppm) * i128::from(hz) / 1_000_000 / i128::from(S)) as u64
    };
    let mut last = [SessionTime::ZERO; 2];
    let mut seed = 3;
    let mut n = 0_i64;
    // Frames of 60 ms keep the test quick.
    while n * 60 * MS < 12 * HOUR {
        let t = n * 60 * MS + S;
        let arrival = SessionTime::from_nanos((t + 20 * MS) as u64 + random(&mut seed) % 10_000_000);
        let heard = model.arrived(&sound, 1, 48_000, media(t, 100, 48_000), arrival);
        let seen = model.arrived(&picture, 1, 90_000, media(t, -100, 90_000), arrival + std::time::Duration::from_millis(7));
        if n % 50 == 0 {
            model.sender_report(&sound, 1, 48_000, t - HOUR, media(t, 100, 48_000), arrival);
            model.sender_report(&picture, 1, 90_000, t - HOUR, media(t, -100, 90_000), arrival);
        }
        assert!(heard > last[0] && seen > last[1]);
        last = [heard, seen];
        if n > 500 {
            assert!((heard.as_nanos() as i64 - t - 20 * MS).abs() < 8 * MS, "at {t}: {heard}");
            assert!(heard.signed_since(seen).abs() < 6 * MS, "at {t}: {heard} {seen}");
        }
        n += 1;
    }
    let clock = model.participants.values().next().unwrap();
    assert!(clock.held() < 200, "{}", clock.held());
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
