//! Reads the files that say how the programme looks, and checks them before anything starts.

use std::path::Path;

use recorder_core::layout::{Layout, LookText, NamedText, Strip};
use recorder_core::secret::Pii;

use super::Failure;
use crate::config::{self, Config, Encoder, RenditionChoice};
use crate::graph::{EncoderWish, Hardware};
use crate::service::job::Rendition;
use crate::service::layouts::{Layouts, read, there};

/// Layout, slates and strip of the configuration, parsed once, so that they are known to be valid.
/// `strip`: whether there is one when the configuration does not say.
pub(super) fn look(config: &Config, strip: bool) -> Result<LookText, Failure> {
    let strip = config.strip.show.unwrap_or(strip).then(|| Strip {
        title: config.strip.title.as_deref().map(Pii::new),
        clock: Some(config.strip.clock.as_str()).filter(|clock| !clock.is_empty()).map(Into::into),
        logo: config.strip.logo.as_ref().map(|path| path.to_string_lossy().into()),
    });
    let slates = config.slates.given().map(|(kind, path)| Ok((kind, read("slate", &path.to_string_lossy())?)));
    let text = LookText {
        layout: layout(&config.layout.default, config)?,
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

/// A Rendition for a worker. A layout of its own is read and checked.
pub(super) fn rendition(choice: RenditionChoice, config: &Config) -> Result<Rendition, Failure> {
    let RenditionChoice { name, size, fps, video_kbps, sound_kbps, layout: own } = choice;
    let layout = own.as_deref().map(|own| layout(own, config)).transpose()?;
    Ok(Rendition { name, width_px: size.width_px(), height_px: size.height_px(), fps, video_kbps, sound_kbps, layout })
}

/// Who encodes the pictures.
pub(super) fn encoder(configured: Encoder) -> EncoderWish {
    match configured {
        Encoder::Software => EncoderWish::Software,
        Encoder::Auto => EncoderWish::Auto,
        Encoder::Nvenc => EncoderWish::Hardware(Hardware::Nvenc),
        Encoder::Qsv => EncoderWish::Hardware(Hardware::Qsv),
        Encoder::Va => EncoderWish::Hardware(Hardware::Va),
    }
}

/// The layouts that can be named.
pub(super) fn layouts(config: &Config) -> Layouts {
    Layouts::new(config.layout.folder.clone())
}

/// A built-in layout, a layout of the operator's folder, or a layout file.
fn layout(name: &str, config: &Config) -> Result<NamedText, Failure> {
    let layouts = layouts(config);
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
