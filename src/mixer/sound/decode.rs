//! One Track's Opus decoder, by libopus.
//!
//! In: packets, or the wish for a made-up continuation. Out: interleaved stereo at 48 kHz. Stereo always: a packet may be mono and the
//! next one stereo (RFC 7587 section 3.4), and libopus turns either into what is asked for without a seam.

use opus::{Channels, Decoder, packet};

/// The longest Opus packet, 120 ms (RFC 6716 section 3.2.5), in samples.
pub(super) const LONGEST_PACKET: usize = 5_760;

/// Concealment comes in pieces of 2.5 ms.
const CONCEAL_STEP: usize = 120;

/// The longest piece of concealment asked for at once: a usual frame.
pub(super) const LONGEST_CONCEALMENT: usize = 960;

/// Why a packet made no sound.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    /// Opus packets have at least a byte; libopus would take none for a loss.
    #[error("an empty packet")]
    Empty,
    /// The bytes are not Opus.
    #[error("the bytes are not an Opus packet")]
    Malformed(#[source] opus::Error),
    /// libopus could not be set up.
    #[error("libopus gave no decoder")]
    Setup(#[source] opus::Error),
}

/// What [`OpusSound::decode`] made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Decoded {
    /// Samples of each channel.
    pub(super) samples: usize,
    /// Whether left and right may differ.
    pub(super) stereo: bool,
}

/// A decoder with the room for its output.
pub(super) struct OpusSound {
    decoder: Decoder,
    samples: Vec<f32>,
    stereo: bool,
}

impl OpusSound {
    pub(super) fn new() -> Result<Self, DecodeError> {
        let decoder = Decoder::new(super::SAMPLE_RATE_HZ, Channels::Stereo).map_err(DecodeError::Setup)?;
        Ok(Self { decoder, samples: vec![0.0; 2 * LONGEST_PACKET], stereo: false })
    }

    /// Forgets everything: the next packet begins another stream.
    pub(super) fn reset(&mut self) {
        // Fails on a wrong pointer only. Going on with the old state is a faint click.
        let _ = self.decoder.reset_state();
    }

    /// Decodes a packet; its samples are then in [`Self::samples`].
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        // A packet of two channels may follow one of one whose tail is still in the decoder.
        let two = matches!(packet::get_nb_channels(bytes), Ok(Channels::Stereo));
        let stereo = two || self.stereo;
        let samples = self.decoder.decode_float(bytes, &mut self.samples, false).map_err(DecodeError::Malformed)?;
        self.stereo = two;
        Ok(Decoded { samples, stereo })
    }

    /// Continues the sound without a packet, for `samples` (at most [`LONGEST_CONCEALMENT`]); made in whole steps of 2.5 ms.
    pub(super) fn conceal(&mut self, samples: usize) -> Result<Decoded, DecodeError> {
        let whole = samples.div_ceil(CONCEAL_STEP).clamp(1, LONGEST_CONCEALMENT / CONCEAL_STEP) * CONCEAL_STEP;
        let made = self.decoder.decode_float(&[], &mut self.samples[..2 * whole], false).map_err(DecodeError::Malformed)?;
        Ok(Decoded { samples: made.min(samples), stereo: self.stereo })
    }

    /// The samples made last, interleaved.
    pub(super) fn samples(&mut self) -> &mut [f32] {
        &mut self.samples
    }
}
