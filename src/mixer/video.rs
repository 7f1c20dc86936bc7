//! The picture half of the mixer: a function of (Scene, pictures, T).
//!
//! In: Scenes, each from an instant on; decoded pictures with their capture times; still pictures; and the instants to draw. Out: the canvas as I420.
//! Runs on the thread that calls it, and never waits. It starts no thread, reads no clock, decodes nothing, and shows nothing that the Scene
//! does not name. The canvas stays from tick to tick: a tile is painted when its picture changes, scaled once, and otherwise not touched. While tiles
//! move to the places of a new Scene everything is painted.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use recorder_core::ids::{ParticipantId, TrackId};
use recorder_core::scene::{CanvasSize, Rect, Scene};
use recorder_core::time::SessionTime;

use super::canvas::Canvas;
use super::decor::{Decor, Workshop};
use super::gallery::Gallery;
use super::label::{FontError, TextArtist};
use super::picture::Picture;
use super::places::{Painted, Place, places, set_off};
use super::still::Still;
pub use super::tracks::{HELD_PICTURES, TrackCounts};
use super::tracks::{TrackPictures, Visibility};
use super::wall::WallClock;

mod paint;

/// Scenes that may wait for their instant. One that does not fit replaces the newest, so that the last word is always heard.
pub const PENDING_SCENES: usize = 64;

/// Why there is no mixer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VideoMixerError {
    /// A side is zero, odd or above 8192.
    #[error("a canvas of {0}x{1} pixels is not possible: both sides must be even, from 2 to 8192")]
    Canvas(u32, u32),
    /// Not a rate that can be mixed.
    #[error("{0} pictures a second are not possible: 1 to 240 are")]
    Rate(u32),
    /// Names cannot be drawn.
    #[error("names cannot be drawn")]
    Fonts(#[from] FontError),
}

/// What became of an offered picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// It waits for its instant.
    Taken,
    /// There was no room, or no Scene shows the Track. Dropped and counted.
    Refused,
}

/// Whether the canvas differs from what the draw before gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Byte for byte the same.
    Same,
    /// Something was painted.
    Changed,
}

/// Totals since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VideoStats {
    /// Calls of [`VideoMixer::draw`].
    pub drawn: u64,
    /// Those that found nothing to paint.
    pub unchanged: u64,
    /// Pixels of the canvas that were written; one that was written twice counts twice.
    pub touched_px: u64,
    /// Sum over all Tracks, also those that are gone.
    pub pictures: TrackCounts,
    /// Pictures refused.
    pub refused: u64,
    /// Scenes that gave way to a newer one before their instant, because too many were pending.
    pub scenes_dropped: u64,
    /// Pictures held now.
    pub pictures_held: usize,
    /// Tracks known now.
    pub tracks: usize,
    /// Scenes pending now.
    pub scenes_pending: usize,
    /// Prepared texts kept now.
    pub texts_kept: usize,
    /// Memory of the prepared texts, in bytes.
    pub text_bytes: usize,
    /// Avatars, logos and backdrops held now.
    pub stills_held: usize,
}

/// The programme's picture at one instant.
pub struct Drawn<'a> {
    /// The instant that it shows.
    pub at: SessionTime,
    /// Width and height of the picture.
    pub size: CanvasSize,
    /// Y, U and V, packed, without padding; BT.601 limited range.
    pub i420: &'a [u8],
    /// Whether it differs from the one before.
    pub change: Change,
    tracks: &'a HashMap<TrackId, TrackPictures>,
}

