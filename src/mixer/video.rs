//! The picture half of the mixer: a function of (Scene, pictures, T).
//!
//! In: Scenes, each from an instant on; decoded pictures with their capture times; and the instants to draw. Out: the canvas as I420.
//! Runs on the thread that calls it, and never waits. It starts no thread, reads no clock, decodes nothing, and shows nothing that the Scene
//! does not name. The canvas stays from tick to tick: a tile is painted when its picture changes, scaled once, and otherwise not touched.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use recorder_core::ids::{ParticipantId, TrackId};
use recorder_core::scene::{CanvasSize, Content, Rect, Rgb, Scene, Tile};
use recorder_core::time::SessionTime;

use super::canvas::{Canvas, on_canvas, overlap};
use super::label::{FontError, TextArtist, plate_margin};
use super::overlay::Overlay;
use super::picture::Picture;
pub use super::tracks::{HELD_PICTURES, TrackCounts};
use super::tracks::{TrackPictures, Visibility};
use super::yuv::Ycc;

/// Scenes that may wait for their instant. One that does not fit replaces the newest, so that the last word is always heard.
pub const PENDING_SCENES: usize = 64;

/// Frame of the tile of someone who speaks.
const SPEAKER: Rgb = Rgb(72, 200, 130);

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

/// What a tile was last painted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Painted {
    Nothing,
    Placeholder,
    Picture(u64),
}

/// A tile on this canvas.
struct Place {
    tile: Tile,
    rect: Rect,
    plate: Option<Arc<Overlay>>,
    /// Tiles before this one that share pixels with it.
    below: Vec<usize>,
    painted: Painted,
}

/// Mixes pictures.
pub struct VideoMixer {
    canvas: Canvas,
    period: Duration,
    artist: TextArtist,
    pending: VecDeque<Arc<Scene>>,
    scene: Option<Arc<Scene>>,
    places: Vec<Place>,
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
        self.keep_named_tracks();
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

