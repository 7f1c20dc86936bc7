//! Who is drawn where, and who is heard: the only thing that the mixer is told about the meeting.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{ParticipantId, TrackId};
use crate::secret::Pii;
use crate::time::SessionTime;

/// A size in pixels; both sides even, because chroma is halved in 4:2:0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "UncheckedCanvasSize")]
pub struct CanvasSize {
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
}

/// Why a canvas cannot have a size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CanvasSizeError {
    /// A side is too short or too long.
    #[error(
        "a canvas of {width_px}x{height_px} pixels is not possible: each side must have {} to {} pixels",
        CanvasSize::SHORTEST_SIDE_PX,
        CanvasSize::LONGEST_SIDE_PX
    )]
    OutOfRange {
        /// Width in pixels.
        width_px: u32,
        /// Height in pixels.
        height_px: u32,
    },
    /// A side is odd, so its chroma cannot be halved.
    #[error("a canvas of {width_px}x{height_px} pixels is not possible: each side must be even")]
    Odd {
        /// Width in pixels.
        width_px: u32,
        /// Height in pixels.
        height_px: u32,
    },
}

/// What a file or message says before it is checked.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedCanvasSize {
    width_px: u32,
    height_px: u32,
}

impl TryFrom<UncheckedCanvasSize> for CanvasSize {
    type Error = CanvasSizeError;
    fn try_from(size: UncheckedCanvasSize) -> Result<Self, CanvasSizeError> {
        Self::new(size.width_px, size.height_px)
    }
}

impl CanvasSize {
    /// Shorter sides are refused.
    pub const SHORTEST_SIDE_PX: u32 = 16;
    /// Longer sides are refused; also the limit of the picture type and of H.264 level 6.
    pub const LONGEST_SIDE_PX: u32 = 8192;

    /// The one place where the size of a canvas is checked.
    ///
    /// # Errors
    /// A side outside 16..=8192 pixels, or an odd one.
    pub fn new(width_px: u32, height_px: u32) -> Result<Self, CanvasSizeError> {
        let possible = Self::SHORTEST_SIDE_PX..=Self::LONGEST_SIDE_PX;
        if !possible.contains(&width_px) || !possible.contains(&height_px) {
            return Err(CanvasSizeError::OutOfRange { width_px, height_px });
        }
        if !width_px.is_multiple_of(2) || !height_px.is_multiple_of(2) {
            return Err(CanvasSizeError::Odd { width_px, height_px });
        }
        Ok(Self { width_px, height_px })
    }
}

/// A rectangle in canvas pixels, inside the canvas; position and sides even.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// How a picture fills a tile of another shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Fill the tile, cut what hangs over (cameras).
    Cover,
    /// Show everything, with bars (screens).
    Contain,
}

/// An 8-bit sRGB colour.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// Where a tile's name stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelStyle {
    /// A small plate in the lower left corner of the tile.
    #[default]
    Plate,
    /// A bar over the lower third of the tile, as television puts under a guest.
    LowerThird,
}

/// What a tile shows while there is no picture for it, and the text drawn over it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Label {
    /// Name of the person.
    pub name: Pii,
    /// Microphone muted or absent.
    pub muted: bool,
    /// The person has raised a hand.
    pub hand: bool,
    /// Where and how large the name stands.
    pub style: LabelStyle,
}

/// One tile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    /// Whose tile it is.
    pub participant: ParticipantId,
    /// The Track to show, or `None` for a placeholder (camera off, connection lost).
    pub video: Option<TrackId>,
    /// Where.
    pub rect: Rect,
    /// How the picture fills the rectangle.
    pub fit: Fit,
    /// Name label, drawn over the picture.
    pub label: Option<Label>,
    /// Draw the speaker border.
    pub speaking: bool,
}

/// Where a content stands in its rectangle from left to right; from top to bottom it is always in the middle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// At the left edge.
    Left,
    /// In the middle.
    #[default]
    Center,
    /// At the right edge.
    Right,
}

