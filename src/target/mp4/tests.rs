use std::time::Duration;

use proptest::prelude::*;
use recorder_core::time::SessionTime;

use super::samples::{self, SECONDS, TONE_AT, frame, look, made_up_headers, picture, real};
use super::*;
use crate::programme::packet::{Packet, Stream};

/// Writes one Take of `packets` and returns the fragments' bytes.
fn write(writer: &mut Writer, start: SessionTime, packets: &[Packet]) -> Vec<Fragment> {
    let mut fragments = Vec::from_iter(writer.begin_take(start).unwrap());
    for packet in packets {
        fragments.extend(writer.push(packet).unwrap());
    }
    fragments.extend(writer.flush().unwrap());
    fragments
}

fn joined(fragments: &[Fragment]) -> Vec<u8> {
    fragments.iter().flat_map(|fragment| fragment.bytes.iter().copied()).collect()
}

fn ended(file: &[u8]) -> Vec<u8> {
    let ending = Ending::plan(Scanner::open(file).unwrap()).unwrap();
    let mut whole = file[..ending.keep_len as usize].to_vec();
    whole.extend_from_slice(&ending.moov);
    whole[ending.spare_at as usize..][..16].copy_from_slice(&ending.mdat_header);
    whole
}

/// Looks at bytes as a file.
fn seen(bytes: &[u8]) -> samples::Seen {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.mp4");
    std::fs::write(&file, bytes).unwrap();
    look(&file)
}

fn assert_whole(seen: &samples::Seen, fps: u32, what: &str) {
    assert_eq!(seen.complaints, "", "{what}");
    assert_eq!(seen.pictures.len() as u32, fps * SECONDS, "{what}");
    let expected: Vec<u64> = (0..u64::from(fps * SECONDS)).map(|n| n * 1000).collect();
    assert_eq!(seen.picture_ticks, expected, "{what}");
    assert!(seen.sound_ticks.windows(2).all(|pair| pair[1] - pair[0] == 1024), "{what}: {:?}", seen.sound_ticks);
    assert_eq!(seen.sound_ticks[0], -1024, "{what}: the priming lies before the first picture");
    let tone_at = seen.tone_at.unwrap();
    assert!((tone_at - TONE_AT).abs() < 0.001, "{what}: the tone begins at {tone_at} s");
}

#[test]
fn plays_while_it_grows_and_when_it_is_ended() {
    for fps in [25, 30] {
        let start = SessionTime::from_nanos(7_123_456_789);
        let real = real(fps);
        let mut writer = Writer::new(real.headers.clone()).unwrap();
        let file = joined(&write(&mut writer, start, &real.packets(start)));
        assert_whole(&seen(&file), fps, &format!("growing at {fps}"));
        let ended = seen(&ended(&file));
        assert_whole(&ended, fps, &format!("ended at {fps}"));
        let tone_at = ended.tone_from_first_sample.unwrap();
        assert!((tone_at - TONE_AT).abs() < 0.001, "decoders do not hide the priming: {tone_at}");
    }
}

#[test]
fn plays_after_every_fragment_and_no_fragment_is_longer_than_it_may_be() {
    let real = real(30);
    let mut writer = Writer::new(real.headers.clone()).unwrap();
    let fragments = write(&mut writer, SessionTime::ZERO + Duration::from_secs(1), &real.packets(SessionTime::from_millis(1000)));
    assert!(fragments.len() >= 8, "{}", fragments.len());
    let mut file = Vec::new();
    for (n, fragment) in fragments.iter().enumerate() {
        file.extend_from_slice(&fragment.bytes);
        let mut scanner = Scanner::open(&file[..]).unwrap();
        let mut last = None;
        while let Some(found) = scanner.next_fragment().unwrap() {
            last = Some(found);
        }
        assert_eq!(scanner.whole_len(), file.len() as u64);
        for chunk in last.unwrap().chunks {
            let limit = if chunk.track == Track::Video { 15 } else { 23 };
            assert!(chunk.sizes.len() <= limit, "{} samples", chunk.sizes.len());
        }
        if n % 3 == 0 {
            let seen = seen(&file);
            assert_eq!(seen.complaints, "");
            assert!(!seen.pictures.is_empty());
        }
    }
    // Never ahead of either stream.
    assert!(fragments.last().unwrap().until <= SessionTime::from_millis(5000));
    assert!(fragments.last().unwrap().until >= SessionTime::from_millis(4950));
}

