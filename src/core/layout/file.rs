//! Layout files: TOML text in, a checked [`Layout`] out. `docs/layouts.md` explains the format to those who write one.

use std::time::Duration;

use serde::Deserialize;

use crate::conference::Role;
use crate::ids::ParticipantId;
use crate::scene::{Align, Fit, LabelStyle, Rgb};
use crate::secret::Pii;

use super::check::{AreaFile, Checker, LayoutError};
use super::ornament::{OrnamentFile, WHITE, checked};
use super::strip::{Side, StripStyle};
use super::{
    Arrangement, BUILT_IN, Flow, Layout, MOST_TILES, Order, Pinned, Prefer, Region, Shape, Speaker, Takes, Then, When, Who,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutFile {
    background: Option<String>,
    backdrop: Option<String>,
    safe_area: Option<f64>,
    video: Option<bool>,
    hold_ms: Option<u32>,
    transition_ms: Option<u32>,
    strip: Option<StripFile>,
    #[serde(default)]
    pinned: Vec<PinnedFile>,
    #[serde(default)]
    ornament: Vec<OrnamentFile>,
    arrangement: Vec<ArrangementFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StripFile {
    #[serde(default)]
    side: Side,
    height_px: Option<u32>,
    text_px: Option<u32>,
    title: Option<Align>,
    colour: Option<String>,
    background: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinnedFile {
    name: Option<String>,
    id: Option<String>,
    role: Option<Role>,
    area: AreaFile,
    #[serde(default)]
    over: bool,
    #[serde(default)]
    labels: Labels,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrangementFile {
    when: Option<WhenFile>,
    #[serde(rename = "use")]
    uses: Option<String>,
    #[serde(default)]
    overlap: bool,
    #[serde(default)]
    region: Vec<RegionFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WhenFile {
    tiles_at_least: Option<usize>,
    tiles_at_most: Option<usize>,
    people_at_least: Option<usize>,
    people_at_most: Option<usize>,
    screens_at_least: Option<usize>,
    screens_at_most: Option<usize>,
    presenters_at_least: Option<usize>,
    presenters_at_most: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionFile {
    area: AreaFile,
    at_most: u32,
    #[serde(default)]
    takes: Takes,
    prefer: Option<Vec<Prefer>>,
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
    #[serde(default = "yes")]
    count_others: bool,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Labels {
    #[default]
    Names,
    LowerThird,
    None,
}

impl Labels {
    fn style(self) -> Option<LabelStyle> {
        match self {
            Self::Names => Some(LabelStyle::Plate),
            Self::LowerThird => Some(LabelStyle::LowerThird),
            Self::None => None,
        }
    }
}

fn cover() -> Fit {
    Fit::Cover
}

fn contain() -> Fit {
    Fit::Contain
}

fn yes() -> bool {
    true
}

/// Wider gaps and margins are a mistake.
const WIDEST_GAP_PX: u32 = 200;
/// Both sides of a `tile_shape`.
const LONGEST_SHAPE: u32 = 100;
/// A wider free edge is a mistake.
const WIDEST_SAFE_AREA: f64 = 20.0;
const LONGEST_HOLD_MS: u32 = 60_000;
const LONGEST_TRANSITION_MS: u32 = 2000;
/// Nobody needs more, and each takes away from the others.
const MOST_PINNED: usize = 5;
const DEFAULT_BACKGROUND: Rgb = Rgb(0, 0, 0);
const DEFAULT_STRIP_BACKGROUND: Rgb = Rgb(12, 14, 18);
const DEFAULT_HOLD_MS: u32 = 3000;

const AT_TOP: &str = "top level";

pub(super) fn parse(name: &str, text: &str) -> Result<Layout, LayoutError> {
    let checker = Checker::new("layout", name);
    let file = checker.read(text)?;
    Reader { checker, name }.layout(file)
}

struct Reader<'a> {
    checker: Checker,
    name: &'a str,
}

impl Reader<'_> {
    fn layout(&self, file: LayoutFile) -> Result<Layout, LayoutError> {
        let checker = &self.checker;
        let background = checker.colour(AT_TOP, "background", file.background.as_deref(), DEFAULT_BACKGROUND)?;
        let backdrop = file.backdrop.map(|path| checker.path(AT_TOP, "backdrop", &path)).transpose()?;
        let safe_area = file.safe_area.unwrap_or(0.0);
        if !(0.0..=WIDEST_SAFE_AREA).contains(&safe_area) {
            let rule = format!("must be from 0 to {WIDEST_SAFE_AREA} percent, and is {safe_area}");
            return checker.refuse(AT_TOP, "safe_area", rule);
        }
        let ms = |field, value: Option<u32>, default: u32, longest| {
            let ms = checker.number(AT_TOP, field, value.unwrap_or(default), 0..=longest)?;
            Ok::<_, LayoutError>(Duration::from_millis(u64::from(ms)))
        };
        if file.pinned.len() > MOST_PINNED {
            return checker.refuse(AT_TOP, "pinned", format!("must not be there more than {MOST_PINNED} times"));
        }
        let mut pinned: Vec<Pinned> = Vec::with_capacity(file.pinned.len());
        for (index, one) in file.pinned.into_iter().enumerate() {
            let place = format!("pinned {}", index + 1);
            let one = self.pinned(&place, one)?;
            if let Some(other) = pinned.iter().position(|other| other.area.overlaps(one.area)) {
                return checker.refuse(&place, "area", format!("overlaps that of pinned {}", other + 1));
            }
            pinned.push(one);
        }
        Ok(Layout {
            background,
            backdrop,
            // Checked above: not negative and small.
            safe_area: (safe_area * 100.0).round() as u32,
            video: file.video.unwrap_or(true),
            hold: ms("hold_ms", file.hold_ms, DEFAULT_HOLD_MS, LONGEST_HOLD_MS)?,
            transition: ms("transition_ms", file.transition_ms, 0, LONGEST_TRANSITION_MS)?,
            strip: self.strip(file.strip.as_ref())?,
            decorations: checked(checker, &file.ornament)?,
            arrangements: self.arrangements(file.arrangement)?,
            pinned,
        })
    }

    fn strip(&self, file: Option<&StripFile>) -> Result<StripStyle, LayoutError> {
        let number =
            |field, value: Option<u32>, default, allowed| self.checker.number("strip", field, value.unwrap_or(default), allowed);
        let colour =
            |field, text: Option<&String>, default| self.checker.colour("strip", field, text.map(String::as_str), default);
        Ok(StripStyle {
            side: file.map(|file| file.side).unwrap_or_default(),
            height_px: number("height_px", file.and_then(|file| file.height_px), 40, 16..=200)?,
            text_px: number("text_px", file.and_then(|file| file.text_px), 22, 8..=150)?,
            title: file.and_then(|file| file.title).unwrap_or_default(),
            colour: colour("colour", file.and_then(|file| file.colour.as_ref()), WHITE)?,
            background: colour("background", file.and_then(|file| file.background.as_ref()), DEFAULT_STRIP_BACKGROUND)?,
        })
    }

    fn pinned(&self, place: &str, file: PinnedFile) -> Result<Pinned, LayoutError> {
        let who = match (file.name, file.id, file.role) {
            (Some(name), None, None) => Who::Name(Pii::new(name)),
            (None, Some(id), None) => Who::Id(ParticipantId::new(id)),
            (None, None, Some(role)) => Who::Role(role),
            _ => return self.checker.refuse(place, "name, id, role", "must be there once: exactly one of them says who it is"),
        };
        Ok(Pinned { who, area: self.checker.area(place, &file.area)?, over: file.over, labels: file.labels.style() })
    }

    fn arrangements(&self, files: Vec<ArrangementFile>) -> Result<Vec<Arrangement>, LayoutError> {
        let count = files.len();
        if count == 0 {
            return self.checker.refuse(AT_TOP, "arrangement", "must be there at least once");
        }
        let mut arrangements = Vec::with_capacity(count);
        for (index, arrangement) in files.into_iter().enumerate() {
            let place = format!("arrangement {}", index + 1);
            match (&arrangement.when, index + 1 == count) {
                (Some(_), true) => {
                    let rule = "must not be in the last arrangement, which is for everything else";
                    return self.checker.refuse(&place, "when", rule);
                }
                (None, false) => {
                    return self.checker.refuse(&place, "when", "is missing: only the last arrangement is without");
                }
                _ => arrangements.push(self.arrangement(&place, arrangement)?),
            }
        }
        Ok(arrangements)
    }

    fn arrangement(&self, place: &str, file: ArrangementFile) -> Result<Arrangement, LayoutError> {
        let when = file.when.unwrap_or_default();
        let range = |least: Option<usize>, most: Option<usize>| least.unwrap_or(0)..=most.unwrap_or(usize::MAX);
        let when = When {
            tiles: range(when.tiles_at_least, when.tiles_at_most),
            people: range(when.people_at_least, when.people_at_most),
            screens: range(when.screens_at_least, when.screens_at_most),
            presenters: range(when.presenters_at_least, when.presenters_at_most),
        };
        if [&when.tiles, &when.people, &when.screens, &when.presenters].iter().any(|range| range.is_empty()) {
            return self.checker.refuse(place, "when", "can never hold: the least is more than the most");
        }
        let then = match file.uses {
            Some(_) if !file.region.is_empty() => {
                return self.checker.refuse(place, "use", "must not be there together with regions");
            }
            Some(name) => self.used(place, &name)?,
            None => Then::Regions(self.regions(place, file.region, file.overlap)?),
        };
        Ok(Arrangement { when, then })
    }

    /// The arrangements of a layout that is part of the program. Those use only others that stand behind them in their list, so that none uses
    /// itself.
    fn used(&self, place: &str, name: &str) -> Result<Then, LayoutError> {
        let behind = BUILT_IN.iter().position(|(own, _)| *own == self.name).map_or(0, |own| own + 1);
        let mut known = BUILT_IN.iter().skip(behind);
        match known.clone().find(|(other, _)| *other == name) {
            Some((_, text)) => Ok(Then::Use(parse(name, text)?.arrangements)),
            None => {
                let known = known.by_ref().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                self.checker.refuse(place, "use", format!("must be one of {known}, and is \"{name}\""))
            }
        }
    }

    fn regions(&self, place: &str, files: Vec<RegionFile>, overlap: bool) -> Result<Vec<Region>, LayoutError> {
        if files.is_empty() {
            return self.checker.refuse(place, "region", "must be there at least once");
        }
        let mut regions: Vec<Region> = Vec::with_capacity(files.len());
        for (index, region) in files.into_iter().enumerate() {
            let place = format!("{place}, region {}", index + 1);
            let region = self.region(&place, region)?;
            if let Some(other) = regions.iter().position(|other| other.area.overlaps(region.area)).filter(|_| !overlap) {
                let rule = format!("overlaps that of region {}, and the arrangement does not say overlap = true", other + 1);
                return self.checker.refuse(&place, "area", rule);
            }
            regions.push(region);
        }
        let most: u32 = regions.iter().map(|region| region.at_most).sum();
        if most > MOST_TILES {
            return self.checker.refuse(
                place,
                "at_most",
                format!("must not be more than {MOST_TILES} in all regions together, and is {most}"),
            );
        }
        Ok(regions)
    }

    fn region(&self, place: &str, file: RegionFile) -> Result<Region, LayoutError> {
        let checker = &self.checker;
        let shape = match file.tile_shape.as_deref() {
            None => Shape::Ratio(16, 9),
            Some("free") => Shape::Free,
            Some(text) => match ratio(text) {
                Some(shape) => shape,
                None => {
                    return checker.refuse(place, "tile_shape", "must be \"free\" or two numbers from 1 to 100 such as \"16:9\"");
                }
            },
        };
        Ok(Region {
            at_most: checker.number(place, "at_most", file.at_most, 1..=MOST_TILES)?,
            gap_px: checker.number(place, "gap_px", file.gap_px, 0..=WIDEST_GAP_PX)?,
            margin_px: checker.number(place, "margin_px", file.margin_px, 0..=WIDEST_GAP_PX)?,
            area: checker.area(place, &file.area)?,
            takes: file.takes,
            prefer: file.prefer.unwrap_or_else(|| vec![Prefer::Screens, Prefer::Speaker, Prefer::Hands]),
            order: file.order,
            flow: file.flow,
            shape,
            cameras: file.cameras,
            screens: file.screens,
            labels: file.labels.style(),
            speaker: file.speaker,
            count_others: file.count_others,
        })
    }
}

/// `16:9`
fn ratio(text: &str) -> Option<Shape> {
    let (wide, high) = text.split_once(':')?;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=LONGEST_SHAPE).contains(side));
    Some(Shape::Ratio(side(wide)?, side(high)?))
}
