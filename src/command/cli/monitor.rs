//! `--monitor`: where the programme monitor listens, and who may look.

use std::fs::DirBuilder;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use recorder_core::secret::Secret;

use super::session::{own_arguments, session_name};
use super::{Failure, inputs};
use crate::clock::SessionClock;
use crate::config::{self, Config, PROGRAMME, RenditionChoice};
use crate::service::job::MonitorFeed;
use crate::service::monitor::MonitorJob;
use crate::service::monitor_keeper::{Beside, MonitorKeeper, MonitorPatience};
use crate::service::order::View;
use crate::service::process::OwnMonitor;

/// A shorter token could be guessed.
const LEAST_TOKEN_BYTES: usize = 16;

#[derive(clap::Args)]
pub(super) struct MonitorArgs {
    /// Show what goes out on a web page at this address, for example 127.0.0.1:8088
    #[arg(long, value_name = "ADDRESS:PORT")]
    monitor: Option<SocketAddr>,
    /// File with the token that viewers of the page must know; needed for any address but 127.0.0.1 and ::1
    #[arg(long, value_name = "FILE")]
    monitor_token_file: Option<PathBuf>,
}

/// A monitor that can be started: it listens already.
pub(super) struct Monitor {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Secret>,
    folder: PrivateFolder,
}

/// A monitor that runs.
pub(super) struct RunningMonitor {
    keeper: MonitorKeeper,
    /// Until it has ended.
    _folder: PrivateFolder,
}

/// Where the worker's socket is. Deleted when it is dropped.
struct PrivateFolder(PathBuf);

impl MonitorArgs {
    /// What the arguments say goes before the configuration.
    pub(super) fn apply(&self, config: &mut Config) {
        config.monitor.address = self.monitor.or(config.monitor.address);
        if let Some(file) = &self.monitor_token_file {
            config.monitor.token_file = Some(file.clone());
        }
    }
}

impl Monitor {
    /// Checks the wish, listens, and makes the private folder; `None` when no monitor is wanted.
    pub(super) fn prepare(config: &Config) -> Result<Option<Self>, Failure> {
        let config::Monitor { address, token_file } = &config.monitor;
        let Some(address) = address else {
            return match token_file {
                Some(_) => Err(Failure::operator("a token of the programme monitor needs its address: --monitor 127.0.0.1:8088")),
                None => Ok(None),
            };
        };
        let token = token_file.as_deref().map(|file| inputs::secret_of(file, "token of the programme monitor")).transpose()?;
        if !address.ip().is_loopback() && token.is_none() {
            return Err(Failure::operator(format_args!(
                "--monitor {address} would show the meeting to everybody who can reach this machine: give --monitor-token-file FILE, or 127.0.0.1:{}",
                address.port()
            )));
        }
        if token.as_ref().is_some_and(|token| token.expose().len() < LEAST_TOKEN_BYTES) {
            return Err(Failure::operator(format_args!(
                "the token of the programme monitor must have {LEAST_TOKEN_BYTES} characters or more"
            )));
        }
        let bound = TcpListener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| {
            Failure::operator(format_args!("the programme monitor cannot listen on {address}: {}", config::reason(&error)))
        })?;
        Ok(Some(Self { listener, address, token, folder: PrivateFolder::make(address.port())? }))
    }

    /// What the worker feeds it: the programme itself, or the first of these Renditions when it is not made.
    pub(super) fn feed(&self, renditions: &[RenditionChoice]) -> MonitorFeed {
        let rendition = renditions.iter().position(|choice| choice.name == PROGRAMME).unwrap_or_default();
        MonitorFeed { path: self.folder.feed(), rendition }
    }

    /// Starts it, inside of a tokio runtime, and says where the page is.
    pub(super) fn start(self, config_file: Option<&Path>, clock: SessionClock) -> RunningMonitor {
        let Self { listener, address, token, folder } = self;
        let launcher = OwnMonitor { arguments: own_arguments(config_file, "monitor"), listener };
        let job = MonitorJob { epoch_ns: clock.epoch_ns(), feed: folder.feed(), token };
        let keeper = MonitorKeeper::start(Box::new(launcher), job, MonitorPatience::default());
        let _ = writeln!(std::io::stderr(), "programme monitor: http://{address}/");
        RunningMonitor { keeper, _folder: folder }
    }
}

impl RunningMonitor {
    /// Shows a Session to `view` and to the monitor.
    pub(super) fn beside<'a>(&self, view: &'a mut dyn View) -> Beside<'a> {
        self.keeper.beside(view)
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn end(self) {
        self.keeper.end().await;
    }
}

impl PrivateFolder {
    /// One for the monitor at this port, which nobody else has.
    fn make(port: u16) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("roomcast-monitor-{}-{port}", session_name()));
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| Failure {
            sentence: format!("cannot make a folder for the programme monitor: {}", config::reason(&error)),
            code: 1,
        })?;
        Ok(Self(folder))
    }

    fn feed(&self) -> PathBuf {
        self.0.join("feed")
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(address: &str, token: Option<&str>) -> Result<Option<Monitor>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.monitor.address = (!address.is_empty()).then(|| address.parse().unwrap());
        config.monitor.token_file = token.map(|token| {
            let file = folder.path().join("token");
            std::fs::write(&file, token).unwrap();
            file
        });
        Monitor::prepare(&config)
    }

    #[test]
    fn only_this_machine_looks_without_a_token() {
        assert!(prepare("", None).unwrap().is_none());
        for (address, token) in [("127.0.0.1:0", None), ("[::1]:0", None), ("0.0.0.0:0", Some("0123456789abcdef"))] {
            let monitor = prepare(address, token).unwrap().unwrap();
            assert!(monitor.address.port() != 0 && monitor.folder.0.is_dir(), "{address}");
            let folder = monitor.folder.0.clone();
            drop(monitor);
            assert!(!folder.exists());
        }
        let open = prepare("0.0.0.0:8088", None).err().unwrap();
        assert_eq!(
            open.sentence,
            "--monitor 0.0.0.0:8088 would show the meeting to everybody who can reach this machine: give --monitor-token-file FILE, or 127.0.0.1:8088"
        );
        let short = prepare("0.0.0.0:0", Some("canary")).err().unwrap();
        assert_eq!(short.sentence, "the token of the programme monitor must have 16 characters or more");
        let nowhere = prepare("", Some("0123456789abcdef")).err().unwrap();
        assert_eq!(nowhere.sentence, "a token of the programme monitor needs its address: --monitor 127.0.0.1:8088");
    }

    #[test]
    fn the_programme_itself_is_shown_or_the_first_of_what_is_made() {
        let config = config::parse(
            "roomcast.toml",
            "[renditions.small]\nsize = \"640x360\"\n[renditions.upright]\nsize = \"360x640\"\n",
            [],
        )
        .unwrap();
        let monitor = prepare("127.0.0.1:0", None).unwrap().unwrap();
        let shown = |names: &[&str]| {
            let renditions: Vec<_> = names.iter().map(|name| config.rendition(name).unwrap()).collect();
            monitor.feed(&renditions).rendition
        };
        assert_eq!(shown(&["small", PROGRAMME, "upright"]), 1);
        assert_eq!(shown(&["upright", "small"]), 0);
    }

    #[test]
    fn an_address_that_is_taken_is_said_before_anything_begins() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let failure = prepare(&address.to_string(), None).err().unwrap();
        assert_eq!(failure.sentence, format!("the programme monitor cannot listen on {address}: address already in use"));
        assert_eq!(failure.code, 2);
    }
}
