//! Encodes the test card: VP8 chains that can be entered at any picture, and Opus without a seam.
//!
//! In: a person, a layer. Out: encoded pictures or packets, in order. Runs on the calling thread and blocks it for seconds;
//! only the maker of the loops calls it, never a thread that carries media.

use std::f32::consts::TAU;
use std::sync::Arc;

use super::card::{self, Person};
use super::picture::{Surface, card_picture_on};
use crate::graph::{LoopChain, LoopEncoder, LoopFault, LoopSettings};
use crate::mixer::picture::PictureError;

/// Samples a second of all sound.
pub const SAMPLE_RATE_HZ: u32 = 48_000;
/// Samples in a packet: 20 ms.
pub const PACKET_SAMPLES: u32 = 960;
/// Packets in a loop.
pub const LOOP_PACKETS: u32 = card::LOOP_SECONDS * SAMPLE_RATE_HZ / PACKET_SAMPLES;
/// Opus rate, bit/s.
const OPUS_BPS: i32 = 64_000;

/// Why a loop could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// GStreamer or its VP8 encoder is missing or fails.
    #[error("the pictures cannot be encoded")]
    Pictures(#[from] LoopFault),
    /// The size cannot be drawn.
    #[error("the test card cannot be drawn")]
    Card(#[from] PictureError),
    /// The Opus encoder refused.
    #[error("Opus cannot encode the sound")]
    Opus(#[from] opus::Error),
}

/// Encodes the whole loop of `person` on a surface at a size, `rate_bps` bits a second on average.
///
/// # Errors
/// GStreamer or its VP8 encoder is missing or fails.
pub fn encode_pictures(
    surface: Surface,
    person: &Person,
    width_px: u32,
    height_px: u32,
    rate_bps: u32,
    chain: LoopChain,
) -> Result<Vec<Arc<[u8]>>, EncodeError> {
    let settings = LoopSettings { width_px, height_px, fps: card::FPS, pictures: card::LOOP_FRAMES, rate_bps, chain };
    let mut encoder = LoopEncoder::start(settings).map_err(LoopFault::from)?;
    for number in 0..card::LOOP_FRAMES {
        let picture = card_picture_on(surface, person, number, width_px, height_px)?;
        let (y, cb, cr) = picture.planes();
        encoder.push([y, cb, cr].concat()).map_err(LoopFault::from)?;
    }
    Ok(encoder.finish()?)
}

/// One sample of `person` at a media time given in samples: the tone, and the beep in the first part of each second.
pub fn sound_sample(person: &Person, at: u32) -> f32 {
    // Whole frequencies repeat each second, so the phase is exact for any time.
    let within = at % SAMPLE_RATE_HZ;
    let wave = |hz: u32| {
        let turns = (u64::from(within) * u64::from(hz) % u64::from(SAMPLE_RATE_HZ)) as f32 / SAMPLE_RATE_HZ as f32;
        (turns * TAU).sin()
    };
    let beep = if within < card::BEEP_MS * SAMPLE_RATE_HZ / 1000 { card::BEEP_AMPLITUDE * wave(person.beep_hz) } else { 0.0 };
    card::TONE_AMPLITUDE * wave(person.tone_hz) + beep
}

fn opus_encoder() -> Result<opus::Encoder, EncodeError> {
    let mut encoder = opus::Encoder::new(SAMPLE_RATE_HZ, opus::Channels::Mono, opus::Application::Audio)?;
    encoder.set_bitrate(opus::Bitrate::Bits(OPUS_BPS))?;
    encoder.set_vbr(false)?;
    encoder.set_dtx(false)?;
    encoder.set_inband_fec(false)?;
    Ok(encoder)
}

/// A packet of silence that can be sent again and again: what the encoder makes after a second of it.
///
/// # Errors
/// Opus refuses.
pub fn encode_silence() -> Result<Arc<[u8]>, EncodeError> {
    let mut encoder = opus_encoder()?;
    let samples = [0.0_f32; PACKET_SAMPLES as usize];
    let mut packet = Vec::new();
    for _ in 0..SAMPLE_RATE_HZ / PACKET_SAMPLES {
        packet = encoder.encode_vec_float(&samples, 1500)?;
    }
    Ok(packet.into())
}

/// Encodes the sound of `person`: Opus, mono, 20 ms, constant rate. Packet `k` is what the encoder makes of the samples from media time `k` * 20 ms
/// on, as any sender does it: a decoder gives them later by the encoder's look-ahead (312 samples). Packet 0 follows the last one without a seam.
///
/// # Errors
/// Opus refuses.
pub fn encode_sound(person: &Person) -> Result<Vec<Arc<[u8]>>, EncodeError> {
    let mut encoder = opus_encoder()?;
    let mut packets = Vec::with_capacity(LOOP_PACKETS as usize);
    let mut samples = [0.0_f32; PACKET_SAMPLES as usize];
    // The first round only brings the encoder into the state in which the loop begins again.
    for packet in 0..2 * LOOP_PACKETS {
        let from = packet * PACKET_SAMPLES;
        for (sample, at) in samples.iter_mut().zip(from..) {
            *sample = sound_sample(person, at);
        }
        let encoded = encoder.encode_vec_float(&samples, 1500)?;
        if packet >= LOOP_PACKETS {
            packets.push(Arc::from(encoded));
        }
    }
    Ok(packets)
}
