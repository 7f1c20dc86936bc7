//! The only module that creates GStreamer elements.
//!
//! In: templates from `pipelines/`, and settings as typed values. Out: small whole graphs, each with one owner, that turn encoded frames into
//! pictures or pictures and samples into packets. Streaming threads only hand over what they made; they never wait and never decide.
//! User data never becomes launch text. A graph is thrown away and made again, never operated on while it runs.

mod decoder;
mod encoder;
mod encoder_kind;
mod film;
mod loops;
mod monitor;
mod proof;
mod template;

pub use decoder::{Decoded, DecoderGraph, DecoderOutput};
pub use encoder::{EncodedPacket, SoundEncoder, VideoEncoder, VideoSettings};
pub use encoder_kind::{EncoderKind, EncoderWish, Hardware};
pub use film::{FilmReader, FilmStream, FilmTime};
pub use loops::{LoopChain, LoopEncoder, LoopFault, LoopSettings};
pub use monitor::{OpusFromAac, SentStream, ViewerError, ViewerEvent, ViewerGraph, ViewerStream, missing_for_monitor};
pub use proof::{ProofError, choose, prove};
pub(crate) use template::lower_this_thread;
pub use template::{Graph, GraphError, GraphFault, Template, check_all};

/// Every template that a Session may need; checked at start.
pub fn templates() -> Vec<Template> {
    decoder::TEMPLATES.into_iter().chain(encoder::TEMPLATES).collect()
}

/// The Debian package of GStreamer itself.
pub const PACKAGE: &str = "libgstreamer1.0-0";

/// The Debian package that holds an element.
pub fn package_of(element: &str) -> &'static str {
    match element {
        "x264enc" => "gstreamer1.0-plugins-ugly",
        "vp8dec" | "vp9dec" | "vp8enc" | "qtdemux" | "rtpbin" | "rtpfunnel" => "gstreamer1.0-plugins-good",
        "h264parse" | "webrtcbin" | "dtlssrtpdec" | "dtlssrtpenc" | "srtpdec" | "srtpenc" => "gstreamer1.0-plugins-bad",
        "vah264enc" | "nvh264enc" | "qsvh264enc" => "gstreamer1.0-plugins-bad",
        "nicesrc" | "nicesink" => "gstreamer1.0-nice",
        _ if element.starts_with("av") => "gstreamer1.0-libav",
        _ => "gstreamer1.0-plugins-base",
    }
}
