//! How the programme looks beside the places of people, and all of it as text, for the way to a worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::slate::{Slate, SlateKind, Slates};

use super::{Language, Layout, LayoutError, Strip};

/// How the programme looks, beside who stands where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dress {
    /// Title, clock and logo beside the people, if they are wanted.
    pub strip: Option<Strip>,
    /// The language of our own words.
    pub language: Language,
    /// What is shown when there is nobody to show.
    pub slates: Slates,
    /// How long a change takes, where the layout is not to say it.
    pub transition: Option<Duration>,
}

/// The text of a layout or slate file, with its name or path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamedText {
    /// Stands in error messages; paths of pictures begin in its folder.
    pub name: String,
    /// TOML.
    pub text: String,
}

/// How the programme looks, before it is checked: what a worker is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LookText {
    /// Who stands where.
    pub layout: NamedText,
    /// Slates that take the place of those that are part of the program.
    pub slates: Vec<(SlateKind, NamedText)>,
    /// Title, clock and logo, if they are wanted.
    pub strip: Option<Strip>,
    /// The language of our own words.
    pub language: Language,
    /// How long a change takes, where the layout is not to say it.
    pub transition: Option<Duration>,
}

impl LookText {
    /// A layout, and all else by default.
    pub fn plain(layout: NamedText) -> Self {
        Self { layout, slates: Vec::new(), strip: None, language: Language::default(), transition: None }
    }

    /// Reads and checks all of it.
    ///
    /// # Errors
    /// Those of [`Layout::parse`] and [`Slate::parse`].
    pub fn check(&self) -> Result<(Layout, Dress), LayoutError> {
        let layout = Layout::parse(&self.layout.name, &self.layout.text)?;
        let mut slates = Slates::default();
        for (kind, NamedText { name, text }) in &self.slates {
            slates.put(*kind, Slate::parse(name, text)?);
        }
        let dress = Dress { strip: self.strip.clone(), language: self.language, slates, transition: self.transition };
        Ok((layout, dress))
    }
}