#[test]
fn a_second_take_of_another_worker_follows_in_the_same_file_and_stays_in_sync() {
    let real = real(30);
    let first = SessionTime::from_millis(500);
    let mut writer = Writer::new(real.headers.clone()).unwrap();
    let mut file = joined(&write(&mut writer, first, &real.packets(first)));
    // The worker died within a fragment.
    file.extend_from_slice(b"\0\0\x01\0moof torn");
    let (mut writer, keep) = Writer::append(real.headers.clone(), &file[..]).unwrap();
    file.truncate(keep as usize);
    // The second Take lies anywhere against the grid of the first, and the sound not on the picture's instant.
    let second = SessionTime::from_nanos(61_234_567_890);
    let packets: Vec<Packet> = real
        .packets(second)
        .into_iter()
        .map(|packet| match packet.stream {
            Stream::Video => packet,
            Stream::Sound => Packet { pts: packet.pts.offset(7_000_000), ..packet },
        })
        .collect();
    file.extend(joined(&write(&mut writer, second, &packets)));
    let origin = writer.take_file_time().as_secs_f64();
    assert!((4.0..4.1).contains(&origin), "{origin}");
    for (bytes, what) in [(file.clone(), "growing"), (ended(&file), "ended")] {
        let seen = seen(&bytes);
        assert_eq!(seen.complaints, "", "{what}");
        assert_eq!(seen.pictures.len(), 240, "{what}");
        assert!(seen.picture_ticks.iter().all(|pts| pts % 1000 == 0), "{what}");
        assert!((seen.pictures[120] - origin).abs() < 0.001, "{what}: {}", seen.pictures[120]);
        // The second Take's tone lies 1.007 s after its first picture: the first frame after its start is number 1.
        let sound: Vec<f64> = seen.sound_ticks.iter().map(|pts| *pts as f64 / 48_000.0).collect();
        let at = sound.iter().rposition(|&pts| pts < origin - 0.001).unwrap() + 1;
        let expected = origin + 0.007;
        assert!((sound[at] - expected).abs() < 0.0002, "{what}: {} instead of {expected}", sound[at]);
        assert!(sound.windows(2).all(|pair| pair[1] > pair[0]), "{what}");
    }
}

#[test]
fn other_headers_are_refused() {
    let mut writer = Writer::new(made_up_headers(30)).unwrap();
    let file = joined(&write(&mut writer, SessionTime::ZERO, &[picture(SessionTime::ZERO, 30, 0, true, 9)]));
    assert!(Writer::append(made_up_headers(30), &file[..]).is_ok());
    assert!(matches!(Writer::append(made_up_headers(25), &file[..]), Err(Mp4Error::HeadersDiffer)));
    let wider = crate::programme::packet::CodecHeaders { width_px: 642, ..made_up_headers(30) };
    assert!(matches!(Writer::append(wider, &file[..]), Err(Mp4Error::HeadersDiffer)));
    let none = crate::programme::packet::CodecHeaders { width_px: 0, ..made_up_headers(30) };
    assert!(matches!(Writer::new(none), Err(Mp4Error::BadHeaders { field: "picture size", .. })));
}

#[test]
fn nothing_at_or_after_the_end_is_kept_and_nothing_of_before_the_start() {
    let start = SessionTime::from_millis(10_000);
    let end = start + Duration::from_millis(1_000);
    let mut writer = Writer::new(made_up_headers(30)).unwrap();
    let mut fragments = Vec::from_iter(writer.begin_take(start).unwrap());
    let mut packets: Vec<Packet> = (0..60).map(|n| picture(start - Duration::from_millis(500), 30, n, n % 15 == 0, 50)).collect();
    packets.extend((-20..90).map(|n| frame(start, n, 20)));
    packets.sort_by_key(|packet| packet.pts);
    for packet in &packets {
        if packet.pts == start {
            writer.limit_take(end);
        }
        fragments.extend(writer.push(packet).unwrap());
    }
    fragments.extend(writer.flush().unwrap());
    let file = joined(&fragments);
    let ends = Scanner::open(&file[..]).unwrap().ends().unwrap();
    assert_eq!(ends.video, 30 * 1000);
    // 46 whole frames fit into the second; one more lies before the first picture.
    assert_eq!(ends.sound, (1 + 46) * 1024);
    assert_eq!(Scanner::open(&file[..]).unwrap().head().sound_lead(), 1024);
}

