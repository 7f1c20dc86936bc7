//! Names, badges, initials, avatars and words as overlays.
//!
//! In: text that participants chose (any script, any length, anything), still pictures, and the space for them. Out: overlays, rendered once and kept in a
//! bounded cache. Runs on whichever thread draws; a new name costs milliseconds, a known one nothing. It logs no text.

use std::collections::HashMap;
use std::sync::Arc;

use cosmic_text::fontdb::Database;
use recorder_core::scene::{Align, Label, LabelStyle, Rect, Rgb};

use super::icons;
use super::overlay::{Overlay, Sheet};
use super::scripts;
pub use super::scripts::Gap;
use super::still::Still;
pub use super::text::FontError;
use super::text::{Room, Typesetter, clean, clean_lines, extent, initials, line_height, middle_of_capitals};

/// Overlays that are kept.
pub(crate) const CACHED_OVERLAYS: usize = 160;
/// Memory of the overlays that are kept, unless a single one needs more.
pub(crate) const CACHED_BYTES: usize = 24 << 20;

const WHITE: Rgb = Rgb(255, 255, 255);
/// Ground of names, and how much it covers: white letters on it have a contrast of more than 4.5 over any picture.
const PLATE: Rgb = Rgb(12, 14, 18);
const PLATE_ALPHA: f32 = 0.74;
/// Frame of somebody who speaks, and the stripe of a lower third.
pub(crate) const ACCENT: Rgb = Rgb(72, 200, 130);
/// Words on a plate that covers less than this, in percent, get a halo.
const SURE_GROUND_PERCENT: u8 = 70;
/// The widest disc, in pixels.
pub(crate) const WIDEST_DISC: u32 = 360;

/// Words of a Scene, and how they are to look.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) text_px: u32,
    pub(super) colour: Rgb,
    pub(super) align: Align,
    pub(super) lines: u32,
    pub(super) width_px: u32,
    /// An edge of the opposite brightness, because nobody knows what is below.
    pub(super) has_halo: bool,
}

impl Words {
    /// Whether words need a halo on a plate that covers so much, or on none.
    pub(super) fn need_halo(plate_percent: Option<u8>) -> bool {
        plate_percent.unwrap_or(0) < SURE_GROUND_PERCENT
    }
}

/// What an overlay shows.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Drawing {
    Name { name: String, muted: bool, hand: bool, style: LabelStyle, font_px: u32, room_px: u32 },
    Disc { initials: String, colour: Rgb, diameter_px: u32 },
    Portrait { still: Still, colour: Rgb, diameter_px: u32 },
    Words(Words),
    Image { still: Still, width_px: u32, height_px: u32 },
}

struct Kept {
    overlay: Arc<Overlay>,
    used: u64,
}

/// Draws text with the fonts of the system.
pub struct TextArtist {
    setter: Typesetter,
    kept: HashMap<Drawing, Kept>,
    bytes: usize,
    uses: u64,
}

impl TextArtist {
    /// Reads the fonts of the system; takes some tens of milliseconds.
    ///
    /// # Errors
    /// No font with Latin letters is there.
    pub fn with_system_fonts() -> Result<Self, FontError> {
        let mut database = Database::new();
        database.load_system_fonts();
        Self::with_fonts(database)
    }

    pub(crate) fn with_fonts(database: Database) -> Result<Self, FontError> {
        Ok(Self { setter: Typesetter::with_fonts(database)?, kept: HashMap::new(), bytes: 0, uses: 0 })
    }

    /// The scripts that the fonts cannot write.
    pub fn gaps(&mut self) -> Vec<Gap> {
        scripts::gaps(&mut self.setter)
    }

    /// The name and the badges for a tile, or `None` where there is nothing to say, or it would hide too much.
    pub(crate) fn name(&mut self, label: &Label, tile: Rect) -> Option<Arc<Overlay>> {
        let font_px = match label.style {
            LabelStyle::Plate => (tile.height * 7 / 100).clamp(11, 30),
            LabelStyle::LowerThird => (tile.height * 7 / 100).clamp(12, 76),
        };
        let name = clean(label.name.expose());
        let is_silent = name.is_empty() && !label.muted && !label.hand;
        if is_silent || tile.width < 4 * font_px || tile.height < 4 * font_px {
            return None;
        }
        let room_px = tile.width - 2 * label_margin(tile, label.style).0;
        let Label { muted, hand, style, .. } = *label;
        Some(self.draw(Drawing::Name { name, muted, hand, style, font_px, room_px }))
    }

