//! The packets of one RTP stream, put in order and together again.
//!
//! In: RTP packets as they arrive, late, twice, or never, and the time. Out: whole frames in their order. Pure; runs where the receiver runs.
//! It refuses to ask for anything: it says when a keyframe should be asked for, and the protocol library asks for missing packets.
//!
//! A hole is waited for while a repeat may still come in time. Behind a hole that stays, whatever can be shown without it passes: a keyframe, or
//! a frame of the base layer when the hole holds none. Everything is bounded: in packets, in bytes, and in time. Decision 0014 has the figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::pictures::Pictures;
use self::sounds::Sounds;
use super::keyframes::Misses;
use crate::media::Codec;

mod payload;
mod pictures;
mod sounds;

/// One RTP packet, decrypted, without its header.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    /// Sequence number, extended to 64 bits.
    pub(super) seq: u64,
    /// RTP time, extended to 64 bits.
    pub(super) time: u64,
    /// The marker bit: with pictures, the last packet of a frame.
    pub(super) marker: bool,
    /// When it arrived.
    pub(super) arrival: Instant,
    /// How its payload is to be read.
    pub(super) content: Content,
    /// The payload; empty when the packet was only padding.
    pub(super) payload: Arc<[u8]>,
}

/// What the payload type of a packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Encoded media.
    Plain(Codec),
    /// Opus, with older packets of this payload type repeated before it (RFC 2198).
    RedundantOpus {
        /// The payload type of Opus itself.
        opus: u8,
    },
}

/// A whole frame, or a packet of sound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) codec: Codec,
    /// RTP time, extended to 64 bits.
    pub(super) time: u64,
    /// When its first packet arrived.
    pub(super) arrival: Instant,
    /// False when something before it is missing that it may refer to; and for the first one.
    pub(super) contiguous: bool,
    /// Sound: always true.
    pub(super) keyframe: bool,
    pub(super) data: Arc<[u8]>,
}

/// A packet whose payload is not what its type says. Its place is kept, so that it is not waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the payload of an RTP packet cannot be read")]
pub(super) struct Unreadable;

/// The packets of one stream; see the module.
pub(super) enum Reorder {
    Pictures(Pictures),
    Sounds(Sounds),
}

impl Reorder {
    /// For a stream whose packets have this content. `delay` is how long after its capture a picture is shown.
    pub(super) fn new(content: Content, delay: Duration) -> Self {
        match content {
            Content::Plain(Codec::Vp8 | Codec::Vp9 | Codec::H264) => Self::Pictures(Pictures::new(delay)),
            Content::Plain(Codec::Opus) | Content::RedundantOpus { .. } => Self::Sounds(Sounds::default()),
        }
    }

    /// Takes a packet. Late and repeated ones are dropped.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(super) fn put(&mut self, packet: Packet) -> Result<(), Unreadable> {
        match self {
            Self::Pictures(pictures) => pictures.put(packet),
            Self::Sounds(sounds) => sounds.put(packet),
        }
    }

    /// The next frame that may go on, in order; to be called until there is none.
    pub(super) fn take(&mut self, now: Instant) -> Option<Frame> {
        match self {
            Self::Pictures(pictures) => pictures.take(now),
            Self::Sounds(sounds) => sounds.take(now),
        }
    }

    /// When [`Self::take`] may have something without another packet.
    pub(super) fn wake(&self) -> Option<Instant> {
        match self {
            Self::Pictures(pictures) => pictures.wake(),
            Self::Sounds(sounds) => sounds.wake(),
        }
    }

    /// Why a keyframe should be asked for: a hole will hardly be filled, and nothing behind it can be shown without it.
    pub(super) fn misses(&self) -> Option<Misses> {
        match self {
            Self::Pictures(pictures) => Some(Misses { since: pictures.ask_at()?, newest: pictures.missed_last()? }),
            Self::Sounds(_) => None,
        }
    }
}