impl<'a> Drawn<'a> {
    /// The counts of each Track that the Scene or a pending one shows, since it came into view.
    pub fn counts(&self) -> impl Iterator<Item = (&'a TrackId, TrackCounts)> + use<'a> {
        self.tracks.iter().map(|(id, track)| (id, track.counts))
    }
}

/// Mixes pictures.
pub struct VideoMixer {
    canvas: Canvas,
    period: Duration,
    artist: TextArtist,
    pending: VecDeque<Arc<Scene>>,
    scene: Option<Arc<Scene>>,
    places: Vec<Place>,
    /// What lies over the tiles.
    decor: Vec<Decor>,
    gallery: Gallery,
    wall: WallClock,
    /// The instant drawn last.
    drawn_at: SessionTime,
    /// When clocks are looked at next.
    next_second: SessionTime,
    /// Parts of the canvas in which everything is to be painted anew.
    damage: Vec<Rect>,
    /// Which places were painted in this draw; kept to save an allocation a tick.
    repainted: Vec<bool>,
    tracks: HashMap<TrackId, TrackPictures>,
    visible: HashSet<TrackId>,
    stats: VideoStats,
}

impl VideoMixer {
    /// A mixer with a black canvas and the fonts of the system. `fps` is the rate at which [`Self::draw`] or [`Self::pass`]
    /// will be called.
    ///
    /// # Errors
    /// A size or rate that cannot be, or no usable font.
    pub fn new(canvas: CanvasSize, fps: u32) -> Result<Self, VideoMixerError> {
        let CanvasSize { width_px, height_px } = canvas;
        let possible = |side: u32| (2..=8192).contains(&side) && side.is_multiple_of(2);
        if !possible(width_px) || !possible(height_px) {
            return Err(VideoMixerError::Canvas(width_px, height_px));
        }
        if !(1..=240).contains(&fps) {
            return Err(VideoMixerError::Rate(fps));
        }
        Ok(Self {
            canvas: Canvas::new(canvas),
            period: Duration::from_secs(1) / fps,
            artist: TextArtist::with_system_fonts()?,
            pending: VecDeque::new(),
            scene: None,
            places: Vec::new(),
            decor: Vec::new(),
            gallery: Gallery::default(),
            wall: WallClock::default(),
            drawn_at: SessionTime::ZERO,
            next_second: SessionTime::ZERO,
            damage: Vec::new(),
            repainted: Vec::new(),
            tracks: HashMap::new(),
            visible: HashSet::new(),
            stats: VideoStats::default(),
        })
    }

    /// Shows a Scene from `scene.from` on. Whole, and the newest knowledge: pending Scenes that would begin at the same time or later are dropped.
    /// A Scene that is made for another canvas size is scaled to this one.
    pub fn show(&mut self, scene: Arc<Scene>) {
        while self.pending.back().is_some_and(|later| later.from >= scene.from) {
            self.pending.pop_back();
        }
        if self.pending.len() >= PENDING_SCENES {
            self.pending.pop_back();
            self.stats.scenes_dropped += 1;
        }
        self.pending.push_back(scene);
        self.keep_named();
    }

    /// Whether the Scene or a pending one shows the Track.
    pub fn shows(&self, track: &TrackId) -> bool {
        self.tracks.contains_key(track)
    }

    /// How many more decoded pictures of the Track are taken now; 0 for a Track that neither the Scene nor a pending one shows.
    pub fn room(&self, track: &TrackId) -> usize {
        self.tracks.get(track).map_or(0, TrackPictures::room)
    }

    /// Takes the next picture of a Track, in order of capture.
    pub fn offer(&mut self, track: &TrackId, capture: SessionTime, picture: Picture) -> Offered {
        let taken = self.tracks.get_mut(track).is_some_and(|known| known.offer(capture, picture).is_ok());
        if taken {
            return Offered::Taken;
        }
        self.stats.refused += 1;
        Offered::Refused
    }

    /// Drops all pictures of a Track at once, also the one that is shown: its tile is a placeholder from the next draw until a new picture is due.
    pub fn forget(&mut self, track: &TrackId) {
        if let Some(known) = self.tracks.get_mut(track) {
            known.forget(self.period);
        }
    }