    /// A disc with initials for the middle of a tile without picture, or `None` if the tile is too small for it.
    pub(crate) fn disc(&mut self, name: &str, colour: Rgb, tile: Rect) -> Option<Arc<Overlay>> {
        let diameter_px = disc_diameter(tile)?;
        Some(self.draw(Drawing::Disc { initials: initials(name), colour, diameter_px }))
    }

    /// The same with a picture of the person.
    pub(crate) fn portrait(&mut self, still: &Still, colour: Rgb, tile: Rect) -> Option<Arc<Overlay>> {
        let diameter_px = disc_diameter(tile)?;
        Some(self.draw(Drawing::Portrait { still: still.clone(), colour, diameter_px }))
    }

    /// Words, or `None` if there is nothing to read or no room.
    pub(super) fn words(&mut self, words: Words) -> Option<Arc<Overlay>> {
        let words = readable(words)?;
        Some(self.draw(Drawing::Words(words)))
    }

    /// Words that will not be shown again: they do not push others out of the cache.
    pub(super) fn passing_words(&mut self, words: Words) -> Option<Arc<Overlay>> {
        let words = readable(words)?;
        Some(Arc::new(self.draw_words(&words).into_overlay()))
    }

    /// A still picture, scaled to this even size.
    pub(super) fn image(&mut self, still: &Still, (width_px, height_px): (u32, u32)) -> Arc<Overlay> {
        self.draw(Drawing::Image { still: still.clone(), width_px, height_px })
    }

    /// Overlays in the cache, and their bytes.
    pub(crate) fn cached(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }

