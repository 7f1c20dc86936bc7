//! Takes what was received off a lane until the next tick is due.
//!
//! In: a lane, and when the tick is due. Out: frames, in order. Runs on the picture and on the sound thread; waits for nothing but the tick.

use std::sync::mpsc::Receiver;

use recorder_core::time::SessionTime;

use crate::clock::SessionClock;
use crate::media::{LANE_FRAMES, MediaFrame};

/// Sleeps until `due`, and then hands what has arrived to `accept`. Woken by frames, the threads of a meeting of nine were woken three times for each of
/// their ticks, and whoever sends had to wake them. A lane holds far more than arrives between two ticks.
pub(super) fn receive_until(
    due: SessionTime,
    clock: SessionClock,
    frames: &Receiver<MediaFrame>,
    accept: impl FnMut(MediaFrame),
) {
    std::thread::sleep(due.since(clock.now()));
    // More than a full lane in one go would mean that frames come faster than they are taken; the tick comes first then.
    frames.try_iter().take(LANE_FRAMES).for_each(accept);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use recorder_core::ids::{ParticipantId, TrackId, TrackKind};

    use super::*;
    use crate::media::Codec;

    #[test]
    fn a_late_tick_still_gets_everything_that_waits() {
        let (sender, frames) = sync_channel(LANE_FRAMES);
        let track = TrackId::new(ParticipantId::new("ada"), TrackKind::Microphone);
        for n in 0..50 {
            let at = SessionTime::from_millis(n);
            let data = vec![0].into();
            let track = track.clone();
            let frame = MediaFrame {
                track,
                codec: Codec::Opus,
                rtp_time: n,
                stream: 1,
                capture: at,
                arrival: at,
                contiguous: true,
                keyframe: false,
                data,
            };
            sender.send(frame).unwrap();
        }
        let mut taken = Vec::new();
        receive_until(SessionTime::ZERO, SessionClock::start(), &frames, |frame| taken.push(frame.rtp_time));
        assert_eq!(taken, (0..50).collect::<Vec<_>>());
        drop(sender);
        receive_until(SessionTime::ZERO, SessionClock::start(), &frames, |_| panic!("nothing is left"));
    }
}
