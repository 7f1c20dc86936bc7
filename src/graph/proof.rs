//! The proof that an encoder can be trusted: it encodes a short made-up film, which is decoded and looked at.
//!
//! In: an encoder and the settings that it is wanted for. Out: how fast it is, or what is wrong with it. Blocks for as long as sixty pictures take. Drivers of
//! hardware promise much: some reorder pictures, ignore a wish for a keyframe, or give green ones, and a recording is no place to find out.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer_app as gst_app;
use recorder_core::scene::CanvasSize;

use super::decoder::{Decoded, picture_of};
use super::encoder::{EncodedPacket, VideoEncoder, VideoSettings};
use super::encoder_kind::{EncoderKind, EncoderWish};
use super::template::{GraphError, Template};
use crate::mixer::picture::Picture;

pub(super) const DECODE: Template = Template::new("prove-h264", include_str!("../../pipelines/prove-h264.launch"));

/// Pictures of the film: one second or two.
const PICTURES: u64 = 60;
/// One of them is wanted as a keyframe, where none is due.
const WANTED_KEY: u64 = 20;
/// The encoder may be silent for so long.
const SILENCE: Duration = Duration::from_secs(20);
/// How far a decoded picture may be from its source: mean difference of a plane, of 255. Compression leaves below 6 here, and a picture that is shifted,
/// flipped, brighter or green is beyond 20.
const DIFFERENCE: f64 = 14.0;

/// What is wrong with an encoder.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It does not start or breaks.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// It makes nothing for too long.
    #[error("the encoder made nothing for {} s", SILENCE.as_secs())]
    Silent,
    /// It loses pictures, or makes some up.
    #[error("the encoder made {made} packets of {PICTURES} pictures")]
    Count {
        /// Its packets.
        made: usize,
    },
    /// Its packets do not stand in the order of the pictures.
    #[error("the encoder gives pictures in another order")]
    Order,
    /// It begins with no keyframe, or ignores the wish for one.
    #[error("the encoder makes no keyframe of picture {0}, where one is wanted")]
    Keyframe(u64),
    /// Its codec headers are missing or change.
    #[error("the encoder's headers are missing or change")]
    Headers,
    /// What it makes cannot be decoded.
    #[error("{decoded} of {PICTURES} encoded pictures can be decoded")]
    Decode {
        /// Pictures that came out.
        decoded: u64,
    },
    /// What it makes looks otherwise.
    #[error("encoded pictures look otherwise: picture {picture} differs by {difference:.0} of 255 on average")]
    Looks {
        /// Which.
        picture: u64,
        /// Mean difference of its worst plane.
        difference: f64,
    },
    /// It is too slow.
    #[error("{speed:.0} pictures a second are encoded here, {needed:.0} are needed")]
    Slow {
        /// Pictures a second.
        speed: f64,
        /// So many are needed.
        needed: f64,
    },
}

/// The encoder for all of these pictures, as the operator wishes; hardware only if it is proven for each of them.
pub fn choose(wish: EncoderWish, all: &[VideoSettings]) -> EncoderKind {
    for hardware in wish.candidates() {
        let by = EncoderKind::Hardware(*hardware);
        match all.iter().try_for_each(|settings| prove(VideoSettings { by, ..*settings }).map(drop)) {
            Ok(()) => {
                tracing::info!(encoder = hardware.name(), "hardware encodes the pictures");
                return by;
            }
            // Who asks for anything that works is not told of each thing that is not there.
            Err(error) if wish == EncoderWish::Auto => {
                tracing::info!(encoder = hardware.name(), %error, "hardware that is not used")
            }
            Err(error) => {
                tracing::warn!(encoder = hardware.name(), %error, "the wanted hardware cannot be used; x264 encodes the pictures")
            }
        }
    }
    EncoderKind::X264
}

/// Encodes the film, and looks at what came out. Gives pictures a second.
///
/// # Errors
/// What is wrong with the encoder.
pub fn prove(settings: VideoSettings) -> Result<f64, ProofError> {
    prove_graph(settings.by.template(), settings)
}

fn prove_graph(template: Template, settings: VideoSettings) -> Result<f64, ProofError> {
    let (packets, made) = channel();
    let encoder = VideoEncoder::start_graph(template, settings, move |packet| _ = packets.send(packet))?;
    let began = Instant::now();
    for number in 0..PICTURES {
        if number == WANTED_KEY {
            encoder.force_keyframe();
        }
        encoder.push(&picture(settings.canvas, number), time_ns(number, settings.fps))?;
    }
    encoder.finish();
    let packets = all(&made)?;
    let took = began.elapsed();
    look_at_packets(&packets, settings.fps)?;
    let (speed, needed) = (PICTURES as f64 / took.as_secs_f64(), f64::from(settings.fps));
    if speed < needed {
        return Err(ProofError::Slow { speed, needed });
    }
    look_at_pictures(&packets, &settings)?;
    Ok(speed)
}

