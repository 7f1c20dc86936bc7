//! Names, initials and sentences as overlays.
//!
//! In: text that participants chose (any script, any length, anything), and the space for it. Out: overlays, rendered once and kept in a bounded cache.
//! Shaping, bidirectional order and font fallback are cosmic-text's, with the fonts of the system. Runs on whichever thread draws; a new
//! name costs milliseconds, a known one nothing. It logs no text.

use std::collections::HashMap;
use std::sync::Arc;

use cosmic_text::fontdb::{Database, FaceInfo, Family as DbFamily, Query, Style};
use cosmic_text::{
    Align, Attrs, Buffer, Ellipsize, EllipsizeHeightLimit, Family, FontSystem, Metrics, PlatformFallback, Shaping, SwashCache,
    SwashContent, Wrap,
};
use recorder_core::scene::{CanvasSize, Label, Rect, Rgb};

use super::overlay::{Overlay, Sheet};

/// Why no text can be drawn.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FontError {
    /// No font was found, or none with Latin letters.
    #[error("no usable font is installed; install fonts-dejavu-core or fonts-noto-core")]
    Missing,
}

/// Families to try first, in this order.
const FAMILIES: [&str; 2] = ["Noto Sans", "DejaVu Sans"];
/// The Noto families that a living person's name may need; the many for ancient scripts are left out, because a character that no font has
/// is looked for in every font that is left, on the thread that draws.
const NOTO_SCRIPTS: [&str; 35] = [
    "Adlam",
    "Arabic",
    "Armenian",
    "Bengali",
    "Canadian Aboriginal",
    "Cherokee",
    "CJK",
    "Devanagari",
    "Ethiopic",
    "Georgian",
    "Gujarati",
    "Gurmukhi",
    "Hebrew",
    "Javanese",
    "Kannada",
    "Khmer",
    "Lao",
    "Malayalam",
    "Math",
    "Mongolian",
    "Myanmar",
    "NKo",
    "Oriya",
    "Sinhala",
    "Symbols",
    "Symbols2",
    "Syriac",
    "Tamil",
    "Telugu",
    "Thaana",
    "Thai",
    "Tibetan",
    "Tifinagh",
    "Yi",
    "Color Emoji",
];
/// Characters of a name or sentence that are looked at; what follows could not be read on a canvas anyway.
const TEXT_CHARS: usize = 240;
/// Overlays that are kept.
pub(crate) const CACHED_OVERLAYS: usize = 160;
/// Memory of the overlays that are kept, unless a single one needs more.
pub(crate) const CACHED_BYTES: usize = 24 << 20;

const WHITE: Rgb = Rgb(255, 255, 255);
const PLATE: Rgb = Rgb(12, 14, 18);
const PLATE_ALPHA: f32 = 0.68;
const MUTED: Rgb = Rgb(255, 120, 110);

/// What an overlay shows.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Drawing {
    Plate { name: String, muted: bool, font_px: u32, room_px: u32 },
    Avatar { initials: String, colour: (u8, u8, u8), diameter_px: u32 },
    Card { text: String, font_px: u32, room_px: u32 },
}

struct Kept {
    overlay: Arc<Overlay>,
    used: u64,
}

/// Draws text with the fonts of the system.
pub struct TextArtist {
    fonts: FontSystem,
    family: &'static str,
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

    pub(crate) fn with_fonts(mut database: Database) -> Result<Self, FontError> {
        let other: Vec<_> = database.faces().filter(|face| !may_be_needed(face)).map(|face| face.id).collect();
        other.into_iter().for_each(|id| database.remove_face(id));
        let known = |name: &&str| database.query(&Query { families: &[DbFamily::Name(name)], ..Query::default() }).is_some();
        let family = FAMILIES.into_iter().find(known).unwrap_or("sans-serif");
        if database.is_empty() {
            return Err(FontError::Missing);
        }
        let mut artist = Self {
            fonts: FontSystem::new_with_locale_and_db_and_fallback("en".to_owned(), database, PlatformFallback),
            family,
            kept: HashMap::new(),
            bytes: 0,
            uses: 0,
        };
        let latin = artist.layout("Aa", 16.0, None, Lines::One);
        let drawn = latin.layout_runs().flat_map(|run| run.glyphs).filter(|glyph| glyph.glyph_id != 0).count();
        if drawn == 2 { Ok(artist) } else { Err(FontError::Missing) }
    }

