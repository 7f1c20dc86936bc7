//! Setting text: fonts, shaping, the ellipsis, and glyphs onto a [`Sheet`].
//!
//! In: any text, a size, and the space for it. Out: lines of glyphs, and their pixels. Shaping, bidirectional order and font fallback are cosmic-text's, with the
//! fonts of the system. Runs on whichever thread draws. It keeps nothing but fonts, and logs no text.

use cosmic_text::fontdb::{Database, FaceInfo, Family as DbFamily, Query, Style};
use cosmic_text::{Attrs, Buffer, Family, FontSystem, Metrics, PlatformFallback, Shaping, SwashCache, SwashContent, Wrap};
use recorder_core::scene::{Align, Rgb};
use unicode_segmentation::UnicodeSegmentation;

use super::overlay::Sheet;

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
/// Its characters are all of one width.
const EMOJI: &str = "Noto Color Emoji";
/// Characters of a text that are looked at; what follows could not be read on a canvas anyway.
const TEXT_CHARS: usize = 240;

/// The space for a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Room {
    /// One line, as long as it is.
    Endless,
    /// One line of at most so many pixels.
    Line(u32),
    /// Wrapped at so many pixels, at most so many lines.
    Lines { width_px: u32, lines: u32, align: Align },
}

/// Sets text with the fonts of the system.
pub(super) struct Typesetter {
    fonts: FontSystem,
    family: &'static str,
}

impl Typesetter {
    /// With these fonts.
    ///
    /// # Errors
    /// No font with Latin letters is among them.
    pub(super) fn with_fonts(mut database: Database) -> Result<Self, FontError> {
        let other: Vec<_> = database.faces().filter(|face| !may_be_needed(face)).map(|face| face.id).collect();
        other.into_iter().for_each(|id| database.remove_face(id));
        let known = |name: &&str| database.query(&Query { families: &[DbFamily::Name(name)], ..Query::default() }).is_some();
        let family = FAMILIES.into_iter().find(known).unwrap_or("sans-serif");
        if database.is_empty() {
            return Err(FontError::Missing);
        }
        let fonts = FontSystem::new_with_locale_and_db_and_fallback("en".to_owned(), database, PlatformFallback);
        let mut setter = Self { fonts, family };
        if setter.can_write("Aa") { Ok(setter) } else { Err(FontError::Missing) }
    }

    /// Whether the fonts have a glyph for every character of `text`.
    pub(super) fn can_write(&mut self, text: &str) -> bool {
        let set = self.set_whole(text, 16.0, Room::Endless);
        let mut glyphs = set.layout_runs().flat_map(|run| run.glyphs).peekable();
        glyphs.peek().is_some() && glyphs.all(|glyph| glyph.glyph_id != 0)
    }