fn time_ns(number: u64, fps: u32) -> u64 {
    number * 1_000_000_000 / u64::from(fps)
}

/// Waits for the last packet.
fn all(made: &Receiver<Option<EncodedPacket>>) -> Result<Vec<EncodedPacket>, ProofError> {
    let mut packets = Vec::new();
    loop {
        match made.recv_timeout(SILENCE) {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return Ok(packets),
            Err(RecvTimeoutError::Timeout) => return Err(ProofError::Silent),
            Err(RecvTimeoutError::Disconnected) => return Err(ProofError::Graph(GraphError::Flow("encode-h264"))),
        }
    }
}

fn look_at_packets(packets: &[EncodedPacket], fps: u32) -> Result<(), ProofError> {
    if packets.len() as u64 != PICTURES {
        return Err(ProofError::Count { made: packets.len() });
    }
    // Each has the time of its picture, from wherever the encoder counts; a driver may round it.
    let since_first = |packet: &EncodedPacket| packet.pts_ns.checked_sub(packets[0].pts_ns);
    let is_in_order = (0..)
        .zip(packets)
        .all(|(number, packet)| since_first(packet).is_some_and(|at| at.abs_diff(time_ns(number, fps)) < 1_000_000));
    if !is_in_order {
        return Err(ProofError::Order);
    }
    for wanted in [0, WANTED_KEY] {
        if !packets[wanted as usize].keyframe {
            return Err(ProofError::Keyframe(wanted));
        }
    }
    let first = packets[0].config.as_ref().ok_or(ProofError::Headers)?;
    if packets.iter().any(|packet| packet.config.as_ref() != Some(first)) {
        return Err(ProofError::Headers);
    }
    Ok(())
}

fn look_at_pictures(packets: &[EncodedPacket], settings: &VideoSettings) -> Result<(), ProofError> {
    let mut number = 0;
    for decoded in decode(packets)? {
        let source = picture(settings.canvas, number);
        let difference = difference(&decoded.picture, &source, settings.canvas);
        if difference > DIFFERENCE {
            return Err(ProofError::Looks { picture: number, difference });
        }
        number += 1;
    }
    if number == PICTURES { Ok(()) } else { Err(ProofError::Decode { decoded: number }) }
}

/// The pictures of the packets.
fn decode(packets: &[EncodedPacket]) -> Result<Vec<Decoded>, ProofError> {
    let graph = DECODE.build()?;
    let source: gst_app::AppSrc = graph.element("packets")?;
    let sink: gst_app::AppSink = graph.element("pictures")?;
    let headers = packets.first().and_then(|packet| packet.config.clone()).ok_or(ProofError::Headers)?;
    let caps = gst::Caps::builder("video/x-h264").field("stream-format", "avc").field("alignment", "au");
    source.set_caps(Some(&caps.field("codec_data", gst::Buffer::from_slice(headers)).build()));
    source.set_max_bytes(0);
    graph.play()?;
    for packet in packets {
        let mut buffer = gst::Buffer::from_slice(packet.data.clone());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(packet.pts_ns));
        }
        source.push_buffer(buffer).map_err(|_| GraphError::Flow(DECODE.name()))?;
    }
    source.end_of_stream().map_err(|_| GraphError::Flow(DECODE.name()))?;
    let mut pictures = Vec::new();
    // It ends at the end of the stream, and does not wait for ever for what cannot be decoded.
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(SILENCE.as_secs())) {
        pictures.extend(picture_of(&sample));
    }
    Ok(pictures)
}

/// The mean difference of the plane that differs most, of 255; 255 for a picture of another size.
fn difference(decoded: &Picture, source: &[u8], canvas: CanvasSize) -> f64 {
    let (width, height) = (canvas.width_px as usize, canvas.height_px as usize);
    if (decoded.width(), decoded.height()) != (canvas.width_px, canvas.height_px) {
        return 255.0;
    }
    let (luma, chroma) = source.split_at(width * height);
    let (u, v) = chroma.split_at(width / 2 * (height / 2));
    let (planes, (luma_stride, chroma_stride)) = (decoded.planes(), decoded.strides());
    let plane = |seen: &[u8], stride: usize, wanted: &[u8], width: usize| {
        let rows = seen.chunks(stride).zip(wanted.chunks_exact(width));
        let sum: u64 = rows.flat_map(|(seen, wanted)| seen.iter().zip(wanted)).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / wanted.len() as f64
    };
    plane(planes.0, luma_stride, luma, width).max(plane(planes.1, chroma_stride, u, width / 2)).max(plane(
        planes.2,
        chroma_stride,
        v,
        width / 2,
    ))
}

