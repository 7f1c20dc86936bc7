//! What a live destination gets: headers and a keyframe first, then everything in the order of its times, whole GOPs left out when it is late, and the
//! slate in place of the programme while it is paused.
//!
//! In: a live cursor of the ring, the slate, and what is to be shown when. Out: messages, through [`Protocol`]. Runs on the thread of its destination. It
//! refuses to send anything of before the Take's start, of after its end, or of a pause.
//!
//! The slate stands on the same grid as the programme: each of its frames of silence takes the place of a frame of the ring's sound, which never rests, and
//! its pictures follow as that sound goes on. So times have no gap, and nothing here reads a clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use recorder_core::live::splice::{Shows, Splice};
use recorder_core::time::SessionTime;

use super::flv;
use super::protocol::Protocol;
use crate::programme::grid::Grid;
use crate::programme::packet::{CodecHeaders, Packet, Stream};
use crate::programme::ring::{Cursor, Next};
use crate::programme::slate::{Awaited, Slate, SlateSource};

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
    slate: SlateSource,
    bytes_per_s: u64,
    merge: Merge,
    /// Instant of the keyframe that is time 0 of this connection.
    first: Option<SessionTime>,
    /// No picture of the programme can be decoded before its next keyframe.
    needs_key: bool,
    /// Sound of before this picture is left out; `None` while a picture to begin with has not come.
    sound_from: Option<SessionTime>,
    /// The tick whose picture comes next; `None` while it is not known where to go on.
    tick: Option<u64>,
    newest_picture: Option<SessionTime>,
    /// Pictures of the slate since it began to be shown.
    slate_pictures: usize,
    /// It was taken from the ring, and the slate that is needed for it is not made yet.
    early: Option<Arc<Packet>>,
    headers: Option<CodecHeaders>,
    reached: SessionTime,
    left_out: u64,
}

impl Feed {
    /// Feeds what `cursor` gives, as `splice` says.
    pub(super) fn new(mut cursor: Cursor, slate: SlateSource, splice: &Splice, bytes_per_s: u64) -> Self {
        if is_paused(&cursor, splice) {
            cursor.skip_to_end();
        }
        Self {
            cursor,
            slate,
            bytes_per_s,
            merge: Merge::default(),
            first: None,
            needs_key: true,
            sound_from: None,
            tick: None,
            newest_picture: None,
            slate_pictures: 0,
            early: None,
            headers: None,
            reached: SessionTime::ZERO,
            left_out: 0,
        }
    }

    /// Takes the next packet, waiting at most for `wait`, and hands over what is ready. Nothing of `end` or later is sent.
    pub(super) fn feed(&mut self, protocol: &mut Protocol, splice: &Splice, end: Option<SessionTime>, wait: Duration) -> Fed {
        let next = match self.early.take() {
            Some(packet) => Next::Packet(packet),
            None => self.cursor.next(wait),
        };
        match next {
            Next::Packet(packet) => self.take(packet, protocol, splice, end, wait),
            Next::Nothing => Fed::Nothing,
            Next::Gap { missed } => {
                let fed = self.hand_over(protocol, Merge::pop_any);
                self.skipped(missed, splice);
                fed
            }
            Next::Closed => self.finish(protocol),
        }
    }

    /// Leaves out everything before the newest keyframe.
    pub(super) fn skip(&mut self, protocol: &mut Protocol, splice: &Splice) {
        self.hand_over(protocol, Merge::pop_any);
        let early = u64::from(self.early.take().is_some());
        let missed = early + if is_paused(&self.cursor, splice) { 0 } else { self.cursor.skip_to_newest_keyframe() };
        self.skipped(missed, splice);
    }

    /// Programme time between the cursor and the newest packet.
    pub(super) fn behind(&self) -> Duration {
        self.cursor.behind()
    }

    /// Packets left out, because the destination was late.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Everything before this instant was looked at.
    pub(super) fn reached(&self) -> SessionTime {
        self.reached
    }

    /// So many packets were lost to the cursor. A slate goes on with what comes next; the keyframe that it would wait for may be a pause away.
    fn skipped(&mut self, missed: u64, splice: &Splice) {
        let missed = missed + if is_paused(&self.cursor, splice) { self.cursor.skip_to_end() } else { 0 };
        if missed > 0 {
            self.left_out += missed;
            self.begin_anew();
        }
    }

    /// Goes on with the next picture that can be decoded alone.
    fn begin_anew(&mut self) {
        (self.needs_key, self.sound_from, self.tick, self.slate_pictures) = (true, None, None, 0);
    }

