//! Whole ways: encoder, offer, mix. Everything on virtual time, with libopus as the sender.

use std::f64::consts::TAU;

use opus::{Application, Bitrate, Channels, Encoder};
use recorder_core::clock_model::ClockModel;
use recorder_core::time::SessionTime;

use self::sender::*;
use super::{LevelSettings, SoundMixer, SoundSettings};
use crate::media::MediaFrame;

pub(super) mod sender;

#[test]
fn a_tone_keeps_frequency_phase_and_place() {
    for block in [960, 1_024, 333] {
        let mut mixer = mixer_for(&["ann"]);
        let mut ann = Sender::new("ann", tone(500.0, 0.5));
        let (left, right) = mix(&mut mixer, 3.0, block, |m, until| feed_all(m, &mut ann, until));
        assert_eq!(left, right);
        for piece in 0..25 {
            let (gain, phase) = measure(&left, 9_600 + 4_800 * piece, 4_800, 500.0);
            assert!((gain - 0.5).abs() < 0.02, "{gain}");
            // 0.02 rad of 500 Hz are 6 µs.
            assert!(phase.abs() < 0.03, "piece {piece}: {phase}");
        }
        let own = 0.5 * 2.0 * (TAU * 500.0 / RATE / 2.0).sin();
        assert!(largest_step(&left[4_800..]) < own * 1.08);
    }
}

#[test]
fn an_impulse_is_heard_when_it_was_captured() {
    let mut mixer = mixer_for(&["ann"]);
    let at = 1.5;
    let mut ann = Sender::new("ann", move |t| {
        let x = if (t - at).abs() < 0.5 / RATE { 0.8 } else { 0.0 };
        (x, x)
    });
    let (left, _) = mix(&mut mixer, 1.0, 960, |m, until| feed_all(m, &mut ann, until));
    let peak = (0..left.len()).max_by(|&a, &b| left[a].abs().total_cmp(&left[b].abs())).unwrap();
    let off_ms = (peak as f64 - 0.5 * RATE) / 48.0;
    assert!(left[peak].abs() > 0.1 && off_ms.abs() < 0.5, "{off_ms} ms, {}", left[peak]);
}

#[test]
fn everybody_is_in_the_sum() {
    let tones = [("ann", 440.0), ("bob", 700.0), ("cem", 1_100.0), ("dee", 1_700.0)];
    let mut mixer = mixer_for(&["ann", "bob", "cem", "dee"]);
    let mut people: Vec<_> = tones.iter().map(|&(name, hz)| Sender::new(name, tone(hz, 0.15))).collect();
    let (left, _) = mix(&mut mixer, 2.0, 1_024, |m, until| people.iter_mut().for_each(|p| feed_all(m, p, until)));
    for (name, hz) in tones {
        let (gain, phase) = measure(&left, 24_000, 48_000, hz);
        assert!((gain - 0.15).abs() < 0.01 && phase.abs() < 0.1, "{name}: {gain} {phase}");
    }
    let levels = mixer.levels();
    assert_eq!(levels.len(), 4);
    for (_, level) in &levels {
        // A sine of 0.15 has 10 log (0.15² / 2) = −19.5 dBov.
        assert!((level + 19.5).abs() < 0.5, "{level}");
    }
    assert!(mixer.levels().iter().all(|(_, level)| *level == -127.0));
}

