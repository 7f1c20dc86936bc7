//! How the programme looks: layout, language, strip and slates.

use std::path::PathBuf;

use recorder_core::layout::bad_clock;
use recorder_core::slate::SlateKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// Who is drawn where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    /// A built-in layout (`auto`, `grid`, `speaker`, `screen`, `stage`, `interview`, `single`, `portrait`, `audio`), or the path of a TOML file.
    pub default: String,
    /// Folder with layout files. `NAME.toml` in it can be named `NAME`, here and where a layout is chosen while a Session runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/layouts")]
    pub folder: Option<PathBuf>,
    /// How long a change of the picture takes, 0s (a cut) to 2s. When absent, the layout says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"200ms")]
    pub transition: Option<Span>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { default: "auto".into(), folder: None, transition: None }
    }
}

/// A strip with logo, title and clock. It takes its height from the picture; people use the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Strip {
    /// Whether there is one. When absent: in what the service makes, and not in what `record` and `rehearse` make.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool", example = true)]
    pub show: Option<bool>,
    /// What stands in the middle. When absent, the name of the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"Weekly meeting")]
    pub title: Option<String>,
    /// The time at the right, as `strftime` writes it; empty for none.
    pub clock: String,
    /// Picture file at the left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/logo.png")]
    pub logo: Option<PathBuf>,
}

impl Default for Strip {
    fn default() -> Self {
        Self { show: None, title: None, clock: "%H:%M".into(), logo: None }
    }
}

impl Strip {
    /// A sentence when the format of the clock is none.
    pub(super) fn bad_clock(&self) -> Option<String> {
        if self.clock.is_empty() { None } else { bad_clock(&self.clock) }
    }
}

/// Files that take the place of the built-in slates, each the path of a TOML file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slates {
    /// On the way into the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"slates/before_start.toml")]
    pub before_start: Option<PathBuf>,
    /// Nobody but the recorder is in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"slates/nobody.toml")]
    pub nobody: Option<PathBuf>,
    /// Nobody in the room has agreed to be recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"slates/no_consent.toml")]
    pub no_consent: Option<PathBuf>,
    /// The recording or stream is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"slates/paused.toml")]
    pub paused: Option<PathBuf>,
    /// The connection to the conference is lost; over the places of those who were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"slates/lost.toml")]
    pub lost: Option<PathBuf>,
    /// It is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"slates/end.toml")]
    pub end: Option<PathBuf>,
}

impl Slates {
    /// Those that are given.
    pub fn given(&self) -> impl Iterator<Item = (SlateKind, &PathBuf)> {
        let all = [
            (SlateKind::BeforeStart, &self.before_start),
            (SlateKind::Nobody, &self.nobody),
            (SlateKind::NoConsent, &self.no_consent),
            (SlateKind::Paused, &self.paused),
            (SlateKind::Lost, &self.lost),
            (SlateKind::End, &self.end),
        ];
        all.into_iter().filter_map(|(kind, path)| Some((kind, path.as_ref()?)))
    }
}

/// The language of the words that Roomcast itself puts into the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
}

impl From<Language> for recorder_core::layout::Language {
    fn from(language: Language) -> Self {
        match language {
            Language::En => Self::En,
            Language::De => Self::De,
        }
    }
}
