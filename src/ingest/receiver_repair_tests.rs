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
fn an_unrepaired_hole_in_a_picture_stream_asks_for_a_keyframe_once_a_second() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.loses = Box::new(|datagram| is_rtp(datagram, 97, None) || is_rtp(datagram, 96, Some(104)));
    world.send_video(video, 100..103, Vp8::Key(640));
    assert_eq!(world.keyframe_requests.len(), 0);
    world.send_video(video, 103..200, Vp8::Inter);
    let frames = world.seen(&camera("a"));
    let hole = frames.iter().position(|f| !f.contiguous).expect("the hole is flagged");
    assert_eq!(frames[hole].rtp_time, frames[0].rtp_time + 5 * 3000);
    assert!(world.keyframe_requests.len() >= 2, "repeated until a keyframe comes: {:?}", world.keyframe_requests);
    assert!(
        world.keyframe_requests.windows(2).all(|w| w[1] - w[0] >= Duration::from_millis(990)),
        "{:?}",
        world.keyframe_requests
    );
    let before = world.keyframe_requests.len();
    world.send_video(video, 200..260, Vp8::Key(640));
    assert!(world.keyframe_requests.len() <= before + 1, "no more after the keyframe");
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
