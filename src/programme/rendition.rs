//! One Rendition's pictures: its Scene drawn on its canvas, and handed to its encoder.
//!
//! In: Scenes, decoded pictures that all Renditions share, and the ticks of the picture thread. Out: encoded pictures to the assembler of its ring.
//! Runs on the picture thread. On a machine that is too slow the encoder makes less effort, by another encoder with the same headers; if that is not
//! enough a picture is left out, here and not for the other Renditions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recorder_core::effort::{Effort, EffortControl};
use recorder_core::ids::TrackId;
use recorder_core::scene::Scene;
use recorder_core::time::SessionTime;

use super::assemble::Assembler;
use super::grid::Grid;
use super::maker::{ProgrammeError, RenditionSettings};
use super::thread::Hanging;
use crate::graph::{Decoded, EncoderKind, GraphError, VideoEncoder, VideoSettings};
use crate::mixer::video::{Change, VideoMixer};
use crate::mixer::wall::WallClock;

/// Pictures that may wait for the encoder before pictures are repeated.
const BACKLOG: u64 = 4;
/// So many may wait for an encoder that has just taken over: those that were held for it, while it catches up.
const BACKLOG_AFTER_CHANGE: u64 = 12;
/// Seconds in which it catches up, or does not.
const CATCH_UP_SECONDS: u32 = 2;
/// Seconds between keyframes.
const GOP_SECONDS: u32 = 2;

/// How a Rendition's pictures are encoded, as long as the machine is fast enough.
pub(super) fn video_settings(settings: RenditionSettings, fps: u32, by: EncoderKind) -> VideoSettings {
    let RenditionSettings { canvas, video_kbps: kbps, .. } = settings;
    VideoSettings { canvas, fps, kbps, gop_seconds: GOP_SECONDS, effort: Effort::Full, by }
}

pub(super) struct RenditionPictures {
    settings: RenditionSettings,
    by: EncoderKind,
    mixer: VideoMixer,
    output: Option<Output>,
}

/// From the first picture on.
struct Output {
    settings: VideoSettings,
    encoder: Running,
    /// The encoder before, which still hands out what it has. Until it is through, nothing is given to the next one.
    leaving: Option<Running>,
    /// What waits for that.
    held: VecDeque<(Arc<[u8]>, Tick)>,
    control: EffortControl,
    /// The tick before which an encoder that has just taken over catches up.
    catches_up_until: u64,
    assembler: Assembler,
    /// The tick at which a keyframe is due, and whether a tick was left out since the last one (then the encoder's own count is behind).
    key_due: u64,
    left_out: bool,
    /// Instants at which Takes begin that the pictures have not reached.
    keys_wanted: Vec<SessionTime>,
    canvas: Option<Arc<[u8]>>,
    /// Canvases that the encoder has given back.
    spare: Vec<Arc<[u8]>>,
}

/// An encoder, and how its end is to be understood.
struct Running {
    encoder: VideoEncoder,
    /// Another one follows: its end is not the end of the pictures.
    replaced: Arc<AtomicBool>,
    /// It has handed out everything.
    through: Arc<AtomicBool>,
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
    /// The end of the programme is known.
    pub(super) is_ending: bool,
}

impl RenditionPictures {
    /// `rate` is how often it will be asked to draw or to pass, a second.
    pub(super) fn new(settings: RenditionSettings, by: EncoderKind, rate: u32, wall: WallClock) -> Result<Self, ProgrammeError> {
        let mut mixer = VideoMixer::new(settings.canvas, rate)?;
        mixer.set_wall_clock(wall);
        Ok(Self { settings, by, mixer, output: None })
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
        let settings = video_settings(self.settings, grid.fps, self.by);
        self.output = Some(Output {
            settings,
            encoder: Running::start(settings, &assembler)?,
            leaving: None,
            held: VecDeque::new(),
            control: EffortControl::default(),
            catches_up_until: 0,
            assembler,
            key_due: 0,
            keys_wanted: Vec::new(),
            left_out: false,
            canvas: None,
            spare: Vec::new(),
        });
        Ok(())
    }

    /// The first picture at or after this instant is a keyframe.
    pub(super) fn keyframe(&mut self, at: SessionTime) {
        if let Some(output) = &mut self.output {
            output.keys_wanted.push(at);
        }
    }