#[test]
fn a_clock_100_ppm_off_makes_no_step_in_three_minutes() {
    for (ppm, seconds) in [(100.0, 180.0), (-100.0, 180.0)] {
        let mut mixer = mixer_for(&["ann"]);
        let mut clock = ClockModel::new();
        let mut ann = Sender::new("ann", tone(200.0, 0.5));
        ann.ppm = ppm;
        ann.encoder.set_complexity(0).unwrap();
        let (left, _) = mix(&mut mixer, seconds, 1_024, |m, until| {
            while ann.next_ns() + 30_000_000 < until {
                let mut packet = ann.packet();
                let captured = packet.capture;
                // What reception does: arrivals with jitter, reports of a clock that is an hour wrong.
                let jitter = 200_000 * (packet.rtp_time / 960 * 7 % 40);
                let arrival = captured.offset(30_000_000 + jitter as i64);
                packet.capture = clock.arrived(&packet.track, 1, 48_000, packet.rtp_time, arrival);
                if ann.sent.is_multiple_of(144_000) {
                    let ntp_ns = captured.as_nanos() as i64 - 3_600_000_000_000;
                    clock.sender_report(&packet.track, 1, 48_000, ntp_ns, packet.rtp_time, arrival);
                }
                m.offer(packet);
            }
        });
        let steady = &left[48_000..];
        let own = 0.5 * 2.0 * (TAU * 200.0 / RATE / 2.0).sin();
        assert!(largest_step(steady) < own * 1.08, "{} {own}", largest_step(steady));
        assert!(longest_quiet_ms(steady, 0.05) < 1.0);
        let counts = mixer.mix(SessionTime::ZERO, &mut []).counts;
        assert_eq!((counts.replaced, counts.concealed_samples, counts.late), (0, 0, 0));
        // Programme time is true time plus the transit of 30 ms, at the end as at the beginning: 6 whole periods of 200 Hz.
        for from in (48_000 * 10..left.len() - 9_600).step_by(48_000) {
            let (gain, phase) = measure(&left, from, 9_600, 200.0);
            assert!((gain - 0.5).abs() < 0.02, "{gain}");
            // 1 ms of lag is the clock model's: 10 s of window at 100 ppm.
            assert!(phase.abs() < TAU * 200.0 * 0.001_3, "at sample {from}: {phase}");
        }
    }
}

fn lossy(lost: impl Fn(u64) -> bool) -> (Vec<f32>, super::SoundCounts) {
    let mut mixer = mixer_for(&["ann"]);
    let mut ann = Sender::new("ann", tone(440.0, 0.5));
    let mut n = 0;
    let mut before = true;
    let (left, _) = mix(&mut mixer, 20.0, 960, |m, until| {
        while ann.next_ns() < until {
            let mut packet = ann.packet();
            packet.contiguous = before;
            before = !lost(n);
            n += 1;
            if before {
                m.offer(packet);
            }
        }
    });
    (left, mixer.mix(SessionTime::ZERO, &mut []).counts)
}

#[test]
fn lost_packets_are_not_heard_as_silence() {
    let (left, counts) = lossy(|n| n > 10 && n.wrapping_mul(2_654_435_761) % 100 < 5);
    assert!(counts.concealed_samples > 30 * 960, "{counts:?}");
    assert!(longest_quiet_ms(&left[9_600..], 0.02) < 25.0, "{}", longest_quiet_ms(&left[9_600..], 0.02));
    // Four at once.
    let (left, _) = lossy(|n| n % 100 > 95);
    assert!(longest_quiet_ms(&left[9_600..], 0.02) < 40.0, "{}", longest_quiet_ms(&left[9_600..], 0.02));
    // Twenty at once are faded to silence and back, without a click.
    let (left, _) = lossy(|n| n % 100 > 79);
    assert!(longest_quiet_ms(&left[9_600..], 0.001) > 200.0);
    assert!(largest_step(&left[9_600..]) < 0.08, "{}", largest_step(&left[9_600..]));
}

