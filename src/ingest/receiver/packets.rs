//! From packets to frames: each mapped m-line has its own [`Reorder`].
//!
//! In: RTP packets as str0m gives them, and the passing of time. Out: frames for [`super::streams`], and when a keyframe is needed. Runs where the
//! receiver runs. It refuses packets of codecs that were not negotiated, and of m-lines that are not mapped to a Track.

use std::time::Instant;

use str0m::format::{Codec as RtpCodec, CodecConfig};
use str0m::media::{Mid, Pt};
use str0m::rtp::{RtpPacket, Ssrc};

use super::Receiver;
use crate::ingest::reorder::{Content, Packet, Reorder};
use crate::media::Codec;

/// The stream that an m-line carries at the moment.
pub(super) struct Stretch {
    ssrc: u32,
    packets: Reorder,
}

impl Receiver {
    pub(super) fn packet(&mut self, packet: RtpPacket) {
        let ssrc = packet.header.ssrc;
        let Some(mid) = self.line_of(ssrc) else { return };
        let Some(content) = content(self.rtc.codec_config(), packet.header.payload_type) else { return };
        let Some(line) = self.lines.get_mut(&mid) else { return };
        let stretch = match &mut line.stretch {
            Some(stretch) if stretch.ssrc == *ssrc => stretch,
            other => other.insert(Stretch { ssrc: *ssrc, packets: Reorder::new(content, self.mixer_delay) }),
        };
        let put = stretch.packets.put(Packet {
            seq: *packet.seq_no,
            time: packet.time.numer(),
            marker: packet.header.marker,
            arrival: packet.timestamp,
            content,
            payload: packet.payload,
        });
        if put.is_err() {
            self.refused += 1;
        }
        self.release(mid);
    }

    /// The m-line that carries this stream: by the offer, which costs nothing to look up, or else by what str0m found in the packets.
    fn line_of(&mut self, ssrc: Ssrc) -> Option<Mid> {
        let offered = self.lines.iter().find(|(_, line)| line.ssrc == Some(*ssrc)).map(|(&mid, _)| mid);
        offered.or_else(|| Some(self.rtc.direct_api().stream_rx(&ssrc)?.mid()))
    }

    /// Passes on what has waited long enough.
    pub(super) fn release_due(&mut self) {
        let is_due = |at: Instant| at <= self.now;
        let due = self.lines.iter().filter(|(_, line)| line.wake().is_some_and(is_due));
        for mid in due.map(|(&mid, _)| mid).collect::<Vec<_>>() {
            self.release(mid);
        }
    }

    fn release(&mut self, mid: Mid) {
        while let Some(frame) = self.lines.get_mut(&mid).and_then(|line| line.stretch.as_mut()?.packets.take(self.now)) {
            self.media(mid, frame);
        }
        if let Some(line) = self.lines.get(&mid) {
            let misses = line.stretch.as_ref().and_then(|stretch| stretch.packets.misses());
            self.keyframes.misses(&line.track, misses);
        }
    }
}

impl super::Line {
    /// When something of it has waited long enough.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.stretch.as_ref()?.packets.wake()
    }
}

fn content(codecs: &CodecConfig, payload_type: Pt) -> Option<Content> {
    let params = codecs.find(|params| params.pt() == payload_type || params.red() == Some(payload_type))?;
    match params.spec().codec {
        RtpCodec::Opus if params.red() == Some(payload_type) => Some(Content::RedundantOpus { opus: *params.pt() }),
        RtpCodec::Opus => Some(Content::Plain(Codec::Opus)),
        RtpCodec::Vp8 => Some(Content::Plain(Codec::Vp8)),
        RtpCodec::Vp9 => Some(Content::Plain(Codec::Vp9)),
        RtpCodec::H264 => Some(Content::Plain(Codec::H264)),
        _ => None,
    }
}
