//! Whole pictures out of packets.
//!
//! In: the packets of one video stream. Out: frames, in order. Pure; runs where the receiver runs.
//!
//! A frame with a packet missing, and all behind it, wait for the packet: the mixer shows a picture half a second after its capture, so a repeat
//! that comes in time is not seen. Shortly before that time is over whatever needs nothing out of the hole passes. Without such a frame the hole
//! is given up only when no repeat can come any more, because a frame that refers to a missing one is of no use to anybody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::payload::{Assembly, Begins, Layer, Piece, read};
use super::{Content, Frame, Packet, Unreadable};
use crate::media::Codec;

/// The protocol library asks for a missing packet up to 35 ms after it was missed, then every 138 ms (it takes the round trip for 100 ms, because
/// LiveKit's answers about it carry no delay and are not taken, and looks every 33 ms). LiveKit repeats a packet three times at most, so this long
/// after it was missed the third repeat has come, or none will.
const ASK_AFTER: Duration = Duration::from_millis(320);
/// After the fifth request, which is the last, nothing more can come: LiveKit answers a later one when an earlier one was lost.
const GIVE_UP_AFTER: Duration = Duration::from_millis(650);
/// So long before its instant a frame must be there to be decoded in time. With the usual delay the fourth repeat comes just before that: it comes
/// when a request was lost, which is as usual as that a repeat is.
const DECODING: Duration = Duration::from_millis(40);
/// The protocol library takes no packet that is further behind the newest one.
const REPAIRABLE_PACKETS: u64 = 100;
/// Packets and bytes that wait at most: several times the largest keyframe of a shared screen.
const MAX_PACKETS: usize = 2048;
const MAX_BYTES: usize = 4 << 20;

/// The packets of one video stream; see the module.
pub(in crate::ingest) struct Pictures {
    /// How long a hole keeps behind it what could pass.
    patience: Duration,
    packets: BTreeMap<u64, Held>,
    bytes: usize,
    /// The sequence number that is next in order.
    next: Option<u64>,
    /// Whether a frame ended just before it.
    is_at_end: bool,
    /// Whether nothing was left out since the last frame.
    contiguous: bool,
    /// Whether only a keyframe can be shown.
    needs_keyframe: bool,
    /// The number of the last frame of the base layer.
    base: Option<u8>,
    /// The highest layer of which nothing is missing.
    whole_layer: u8,
}

struct Held {
    packet: Packet,
    kind: Kind,
}

enum Kind {
    Padding,
    Piece(Codec, Piece),
    Unreadable,
}

/// What is at the front.
enum Front {
    /// A frame, up to this sequence number.
    Whole(u64),
    /// A packet that belongs to no frame that can be shown.
    Useless,
    Incomplete,
}

/// The first packet that is missing.
struct Hole {
    seq: u64,
    /// When it was missed.
    since: Instant,
    /// Whether it is so far behind that it would not be taken any more.
    is_lost: bool,
}

/// A whole frame that needs nothing out of the hole before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Passes {
    Keyframe(u64),
    BaseLayer(u64),
}

impl Pictures {
    /// `delay` is how long after its capture a picture is shown.
    pub(super) fn new(delay: Duration) -> Self {
        Self {
            patience: delay.saturating_sub(DECODING).min(GIVE_UP_AFTER),
            packets: BTreeMap::new(),
            bytes: 0,
            next: None,
            is_at_end: false,
            contiguous: false,
            needs_keyframe: true,
            base: None,
            whole_layer: 0,
        }
    }

    pub(super) fn put(&mut self, packet: Packet) -> Result<(), Unreadable> {
        let next = *self.next.get_or_insert(packet.seq);
        if packet.seq < next || self.packets.contains_key(&packet.seq) {
            return Ok(());
        }
        let kind = match packet.content {
            _ if packet.payload.is_empty() => Kind::Padding,
            Content::Plain(codec) => read(codec, &packet.payload).map_or(Kind::Unreadable, |piece| Kind::Piece(codec, piece)),
            Content::RedundantOpus { .. } => Kind::Unreadable,
        };
        let fate = if matches!(kind, Kind::Unreadable) { Err(Unreadable) } else { Ok(()) };
        self.bytes += packet.payload.len();
        self.packets.insert(packet.seq, Held { packet, kind });
        fate
    }

