//! Ornaments of layout and slate files: words, titles, clocks, pictures and bars at fixed places. TOML in, [`Ornament`]s out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::scene::{Align, CanvasSize, Content, Ornament, Plate, Rect, Rgb};
use crate::secret::Pii;

use super::check::{Area, AreaFile, Checker, LayoutError, scaled};

/// The language of the words that Roomcast itself puts into the picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrnamentFile {
    area: AreaFile,
    #[serde(default)]
    align: Align,
    text: Option<String>,
    words: Option<Words>,
    #[serde(default)]
    title: bool,
    clock: Option<String>,
    image: Option<String>,
    text_px: Option<u32>,
    colour: Option<String>,
    plate: Option<String>,
    plate_opacity: Option<u32>,
    lines: Option<u32>,
}

/// The same in each language.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    en: String,
    de: String,
}

impl Words {
    fn in_language(&self, language: Language) -> &str {
        match language {
            Language::En => &self.en,
            Language::De => &self.de,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Shows {
    Nothing,
    Words(Words),
    Title,
    Clock(Arc<str>),
    Image(Arc<str>),
}

/// A checked ornament of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Decoration {
    area: Area,
    align: Align,
    shows: Shows,
    text_px: u32,
    colour: Rgb,
    plate: Option<Plate>,
    lines: u32,
}

const SMALLEST_TEXT_PX: u32 = 8;
const LARGEST_TEXT_PX: u32 = 200;
const DEFAULT_TEXT_PX: u32 = 32;
const MOST_LINES: u32 = 20;
/// More would not be read, and would have to be shaped each time.
const MOST_CHARACTERS: usize = 1000;
pub(crate) const WHITE: Rgb = Rgb(255, 255, 255);
/// More than these are a mistake.
const MOST_ORNAMENTS: usize = 50;

/// All ornaments of a file.
pub(crate) fn checked(checker: &Checker, files: &[OrnamentFile]) -> Result<Vec<Decoration>, LayoutError> {
    if files.len() > MOST_ORNAMENTS {
        return checker.refuse("top level", "ornament", format!("must not be there more than {MOST_ORNAMENTS} times"));
    }
    files.iter().enumerate().map(|(index, file)| one(checker, &format!("ornament {}", index + 1), file)).collect()
}

fn one(checker: &Checker, place: &str, file: &OrnamentFile) -> Result<Decoration, LayoutError> {
    let contents = [file.text.is_some(), file.words.is_some(), file.title, file.clock.is_some(), file.image.is_some()];
    if contents.iter().filter(|there| **there).count() > 1 {
        return checker.refuse(
            place,
            "text, words, title, clock, image",
            "must not be there together: an ornament shows one of them",
        );
    }
    let shows = if let Some(text) = &file.text {
        Shows::Words(Words { en: text.clone(), de: text.clone() })
    } else if let Some(words) = &file.words {
        Shows::Words(words.clone())
    } else if file.title {
        Shows::Title
    } else if let Some(format) = &file.clock {
        if let Some(rule) = bad_clock(format) {
            return checker.refuse(place, "clock", rule);
        }
        Shows::Clock(format.as_str().into())
    } else if let Some(path) = &file.image {
        Shows::Image(checker.path(place, "image", path)?)
    } else if file.plate.is_some() {
        Shows::Nothing
    } else {
        return checker.refuse(place, "text", "is missing: an ornament has text, words, title, clock, image or plate");
    };
    if let Shows::Words(words) = &shows {
        let field = if file.text.is_some() { "text" } else { "words" };
        if [&words.en, &words.de].iter().any(|text| text.is_empty() || text.chars().count() > MOST_CHARACTERS) {
            return checker.refuse(place, field, format!("must have 1 to {MOST_CHARACTERS} characters"));
        }
    }
    let opacity = checker.number(place, "plate_opacity", file.plate_opacity.unwrap_or(100), 0..=100)?;
    let plate = match &file.plate {
        None => None,
        Some(text) => Some(Plate {
            colour: checker.colour(place, "plate", Some(text), WHITE)?,
            opacity_percent: u8::try_from(opacity).unwrap_or(100),
        }),
    };
    Ok(Decoration {
        area: checker.area(place, &file.area)?,
        align: file.align,
        shows,
        text_px: checker.number(place, "text_px", file.text_px.unwrap_or(DEFAULT_TEXT_PX), SMALLEST_TEXT_PX..=LARGEST_TEXT_PX)?,
        colour: checker.colour(place, "colour", file.colour.as_deref(), WHITE)?,
        plate,
        lines: checker.number(place, "lines", file.lines.unwrap_or(1), 1..=MOST_LINES)?,
    })
}

/// A sentence when a text is no format of a clock. Only what each implementation of `strftime` knows is accepted.
pub fn bad_clock(format: &str) -> Option<String> {
    const KNOWN: &str = "aAbBcCdDeFHIjklmMpPrRSTuVwxXyYzZ%";
    const LONGEST: usize = 64;
    if format.is_empty() || format.chars().count() > LONGEST {
        return Some(format!("must have 1 to {LONGEST} characters"));
    }
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character.is_control() {
            return Some("must be one line".to_owned());
        }
        if character != '%' {
            continue;
        }
        let mut letter = rest.next();
        if matches!(letter, Some('-' | '_' | '0')) {
            letter = rest.next();
        }
        match letter {
            Some(letter) if KNOWN.contains(letter) => {}
            Some(letter) => {
                return Some(format!("must be a time as strftime writes it, such as \"%H:%M\"; %{letter} is not known"));
            }
            None => return Some("must be a time as strftime writes it, such as \"%H:%M\"; it ends with %".to_owned()),
        }
    }
    None
}

impl Decoration {
    /// As it is drawn in `frame`, a part of the canvas; `None` when there is nothing to draw.
    pub(crate) fn on(&self, frame: Rect, canvas: CanvasSize, language: Language, title: Option<&Pii>) -> Option<Ornament> {
        let content = match &self.shows {
            Shows::Nothing => Content::Plain,
            Shows::Words(words) => Content::Text(Pii::new(words.in_language(language))),
            Shows::Title => Content::Text(title?.clone()),
            Shows::Clock(format) => Content::Clock { format: format.clone() },
            Shows::Image(path) => Content::Image { path: path.clone() },
        };
        let rect = self.area.on(frame);
        (rect.width > 0 && rect.height > 0).then_some(Ornament {
            rect,
            align: self.align,
            content,
            text_px: text_px(self.text_px, canvas),
            colour: self.colour,
            plate: self.plate,
            lines: self.lines,
        })
    }

    /// The picture file that it shows.
    pub(crate) fn picture(&self) -> Option<&Arc<str>> {
        match &self.shows {
            Shows::Image(path) => Some(path),
            _ => None,
        }
    }
}

/// The size of letters on this canvas; never too small to be read at all.
pub(crate) fn text_px(px: u32, canvas: CanvasSize) -> u32 {
    scaled(px, canvas).max(SMALLEST_TEXT_PX)
}
