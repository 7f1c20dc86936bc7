//! Encoded packets of a Rendition.

use std::sync::Arc;
use std::time::Duration;

use recorder_core::time::SessionTime;

/// The two streams of a Rendition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stream {
    /// H.264, length-prefixed NAL units (avc), no B frames: decode order is presentation order.
    Video,
    /// AAC-LC, raw frames of 1024 samples.
    Sound,
}

/// One encoded picture or AAC frame.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Which stream.
    pub stream: Stream,
    /// The programme instant that it shows or begins with. Encoder delay is already subtracted: for sound this is the instant of the
    /// first sample that the frame decodes to.
    pub pts: SessionTime,
    /// How long it lasts.
    pub duration: Duration,
    /// Decoding can begin here; always true for sound.
    pub keyframe: bool,
    /// The encoded bytes.
    pub data: Arc<[u8]>,
}

/// What a decoder must know before the first packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodecHeaders {
    /// AVCDecoderConfigurationRecord (ISO/IEC 14496-15).
    pub avc_config: Arc<[u8]>,
    /// AudioSpecificConfig (ISO/IEC 14496-3).
    pub aac_config: Arc<[u8]>,
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// Pictures a second.
    pub fps: u32,
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Sound channels.
    pub channels: u16,
}
