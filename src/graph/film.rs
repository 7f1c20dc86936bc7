//! Reads a finished film back: both streams decoded, for whoever measures it.
//!
//! In: a file. Out: pictures and samples with the times at which a player shows them. Runs on the callers' threads, one for each stream, and
//! blocks them. Refuses to wait for ever: for a stream that the film does not have, or for one whose neighbour has failed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::template::{Graph, GraphError, GraphFault, Template};
use crate::mixer::picture::Picture;

const TEMPLATE: Template = Template::new("read-film", include_str!("../../pipelines/read-film.launch"));

/// How often a waiting stream looks whether its neighbour has failed.
const LOOK_EVERY: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Looks without a sample after which a stream is taken for missing: 30 s, for a machine that is too slow.
const PATIENCE_LOOKS: u32 = 300;

/// A film that is being read. Dropping it ends both streams.
pub struct FilmReader {
    graph: Graph,
}

/// One stream of a film.
pub struct FilmStream {
    sink: gst_app::AppSink,
    broken: Arc<AtomicBool>,
}

/// When something is shown or played, and for how long, in seconds: edit lists applied.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FilmTime {
    /// From the film's beginning.
    pub at_s: f64,
    /// Zero when the film does not say.
    pub length_s: f64,
}

impl FilmReader {
    /// Opens a film: its pictures, and its sound as one channel of 48 kHz.
    ///
    /// # Errors
    /// Missing elements; [`GraphError::State`] when the file cannot be opened.
    pub fn open(file: &Path) -> Result<(Self, [FilmStream; 2]), GraphError> {
        let graph = TEMPLATE.build()?;
        graph.element::<gst::Element>("file")?.set_property("location", file);
        let stream = |name| Ok::<_, GraphError>(FilmStream { sink: graph.element(name)?, broken: graph.broken() });
        let streams = [stream("pictures")?, stream("sound")?];
        graph.play()?;
        Ok((Self { graph }, streams))
    }

    /// Why the film could not be decoded to its end, once both streams have ended.
    pub fn fault(&self) -> Option<GraphFault> {
        self.graph.poll_fault()
    }
}

impl FilmStream {
    /// The next picture; `None` at the end, also one that came too early. Samples that have no time or no picture are left out.
    pub fn next_picture(&self) -> Option<(FilmTime, Picture)> {
        loop {
            let sample = self.next()?;
            if let Some(read) = time_of(&sample).zip(picture_of(&sample)) {
                return Some(read);
            }
        }
    }

    /// The next samples; `None` as for pictures.
    pub fn next_samples(&self) -> Option<(FilmTime, Vec<f32>)> {
        loop {
            let sample = self.next()?;
            if let Some(read) = time_of(&sample).zip(samples_of(&sample)) {
                return Some(read);
            }
        }
    }

    fn next(&self) -> Option<gst::Sample> {
        for _ in 0..PATIENCE_LOOKS {
            let sample = self.sink.try_pull_sample(LOOK_EVERY);
            if sample.is_some() || self.sink.is_eos() || self.broken.load(Ordering::Acquire) {
                return sample;
            }
        }
        None
    }
}

fn time_of(sample: &gst::Sample) -> Option<FilmTime> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let buffer = sample.buffer()?;
    let seconds = |time: gst::ClockTime| time.nseconds() as f64 / 1e9;
    let at_s = seconds(segment.to_running_time(buffer.pts()?)?);
    Some(FilmTime { at_s, length_s: buffer.duration().map_or(0.0, seconds) })
}

/// The decoded picture, without the padding of its rows.
fn picture_of(sample: &gst::Sample) -> Option<Picture> {
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &info).ok()?;
    let mut data = Vec::with_capacity(info.size());
    for plane in 0..3 {
        let (width, height) = (info.comp_width(plane as u8) as usize, info.comp_height(plane as u8) as usize);
        let stride = usize::try_from(*info.stride().get(plane as usize)?).ok()?;
        let rows = frame.plane_data(plane).ok()?.chunks(stride.max(1)).take(height);
        rows.for_each(|row| data.extend_from_slice(&row[..width.min(row.len())]));
    }
    Picture::new(info.width(), info.height(), data.into()).ok()
}

fn samples_of(sample: &gst::Sample) -> Option<Vec<f32>> {
    let map = sample.buffer()?.map_readable().ok()?;
    Some(map.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}
