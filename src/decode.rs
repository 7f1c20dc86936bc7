//! Decoding just in time: which encoded frame of a video Track goes to its decoder, and when.
//!
//! In: whole encoded frames as they are received, and programme time. Out: frames to a decoder shortly before they are due, wishes for keyframes.
//! Runs on the video mixer's thread. Frames wait encoded, because encoded ones are small; a decoder is started by a keyframe,
//! and never fed with frames whose references were lost: the last good picture stays until a keyframe comes. A loss is seen when the frame behind
//! it arrives, not when it is due, so the keyframe is asked for while the mixer's delay still hides the hole. A decoder gets a few frames at once
//! and then rests, because it works with cold caches whenever it begins (decision 0017).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use recorder_core::ids::TrackId;
use recorder_core::time::SessionTime;

use crate::graph::GraphError;
use crate::media::{Codec, MediaFrame};

/// How long before its instant a frame may be handed to the decoder: ten pictures at 30 a second, as many as the mixer holds.
const LEAD: Duration = Duration::from_millis(333);
/// A decoder gets no frame before there is room for so many pictures; then it gets all that are due. Six of 30 a second are still decoded at that
/// moment: so long, 200 ms, may the machine give the decoder no processor before it is seen (decision 0019).
const GROUP: usize = 4;
/// Encoded frames that wait, per Track: more than the largest mixer delay.
const QUEUE: Duration = Duration::from_secs(4);
/// Bytes that wait, per Track.
const QUEUE_BYTES: usize = 8 << 20;
/// A decoder that has given no picture for so long has swallowed what it was given. Long enough for a machine that is too slow.
const SWALLOWED: Duration = Duration::from_secs(1);
/// Distance between wishes for a keyframe of one Track; the conference adapter throttles further.
const WISH_EVERY: Duration = Duration::from_millis(500);

/// A decoder of one Track, as this module needs it. [`crate::graph::DecoderGraph`] in production.
pub trait Decoder {
    /// Which codec it takes.
    fn codec(&self) -> Codec;
    /// Hands over a frame; never waits.
    ///
    /// # Errors
    /// The decoder is broken and must be replaced.
    fn push(&self, frame: &MediaFrame) -> Result<(), GraphError>;
    /// Frames pushed without a picture yet.
    fn in_flight(&self) -> usize;
    /// Pictures that have come out so far.
    fn pictures(&self) -> u64;
    /// Forget what is in flight.
    fn settle(&self);
    /// Whether it reported a fault and must be replaced.
    fn is_broken(&self) -> bool;
}

impl Decoder for crate::graph::DecoderGraph {
    fn codec(&self) -> Codec {
        self.codec()
    }
    fn push(&self, frame: &MediaFrame) -> Result<(), GraphError> {
        self.push(frame)
    }
    fn in_flight(&self) -> usize {
        self.in_flight()
    }
    fn pictures(&self) -> u64 {
        self.pictures()
    }
    fn settle(&self) {
        self.settle();
    }
    fn is_broken(&self) -> bool {
        self.poll_fault().is_some_and(|fault| {
            tracing::warn!(
                graph = fault.graph,
                element = fault.element,
                message = fault.message,
                "decoder replaced after a fault"
            );
            true
        })
    }
}

/// All video Tracks of a Session on their way to decoders of type `D`.
pub struct Feeds<D> {
    feeds: BTreeMap<TrackId, Feed<D>>,
    visible: BTreeSet<TrackId>,
    counts: FeedCounts,
}

/// What happened to frames, since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct FeedCounts {
    /// Handed to decoders.
    pub decoded: u64,
    /// Thrown away because nobody sees the Track or its decoder waits for a keyframe.
    pub skipped: u64,
    /// Thrown away because too much waited.
    pub overflowed: u64,
    /// Decoders that were replaced after a fault.
    pub replaced: u64,
}

struct Feed<D> {
    queue: VecDeque<MediaFrame>,
    bytes: usize,
    /// What may be queued behind the newest frame.
    tail: Gate,
    /// What may be handed to the decoder.
    gate: Gate,
    stream: Option<u32>,
    decoder: Option<D>,
    /// When the decoder was last seen to make progress, and how many pictures it had made by then.
    progress: (SessionTime, u64),
    wished: Option<SessionTime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    /// Only a keyframe may pass.
    Closed,
    Open,
}

impl<D> Default for Feed<D> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            tail: Gate::Closed,
            gate: Gate::Closed,
            stream: None,
            decoder: None,
            progress: (SessionTime::ZERO, 0),
            wished: None,
        }
    }
}

impl<D: Decoder> Default for Feeds<D> {
    fn default() -> Self {
        Self { feeds: BTreeMap::new(), visible: BTreeSet::new(), counts: FeedCounts::default() }
    }
}

impl<D: Decoder> Feeds<D> {
    /// Says which Tracks are in the Scene; decoders of others are thrown away, and their frames are no longer kept.
    pub fn show(&mut self, visible: BTreeSet<TrackId>) {
        self.feeds.retain(|track, _| visible.contains(track));
        self.visible = visible;
    }

    /// Takes a received frame.
    pub fn accept(&mut self, frame: MediaFrame) {
        if !self.visible.contains(&frame.track) {
            self.counts.skipped += 1;
            return;
        }
        let feed = self.feeds.entry(frame.track.clone()).or_default();
        if feed.queue_up(frame) {
            self.counts.overflowed += feed.bound();
        } else {
            self.counts.skipped += 1;
        }
    }

