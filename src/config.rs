//! The one configuration: a TOML file, then environment variables, then what the command line says.
//!
//! In: text and variables. Out: a [`Config`] in which every value is in its range, or a sentence that names the file and line, or
//! the variable, and the field. Pure but for [`load`], which reads the file; runs on the main thread before anything starts.
//! Refuses unknown fields, values out of range, and to repeat a secret in an error. `docs/config.md` and `samples/config.toml` are
//! made from the doc comments and defaults here by `roomcast generate` (see [`generate`]).

use std::path::PathBuf;

use recorder_core::keep::Keep;
use recorder_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod admission;
mod avatars;
mod books;
mod controller;
mod delivery;
pub mod generate;
mod http;
pub mod import;
mod keycloak;
mod load;
mod look;
mod monitor;
mod rabbitmq;
mod renditions;
mod serve;
mod value;

pub use admission::{Admission, Limit};
pub use avatars::Avatars;
pub use books::Books;
pub use controller::Controller;
pub use delivery::{Addressing, Checksums, Destination, Destinations, Live, Preset, PresetError, Storage};
pub use http::Http;
pub use keycloak::Keycloak;
pub(crate) use load::reason;
pub use load::{ConfigError, load, parse};
pub use look::{Language, Layout, Slates, Strip};
pub use monitor::Monitor;
pub use rabbitmq::RabbitMq;
pub use renditions::{PROGRAMME, Rendition, RenditionChoice, Renditions, UnknownRendition, is_name};
pub use serve::{CONTROLLER, CallIn, Consent, Serve};
pub use value::{ConfigSecret, PictureSize, SizeError, Span, SpanError, bad_server_url};

/// Whether a variable holds a secret. No child process inherits it: workers get what they need over their private socket.
pub fn is_secret_variable(name: &str) -> bool {
    let fixed = [
        "ROOMCAST_HTTP__TOKEN",
        "ROOMCAST_LIVEKIT__API_SECRET",
        "ROOMCAST_STORAGE__SECRET_KEY",
        "ROOMCAST_KEYCLOAK__CLIENT_SECRET",
        "ROOMCAST_RABBITMQ__PASSWORD",
    ];
    let name = name.to_ascii_uppercase();
    fixed.contains(&name.as_str()) || (name.starts_with("ROOMCAST_DESTINATIONS__") && name.ends_with("__KEY"))
}

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The mixed picture and sound.
    pub programme: Programme,
    /// Other encodings of the programme by name, made at the same time, for `--to NAME=TARGET`: up to 40 small letters, digits and - each. One that no
    /// Target uses is not made.
    pub renditions: Renditions,
    /// How the mixer waits.
    pub mixer: Mixer,
    /// How loud everybody is.
    pub sound: Sound,
    /// When a Session ends by itself.
    pub session: Session,
    /// The local disk copy of what is recorded.
    pub spool: Spool,
    /// What is written beside a recording `NAME.mp4`: a ledger of who agreed to be recorded (`NAME.ledger.jsonl`) and a log of what happened
    /// (`NAME.events.jsonl`).
    pub books: Books,
    /// Who is drawn where.
    pub layout: Layout,
    /// A strip with logo, title and clock.
    pub strip: Strip,
    /// Files that take the place of the built-in slates.
    pub slates: Slates,
    /// Pictures of people, for tiles without a camera.
    pub avatars: Avatars,
    /// The LiveKit server, for the rooms that are recorded with our own API key.
    pub livekit: LiveKit,
    /// The service: `roomcast serve`.
    pub serve: Serve,
    /// What the machine must have left for another Session of the service.
    pub admission: Admission,
    /// The OpenTalk controller whose rooms are recorded.
    pub controller: Controller,
    /// The identity provider (Keycloak) of an OpenTalk controller, for Orders that come from it.
    pub keycloak: Keycloak,
    /// The message broker through which an OpenTalk controller gives Orders.
    pub rabbitmq: RabbitMq,
    /// The S3 storage that `--to s3://bucket/key.mp4` means.
    pub storage: Storage,
    /// What holds for all live destinations.
    pub live: Live,
    /// Live destinations by name, for `--to NAME`: up to 40 small letters, digits and - each.
    pub destinations: Destinations,
    /// The operators' interface: health, metrics, status, and the layout of a Session.
    pub http: Http,
    /// The programme monitor of `record` and `rehearse`: a web page that shows what goes out, and how each Target stands. `serve` has none.
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
    /// The language of slates and of whatever else Roomcast itself writes into the picture.
    pub language: Language,
    /// Average and highest rate of the H.264 picture in kbit/s, 100 to 50000. When absent it follows from the shorter side: 1200 up
    /// to 480 pixels, 3000 up to 720, 4500 above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16", example = 3000)]
    pub video_kbps: Option<u32>,
    /// Rate of the AAC sound in kbit/s, 32 to 320.
    #[schemars(with = "u16")]
    pub sound_kbps: u32,
    /// Who encodes the pictures: `software` is x264; `nvenc`, `qsv` and `va` are encoders of hardware, and `auto` is the first of those that works. Hardware is
    /// used only when a Session's first test encode with it was good, and never by a worker that replaces one that died; otherwise x264 is.
    pub encoder: Encoder,
}

