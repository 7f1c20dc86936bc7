//! Encodes the pictures of a test card's loop to VP8, all of them or none.
//!
//! In: I420 pictures, in order. Out: as many VP8 frames. Blocks the calling thread for seconds; only the maker of a rehearsal's loops uses
//! it, never a thread that carries media. Refuses to give a part of a loop.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::template::{Graph, GraphError, Template};

const MAIN: Template = Template::new("encode-loop-main", include_str!("../../pipelines/encode-loop-main.launch"));
const KEYFRAMES: Template = Template::new("encode-loop-keyframes", include_str!("../../pipelines/encode-loop-keyframes.launch"));

/// A twin's fixed quantizer makes it as large as it needs to be; its rate must not stand in the way.
const TWIN_RATE: i32 = 10;

/// How the pictures of a loop depend on each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoopChain {
    /// A keyframe each second; the others refer to the picture before only, and use no probabilities of earlier pictures, so that a
    /// keyframe of the [`LoopChain::Keyframes`] twin can stand in for any picture.
    Main,
    /// Keyframes only.
    Keyframes,
}

/// Size and rate of a loop.
#[derive(Clone, Copy, Debug)]
pub struct LoopSettings {
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// Pictures a second.
    pub fps: u32,
    /// Pictures in the loop.
    pub pictures: u32,
    /// Average rate of the main chain, bit/s.
    pub rate_bps: u32,
    /// How the pictures depend on each other.
    pub chain: LoopChain,
}

/// Why a loop could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum LoopFault {
    /// The graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The encoder made another number of pictures than the loop has.
    #[error("the VP8 encoder made {made} pictures of {wanted}")]
    Pictures {
        /// Pictures that came out.
        made: usize,
        /// Pictures of the loop.
        wanted: u32,
    },
}

/// A running VP8 encoder for one loop. Owned by the thread that feeds it.
pub struct LoopEncoder {
    name: &'static str,
    settings: LoopSettings,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
    pushed: u32,
    /// Dropped last: that sets it to NULL.
    _graph: Graph,
}

impl LoopEncoder {
    /// A running encoder.
    ///
    /// # Errors
    /// Missing elements, or settings that the encoder refuses.
    pub fn start(settings: LoopSettings) -> Result<Self, GraphError> {
        let template = match settings.chain {
            LoopChain::Main => MAIN,
            LoopChain::Keyframes => KEYFRAMES,
        };
        let name = template.name();
        let whole = |value: u32| i32::try_from(value).map_err(|_| GraphError::Settings(name));
        let (width, height, fps, rate) =
            (whole(settings.width_px)?, whole(settings.height_px)?, whole(settings.fps)?, whole(settings.rate_bps)?);
        if fps == 0 || rate == 0 {
            return Err(GraphError::Settings(name));
        }
        let graph = template.build()?;
        let encoder: gst::Element = graph.element("encoder")?;
        match settings.chain {
            LoopChain::Main => {
                encoder.set_property("target-bitrate", rate);
                encoder.set_property("keyframe-max-dist", fps);
            }
            LoopChain::Keyframes => encoder.set_property("target-bitrate", rate.saturating_mul(TWIN_RATE)),
        }
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", width)
            .field("height", height)
            .field("framerate", gst::Fraction::new(fps, 1))
            .build();
        let source: gst_app::AppSrc = graph.element("source")?;
        source.set_caps(Some(&caps));
        let sink: gst_app::AppSink = graph.element("packets")?;
        sink.set_max_buffers(settings.pictures.saturating_add(1));
        graph.play()?;
        Ok(Self { name, settings, source, sink, pushed: 0, _graph: graph })
    }

    /// Encodes the next picture (packed I420); waits while some are on their way.
    ///
    /// # Errors
    /// The encoder has ended by a fault.
    pub fn push(&mut self, i420: Vec<u8>) -> Result<(), GraphError> {
        let (number, fps) = (self.pushed, self.settings.fps);
        let at = |n: u32| gst::ClockTime::from_nseconds(u64::from(n) * 1_000_000_000 / u64::from(fps));
        let mut buffer = gst::Buffer::from_mut_slice(i420);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(at(number));
            buffer.set_duration(at(number + 1) - at(number));
        }
        if self.settings.chain == LoopChain::Keyframes || number.is_multiple_of(fps) {
            let key = gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if !self.source.send_event(key) {
                return Err(GraphError::Flow(self.name));
            }
        }
        self.source.push_buffer(buffer).map_err(|_| GraphError::Flow(self.name))?;
        self.pushed += 1;
        Ok(())
    }

    /// Ends the loop: its frames, in order.
    ///
    /// # Errors
    /// The encoder failed on the way, or made another number of frames than [`LoopSettings::pictures`].
    pub fn finish(self) -> Result<Vec<Arc<[u8]>>, LoopFault> {
        let broken = || GraphError::Flow(self.name);
        self.source.end_of_stream().map_err(|_| broken())?;
        let wanted = self.settings.pictures;
        let mut frames = Vec::new();
        while let Ok(sample) = self.sink.pull_sample() {
            let map = sample.buffer().and_then(|buffer| buffer.map_readable().ok()).ok_or_else(broken)?;
            frames.push(Arc::from(map.as_slice()));
        }
        if frames.len() != wanted as usize {
            return Err(LoopFault::Pictures { made: frames.len(), wanted });
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const SETTINGS: LoopSettings =
        LoopSettings { width_px: 64, height_px: 64, fps: 30, pictures: 31, rate_bps: 100_000, chain: LoopChain::Main };

    fn encode(settings: LoopSettings, pictures: u8) -> Result<Vec<Arc<[u8]>>, LoopFault> {
        let mut encoder = LoopEncoder::start(settings)?;
        (0..pictures).try_for_each(|n| encoder.push(vec![n; 64 * 64 * 3 / 2]))?;
        encoder.finish()
    }

    #[test]
    fn a_loop_is_whole_or_refused_and_keyframes_stand_where_they_should() {
        let keys = |chain| {
            let frames = encode(LoopSettings { chain, ..SETTINGS }, 31).unwrap();
            // Bit 0 of a VP8 frame is clear for a keyframe (RFC 6386 §9.1).
            (0..frames.len()).filter(|&n| frames[n][0] & 1 == 0).collect::<Vec<_>>()
        };
        assert_eq!(keys(LoopChain::Main), [0, 30]);
        assert_eq!(keys(LoopChain::Keyframes), (0..31).collect::<Vec<_>>());
        assert!(matches!(encode(SETTINGS, 30), Err(LoopFault::Pictures { made: 30, wanted: 31 })));
        let refused = encode(LoopSettings { fps: 0, ..SETTINGS }, 1);
        assert!(matches!(refused, Err(LoopFault::Graph(GraphError::Settings("encode-loop-main")))));
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_other_module_of_the_product_speaks_to_gstreamer() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        assert!(files.len() > 100, "{}", files.len());
        let is_test = |file: &Path| file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
        let strangers: Vec<_> = files
            .iter()
            .filter(|file| !file.starts_with(root.join("graph")) && !is_test(file))
            .filter(|file| std::fs::read_to_string(file).unwrap().contains("gstreamer"))
            .collect();
        assert!(strangers.is_empty(), "{strangers:?}");
    }
}