/// What an [`Ornament`] shows.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// Nothing but its plate: a bar of one colour.
    Plain,
    /// These words. A line feed begins a new line; longer lines are wrapped.
    Text(Pii),
    /// The wall-clock time of the instant that the programme shows, written as this `strftime` format says.
    Clock {
        /// Such as `%H:%M`; checked when the layout was read.
        format: Arc<str>,
    },
    /// A picture file, whole, as large as the rectangle allows.
    Image {
        /// Path of the file. One that cannot be read is left out.
        path: Arc<str>,
    },
}

/// The ground behind an ornament: fills its rectangle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plate {
    /// Its colour.
    pub colour: Rgb,
    /// How much it covers of what is below: 0 nothing, 100 everything.
    pub opacity_percent: u8,
}

/// Something that is drawn beside people: a title, a clock, a logo, the words of a slate, how many more there are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ornament {
    /// Where; inside the canvas, position and sides even.
    pub rect: Rect,
    /// Where the content stands in it.
    pub align: Align,
    /// What is drawn.
    pub content: Content,
    /// Size of the letters, in pixels of this canvas; words that do not fit end with an ellipsis.
    pub text_px: u32,
    /// Colour of the letters.
    pub colour: Rgb,
    /// Drawn below the content.
    pub plate: Option<Plate>,
    /// Lines of text at most, at least 1.
    pub lines: u32,
}

/// Everything that the programme shows and plays from one instant on.
#[derive(Clone, PartialEq, Debug)]
pub struct Scene {
    /// When it became true; applied when the programme reaches this instant.
    pub from: SessionTime,
    /// Size of the canvas that the rectangles refer to.
    pub canvas: CanvasSize,
    /// Colour where nothing is drawn.
    pub background: Rgb,
    /// A picture file that fills the canvas behind everything, cut where it hangs over. One that cannot be read is left out.
    pub backdrop: Option<Arc<str>>,
    /// Tiles in drawing order: a later one covers an earlier one where the layout lets them overlap.
    pub tiles: Vec<Tile>,
    /// Drawn over the tiles, in this order.
    pub ornaments: Vec<Ornament>,
    /// How long the change from the Scene before takes; zero is a cut.
    pub transition: Duration,
    /// The Tracks that are heard.
    pub audible: Vec<TrackId>,
}

/// One Scene for each Rendition, in the order of the Renditions; all of the same time.
pub type Scenes = Arc<[Arc<Scene>]>;

impl Scene {
    /// Only a background, and nobody is heard.
    pub fn empty(from: SessionTime, canvas: CanvasSize, background: Rgb) -> Self {
        Self {
            from,
            canvas,
            background,
            backdrop: None,
            tiles: Vec::new(),
            ornaments: Vec::new(),
            transition: Duration::ZERO,
            audible: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked_with_an_exact_sentence() {
        let refused = |w, h| CanvasSize::new(w, h).unwrap_err().to_string();
        let range = "is not possible: each side must have 16 to 8192 pixels";
        assert_eq!(refused(0, 0), format!("a canvas of 0x0 pixels {range}"));
        assert_eq!(refused(1280, 8), format!("a canvas of 1280x8 pixels {range}"));
        assert_eq!(refused(8194, 720), format!("a canvas of 8194x720 pixels {range}"));
        assert_eq!(refused(1281, 720), "a canvas of 1281x720 pixels is not possible: each side must be even");
        assert_eq!(refused(1280, 719), "a canvas of 1280x719 pixels is not possible: each side must be even");
        for (w, h) in [(16, 16), (8192, 8192), (1280, 720), (4096, 4096)] {
            assert_eq!(CanvasSize::new(w, h), Ok(CanvasSize { width_px: w, height_px: h }));
        }
    }

    #[test]
    fn a_size_in_a_file_is_checked_too() {
        let error = toml::from_str::<CanvasSize>("width_px = 3\nheight_px = 4").unwrap_err();
        assert!(error.message().contains("a canvas of 3x4 pixels is not possible"), "{error}");
    }
}