#[test]
fn a_first_word_after_a_pause_is_there_at_its_instant() {
    for pause in [19_200_usize, 96_000, 480_000] {
        let mut mixer = mixer_for(&["ann"]);
        let mut ann = Sender::new("ann", tone(440.0, 0.5));
        let mut paused = false;
        let (left, _) = mix(&mut mixer, 13.0, 960, |m, until| {
            while ann.next_ns() < until {
                if !paused && ann.sent == 48_000 {
                    paused = true;
                    ann.skip(pause);
                }
                m.offer(ann.packet());
            }
        });
        let word = 48_000 + pause;
        let (gain, _) = measure(&left, word + 480, 960, 440.0);
        assert!(gain > 0.45, "after {pause}: {gain}");
        let (gain, phase) = measure(&left, word + 2_400, 4_800, 440.0);
        assert!((gain - 0.5).abs() < 0.03 && phase.abs() < 0.1, "after {pause}: {gain} {phase}");
        if pause > 9_600 {
            assert!(left[48_000 + 4_800 + 400..word - 400].iter().all(|x| x.abs() < 1e-4));
        }
        assert!(largest_step(&left[4_800..]) < 0.09, "{pause}: {}", largest_step(&left[4_800..]));
    }
}

#[test]
fn a_stream_that_restarts_goes_over_without_a_click() {
    let mut mixer = mixer_for(&["ann"]);
    let mut ann = Sender::new("ann", tone(440.0, 0.4));
    let mut again = Sender::new("ann", tone(440.0, 0.4));
    again.from_ns = 2_000_000_000;
    again.rtp0 = 5;
    again.stream = 2;
    let (left, _) = mix(&mut mixer, 3.0, 960, |m, until| {
        feed_all(m, &mut ann, until.min(2_000_000_000));
        feed_all(m, &mut again, until);
    });
    assert!(longest_quiet_ms(&left[4_800..], 0.02) < 12.0, "{}", longest_quiet_ms(&left[4_800..], 0.02));
    assert!(largest_step(&left[4_800..]) < 0.08, "{}", largest_step(&left[4_800..]));
    let (gain, phase) = measure(&left, 96_000, 24_000, 440.0);
    assert!((gain - 0.4).abs() < 0.02 && phase.abs() < 0.05);
}

#[test]
fn capture_times_that_move_far_are_followed_by_a_crossfade() {
    let mut mixer = mixer_for(&["ann"]);
    let mut ann = Sender::new("ann", tone(440.0, 0.5));
    let (left, _) = mix(&mut mixer, 4.0, 960, |m, until| {
        while ann.next_ns() < until {
            let mut packet = ann.packet();
            if ann.sent > 96_000 {
                packet.capture = packet.capture.offset(100_000_000);
            }
            m.offer(packet);
        }
    });
    let counts = mixer.mix(SessionTime::ZERO, &mut []).counts;
    assert_eq!(counts.replaced, 1);
    assert!(largest_step(&left[4_800..]) < 0.06, "{}", largest_step(&left[4_800..]));
    let (gain, phase) = measure(&left, 144_000, 9_600, 440.0);
    // 100 ms are 44 whole periods.
    assert!((gain - 0.5).abs() < 0.02 && phase.abs() < 0.05, "{gain} {phase}");
}

#[test]
fn a_scene_is_heard_from_its_instant_on() {
    let mut mixer = mixer_for(&["ann"]);
    mixer.show(scene(1_503, &[]));
    mixer.show(scene(1_777, &["ann"]));
    let mut ann = Sender::new("ann", tone(440.0, 0.5));
    let (left, _) = mix(&mut mixer, 2.0, 1_024, |m, until| feed_all(m, &mut ann, until));
    let ms = |ms: usize| ms * 48;
    let peak = |from: usize, to: usize| left[from..to].iter().fold(0.0_f32, |p, x| p.max(x.abs()));
    assert!(peak(ms(499), ms(503)) > 0.45);
    assert!(peak(ms(504), ms(508)) < 0.49);
    assert_eq!(peak(ms(508) + 1, ms(777)), 0.0);
    assert!(peak(ms(777), ms(779)) > 0.01);
    assert!(peak(ms(782), ms(786)) > 0.45);
    assert!(largest_step(&left[4_800..]) < 0.04);
}

