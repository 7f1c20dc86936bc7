use recorder_core::secret::Secret;

use super::*;
use crate::programme::ring::Ring;
use crate::target::rtmp::protocol::{Goal, Place};

const FPS: u64 = 30;
const GOP: u64 = 60;
const BASE_MS: u64 = 10_000;

fn headers() -> CodecHeaders {
    CodecHeaders {
        avc_config: b"avcC".as_slice().into(),
        aac_config: b"asc".as_slice().into(),
        width_px: 1280,
        height_px: 720,
        fps: 30,
        sample_rate_hz: 48_000,
        channels: 2,
    }
}

fn picture(n: u64) -> Packet {
    Packet {
        stream: Stream::Video,
        pts: SessionTime::from_nanos(BASE_MS * 1_000_000 + n * 1_000_000_000 / FPS),
        duration: Duration::from_nanos(1_000_000_000 / FPS),
        keyframe: n.is_multiple_of(GOP),
        data: n.to_be_bytes().as_slice().into(),
    }
}

/// AAC frame `n`: its first sample is the n·1024th.
fn sound(n: u64) -> Packet {
    Packet {
        stream: Stream::Sound,
        pts: SessionTime::from_nanos(BASE_MS * 1_000_000 + n * 1024 * 1_000_000_000 / 48_000),
        duration: Duration::from_nanos(1024 * 1_000_000_000 / 48_000),
        keyframe: true,
        data: n.to_be_bytes().as_slice().into(),
    }
}

/// Pictures `from..to` and the sound beside them, in the order of encoders whose sound is `late_ms` behind.
fn publish(ring: &Ring, from: u64, to: u64, late_ms: u64) {
    let ms = |n: u64| n * 1000 / FPS;
    let mut packets: Vec<_> = (from..to).map(|n| (ms(n), picture(n))).collect();
    let frames = (ms(from) * 48).div_ceil(1024)..(ms(to) * 48).div_ceil(1024);
    packets.extend(frames.map(|n| (n * 1024 / 48 + late_ms, sound(n))));
    packets.sort_by_key(|(at, _)| *at);
    packets.into_iter().for_each(|(_, packet)| ring.publish(packet));
}

fn ready() -> Protocol {
    let place = Place { app: "a".into(), tc_url: "t".into(), key: Secret::new("k") };
    Protocol::made_ready(place, Goal::Publish)
}

/// Messages as (kind, time, second byte of the body, last eight bytes of it).
fn messages(protocol: &mut Protocol) -> Vec<(u8, u32, u8, u64)> {
    let mut out = Vec::new();
    protocol.take_output(&mut out);
    let mut rest = out.as_slice();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let field = |at: usize| u32::from_be_bytes([0, rest[at], rest[at + 1], rest[at + 2]]);
        let (time, length, kind) = (field(1), field(4) as usize, rest[7]);
        let is_extended = time == 0xff_ffff;
        let time = if is_extended { u32::from_be_bytes(rest[12..16].try_into().unwrap()) } else { time };
        let begin = if is_extended { 16 } else { 12 };
        let body = &rest[begin..begin + length];
        let number = body.len().checked_sub(8).map_or(0, |at| u64::from_be_bytes(body[at..].try_into().unwrap()));
        messages.push((kind, time, body[1], number));
        rest = &rest[begin + length..];
    }
    messages
}

fn feed_all(feed: &mut Feed, protocol: &mut Protocol, end: Option<SessionTime>, times: usize) -> Fed {
    let mut last = Fed::Nothing;
    for _ in 0..times {
        last = feed.feed(protocol, end, Duration::ZERO);
        if last == Fed::Ended {
            break;
        }
    }
    last
}

#[test]
fn a_connection_begins_with_headers_and_the_newest_keyframe_at_time_zero() {
    let ring = Ring::default();
    ring.set_headers(headers());
    publish(&ring, 0, 150, 30);
    let (mut feed, mut protocol) = (Feed::new(ring.live(), SessionTime::ZERO, 375_000), ready());
    feed_all(&mut feed, &mut protocol, None, 200);
    let messages = messages(&mut protocol);
    let kinds: Vec<_> = messages.iter().take(5).map(|(kind, time, what, _)| (*kind, *time, *what)).collect();
    assert_eq!(kinds[..4], [(18, 0, 0), (9, 0, 0), (8, 0, 0), (9, 0, 1)], "metadata, both headers, keyframe");
    assert_eq!(messages[3].3, 120, "the newest keyframe");
    let times: Vec<_> = messages.iter().map(|(_, time, ..)| *time).collect();
    assert!(times.is_sorted(), "{times:?}");
    // Every later packet is there once, at the time that it has in the programme.
    for (kind, time, _, n) in &messages[4..] {
        let packet = if *kind == 9 { picture(*n) } else { sound(*n) };
        assert_eq!(*time, flv::time_ms(packet.pts, picture(120).pts));
    }
    let pictures: Vec<_> = messages[3..].iter().filter(|m| m.0 == 9).map(|m| m.3).collect();
    assert_eq!(pictures, (120..120 + pictures.len() as u64).collect::<Vec<_>>());
    assert!(pictures.len() >= 28, "{}", pictures.len());
    let sounds: Vec<_> = messages[4..].iter().filter(|m| m.0 == 8).map(|m| m.3).collect();
    assert!(sound(sounds[0]).pts >= picture(120).pts && sound(sounds[0] - 1).pts < picture(120).pts);
    assert_eq!(sounds, (sounds[0]..sounds[0] + sounds.len() as u64).collect::<Vec<_>>());
}

