//! The two encoders of a Rendition, each a small graph: canvases to H.264, samples to AAC-LC.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use recorder_core::effort::Effort;
use recorder_core::scene::CanvasSize;

use super::encoder_kind::{EncoderKind, X264};
use super::template::{Graph, GraphError, GraphFault, Template};

pub(super) const TEMPLATES: [Template; 2] =
    [X264, Template::new("encode-aac", include_str!("../../pipelines/encode-aac.launch")).first()];

/// What an encoder made: called on its streaming thread, must not wait for anything but a lock.
#[derive(Debug, Clone)]
pub struct EncodedPacket {
    /// The time that was given with the input, in nanoseconds.
    pub pts_ns: u64,
    /// Decoding can begin here.
    pub keyframe: bool,
    /// The encoded bytes.
    pub data: Arc<[u8]>,
    /// The codec's configuration record (`avcC` or AudioSpecificConfig), as far as known; it is known with the first packet.
    pub config: Option<Arc<[u8]>>,
}

/// Size, rate and quality of the H.264 encoder.
#[derive(Debug, Clone, Copy)]
pub struct VideoSettings {
    /// Size of the canvas.
    pub canvas: CanvasSize,
    /// Pictures a second.
    pub fps: u32,
    /// Average and maximum rate, kbit/s, over a VBV of one second.
    pub kbps: u32,
    /// Seconds between keyframes.
    pub gop_seconds: u32,
    /// How hard it tries, if it can choose. The codec headers do not depend on it.
    pub effort: Effort,
    /// Who encodes.
    pub by: EncoderKind,
}

/// An encoder behind an appsrc. Owned by the video mixer's thread.
pub struct VideoEncoder {
    graph: Graph,
    source: gst_app::AppSrc,
    picture_ns: u64,
    canvas: CanvasSize,
}

impl VideoEncoder {
    /// A running encoder, which hands each packet to `output` and calls it with `None` when the last one has come.
    ///
    /// # Errors
    /// Missing elements, or settings that the encoder refuses.
    pub fn start(
        settings: VideoSettings,
        output: impl Fn(Option<EncodedPacket>) + Send + Sync + 'static,
    ) -> Result<Self, GraphError> {
        Self::start_graph(settings.by.template(), settings, output)
    }

    /// The same in a graph of this text.
    pub(super) fn start_graph(
        template: Template,
        settings: VideoSettings,
        output: impl Fn(Option<EncodedPacket>) + Send + Sync + 'static,
    ) -> Result<Self, GraphError> {
        if settings.fps == 0 || settings.kbps == 0 {
            return Err(GraphError::Settings(template.name()));
        }
        let graph = template.build()?;
        settings.by.set_up(&graph.element("encoder")?, &settings)?;
        let fps = i32::try_from(settings.fps).map_err(|_| GraphError::Settings("encode-h264"))?;
        // WebRTC video is BT.601 limited range (RFC 7741 names no other for VP8); saying so keeps players from guessing BT.709.
        let info =
            gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, settings.canvas.width_px, settings.canvas.height_px)
                .fps(gst::Fraction::new(fps, 1))
                .par(gst::Fraction::new(1, 1))
                .colorimetry(&gst_video::VideoColorimetry::new(
                    gst_video::VideoColorRange::Range16_235,
                    gst_video::VideoColorMatrix::Bt601,
                    gst_video::VideoTransferFunction::Bt601,
                    gst_video::VideoColorPrimaries::Smpte170m,
                ))
                .build()
                .map_err(|_| GraphError::Settings("encode-h264"))?;
        let caps = info.to_caps().map_err(|_| GraphError::Settings("encode-h264"))?;
        let source: gst_app::AppSrc = graph.element("canvas")?;
        source.set_caps(Some(&caps));
        source.set_max_bytes(0);
        deliver(&graph, output)?;
        graph.play()?;
        let CanvasSize { width_px, height_px } = settings.canvas;
        tracing::debug!(encoder_width = width_px, encoder_height = height_px, kbps = settings.kbps, "encodes pictures");
        Ok(Self { graph, source, picture_ns: 1_000_000_000 / u64::from(settings.fps), canvas: settings.canvas })
    }

    /// Encodes a canvas (packed I420) shown from `pts_ns` on; never waits. The buffer is kept until it is encoded, so a repeated canvas costs no memory.
    ///
    /// # Errors
    /// The encoder has ended by a fault.
    pub fn push(&self, canvas: &Arc<[u8]>, pts_ns: u64) -> Result<(), GraphError> {
        let mut buffer = gst::Buffer::from_slice(canvas.clone());
        if let Some(buffer) = buffer.get_mut() {
            let pts = gst::ClockTime::from_nseconds(pts_ns);
            buffer.set_pts(pts);
            buffer.set_dts(pts);
            buffer.set_duration(gst::ClockTime::from_nseconds(self.picture_ns));
            self.describe(buffer)?;
        }
        self.source.push_buffer(buffer).map(|_| ()).map_err(|_| GraphError::Flow("encode-h264"))
    }

    /// Says where the planes of a packed canvas lie. Without it GStreamer takes each line to be padded to four bytes, which one of 854 pixels is not.
    fn describe(&self, buffer: &mut gst::BufferRef) -> Result<(), GraphError> {
        let CanvasSize { width_px, height_px } = self.canvas;
        let (luma, chroma) = ((width_px * height_px) as usize, (width_px / 2 * (height_px / 2)) as usize);
        let half = i32::try_from(width_px / 2).map_err(|_| GraphError::Settings("encode-h264"))?;
        gst_video::VideoMeta::add_full(
            buffer,
            gst_video::VideoFrameFlags::empty(),
            gst_video::VideoFormat::I420,
            width_px,
            height_px,
            &[0, luma, luma + chroma],
            &[2 * half, half, half],
        )
        .map(|_| ())
        .map_err(|_| GraphError::Settings("encode-h264"))
    }

    /// Makes the next pushed canvas a keyframe.
    pub fn force_keyframe(&self) {
        let event = gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build();
        if !self.source.send_event(event) {
            tracing::warn!("the encoder refused a keyframe request");
        }
    }

    /// Canvases that wait for the encoder.
    pub fn backlog(&self) -> u64 {
        self.source.current_level_buffers()
    }

    /// No more canvases follow; the output gets what is left, then `None`.
    pub fn finish(&self) {
        let _ = self.source.end_of_stream();
    }

    /// The next fault, if there is one.
    pub fn poll_fault(&self) -> Option<GraphFault> {
        self.graph.poll_fault()
    }
}

