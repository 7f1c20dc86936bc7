//! Paints the canvas: the ground, tiles, names and ornaments, and of them only what has changed.

use recorder_core::ids::ParticipantId;
use recorder_core::scene::{CanvasSize, LabelStyle, Rect, Rgb};

use super::VideoMixer;
use crate::mixer::canvas::{Canvas, add_disjoint, overlap};
use crate::mixer::label::{ACCENT, label_margin};
use crate::mixer::overlay::Overlay;
use crate::mixer::places::Painted;
use crate::mixer::tracks::TrackPictures;
use crate::mixer::yuv::Ycc;

impl VideoMixer {
    /// Paints what has changed, and everything where there is damage. True if anything was painted.
    pub(super) fn paint(&mut self) -> bool {
        let damage = std::mem::take(&mut self.damage);
        damage.iter().for_each(|rect| self.paint_ground(*rect));
        self.repainted.clear();
        self.repainted.resize(self.places.len(), false);
        for index in 0..self.places.len() {
            let is_damaged = damage.iter().any(|rect| overlap(*rect, self.places[index].rect));
            self.repainted[index] = self.paint_tile(index, is_damaged);
        }
        let painted = !damage.is_empty() || self.repainted.contains(&true);
        if painted && !self.decor.is_empty() {
            let tiles = self.places.iter().zip(&self.repainted).filter(|(_, repainted)| **repainted).map(|(place, _)| place.rect);
            let mut bare = Vec::new();
            let is_decorated = |rect: &Rect| self.decor.iter().any(|decor| overlap(decor.bounds(), *rect));
            damage.into_iter().chain(tiles).filter(is_decorated).for_each(|rect| add_disjoint(&mut bare, rect));
            for decor in &self.decor {
                bare.iter().for_each(|rect| decor.lay(&mut self.canvas, *rect));
            }
        }
        painted
    }

    fn background(&self) -> Rgb {
        self.scene.as_ref().map_or(Rgb(0, 0, 0), |scene| scene.background)
    }

    fn paint_ground(&mut self, rect: Rect) {
        let backdrop = self.scene.as_ref().and_then(|scene| self.gallery.backdrop(scene.backdrop.as_deref()?));
        match backdrop {
            Some(picture)
                if (picture.width(), picture.height()) == (self.canvas.size().width_px, self.canvas.size().height_px) =>
            {
                self.canvas.copy(picture, rect);
            }
            _ => self.canvas.fill(rect, self.background().into()),
        }
    }

    /// Paints a tile if its picture is another one, or something below it was painted.
    fn paint_tile(&mut self, index: usize, is_damaged: bool) -> bool {
        let place = &self.places[index];
        let picture = place.tile.video.as_ref().and_then(|id| self.tracks.get(id)).and_then(TrackPictures::shown);
        let wanted = picture.map_or(Painted::Placeholder, |(_, version)| Painted::Picture(version));
        if !is_damaged && place.painted == wanted && !place.below.iter().any(|i| self.repainted[*i]) {
            return false;
        }
        let rect = place.rect;
        match picture {
            Some((picture, _)) => self.canvas.paint(picture, rect, place.tile.fit, self.background().into()),
            None => {
                let (ground, disc) = placeholder_colours(&place.tile.participant);
                self.canvas.fill(rect, ground);
                let overlay = match self.gallery.avatar(&place.tile.participant) {
                    Some(still) => self.artist.portrait(still, disc, place.target),
                    None => {
                        let name = place.tile.label.as_ref().map_or("", |label| label.name.expose());
                        self.artist.disc(name, disc, place.target)
                    }
                };
                overlay.into_iter().for_each(|overlay| lay_centred(&mut self.canvas, &overlay, rect));
            }
        }
        if place.tile.speaking {
            self.canvas.border(rect, border_px(self.canvas.size()), ACCENT.into());
        }
        if let Some(name) = &place.name {
            let style = place.tile.label.as_ref().map_or(LabelStyle::default(), |label| label.style);
            let (left, bottom) = label_margin(place.target, style);
            let top = (rect.y + rect.height) as i32 - (bottom + name.height() as u32) as i32;
            self.canvas.lay(name, ((rect.x + left) as i32, top), rect);
        }
        self.places[index].painted = wanted;
        true
    }
}

/// Lays an overlay on the middle of a rectangle, and only there.
fn lay_centred(canvas: &mut Canvas, overlay: &Overlay, within: Rect) {
    let middle = |from: u32, room: u32, length: usize| (from as i32 + (room as i32 - length as i32) / 2) & !1;
    let (x, y) = (middle(within.x, within.width, overlay.width()), middle(within.y, within.height, overlay.height()));
    canvas.lay(overlay, (x, y), within);
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