    pub(super) fn take(&mut self, now: Instant) -> Option<Frame> {
        loop {
            match self.front()? {
                Front::Whole(last) => {
                    if let Some(frame) = self.give(last) {
                        return Some(frame);
                    }
                }
                Front::Useless => self.skip(),
                Front::Incomplete => {
                    if !self.overcome(now) {
                        return None;
                    }
                }
            }
        }
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        let hole = self.hole()?;
        let patience = if self.passing(&hole).is_some() { self.patience } else { GIVE_UP_AFTER };
        Some(hole.since + patience)
    }

    pub(super) fn ask_at(&self) -> Option<Instant> {
        let hole = self.hole()?;
        if self.passing(&hole).is_some() {
            return None;
        }
        // A keyframe that is on its way has repairs of its own, and another request would end them: LiveKit repeats no packet between a
        // request and the keyframe.
        let behind = self.packets.range(hole.seq..);
        let keyframe = behind.filter(|(_, held)| held.is_keyframe()).map(|(_, held)| held.packet.arrival).max();
        Some(keyframe.map_or(hole.since, |arrival| arrival.max(hole.since)) + ASK_AFTER)
    }

    /// When a packet was missed last, of those that are missing now.
    pub(super) fn missed_last(&self) -> Option<Instant> {
        let mut expected = self.next?;
        let mut behind = None;
        for &seq in self.packets.keys() {
            if seq != expected {
                behind = Some(seq);
            }
            expected = seq + 1;
        }
        self.packets.range(behind?..).map(|(_, held)| held.packet.arrival).min()
    }

    /// `None` when there is nothing.
    fn front(&self) -> Option<Front> {
        let next = self.next.filter(|_| !self.packets.is_empty())?;
        let Some(first) = self.packets.get(&next) else { return Some(Front::Incomplete) };
        if !first.begins(self.is_at_end) {
            return Some(Front::Useless);
        }
        for (expected, (&seq, held)) in (next..).zip(self.packets.range(next..)) {
            if seq != expected {
                return Some(Front::Incomplete);
            }
            if held.is_of_another_frame(first) {
                // Without a marker, the next frame is the end of this one.
                return Some(Front::Whole(seq - 1));
            }
            if held.ends() {
                return Some(Front::Whole(seq));
            }
        }
        Some(Front::Incomplete)
    }

    /// Takes the frame at the front out, unless it cannot be shown.
    fn give(&mut self, last: u64) -> Option<Frame> {
        let behind = self.packets.split_off(&(last + 1));
        let held = std::mem::replace(&mut self.packets, behind);
        let bytes = held.values().map(|held| held.packet.payload.len()).sum();
        self.bytes -= bytes;
        self.next = Some(last + 1);
        self.is_at_end = true;
        let first = held.first_key_value()?.1;
        let (time, arrival) = (first.packet.time, held.values().map(|held| held.packet.arrival).min()?);
        let Kind::Piece(codec, Piece { layer, .. }) = first.kind else { return None };
        let keyframe = held.values().any(Held::is_keyframe);
        let Ok(data) = assembled(codec, bytes, held.values()) else {
            self.contiguous = false;
            return None;
        };
        if !keyframe && !self.is_shown(layer) {
            return None;
        }
        let contiguous = std::mem::replace(&mut self.contiguous, true);
        if keyframe {
            self.whole_layer = u8::MAX;
        }
        self.needs_keyframe = !keyframe && (self.needs_keyframe || !contiguous);
        self.base = layer.map(|layer| layer.base);
        Some(Frame { codec, time, arrival, contiguous, keyframe, data: data.into() })
    }

    /// Whether all that a frame of this layer refers to is there, as far as layers go.
    fn is_shown(&mut self, layer: Option<Layer>) -> bool {
        let Some(layer) = layer else { return true };
        if layer.sync {
            self.whole_layer = self.whole_layer.max(layer.number);
        }
        layer.number <= self.whole_layer
    }

    /// Takes the packet at the front out.
    fn skip(&mut self) {
        let Some((seq, held)) = self.packets.pop_first() else { return };
        self.bytes -= held.packet.payload.len();
        self.next = Some(seq + 1);
        if !matches!(held.kind, Kind::Padding) {
            self.is_at_end = held.packet.marker;
            self.contiguous = false;
        }
    }

