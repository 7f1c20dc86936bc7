//! Reads the files that say how the programme looks, and checks them before anything starts.

use std::path::Path;

use recorder_core::layout::{Layout, LookText, NamedText, Strip};
use recorder_core::secret::Pii;

use super::Failure;
use crate::config::{self, Config};
use crate::service::layouts::{Layouts, read, there};

/// Layout, slates and strip of the configuration, parsed once, so that they are known to be valid.
pub(super) fn look(config: &Config) -> Result<LookText, Failure> {
    let strip = config.strip.show.then(|| Strip {
        title: config.strip.title.as_deref().map(Pii::new),
        clock: Some(config.strip.clock.as_str()).filter(|clock| !clock.is_empty()).map(Into::into),
        logo: config.strip.logo.as_ref().map(|path| path.to_string_lossy().into()),
    });
    let slates = config.slates.given().map(|(kind, path)| Ok((kind, read("slate", &path.to_string_lossy())?)));
    let text = LookText {
        layout: layout(config)?,
        slates: slates.collect::<Result<_, _>>().map_err(|error: crate::service::layouts::LookError| Failure::operator(error))?,
        strip,
        language: config.programme.language.into(),
        transition: config.layout.transition.map(config::Span::duration),
    };
    let (layout, dress) = text.check().map_err(Failure::operator)?;
    for path in layout.pictures() {
        there(&text.layout.name, path).map_err(Failure::operator)?;
    }
    for (kind, NamedText { name, .. }) in &text.slates {
        for path in dress.slates.get(*kind).into_iter().flat_map(|slate| slate.pictures()) {
            there(name, path).map_err(Failure::operator)?;
        }
    }
    for path in dress.strip.iter().filter_map(|strip| strip.logo.as_ref()) {
        there("strip.logo", path).map_err(Failure::operator)?;
    }
    Ok(text)
}

/// The layouts that can be named.
pub(super) fn layouts(config: &Config) -> Layouts {
    Layouts::new(config.layout.folder.clone())
}

/// A built-in layout, a layout of the operator's folder, or a layout file.
fn layout(config: &Config) -> Result<NamedText, Failure> {
    let (name, layouts) = (&config.layout.default, layouts(config));
    if let Some(text) = Layout::built_in_text(name) {
        return Ok(NamedText { name: name.to_owned(), text: text.to_owned() });
    }
    if let Some(path) = layouts.path(name) {
        return read("layout", &path.to_string_lossy()).map_err(Failure::operator);
    }
    if Path::new(name).extension().is_none() && !name.contains('/') {
        let known = layouts.names().join(", ");
        return Err(Failure::operator(format_args!("there is no layout \"{name}\"; give one of {known}, or a file.toml")));
    }
    read("layout", name).map_err(Failure::operator)
}
