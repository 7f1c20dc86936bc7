//! How frames of pictures are cut into RTP payloads, and put together again.
//!
//! In: single payloads, from strangers. Out: what each says of its frame, and the frame's bytes. Pure and total: any bytes are read or refused.

use super::Unreadable;
use crate::media::Codec;

/// What one payload says of the frame that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) begins: Begins,
    /// Shows that its frame needs no other one.
    pub(super) keyframe: bool,
    pub(super) layer: Option<Layer>,
    /// Where the frame's own bytes begin.
    from: usize,
}

/// Whether a frame begins with this payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begins {
    Yes,
    No,
    /// If the frame before it is known to be over.
    BehindAnEnd,
}

/// The place of a VP8 frame in time layers (RFC 7741 section 4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layer {
    /// TL0PICIDX: counts the frames of the base layer; in higher layers, which of them is referred to.
    pub(super) base: u8,
    /// TID: 0 is the base layer.
    pub(super) number: u8,
    /// Y: refers to the base layer only.
    pub(super) sync: bool,
}

const ANNEX_B_START: [u8; 4] = [0, 0, 0, 1];
const IDR: u8 = 5;
const PARAMETER_SET: u8 = 7;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Reads what a payload says.
///
/// # Errors
/// A payload that is cut off, or of a kind that nobody may send to us; and sound.
pub(super) fn read(codec: Codec, payload: &[u8]) -> Result<Piece, Unreadable> {
    match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        Codec::Opus => None,
    }
    .ok_or(Unreadable)
}

/// A payload descriptor (RFC 7741 section 4.2), then bytes of the frame.
fn vp8(payload: &[u8]) -> Option<Piece> {
    let mut bytes = payload.iter().copied();
    let required = bytes.next()?;
    let mut layer = None;
    if required & 0x80 != 0 {
        let present = bytes.next()?;
        if present & 0x80 != 0 {
            let is_long = bytes.next()? & 0x80 != 0;
            if is_long {
                bytes.next()?;
            }
        }
        let base = if present & 0x40 != 0 { Some(bytes.next()?) } else { None };
        if present & 0x30 != 0 {
            let place = bytes.next()?;
            // The number of the base frame makes no sense without that of the layer.
            layer = base.filter(|_| present & 0x20 != 0).map(|base| Layer { base, number: place >> 6, sync: place & 0x20 != 0 });
        }
    }
    let from = payload.len() - bytes.len();
    let first = bytes.next()?;
    let is_start = required & 0x10 != 0 && required & 0x07 == 0;
    let begins = if is_start { Begins::Yes } else { Begins::No };
    // The first bit of a frame is 0 in a keyframe (RFC 6386 section 9.1).
    Some(Piece { begins, keyframe: is_start && first & 1 == 0, layer, from })
}

/// A payload descriptor (RFC 9628 section 4.2), then bytes of the frame.
fn vp9(payload: &[u8]) -> Option<Piece> {
    let mut bytes = payload.iter().copied();
    let required = bytes.next()?;
    let is = |bit: u8| required & bit != 0;
    let (has_id, predicted, layered, flexible, starts, structured) = (is(0x80), is(0x40), is(0x20), is(0x10), is(0x08), is(0x02));
    if has_id && bytes.next()? & 0x80 != 0 {
        bytes.next()?;
    }
    let mut spatial = 0;
    if layered {
        spatial = bytes.next()? >> 1 & 0x07;
        if !flexible {
            bytes.next()?;
        }
    }
    if flexible && predicted {
        // Three references at most; the last bit of each says whether another one follows.
        let more = (0..3).try_fold(true, |more, _| if more { Some(bytes.next()? & 1 != 0) } else { Some(false) })?;
        if more {
            return None;
        }
    }
    if structured {
        skip_scalability_structure(&mut bytes)?;
    }
    let from = payload.len() - bytes.len();
    bytes.next()?;
    let begins = match (starts, spatial) {
        (true, 0) => Begins::Yes,
        (true, _) => Begins::BehindAnEnd,
        (false, _) => Begins::No,
    };
    Some(Piece { begins, keyframe: starts && spatial == 0 && !predicted, layer: None, from })
}