#[test]
fn every_packet_length_and_both_channel_counts_fit_together() {
    let lengths = [120, 240, 480, 960, 1_920, 2_880];
    let mut mixer = mixer_for(&["ann"]);
    let mut senders: Vec<_> = lengths.iter().flat_map(|&n| [(n, Channels::Mono), (n, Channels::Stereo)]).collect();
    senders.reverse();
    let mut sent = 0_u64;
    let mut now: Option<Sender<_>> = None;
    let (left, right) = mix(&mut mixer, 6.5, 960, |m, until| {
        loop {
            // A fresh encoder each half second: its first 6.5 ms rise from silence.
            if now.as_ref().is_none_or(|s| s.sent >= sent + 23_040) {
                sent = now.as_ref().map_or(0, |s| s.sent);
                if let Some((n, channels)) = senders.pop() {
                    let mut sender = Sender::with("ann", n, channels, |t: f64| ((TAU * 440.0 * t).sin() as f32 * 0.4, 0.0));
                    sender.sent = sent;
                    now = Some(sender);
                }
            }
            let sender = now.as_mut().unwrap();
            if sender.next_ns() >= until {
                break;
            }
            m.offer(sender.packet());
        }
    });
    let counts = mixer.mix(SessionTime::ZERO, &mut []).counts;
    assert_eq!((counts.undecodable, counts.late, counts.concealed_samples), (0, 0, 0));
    for piece in 0..12 {
        let (gain, phase) = measure(&left, piece * 23_040 + 4_800, 14_400, 440.0);
        assert!(gain > 0.15 && phase.abs() < 0.15, "piece {piece}: {gain} {phase}");
        let (other, _) = measure(&right, piece * 23_040 + 4_800, 14_400, 440.0);
        assert_eq!(other < 0.5 * gain, piece % 2 == 1, "piece {piece}: {gain} {other}");
    }
}

#[test]
fn garbage_is_counted_concealed_and_forgotten() {
    // Two seconds of noise would teach the level something.
    let level = LevelSettings { speech_lufs: None, ..LevelSettings::default() };
    let mut mixer = SoundMixer::new(SoundSettings { level, ..SoundSettings::default() });
    mixer.show(scene(0, &["ann"]));
    let mut ann = Sender::new("ann", tone(440.0, 0.5));
    let mut seed = 1_u64;
    let (left, _) = mix(&mut mixer, 8.0, 960, |m, until| {
        while ann.next_ns() < until {
            let mut packet = ann.packet();
            if ann.sent > 96_000 && ann.sent < 192_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let len = (seed >> 50) as usize % 200;
                packet.data = (0..len).map(|n| (seed >> (n % 57)) as u8 ^ n as u8).collect();
                if seed >> 63 == 1 {
                    packet.rtp_time = seed.rotate_left(17);
                }
            } else if ann.sent >= 192_000 {
                packet.stream = 2;
            }
            m.offer(packet);
        }
    });
    let counts = mixer.mix(SessionTime::ZERO, &mut []).counts;
    assert!(counts.undecodable > 5, "{counts:?}");
    assert!(left.iter().all(|x| x.abs() <= 0.707_95));
    let (gain, phase) = measure(&left, 300_000, 48_000, 440.0);
    assert!((gain - 0.5).abs() < 0.02 && phase.abs() < 0.05, "{gain} {phase}");
    assert!(mixer.held_bytes() <= 3 * 8 * 131_072);
}

#[test]
fn loud_people_do_not_clip() {
    let names = ["ann", "bob", "cem", "dee"];
    let mut mixer = mixer_for(&names);
    let mut people: Vec<_> =
        names.iter().enumerate().map(|(n, name)| Sender::new(name, tone(300.0 + 170.0 * n as f64, 0.9))).collect();
    let (left, _) = mix(&mut mixer, 2.0, 960, |m, until| people.iter_mut().for_each(|p| feed_all(m, p, until)));
    assert!(left.iter().all(|x| x.abs() <= 0.707_95));
    assert!(left.iter().any(|x| x.abs() > 0.67));
    let report = mixer.mix(SessionTime::from_millis(3_000), &mut [0.0; 1_920]);
    assert!(report.least_gain < 0.5);
}

