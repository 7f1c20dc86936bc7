//! Layout files: TOML text in, a checked [`Layout`] out. `compositor-layouts/grid.toml` explains the format to those who write one.

use serde::Deserialize;

use crate::scene::{Fit, Rgb};

use super::{Area, Arrangement, Flow, Labels, Layout, MOST_TILES, Order, Region, Shape, Speaker, Takes, WHOLE, When};

/// Why a text is not a layout.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LayoutError {
    /// Not TOML, an unknown or missing field, or a value of the wrong type.
    #[error("layout \"{layout}\", line {line}: {problem}")]
    Text {
        /// Name of the layout.
        layout: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong there, and which field it is about.
        problem: String,
    },
    /// A value that makes no sense.
    #[error("layout \"{layout}\", {place}: {field} {rule}")]
    Field {
        /// Name of the layout.
        layout: String,
        /// Which arrangement and region, both counted from 1.
        place: String,
        /// The field.
        field: &'static str,
        /// What it must be.
        rule: String,
    },
    /// No layout of this name is part of the program.
    #[error("there is no layout \"{layout}\"; there are: {known}")]
    Unknown {
        /// The name that was asked for.
        layout: String,
        /// The names that exist.
        known: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutFile {
    background: Option<String>,
    arrangement: Vec<ArrangementFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrangementFile {
    when: Option<WhenFile>,
    region: Vec<RegionFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenFile {
    tiles_at_least: Option<usize>,
    tiles_at_most: Option<usize>,
    screens_at_least: Option<usize>,
    screens_at_most: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionFile {
    area: AreaFile,
    at_most: u32,
    #[serde(default)]
    takes: Takes,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    flow: Flow,
    tile_shape: Option<String>,
    #[serde(default)]
    gap_px: u32,
    #[serde(default)]
    margin_px: u32,
    #[serde(default = "cover")]
    cameras: Fit,
    #[serde(default = "contain")]
    screens: Fit,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    speaker: Speaker,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AreaFile {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

fn cover() -> Fit {
    Fit::Cover
}

fn contain() -> Fit {
    Fit::Contain
}

/// Wider gaps and margins are a mistake.
const WIDEST_GAP_PX: u32 = 200;
/// Both sides of a `tile_shape`.
const LONGEST_SHAPE: u32 = 100;
const DEFAULT_BACKGROUND: Rgb = Rgb(0, 0, 0);

pub(super) fn parse(name: &str, text: &str) -> Result<Layout, LayoutError> {
    let file: LayoutFile = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = 1 + before.matches('\n').count();
        LayoutError::Text { layout: name.to_owned(), line, problem: error.message().replace('\n', "; ") }
    })?;
    Checker { layout: name }.layout(file)
}

/// Turns fields into values, and knows the name for the error messages.
struct Checker<'a> {
    layout: &'a str,
}

impl Checker<'_> {
    fn refuse<T>(&self, place: &str, field: &'static str, rule: impl Into<String>) -> Result<T, LayoutError> {
        Err(LayoutError::Field { layout: self.layout.to_owned(), place: place.to_owned(), field, rule: rule.into() })
    }

    fn layout(&self, file: LayoutFile) -> Result<Layout, LayoutError> {
        let background = match file.background {
            None => DEFAULT_BACKGROUND,
            Some(text) => match colour(&text) {
                Some(colour) => colour,
                None => return self.refuse("top level", "background", "must be a colour such as \"#14161c\""),
            },
        };
        let count = file.arrangement.len();
        if count == 0 {
            return self.refuse("top level", "arrangement", "must be there at least once");
        }
        let mut arrangements = Vec::with_capacity(count);
        for (index, arrangement) in file.arrangement.into_iter().enumerate() {
            let place = format!("arrangement {}", index + 1);
            match (&arrangement.when, index + 1 == count) {
                (Some(_), true) => {
                    return self.refuse(&place, "when", "must not be in the last arrangement, which is for everything else");
                }
                (None, false) => return self.refuse(&place, "when", "is missing: only the last arrangement is without"),
                _ => arrangements.push(self.arrangement(&place, arrangement)?),
            }
        }
        Ok(Layout { background, arrangements })
    }

    fn arrangement(&self, place: &str, file: ArrangementFile) -> Result<Arrangement, LayoutError> {
        let when = file.when.unwrap_or(WhenFile {
            tiles_at_least: None,
            tiles_at_most: None,
            screens_at_least: None,
            screens_at_most: None,
        });
        let range = |least: Option<usize>, most: Option<usize>| least.unwrap_or(0)..=most.unwrap_or(usize::MAX);
        let when = When {
            tiles: range(when.tiles_at_least, when.tiles_at_most),
            screens: range(when.screens_at_least, when.screens_at_most),
        };
        if when.tiles.is_empty() || when.screens.is_empty() {
            return self.refuse(place, "when", "can never hold: the least is more than the most");
        }
        if file.region.is_empty() {
            return self.refuse(place, "region", "must be there at least once");
        }
        let mut regions: Vec<Region> = Vec::with_capacity(file.region.len());
        for (index, region) in file.region.into_iter().enumerate() {
            let region = self.region(&format!("{place}, region {}", index + 1), region)?;
            if let Some(other) = regions.iter().position(|other| other.area.overlaps(region.area)) {
                let place = format!("{place}, region {}", index + 1);
                return self.refuse(&place, "area", format!("overlaps that of region {}", other + 1));
            }
            regions.push(region);
        }
        let most: u32 = regions.iter().map(|region| region.at_most).sum();
        if most > MOST_TILES {
            return self.refuse(
                place,
                "at_most",
                format!("must not be more than {MOST_TILES} in all regions together, and is {most}"),
            );
        }
        Ok(Arrangement { when, regions })
    }

    fn region(&self, place: &str, file: RegionFile) -> Result<Region, LayoutError> {
        if !(1..=MOST_TILES).contains(&file.at_most) {
            return self.refuse(place, "at_most", format!("must be from 1 to {MOST_TILES}, and is {}", file.at_most));
        }
        for (field, px) in [("gap_px", file.gap_px), ("margin_px", file.margin_px)] {
            if px > WIDEST_GAP_PX {
                return self.refuse(place, field, format!("must be from 0 to {WIDEST_GAP_PX}, and is {px}"));
            }
        }
        let shape = match file.tile_shape.as_deref() {
            None => Shape::Ratio(16, 9),
            Some("free") => Shape::Free,
            Some(text) => match ratio(text) {
                Some(shape) => shape,
                None => {
                    return self.refuse(place, "tile_shape", "must be \"free\" or two numbers from 1 to 100 such as \"16:9\"");
                }
            },
        };
        Ok(Region {
            area: self.area(place, &file.area)?,
            takes: file.takes,
            at_most: file.at_most,
            order: file.order,
            flow: file.flow,
            shape,
            gap_px: file.gap_px,
            margin_px: file.margin_px,
            cameras: file.cameras,
            screens: file.screens,
            labels: file.labels,
            speaker: file.speaker,
        })
    }

    fn area(&self, place: &str, file: &AreaFile) -> Result<Area, LayoutError> {
        for (field, percent) in
            [("area.left", file.left), ("area.top", file.top), ("area.width", file.width), ("area.height", file.height)]
        {
            if !(0.0..=100.0).contains(&percent) {
                return self.refuse(place, field, format!("must be from 0 to 100 percent, and is {percent}"));
            }
        }
        // Checked above: not negative and not above 10000.
        let share = |percent: f64| (percent * f64::from(WHOLE) / 100.0).round() as u32;
        let (left, top, width, height) = (share(file.left), share(file.top), share(file.width), share(file.height));
        for (field, length) in [("area.width", width), ("area.height", height)] {
            if length == 0 {
                return self.refuse(place, field, "must be more than 0");
            }
        }
        for (field, from, length) in [("area.width", left, width), ("area.height", top, height)] {
            if from + length > WHOLE {
                return self.refuse(place, field, "reaches over the edge of the canvas");
            }
        }
        Ok(Area { left, top, right: left + width, bottom: top + height })
    }
}

impl Area {
    fn overlaps(self, other: Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }
}

/// `#rrggbb`
fn colour(text: &str) -> Option<Rgb> {
    let digits =
        text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let [_, r, g, b] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some(Rgb(r, g, b))
}

/// `16:9`
fn ratio(text: &str) -> Option<Shape> {
    let (wide, high) = text.split_once(':')?;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=LONGEST_SHAPE).contains(side));
    Some(Shape::Ratio(side(wide)?, side(high)?))
}