    fn draw(&mut self, drawing: Drawing) -> Arc<Overlay> {
        self.uses += 1;
        if let Some(kept) = self.kept.get_mut(&drawing) {
            kept.used = self.uses;
            return Arc::clone(&kept.overlay);
        }
        let sheet = match &drawing {
            Drawing::Name { name, muted, hand, style, font_px, room_px } => {
                self.draw_name(name, (*hand, *muted), *style, *font_px as f32, *room_px as f32)
            }
            Drawing::Disc { initials, colour, diameter_px } => self.draw_disc(initials, *colour, *diameter_px as f32),
            Drawing::Portrait { still, colour, diameter_px } => still.round(*diameter_px, *colour),
            Drawing::Words(words) => self.draw_words(words),
            Drawing::Image { still, width_px, height_px } => still.sheet(*width_px, *height_px),
        };
        let overlay = Arc::new(sheet.into_overlay());
        self.bytes += overlay.bytes();
        self.kept.insert(drawing, Kept { overlay: Arc::clone(&overlay), used: self.uses });
        while self.kept.len() > 1 && (self.kept.len() > CACHED_OVERLAYS || self.bytes > CACHED_BYTES) {
            let Some(oldest) = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone()) else { break };
            if let Some(gone) = self.kept.remove(&oldest) {
                self.bytes -= gone.overlay.bytes();
            }
        }
        overlay
    }

    /// From left to right: the stripe of a lower third, a raised hand, a muted microphone, the name.
    fn draw_name(&mut self, name: &str, (hand, muted): (bool, bool), style: LabelStyle, font_px: f32, room_px: f32) -> Sheet {
        let icon = (font_px * 1.05).round();
        let between = (font_px * 0.3).round();
        let (side, stripe, height) = match style {
            LabelStyle::Plate => ((font_px * 0.5).round(), 0.0, (font_px * 1.6).round()),
            LabelStyle::LowerThird => ((font_px * 0.6).round(), (font_px * 0.22).round().max(2.0), (font_px * 2.0).round()),
        };
        let badges = f32::from(u8::from(hand) + u8::from(muted));
        let gaps = if name.is_empty() { (badges - 1.0).max(0.0) } else { badges };
        let before = stripe + side + badges * icon + gaps * between;
        let set = self.setter.set(name, font_px, Room::Line((room_px - before - side).max(font_px) as u32));
        let (left, width) = extent(&set);
        let mut sheet = Sheet::new((before + width + side).ceil() as usize, height as usize);
        let (w, h) = (sheet.width() as f32, sheet.height() as f32);
        let radius = if style == LabelStyle::Plate { (font_px * 0.3).round() } else { 0.0 };
        sheet.shape(PLATE, PLATE_ALPHA, icons::rounded_box(w / 2.0, h / 2.0, w / 2.0, h / 2.0, radius));
        if stripe > 0.0 {
            sheet.shape(ACCENT, 1.0, move |x, _| x - stripe);
        }
        let mut x = stripe + side + icon / 2.0;
        if hand {
            icons::hand(&mut sheet, x, h / 2.0, icon);
            x += icon + between;
        }
        if muted {
            icons::muted(&mut sheet, x, h / 2.0, icon, PLATE);
        }
        self.setter.ink(&set, &mut sheet, (before - left, middle_of_capitals(&set, h / 2.0, font_px)), WHITE);
        sheet
    }

    fn draw_disc(&mut self, initials: &str, colour: Rgb, diameter_px: f32) -> Sheet {
        let font_px = (diameter_px * 0.4).round().max(6.0);
        let mut sheet = Sheet::new(diameter_px as usize, diameter_px as usize);
        let r = diameter_px / 2.0;
        sheet.shape(colour, 1.0, icons::disc(r, r, r));
        if initials.is_empty() {
            icons::person(&mut sheet, r, WHITE);
            return sheet;
        }
        let set = self.setter.set(initials, font_px, Room::Endless);
        let (left, width) = extent(&set);
        let at = (r - width / 2.0 - left, middle_of_capitals(&set, r, font_px));
        self.setter.ink(&set, &mut sheet, at, WHITE);
        sheet
    }

    fn draw_words(&mut self, words: &Words) -> Sheet {
        let font_px = words.text_px as f32;
        let edge = if words.has_halo { (font_px * 0.12).clamp(2.0, 6.0).round() } else { 0.0 };
        let width_px = (words.width_px.saturating_sub(2 * edge as u32)).max(words.text_px);
        let room = match words.lines {
            0 | 1 if !words.text.contains('\n') => Room::Line(width_px),
            lines => Room::Lines { width_px, lines, align: words.align },
        };
        let set = self.setter.set(&words.text, font_px, room);
        let (left, width) = extent(&set);
        let lines = set.layout_runs().count().max(1) as f32;
        // Accents above and below the line need more than the line.
        let beyond = (font_px * 0.3).round() + edge;
        let height = (lines * line_height(font_px)).ceil() + 2.0 * beyond;
        let mut sheet = Sheet::new((width + 2.0 * edge).ceil() as usize, height as usize);
        let at = (edge - left, middle_of_capitals(&set, beyond + line_height(font_px) / 2.0, font_px));
        if words.has_halo {
            let mut letters = Sheet::new(sheet.width(), sheet.height());
            self.setter.ink(&set, &mut letters, at, WHITE);
            let ground = if is_light(words.colour) { PLATE } else { WHITE };
            sheet.halo(&letters, edge, ground);
        }
        self.setter.ink(&set, &mut sheet, at, words.colour);
        sheet
    }
}

fn readable(words: Words) -> Option<Words> {
    let text = clean_lines(&words.text);
    let is_readable = !text.trim().is_empty() && words.text_px >= 4 && words.width_px >= words.text_px;
    is_readable.then_some(Words { text, ..words })
}

/// Distance of a name from the left and from the lower edge of its tile, both even.
pub(crate) fn label_margin(tile: Rect, style: LabelStyle) -> (u32, u32) {
    match style {
        LabelStyle::Plate => {
            let margin = (tile.height / 40).clamp(4, 16) & !1;
            (margin, margin)
        }
        LabelStyle::LowerThird => ((tile.width / 20) & !1, (tile.height / 12) & !1),
    }
}

fn disc_diameter(tile: Rect) -> Option<u32> {
    let diameter_px = (tile.width.min(tile.height) / 2).next_multiple_of(2).min(WIDEST_DISC);
    (diameter_px >= 16).then_some(diameter_px)
}

/// Whether a dark edge makes letters of this colour readable, rather than a light one.
fn is_light(Rgb(r, g, b): Rgb) -> bool {
    2 * u32::from(r) + 5 * u32::from(g) + u32::from(b) > 8 * 110
}

#[cfg(test)]
#[path = "label_tests.rs"]
mod tests;
