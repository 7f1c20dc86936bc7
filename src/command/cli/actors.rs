//! The simulated people of a rehearsal, as a process of their own, and the one that looks at their film.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::session::{Listening, own_arguments, session_name};
use super::{Failure, Inspection};
use crate::service::process::without_secrets;
use crate::service::progress::SyncFigure;
use crate::service::supervisor::Room;

/// The process of the simulated people, and the private folder of its socket.
pub(super) struct Actors {
    process: Child,
    folder: PathBuf,
}

/// How long the actors may take to listen. They prepare what they send afterwards.
const LISTEN_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Actors {
    /// Starts them and waits until their socket is there, or somebody wants to stop.
    pub(super) fn start(config_file: Option<&Path>, listening: &mut Listening) -> Result<Self, Failure> {
        let failed = |what: &str, error: std::io::Error| Failure { sentence: format!("cannot {what}: {error}"), code: 1 };
        let folder = std::env::temp_dir().join(format!("roomcast-rehearsal-{}", session_name()));
        DirBuilder::new().mode(0o700).create(&folder).map_err(|e| failed("make a folder for the simulated meeting", e))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("roomcast").args(own_arguments(config_file, "rehearsal-actors"));
        command.arg("--socket").arg(folder.join("actors"));
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        without_secrets(&mut command);
        let process = command.spawn().map_err(|e| failed("start the simulated meeting", e))?;
        // From here on they are ended by `Drop`, whatever happens.
        let mut actors = Self { process, folder };
        let failure = listening.run(async |stops| {
            tokio::select! {
                begun = tokio::time::timeout(LISTEN_WITHIN, actors.listen()) => match begun {
                    Ok(true) => None,
                    Ok(false) | Err(_) => Some("the simulated meeting did not begin"),
                },
                _ = stops.recv() => Some("stopped before the simulated meeting began; nothing was recorded"),
            }
        });
        failure.map_or(Ok(actors), |sentence| Err(Failure { sentence: sentence.into(), code: 1 }))
    }

    /// Waits until they listen; false when they have ended instead.
    async fn listen(&mut self) -> bool {
        while !self.folder.join("actors").exists() {
            if self.process.try_wait().is_ok_and(|status| status.is_some()) {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Where they meet.
    pub(super) fn room(&self) -> Room {
        Room::Rehearsal { socket: self.folder.join("actors") }
    }
}

impl Drop for Actors {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still theirs.
        if let Ok(None) = self.process.try_wait() {
            let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGKILL);
        }
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Has a process of its own look at a rehearsal's file: the supervisor decodes nothing. `None` when it has no test cards.
pub(super) fn measured_sync(file: &Path, config_file: Option<&Path>) -> Option<SyncFigure> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("roomcast").args(own_arguments(config_file, "inspect")).arg(file).arg("--json");
    without_secrets(&mut command);
    let output = command.stdin(Stdio::null()).output().ok()?;
    serde_json::from_slice::<Inspection>(&output.stdout).ok()?.sync
}