#[test]
fn an_end_that_comes_late_cuts_what_waits() {
    let start = SessionTime::from_millis(10_000);
    let mut writer = Writer::new(made_up_headers(30)).unwrap();
    writer.begin_take(start).unwrap();
    for n in 0..12 {
        assert!(writer.push(&picture(start, 30, n, n == 0, 50)).unwrap().is_none());
        assert!(writer.push(&frame(start, n as i64, 20)).unwrap().is_none());
    }
    writer.limit_take(start + Duration::from_millis(100));
    let fragment = writer.flush().unwrap().unwrap();
    assert!(fragment.until <= start + Duration::from_millis(100), "{}", fragment.until);
    let ends = Scanner::open(&fragment.bytes[..]).unwrap().ends().unwrap();
    assert_eq!((ends.video, ends.sound), (3000, 4 * 1024));
}

#[test]
fn a_hole_keeps_its_length() {
    let start = SessionTime::from_millis(10_000);
    let mut writer = Writer::new(made_up_headers(30)).unwrap();
    let mut packets: Vec<Packet> =
        (0..90).filter(|n| !(20..60).contains(n)).map(|n| picture(start, 30, n, n % 60 == 0, 50)).collect();
    packets.extend((0..140).filter(|n| !(31..94).contains(n)).map(|n| frame(start, n, 20)));
    packets.sort_by_key(|packet| packet.pts);
    let file = ended(&joined(&write(&mut writer, start, &packets)));
    let seen = seen(&file);
    assert_eq!(seen.picture_ticks[19..21], [19_000, 60_000]);
    assert_eq!(seen.sound_ticks[30..32], [30 * 1024, 94 * 1024]);
}

#[test]
fn twelve_hours_need_constant_memory_and_end_in_seconds() {
    let mut writer = Writer::new(made_up_headers(30)).unwrap();
    writer.begin_take(SessionTime::ZERO).unwrap();
    let begun = std::time::Instant::now();
    let (pictures, frames) = (12 * 3600 * 30u64, 12 * 3600 * 48_000 / 1024);
    let mut file = Vec::new();
    let mut sound = 0;
    let mut largest = 0;
    for n in 0..pictures {
        let packet = picture(SessionTime::ZERO, 30, n, n % 60 == 0, 3);
        let mut fragments = Vec::from_iter(writer.push(&packet).unwrap());
        while sound < frames && sound * 1024 * 30 <= n as i64 * 48_000 {
            fragments.extend(writer.push(&frame(SessionTime::ZERO, sound, 2)).unwrap());
            sound += 1;
        }
        largest = largest.max(writer.waiting_bytes());
        for fragment in fragments {
            file.extend_from_slice(&fragment.bytes);
        }
    }
    file.extend_from_slice(&writer.flush().unwrap().unwrap().bytes);
    assert!(largest < 4096, "{largest} bytes wait in the writer");
    let written = begun.elapsed();
    let begun = std::time::Instant::now();
    let ending = Ending::plan(Scanner::open(&file[..]).unwrap()).unwrap();
    let planned = begun.elapsed();
    assert_eq!(ending.pictures, pictures);
    let (samples, fragments) = writer.written();
    assert!((ending.moov.len() as u64) < Ending::moov_bound(samples, fragments));
    assert!(written < Duration::from_secs(30) && planned < Duration::from_secs(10), "{written:?} {planned:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_read_without_panic_and_only_whole_fragments_count(
        cut in 0usize..40_000, changes in proptest::collection::vec((0usize..40_000, any::<u8>()), 0..12),
    ) {
        let start = SessionTime::ZERO;
        let mut writer = Writer::new(made_up_headers(30)).unwrap();
        let mut packets: Vec<Packet> = (0..60).map(|n| picture(start, 30, n, n % 30 == 0, 500)).collect();
        packets.extend((0..90).map(|n| frame(start, n, 50)));
        packets.sort_by_key(|packet| packet.pts);
        let mut file = joined(&write(&mut writer, start, &packets));
        let full = file.len();
        file.truncate(cut.min(full));
        for (at, value) in &changes {
            // Most of them in the boxes, which are few among the bytes.
            let at = if at % 2 == 0 { at % 3000 } else { *at };
            if let Some(byte) = file.get_mut(at) {
                *byte = *value;
            }
        }
        if let Ok(scanner) = Scanner::open(&file[..]) {
            match Ending::plan(scanner) {
                Ok(ending) => {
                    prop_assert!(ending.keep_len <= file.len() as u64);
                    if changes.is_empty() {
                        prop_assert!(ending.pictures <= 60);
                    }
                }
                Err(error) => prop_assert!(matches!(error, Mp4Error::Empty | Mp4Error::TooLarge | Mp4Error::Box(_)), "{error:?}"),
            }
        }
        let _ = Writer::append(made_up_headers(30), &file[..]);
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Scanner::open(&bytes[..]).is_err());
        prop_assert!(Scanner::open_interrupted(&bytes[..]).is_err());
    }
}