/// A picture of the film: a bar that moves over a soft ground, about as hard to encode as a talking head, bluer on top and redder to the right, so that
/// planes that are exchanged are seen.
fn picture(canvas: CanvasSize, number: u64) -> Arc<[u8]> {
    let (width, height) = (canvas.width_px as usize, canvas.height_px as usize);
    let mut picture = vec![0_u8; width * height + 2 * (width / 2) * (height / 2)];
    let bar = (number as usize * 8) % width;
    let (luma, chroma) = picture.split_at_mut(width * height);
    for (y, row) in luma.chunks_exact_mut(width).enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            let is_bar = x >= bar && x < bar + width / 8;
            *pixel = if is_bar { 200 } else { 40 + ((x ^ y) & 15) as u8 + (y * 120 / height) as u8 };
        }
    }
    let (u, v) = chroma.split_at_mut((width / 2) * (height / 2));
    for (y, row) in u.chunks_exact_mut(width / 2).enumerate() {
        row.fill(190 - (y * 120 / height) as u8);
    }
    for row in v.chunks_exact_mut(width / 2) {
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = 70 + (x * 120 / width) as u8;
        }
    }
    picture.into()
}

#[cfg(test)]
mod tests {
    use recorder_core::effort::Effort;

    use super::*;
    use crate::graph::encoder_kind::Hardware;

    const SETTINGS: VideoSettings = VideoSettings {
        canvas: CanvasSize { width_px: 320, height_px: 180 },
        fps: 30,
        kbps: 600,
        gop_seconds: 2,
        effort: Effort::Full,
        by: EncoderKind::X264,
    };

    #[test]
    fn x264_is_proven() {
        assert!(prove(SETTINGS).unwrap() > 30.0);
        let upright = CanvasSize { width_px: 180, height_px: 320 };
        assert!(prove(VideoSettings { canvas: upright, ..SETTINGS }).is_ok());
    }

    /// x264 behind or before something that spoils it, as a driver might.
    macro_rules! spoiled {
        ($before:literal, $options:literal) => {
            prove_graph(
                Template::new(
                    "spoiled",
                    concat!(
                        "appsrc name=canvas is-live=true format=time block=false ! ",
                        $before,
                        " ! x264enc name=encoder speed-preset=superfast threads=1 aud=false byte-stream=false ",
                        $options,
                        " ! video/x-h264,stream-format=avc,alignment=au ! appsink name=packets sync=false async=false"
                    ),
                ),
                SETTINGS,
            )
        };
    }

    #[test]
    fn an_encoder_that_does_other_things_than_it_should_is_found_out() {
        assert!(spoiled!("identity", "tune=zerolatency").is_ok(), "the spoiled ones differ from this one");
        let wrong = spoiled!("identity", "bframes=2 b-adapt=false").unwrap_err();
        assert!(matches!(wrong, ProofError::Order), "{wrong}");
        let wrong = spoiled!("identity drop-probability=0.3", "tune=zerolatency").unwrap_err();
        assert!(matches!(wrong, ProofError::Count { made } if made < 60), "{wrong}");
        let wrong = spoiled!("videobalance brightness=0.3", "tune=zerolatency").unwrap_err();
        assert!(matches!(wrong, ProofError::Looks { picture: 0, .. }), "{wrong}");
        let wrong = spoiled!("videoflip video-direction=vert", "tune=zerolatency").unwrap_err();
        assert!(matches!(wrong, ProofError::Looks { picture: 0, .. }), "{wrong}");
        let wrong = spoiled!("videobalance hue=0.5", "tune=zerolatency").unwrap_err();
        assert!(matches!(wrong, ProofError::Looks { picture: 0, .. }), "{wrong}");
        let wrong = spoiled!("identity sleep-time=50000", "tune=zerolatency").unwrap_err();
        assert!(matches!(wrong, ProofError::Slow { speed, .. } if speed < 30.0), "{wrong}");
        let wrong = spoiled!("videocrop right=2 ! videoscale ! video/x-raw,width=160,height=90", "tune=zerolatency").unwrap_err();
        assert!(matches!(wrong, ProofError::Looks { difference: 255.0, .. }), "{wrong}");
    }

    #[test]
    fn an_encoder_that_is_not_there_is_not_used() {
        let hardware = VideoSettings { by: EncoderKind::Hardware(Hardware::Va), ..SETTINGS };
        if let Err(error) = prove(hardware) {
            assert!(matches!(error, ProofError::Graph(GraphError::Missing(_))), "{error}");
            assert_eq!(choose(EncoderWish::Hardware(Hardware::Va), &[SETTINGS]), EncoderKind::X264);
        }
        assert_eq!(choose(EncoderWish::Software, &[SETTINGS]), EncoderKind::X264);
    }
}