    /// The plate with the name for the lower left corner of a tile, or `None` where it would hide too much.
    pub(crate) fn plate(&mut self, label: &Label, tile: Rect) -> Option<Arc<Overlay>> {
        let font_px = (tile.height * 7 / 100).clamp(11, 30);
        let name = clean(label.name.expose());
        if (name.is_empty() && !label.muted) || tile.width < 4 * font_px || tile.height < 4 * font_px {
            return None;
        }
        let room_px = tile.width - 2 * plate_margin(tile);
        Some(self.draw(Drawing::Plate { name, muted: label.muted, font_px, room_px }))
    }

    /// A disc with initials for the middle of a tile without picture, or `None` if the tile is too small for it.
    pub(crate) fn avatar(&mut self, name: &str, colour: Rgb, tile: Rect) -> Option<Arc<Overlay>> {
        let diameter_px = (tile.width.min(tile.height) / 2).next_multiple_of(2).min(360);
        if diameter_px < 16 {
            return None;
        }
        let Rgb(r, g, b) = colour;
        Some(self.draw(Drawing::Avatar { initials: initials(name), colour: (r, g, b), diameter_px }))
    }

    /// A sentence for the middle of the canvas, or `None` if there is nothing to read.
    pub(crate) fn card(&mut self, text: &str, canvas: CanvasSize) -> Option<Arc<Overlay>> {
        let text = clean(text);
        let font_px = (canvas.height_px * 6 / 100).max(8);
        let room_px = canvas.width_px * 8 / 10;
        (!text.is_empty() && room_px >= font_px).then(|| self.draw(Drawing::Card { text, font_px, room_px }))
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
            Drawing::Plate { name, muted, font_px, room_px } => self.draw_plate(name, *muted, *font_px as f32, *room_px as f32),
            Drawing::Avatar { initials, colour: (r, g, b), diameter_px } => {
                self.draw_avatar(initials, Rgb(*r, *g, *b), *diameter_px as f32)
            }
            Drawing::Card { text, font_px, room_px } => self.draw_card(text, *font_px as f32, *room_px as f32),
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

    fn draw_plate(&mut self, name: &str, muted: bool, font_px: f32, room_px: f32) -> Sheet {
        let (side, icon) = ((font_px * 0.5).round(), if muted { (font_px * 1.05).round() } else { 0.0 });
        let before = side + icon + if muted && !name.is_empty() { (font_px * 0.3).round() } else { 0.0 };
        let buffer = self.layout(name, font_px, Some((room_px - before - side).max(font_px)), Lines::One);
        let (left, width) = extent(&buffer);
        let height = (font_px * 1.6).round();
        let mut sheet = Sheet::new((before + width + side).ceil() as usize, height as usize);
        let (w, h) = (sheet.width() as f32, sheet.height() as f32);
        sheet.shape(PLATE, PLATE_ALPHA, rounded_box(w / 2.0, h / 2.0, w / 2.0, h / 2.0, (font_px * 0.3).round()));
        if muted {
            draw_muted(&mut sheet, side + icon / 2.0, h / 2.0, icon);
        }
        self.ink(&buffer, &mut sheet, before - left, middle_of_capitals(&buffer, h / 2.0, font_px));
        sheet
    }

    fn draw_avatar(&mut self, initials: &str, colour: Rgb, diameter_px: f32) -> Sheet {
        let font_px = (diameter_px * 0.4).round().max(6.0);
        let buffer = self.layout(initials, font_px, None, Lines::One);
        let (left, width) = extent(&buffer);
        let mut sheet = Sheet::new(diameter_px as usize, diameter_px as usize);
        let r = diameter_px / 2.0;
        sheet.shape(colour, 1.0, move |x, y| (x - r).hypot(y - r) - r);
        self.ink(&buffer, &mut sheet, r - width / 2.0 - left, middle_of_capitals(&buffer, r, font_px));
        sheet
    }

    fn draw_card(&mut self, text: &str, font_px: f32, room_px: f32) -> Sheet {
        let buffer = self.layout(text, font_px, Some(room_px), Lines::Many);
        let lines = buffer.layout_runs().count().max(1) as f32;
        let mut sheet = Sheet::new(room_px as usize, (lines * line_height(font_px)).ceil() as usize);
        self.ink(&buffer, &mut sheet, 0.0, 0.0);
        sheet
    }

    fn layout(&mut self, text: &str, font_px: f32, room_px: Option<f32>, lines: Lines) -> Buffer {
        let mut buffer = Buffer::new(&mut self.fonts, Metrics::new(font_px, line_height(font_px)));
        let limit = |lines| Ellipsize::End(EllipsizeHeightLimit::Lines(lines));
        let (wrap, ellipsize, align) = match lines {
            Lines::One => (Wrap::None, limit(1), None),
            Lines::Many => (Wrap::WordOrGlyph, limit(6), Some(Align::Center)),
        };
        buffer.set_wrap(wrap);
        buffer.set_ellipsize(if room_px.is_some() { ellipsize } else { Ellipsize::None });
        buffer.set_size(room_px, None);
        buffer.set_text(text, &Attrs::new().family(Family::Name(self.family)), Shaping::Advanced, align);
        buffer.shape_until_scroll(&mut self.fonts, false);
        buffer
    }

    /// Puts the glyphs of a layout on the sheet, moved by `dx`, `dy`.
    fn ink(&mut self, buffer: &Buffer, sheet: &mut Sheet, dx: f32, dy: f32) {
        // Not kept: the overlays are, and glyph images of all scripts and sizes would grow without end.
        let mut swash = SwashCache::new();
        for run in buffer.layout_runs() {
            for glyph in run.glyphs {
                let place = glyph.physical((dx, dy + run.line_y), 1.0);
                let Some(image) = swash.get_image_uncached(&mut self.fonts, place.cache_key) else { continue };
                let (left, top) = (place.x + image.placement.left, place.y - image.placement.top);
                let width = image.placement.width.max(1) as usize;
                let at = |i: usize| (left + (i % width) as i32, top + (i / width) as i32);
                match image.content {
                    SwashContent::Mask => {
                        for (i, cover) in image.data.iter().enumerate().filter(|(_, cover)| **cover > 0) {
                            sheet.paint(at(i).0, at(i).1, WHITE, f32::from(*cover) / 255.0);
                        }
                    }
                    SwashContent::Color | SwashContent::SubpixelMask => {
                        for (i, rgba) in image.data.as_chunks::<4>().0.iter().enumerate() {
                            sheet.paint(at(i).0, at(i).1, Rgb(rgba[0], rgba[1], rgba[2]), f32::from(rgba[3]) / 255.0);
                        }
                    }
                }
            }
        }
    }
}

/// Upright regular faces, of Noto only those of [`NOTO_SCRIPTS`].
fn may_be_needed(face: &FaceInfo) -> bool {
    let named = |family: &str| match family.strip_prefix("Noto ") {
        None | Some("Sans") => true,
        Some(rest) => {
            let script = rest.strip_prefix("Sans ").or_else(|| rest.strip_prefix("Serif ").filter(|script| *script == "Tibetan"));
            NOTO_SCRIPTS
                .iter()
                .any(|known| script.unwrap_or(rest).strip_prefix(known).is_some_and(|end| end.is_empty() || *known == "CJK"))
        }
    };
    face.style == Style::Normal
        && face.weight.0 == 400
        && !face.monospaced
        && face.families.iter().any(|(family, _)| named(family))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Many,
}

/// Distance of the plate from the tile's edges, even.
pub(crate) fn plate_margin(tile: Rect) -> u32 {
    (tile.height / 40).clamp(4, 16) & !1
}

fn line_height(font_px: f32) -> f32 {
    (font_px * 1.3).round()
}

/// How far down a line must move for the middle of its capitals to lie at `y`. The line box cannot tell, because fonts of other scripts stretch it.
fn middle_of_capitals(buffer: &Buffer, y: f32, font_px: f32) -> f32 {
    let baseline = buffer.layout_runs().next().map_or(0.0, |run| run.line_y);
    (y + font_px * 0.36).round() - baseline
}

/// Left edge and width of the first line. Right-to-left text begins at the far end of its room, therefore the edge is asked for.
fn extent(buffer: &Buffer) -> (f32, f32) {
    let Some(run) = buffer.layout_runs().next() else { return (0.0, 0.0) };
    let left = run.glyphs.iter().map(|glyph| glyph.x).fold(f32::INFINITY, f32::min);
    let right = run.glyphs.iter().map(|glyph| glyph.x + glyph.w).fold(0.0, f32::max);
    if left.is_finite() { (left, (right - left).max(0.0)) } else { (0.0, 0.0) }
}

/// The text on one line: no control characters, no direction overrides, no runs of blanks, bounded.
fn clean(text: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let visible = text.chars().take(TEXT_CHARS).filter(|c| !hidden(*c)).map(|c| if c.is_control() { ' ' } else { c });
    visible.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first letters of the first and the last word.
fn initials(name: &str) -> String {
    let name = clean(name);
    let mut letters = name.split(' ').filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
    let upper = |c: Option<char>| c.into_iter().flat_map(char::to_uppercase).take(1).collect::<String>();
    let first = letters.next();
    upper(first) + &upper(letters.next_back())
}

fn rounded_box(cx: f32, cy: f32, half_w: f32, half_h: f32, radius: f32) -> impl Fn(f32, f32) -> f32 {
    let radius = radius.min(half_w).min(half_h);
    move |x, y| {
        let (dx, dy) = ((x - cx).abs() - half_w + radius, (y - cy).abs() - half_h + radius);
        dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - radius
    }
}

/// A microphone that is struck through, `size` pixels high, around (`cx`, `cy`).
fn draw_muted(sheet: &mut Sheet, cx: f32, cy: f32, size: f32) {
    let line = (size * 0.09).max(1.0);
    let capsule = rounded_box(cx, cy - size * 0.16, size * 0.15, size * 0.30, size * 0.15);
    sheet.shape(MUTED, 1.0, capsule);
    let cradle =
        move |x: f32, y: f32| if y < cy { f32::INFINITY } else { ((x - cx).hypot(y - cy) - size * 0.28).abs() - line / 2.0 };
    sheet.shape(MUTED, 1.0, cradle);
    sheet.shape(MUTED, 1.0, rounded_box(cx, cy + size * 0.37, line / 2.0, size * 0.09, 0.0));
    let slash = move |reach: f32| {
        move |x: f32, y: f32| {
            let (along, across) = ((x - cx + y - cy) * 0.5f32.sqrt(), (x - cx - y + cy) * 0.5f32.sqrt());
            (along.abs() - size * 0.56).max(across.abs() - reach)
        }
    };
    // A dark edge keeps the stroke apart from what it crosses.
    sheet.shape(PLATE, 1.0, slash(line * 1.3));
    sheet.shape(MUTED, 1.0, slash(line * 0.6));
}

#[cfg(test)]
#[path = "label_tests.rs"]
mod tests;
