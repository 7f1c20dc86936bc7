//! The one configuration: a TOML file, then environment variables, then what the command line says.
//!
//! In: text and variables. Out: a [`Config`] in which every value is in its range, or a sentence that names the file and line, or
//! the variable, and the field. Pure but for [`load`], which reads the file; runs on the main thread before anything starts.
//! Refuses unknown fields, values out of range, and to repeat a secret in an error. `docs/config.md` and `samples/config.toml` are
//! made from the doc comments and defaults here by `roomcast generate` (see [`generate`]).

use std::net::SocketAddr;
use std::path::PathBuf;

use recorder_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod delivery;
pub mod generate;
mod load;
mod value;

pub use delivery::{Addressing, Checksums, Destination, Destinations, Live, Preset, PresetError, Storage};
pub(crate) use load::reason;
pub use load::{ConfigError, load, parse};
pub use value::{ConfigSecret, PictureSize, SizeError, Span, SpanError, bad_server_url};

/// Whether a variable holds a secret. No child process inherits it: workers get what they need over their private socket.
pub fn is_secret_variable(name: &str) -> bool {
    let fixed = ["ROOMCAST_LIVEKIT__API_SECRET", "ROOMCAST_STORAGE__SECRET_KEY"];
    let name = name.to_ascii_uppercase();
    fixed.contains(&name.as_str()) || (name.starts_with("ROOMCAST_DESTINATIONS__") && name.ends_with("__KEY"))
}

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The mixed picture and sound.
    pub programme: Programme,
    /// How the mixer waits.
    pub mixer: Mixer,
    /// When a Session ends by itself.
    pub session: Session,
    /// The local disk copy of what is recorded.
    pub spool: Spool,
    /// Who is drawn where.
    pub layout: Layout,
    /// The LiveKit server, for the rooms that are recorded with our own API key.
    pub livekit: LiveKit,
    /// The S3 storage that `--to s3://bucket/key.mp4` means.
    pub storage: Storage,
    /// What holds for all live destinations.
    pub live: Live,
    /// Live destinations by name, for `--to NAME`: up to 40 small letters, digits and - each.
    pub destinations: Destinations,
    /// The programme monitor: a web page that shows what goes out, and how each Target stands.
    pub monitor: Monitor,
    /// What is logged, to standard error.
    pub log: Log,
}

/// The mixed picture and sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Programme {
    /// Width and height of the picture in pixels: even numbers, 128x128 to 3840x2160.
    pub size: PictureSize,
    /// Pictures a second, 1 to 60.
    #[schemars(with = "u16")]
    pub fps: u32,
    /// Average and highest rate of the H.264 picture in kbit/s, 100 to 50000. When absent it follows from the height: 1200 up to 480
    /// lines, 3000 up to 720, 4500 above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16", example = 3000)]
    pub video_kbps: Option<u32>,
    /// Rate of the AAC sound in kbit/s, 32 to 320.
    #[schemars(with = "u16")]
    pub sound_kbps: u32,
}

impl Default for Programme {
    fn default() -> Self {
        Self { size: PictureSize::new_unchecked(1280, 720), fps: 30, video_kbps: None, sound_kbps: 128 }
    }
}

impl Programme {
    /// The rate of the picture: as configured, or by its height.
    pub fn video_kbps(&self) -> u32 {
        self.video_kbps.unwrap_or(match self.size.height_px() {
            0..=480 => 1200,
            481..=720 => 3000,
            _ => 4500,
        })
    }
}

/// How the mixer waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mixer {
    /// How long the mixer waits for late media, 200ms to 2000ms. More repairs more loss; a recording does not get later by it.
    pub delay: Span,
}

impl Default for Mixer {
    fn default() -> Self {
        Self { delay: Span::from_millis(500) }
    }
}

/// When a Session ends by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// End when nobody but us has been in the room for this long, 1s to 1h.
    pub room_empty_grace: Span,
    /// Give up when the Conference has been lost for this long, 5s to 1h.
    pub conference_grace: Span,
    /// End in any case after this time, 1s to 24h.
    pub max_duration: Span,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            room_empty_grace: Span::from_secs(60),
            conference_grace: Span::from_secs(120),
            max_duration: Span::from_secs(12 * 3600),
        }
    }
}