#[test]
fn nothing_of_before_the_start_or_after_the_end_is_sent() {
    let ring = Ring::default();
    ring.set_headers(headers());
    let mut feed = Feed::new(ring.live(), picture(60).pts, 375_000);
    publish(&ring, 0, 200, 30);
    let mut protocol = ready();
    let end = picture(100).pts;
    assert_eq!(feed_all(&mut feed, &mut protocol, Some(end), 2 * 101 + 60), Fed::Ended);
    let messages = messages(&mut protocol);
    let pictures: Vec<_> = messages.iter().filter(|m| m.0 == 9 && m.2 == 1).map(|m| m.3).collect();
    assert_eq!(pictures, (60..100).collect::<Vec<_>>());
    for (_, _, _, n) in messages.iter().filter(|m| m.0 == 8 && m.2 == 1) {
        assert!(sound(*n).pts >= picture(60).pts && sound(*n).pts + sound(*n).duration <= end);
    }
}

#[test]
fn whole_gops_are_left_out_and_counted() {
    let ring = Ring::default();
    ring.set_headers(headers());
    publish(&ring, 0, 10, 0);
    let (mut feed, mut protocol) = (Feed::new(ring.live(), SessionTime::ZERO, 375_000), ready());
    feed_all(&mut feed, &mut protocol, None, 10);
    publish(&ring, 10, 260, 0);
    assert!(feed.behind() > Duration::from_secs(7));
    feed.skip(&mut protocol);
    feed_all(&mut feed, &mut protocol, None, 400);
    assert_eq!(feed.behind(), Duration::ZERO);
    let pictures: Vec<_> = messages(&mut protocol).iter().filter(|m| m.0 == 9 && m.2 == 1).map(|m| m.3).collect();
    let gap = pictures.windows(2).position(|pair| pair[1] != pair[0] + 1).unwrap();
    assert_eq!(pictures[gap + 1], 240, "goes on at the newest keyframe");
    assert!(pictures[gap + 1..].windows(2).all(|pair| pair[1] == pair[0] + 1));
    let sent_of_gop = (240 - pictures[gap] - 1) as f64;
    let expected = sent_of_gop * (1.0 + 48_000.0 / 1024.0 / 30.0);
    assert!((feed.left_out() as f64 - expected).abs() < 10.0, "{} left out, about {expected} expected", feed.left_out());
}

#[test]
fn times_beyond_2_to_the_24_are_exact() {
    let ring = Ring::default();
    ring.set_headers(headers());
    let first = SessionTime::from_millis(1000);
    let key = |ms: u64| Packet { pts: first + Duration::from_millis(ms), keyframe: true, ..picture(0) };
    ring.publish(key(0));
    let (mut feed, mut protocol) = (Feed::new(ring.live(), SessionTime::ZERO, 375_000), ready());
    feed_all(&mut feed, &mut protocol, None, 1);
    // One after another, because the ring keeps 15 s.
    for ms in [0xff_fffe, 0xff_ffff, 0x100_0000, 0x100_0021, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0021_u64] {
        ring.publish(key(ms));
        feed_all(&mut feed, &mut protocol, None, 1);
    }
    ring.close();
    assert_eq!(feed_all(&mut feed, &mut protocol, None, 2), Fed::Ended);
    let times: Vec<_> = messages(&mut protocol).iter().filter(|m| m.0 == 9 && m.2 == 1).map(|m| m.1).collect();
    assert_eq!(times, [0, 0xff_fffe, 0xff_ffff, 0x100_0000, 0x100_0021, u32::MAX, 0, 0x21]);
}

#[test]
fn a_stream_that_stays_away_holds_the_other_for_a_moment_only() {
    let ring = Ring::default();
    ring.set_headers(headers());
    (0..30).for_each(|n| ring.publish(picture(n)));
    let (mut feed, mut protocol) = (Feed::new(ring.live(), SessionTime::ZERO, 375_000), ready());
    feed_all(&mut feed, &mut protocol, None, 30);
    let pictures = messages(&mut protocol).iter().filter(|m| m.0 == 9 && m.2 == 1).count();
    assert_eq!(pictures, 30 - 9, "300 ms are held");
}
