//! Reception of one RTP stream without a connection, for fuzzing and for tests that change packets.
//!
//! In: packets of one stream in any order, and the time. Out: whole frames with a capture time, as a decoder gets them. Pure; runs on the caller's
//! thread. It is the way that packets take in [`super::receiver`], with neither encryption nor repeats.

use std::time::{Duration, Instant};

use recorder_core::clock_model::ClockModel;
use recorder_core::ids::TrackId;
use recorder_core::time::SessionTime;

use super::blank::is_blank;
use super::reorder::{Content, Packet, Reorder};
use super::{speech, tcp};
use crate::media::{Codec, MediaFrame};

/// The payload type that Opus has inside of repetitions.
const OPUS_PAYLOAD_TYPE: u8 = 111;

/// What the payloads of a stream are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfflineContent {
    /// Encoded media.
    Plain(Codec),
    /// Opus with older packets repeated before it (RFC 2198), each of payload type 111.
    RedundantOpus,
}

/// One RTP packet, decrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfflinePacket {
    /// Sequence number, extended to 64 bits.
    pub seq: u64,
    /// RTP time, extended to 64 bits.
    pub time: u64,
    /// The marker bit.
    pub marker: bool,
    /// Without its header; empty for mere padding.
    pub payload: Vec<u8>,
}

/// See the module.
pub struct OfflineStream {
    content: Content,
    clock_hz: u32,
    track: TrackId,
    began: Instant,
    packets: Reorder,
    capture: ClockModel,
    /// Packets that could not be read.
    unreadable: u64,
}

impl OfflineStream {
    /// All kinds of streams.
    pub const CONTENTS: [OfflineContent; 5] = [
        OfflineContent::Plain(Codec::Vp8),
        OfflineContent::Plain(Codec::Vp9),
        OfflineContent::Plain(Codec::H264),
        OfflineContent::Plain(Codec::Opus),
        OfflineContent::RedundantOpus,
    ];

    /// The stream of `track`; session time zero is `began`, and `delay` is how long after its capture a picture is shown.
    pub fn new(content: OfflineContent, track: TrackId, began: Instant, delay: Duration) -> Self {
        let (content, clock_hz) = match content {
            OfflineContent::Plain(Codec::Opus) => (Content::Plain(Codec::Opus), 48_000),
            OfflineContent::Plain(codec) => (Content::Plain(codec), 90_000),
            OfflineContent::RedundantOpus => (Content::RedundantOpus { opus: OPUS_PAYLOAD_TYPE }, 48_000),
        };
        let (packets, capture) = (Reorder::new(content, delay), ClockModel::new());
        Self { content, clock_hz, track, began, packets, capture, unreadable: 0 }
    }

    /// A packet arrives.
    pub fn put(&mut self, packet: OfflinePacket, now: Instant) {
        let OfflinePacket { seq, time, marker, payload } = packet;
        let packet = Packet { seq, time, marker, arrival: now, content: self.content, payload: payload.into() };
        self.unreadable += u64::from(self.packets.put(packet).is_err());
    }

    /// The next whole frame; to be called until there is none.
    pub fn take(&mut self, now: Instant) -> Option<MediaFrame> {
        loop {
            let frame = self.packets.take(now)?;
            let (codec, keyframe) = (frame.codec, frame.keyframe);
            if codec != Codec::Opus && keyframe && is_blank(codec, &frame.data) {
                continue;
            }
            let arrival = self.at(frame.arrival);
            let sent = if codec == Codec::Opus { arrival - speech::duration(&frame.data) } else { arrival };
            let capture = self.capture.arrived(&self.track, 1, self.clock_hz, frame.time, sent);
            return Some(MediaFrame {
                track: self.track.clone(),
                codec,
                rtp_time: frame.time,
                stream: 1,
                capture,
                arrival,
                contiguous: frame.contiguous,
                keyframe,
                data: frame.data,
            });
        }
    }

    /// When [`OfflineStream::take`] may have something without another packet.
    pub fn wake(&self) -> Option<Instant> {
        self.packets.wake()
    }

    /// Packets that were no payload of their kind.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn at(&self, instant: Instant) -> SessionTime {
        SessionTime::ZERO + instant.saturating_duration_since(self.began)
    }
}

/// Cuts what comes by TCP into datagrams; the connection is lost at the first nonsense. Comes in pieces of uneven length.
pub fn datagrams_of_tcp(bytes: &[u8]) {
    let mut deframer = tcp::Deframer::default();
    let mut rest = bytes;
    for length in (1..).map(|turn: usize| 1 + turn * 37 % 1500) {
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        if piece.is_empty() || deframer.feed(piece, &mut |_: &[u8]| {}).is_err() {
            return;
        }
        rest = behind;
    }
}
