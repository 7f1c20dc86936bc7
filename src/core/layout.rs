//! Places people on a canvas.
//!
//! In: a layout file (`compositor-layouts/*.toml`), a [`Stage`], the size of the canvas. Out: a [`Scene`]. Pure arithmetic on whole pixels;
//! the same input gives the same Scene on every machine. It decides nothing about who is important, and draws nothing.
//!
//! Every tile lies inside the canvas, has even edges and sides of at least [`SMALLEST_TILE_PX`], and overlaps no other. On a canvas too
//! small for everybody the least important are left out.

mod file;
mod flow;
#[cfg(test)]
pub(crate) mod tests;

use crate::scene::{CanvasSize, Fit, Label, LabelStyle, Rect, Rgb, Scene, Tile};
use crate::secret::Pii;
use crate::stage::{Part, Seat, Stage};
use crate::time::SessionTime;

pub use file::LayoutError;

/// No layout shows more tiles than this.
pub const MOST_TILES: u32 = 25;
/// No tile has a shorter side than this.
pub const SMALLEST_TILE_PX: u32 = 2;

/// The layouts that are part of the program: name and text.
const BUILT_IN: [(&str, &str); 2] = [
    ("grid", include_str!("../../compositor-layouts/grid.toml")),
    ("speaker", include_str!("../../compositor-layouts/speaker.toml")),
];

/// A checked layout file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    background: Rgb,
    arrangements: Vec<Arrangement>,
}

/// Regions, and when they are used.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Arrangement {
    when: When,
    regions: Vec<Region>,
}

/// A condition on how many want to be seen; both ends included.
#[derive(Clone, PartialEq, Eq, Debug)]
struct When {
    tiles: std::ops::RangeInclusive<usize>,
    screens: std::ops::RangeInclusive<usize>,
}

/// Part of the canvas, and who stands there in which way.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Region {
    area: Area,
    takes: Takes,
    at_most: u32,
    order: Order,
    flow: Flow,
    shape: Shape,
    gap_px: u32,
    margin_px: u32,
    cameras: Fit,
    screens: Fit,
    labels: Labels,
    speaker: Speaker,
}

/// In hundredths of a percent of the canvas; whole numbers, so that adjoining regions meet exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Area {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

/// All of the canvas, in the unit of [`Area`].
const WHOLE: u32 = 10_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Takes {
    #[default]
    Anyone,
    Screens,
    Cameras,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Joined,
    Importance,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Flow {
    #[default]
    Grid,
    Row,
    Column,
}

/// Width to height of a tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// Whatever the region gives.
    Free,
    /// Exactly this, but for rounding to even pixels.
    Ratio(u32, u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Labels {
    #[default]
    Names,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Speaker {
    #[default]
    Border,
    Plain,
}

impl Layout {
    /// Reads and checks the text of a layout file. `name` is only used in error messages.
    ///
    /// # Errors
    /// Text that is not TOML, unknown or missing fields, and values that make no sense; each names the place and the field.
    pub fn parse(name: &str, text: &str) -> Result<Self, LayoutError> {
        file::parse(name, text)
    }

    /// The text of a layout that is part of the program, to be sent to a worker.
    pub fn built_in_text(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// A layout that is part of the program.
    ///
    /// # Errors
    /// [`LayoutError::Unknown`] lists the names that exist.
    pub fn built_in(name: &str) -> Result<Self, LayoutError> {
        match Self::built_in_text(name) {
            Some(text) => Self::parse(name, text),
            None => {
                let known = Self::built_in_names().collect::<Vec<_>>().join(", ");
                Err(LayoutError::Unknown { layout: name.to_owned(), known })
            }
        }
    }

    /// The names of all layouts that are part of the program.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Gives everybody on the `stage` a place, as far as there is room.
    pub fn arrange(&self, stage: &Stage, canvas: CanvasSize, from: SessionTime) -> Scene {
        let tiles = stage.seats.len();
        let screens = stage.seats.iter().filter(|seat| seat.part == Part::Screen).count();
        let fits =
            |arrangement: &&Arrangement| arrangement.when.tiles.contains(&tiles) && arrangement.when.screens.contains(&screens);
        let mut waiting: Vec<&Seat> = stage.seats.iter().collect();
        let mut placed = Vec::new();
        for region in self.arrangements.iter().find(fits).map(|arrangement| &arrangement.regions).into_iter().flatten() {
            region.place(&mut waiting, canvas, &mut placed);
        }
        Scene { tiles: placed, audible: stage.audible.clone(), ..Scene::empty(from, canvas, self.background) }
    }
}

impl Region {
    /// Takes whom it holds out of `waiting` (most important first), and adds their tiles to `placed`.
    fn place(&self, waiting: &mut Vec<&Seat>, canvas: CanvasSize, placed: &mut Vec<Tile>) {
        // Written for 720 lines; even, so that tiles stay even.
        let scaled = |px: u32| (px * canvas.height_px.min(CanvasSize::LONGEST_SIDE_PX) / 720) & !1;
        let area = self.area.on(canvas);
        let (gap, margin) = (scaled(self.gap_px), scaled(self.margin_px));
        let welcome = |seat: &Seat| match self.takes {
            Takes::Anyone => true,
            Takes::Screens => seat.part == Part::Screen,
            Takes::Cameras => seat.part == Part::Person,
        };
        let wanted = waiting.iter().filter(|seat| welcome(seat)).count().min(self.at_most as usize);
        let rects = flow::rects(flow::inside(area, margin), self.flow, self.shape, gap, wanted as u32);
        let mut chosen = Vec::with_capacity(rects.len());
        waiting.retain(|seat| {
            let takes = chosen.len() < rects.len() && welcome(seat);
            if takes {
                chosen.push(*seat);
            }
            !takes
        });
        if self.order == Order::Joined {
            chosen.sort_by_key(|seat| (seat.part, seat.arrival));
        }
        placed.extend(chosen.iter().zip(rects).map(|(seat, rect)| self.tile(seat, rect)));
    }

    fn tile(&self, seat: &Seat, rect: Rect) -> Tile {
        Tile {
            participant: seat.participant.clone(),
            video: seat.video.clone(),
            rect,
            fit: match seat.part {
                Part::Screen => self.screens,
                Part::Person => self.cameras,
            },
            label: match self.labels {
                Labels::Names => Some(Label { name: label(seat), muted: seat.muted, hand: false, style: LabelStyle::Plate }),
                Labels::None => None,
            },
            speaking: seat.speaking && self.speaker == Speaker::Border,
        }
    }
}

/// What a tile is called. A screen says whose it is, and that it is not its owner.
fn label(seat: &Seat) -> Pii {
    match seat.part {
        Part::Screen => Pii::new(format!("{} (screen)", seat.name.expose())),
        Part::Person => seat.name.clone(),
    }
}

impl Area {
    /// In pixels, each edge rounded to the nearest even one.
    fn on(self, canvas: CanvasSize) -> Rect {
        let edge = |side_px: u32, share: u32| {
            // A canvas that was not checked cannot overflow what follows.
            let pairs = (u64::from(side_px.min(CanvasSize::LONGEST_SIDE_PX) / 2) * u64::from(share) + u64::from(WHOLE / 2))
                / u64::from(WHOLE);
            2 * u32::try_from(pairs).unwrap_or(0)
        };
        let (x, y) = (edge(canvas.width_px, self.left), edge(canvas.height_px, self.top));
        let (right, bottom) = (edge(canvas.width_px, self.right), edge(canvas.height_px, self.bottom));
        Rect { x, y, width: right - x, height: bottom - y }
    }
}
