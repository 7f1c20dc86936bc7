//! Where programmes are delivered: an S3 storage, live destinations, and what a destination takes at most.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recorder_core::address::{AddressBlock, AddressPolicy};
use recorder_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::secret_file;
use super::{ConfigError, ConfigSecret, RenditionChoice};

/// The S3 storage that `--to s3://bucket/key.mp4` means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Address of the storage, `https://` or `http://`; Amazon's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"https://s3.example.org")]
    pub endpoint: Option<String>,
    /// Region of the buckets. Most storages that are not Amazon's take any.
    pub region: String,
    /// How a bucket is named: `path` (`https://host/bucket/key`, understood by storages other than Amazon's) or `host`
    /// (`https://bucket.host/key`).
    pub addressing: Addressing,
    /// Checksums beside Content-MD5: `when_required` by the protocol only, because old storages refuse newer ones, or `when_supported`.
    pub checksums: Checksums,
    /// File with the certificates (PEM) that are trusted instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/storage-ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// Access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"AKIAEXAMPLE")]
    pub access_key: Option<String>,
    /// Secret of the access key. Better kept in a file of its own (`secret_key_file`) or in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"…")]
    pub secret_key: Option<ConfigSecret>,
    /// File that holds the secret of the access key; white space around it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/run/secrets/s3")]
    pub secret_key_file: Option<PathBuf>,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".into(),
            addressing: Addressing::default(),
            checksums: Checksums::default(),
            ca_file: None,
            access_key: None,
            secret_key: None,
            secret_key_file: None,
        }
    }
}

/// How a bucket is named in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// In the path.
    #[default]
    Path,
    /// In the host's name.
    Host,
}

/// Checksums beside Content-MD5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checksums {
    /// Only where the protocol demands one.
    #[default]
    WhenRequired,
    /// Wherever they are allowed.
    WhenSupported,
}

impl Storage {
    /// The secret of the access key from wherever it is kept, or `None` when none is configured.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or both places are given.
    pub fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        one_secret("storage.secret_key", self.secret_key.as_ref(), self.secret_key_file.as_deref())
    }

    pub(super) fn bad_endpoint(&self) -> Option<String> {
        let text = self.endpoint.as_deref()?;
        let is_good = url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        (!is_good).then(|| "an address of a storage looks like \"https://s3.example.org\", without a password".into())
    }
}

/// What holds for all live destinations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Live {
    /// Addresses that streams may go to although they are not public, as blocks: `["10.1.0.0/16", "::1"]`. Loopback, private, link-local and
    /// metadata addresses are refused otherwise, also when a name resolves to them later.
    #[schemars(with = "Vec<String>")]
    pub allowed_addresses: Vec<String>,
    /// File with certificates (PEM) that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/live-ca.pem")]
    pub ca_file: Option<PathBuf>,
}

impl Live {
    /// Where streams may go. Texts that are no blocks were refused when the configuration was read.
    pub fn policy(&self) -> AddressPolicy {
        policy(&self.allowed_addresses)
    }

    pub(super) fn bad_address(&self) -> Option<String> {
        bad_block(&self.allowed_addresses)
    }
}

/// Public addresses, and these blocks; texts that are no blocks count for nothing.
pub(super) fn policy(allowed: &[String]) -> AddressPolicy {
    AddressPolicy::allowing(allowed.iter().filter_map(|text| text.parse().ok()).collect())
}

/// What is wrong with the first text that is no block of addresses.
pub(super) fn bad_block(allowed: &[String]) -> Option<String> {
    let bad = allowed.iter().find(|text| text.parse::<AddressBlock>().is_err())?;
    Some(format!("\"{bad}\" is not an address or a block of addresses such as 192.0.2.0/24"))
}

/// Live destinations by name: `--to NAME`.
pub type Destinations = BTreeMap<String, Destination>;

/// A live destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Destination {
    /// `youtube`, `twitch`, `owncast` or `custom`, or the path of a TOML file: the usual address, and what the destination takes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"youtube")]
    pub preset: Option<String>,
    /// `rtmp://` or `rtmps://` address of the application, without the stream key; when absent, the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"rtmps://live.example.org/app")]
    pub address: Option<String>,
    /// Stream key. Better kept in a file of its own (`key_file`) or in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"…")]
    pub key: Option<ConfigSecret>,
    /// File that holds the stream key; white space around it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/run/secrets/youtube-key")]
    pub key_file: Option<PathBuf>,
    /// Name of the Rendition that it gets, unless the command line gives another; when absent, that of `[programme]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"upright")]
    pub rendition: Option<String>,
}

impl Destination {
    /// The stream key from wherever it is kept, or `None` when none is configured.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or both places are given.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, ConfigError> {
        one_secret(&format!("destinations.{name}.key"), self.key.as_ref(), self.key_file.as_deref())
    }
}

