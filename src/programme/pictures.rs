//! The picture thread: receives encoded frames, decodes just in time, draws at each tick, feeds the picture encoder.
//!
//! What it makes at time T shows the instant T − delay. On a machine that is too slow pictures are repeated (counted), so that time, sound and
//! sync stay whole: the picture shown last stands for another tick, and the encoder, which is behind, is not given it again. So what waits for the
//! encoder is bounded, and the next picture that it gets is a new one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use recorder_core::ids::TrackId;
use recorder_core::scene::Scene;
use recorder_core::time::SessionTime;

use super::assemble::Assembler;
use super::grid::Grid;
use super::maker::{ProgrammeError, ProgrammeEvent};
use super::thread::{Half, Hanging, Post};
use crate::decode::Feeds;
use crate::graph::{Decoded, DecoderGraph, GraphError, VideoEncoder, VideoSettings, lower_this_thread};
use crate::media::MediaFrame;
use crate::mixer::video::{Change, VideoMixer};
use crate::mixer::wall::WallClock;

/// Pictures that may wait for the encoder before pictures are repeated.
const BACKLOG: u64 = 4;
/// So many pictures late this thread itself is too slow to draw each one.
const LATE_PICTURES: u32 = 3;
/// Decoded pictures that may wait to be taken over: five for each of 25 tiles, and some.
const DECODED: usize = 160;
/// How much lower (in nice values) this thread stands than reception and sound.
const BELOW_SOUND: i32 = 2;
/// Instants a second at which Tracks move on, at least: sources bring 30 pictures a second, and few of them are held decoded.
const LOOKS_PER_SECOND: u32 = 30;
/// Seconds between keyframes.
const GOP_SECONDS: u32 = 2;

pub(super) struct PictureThread {
    post: Post,
    mixer: VideoMixer,
    feeds: Feeds<DecoderGraph>,
    scenes: VecDeque<(SessionTime, BTreeSet<TrackId>)>,
    decoded: Receiver<(TrackId, Decoded)>,
    decoded_sender: SyncSender<(TrackId, Decoded)>,
    decoding: Vec<TrackId>,
    /// Instants for each programme picture: the Tracks move on at all of them, the last is drawn.
    looks: u32,
    making: Option<Making>,
}

/// The programme between its first and its last picture.
struct Making {
    grid: Grid,
    encoder: VideoEncoder,
    assembler: Assembler,
    /// The tick at which a keyframe is due, and whether a tick was left out since the last one (then the encoder's own count is behind).
    key_due: u64,
    left_out: bool,
    /// The next instant to look at, counted in looks; each whole number of pictures is drawn.
    look: u64,
    looks: u32,
    end: Option<SessionTime>,
    finished: bool,
    canvas: Option<Arc<[u8]>>,
    /// Canvases that the encoder has given back.
    spare: Vec<Arc<[u8]>>,
}

impl PictureThread {
    /// Made on the thread that it is for.
    pub(super) fn new(post: Post) -> Result<Self, ProgrammeError> {
        let looks = looks_per_picture(post.settings.fps);
        let mut mixer = VideoMixer::new(post.settings.canvas, post.settings.fps * looks)?;
        mixer.set_wall_clock(WallClock::of(post.clock));
        let (decoded_sender, decoded) = sync_channel(DECODED);
        lower_this_thread(BELOW_SOUND);
        Ok(Self {
            post,
            mixer,
            feeds: Feeds::default(),
            scenes: VecDeque::new(),
            decoded,
            decoded_sender,
            decoding: Vec::new(),
            looks,
            making: None,
        })
    }

    /// What is decoded: everything that the Scene shown now or one of the next needs.
    fn see(&mut self) {
        self.feeds.show(self.scenes.iter().flat_map(|(_, tracks)| tracks.iter().cloned()).collect());
    }

    /// Forgets Scenes that the programme has left behind, and the Tracks that only they showed.
    fn retire_scenes(&mut self, at: SessionTime) {
        let mut retired = false;
        while self.scenes.get(1).is_some_and(|(from, _)| *from <= at) {
            let Some((_, tracks)) = self.scenes.pop_front() else { break };
            for track in tracks.iter().filter(|t| !self.scenes.iter().any(|(_, shown)| shown.contains(*t))) {
                self.mixer.forget(track);
            }
            retired = true;
        }
        if retired {
            self.see();
        }
    }

    fn decode(&mut self, at: SessionTime, now: SessionTime) {
        while let Ok((track, decoded)) = self.decoded.try_recv() {
            if self.scenes.iter().any(|(_, shown)| shown.contains(&track)) {
                self.mixer.offer(&track, decoded.capture, decoded.picture);
            }
        }
        let sender = &self.decoded_sender;
        let mixer = &self.mixer;
        let wishes = self.feeds.advance(
            at,
            now,
            |track| mixer.room(track),
            |track, codec| {
                let (sender, track) = (sender.clone(), track.clone());
                // In-flight frames are limited to the room in the mixer, so the lane cannot fill; if it did, the picture is lost, not time.
                DecoderGraph::start(codec, Arc::new(move |decoded| drop(sender.try_send((track.clone(), decoded)))))
            },
        );
        for track in wishes {
            let _ = self.post.events.try_send(ProgrammeEvent::KeyframeWanted(track));
        }
        let decoding = self.feeds.decoding();
        if decoding != self.decoding && self.post.events.try_send(ProgrammeEvent::Decoding(decoding.clone())).is_ok() {
            self.decoding = decoding;
        }
    }
}

