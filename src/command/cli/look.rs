//! Reads the files that say how the programme looks, and checks them before anything starts.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use recorder_core::layout::{Layout, LookText, NamedText, Strip};
use recorder_core::secret::Pii;

use super::Failure;
use crate::config::{self, Config, RenditionChoice};
use crate::service::job::Rendition;

/// Layouts and slates are a few KiB; more than this is another file.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Layout, slates and strip of the configuration, parsed once, so that they are known to be valid.
pub(super) fn look(config: &Config) -> Result<LookText, Failure> {
    let strip = config.strip.show.then(|| Strip {
        title: config.strip.title.as_deref().map(Pii::new),
        clock: Some(config.strip.clock.as_str()).filter(|clock| !clock.is_empty()).map(Into::into),
        logo: config.strip.logo.as_ref().map(|path| path.to_string_lossy().into()),
    });
    let slates = config.slates.given().map(|(kind, path)| Ok((kind, read("slate", &path.to_string_lossy())?)));
    let text = LookText {
        layout: layout(&config.layout.default)?,
        slates: slates.collect::<Result<_, Failure>>()?,
        strip,
        language: config.programme.language.into(),
        transition: config.layout.transition.map(config::Span::duration),
    };
    let (layout, dress) = text.check().map_err(Failure::operator)?;
    for path in layout.pictures() {
        there(&text.layout.name, path)?;
    }
    for (kind, NamedText { name, .. }) in &text.slates {
        for path in dress.slates.get(*kind).into_iter().flat_map(|slate| slate.pictures()) {
            there(name, path)?;
        }
    }
    for path in dress.strip.iter().filter_map(|strip| strip.logo.as_ref()) {
        there("strip.logo", path)?;
    }
    Ok(text)
}

/// A Rendition for a worker. A layout of its own is read and checked.
pub(super) fn rendition(choice: RenditionChoice) -> Result<Rendition, Failure> {
    let RenditionChoice { name, size, fps, video_kbps, sound_kbps, layout: own } = choice;
    let layout = own.as_deref().map(layout).transpose()?;
    if let Some(text) = &layout {
        for path in Layout::parse(&text.name, &text.text).map_err(Failure::operator)?.pictures() {
            there(&text.name, path)?;
        }
    }
    Ok(Rendition { name, width_px: size.width_px(), height_px: size.height_px(), fps, video_kbps, sound_kbps, layout })
}

/// A built-in layout, or a layout file.
fn layout(name: &str) -> Result<NamedText, Failure> {
    match Layout::built_in_text(name) {
        Some(text) => Ok(NamedText { name: name.to_owned(), text: text.to_owned() }),
        None if Path::new(name).extension().is_none() && !name.contains('/') => {
            let known = Layout::built_in_names().collect::<Vec<_>>().join(", ");
            Err(Failure::operator(format_args!("there is no layout \"{name}\"; give one of {known}, or a file.toml")))
        }
        None => read("layout", name),
    }
}

fn read(kind: &str, name: &str) -> Result<NamedText, Failure> {
    let refuse = |why: &str| Failure::operator(format_args!("cannot read the {kind} {name}: {why}"));
    let file = std::fs::File::open(name).map_err(|e| refuse(&config::reason(&e)))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| refuse(&config::reason(&e)))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse("it is larger than 64 KiB"));
    }
    Ok(NamedText { name: name.to_owned(), text })
}

/// Refuses a picture that would be left out later, when nobody looks.
fn there(named_by: &str, path: &Arc<str>) -> Result<(), Failure> {
    let refuse = |why: &str| Failure::operator(format_args!("cannot read the picture {path} that {named_by} names: {why}"));
    match std::fs::metadata(&**path) {
        Ok(about) if about.is_file() => std::fs::File::open(&**path).map(drop).map_err(|e| refuse(&config::reason(&e))),
        Ok(_) => Err(refuse("it is not a file")),
        Err(e) => Err(refuse(&config::reason(&e))),
    }
}
