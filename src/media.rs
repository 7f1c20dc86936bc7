//! Encoded media on its way from reception to decoding.
//!
//! In: whole encoded frames from `ingest`. Out: the same, through two bounded channels that never block the reception thread.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use recorder_core::ids::TrackId;
use recorder_core::time::SessionTime;

/// The codecs that we receive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// RFC 7741; one frame a buffer.
    Vp8,
    /// RFC 9628, profile 0; one superframe a buffer.
    Vp9,
    /// Annex B access units with parameter sets (RFC 6184 depacketized).
    H264,
    /// One packet a buffer (RFC 7587), 48 kHz.
    Opus,
}

/// One whole encoded frame (video) or packet (sound).
#[derive(Clone, Debug)]
pub struct MediaFrame {
    /// Which Track it belongs to.
    pub track: TrackId,
    /// How it is encoded.
    pub codec: Codec,
    /// RTP time, extended to 64 bits, in units of the codec's clock (90 kHz video, 48 kHz Opus). Continuous while `stream` is the same.
    pub rtp_time: u64,
    /// Counts the RTP streams that this Track has had: a new value means that `rtp_time` starts anew and a decoder must be reset.
    pub stream: u32,
    /// When it was captured, on the session clock, by the clock model.
    pub capture: SessionTime,
    /// When its first packet arrived: the one that waited least for its own frame to be complete, so its delay tells most about the network.
    pub arrival: SessionTime,
    /// False after a loss that was not repaired.
    pub contiguous: bool,
    /// Video: can be decoded without earlier frames. Sound: always true.
    pub keyframe: bool,
    /// The encoded bytes.
    pub data: Arc<[u8]>,
}

/// Where `ingest` puts what it received: one lane for pictures, one for sound, each bounded. A full lane drops and counts; it never blocks.
#[derive(Clone)]
pub struct MediaSink {
    video: SyncSender<MediaFrame>,
    sound: SyncSender<MediaFrame>,
    dropped: Arc<AtomicU64>,
    /// Tracks whose next picture refers to one that was dropped here. Guards itself alone; held for a look-up.
    torn: Arc<Mutex<BTreeSet<TrackId>>>,
}

/// The other ends of a [`MediaSink`].
pub struct MediaSource {
    /// Pictures, for the video mixer's thread.
    pub video: Receiver<MediaFrame>,
    /// Sound, for the sound thread.
    pub sound: Receiver<MediaFrame>,
}

/// Frames that fit into each lane: a second of 25 people at 30 pictures or 50 packets a second.
pub(crate) const LANE_FRAMES: usize = 1250;

/// A connected sink and source.
pub fn lanes() -> (MediaSink, MediaSource) {
    let (video, video_rx) = sync_channel(LANE_FRAMES);
    let (sound, sound_rx) = sync_channel(LANE_FRAMES);
    let sink = MediaSink { video, sound, dropped: Arc::default(), torn: Arc::default() };
    (sink, MediaSource { video: video_rx, sound: sound_rx })
}

impl MediaSink {
    /// Hands a frame on, or drops and counts it when the lane is full. Never blocks. The picture behind a dropped one is no longer
    /// contiguous: its decoder would make garbage of it.
    pub fn put(&self, mut frame: MediaFrame) {
        let is_picture = frame.codec != Codec::Opus;
        let lane = if is_picture { &self.video } else { &self.sound };
        if is_picture && self.torn().remove(&frame.track) {
            frame.contiguous = false;
        }
        match lane.try_send(frame) {
            Ok(()) => {}
            // A closed lane means that the worker is ending.
            Err(TrySendError::Full(frame) | TrySendError::Disconnected(frame)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                if is_picture {
                    self.torn().insert(frame.track);
                }
            }
        }
    }

    fn torn(&self) -> std::sync::MutexGuard<'_, BTreeSet<TrackId>> {
        self.torn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use recorder_core::ids::{ParticipantId, TrackKind};

    use super::*;

    #[test]
    fn the_picture_behind_a_dropped_one_is_not_contiguous() {
        let (sink, source) = lanes();
        let frame = |who: &str, n: u64| MediaFrame {
            track: TrackId::new(ParticipantId::new(who), TrackKind::Camera),
            codec: Codec::Vp8,
            rtp_time: n,
            stream: 1,
            capture: SessionTime::from_millis(n),
            arrival: SessionTime::from_millis(n),
            contiguous: true,
            keyframe: false,
            data: vec![0].into(),
        };
        (0..LANE_FRAMES as u64).for_each(|n| sink.put(frame("ada", n)));
        sink.put(frame("ada", 5000));
        assert_eq!(sink.dropped(), 1);
        assert!(source.video.try_iter().all(|frame| frame.contiguous));
        sink.put(frame("bob", 5001));
        sink.put(frame("ada", 5001));
        sink.put(frame("ada", 5002));
        let contiguous: Vec<bool> = source.video.try_iter().map(|frame| frame.contiguous).collect();
        assert_eq!(contiguous, [true, false, true]);
    }
}
