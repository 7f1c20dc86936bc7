//! What layout files and slate files have in common: how a text becomes values, and what is said when it does not.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::scene::{CanvasSize, Rect, Rgb};

/// Why a text is not a layout, or not a slate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LayoutError {
    /// Not TOML, an unknown or missing field, or a value of the wrong type.
    #[error("{file}, line {line}: {problem}")]
    Text {
        /// What was read, with its name: `layout "grid"`.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong there, and which field it is about.
        problem: String,
    },
    /// A value that makes no sense.
    #[error("{file}, {place}: {field} {rule}")]
    Field {
        /// What was read, with its name.
        file: String,
        /// Which part of it; arrangements, regions, pinned places and ornaments are counted from 1.
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
pub(super) struct AreaFile {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// In hundredths of a percent of what it is part of; whole numbers, so that adjoining areas meet exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Area {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) right: u32,
    pub(super) bottom: u32,
}

/// Everything, in the unit of [`Area`].
const WHOLE: u32 = 10_000;

/// Turns fields into values, and knows the name for the error messages.
pub(crate) struct Checker {
    /// `layout "grid"`
    file: String,
    /// Where relative paths begin; ends with `/`, or is empty.
    folder: String,
}

impl Checker {
    /// `kind` is "layout" or "slate"; `name` is a name or a path. Paths in a file begin in its own folder.
    pub(crate) fn new(kind: &str, name: &str) -> Self {
        let folder = name.rfind('/').and_then(|end| name.get(..=end)).unwrap_or_default();
        Self { file: format!("{kind} \"{name}\""), folder: folder.to_owned() }
    }

    /// The fields of a text.
    pub(crate) fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, LayoutError> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let line = 1 + before.matches('\n').count();
            LayoutError::Text { file: self.file.clone(), line, problem: error.message().replace('\n', "; ") }
        })
    }

    pub(crate) fn refuse<T>(&self, place: &str, field: &'static str, rule: impl Into<String>) -> Result<T, LayoutError> {
        Err(LayoutError::Field { file: self.file.clone(), place: place.to_owned(), field, rule: rule.into() })
    }

    /// A number that must not be too large or too small.
    pub(crate) fn number(
        &self,
        place: &str,
        field: &'static str,
        value: u32,
        allowed: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, LayoutError> {
        if allowed.contains(&value) {
            return Ok(value);
        }
        self.refuse(place, field, format!("must be from {} to {}, and is {value}", allowed.start(), allowed.end()))
    }

    /// `#rrggbb`, or else `default`.
    pub(crate) fn colour(&self, place: &str, field: &'static str, text: Option<&str>, default: Rgb) -> Result<Rgb, LayoutError> {
        match text.map(colour) {
            None => Ok(default),
            Some(Some(colour)) => Ok(colour),
            Some(None) => self.refuse(place, field, "must be a colour such as \"#14161c\""),
        }
    }

    /// The path of a picture as it is opened.
    pub(crate) fn path(&self, place: &str, field: &'static str, path: &str) -> Result<std::sync::Arc<str>, LayoutError> {
        if path.is_empty() {
            return self.refuse(place, field, "must be the path of a picture");
        }
        Ok(if path.starts_with('/') { path.into() } else { format!("{}{path}", self.folder).into() })
    }

    pub(super) fn area(&self, place: &str, file: &AreaFile) -> Result<Area, LayoutError> {
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
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    /// In pixels of `whole`, each edge rounded to the nearest even one.
    pub(super) fn on(self, whole: Rect) -> Rect {
        let edge = |side_px: u32, share: u32| {
            let pairs = (u64::from(side_px / 2) * u64::from(share) + u64::from(WHOLE / 2)) / u64::from(WHOLE);
            2 * u32::try_from(pairs).unwrap_or(0)
        };
        let (x, y) = (edge(whole.width, self.left), edge(whole.height, self.top));
        let (right, bottom) = (edge(whole.width, self.right), edge(whole.height, self.bottom));
        Rect { x: whole.x + x, y: whole.y + y, width: right - x, height: bottom - y }
    }
}

/// Pixels of files are those of a canvas whose shorter side has 720; others are scaled. Even, so that tiles stay even.
pub(crate) fn scaled(px: u32, canvas: CanvasSize) -> u32 {
    let shorter = canvas.height_px.min(canvas.width_px).min(CanvasSize::LONGEST_SIDE_PX);
    (px * shorter / 720) & !1
}

/// `#rrggbb`
fn colour(text: &str) -> Option<Rgb> {
    let digits =
        text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let [_, r, g, b] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some(Rgb(r, g, b))
}