    /// Ends the pictures. False while the last ones wait for an encoder that leaves: then it is to be called again soon. The encoder still hands out
    /// what it has; dropping it would lose that, so the graph is kept until the thread ends.
    pub(super) fn finish(&mut self) -> Result<bool, GraphError> {
        let Some(output) = &mut self.output else { return Ok(true) };
        output.hand_over()?;
        if output.leaving.is_some() {
            return Ok(false);
        }
        output.encoder.encoder.finish();
        Ok(true)
    }

    /// Pictures that wait for the encoder.
    pub(super) fn backlog(&self) -> u64 {
        self.output.as_ref().map_or(0, Output::backlog)
    }

    /// Draws and encodes the picture of a tick. False: it was left out, because the machine is too slow.
    pub(super) fn tick(&mut self, tick: Tick) -> Result<bool, GraphError> {
        let Some(output) = &mut self.output else { return Ok(true) };
        output.hand_over()?;
        let backlog = output.backlog();
        if output.settings.by.has_efforts()
            && output.leaving.is_none()
            && !tick.is_ending
            && let Some(effort) = output.control.look(backlog, tick.at)
        {
            output.replace(effort, tick)?;
        }
        let allowed = if tick.number < output.catches_up_until { BACKLOG_AFTER_CHANGE } else { BACKLOG };
        let is_slow = tick.is_late || backlog > allowed;
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
        match output.encoder.encoder.poll_fault() {
            Some(fault) => {
                tracing::error!(element = fault.element, message = fault.message, "the picture encoder broke");
                Err(GraphError::Flow(fault.graph))
            }
            None => Ok(!leave_out),
        }
    }
}

impl Running {
    fn start(settings: VideoSettings, assembler: &Assembler) -> Result<Self, GraphError> {
        let (replaced, through) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (made, is_replaced, is_through) = (assembler.clone(), replaced.clone(), through.clone());
        let encoder = VideoEncoder::start(settings, move |packet| {
            if packet.is_none() && is_replaced.load(Ordering::Acquire) {
                is_through.store(true, Ordering::Release);
            } else {
                made.picture(packet);
            }
        })?;
        Ok(Self { encoder, replaced, through })
    }
}

impl Output {
    fn backlog(&self) -> u64 {
        let leaving = self.leaving.as_ref().map_or(0, |leaving| leaving.encoder.backlog());
        self.encoder.encoder.backlog() + leaving + self.held.len() as u64
    }

    /// Goes on with an encoder that makes another effort. It begins with a keyframe.
    fn replace(&mut self, effort: Effort, tick: Tick) -> Result<(), GraphError> {
        tracing::info!(?effort, "the picture encoder makes another effort");
        let settings = VideoSettings { effort, ..self.settings };
        let old = std::mem::replace(&mut self.encoder, Running::start(settings, &self.assembler)?);
        old.replaced.store(true, Ordering::Release);
        old.encoder.finish();
        self.leaving = Some(old);
        self.catches_up_until = tick.number + u64::from(self.settings.fps * CATCH_UP_SECONDS);
        self.left_out = false;
        self.key_due = tick.number + u64::from(self.settings.fps * GOP_SECONDS);
        Ok(())
    }

    /// Gives the encoder what was held for it, once the one before is through.
    fn hand_over(&mut self) -> Result<(), GraphError> {
        if self.leaving.as_ref().is_some_and(|leaving| !leaving.through.load(Ordering::Acquire)) {
            return Ok(());
        }
        self.leaving = None;
        while let Some((canvas, tick)) = self.held.pop_front() {
            self.push(&canvas, tick)?;
        }
        Ok(())
    }

    /// Hands the canvas to the encoder as the picture of a tick. Keyframes stand on a grid of ticks, also when ticks were left out.
    fn encode(&mut self, tick: Tick) -> Result<(), GraphError> {
        let Some(canvas) = self.canvas.clone() else { return Ok(()) };
        let is_wanted = self.keys_wanted.extract_if(.., |at| *at <= tick.at).count() > 0;
        if tick.number >= self.key_due || is_wanted {
            if self.left_out || is_wanted {
                self.encoder.encoder.force_keyframe();
            }
            self.left_out = false;
            self.key_due = tick.number + u64::from(self.settings.fps * GOP_SECONDS);
        }
        if self.leaving.is_some() {
            self.held.push_back((canvas, tick));
            return Ok(());
        }
        self.push(&canvas, tick)
    }

    fn push(&self, canvas: &Arc<[u8]>, tick: Tick) -> Result<(), GraphError> {
        self.assembler.expect(tick.number);
        self.encoder.encoder.push(canvas, tick.at.as_nanos())
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

#[cfg(test)]
#[path = "rendition_tests.rs"]
mod tests;
