//! One small graph per visible video Track: appsrc, decoder, appsink.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use recorder_core::time::SessionTime;

use super::template::{Graph, GraphError, GraphFault, Template};
use crate::media::{Codec, MediaFrame};
use crate::mixer::picture::{Picture, PlaneLayout};

pub(super) const TEMPLATES: [Template; 3] = [
    Template::new("decode-vp8", include_str!("../../pipelines/decode-vp8.launch")),
    Template::new("decode-vp9", include_str!("../../pipelines/decode-vp9.launch")),
    Template::new("decode-h264", include_str!("../../pipelines/decode-h264.launch")),
];

/// A decoded picture and the instant at which it was captured.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Capture time, as given with the encoded frame.
    pub capture: SessionTime,
    /// The picture.
    pub picture: Picture,
}

/// Where decoded pictures go: called on the decoder's streaming thread, must not wait.
pub type DecoderOutput = Arc<dyn Fn(Decoded) + Send + Sync>;

/// A decoder of one Track. Owned by the video mixer's thread.
pub struct DecoderGraph {
    graph: Graph,
    source: gst_app::AppSrc,
    codec: Codec,
    flight: Flight,
}

/// What was pushed and has not come out yet. Pictures come out in order, so one that comes out settles everything pushed before it: a frame that shows nothing
/// (VP8 `show_frame` 0) or that the decoder swallowed is not waited for.
#[derive(Clone, Default)]
struct Flight(Arc<Mutex<InFlight>>);

#[derive(Default)]
struct InFlight {
    captures: VecDeque<SessionTime>,
    pictures: u64,
}

impl Flight {
    /// One field pair, whole after each statement; held for a few instructions.
    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn came_out(&self, capture: SessionTime) {
        let mut flight = self.lock();
        flight.pictures += 1;
        while flight.captures.front().is_some_and(|pushed| *pushed <= capture) {
            flight.captures.pop_front();
        }
    }
}

impl DecoderGraph {
    /// A running decoder for `codec`, which hands each picture to `output`.
    ///
    /// # Errors
    /// Missing elements, or a graph that refuses to run; `Codec::Opus` is not for this graph.
    pub fn start(codec: Codec, output: DecoderOutput) -> Result<Self, GraphError> {
        let (template, caps) = match codec {
            Codec::Vp8 => (TEMPLATES[0], gst::Caps::new_empty_simple("video/x-vp8")),
            Codec::Vp9 => (TEMPLATES[1], gst::Caps::new_empty_simple("video/x-vp9")),
            Codec::H264 => (
                TEMPLATES[2],
                gst::Caps::builder("video/x-h264").field("stream-format", "byte-stream").field("alignment", "au").build(),
            ),
            Codec::Opus => return Err(GraphError::Settings("decode")),
        };
        let graph = template.build()?;
        let source: gst_app::AppSrc = graph.element("encoded")?;
        source.set_caps(Some(&caps));
        let sink: gst_app::AppSink = graph.element("pictures")?;
        let flight = Flight::default();
        let noted = flight.clone();
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let (number, mut size) = (STARTED.fetch_add(1, Ordering::Relaxed), (0, 0));
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if let Some(decoded) = picture_of(&sample) {
                        noted.came_out(decoded.capture);
                        let now = (decoded.picture.width(), decoded.picture.height());
                        if now != size {
                            size = now;
                            tracing::debug!(decoder = number, width = now.0, height = now.1, "decodes pictures of another size");
                        }
                        output(decoded);
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        graph.play()?;
        Ok(Self { graph, source, codec, flight })
    }

    /// The codec that it decodes.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Hands over one encoded frame; never waits.
    ///
    /// # Errors
    /// The graph has ended by a fault.
    pub fn push(&self, frame: &MediaFrame) -> Result<(), GraphError> {
        let mut buffer = gst::Buffer::from_slice(frame.data.clone());
        if let Some(buffer) = buffer.get_mut() {
            let capture = gst::ClockTime::from_nseconds(frame.capture.as_nanos());
            buffer.set_pts(capture);
            buffer.set_dts(capture);
            if !frame.contiguous {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
            if !frame.keyframe {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        self.flight.lock().captures.push_back(frame.capture);
        self.source.push_buffer(buffer).map(|_| ()).map_err(|_| GraphError::Flow("decode"))
    }

    /// Frames pushed for which no picture has come yet.
    pub fn in_flight(&self) -> usize {
        self.flight.lock().captures.len()
    }

    /// Pictures that have come out.
    pub fn pictures(&self) -> u64 {
        self.flight.lock().pictures
    }

    /// Forgets frames in flight that the decoder evidently swallowed (damaged ones give no picture).
    pub fn settle(&self) {
        self.flight.lock().captures.clear();
    }

    /// The next fault, if there is one; a decoder with a fault is to be replaced.
    pub fn poll_fault(&self) -> Option<GraphFault> {
        self.graph.poll_fault()
    }
}

/// Keeps the decoder's buffer as it is. `None` when the sample is not an I420 picture that can be shown.
pub(super) fn picture_of(sample: &gst::Sample) -> Option<Decoded> {
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let buffer = sample.buffer_owned()?;
    let pts = buffer.pts()?;
    let (offsets, strides): ([usize; 3], [i32; 3]) = match buffer.meta::<gst_video::VideoMeta>() {
        Some(meta) => (meta.offset().get(..3)?.try_into().ok()?, meta.stride().get(..3)?.try_into().ok()?),
        None => (info.offset().get(..3)?.try_into().ok()?, info.stride().get(..3)?.try_into().ok()?),
    };
    if info.format() != gst_video::VideoFormat::I420 || strides[1] != strides[2] {
        return None;
    }
    let stride = |plane: usize| usize::try_from(strides[plane]).ok();
    let layout = PlaneLayout { offsets, luma_stride: stride(0)?, chroma_stride: stride(1)? };
    let memory = Arc::new(buffer.into_mapped_buffer_readable().ok()?);
    let picture = Picture::in_memory(info.width(), info.height(), memory, layout).ok()?;
    Some(Decoded { capture: SessionTime::from_nanos(pts.nseconds()), picture })
}
