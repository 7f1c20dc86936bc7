//! What reception does about lost packets.

use super::*;

#[test]
fn a_lost_opus_packet_is_asked_for_and_used() {
    let (mut world, _, sound) = World::connected(Box::new(ArrivalIsCapture));
    let kept = Arc::new(Mutex::new(None::<Vec<u8>>));
    let lost = kept.clone();
    world.loses = Box::new(move |datagram| {
        let mut lost = lost.lock().unwrap();
        let loses = lost.is_none() && is_rtp(datagram, 111, Some(110));
        if loses {
            *lost = Some(datagram.to_vec());
        }
        loses
    });
    for n in 0..30 {
        world.send(sound, 111, 100 + n, 960 * n as u32, &[n as u8; 30]);
        world.run(Duration::from_millis(20));
        if world.nacked > 0 {
            // LiveKit sends it again on the same SSRC.
            world.to_receiver.extend(kept.lock().unwrap().as_mut().map(std::mem::take).filter(|d| !d.is_empty()));
        }
    }
    assert!(world.nacked > 0, "the packet was asked for");
    let heard: Vec<_> = world.seen(&microphone("a")).iter().map(|f| f.data[0]).collect();
    assert_eq!(heard, (0..30).collect::<Vec<u8>>());
}

#[test]
fn an_unrepaired_hole_in_a_picture_stream_asks_for_a_keyframe_until_one_comes() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.loses = Box::new(|datagram| is_rtp(datagram, 97, None) || is_rtp(datagram, 96, Some(104)));
    world.send_video(video, 100..105, Vp8::Key(640));
    assert_eq!(world.keyframe_requests.len(), 0);
    let missed = world.now - world.start;
    world.send_video(video, 105..200, Vp8::Inter);
    let frames = world.seen(&camera("a"));
    let hole = frames.iter().position(|f| !f.contiguous).expect("the hole is flagged");
    assert_eq!(frames[hole].rtp_time, frames[0].rtp_time + 5 * 3000);
    // A few times early, then once a second.
    let asked: Vec<u128> = world.keyframe_requests.iter().map(|at| (*at - missed).as_millis()).collect();
    let about = |expected: u128| move |at: &u128| (expected..expected + 25).contains(at);
    let expected = [320, 395, 470, 1470, 2470];
    assert!(asked.len() == expected.len() && asked.iter().zip(expected).all(|(at, expected)| about(expected)(at)), "{asked:?}");
    world.send_video(video, 200..260, Vp8::Key(640));
    assert_eq!(world.keyframe_requests.len(), expected.len(), "no more after the keyframe");
}

#[test]
fn a_keyframe_ends_a_hole_that_is_not_repaired() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.loses = Box::new(|datagram| is_rtp(datagram, 97, None) || is_rtp(datagram, 96, Some(104)));
    world.send_video(video, 100..108, Vp8::Key(640));
    world.send_video(video, 108..130, Vp8::Key(640));
    assert_eq!(world.keyframe_requests.len(), 0, "one is there");
    let frames = world.seen(&camera("a"));
    assert_eq!(numbers(&frames), (0..4).chain(8..30).collect::<Vec<_>>());
    assert!(frames[4].keyframe && !frames[4].contiguous && frames[5].contiguous);
}

#[test]
fn a_repeat_that_comes_in_time_leaves_no_trace() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.loses = Box::new(|datagram| is_rtp(datagram, 96, Some(104)) || is_rtp(datagram, 96, Some(110)));
    world.send_video(video, 100..120, Vp8::Key(640));
    assert!(world.nacked >= 2);
    let frames = world.seen(&camera("a"));
    assert_eq!(numbers(&frames), (0..20).collect::<Vec<_>>());
    assert!(frames.iter().all(|f| f.contiguous) && world.keyframe_requests.is_empty());
}

/// Which frames of [`World::send_video`] these are, from the first on.
fn numbers(frames: &[&MediaFrame]) -> Vec<u64> {
    frames.iter().map(|frame| (frame.rtp_time - frames[0].rtp_time) / 3000).collect()
}

/// As [`new_sfu`], and sound may be sent twice.
fn sfu_with_red(now: Instant) -> Rtc {
    let mut sfu = Rtc::builder().set_rtp_mode(true).set_ice_lite(true).clear_extension_map().enable_opus(true, true).build(now);
    sfu.add_local_candidate(Candidate::host(address(1), "udp").unwrap());
    sfu
}

/// The sound of a packet behind that of the packet before it (RFC 2198, section 3): one block of 20 ms, then the newest.
fn red(before: &[u8], newest: &[u8]) -> Vec<u8> {
    let (offset, length) = (960_u32, before.len() as u32);
    let header = (1 << 31) | (111 << 24) | (offset << 10) | length;
    [&header.to_be_bytes()[..], &[111], before, newest].concat()
}

/// Browsers send each packet's sound once more with the next one: a single loss is neither heard nor asked for in vain.
#[test]
fn a_lost_packet_of_sound_is_taken_from_the_next_one() {
    let (mut world, _, sound) = World::of(Box::new(ArrivalIsCapture), sfu_with_red).connect();
    assert!(world.last_answer.contains("red/48000/2"), "{}", world.last_answer);
    world.loses = Box::new(|datagram| is_rtp(datagram, 63, Some(110)) || is_rtp(datagram, 63, Some(120)));
    for n in 0..30_u8 {
        let payload = red(&[n.wrapping_sub(1); 30], &[n; 30]);
        world.send(sound, 63, 100 + u64::from(n), 960 * u32::from(n), &payload);
        world.run(Duration::from_millis(20));
    }
    let heard = world.seen(&microphone("a"));
    assert_eq!(heard.iter().map(|frame| frame.data[0]).collect::<Vec<_>>(), (0..30).collect::<Vec<u8>>());
    assert!(heard.iter().all(|frame| frame.data.len() == 30 && frame.codec == Codec::Opus));
    for lost in [10, 20] {
        assert_eq!(heard[lost].rtp_time - heard[0].rtp_time, 960 * lost as u64, "at its own time");
        let late = heard[lost].arrival.since(heard[lost + 1].arrival);
        assert!(late < Duration::from_millis(1), "with the next one, and {late:?} later");
    }
}