/// Who encodes the pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// x264.
    #[default]
    Software,
    /// The first hardware that is proven.
    Auto,
    /// NVIDIA.
    Nvenc,
    /// Intel.
    Qsv,
    /// VA-API.
    Va,
}

impl Default for Programme {
    fn default() -> Self {
        Self {
            size: PictureSize::new_unchecked(1280, 720),
            fps: 30,
            language: Language::En,
            video_kbps: None,
            sound_kbps: 128,
            encoder: Encoder::default(),
        }
    }
}

impl Programme {
    /// The rate of the picture: as configured, or by its size.
    pub fn video_kbps(&self) -> u32 {
        self.video_kbps.unwrap_or_else(|| renditions::usual_kbps(self.size))
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

/// How loud everybody is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sound {
    /// `speech`: quiet and loud people are brought to the same loudness, slowly, and the sound of screens is not let above it. `off`: everything
    /// stays as loud as it comes. In both cases true peaks stay below -1 dBTP, at 64 kbit/s and more.
    pub level: SoundLevel,
    /// How loud speech is made, in LUFS (EBU R128), -30 to -10.
    #[schemars(with = "i16")]
    pub target_lufs: i32,
    /// By how many dB the sound of shared screens is turned down while somebody speaks, 0 to 40.
    #[schemars(with = "u16")]
    pub duck_db: u32,
    /// How fast it is turned down, 50ms to 10s.
    pub duck_attack: Span,
    /// How fast it is back, 50ms to 10s.
    pub duck_release: Span,
}

impl Default for Sound {
    fn default() -> Self {
        Self {
            level: SoundLevel::default(),
            target_lufs: -16,
            duck_db: 0,
            duck_attack: Span::from_millis(300),
            duck_release: Span::from_secs(1),
        }
    }
}

/// Who makes people equally loud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoundLevel {
    /// The mixer, by what they say.
    #[default]
    Speech,
    /// Nobody.
    Off,
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
    /// How long a file stays on this machine after it was delivered to a controller, which never confirms, 0s to 8760h: long enough for somebody to look
    /// whether it is there. What is not delivered stays for ever.
    pub keep_after_delivery: Span,
}

impl Default for Spool {
    fn default() -> Self {
        Self { dir: None, keep: Span::from_secs(24 * 3600), keep_after_delivery: Span::from_secs(7 * 24 * 3600) }
    }
}