fn skip_scalability_structure(bytes: &mut impl Iterator<Item = u8>) -> Option<()> {
    let head = bytes.next()?;
    if head & 0x10 != 0 {
        let sizes = usize::from(head >> 5) + 1;
        bytes.nth(4 * sizes - 1)?;
    }
    if head & 0x08 != 0 {
        for _ in 0..bytes.next()? {
            let references = bytes.next()? >> 2 & 0x03;
            for _ in 0..references {
                bytes.next()?;
            }
        }
    }
    Some(())
}

/// A single NAL unit, several of them, or a part of one (RFC 6184 section 5.4: non-interleaved mode).
fn h264(payload: &[u8]) -> Option<Piece> {
    let begins = |kind| if matches!(kind, PARAMETER_SET | DELIMITER) { Begins::Yes } else { Begins::BehindAnEnd };
    let (begins, keyframe) = match payload.first()? & 0x1f {
        kind @ 1..=23 => (begins(kind), kind == IDR),
        STAP_A => {
            let kinds: Vec<u8> = aggregated(payload).map(|unit| unit.map(|unit| unit[0] & 0x1f)).collect::<Option<_>>()?;
            (begins(*kinds.first()?), kinds.contains(&IDR))
        }
        FU_A => {
            let head = *payload.get(1)?;
            payload.get(2)?;
            let is_start = head & 0x80 != 0;
            (if is_start { begins(head & 0x1f) } else { Begins::No }, is_start && head & 0x1f == IDR)
        }
        _ => return None,
    };
    Some(Piece { begins, keyframe, layer: None, from: 0 })
}

/// The NAL units of an aggregation packet (RFC 6184 section 5.7.1), none of them empty; `None` once when it is cut off.
fn aggregated(payload: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = payload.get(1..);
    std::iter::from_fn(move || {
        loop {
            let at = rest.take().filter(|bytes| !bytes.is_empty())?;
            let Some((length, behind)) = at.split_first_chunk::<2>() else { return Some(None) };
            let Some((unit, behind)) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
                return Some(None);
            };
            rest = Some(behind);
            if !unit.is_empty() {
                return Some(Some(unit));
            }
        }
    })
}

/// Puts the pieces of one frame together.
#[derive(Default)]
pub(super) struct Assembly {
    data: Vec<u8>,
    /// A NAL unit of which the end is missing.
    is_open: bool,
}

impl Assembly {
    /// For a frame of about so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), is_open: false }
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// It does not go on where the piece before it ended.
    pub(super) fn add(&mut self, codec: Codec, piece: Piece, payload: &[u8]) -> Result<(), Unreadable> {
        if codec != Codec::H264 {
            self.data.extend_from_slice(payload.get(piece.from..).unwrap_or_default());
            return Ok(());
        }
        match payload {
            [indicator, head, part @ ..] if indicator & 0x1f == FU_A => {
                let (starts, ends) = (head & 0x80 != 0, head & 0x40 != 0);
                if starts == self.is_open {
                    return Err(Unreadable);
                }
                if starts {
                    self.unit(&[indicator & 0xe0 | head & 0x1f]);
                }
                self.data.extend_from_slice(part);
                self.is_open = !ends;
            }
            _ if self.is_open => return Err(Unreadable),
            [indicator, ..] if indicator & 0x1f == STAP_A => aggregated(payload).flatten().for_each(|unit| self.unit(unit)),
            _ => self.unit(payload),
        }
        Ok(())
    }

    fn unit(&mut self, unit: &[u8]) {
        self.data.extend_from_slice(&ANNEX_B_START);
        self.data.extend_from_slice(unit);
    }

    /// The frame: VP8 and VP9 as they are, H.264 as Annex B.
    ///
    /// # Errors
    /// Its end is missing, or there is nothing.
    pub(super) fn finish(self) -> Result<Vec<u8>, Unreadable> {
        if self.is_open || self.data.is_empty() { Err(Unreadable) } else { Ok(self.data) }
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
