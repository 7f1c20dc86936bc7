//! What a live destination gets of the programme: headers and a keyframe first, then everything in the order of its times, and whole GOPs left out when it
//! is late.
//!
//! In: a live cursor of the ring. Out: messages, through [`Protocol`]. Runs on the thread of its destination. It refuses to send anything of before the Take's start or
//! after its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use recorder_core::time::SessionTime;

use super::flv;
use super::protocol::Protocol;
use crate::programme::packet::{CodecHeaders, Packet, Stream};
use crate::programme::ring::{Cursor, Next};

/// One stream waits so long for the other, so that times never go back on the wire.
const HOLD: Duration = Duration::from_millis(300);

/// What became of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fed {
    /// Messages were made; the newest shows this instant.
    Sent(SessionTime),
    /// A packet was taken, and nothing made of it yet, or no packet came.
    Nothing,
    /// The Take or the programme is over.
    Ended,
}

/// The feed of one connection.
pub(super) struct Feed {
    cursor: Cursor,
    from: SessionTime,
    bytes_per_s: u64,
    merge: Merge,
    /// Instant of the keyframe that is time 0 of this connection.
    first: Option<SessionTime>,
    /// Nothing can be decoded before the next keyframe.
    needs_key: bool,
    /// Sound of before this keyframe is left out.
    sound_from: SessionTime,
    headers: Option<CodecHeaders>,
    left_out: u64,
}

impl Feed {
    /// Feeds what `cursor` gives from the programme instant `from` on.
    pub(super) fn new(cursor: Cursor, from: SessionTime, bytes_per_s: u64) -> Self {
        Self {
            cursor,
            from,
            bytes_per_s,
            merge: Merge::default(),
            first: None,
            needs_key: true,
            sound_from: from,
            headers: None,
            left_out: 0,
        }
    }

    /// Takes the next packet, waiting at most for `wait`, and hands over what is ready. Nothing of `end` or later is sent.
    pub(super) fn feed(&mut self, protocol: &mut Protocol, end: Option<SessionTime>, wait: Duration) -> Fed {
        match self.cursor.next(wait) {
            Next::Packet(packet) if end.is_some_and(|end| is_beyond(&packet, end)) => {
                // Sound may be ahead of the pictures; what they still have is taken for as long as the hold lasts.
                let is_over = packet.stream == Stream::Video || end.is_some_and(|end| packet.pts >= end + HOLD);
                if is_over { self.finish(protocol) } else { Fed::Nothing }
            }
            Next::Packet(packet) => {
                self.take(packet);
                self.hand_over(protocol, Merge::pop)
            }
            Next::Nothing => Fed::Nothing,
            Next::Gap { missed } => {
                let fed = self.hand_over(protocol, Merge::pop_any);
                self.skipped(missed);
                fed
            }
            Next::Closed => self.finish(protocol),
        }
    }

    /// Leaves out everything before the newest keyframe.
    pub(super) fn skip(&mut self, protocol: &mut Protocol) {
        self.hand_over(protocol, Merge::pop_any);
        let missed = self.cursor.skip_to_newest_keyframe();
        if missed > 0 {
            self.skipped(missed);
        }
    }

    /// Programme time between the cursor and the newest packet.
    pub(super) fn behind(&self) -> Duration {
        self.cursor.behind()
    }

    /// Packets left out, because the destination was late.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn skipped(&mut self, missed: u64) {
        self.left_out += missed;
        self.needs_key = true;
    }

    fn take(&mut self, packet: Arc<Packet>) {
        let is_key = packet.stream == Stream::Video && packet.keyframe && packet.pts >= self.from;
        if is_key && self.needs_key {
            self.needs_key = false;
            self.sound_from = packet.pts;
            self.first.get_or_insert(packet.pts);
        }
        let is_early = packet.stream == Stream::Sound && packet.pts < self.sound_from;
        if !self.needs_key && !is_early {
            self.merge.push(packet);
        } else if self.first.is_some() && !is_early {
            self.left_out += 1;
        }
    }

    fn finish(&mut self, protocol: &mut Protocol) -> Fed {
        self.hand_over(protocol, Merge::pop_any);
        Fed::Ended
    }

    fn hand_over(&mut self, protocol: &mut Protocol, pop: fn(&mut Merge) -> Option<Arc<Packet>>) -> Fed {
        let mut fed = Fed::Nothing;
        while let Some(packet) = pop(&mut self.merge) {
            let Some(first) = self.first else { continue };
            let time_ms = flv::time_ms(packet.pts, first);
            if packet.stream == Stream::Video && packet.keyframe {
                self.introduce(protocol, time_ms);
            }
            let parts = [flv::prefix(&packet), &packet.data];
            match packet.stream {
                Stream::Video => protocol.video(time_ms, &parts),
                Stream::Sound => protocol.sound(time_ms, &parts),
            }
            fed = Fed::Sent(packet.pts);
        }
        fed
    }

    /// Says what decoders must know, when it is new to this connection.
    fn introduce(&mut self, protocol: &mut Protocol, time_ms: u32) {
        let headers = self.cursor.headers();
        if let Some(now) = &headers
            && headers != self.headers
        {
            protocol.metadata(&flv::metadata(now, self.bytes_per_s));
            protocol.video(time_ms, &[flv::header_prefix(Stream::Video), &now.avc_config]);
            protocol.sound(time_ms, &[flv::header_prefix(Stream::Sound), &now.aac_config]);
            self.headers = headers;
        }
    }
}

/// Whether anything of a packet lies at `end` or later. A picture's duration does not count: it ends with the Take.
fn is_beyond(packet: &Packet, end: SessionTime) -> bool {
    match packet.stream {
        Stream::Video => packet.pts >= end,
        Stream::Sound => packet.pts + packet.duration > end,
    }
}

/// Puts both streams into one order of times.
#[derive(Default)]
struct Merge {
    video: VecDeque<Arc<Packet>>,
    sound: VecDeque<Arc<Packet>>,
}

impl Merge {
    fn push(&mut self, packet: Arc<Packet>) {
        match packet.stream {
            Stream::Video => self.video.push_back(packet),
            Stream::Sound => self.sound.push_back(packet),
        }
    }

    /// The next packet, when it is sure that nothing older follows, or one stream has waited for too long.
    fn pop(&mut self) -> Option<Arc<Packet>> {
        let is_sure = match (self.video.front(), self.sound.front()) {
            (Some(_), Some(_)) => true,
            _ => [&self.video, &self.sound].into_iter().any(|queue| match (queue.front(), queue.back()) {
                (Some(oldest), Some(newest)) => newest.pts.since(oldest.pts) >= HOLD,
                _ => false,
            }),
        };
        if is_sure { self.pop_any() } else { None }
    }

    fn pop_any(&mut self) -> Option<Arc<Packet>> {
        let video_first = match (self.video.front(), self.sound.front()) {
            (Some(video), Some(sound)) => video.pts <= sound.pts,
            (video, _) => video.is_some(),
        };
        if video_first { self.video.pop_front() } else { self.sound.pop_front() }
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
