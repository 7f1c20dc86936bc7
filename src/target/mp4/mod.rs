//! One CMAF/MP4 writer for recordings and whoever else needs fragments: pure, bytes in and bytes out.
//!
//! In: [`CodecHeaders`](crate::programme::packet::CodecHeaders) and packets. Out: the bytes of a growing file ([`Writer`]), what such a
//! file holds ([`Scanner`]), and what makes it an ordinary seekable MP4 ([`Ending`]). Runs on the caller's thread. Refuses to do I/O
//! of its own, to read a clock and to keep more than one fragment in memory.
//!
//! A growing file is `ftyp`, `free` (16 bytes), `moov` with `mvex`, then pairs of `moof` and `mdat`. To end it, an ordinary `moov` is
//! appended and the 16 bytes become the header of one `mdat` that spans everything between (ISO/IEC 14496-12 §8.1.1, §8.8).

mod ending;
mod head;
mod scan;
mod writer;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use ending::Ending;
pub use scan::{Chunk, FragmentAt, Head, Scanner, Source, Track, TrackEnds};
pub use writer::{Fragment, MAX_FRAGMENT, Writer};

/// Samples of one AAC frame.
pub(crate) const AAC_FRAME_SAMPLES: u32 = 1024;
/// Ticks that one picture lasts, on a timescale of `fps * PICTURE_TICKS`.
pub(crate) const PICTURE_TICKS: u32 = 1000;
/// Bytes kept before the first `moov` for the header of the final `mdat`.
pub(crate) const SPARE_LEN: u64 = 16;
/// Track number of the pictures.
pub(crate) const VIDEO_TRACK: u32 = 1;
/// Track number of the sound.
pub(crate) const SOUND_TRACK: u32 = 2;

/// Why a file cannot be written, read or ended.
#[derive(Debug, thiserror::Error)]
pub enum Mp4Error {
    /// Field of the codec headers that no MP4 can be made of.
    #[error("the encoder's {field} cannot be written into an MP4 file")]
    BadHeaders {
        /// Which field.
        field: &'static str,
        /// What is wrong with it, when the box library said so.
        #[source]
        source: Option<mp4_atom::Error>,
    },
    /// The file was begun with another size, rate or codec configuration: the next Take needs a file of its own.
    #[error("the file was begun with other codec headers")]
    HeadersDiffer,
    /// A box cannot be made or read.
    #[error("an MP4 box is malformed")]
    Box(#[from] mp4_atom::Error),
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Read(#[from] std::io::Error),
    /// It is not a file of ours, or its head is torn.
    #[error("the file does not begin like a recording of ours ({missing})")]
    NotOurs {
        /// What was expected and is not there.
        missing: &'static str,
    },
    /// It has been made ordinary already.
    #[error("the file is an ordinary MP4 already")]
    Ordinary,
    /// Not one whole fragment.
    #[error("the file holds not one whole fragment")]
    Empty,
    /// A packet came before a Take was begun.
    #[error("a packet was given to the writer before a Take was begun")]
    NoTake,
    /// More than 4 GiB in one fragment, or a time beyond what the boxes can say.
    #[error("a fragment is too large for its boxes")]
    TooLarge,
}