    /// Moves each Track on to the picture that is due at `at`, an instant between two draws, and paints nothing. Needed when draws are so far
    /// apart that more pictures come between them than a Track holds; then the mixer's rate is that of draws and passes together.
    pub fn pass(&mut self, at: SessionTime) {
        for track in self.tracks.values_mut() {
            track.advance(at, Visibility::Expected);
        }
    }

    /// What the wall-clock time of an instant is; before this is told, session time zero is 1970-01-01 00:00:00 UTC.
    pub fn set_wall_clock(&mut self, wall: WallClock) {
        self.wall = wall;
        self.next_second = SessionTime::ZERO;
    }

    /// Shows a person by this picture instead of initials while there is no camera. Only of people whom the Scene or a pending one shows; it is forgotten with
    /// their last tile.
    pub fn set_avatar(&mut self, participant: &ParticipantId, still: Option<Still>) {
        if self.gallery.set_avatar(participant, still) {
            let theirs = self.places.iter_mut().filter(|place| place.tile.participant == *participant);
            theirs.filter(|place| place.painted == Painted::Placeholder).for_each(|place| place.painted = Painted::Nothing);
        }
    }

    /// The picture of a file that ornaments show. Only of files that the Scene or a pending one names; it is forgotten with the last of them.
    pub fn set_image(&mut self, path: &str, still: Still) {
        if !self.gallery.set_image(path, still) {
            return;
        }
        let Self { decor, artist, gallery, wall, damage, drawn_at, .. } = self;
        let mut workshop = Workshop { artist, gallery, wall, at: *drawn_at };
        for decor in decor {
            if decor.hang(path, &mut workshop) {
                damage.push(decor.bounds());
            }
        }
    }

    /// The picture of a file behind everything; see [`Still::covering`]. The same holds for it as for [`Self::set_image`].
    pub fn set_backdrop(&mut self, path: &str, picture: Picture) {
        let is_shown = self.scene.as_ref().is_some_and(|scene| scene.backdrop.as_deref() == Some(path));
        if self.gallery.set_backdrop(path, picture) && is_shown {
            self.damage.push(self.canvas.whole());
        }
    }

    /// Draws the instant `at`. Instants are expected to rise by one period a call; after a larger step the nearest pictures are shown.
    pub fn draw(&mut self, at: SessionTime) -> Drawn<'_> {
        self.drawn_at = at;
        self.reach(at);
        for (id, track) in &mut self.tracks {
            track.advance(at, if self.visible.contains(id) { Visibility::Visible } else { Visibility::Expected });
        }
        self.move_tiles(at);
        self.tell_time(at);
        let change = if self.paint() { Change::Changed } else { Change::Same };
        self.stats.drawn += 1;
        self.stats.unchanged += u64::from(change == Change::Same);
        Drawn { at, size: self.canvas.size(), i420: self.canvas.bytes(), change, tracks: &self.tracks }
    }

    /// Totals since the start, and what is held now.
    pub fn stats(&self) -> VideoStats {
        let mut stats = self.stats;
        for track in self.tracks.values() {
            stats.pictures.add(track.counts);
            stats.pictures_held += track.held();
        }
        (stats.texts_kept, stats.text_bytes) = self.artist.cached();
        stats.touched_px = self.canvas.touched_px();
        VideoStats { tracks: self.tracks.len(), scenes_pending: self.pending.len(), stills_held: self.gallery.held(), ..stats }
    }