#[test]
fn late_packets_are_dropped_and_counted() {
    let mut mixer = mixer_for(&["ann"]);
    let mut ann = Sender::new("ann", tone(440.0, 0.5));
    let mut held: Vec<MediaFrame> = Vec::new();
    let _ = mix(&mut mixer, 3.0, 960, |m, until| {
        while ann.next_ns() < until {
            held.push(ann.packet());
        }
        // From 2 s on everything comes 600 ms late: after its instant.
        while held
            .first()
            .is_some_and(|p| p.capture.as_nanos() < 2_000_000_000 || p.capture.as_nanos() as i64 + 600_000_000 < until)
        {
            m.offer(held.remove(0));
        }
    });
    let counts = mixer.mix(SessionTime::ZERO, &mut []).counts;
    assert!(counts.late > 30, "{counts:?}");
}

#[test]
fn tracks_scenes_and_samples_are_bounded() {
    let mut mixer = SoundMixer::new(SoundSettings { max_tracks: 5, ..SoundSettings::default() });
    let mut packet = Sender::new("ann", tone(440.0, 0.5)).packet();
    for n in 0..20 {
        packet.track = track(&format!("p{n}"));
        mixer.offer(packet.clone());
    }
    assert_eq!((mixer.tracks.len(), mixer.counts.refused), (5, 15));
    for n in 0..1_000 {
        mixer.show(scene(5_000 + n, &["p1"]));
    }
    assert!(mixer.scenes.len() <= 64);
    // Ten seconds of packets that nobody mixes.
    let mut bob = Sender::new("p1", tone(440.0, 0.5));
    feed_all(&mut mixer, &mut bob, 11_000_000_000);
    assert!(mixer.held_bytes() <= 5 * 8 * 131_072, "{}", mixer.held_bytes());
    let mut out = vec![0.0; 2_048];
    for b in 0..2_000_u64 {
        mixer.mix(SessionTime::from_nanos(1_000_000_000 + super::samples_to_ns(b * 1_024) as u64), &mut out);
    }
    assert!(mixer.tracks.is_empty(), "who is silent for 30 s is dropped");
}

#[test]
fn ten_minutes_hold_no_more_than_one() {
    let mut mixer = mixer_for(&["ann"]);
    // The same 200 packets again and again keep the encoder out of the test.
    let mut ann = Sender::new("ann", tone(500.0, 0.3));
    let packets: Vec<_> = (0..200).map(|_| ann.packet()).collect();
    let mut n = 0_u64;
    let mut held = 0;
    let (left, _) = mix(&mut mixer, 600.0, 1_024, |m, until| {
        while 1_000_000_000 + n as i64 * 20_000_000 < until {
            let mut packet = packets[100 + (n % 100) as usize].clone();
            packet.rtp_time = n * 960;
            packet.capture = SessionTime::from_millis(1_000 + n * 20);
            m.offer(packet);
            n += 1;
        }
        if until < 60_000_000_000 {
            held = held.max(m.held_bytes());
        }
        assert!(m.held_bytes() <= held);
    });
    let (gain, phase) = measure(&left, left.len() - 96_000, 48_000, 500.0);
    assert!((gain - 0.3).abs() < 0.02 && phase.abs() < 0.05, "{gain} {phase}");
    assert!(longest_quiet_ms(&left[4_800..], 0.01) < 2.0);
}

#[test]
fn a_jump_of_programme_time_begins_anew() {
    let mut mixer = mixer_for(&["ann"]);
    let mut ann = Sender::new("ann", tone(440.0, 0.5));
    feed_all(&mut mixer, &mut ann, 3_000_000_000);
    let mut out = vec![0.0; 1_920];
    mixer.mix(SessionTime::from_millis(1_000), &mut out);
    let report = mixer.mix(SessionTime::from_millis(1_700), &mut out);
    assert_eq!(report.counts.restarts, 1);
    let report = mixer.mix(SessionTime::from_millis(1_720), &mut out);
    assert_eq!((report.counts.restarts, report.heard), (1, 1));
    let left: Vec<f32> = std::iter::repeat_n(0.0, 34_560).chain(out.iter().step_by(2).copied()).collect();
    let (gain, phase) = measure(&left, 34_560, 960, 440.0);
    assert!(gain > 0.4 && phase.abs() < 0.2, "{gain} {phase}");
}

