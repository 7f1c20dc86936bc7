//! Slates: what is shown instead of people, or over them: nobody is here, the connection is lost.
//!
//! In: a slate file (`slates/*.toml`, explained in `docs/layouts.md`). Out: a background and [`Ornament`]s for a [`Scene`]. Pure. It does not
//! decide when a slate is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::layout::{Checker, Decoration, Language, LayoutError, OrnamentFile, ornaments};
use crate::scene::{CanvasSize, Ornament, Rect, Rgb, Scene};
use crate::secret::Pii;

/// What a slate is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlateKind {
    /// On the way into the room.
    BeforeStart,
    /// Nobody but us is in the room.
    Nobody,
    /// Of those who are in the room nobody has agreed to be recorded.
    NoConsent,
    /// The Take is paused.
    Paused,
    /// The connection to the Conference is lost; over the places of those who were there.
    Lost,
    /// It is over.
    End,
}

impl SlateKind {
    /// Each of them.
    pub const ALL: [Self; 6] = [Self::BeforeStart, Self::Nobody, Self::NoConsent, Self::Paused, Self::Lost, Self::End];

    /// As it is called in the configuration, and as its file is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeStart => "before_start",
            Self::Nobody => "nobody",
            Self::NoConsent => "no_consent",
            Self::Paused => "paused",
            Self::Lost => "lost",
            Self::End => "end",
        }
    }

    /// The file that is part of the program.
    pub const fn built_in_text(self) -> &'static str {
        match self {
            Self::BeforeStart => include_str!("../../slates/before_start.toml"),
            Self::Nobody => include_str!("../../slates/nobody.toml"),
            Self::NoConsent => include_str!("../../slates/no_consent.toml"),
            Self::Paused => include_str!("../../slates/paused.toml"),
            Self::Lost => include_str!("../../slates/lost.toml"),
            Self::End => include_str!("../../slates/end.toml"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlateFile {
    background: Option<String>,
    backdrop: Option<String>,
    #[serde(default)]
    ornament: Vec<OrnamentFile>,
}

/// A checked slate file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slate {
    background: Rgb,
    backdrop: Option<Arc<str>>,
    decorations: Vec<Decoration>,
}

const DEFAULT_BACKGROUND: Rgb = Rgb(0, 0, 0);

impl Slate {
    /// Reads and checks the text of a slate file. `name` is a name or a path: it stands in error messages, and paths of pictures begin in
    /// its folder.
    ///
    /// # Errors
    /// Text that is not TOML, unknown or missing fields, and values that make no sense; each names the place and the field.
    pub fn parse(name: &str, text: &str) -> Result<Self, LayoutError> {
        let checker = Checker::new("slate", name);
        let file: SlateFile = checker.read(text)?;
        let backdrop = file.backdrop.map(|path| checker.path("top level", "backdrop", &path)).transpose()?;
        Ok(Self {
            background: checker.colour("top level", "background", file.background.as_deref(), DEFAULT_BACKGROUND)?,
            backdrop,
            decorations: ornaments(&checker, &file.ornament)?,
        })
    }

    /// The picture files that it names.
    pub fn pictures(&self) -> impl Iterator<Item = &Arc<str>> {
        self.backdrop.iter().chain(self.decorations.iter().filter_map(Decoration::picture))
    }

    /// Puts itself over `scene`. Where that shows people, they and their background stay.
    pub fn over(&self, scene: &mut Scene, language: Language, title: Option<&Pii>) {
        if scene.tiles.is_empty() {
            scene.background = self.background;
            scene.backdrop = self.backdrop.clone();
            scene.ornaments.clear();
        }
        scene.ornaments.extend(self.ornaments(scene.canvas, language, title));
    }

    fn ornaments(&self, canvas: CanvasSize, language: Language, title: Option<&Pii>) -> impl Iterator<Item = Ornament> {
        let whole = Rect { x: 0, y: 0, width: canvas.width_px, height: canvas.height_px };
        self.decorations.iter().filter_map(move |decoration| decoration.on(whole, canvas, language, title))
    }
}

/// The slate for each purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slates(BTreeMap<SlateKind, Slate>);

impl Default for Slates {
    /// Those that are part of the program.
    fn default() -> Self {
        // A test reads each of them, so that none is ever left out here.
        let read = |kind: SlateKind| Some((kind, Slate::parse(kind.name(), kind.built_in_text()).ok()?));
        Self(SlateKind::ALL.into_iter().filter_map(read).collect())
    }
}

impl Slates {
    /// Takes another one for this purpose.
    pub fn put(&mut self, kind: SlateKind, slate: Slate) {
        self.0.insert(kind, slate);
    }

    /// The one for this purpose.
    pub fn get(&self, kind: SlateKind) -> Option<&Slate> {
        self.0.get(&kind)
    }
}

#[cfg(test)]
#[path = "slate/tests.rs"]
mod tests;