    /// Hands to the decoders what is due before `at` + lead, as far as `room` (decoded pictures that the mixer still takes for the Track) allows.
    /// Returns the Tracks that need a keyframe now.
    pub fn advance(
        &mut self,
        at: SessionTime,
        now: SessionTime,
        room: impl Fn(&TrackId) -> usize,
        mut start: impl FnMut(&TrackId, Codec) -> Result<D, GraphError>,
    ) -> Vec<TrackId> {
        let mut wishes = Vec::new();
        for (track, feed) in &mut self.feeds {
            feed.watch(now, &mut self.counts);
            let free = |feed: &Feed<D>| room(track).saturating_sub(feed.decoder.as_ref().map_or(0, Decoder::in_flight));
            let takes_a_group = free(feed) >= GROUP;
            while takes_a_group && feed.due(at + LEAD) && free(feed) > 0 {
                let Some(frame) = feed.pop() else { break };
                feed.take(&frame, now, &mut self.counts, |codec| start(track, codec));
            }
            if feed.needs_keyframe() && feed.may_wish(now) {
                wishes.push(track.clone());
            }
        }
        wishes
    }

    /// Whether any decoder of the Scene runs now: the Tracks, for the supervisor to know what a crash may be due to.
    pub fn decoding(&self) -> Vec<TrackId> {
        self.feeds.iter().filter(|(_, feed)| feed.decoder.is_some()).map(|(track, _)| track.clone()).collect()
    }

    /// What happened to frames so far.
    pub fn counts(&self) -> FeedCounts {
        self.counts
    }
}

impl<D: Decoder> Feed<D> {
    /// False when the frame cannot be decoded, because what it refers to is missing.
    fn queue_up(&mut self, frame: MediaFrame) -> bool {
        if self.stream != Some(frame.stream) || !frame.contiguous {
            self.tail = Gate::Closed;
        }
        self.stream = Some(frame.stream);
        if self.tail == Gate::Closed && !frame.keyframe {
            return false;
        }
        self.tail = Gate::Open;
        self.bytes += frame.data.len();
        self.queue.push_back(frame);
        true
    }

    /// A Track of which nothing was ever received is not asked: the media server begins with a keyframe by itself.
    fn needs_keyframe(&self) -> bool {
        let waits_for_one =
            self.tail == Gate::Closed || self.gate == Gate::Closed && !self.queue.iter().any(|frame| frame.keyframe);
        waits_for_one && self.stream.is_some()
    }

    fn due(&self, until: SessionTime) -> bool {
        self.queue.front().is_some_and(|frame| frame.capture <= until)
    }

    fn pop(&mut self) -> Option<MediaFrame> {
        let frame = self.queue.pop_front()?;
        self.bytes -= frame.data.len();
        Some(frame)
    }

    /// Drops from the front what is too much; what follows a hole can only be decoded from a keyframe on.
    fn bound(&mut self) -> u64 {
        let mut dropped = 0;
        while let (Some(oldest), Some(newest)) = (self.queue.front(), self.queue.back()) {
            if newest.capture.since(oldest.capture) <= QUEUE && self.bytes <= QUEUE_BYTES || self.queue.len() == 1 {
                break;
            }
            self.pop();
            self.gate = Gate::Closed;
            dropped += 1;
        }
        dropped
    }

    fn take(
        &mut self,
        frame: &MediaFrame,
        now: SessionTime,
        counts: &mut FeedCounts,
        start: impl FnOnce(Codec) -> Result<D, GraphError>,
    ) {
        if self.gate == Gate::Closed && !frame.keyframe {
            counts.skipped += 1;
            return;
        }
        if self.decoder.as_ref().is_none_or(|decoder| decoder.codec() != frame.codec) {
            self.progress = (now, 0);
            self.decoder = match start(frame.codec) {
                Ok(decoder) => Some(decoder),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, codec = ?frame.codec, "no decoder for a track");
                    // Else each picture would try, and say so, again.
                    self.gate = Gate::Closed;
                    return;
                }
            };
        }
        let pushed = self.decoder.as_ref().is_some_and(|decoder| decoder.push(frame).is_ok());
        if pushed {
            self.gate = Gate::Open;
            self.wished = None;
            counts.decoded += 1;
        } else {
            self.replace(counts);
        }
    }

    /// Notices a decoder that is broken, or that swallows what it is given.
    fn watch(&mut self, now: SessionTime, counts: &mut FeedCounts) {
        let Some(decoder) = &self.decoder else { return };
        if decoder.is_broken() {
            self.replace(counts);
        } else if decoder.in_flight() == 0 || decoder.pictures() != self.progress.1 {
            self.progress = (now, decoder.pictures());
        } else if now.since(self.progress.0) > SWALLOWED {
            decoder.settle();
            self.progress.0 = now;
            self.gate = Gate::Closed;
        }
    }

    fn replace(&mut self, counts: &mut FeedCounts) {
        self.decoder = None;
        self.gate = Gate::Closed;
        counts.replaced += 1;
    }

    fn may_wish(&mut self, now: SessionTime) -> bool {
        let may = self.wished.is_none_or(|last| now.since(last) >= WISH_EVERY);
        if may {
            self.wished = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests;
