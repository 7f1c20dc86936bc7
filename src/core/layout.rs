//! Places people on a canvas.
//!
//! In: a layout file (`compositor-layouts/*.toml`), a [`Stage`], the size of the canvas and what is written beside the people. Out: a [`Scene`].
//! Pure arithmetic on whole pixels; the same input gives the same Scene on every machine. It decides nothing about who is important, and
//! draws nothing. What it remembers between two Scenes, so that nobody moves without need, is in [`Seating`].
//!
//! Every tile lies inside the canvas, has even edges and sides of at least [`SMALLEST_TILE_PX`], and overlaps no other unless the layout says
//! so. On a canvas too small for everybody the least important are left out.

mod arrange;
#[cfg(test)]
mod bad_files_tests;
mod check;
mod dress;
mod file;
mod flow;
#[cfg(test)]
mod golden_tests;
mod ornament;
mod seating;
#[cfg(test)]
mod seating_tests;
mod strip;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::conference::Role;
use crate::ids::ParticipantId;
use crate::scene::{CanvasSize, Fit, LabelStyle, Rgb, Scene};
use crate::secret::Pii;
use crate::stage::Stage;
use crate::time::SessionTime;

use check::Area;

pub(crate) use check::Checker;
pub use check::LayoutError;
pub use dress::{Dress, LookText, NamedText};
pub(crate) use ornament::{Decoration, OrnamentFile, checked as ornaments};
pub use ornament::{Language, bad_clock};
pub use seating::Seating;
pub use strip::Strip;

/// No layout shows more tiles than this, those of pinned people not counted.
pub const MOST_TILES: u32 = 25;
/// No tile has a shorter side than this.
pub const SMALLEST_TILE_PX: u32 = 2;

/// The layouts that are part of the program: name and text. Each uses only layouts that stand behind it.
const BUILT_IN: [(&str, &str); 9] = [
    ("auto", include_str!("../../compositor-layouts/auto.toml")),
    ("stage", include_str!("../../compositor-layouts/stage.toml")),
    ("screen", include_str!("../../compositor-layouts/screen.toml")),
    ("speaker", include_str!("../../compositor-layouts/speaker.toml")),
    ("grid", include_str!("../../compositor-layouts/grid.toml")),
    ("interview", include_str!("../../compositor-layouts/interview.toml")),
    ("single", include_str!("../../compositor-layouts/single.toml")),
    ("portrait", include_str!("../../compositor-layouts/portrait.toml")),
    ("audio", include_str!("../../compositor-layouts/audio.toml")),
];

/// A checked layout file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    background: Rgb,
    backdrop: Option<Arc<str>>,
    /// Left free at each edge, in hundredths of a percent of that side.
    safe_area: u32,
    /// Whether anybody's picture is shown at all.
    video: bool,
    /// How long somebody who was brought into view stays there, and how long an arrangement stays when people leave.
    hold: Duration,
    transition: Duration,
    strip: strip::StripStyle,
    decorations: Vec<Decoration>,
    pinned: Vec<Pinned>,
    arrangements: Vec<Arrangement>,
}

/// Regions, and when they are used.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Arrangement {
    when: When,
    then: Then,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Then {
    Regions(Vec<Region>),
    /// The arrangements of another layout.
    Use(Vec<Arrangement>),
}

/// A condition on how many want to be seen; both ends included.
#[derive(Clone, PartialEq, Eq, Debug)]
struct When {
    tiles: std::ops::RangeInclusive<usize>,
    people: std::ops::RangeInclusive<usize>,
    screens: std::ops::RangeInclusive<usize>,
    presenters: std::ops::RangeInclusive<usize>,
}

/// Part of the canvas, and who stands there in which way.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Region {
    area: Area,
    takes: Takes,
    at_most: u32,
    prefer: Vec<Prefer>,
    order: Order,
    flow: Flow,
    shape: Shape,
    gap_px: u32,
    margin_px: u32,
    cameras: Fit,
    screens: Fit,
    labels: Option<LabelStyle>,
    speaker: Speaker,
    /// Say how many more there are.
    count_others: bool,
}

/// A place that is kept for somebody while they are in the room.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pinned {
    who: Who,
    area: Area,
    /// Over the others, who otherwise use what is left of the canvas.
    over: bool,
    labels: Option<LabelStyle>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Who {
    Name(Pii),
    Id(ParticipantId),
    Role(Role),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Takes {
    #[default]
    Anyone,
    Screens,
    Cameras,
    Presenters,
}

/// Who comes first where not everybody has a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Prefer {
    Screens,
    Presenters,
    Moderators,
    Speaker,
    Hands,
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
enum Speaker {
    #[default]
    Border,
    Plain,
}

/// What a Scene is made for, beside the people.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The size of the programme.
    pub canvas: CanvasSize,
    /// Strip, language, transition.
    pub dress: &'a Dress,
    /// What the room calls itself.
    pub title: Option<&'a Pii>,
}

impl Layout {
    /// Reads and checks the text of a layout file. `name` is a name or a path: it stands in error messages, and paths of pictures begin in its
    /// folder.
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

    /// The picture files that it names.
    pub fn pictures(&self) -> impl Iterator<Item = &Arc<str>> {
        self.backdrop.iter().chain(self.decorations.iter().filter_map(Decoration::picture))
    }

    /// Gives everybody on the `stage` a place, as far as there is room; with no memory of earlier Scenes, and nothing written beside them.
    pub fn arrange(&self, stage: &Stage, canvas: CanvasSize, from: SessionTime) -> Scene {
        let setting = Setting { canvas, dress: &Dress::default(), title: None };
        self.arrange_calmly(stage, &setting, &mut Seating::default(), from)
    }
}
