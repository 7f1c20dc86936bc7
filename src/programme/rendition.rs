//! One Rendition's pictures: its Scene drawn on its canvas, and handed to its encoder.
//!
//! In: Scenes, decoded pictures that all Renditions share, and the ticks of the picture thread. Out: encoded pictures to the assembler of its ring.
//! Runs on the picture thread. On a machine that is too slow a picture is left out here, not for the other Renditions.

use std::sync::Arc;

use recorder_core::ids::TrackId;
use recorder_core::scene::Scene;
use recorder_core::time::SessionTime;

use super::assemble::Assembler;
use super::grid::Grid;
use super::maker::{ProgrammeError, RenditionSettings};
use super::thread::Hanging;
use crate::graph::{Decoded, GraphError, VideoEncoder, VideoSettings};
use crate::mixer::video::{Change, VideoMixer};
use crate::mixer::wall::WallClock;

/// Pictures that may wait for the encoder before pictures are repeated.
const BACKLOG: u64 = 4;
/// Seconds between keyframes.
const GOP_SECONDS: u32 = 2;

pub(super) struct RenditionPictures {
    settings: RenditionSettings,
    mixer: VideoMixer,
    output: Option<Output>,
}

/// From the first picture on.
struct Output {
    fps: u32,
    encoder: VideoEncoder,
    assembler: Assembler,
    /// The tick at which a keyframe is due, and whether a tick was left out since the last one (then the encoder's own count is behind).
    key_due: u64,
    left_out: bool,
    canvas: Option<Arc<[u8]>>,
    /// Canvases that the encoder has given back.
    spare: Vec<Arc<[u8]>>,
}

/// A tick, as the picture thread sees it.
#[derive(Clone, Copy)]
pub(super) struct Tick {
    /// How many were before.
    pub(super) number: u64,
    /// The instant that its picture shows.
    pub(super) at: SessionTime,
    /// The thread itself is so late that it should not draw.
    pub(super) is_late: bool,
    /// The programme has no picture behind this one.
    pub(super) is_last: bool,
}

impl RenditionPictures {
    /// `rate` is how often it will be asked to draw or to pass, a second.
    pub(super) fn new(settings: RenditionSettings, rate: u32, wall: WallClock) -> Result<Self, ProgrammeError> {
        let mut mixer = VideoMixer::new(settings.canvas, rate)?;
        mixer.set_wall_clock(wall);
        Ok(Self { settings, mixer, output: None })
    }

    pub(super) fn show(&mut self, scene: Arc<Scene>) {
        self.mixer.show(scene);
    }

    pub(super) fn forget(&mut self, track: &TrackId) {
        self.mixer.forget(track);
    }

    /// How many more pictures of the Track it takes; `None` for a Track that it does not show.
    pub(super) fn room(&self, track: &TrackId) -> Option<usize> {
        self.mixer.shows(track).then(|| self.mixer.room(track))
    }

    pub(super) fn offer(&mut self, track: &TrackId, decoded: &Decoded) {
        if self.mixer.shows(track) {
            self.mixer.offer(track, decoded.capture, decoded.picture.clone());
        }
    }

    pub(super) fn hang(&mut self, hanging: Hanging) {
        match hanging {
            Hanging::Avatar(participant, still) => self.mixer.set_avatar(&participant, still),
            Hanging::Image(path, still) => self.mixer.set_image(&path, still),
            Hanging::Backdrop(path, picture) => self.mixer.set_backdrop(&path, picture),
        }
    }

    /// Source pictures that were never shown.
    pub(super) fn skipped(&self) -> u64 {
        self.mixer.stats().pictures.skipped
    }

    /// Moves on without drawing.
    pub(super) fn pass(&mut self, at: SessionTime) {
        self.mixer.pass(at);
    }

    pub(super) fn begin(&mut self, grid: Grid, assembler: Assembler) -> Result<(), GraphError> {
        let settings = VideoSettings {
            canvas: self.settings.canvas,
            fps: grid.fps,
            kbps: self.settings.video_kbps,
            gop_seconds: GOP_SECONDS,
        };
        let made = assembler.clone();
        let encoder = VideoEncoder::start(settings, move |packet| made.picture(packet))?;
        self.output =
            Some(Output { fps: grid.fps, encoder, assembler, key_due: 0, left_out: false, canvas: None, spare: Vec::new() });
        Ok(())
    }

    /// The encoder still hands out what it has; dropping it now would lose that, so the graph is kept until the thread ends.
    pub(super) fn finish(&self) {
        if let Some(output) = &self.output {
            output.encoder.finish();
        }
    }

    /// Pictures that wait for the encoder.
    pub(super) fn backlog(&self) -> u64 {
        self.output.as_ref().map_or(0, |output| output.encoder.backlog())
    }

    /// Draws and encodes the picture of a tick. False: it was left out, because the machine is too slow.
    pub(super) fn tick(&mut self, tick: Tick) -> Result<bool, GraphError> {
        let Some(output) = &mut self.output else { return Ok(true) };
        let is_slow = tick.is_late || output.encoder.backlog() > BACKLOG;
        // The first picture begins the file and the last one says how long it is; neither is left out.
        let leave_out = is_slow && output.canvas.is_some() && !tick.is_last;
        if leave_out {
            self.mixer.pass(tick.at);
            output.left_out = true;
        } else {
            let drawn = self.mixer.draw(tick.at);
            if drawn.change == Change::Changed || output.canvas.is_none() {
                output.keep(drawn.i420);
            }
            output.encode(tick)?;
        }
        match output.encoder.poll_fault() {
            Some(fault) => {
                tracing::error!(element = fault.element, message = fault.message, "the picture encoder broke");
                Err(GraphError::Flow(fault.graph))
            }
            None => Ok(!leave_out),
        }
    }
}

impl Output {
    /// Hands the canvas to the encoder as the picture of a tick. Keyframes stand on a grid of ticks, also when ticks were left out.
    fn encode(&mut self, tick: Tick) -> Result<(), GraphError> {
        let Some(canvas) = &self.canvas else { return Ok(()) };
        if tick.number >= self.key_due {
            if self.left_out {
                self.encoder.force_keyframe();
            }
            self.left_out = false;
            self.key_due = tick.number + u64::from(self.fps * GOP_SECONDS);
        }
        self.assembler.expect(tick.number);
        self.encoder.push(canvas, tick.at.as_nanos())
    }

    /// Copies the drawn canvas into a buffer that the encoder does not hold any more.
    fn keep(&mut self, drawn: &[u8]) {
        self.spare.extend(self.canvas.take());
        let mut canvas = match self.spare.iter_mut().position(|spare| Arc::get_mut(spare).is_some()) {
            Some(free) => self.spare.swap_remove(free),
            None => Arc::from(drawn),
        };
        if let Some(bytes) = Arc::get_mut(&mut canvas) {
            bytes.copy_from_slice(drawn);
        }
        self.spare.truncate(BACKLOG as usize + 2);
        self.canvas = Some(canvas);
    }
}