/// A name that can be told from a file and from an address.
pub(super) fn bad_name(name: &str) -> Option<String> {
    let is_plain =
        (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (!is_plain).then(|| "a destination is called by up to 40 small letters, digits and -".into())
}

/// A secret that may stand in two places, but only in one of them at a time.
pub(super) fn one_secret(field: &str, here: Option<&ConfigSecret>, file: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    match (here, file) {
        (Some(_), Some(_)) => Err(ConfigError::TwoSecrets { field: field.into() }),
        (Some(secret), None) => Ok(Some(secret.0.clone())),
        (None, Some(path)) => secret_file(path).map(Some),
        (None, None) => Ok(None),
    }
}

/// What a kind of destination takes at most, and its usual address: a data file of `presets/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What people call it.
    pub title: String,
    /// `rtmp://` or `rtmps://` address of the application.
    #[serde(default)]
    pub address: Option<String>,
    /// Highest rate of the picture, kbit/s.
    #[serde(default)]
    pub max_video_kbps: Option<u32>,
    /// Highest rate of the sound, kbit/s.
    #[serde(default)]
    pub max_sound_kbps: Option<u32>,
    /// Most lines of the picture: its shorter side.
    #[serde(default)]
    pub max_height: Option<u32>,
    /// Most pictures a second.
    #[serde(default)]
    pub max_fps: Option<u32>,
}

/// Why there is no preset.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    /// None of that name.
    #[error("there is no preset \"{0}\"; give one of youtube, twitch, owncast, custom, or the path of a TOML file")]
    Unknown(String),
    /// The file cannot be read.
    #[error("cannot read the preset {}: {}", path.display(), super::reason(.source))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no preset.
    #[error("the preset {name}: {message}")]
    Form {
        /// Which.
        name: String,
        /// What is wrong.
        message: String,
    },
}

const PRESETS: [(&str, &str); 4] = [
    ("youtube", include_str!("../../presets/youtube.toml")),
    ("twitch", include_str!("../../presets/twitch.toml")),
    ("owncast", include_str!("../../presets/owncast.toml")),
    ("custom", include_str!("../../presets/custom.toml")),
];

impl Preset {
    /// A preset by its name, or from a file.
    ///
    /// # Errors
    /// See [`PresetError`].
    pub fn find(name: &str) -> Result<Self, PresetError> {
        let text = match PRESETS.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => (*text).to_owned(),
            None if !name.contains(['/', '.']) => return Err(PresetError::Unknown(name.into())),
            None => std::fs::read_to_string(name).map_err(|source| PresetError::Unreadable { path: name.into(), source })?,
        };
        toml::from_str(&text).map_err(|error| {
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            PresetError::Form { name: name.into(), message }
        })
    }

    /// A sentence about the first thing of a Rendition that is more than the destination takes.
    pub fn too_much(&self, rendition: &RenditionChoice) -> Option<String> {
        let Self { title, .. } = self;
        let section = rendition.section();
        let limits = [
            (self.max_video_kbps, rendition.video_kbps, "kbit/s of picture", format!("{section}.video_kbps")),
            (self.max_sound_kbps, rendition.sound_kbps, "kbit/s of sound", format!("{section}.sound_kbps")),
            (self.max_height, rendition.size.shorter_side_px(), "lines", "the shorter side of the picture".into()),
            (self.max_fps, rendition.fps, "pictures a second", "programme.fps".into()),
        ];
        let (limit, is, what, field) = limits.into_iter().find_map(|(limit, is, what, field)| {
            let limit = limit.filter(|limit| is > *limit)?;
            Some((limit, is, what, field))
        })?;
        Some(format!("{title} takes at most {limit} {what}, and {field} is {is}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, PROGRAMME};

    #[test]
    fn presets_say_what_is_too_much() {
        let usual = Config::default().rendition(PROGRAMME).unwrap();
        for (name, _) in PRESETS {
            let preset = Preset::find(name).unwrap();
            assert_eq!(preset.too_much(&usual), None, "{name}");
            let is_address = preset.address.is_none_or(|a| is_live_address(&a));
            assert!(is_address, "{name}");
        }
        let twitch = Preset::find("twitch").unwrap();
        let much = RenditionChoice { video_kbps: 8000, ..usual.clone() };
        assert_eq!(
            twitch.too_much(&much).unwrap(),
            "Twitch takes at most 6000 kbit/s of picture, and programme.video_kbps is 8000"
        );
        assert_eq!(Preset::find("custom").unwrap().too_much(&much), None);
        // What stands upright is measured by its width.
        let upright = |size: &str| RenditionChoice { name: "upright".into(), size: size.parse().unwrap(), ..usual.clone() };
        assert_eq!(twitch.too_much(&upright("1080x1920")), None);
        assert_eq!(
            twitch.too_much(&upright("1082x1920")).unwrap(),
            "Twitch takes at most 1080 lines, and the shorter side of the picture is 1082"
        );
        let loud = RenditionChoice { video_kbps: 6001, ..upright("720x1280") };
        assert_eq!(
            twitch.too_much(&loud).unwrap(),
            "Twitch takes at most 6000 kbit/s of picture, and renditions.upright.video_kbps is 6001"
        );
        assert_eq!(
            Preset::find("yuotube").unwrap_err().to_string(),
            "there is no preset \"yuotube\"; give one of youtube, twitch, owncast, custom, or the path of a TOML file"
        );
        assert!(
            Preset::find("./nothing.toml")
                .unwrap_err()
                .to_string()
                .starts_with("cannot read the preset ./nothing.toml: no such file")
        );
    }

    fn is_live_address(address: &str) -> bool {
        crate::target::rtmp::Destination::new(address, Secret::new("key")).is_ok()
    }
}