    fn take(
        &mut self,
        packet: Arc<Packet>,
        protocol: &mut Protocol,
        splice: &Splice,
        end: Option<SessionTime>,
        wait: Duration,
    ) -> Fed {
        let shows = match packet.stream {
            Stream::Video => splice.picture(packet.pts),
            Stream::Sound => splice.sound(packet.pts, packet.duration),
        };
        let (Some(shows), Some(grid)) = (shows, self.cursor.grid()) else { return Fed::Nothing };
        let wait = if shows == Shows::Slate { wait } else { Duration::ZERO };
        let slate = match self.slate.wait(wait) {
            Awaited::Here(slate) => Some(slate).filter(|slate| self.fits(slate)),
            Awaited::Impossible => None,
            Awaited::NotYet if shows == Shows::Programme => None,
            Awaited::NotYet => {
                self.early = Some(packet);
                return Fed::Nothing;
            }
        };
        let is_beyond = end.is_some_and(|end| is_beyond(&packet, end));
        self.reached = self.reached.max(packet.pts);
        if let Some(slate) = &slate {
            let until = end.map_or(packet.pts, |end| packet.pts.min(end.offset(-1)));
            self.stand(slate, grid, splice, packet.stream, until);
        }
        if is_beyond {
            // Sound may be ahead of the pictures; what they still have is taken for as long as the hold lasts.
            let is_over = packet.stream == Stream::Video || end.is_some_and(|end| packet.pts >= end + HOLD);
            return if is_over { self.finish(protocol) } else { self.hand_over(protocol, Merge::pop) };
        }
        match (packet.stream, shows, slate) {
            (Stream::Video, Shows::Programme, _) => self.take_picture(packet, grid),
            (Stream::Sound, Shows::Programme, _) => self.take_sound(packet),
            (Stream::Sound, Shows::Slate, Some(slate)) => {
                self.take_sound(Arc::new(Packet { data: slate.silence.clone(), ..*packet }));
            }
            // Another picture stands in its place.
            (Stream::Video, Shows::Slate, Some(_)) => {}
            (_, Shows::Slate, None) => self.begin_anew(),
        }
        self.hand_over(protocol, Merge::pop)
    }

    /// A picture of the programme.
    fn take_picture(&mut self, packet: Arc<Packet>, grid: Grid) {
        // The slate has taken its place, because it came too late: later ones need it.
        let is_late = self.newest_picture.is_some_and(|newest| packet.pts <= newest);
        self.needs_key = (self.needs_key && !packet.keyframe) || is_late;
        if self.needs_key {
            self.left_out += u64::from(self.first.is_some());
            return;
        }
        (self.tick, self.slate_pictures) = (Some(grid.picture_at_or_after(packet.pts) + 1), 0);
        self.push_picture(packet);
    }

    fn take_sound(&mut self, packet: Arc<Packet>) {
        match self.sound_from {
            Some(from) if packet.pts >= from => self.merge.push(packet),
            Some(_) => {}
            None => self.left_out += u64::from(self.first.is_some()),
        }
    }

    fn push_picture(&mut self, packet: Arc<Packet>) {
        self.first.get_or_insert(packet.pts);
        self.sound_from.get_or_insert(packet.pts);
        self.newest_picture = Some(packet.pts);
        self.merge.push(packet);
    }

    /// Shows the slate up to and with an instant that the ring has come to.
    fn stand(&mut self, slate: &Slate, grid: Grid, splice: &Splice, reached_by: Stream, until: SessionTime) {
        let mut tick = self.tick.unwrap_or_else(|| grid.picture_at_or_after(until.max(splice.begin())));
        loop {
            let pts = grid.picture(tick);
            match splice.picture(pts) {
                _ if pts > until => break,
                Some(Shows::Slate) => {
                    let shown = self.slate_pictures % slate.pictures.len();
                    let duration = grid.picture(tick + 1).since(pts);
                    let data = slate.pictures[shown].clone();
                    self.push_picture(Arc::new(Packet { stream: Stream::Video, pts, duration, keyframe: shown == 0, data }));
                    (self.slate_pictures, self.needs_key) = (self.slate_pictures + 1, true);
                    tick += 1;
                }
                shows => {
                    // What the programme still has before a pause comes first. A picture that was left out does not come.
                    let Some(change) = splice.next_change(pts) else { break };
                    let is_through = shows.is_none() || reached_by == Stream::Video || until >= change + HOLD;
                    if change > until || !is_through {
                        break;
                    }
                    (tick, self.slate_pictures) = (grid.picture_at_or_after(change), 0);
                }
            }
        }
        self.tick = Some(tick);
    }

    /// Whether a player can go on with the slate where the programme ended: only if both have the same headers.
    fn fits(&self, slate: &Slate) -> bool {
        let fits = |headers: CodecHeaders| slate.avc_config == headers.avc_config && slate.aac_config == headers.aac_config;
        self.cursor.headers().is_some_and(fits)
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

/// Whether the newest packet of the ring lies in a pause.
fn is_paused(cursor: &Cursor, splice: &Splice) -> bool {
    let newest = cursor.newest().map_or(Some(splice.newest()), |newest| splice.picture(newest));
    newest == Some(Shows::Slate)
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
