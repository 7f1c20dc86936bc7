//! The kinds of value that a configuration and the command line have, each with its one way of writing and its sentences.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use recorder_core::secret::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, written `500ms`, `60s`, `2m` or `12h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(Duration);

/// Why a text is not a length of time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a length of time; write it like \"500ms\", \"60s\", \"2m\" or \"12h\"")]
pub struct SpanError(String);

impl Span {
    /// So many milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// So many seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

/// Milliseconds in each unit, the largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refuse = || SpanError(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        number.checked_mul(factor).map(Self::from_millis).ok_or_else(refuse)
    }
}

impl fmt::Display for Span {
    /// In the largest unit that divides it, with minutes only from two on (`60s`, `2m`, `90s`, `12h`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis() as u64;
        let fits = |(name, factor): &(&str, u64)| ms.is_multiple_of(*factor) && ms > 0 && !(*name == "m" && ms == 60_000);
        let (name, factor) = UNITS.into_iter().find(fits).unwrap_or(("s", 1000));
        write!(f, "{}{name}", ms / factor)
    }
}

/// Width and height of a picture, written `1280x720`; both even and in range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PictureSize {
    width_px: u32,
    height_px: u32,
}

/// Why a text is not a size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not two numbers.
    #[error("\"{0}\" is not a size; write it like \"1280x720\"")]
    Form(String),
    /// Too small or too large.
    #[error("{0}x{1} is out of range: a picture has 128x128 to 3840x2160 pixels")]
    Range(u32, u32),
    /// Colour is stored for blocks of 2x2 pixels.
    #[error("{0}x{1} is odd: width and height must be even numbers")]
    Odd(u32, u32),
}

impl PictureSize {
    /// A size that is known to be good.
    pub(super) const fn new_unchecked(width_px: u32, height_px: u32) -> Self {
        Self { width_px, height_px }
    }

    /// Width in pixels.
    pub const fn width_px(self) -> u32 {
        self.width_px
    }

    /// Height in pixels.
    pub const fn height_px(self) -> u32 {
        self.height_px
    }

    /// The lines of a picture, whichever way it stands.
    pub fn shorter_side_px(self) -> u32 {
        self.width_px.min(self.height_px)
    }
}

impl FromStr for PictureSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let form = || SizeError::Form(text.to_owned());
        let side = |side: &str| side.bytes().all(|b| b.is_ascii_digit()).then(|| side.parse().ok()).flatten();
        let (width, height) = text.split_once('x').ok_or_else(form)?;
        let (Some(width), Some(height)) = (side(width), side(height)) else { return Err(form()) };
        match (width, height) {
            (128..=3840, 128..=2160) if width % 2 == 0 && height % 2 == 0 => Ok(Self::new_unchecked(width, height)),
            (128..=3840, 128..=2160) => Err(SizeError::Odd(width, height)),
            _ => Err(SizeError::Range(width, height)),
        }
    }
}

impl fmt::Display for PictureSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width_px, self.height_px)
    }
}

/// Serde and schema by `Display` and `FromStr`.
macro_rules! as_text {
    ($type:ty, $name:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $name })
            }
        }
    };
}

as_text!(Span, "length of time");
as_text!(PictureSize, "size");

/// A secret that stands in the configuration. Writing a configuration out hides it, and a wrong type is refused without repeating it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigSecret(pub Secret);

impl Serialize for ConfigSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConfigSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer) {
            Ok(toml::Value::String(text)) if !text.trim().is_empty() => Ok(Self(Secret::new(text.trim()))),
            _ => Err(serde::de::Error::custom("must be text in quotes, and not empty")),
        }
    }
}

/// A sentence when `url` cannot be the address of a LiveKit server. The address itself is repeated without user, password and query.
pub fn bad_server_url(url: &str) -> Option<String> {
    let Ok(parsed) = url::Url::parse(url) else {
        return Some("this is not an address; write it like \"wss://livekit.example.org\"".into());
    };
    if !matches!(parsed.scheme(), "ws" | "wss" | "http" | "https") || parsed.host().is_none() {
        let scheme = parsed.scheme();
        return Some(format!(
            "an address of a LiveKit server begins with ws://, wss://, http:// or https://, not with {scheme}:"
        ));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
        return Some("an address must not contain a password, a token or anything after a question mark".into());
    }
    None
}

/// A sentence when `filter` is not a log filter.
pub(super) fn bad_filter(filter: &str) -> Option<String> {
    tracing_subscriber::EnvFilter::try_new(filter)
        .err()
        .map(|_| format!("\"{filter}\" is not a log filter; write it like \"info\" or \"warn,roomcast::ingest=debug\""))
}
