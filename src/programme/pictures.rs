//! The picture thread: receives encoded frames, decodes just in time, and has each Rendition draw and encode at each tick.
//!
//! What it makes at time T shows the instant T − delay. Each frame is decoded once, whatever the number of Renditions. On a machine that is too slow
//! pictures are repeated (counted), so that time, sound and sync stay whole: the picture shown last stands for another tick, and the encoder, which is
//! behind, is not given it again. So what waits for the encoder is bounded, and the next picture that it gets is a new one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use recorder_core::ids::TrackId;
use recorder_core::scene::Scenes;
use recorder_core::time::SessionTime;

use super::grid::Grid;
use super::maker::{ProgrammeError, ProgrammeEvent};
use super::rendition::{RenditionPictures, Tick, video_settings};
use super::thread::{Beginning, Half, Hanging, IDLE, Post, Where};
use crate::decode::Feeds;
use crate::graph::{self, Decoded, DecoderGraph, EncoderKind, GraphError, lower_this_thread};
use crate::media::MediaFrame;
use crate::mixer::wall::WallClock;

/// So many pictures late this thread itself is too slow to draw each one.
const LATE_PICTURES: u32 = 3;
/// Decoded pictures that may wait to be taken over: ten for each of 25 tiles, and some.
const DECODED: usize = 260;
/// How much lower (in nice values) this thread stands than reception and sound.
const BELOW_SOUND: i32 = 2;
/// Instants a second at which Tracks move on, at least: sources bring 30 pictures a second, and few of them are held decoded.
const LOOKS_PER_SECOND: u32 = 30;

pub(super) struct PictureThread {
    post: Post,
    renditions: Vec<RenditionPictures>,
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
    /// The next instant to look at, counted in looks; each whole number of pictures is drawn.
    look: u64,
    looks: u32,
    end: Option<SessionTime>,
    /// Every picture is drawn; some may wait for an encoder.
    finishing: bool,
    finished: bool,
}

impl PictureThread {
    /// Made on the thread that it is for.
    pub(super) fn new(post: Post) -> Result<Self, ProgrammeError> {
        let looks = looks_per_picture(post.settings.fps);
        let rate = post.settings.fps * looks;
        let wall = WallClock::of(post.clock);
        let all = post.settings.renditions.iter();
        let encoded: Vec<_> = all.clone().map(|one| video_settings(*one, post.settings.fps, EncoderKind::default())).collect();
        let by = graph::choose(post.settings.encoder, &encoded);
        let renditions = all.map(|settings| RenditionPictures::new(*settings, by, rate, wall.clone()));
        let renditions = renditions.collect::<Result<_, _>>()?;
        let (decoded_sender, decoded) = sync_channel(DECODED);
        lower_this_thread(BELOW_SOUND);
        Ok(Self {
            post,
            renditions,
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
                self.renditions.iter_mut().for_each(|rendition| rendition.forget(track));
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
                self.renditions.iter_mut().for_each(|rendition| rendition.offer(&track, &decoded));
            }
        }
        let sender = &self.decoded_sender;
        let renditions = &self.renditions;
        let wishes = self.feeds.advance(
            at,
            now,
            |track| renditions.iter().filter_map(|rendition| rendition.room(track)).min().unwrap_or(0),
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

    fn show(&mut self, scenes: Scenes) {
        let tracks = scenes.iter().flat_map(|scene| &scene.tiles).filter_map(|tile| tile.video.clone()).collect();
        let Some(from) = scenes.first().map(|scene| scene.from) else { return };
        self.scenes.push_back((from, tracks));
        for (rendition, scene) in self.renditions.iter_mut().zip(scenes.iter()) {
            rendition.show(scene.clone());
        }
        self.see();
    }

    fn begin(&mut self, beginnings: Vec<Beginning>) -> Result<(), GraphError> {
        let Some(grid) = beginnings.first().map(|first| first.grid) else { return Ok(()) };
        for (rendition, Beginning { grid, assembler }) in self.renditions.iter_mut().zip(beginnings) {
            rendition.begin(grid, assembler)?;
        }
        self.making = Some(Making { grid, look: 0, looks: self.looks, end: None, finishing: false, finished: false });
        Ok(())
    }

    fn end(&mut self, at: SessionTime) {
        if let Some(making) = &mut self.making {
            making.end = Some(at);
        }
    }

    fn keyframe(&mut self, at: SessionTime) {
        self.renditions.iter_mut().for_each(|rendition| rendition.keyframe(at));
    }

    fn hang(&mut self, place: Where, hanging: Hanging) {
        match place {
            Where::Everywhere => self.renditions.iter_mut().for_each(|rendition| rendition.hang(hanging.clone())),
            Where::Rendition(index) => {
                if let Some(rendition) = self.renditions.get_mut(index) {
                    rendition.hang(hanging);
                }
            }
        }
    }

    fn due(&self) -> Option<SessionTime> {
        let making = self.making.as_ref().filter(|making| !making.finished)?;
        if making.finishing {
            return Some(self.post.clock.now() + IDLE);
        }
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
            self.renditions.iter_mut().for_each(|rendition| rendition.pass(at));
            return Ok(());
        }
        self.retire_scenes(at);
        self.decode(at, now);
        let Some(making) = &mut self.making else { return Ok(()) };
        if making.end.is_some_and(|end| at >= end) {
            let mut is_through = true;
            for rendition in &mut self.renditions {
                is_through &= rendition.finish()?;
            }
            (making.finishing, making.finished) = (true, is_through);
            return Ok(());
        }
        let lateness = now.since(at + self.post.settings.delay);
        let is_late = lateness > LATE_PICTURES * making.period();
        let backlog = self.renditions.iter().map(RenditionPictures::backlog).max().unwrap_or(0);
        let tick = Tick { number: making.tick(), at, is_late, is_last: making.is_last(), is_ending: making.end.is_some() };
        let mut complete = true;
        for rendition in &mut self.renditions {
            complete &= rendition.tick(tick)?;
        }
        let counts = &self.post.counts;
        let lag = lateness + making.period() * u32::try_from(backlog).unwrap_or(u32::MAX);
        counts.lag_ns.store(u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        making.look += 1;
        counts.pictures.fetch_add(1, Ordering::Relaxed);
        counts.repeated.fetch_add(u64::from(!complete), Ordering::Relaxed);
        counts.skipped.store(self.renditions.iter().map(RenditionPictures::skipped).sum(), Ordering::Relaxed);
        Ok(())
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
}