    /// Draws the instant `at`. Instants are expected to rise by one period a call; after a larger step the nearest pictures are shown.
    pub fn draw(&mut self, at: SessionTime) -> Drawn<'_> {
        let mut change = if self.reach(at) { Change::Changed } else { Change::Same };
        for (id, track) in &mut self.tracks {
            track.advance(at, if self.visible.contains(id) { Visibility::Visible } else { Visibility::Expected });
        }
        self.repainted.clear();
        self.repainted.resize(self.places.len(), false);
        for index in 0..self.places.len() {
            if self.paint_if_needed(index) {
                self.repainted[index] = true;
                change = Change::Changed;
            }
        }
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
        VideoStats { tracks: self.tracks.len(), scenes_pending: self.pending.len(), ..stats }
    }

    /// Applies the newest Scene that is true at `at`. True if anything was painted for it.
    fn reach(&mut self, at: SessionTime) -> bool {
        let mut newest = None;
        while self.pending.front().is_some_and(|scene| scene.from <= at) {
            newest = self.pending.pop_front();
        }
        let Some(scene) = newest else { return false };
        let places = self.places_of(&scene);
        let same_ground = self.scene.as_ref().is_some_and(|old| {
            old.background == scene.background
                && old.ornaments == scene.ornaments
                && self.places.len() == places.len()
                && self.places.iter().zip(&places).all(|(old, new)| old.rect == new.rect)
        });
        let old = std::mem::replace(&mut self.places, places);
        if same_ground {
            // Tiles stay where they are: one that looks the same need not be painted again.
            for (new, old) in self.places.iter_mut().zip(old) {
                if new.tile == old.tile {
                    new.painted = old.painted;
                }
            }
        } else {
            let whole = self.canvas.whole();
            self.canvas.fill(whole, scene.background.into());
            for ornament in &scene.ornaments {
                let Content::Text(words) = &ornament.content else { continue };
                let sentence = self.artist.card(words.expose(), self.canvas.size());
                if let (Some(sentence), Some(rect)) = (sentence, on_canvas(ornament.rect, scene.canvas, self.canvas.size())) {
                    lay_centred(&mut self.canvas, &sentence, rect);
                }
            }
        }
        self.scene = Some(scene);
        self.keep_named_tracks();
        !same_ground
    }

    fn places_of(&mut self, scene: &Scene) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::with_capacity(scene.tiles.len());
        for tile in &scene.tiles {
            let Some(rect) = on_canvas(tile.rect, scene.canvas, self.canvas.size()) else { continue };
            let below = (0..places.len()).filter(|i| overlap(places[*i].rect, rect)).collect();
            let plate = tile.label.as_ref().and_then(|label| self.artist.plate(label, rect));
            places.push(Place { tile: tile.clone(), rect, plate, below, painted: Painted::Nothing });
        }
        places
    }

    /// Keeps exactly the Tracks that the Scene or a pending one shows.
    fn keep_named_tracks(&mut self) {
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

    fn paint_if_needed(&mut self, index: usize) -> bool {
        let place = &self.places[index];
        let picture = place.tile.video.as_ref().and_then(|id| self.tracks.get(id)).and_then(TrackPictures::shown);
        let wanted = picture.map_or(Painted::Placeholder, |(_, version)| Painted::Picture(version));
        if place.painted == wanted && !place.below.iter().any(|i| self.repainted[*i]) {
            return false;
        }
        let (rect, plate) = (place.rect, place.plate.clone());
        let background = self.scene.as_ref().map_or(Rgb(0, 0, 0), |scene| scene.background);
        match picture {
            Some((picture, _)) => self.canvas.paint(picture, rect, place.tile.fit, background.into()),
            None => {
                let (ground, disc) = placeholder_colours(&place.tile.participant);
                self.canvas.fill(rect, ground);
                let name = place.tile.label.as_ref().map_or("", |label| label.name.expose());
                if let Some(avatar) = self.artist.avatar(name, disc, rect) {
                    lay_centred(&mut self.canvas, &avatar, rect);
                }
            }
        }
        if place.tile.speaking {
            self.canvas.border(rect, border_px(self.canvas.size()), SPEAKER.into());
        }
        if let Some(plate) = plate {
            let margin = plate_margin(rect);
            let top = (rect.y + rect.height).saturating_sub(margin + plate.height() as u32);
            self.canvas.lay(&plate, rect.x + margin, top);
        }
        self.places[index].painted = wanted;
        true
    }
}

fn lay_centred(canvas: &mut Canvas, overlay: &Overlay, within: Rect) {
    let middle = |from: u32, room: u32, length: usize| (from + room.saturating_sub(length as u32) / 2) & !1;
    let (x, y) = (middle(within.x, within.width, overlay.width()), middle(within.y, within.height, overlay.height()));
    canvas.lay(overlay, x, y);
}

/// Thickness of the speaker border: 4 pixels at 720 lines.
fn border_px(canvas: CanvasSize) -> u32 {
    (canvas.height_px / 180).next_multiple_of(2).max(2)
}

/// Ground and disc of a tile without picture: a colour of the person's own, the same each time, and dark enough for white letters.
fn placeholder_colours(participant: &ParticipantId) -> (Ycc, Rgb) {
    // FNV-1a: the standard library's hash may change with its version, and the colour should not.
    let hash =
        participant.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let hue = (hash >> 20) as f32 % 360.0;
    let at = |lightness: f32, depth: f32| {
        let channel = |turn: f32| (lightness + depth * ((hue + turn).to_radians().cos())).clamp(0.0, 255.0) as u8;
        Rgb(channel(0.0), channel(-120.0), channel(120.0))
    };
    (at(44.0, 10.0).into(), at(92.0, 42.0))
}

#[cfg(test)]
#[path = "video_tests.rs"]
mod tests;