#[test]
fn the_background_does_not_pulse_while_a_sender_saves_packets() {
    let mut mixer = mixer_for(&["ann"]);
    let noise = |t: f64| {
        let hash = ((t * RATE).round() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let x = ((hash >> 40) as f32 / (1_u64 << 24) as f32 - 0.5) * if t < 2.0 { 0.4 } else { 0.01 };
        (x, x)
    };
    let mut ann = Sender::new("ann", noise);
    ann.encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).unwrap();
    ann.encoder.set_bitrate(Bitrate::Bits(24_000)).unwrap();
    // From 2.5 s on as browsers do it: each 400 ms a packet, then one that says "silent" by being a TOC byte alone, then nothing.
    let (left, _) = mix(&mut mixer, 6.0, 960, |m, until| {
        while ann.next_ns() < until {
            let mut packet = ann.packet();
            let n = ann.sent / 960;
            if n > 75 && n % 20 == 1 {
                packet.data = [packet.data[0] & 0xFC].into();
            }
            if n <= 75 || n % 20 <= 1 {
                m.offer(packet);
            }
        }
    });
    let power = |from: usize| left[from..from + 4_800].iter().map(|x| f64::from(x * x)).sum::<f64>() / 4_800.0;
    let pieces: Vec<f64> = (20..48).map(|n| power(n * 4_800)).collect();
    assert!(pieces.iter().all(|p| *p > 0.0), "{pieces:?}");
}

#[test]
fn in_a_pause_the_sound_is_placed_anew_at_once() {
    let mut mixer = mixer_for(&["ann"]);
    let mut ann = Sender::new("ann", tone(200.0, 0.5));
    let (left, _) = mix(&mut mixer, 4.0, 960, |m, until| {
        while ann.next_ns() < until {
            if ann.sent == 48_000 {
                ann.skip(24_000);
            }
            let mut packet = ann.packet();
            if ann.sent > 72_000 {
                // 15 ms are 3 whole periods.
                packet.capture = packet.capture.offset(15_000_000);
            }
            m.offer(packet);
        }
    });
    assert!(left[72_000 - 480..72_000 + 300].iter().all(|x| x.abs() < 1e-3), "not too early");
    let (gain, phase) = measure(&left, 72_000 + 1_200, 4_800, 200.0);
    assert!((gain - 0.5).abs() < 0.03 && phase.abs() < 0.05, "{gain} {phase}");
    assert_eq!(mixer.counts.replaced, 0);
}

#[test]
fn both_sides_are_interpolated() {
    let mut mixer = mixer_for(&["ann"]);
    let wave = |t: f64| ((TAU * 440.0 * t).sin() as f32 * 0.4, (TAU * 700.0 * t).sin() as f32 * 0.3);
    let mut ann = Sender::with("ann", 960, Channels::Stereo, wave);
    ann.ppm = 80.0;
    let (left, right) = mix(&mut mixer, 12.0, 960, |m, until| feed_all(m, &mut ann, until));
    for (side, hz, gain) in [(&left, 440.0, 0.4), (&right, 700.0, 0.3)] {
        let (found, _) = measure(side, 480_000, 48_000, hz);
        assert!((found - gain).abs() < 0.03, "{hz} Hz: {found}");
    }
}

#[test]
fn it_can_be_moved_to_the_sound_thread() {
    fn moved<T: Send + 'static>(_: T) {}
    moved(SoundMixer::new(SoundSettings::default()));
}