    /// Applies the newest Scene that is true at `at`.
    fn reach(&mut self, at: SessionTime) {
        let mut newest = None;
        while self.pending.front().is_some_and(|scene| scene.from <= at) {
            newest = self.pending.pop_front();
        }
        let Some(scene) = newest else { return };
        let mut places = places(&scene, self.canvas.size(), &mut self.artist);
        set_off(&mut places, &self.places, &scene, at - self.period);
        let old = std::mem::replace(&mut self.places, places);
        let same_ground =
            self.scene.as_ref().is_some_and(|old| old.background == scene.background && old.backdrop == scene.backdrop)
                && old.len() == self.places.len()
                && old.iter().zip(&self.places).all(|(old, new)| old.rect == new.rect);
        if same_ground {
            // Tiles stay where they are: one that looks the same need not be painted again.
            for (new, old) in self.places.iter_mut().zip(old) {
                if new.tile == old.tile {
                    new.painted = old.painted;
                }
            }
        } else {
            self.damage.push(self.canvas.whole());
        }
        self.decorate(&scene, at);
        self.scene = Some(scene);
        self.keep_named();
    }

    /// Prepares the ornaments of a Scene; those that stay are not touched.
    fn decorate(&mut self, scene: &Scene, at: SessionTime) {
        let Self { artist, gallery, wall, canvas, .. } = self;
        let is_same = |decor: &Decor, ornament| decor.ornament() == ornament;
        if self.scene.as_ref().is_some_and(|old| old.canvas == scene.canvas && old.ornaments == scene.ornaments) {
            return;
        }
        gallery.keep_named(self.scene.as_deref().into_iter().chain([scene]).chain(self.pending.iter().map(|scene| &**scene)));
        let mut workshop = Workshop { artist, gallery, wall, at };
        let new: Vec<Decor> =
            scene.ornaments.iter().filter_map(|o| Decor::new(o, scene.canvas, canvas.size(), &mut workshop)).collect();
        let old = std::mem::replace(&mut self.decor, new);
        for (index, decor) in old.iter().enumerate() {
            if !self.decor.get(index).is_some_and(|new| is_same(new, decor.ornament())) {
                self.damage.push(decor.bounds());
            }
        }
        for (index, decor) in self.decor.iter().enumerate() {
            if !old.get(index).is_some_and(|old| is_same(old, decor.ornament())) {
                self.damage.push(decor.bounds());
            }
        }
    }

    /// Keeps exactly the Tracks and still pictures that the Scene or a pending one shows.
    fn keep_named(&mut self) {
        self.gallery.keep_named(self.scene.iter().chain(&self.pending).map(|scene| &**scene));
        let in_scene = |scene: &Arc<Scene>| scene.tiles.iter().filter_map(|tile| tile.video.clone()).collect::<Vec<_>>();
        self.visible = self.scene.iter().flat_map(in_scene).collect();
        let named: HashSet<TrackId> = self.visible.iter().cloned().chain(self.pending.iter().flat_map(in_scene)).collect();
        self.tracks.retain(|id, track| {
            let keep = named.contains(id);
            if !keep {
                self.stats.pictures.add(track.counts);
            }
            keep
        });
        for id in named {
            self.tracks.entry(id).or_insert_with(|| TrackPictures::new(self.period));
        }
    }

    /// Brings tiles that are on their way to where they are at `at`.
    fn move_tiles(&mut self, at: SessionTime) {
        let mut moves = false;
        for place in &mut self.places {
            let Some(motion) = place.motion else { continue };
            let now = motion.at(place.target, at);
            if now.is_none() {
                place.motion = None;
            }
            place.rect = now.unwrap_or(place.target);
            moves = true;
        }
        if moves {
            self.damage.push(self.canvas.whole());
        }
    }

    /// Sets the clocks, once a second.
    fn tell_time(&mut self, at: SessionTime) {
        if at < self.next_second {
            return;
        }
        self.next_second = self.wall.next_second(at);
        let Self { decor, artist, gallery, wall, damage, .. } = self;
        let mut workshop = Workshop { artist, gallery, wall, at };
        for clock in decor.iter_mut().filter(|decor| decor.is_clock()) {
            let before = clock.bounds();
            if clock.tell_time(&mut workshop) {
                damage.extend([before, clock.bounds()]);
            }
        }
    }
}

#[cfg(test)]
#[path = "video_tests.rs"]
mod tests;