impl Half for PictureThread {
    fn accept(&mut self, frame: MediaFrame) {
        self.feeds.accept(frame);
    }

    fn show(&mut self, scene: Arc<Scene>) {
        let tracks = scene.tiles.iter().filter_map(|tile| tile.video.clone()).collect();
        self.scenes.push_back((scene.from, tracks));
        self.mixer.show(scene);
        self.see();
    }

    fn begin(&mut self, grid: Grid, assembler: Assembler) -> Result<(), GraphError> {
        let settings = VideoSettings {
            canvas: self.post.settings.canvas,
            fps: self.post.settings.fps,
            kbps: self.post.settings.video_kbps,
            gop_seconds: GOP_SECONDS,
        };
        let made = assembler.clone();
        let encoder = VideoEncoder::start(settings, move |packet| made.picture(packet))?;
        self.making = Some(Making {
            grid,
            encoder,
            assembler,
            key_due: 0,
            left_out: false,
            look: 0,
            looks: self.looks,
            end: None,
            finished: false,
            canvas: None,
            spare: Vec::new(),
        });
        Ok(())
    }

    fn end(&mut self, at: SessionTime) {
        if let Some(making) = &mut self.making {
            making.end = Some(at);
        }
    }

    fn hang(&mut self, hanging: Hanging) {
        match hanging {
            Hanging::Avatar(participant, still) => self.mixer.set_avatar(&participant, still),
            Hanging::Image(path, still) => self.mixer.set_image(&path, still),
            Hanging::Backdrop(path, picture) => self.mixer.set_backdrop(&path, picture),
        }
    }

    fn due(&self) -> Option<SessionTime> {
        let making = self.making.as_ref().filter(|making| !making.finished)?;
        Some(making.instant() + self.post.settings.delay)
    }

    fn tick(&mut self) -> Result<(), GraphError> {
        let now = self.post.clock.now();
        let at = match &self.making {
            Some(making) if making.instant() + self.post.settings.delay > now => return Ok(()),
            Some(making) => making.instant(),
            None => now - self.post.settings.delay,
        };
        if self.making.as_ref().is_some_and(|making| making.finished) {
            return Ok(());
        }
        if let Some(making) = self.making.as_mut().filter(|making| !making.is_picture()) {
            making.look += 1;
            self.decode(at, now);
            self.mixer.pass(at);
            return Ok(());
        }
        self.retire_scenes(at);
        self.decode(at, now);
        let Some(making) = &mut self.making else { return Ok(()) };
        if making.end.is_some_and(|end| at >= end) {
            making.encoder.finish();
            // The encoder still hands out what it has; dropping it now would lose that, so the graph is kept until the thread ends.
            making.finished = true;
            return Ok(());
        }
        let backlog = making.encoder.backlog();
        let lateness = now.since(at + self.post.settings.delay);
        let slow = backlog > BACKLOG || lateness > LATE_PICTURES * making.period();
        // The first picture begins the file and the last one says how long it is; neither is left out.
        if slow && making.canvas.is_some() && !making.is_last() {
            self.mixer.pass(at);
            making.left_out = true;
            self.post.counts.repeated.fetch_add(1, Ordering::Relaxed);
        } else {
            let drawn = self.mixer.draw(at);
            if drawn.change == Change::Changed || making.canvas.is_none() {
                making.keep(drawn.i420);
            }
            making.encode(at)?;
        }
        let lag = lateness + making.period() * u32::try_from(backlog).unwrap_or(u32::MAX);
        self.post.counts.lag_ns.store(u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        making.look += 1;
        self.post.counts.pictures.fetch_add(1, Ordering::Relaxed);
        self.post.counts.skipped.store(self.mixer.stats().pictures.skipped, Ordering::Relaxed);
        match making.encoder.poll_fault() {
            Some(fault) => {
                tracing::error!(element = fault.element, message = fault.message, "the picture encoder broke");
                Err(GraphError::Flow(fault.graph))
            }
            None => Ok(()),
        }
    }
}

/// As many as give [`LOOKS_PER_SECOND`], and at least one.
fn looks_per_picture(fps: u32) -> u32 {
    (LOOKS_PER_SECOND / fps.max(1)).max(1)
}

impl Making {
    /// The instant of the next look.
    fn instant(&self) -> SessionTime {
        Grid { fps: self.grid.fps * self.looks, ..self.grid }.picture(self.look)
    }

    /// Whether the next look makes a programme picture.
    fn is_picture(&self) -> bool {
        self.look.is_multiple_of(u64::from(self.looks))
    }

    /// Ticks before the next one.
    fn tick(&self) -> u64 {
        self.look / u64::from(self.looks)
    }

    /// How long a picture lasts.
    fn period(&self) -> Duration {
        self.grid.picture(1).since(self.grid.picture(0))
    }

    /// Whether the programme has no picture behind the next one.
    fn is_last(&self) -> bool {
        self.end.is_some_and(|end| self.grid.picture(self.tick() + 1) >= end)
    }

    /// Hands the canvas to the encoder as the picture of `at`. Keyframes stand on a grid of ticks, also when ticks were left out.
    fn encode(&mut self, at: SessionTime) -> Result<(), GraphError> {
        let Some(canvas) = &self.canvas else { return Ok(()) };
        let tick = self.tick();
        if tick >= self.key_due {
            if self.left_out {
                self.encoder.force_keyframe();
            }
            self.left_out = false;
            self.key_due = tick + u64::from(self.grid.fps * GOP_SECONDS);
        }
        self.assembler.expect(tick);
        self.encoder.push(canvas, at.as_nanos())
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