/// The local disk copy of what is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Folder in which each Session has its own. When absent, it lies beside the wanted file (`standup.mp4.roomcast`), so that
    /// finishing is a rename and not a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/var/lib/roomcast/spool")]
    pub dir: Option<PathBuf>,
    /// How long a file stays on this machine after every storage that it was meant for has confirmed it, 0s to 8760h. What is not
    /// confirmed stays for ever.
    pub keep: Span,
}

impl Default for Spool {
    fn default() -> Self {
        Self { dir: None, keep: Span::from_secs(24 * 3600) }
    }
}

/// Who is drawn where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    /// A built-in layout (`grid`, `speaker`), or the path of a TOML file.
    pub default: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self { default: "grid".into() }
    }
}

/// The LiveKit server, for the rooms that are recorded with our own API key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LiveKit {
    /// Address of the server: `ws://`, `wss://`, `http://` or `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"wss://livekit.example.org")]
    pub url: Option<String>,
    /// API key with which access tokens are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"APIexample")]
    pub api_key: Option<String>,
    /// Secret of the API key. Better kept in a file of its own (`api_secret_file`) or in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"…")]
    pub api_secret: Option<ConfigSecret>,
    /// File that holds the secret of the API key; white space around it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/run/secrets/livekit")]
    pub api_secret_file: Option<PathBuf>,
}

/// The programme monitor: a web page that shows what goes out, and how each Target stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// Address and port at which the page is. When absent there is none; port 0 takes one that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"127.0.0.1:8088")]
    pub address: Option<SocketAddr>,
    /// File that holds the token which viewers must know, 16 characters or more; needed for any address but 127.0.0.1 and ::1. What is
    /// shown is encrypted, the token is not: put a proxy with TLS before a monitor that is reached over a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/run/secrets/monitor")]
    pub token_file: Option<PathBuf>,
}

/// What is logged, to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Level, or levels by module, as `RUST_LOG` is written (`info`, `warn,roomcast::ingest=debug`); `RUST_LOG` itself has precedence.
    pub filter: String,
    /// `text` for people, `json` for machines: one object a line.
    pub format: LogFormat,
    /// Whether a crash may leave a core dump. It holds stream keys and tokens.
    pub core_dumps: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text, core_dumps: false }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LiveKit {
    /// The secret of the API key from wherever it is kept, or `None` when none is configured.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or both places are given.
    pub fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        delivery::one_secret("livekit.api_secret", self.api_secret.as_ref(), self.api_secret_file.as_deref())
    }
}

impl Config {
    /// The first value that is out of its range: its field and a sentence about it.
    fn out_of_range(&self) -> Option<(&'static str, String)> {
        let number = |field, value: u32, low: u32, high: u32| {
            (!(low..=high).contains(&value)).then(|| (field, format!("{value} is out of range: it must be {low} to {high}")))
        };
        let span = |field, value: Span, low: Span, high: Span| {
            (!(low..=high).contains(&value)).then(|| (field, format!("{value} is out of range: it must be {low} to {high}")))
        };
        let (ms, s) = (Span::from_millis, Span::from_secs);
        number("programme.fps", self.programme.fps, 1, 60)
            .or_else(|| number("programme.video_kbps", self.programme.video_kbps(), 100, 50_000))
            .or_else(|| number("programme.sound_kbps", self.programme.sound_kbps, 32, 320))
            .or_else(|| span("mixer.delay", self.mixer.delay, ms(200), ms(2000)))
            .or_else(|| span("session.room_empty_grace", self.session.room_empty_grace, s(1), s(3600)))
            .or_else(|| span("session.conference_grace", self.session.conference_grace, s(5), s(3600)))
            .or_else(|| span("session.max_duration", self.session.max_duration, s(1), s(24 * 3600)))
            .or_else(|| span("spool.keep", self.spool.keep, s(0), s(8760 * 3600)))
            .or_else(|| self.storage.bad_endpoint().map(|m| ("storage.endpoint", m)))
            .or_else(|| self.live.bad_address().map(|m| ("live.allowed_addresses", m)))
            .or_else(|| self.destinations.keys().find_map(|name| delivery::bad_name(name)).map(|m| ("destinations", m)))
            .or_else(|| self.livekit.url.as_deref().and_then(value::bad_server_url).map(|m| ("livekit.url", m)))
            .or_else(|| value::bad_filter(&self.log.filter).map(|m| ("log.filter", m)))
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