    /// Sets `text` (cleaned before) so that it fits its room: as much of it as possible in whole graphemes, and an ellipsis if that is not all.
    pub(super) fn set(&mut self, text: &str, font_px: f32, room: Room) -> Buffer {
        let whole = self.set_whole(text, font_px, room);
        if fits(&whole, room) {
            return whole;
        }
        let ends: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).collect();
        let cut = |end: usize| format!("{}…", text[..end].trim_end());
        // The longest beginning that fits lies between these two.
        let (mut fitting, mut too_long) = (0, ends.len());
        while too_long - fitting > 1 {
            let middle = usize::midpoint(fitting, too_long);
            if fits(&self.set_whole(&cut(ends[middle]), font_px, room), room) {
                fitting = middle;
            } else {
                too_long = middle;
            }
        }
        self.set_whole(&cut(ends.get(fitting).copied().unwrap_or(0)), font_px, room)
    }

    fn set_whole(&mut self, text: &str, font_px: f32, room: Room) -> Buffer {
        let mut buffer = Buffer::new(&mut self.fonts, Metrics::new(font_px, line_height(font_px)));
        let (wrap, width_px, align) = match room {
            // Broken lines are moved into place as a whole; each alone must begin at the left, whatever its script.
            Room::Endless | Room::Line(_) => (Wrap::None, None, None),
            Room::Lines { width_px, align, .. } => (Wrap::WordOrGlyph, Some(width_px as f32), Some(alignment(align))),
        };
        buffer.set_wrap(wrap);
        buffer.set_size(width_px, None);
        buffer.set_text(text, &Attrs::new().family(Family::Name(self.family)), Shaping::Advanced, align);
        buffer.shape_until_scroll(&mut self.fonts, false);
        buffer
    }

    /// Puts the glyphs on the sheet, moved by `dx`, `dy`. Glyphs that have colours of their own keep them.
    pub(super) fn ink(&mut self, set: &Buffer, sheet: &mut Sheet, (dx, dy): (f32, f32), colour: Rgb) {
        // Not kept: the overlays are, and glyph images of all scripts and sizes would grow without end.
        let mut swash = SwashCache::new();
        for run in set.layout_runs() {
            for glyph in run.glyphs {
                let place = glyph.physical((dx, dy + run.line_y), 1.0);
                let Some(image) = swash.get_image_uncached(&mut self.fonts, place.cache_key) else { continue };
                let (left, top) = (place.x + image.placement.left, place.y - image.placement.top);
                let width = image.placement.width.max(1) as usize;
                let at = |i: usize| (left + (i % width) as i32, top + (i / width) as i32);
                match image.content {
                    SwashContent::Mask => {
                        for (i, cover) in image.data.iter().enumerate().filter(|(_, cover)| **cover > 0) {
                            sheet.paint(at(i).0, at(i).1, colour, f32::from(*cover) / 255.0);
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

fn fits(set: &Buffer, room: Room) -> bool {
    match room {
        Room::Endless => true,
        Room::Line(width_px) => extent(set).1 <= width_px as f32,
        Room::Lines { lines, .. } => set.layout_runs().count() <= lines.max(1) as usize,
    }
}

fn alignment(align: Align) -> cosmic_text::Align {
    match align {
        Align::Left => cosmic_text::Align::Left,
        Align::Center => cosmic_text::Align::Center,
        Align::Right => cosmic_text::Align::Right,
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
        && (!face.monospaced || face.families.iter().any(|(family, _)| family == EMOJI))
        && face.families.iter().any(|(family, _)| named(family))
}

/// Distance from one baseline to the next.
pub(super) fn line_height(font_px: f32) -> f32 {
    (font_px * 1.3).round()
}

/// How far down a text must move for the middle of its first line's capitals to lie at `y`. The line box cannot tell, because fonts of other scripts stretch it.
pub(super) fn middle_of_capitals(set: &Buffer, y: f32, font_px: f32) -> f32 {
    let baseline = set.layout_runs().next().map_or(0.0, |run| run.line_y);
    (y + font_px * 0.36).round() - baseline
}

/// Left edge and width of all lines together. Right-to-left text begins at the far end of its room, therefore the edge is asked for.
pub(super) fn extent(set: &Buffer) -> (f32, f32) {
    let glyphs = || set.layout_runs().flat_map(|run| run.glyphs);
    let left = glyphs().map(|glyph| glyph.x).fold(f32::INFINITY, f32::min);
    let right = glyphs().map(|glyph| glyph.x + glyph.w).fold(0.0, f32::max);
    if left.is_finite() { (left, (right - left).max(0.0)) } else { (0.0, 0.0) }
}

/// The text on one line: no control characters, no direction overrides, no runs of blanks, bounded.
pub(super) fn clean(text: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let visible = text.chars().take(TEXT_CHARS).filter(|c| !hidden(*c)).map(|c| if c.is_control() { ' ' } else { c });
    visible.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The same for a text whose line feeds count.
pub(super) fn clean_lines(text: &str) -> String {
    let bounded: String = text.chars().take(TEXT_CHARS).collect();
    bounded.lines().map(clean).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The first letters of the first and the last word.
pub(super) fn initials(name: &str) -> String {
    let name = clean(name);
    let mut letters = name.split(' ').filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
    let upper = |c: Option<char>| c.into_iter().flat_map(char::to_uppercase).take(1).collect::<String>();
    let first = letters.next();
    upper(first) + &upper(letters.next_back())
}
