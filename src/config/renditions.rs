//! Encodings of the programme beside the one that `[programme]` describes.
//!
//! In: sections `[renditions.NAME]`. Out: [`RenditionChoice`]s, in which everything is said that a section leaves to others. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, PictureSize};

/// The name of the Rendition that `[programme]` describes.
pub const PROGRAMME: &str = "programme";

/// Renditions by name, for `--to NAME=TARGET`.
pub type Renditions = BTreeMap<String, Rendition>;

/// Another encoding of the programme. It has the pictures a second of `[programme]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rendition {
    /// Width and height of the picture in pixels: even numbers, 128x128 to 3840x2160. When absent, as in `[programme]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"720x1280")]
    pub size: Option<PictureSize>,
    /// Average and highest rate of the H.264 picture in kbit/s, 100 to 50000. When absent it follows from the size, as in `[programme]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16", example = 3000)]
    pub video_kbps: Option<u32>,
    /// Rate of the AAC sound in kbit/s, 32 to 320. When absent, as in `[programme]`; Renditions of equal rates share one encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16", example = 128)]
    pub sound_kbps: Option<u32>,
    /// A built-in layout or the path of a TOML file. When absent, as in `[layout]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"portrait")]
    pub layout: Option<String>,
}

/// A Rendition as it is made, and where its figures stand.
#[derive(Clone, Debug, PartialEq)]
pub struct RenditionChoice {
    /// What it is called.
    pub name: String,
    /// Width and height.
    pub size: PictureSize,
    /// Pictures a second.
    pub fps: u32,
    /// H.264 average and maximum rate, kbit/s.
    pub video_kbps: u32,
    /// AAC rate, kbit/s.
    pub sound_kbps: u32,
    /// A layout of its own.
    pub layout: Option<String>,
}

/// A Rendition that is not configured.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no rendition \"{name}\"; {known}")]
pub struct UnknownRendition {
    name: String,
    /// A clause about those that there are.
    known: String,
}

impl RenditionChoice {
    /// The section of the configuration that describes it.
    pub fn section(&self) -> String {
        if self.name == PROGRAMME { PROGRAMME.into() } else { format!("renditions.{}", self.name) }
    }
}

/// The usual rate of a picture: by its lines, which are the shorter side of one that stands upright.
pub(super) fn usual_kbps(size: PictureSize) -> u32 {
    match size.shorter_side_px() {
        0..=480 => 1200,
        481..=720 => 3000,
        _ => 4500,
    }
}

impl Config {
    /// What the Rendition of this name is; [`PROGRAMME`] is always there.
    ///
    /// # Errors
    /// None is called so; the sentence names those that there are.
    pub fn rendition(&self, name: &str) -> Result<RenditionChoice, UnknownRendition> {
        let whole = &self.programme;
        let own = Rendition { size: Some(whole.size), video_kbps: Some(whole.video_kbps()), ..Rendition::default() };
        let found = if name == PROGRAMME { Some(&own) } else { self.renditions.get(name) };
        let Some(Rendition { size, video_kbps, sound_kbps, layout }) = found else {
            let names = self.renditions.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if names.is_empty() { "none is configured".into() } else { format!("configured are {names}") };
            return Err(UnknownRendition { name: name.into(), known });
        };
        let size = size.unwrap_or(whole.size);
        Ok(RenditionChoice {
            name: name.into(),
            size,
            fps: whole.fps,
            video_kbps: video_kbps.unwrap_or_else(|| usual_kbps(size)),
            sound_kbps: sound_kbps.unwrap_or(whole.sound_kbps),
            layout: layout.clone(),
        })
    }
}

/// A sentence about the first Rendition with a name or a value that cannot be.
pub(super) fn bad_rendition(renditions: &Renditions) -> Option<String> {
    let number = |field, value: Option<u32>, low: u32, high: u32| {
        let value = value.filter(|value| !(low..=high).contains(value))?;
        Some(format!("{field}: {value} is out of range: it must be {low} to {high}"))
    };
    renditions.iter().find_map(|(name, rendition)| {
        bad_name(name)
            .or_else(|| number("video_kbps", rendition.video_kbps, 100, 50_000))
            .or_else(|| number("sound_kbps", rendition.sound_kbps, 32, 320))
    })
}

fn bad_name(name: &str) -> Option<String> {
    if name == PROGRAMME {
        return Some("\"programme\" is the rendition of [programme]; choose another name".into());
    }
    (!is_name(name)).then(|| "a rendition is called by up to 40 small letters, digits and -".into())
}

/// Whether a Rendition can be called so.
pub fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_section_leaves_out_is_as_in_the_programme() {
        let text = "[programme]\nsize = \"1920x1080\"\nfps = 25\nsound_kbps = 96\n\
                    [renditions.upright]\nsize = \"720x1280\"\nlayout = \"portrait\"\n\
                    [renditions.small]\nsize = \"854x480\"\nvideo_kbps = 900\nsound_kbps = 64\n[renditions.same]\n";
        let config = super::super::parse("", text, []).unwrap();
        let of = |name: &str| {
            let made = config.rendition(name).unwrap();
            (made.size.to_string(), made.fps, made.video_kbps, made.sound_kbps, made.layout)
        };
        assert_eq!(of("programme"), ("1920x1080".into(), 25, 4500, 96, None));
        assert_eq!(of("upright"), ("720x1280".into(), 25, 3000, 96, Some("portrait".into())));
        assert_eq!(of("small"), ("854x480".into(), 25, 900, 64, None));
        assert_eq!(of("same"), ("1920x1080".into(), 25, 4500, 96, None));
        assert_eq!(
            config.rendition("smal").unwrap_err().to_string(),
            "there is no rendition \"smal\"; configured are same, small, upright"
        );
        assert_eq!(Config::default().rendition("a").unwrap_err().to_string(), "there is no rendition \"a\"; none is configured");
        assert_eq!(config.rendition("small").unwrap().section(), "renditions.small");
    }
}