    /// Leaves out what is missing, if it is time; false if it is not.
    fn overcome(&mut self, now: Instant) -> bool {
        let is_full = self.packets.len() > MAX_PACKETS || self.bytes > MAX_BYTES;
        let Some(hole) = self.hole() else {
            // A frame that never ends.
            if is_full && let Some((&newest, _)) = self.packets.last_key_value() {
                self.leave_out(newest + 1);
            }
            return is_full;
        };
        let is_over = hole.is_lost || is_full;
        let age = now.saturating_duration_since(hole.since);
        // If nothing before a keyframe can be shown, nothing is lost by passing it.
        let has_waited = self.needs_keyframe || age >= self.patience;
        let is_lost = is_over || age >= GIVE_UP_AFTER;
        match self.passing(&hole).filter(|_| is_over || has_waited) {
            Some(Passes::Keyframe(seq)) => {
                self.leave_out(seq);
                self.is_at_end = true;
            }
            Some(Passes::BaseLayer(seq)) => {
                self.leave_out(seq);
                self.is_at_end = true;
                self.contiguous = true;
                self.whole_layer = 0;
            }
            None if is_lost => match self.packets.range(hole.seq..).next() {
                Some((&behind, _)) => self.leave_out(behind),
                None => return false,
            },
            None => return false,
        }
        true
    }

    fn leave_out(&mut self, up_to: u64) {
        self.packets = self.packets.split_off(&up_to);
        self.bytes = self.packets.values().map(|held| held.packet.payload.len()).sum();
        self.next = Some(up_to);
        self.is_at_end = false;
        self.contiguous = false;
    }

    fn hole(&self) -> Option<Hole> {
        let next = self.next?;
        let (&newest, _) = self.packets.last_key_value()?;
        let seq = (next..).zip(self.packets.range(next..)).find(|(expected, (seq, _))| expected != *seq)?.0;
        let since = self.packets.range(seq..).map(|(_, held)| held.packet.arrival).min()?;
        Some(Hole { seq, since, is_lost: newest - seq > REPAIRABLE_PACKETS })
    }

    /// The first whole frame behind the hole that needs nothing out of it.
    fn passing(&self, hole: &Hole) -> Option<Passes> {
        let mut frame: Option<(u64, &Held, bool)> = None;
        let mut before: Option<(u64, &Held)> = None;
        for (&seq, held) in self.packets.range(hole.seq..) {
            let follows = before.filter(|(last, _)| last + 1 == seq);
            let has_ended = follows.is_some_and(|(_, last)| last.ends() || held.is_of_another_frame(last));
            if let Some((start, first, keyframe)) = frame
                && has_ended
                && let Some(passes) = self.passes(start, first, keyframe)
            {
                return Some(passes);
            }
            if follows.is_none() || has_ended {
                frame = None;
            }
            match &mut frame {
                Some((_, _, keyframe)) => *keyframe |= held.is_keyframe(),
                None if held.begins(has_ended) => frame = Some((seq, held, held.is_keyframe())),
                None => {}
            }
            before = Some((seq, held));
        }
        let (start, first, keyframe) = frame.filter(|_| before.is_some_and(|(_, last)| last.ends()))?;
        self.passes(start, first, keyframe)
    }

    fn passes(&self, start: u64, first: &Held, keyframe: bool) -> Option<Passes> {
        if keyframe {
            return Some(Passes::Keyframe(start));
        }
        let Kind::Piece(_, Piece { layer: Some(layer), .. }) = first.kind else { return None };
        let follows_base = self.base.is_some_and(|base| layer.base == base.wrapping_add(1));
        let is_next_base = layer.number == 0 && follows_base && self.contiguous && !self.needs_keyframe;
        is_next_base.then_some(Passes::BaseLayer(start))
    }
}

impl Held {
    fn is_keyframe(&self) -> bool {
        matches!(self.kind, Kind::Piece(_, Piece { keyframe: true, .. }))
    }

    fn begins(&self, is_behind_an_end: bool) -> bool {
        match self.kind {
            Kind::Piece(_, piece) => piece.begins == Begins::Yes || piece.begins == Begins::BehindAnEnd && is_behind_an_end,
            Kind::Padding | Kind::Unreadable => false,
        }
    }

    fn ends(&self) -> bool {
        self.packet.marker && !matches!(self.kind, Kind::Padding)
    }

    fn is_of_another_frame(&self, than: &Held) -> bool {
        self.packet.time != than.packet.time && !matches!(self.kind, Kind::Padding)
    }
}

fn assembled<'a>(codec: Codec, bytes: usize, pieces: impl Iterator<Item = &'a Held>) -> Result<Vec<u8>, Unreadable> {
    let mut assembly = Assembly::with_capacity(bytes);
    for held in pieces {
        match held.kind {
            Kind::Piece(of, piece) if of == codec => assembly.add(of, piece, &held.packet.payload)?,
            Kind::Padding => {}
            Kind::Piece(..) | Kind::Unreadable => return Err(Unreadable),
        }
    }
    assembly.finish()
}

#[cfg(test)]
#[path = "pictures_tests.rs"]
mod tests;
