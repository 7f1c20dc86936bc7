//! Encodes the test card: VP8 chains that can be entered at any picture, and Opus without a seam.
//!
//! In: a person, a layer. Out: encoded pictures or packets, in order. Runs on the calling thread and blocks it for seconds;
//! only the maker of the loops calls it, never a thread that carries media.

use std::f32::consts::TAU;
use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};

use super::card::{self, Person};
use super::picture::{Surface, card_picture_on};
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
    /// GStreamer or one of its elements is missing or refused.
    #[error("GStreamer cannot encode VP8")]
    Graph(#[from] gst::glib::Error),
    /// The graph does not have the parts that its text names, or did not take a setting.
    #[error("the VP8 graph is not as expected: {0}")]
    Shape(&'static str),
    /// The encoder made another number of pictures than it was given.
    #[error("the VP8 encoder made {made} pictures of {given}")]
    Pictures {
        /// Pictures that came out.
        made: usize,
        /// Pictures that went in.
        given: u32,
    },
    /// The size cannot be drawn.
    #[error("the test card cannot be drawn")]
    Card(#[from] PictureError),
    /// The Opus encoder refused.
    #[error("Opus cannot encode the sound")]
    Opus(#[from] opus::Error),
}

/// How the pictures of a loop depend on each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chain {
    /// A keyframe each second; the others refer to the picture before only, and use no probabilities of earlier pictures, so that a
    /// keyframe of the [`Chain::Keyframes`] twin can stand in for any picture.
    Main,
    /// Keyframes only.
    Keyframes,
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
    chain: Chain,
) -> Result<Vec<Arc<[u8]>>, EncodeError> {
    gst::init()?;
    // Inter pictures: see `Chain::Main`. A twin costs what it costs at a fixed, middling quantizer.
    let mode = match chain {
        Chain::Main => format!(
            "end-usage=cbr target-bitrate={rate_bps} keyframe-max-dist={} \
             temporal-scalability-layer-flags=\"<no-ref-golden+no-ref-alt+no-upd-golden+no-upd-alt+no-upd-entropy>\"",
            card::FPS
        ),
        Chain::Keyframes => format!(
            "end-usage=vbr target-bitrate={} min-quantizer=30 max-quantizer=30 keyframe-mode=disabled keyframe-max-dist=0 \
             temporal-scalability-layer-flags=\"<no-upd-entropy>\"",
            rate_bps * 10
        ),
    };
    let graph = gst::parse::launch(&format!(
        "appsrc name=source format=time block=true max-buffers=4 max-bytes=0 \
           caps=video/x-raw,format=I420,width={width_px},height={height_px},framerate={}/1 \
         ! vp8enc name=encoder deadline=1 cpu-used=8 threads=1 lag-in-frames=0 error-resilient=default {mode} \
         ! appsink name=sink sync=false max-buffers={}",
        card::FPS,
        card::LOOP_FRAMES + 1
    ))?;
    let graph = graph.downcast::<gst::Pipeline>().map_err(|_| EncodeError::Shape("not a pipeline"))?;
    let encoded = run(&graph, surface, person, width_px, height_px, chain);
    // Fails only for a graph that is already broken; the result above says so.
    let _ = graph.set_state(gst::State::Null);
    encoded
}

fn run(
    graph: &gst::Pipeline,
    surface: Surface,
    person: &Person,
    width_px: u32,
    height_px: u32,
    chain: Chain,
) -> Result<Vec<Arc<[u8]>>, EncodeError> {
    let part = |name| graph.by_name(name).ok_or(EncodeError::Shape("a named element is missing"));
    let source = part("source")?.downcast::<AppSrc>().map_err(|_| EncodeError::Shape("no appsrc"))?;
    let sink = part("sink")?.downcast::<AppSink>().map_err(|_| EncodeError::Shape("no appsink"))?;
    graph.set_state(gst::State::Playing).map_err(|_| EncodeError::Shape("does not start"))?;
    for number in 0..card::LOOP_FRAMES {
        let picture = card_picture_on(surface, person, number, width_px, height_px)?;
        let (y, cb, cr) = picture.planes();
        let mut buffer = gst::Buffer::from_mut_slice([y, cb, cr].concat());
        if let Some(buffer) = buffer.get_mut() {
            let at = |n: u32| gst::ClockTime::from_nseconds(u64::from(n) * 1_000_000_000 / u64::from(card::FPS));
            buffer.set_pts(at(number));
            buffer.set_duration(at(number + 1) - at(number));
        }
        if chain == Chain::Keyframes || number % card::FPS == 0 {
            let key = gstreamer_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if !source.send_event(key) {
                return Err(EncodeError::Shape("takes no keyframe request"));
            }
        }
        source.push_buffer(buffer).map_err(|_| EncodeError::Shape("takes no picture"))?;
    }
    source.end_of_stream().map_err(|_| EncodeError::Shape("does not end"))?;
    let mut pictures = Vec::with_capacity(card::LOOP_FRAMES as usize);
    while let Ok(sample) = sink.pull_sample() {
        let map = sample.buffer().ok_or(EncodeError::Shape("an empty sample"))?.map_readable();
        pictures.push(Arc::from(map.map_err(|_| EncodeError::Shape("an unreadable buffer"))?.as_slice()));
    }
    if pictures.len() != card::LOOP_FRAMES as usize {
        return Err(EncodeError::Pictures { made: pictures.len(), given: card::LOOP_FRAMES });
    }
    Ok(pictures)
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

/// Encodes the sound of `person`: Opus, mono, 20 ms, constant rate. Packet `k` is what the encoder makes of the samples from media time `k` * 20 ms
/// on, as any sender does it: a decoder gives them later by the encoder's look-ahead (312 samples). Packet 0 follows the last one without a seam.
///
/// # Errors
/// Opus refuses.
pub fn encode_sound(person: &Person) -> Result<Vec<Arc<[u8]>>, EncodeError> {
    let mut encoder = opus::Encoder::new(SAMPLE_RATE_HZ, opus::Channels::Mono, opus::Application::Audio)?;
    encoder.set_bitrate(opus::Bitrate::Bits(OPUS_BPS))?;
    encoder.set_vbr(false)?;
    encoder.set_dtx(false)?;
    encoder.set_inband_fec(false)?;
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
