//! Where on the session clock a frame was captured.
//!
//! In: RTP times with their arrivals, and the sender reports of RTCP (RFC 3550 section 6.4.1). Out: capture times. Runs on the
//! reception thread; pure, never blocks, constant memory a Track.
//!
//! A capture time is `media + relation + offset`:
//! - `media`: the RTP time in nanoseconds;
//! - `relation`: where this Track's media lies on its sender's NTP clock, from sender reports. It ties sound to picture, exactly;
//! - `offset`: where the sender's NTP clock lies on ours: the minimum of (arrival − NTP) over a sliding window over all Tracks of that
//!   Participant. It is our own estimate, so that a sender whose clock is an hour wrong is as good as any other.
//!
//! Before the first report, the minimum of (arrival − media) stands for relation + offset. What is shown follows these targets by
//! slewing: 5 ms a second once settled, faster in the first seconds of a Track and after a change of route. It never steps, but for
//! the first half second of a Track, of which nothing was shown yet.
//!
//! A sender's NTP clock that is set while its media run on linearly must not part its sound from its picture, although the reports of
//! the two Tracks tell of it at different times. Such a jump of a relation is cancelled by a correction. Corrections belong to the
//! Participant: a Track that sees the jump later, or begins after it, takes the one that fits.
//!
//! What it refuses to do: compare NTP with a clock of ours or with another Participant, read a clock, reorder frames.

mod participant;
mod slew;
mod track;
mod window;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::ids::{ParticipantId, TrackId};
use crate::time::SessionTime;

use participant::ParticipantClock;

/// The capture times of all Tracks of a Session.
#[derive(Debug, Default)]
pub struct ClockModel {
    participants: HashMap<ParticipantId, ParticipantClock>,
}

impl ClockModel {
    /// A model that knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// A frame of `track` arrived: returns when it was captured. Within a Track, capture times never go back while RTP time does not.
    ///
    /// `rtp_time` is extended to 64 bits and in units of `clock_hz`; it is continuous while `stream` is the same, and a higher `stream`
    /// means that it began anew.
    pub fn arrived(&mut self, track: &TrackId, stream: u32, clock_hz: u32, rtp_time: u64, arrival: SessionTime) -> SessionTime {
        self.participant(track).arrived(track.kind, stream, clock_hz, rtp_time, arrival)
    }

    /// Where `rtp_time` of `track` lies, as far as is known, without learning from it: for what a media server made up. `None` when nothing
    /// of the stream has arrived. Units as in [`ClockModel::arrived`].
    pub fn place(&self, track: &TrackId, stream: u32, rtp_time: u64) -> Option<SessionTime> {
        self.participants.get(&track.participant)?.place(track.kind, stream, rtp_time)
    }

    /// A sender report of `track` arrived: at its sender's NTP time `ntp_ns` (nanoseconds, any epoch), the media clock showed `rtp_time`,
    /// which is extended as that of the frames is. When the report
    /// arrived is not used: reports are too few for a minimum, and travel faster than media. Reports of a stream older than the newest are ignored.
    pub fn sender_report(
        &mut self,
        track: &TrackId,
        stream: u32,
        clock_hz: u32,
        ntp_ns: i64,
        rtp_time: u64,
        _arrival: SessionTime,
    ) {
        self.participant(track).sender_report(track.kind, stream, clock_hz, ntp_ns, rtp_time);
    }

    /// The Track is gone; what was learned about its sender goes with the last of the sender's Tracks.
    pub fn forget(&mut self, track: &TrackId) {
        if let Some(clock) = self.participants.get_mut(&track.participant)
            && clock.forget(track.kind)
        {
            self.participants.remove(&track.participant);
        }
    }

    fn participant(&mut self, track: &TrackId) -> &mut ParticipantClock {
        self.participants.entry(track.participant.clone()).or_default()
    }
}