impl Spool {
    /// The folder of a service: as configured, or one of this name where it was started.
    pub fn folder(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| PathBuf::from("spool"))
    }

    /// How long local copies are kept.
    pub fn kept(&self) -> Keep {
        Keep { confirmed: self.keep.duration(), delivered: self.keep_after_delivery.duration() }
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
    /// Certificates (PEM) that are trusted beside the system's, also for the LiveKit server that an OpenTalk controller names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/livekit-ca.pem")]
    pub ca_file: Option<PathBuf>,
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
        let lufs = |field, value: i32| {
            (!(-30..=-10).contains(&value)).then(|| (field, format!("{value} is out of range: it must be -30 to -10")))
        };
        let (ms, s) = (Span::from_millis, Span::from_secs);
        number("programme.fps", self.programme.fps, 1, 60)
            .or_else(|| number("programme.video_kbps", self.programme.video_kbps(), 100, 50_000))
            .or_else(|| number("programme.sound_kbps", self.programme.sound_kbps, 32, 320))
            .or_else(|| renditions::bad_rendition(&self.renditions).map(|m| ("renditions", m)))
            .or_else(|| span("mixer.delay", self.mixer.delay, ms(200), ms(2000)))
            .or_else(|| lufs("sound.target_lufs", self.sound.target_lufs))
            .or_else(|| number("sound.duck_db", self.sound.duck_db, 0, 40))
            .or_else(|| span("sound.duck_attack", self.sound.duck_attack, ms(50), s(10)))
            .or_else(|| span("sound.duck_release", self.sound.duck_release, ms(50), s(10)))
            .or_else(|| span("session.room_empty_grace", self.session.room_empty_grace, s(1), s(3600)))
            .or_else(|| span("session.conference_grace", self.session.conference_grace, s(5), s(3600)))
            .or_else(|| span("session.max_duration", self.session.max_duration, s(1), s(24 * 3600)))
            .or_else(|| self.layout.transition.and_then(|transition| span("layout.transition", transition, s(0), s(2))))
            .or_else(|| self.strip.bad_clock().map(|m| ("strip.clock", m)))
            .or_else(|| number("serve.slots", self.serve.slots, 1, 64))
            .or_else(|| self.serve.bad_recordings().map(|m| ("serve.recordings", m)))
            .or_else(|| span("serve.signaling_grace", self.serve.signaling_grace, s(0), s(30)))
            .or_else(|| span("serve.reconnect_grace", self.serve.reconnect_grace, s(5), s(3600)))
            .or_else(|| span("serve.delivery_grace", self.serve.delivery_grace, s(0), s(3600)))
            .or_else(|| span("serve.drain_timeout", self.serve.drain_timeout, s(0), s(24 * 3600)))
            .or_else(|| span("serve.takeover_grace", self.serve.takeover_grace, s(0), s(600)))
            .or_else(|| self.serve.bad_name().map(|m| ("serve.display_name", m)))
            .or_else(|| number("admission.cpu_percent", self.admission.cpu_percent, 10, 100))
            .or_else(|| number("admission.session_cpu_percent", self.admission.session_cpu_percent, 1, 6400))
            .or_else(|| number("admission.session_memory_mib", self.admission.session_memory_mib, 16, 65_536))
            .or_else(|| number("admission.low_disk_percent", self.admission.low_disk_percent, 0, 50))
            .or_else(|| span("spool.keep", self.spool.keep, s(0), s(8760 * 3600)))
            .or_else(|| span("spool.keep_after_delivery", self.spool.keep_after_delivery, s(0), s(8760 * 3600)))
            .or_else(|| self.storage.bad_endpoint().map(|m| ("storage.endpoint", m)))
            .or_else(|| self.live.bad_address().map(|m| ("live.allowed_addresses", m)))
            .or_else(|| self.avatars.bad_address().map(|m| ("avatars.allowed_addresses", m)))
            .or_else(|| self.destinations.keys().find_map(|name| delivery::bad_name(name)).map(|m| ("destinations", m)))
            .or_else(|| self.livekit.url.as_deref().and_then(value::bad_server_url).map(|m| ("livekit.url", m)))
            .or_else(|| self.controller.bad_url().map(|m| ("controller.url", m)))
            .or_else(|| number("controller.upload_mbps", self.controller.upload_mbps, 1, 10_000))
            .or_else(|| self.keycloak.bad_address())
            .or_else(|| self.rabbitmq.bad_url().map(|m| ("rabbitmq.url", m)))
            .or_else(|| self.rabbitmq.bad_queue().map(|m| ("rabbitmq.queue", m)))
            .or_else(|| self.http.bad_listen().map(|m| ("http.listen", m)))
            .or_else(|| value::bad_filter(&self.log.filter).map(|m| ("log.filter", m)))
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