/// AAC-LC behind an appsrc. Owned by the sound thread.
pub struct SoundEncoder {
    graph: Graph,
    source: gst_app::AppSrc,
}

impl SoundEncoder {
    /// Samples that the encoder puts before the first real one (FFmpeg's AAC encoder: one frame).
    pub const PRIMING_SAMPLES: u32 = 1024;

    /// A running encoder of 48 kHz interleaved `f32`, which hands each AAC frame to `output` in order, and `None` at the end.
    /// The `pts_ns` of its packets is of no use: count frames instead.
    ///
    /// # Errors
    /// Missing elements, or settings that the encoder refuses.
    pub fn start(
        channels: u16,
        kbps: u32,
        output: impl Fn(Option<EncodedPacket>) + Send + Sync + 'static,
    ) -> Result<Self, GraphError> {
        let graph = TEMPLATES[1].build()?;
        let encoder: gst::Element = graph.element("encoder")?;
        let rate = i32::try_from(kbps * 1000).map_err(|_| GraphError::Settings("encode-aac"))?;
        encoder.set_property("bitrate", rate);
        let caps = gst::Caps::builder("audio/x-raw")
            .field("format", "F32LE")
            .field("rate", 48_000i32)
            .field("channels", i32::from(channels))
            .field("layout", "interleaved")
            .build();
        let source: gst_app::AppSrc = graph.element("samples")?;
        source.set_caps(Some(&caps));
        source.set_max_bytes(0);
        deliver(&graph, output)?;
        graph.play()?;
        Ok(Self { graph, source })
    }

    /// Encodes interleaved samples, of which the first has been preceded by `frames_before` others; never waits.
    ///
    /// # Errors
    /// The encoder has ended by a fault.
    pub fn push(&self, samples: &[f32], frames_before: u64, channels: u16) -> Result<(), GraphError> {
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let frames = samples.len() as u64 / u64::from(channels.max(1));
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            let at = |frames: u64| gst::ClockTime::from_nseconds((u128::from(frames) * 1_000_000_000 / 48_000) as u64);
            buffer.set_pts(at(frames_before));
            buffer.set_duration(at(frames_before + frames) - at(frames_before));
        }
        self.source.push_buffer(buffer).map(|_| ()).map_err(|_| GraphError::Flow("encode-aac"))
    }

    /// No more samples follow; the output gets what is left, then `None`.
    pub fn finish(&self) {
        let _ = self.source.end_of_stream();
    }

    /// The next fault, if there is one.
    pub fn poll_fault(&self) -> Option<GraphFault> {
        self.graph.poll_fault()
    }
}

pub(super) fn deliver(graph: &Graph, output: impl Fn(Option<EncodedPacket>) + Send + Sync + 'static) -> Result<(), GraphError> {
    let sink: gst_app::AppSink = graph.element("packets")?;
    let output = Arc::new(output);
    let at_end = output.clone();
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                if let Some(packet) = packet_of(&sample) {
                    output(Some(packet));
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| at_end(None))
            .build(),
    );
    Ok(())
}

fn packet_of(sample: &gst::Sample) -> Option<EncodedPacket> {
    let buffer = sample.buffer()?;
    let data: Arc<[u8]> = buffer.map_readable().ok()?.as_slice().into();
    let config = sample
        .caps()
        .and_then(|caps| caps.structure(0))
        .and_then(|s| s.get::<gst::Buffer>("codec_data").ok())
        .and_then(|b| b.map_readable().ok().map(|m| Arc::from(m.as_slice())));
    Some(EncodedPacket {
        pts_ns: buffer.pts().map_or(0, gst::ClockTime::nseconds),
        keyframe: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
        data,
        config,
    })
}
