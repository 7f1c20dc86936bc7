//! Keeps a monitor at work beside a Session.
//!
//! In: snapshots of the Session. Out: a monitor process that is told how it stands. One task of the supervisor's runtime; a monitor that dies or stands still is replaced, at most once
//! in [`MonitorPatience::pause`]. Nothing of the Session waits for it or depends on it.

use std::time::Duration;

use nix::sys::signal::Signal;
use recorder_core::fault::Fault;
use recorder_core::ids::TargetId;
use recorder_core::live::LiveState;
use recorder_core::upload::State;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::link::Link;
use super::monitor::{ALIVE_EVERY, FromMonitor, MonitorJob, ToMonitor};
use super::order::{LiveStand, RecordingSnapshot, SessionState, Snapshot, View};
use super::process::{Launcher, Running};
use crate::target::monitor::standing::{Kind, Standing, TargetStanding, TargetState};

/// How patient the keeper is.
#[derive(Clone, Copy, Debug)]
pub struct MonitorPatience {
    /// Between the beginnings of two monitors.
    pub pause: Duration,
    /// A monitor that says nothing for so long is killed.
    pub silence: Duration,
    /// A monitor that is told to end is gone after this time, or is killed.
    pub exit: Duration,
}

impl Default for MonitorPatience {
    fn default() -> Self {
        Self { pause: Duration::from_secs(5), silence: 5 * ALIVE_EVERY, exit: Duration::from_secs(2) }
    }
}

/// A monitor that is kept at work.
pub struct MonitorKeeper {
    standing: watch::Sender<Standing>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl MonitorKeeper {
    /// Starts the first monitor, on the tokio runtime that this is called on.
    pub fn start(launcher: Box<dyn Launcher>, job: MonitorJob, patience: MonitorPatience) -> Self {
        let (standing, told) = watch::channel(Standing::default());
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(keep(launcher, job, told, ended, patience));
        Self { standing, end, task }
    }

    /// Shows a Session to `view` and to the monitor.
    pub fn beside<'a>(&self, view: &'a mut dyn View) -> Beside<'a> {
        Beside { view, standing: self.standing.clone() }
    }

    /// Ends the monitor, and waits until it is gone.
    pub async fn end(self) {
        // A keeper that has ended needs not be told.
        let _ = self.end.send(());
        if self.task.await.is_err() {
            tracing::error!("the keeper of the monitor has panicked");
        }
    }
}

/// A view that tells the monitor too.
pub struct Beside<'a> {
    view: &'a mut dyn View,
    standing: watch::Sender<Standing>,
}

impl View for Beside<'_> {
    fn progress(&mut self, snapshot: &Snapshot) {
        self.standing.send_replace(standing_of(snapshot));
        self.view.progress(snapshot);
    }

    fn tell(&mut self, fault: &Fault) {
        self.view.tell(fault);
    }

    fn live(&mut self, id: &TargetId, state: &LiveState) {
        self.view.live(id, state);
    }
}

/// How one monitor came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByItself,
    Wanted,
}

async fn keep(
    mut launcher: Box<dyn Launcher>,
    job: MonitorJob,
    mut standing: watch::Receiver<Standing>,
    mut end: oneshot::Receiver<()>,
    patience: MonitorPatience,
) {
    loop {
        let again_at = Instant::now() + patience.pause;
        match launcher.launch() {
            Err(error) => tracing::warn!(%error, "the programme monitor cannot be started"),
            Ok(running) => {
                tracing::info!(pid = running.pid, "programme monitor started");
                if attend(running, &job, &mut standing, &mut end, patience).await == Ended::Wanted {
                    return;
                }
                tracing::warn!("the programme monitor has ended; another one takes its place");
            }
        }
        tokio::select! {
            () = sleep_until(again_at) => {}
            _ = &mut end => return,
        }
    }
}

async fn attend(
    mut running: Running,
    job: &MonitorJob,
    standing: &mut watch::Receiver<Standing>,
    end: &mut oneshot::Receiver<()>,
    patience: MonitorPatience,
) -> Ended {
    let link = running.socket.try_clone().map_err(Into::into).and_then(Link::<FromMonitor, ToMonitor>::open);
    let mut link = match link.and_then(|link| link.outgoing.send(ToMonitor::Job(job.clone())).map(|()| link)) {
        Ok(link) => link,
        Err(error) => {
            tracing::warn!(%error, "the programme monitor cannot be told what to do");
            leave(running, patience).await;
            return Ended::ByItself;
        }
    };
    standing.mark_changed();
    let mut heard = Instant::now();
    let mut viewers = 0;
    let ended = loop {
        tokio::select! {
            _ = &mut *end => break Ended::Wanted,
            _ = &mut running.exited => return Ended::ByItself,
            said = link.incoming.next() => match said {
                Ok(Some(FromMonitor::Alive { viewers: now })) => {
                    heard = Instant::now();
                    if now != viewers {
                        tracing::info!(viewers = now, "people watch the programme monitor");
                        viewers = now;
                    }
                }
                // It is about to end, or cannot be understood.
                Ok(None) | Err(_) => break Ended::ByItself,
            },
            () = sleep_until(heard + patience.silence) => {
                tracing::warn!("the programme monitor stands still; killing it");
                (running.signal)(Signal::SIGKILL);
                break Ended::ByItself;
            }
            changed = standing.changed() => {
                let now = standing.borrow_and_update().clone();
                if changed.is_err() || link.outgoing.send(ToMonitor::Standing(now)).is_err() {
                    break Ended::ByItself;
                }
            }
        }
    };
    drop(link);
    leave(running, patience).await;
    ended
}

/// Its socket is closed: it goes, or is killed.
async fn leave(running: Running, patience: MonitorPatience) {
    let Running { socket, mut exited, signal, .. } = running;
    // The last descriptor of the socket, or it would never see the end.
    drop(socket);
    if timeout(patience.exit, &mut exited).await.is_err() {
        signal(Signal::SIGKILL);
        // Killed, it goes; one that waits for a dead disk is left behind.
        let _ = timeout(patience.exit, exited).await;
    }
}

/// What the page may know.
fn standing_of(snapshot: &Snapshot) -> Standing {
    let Snapshot { state, elapsed, status, recordings, lives, uploads, .. } = snapshot;
    let mut targets: Vec<_> = recordings.iter().map(|one| recording(one, *state)).collect();
    targets.extend(lives.iter().enumerate().map(|(index, live)| TargetStanding {
        name: nameless(live.id.to_string(), "RTMP", index + 1),
        kind: Kind::Live,
        state: live_state(live),
        bytes: live.figures.confirmed_bytes,
    }));
    targets.extend(uploads.each.iter().enumerate().map(|(index, upload)| TargetStanding {
        name: format!("S3 {}", index + 1),
        kind: Kind::Upload,
        state: match &upload.status.state {
            State::Following | State::Finishing => TargetState::Uploading,
            State::Retrying(_) => TargetState::UploadRetrying,
            State::Refused(_) => TargetState::UploadRefused,
            State::Stored => TargetState::Stored,
            State::Abandoned => TargetState::Lost,
        },
        bytes: upload.status.sent,
    }));
    Standing {
        elapsed_s: elapsed.as_secs(),
        people: status.people,
        tiles: status.tiles,
        fps: status.fps,
        pictures: status.pictures,
        repeated: status.repeated,
        encoder_lag_ms: u64::try_from(status.encoder_lag.as_millis()).unwrap_or(u64::MAX),
        targets,
    }
}

fn recording(recording: &RecordingSnapshot, session: SessionState) -> TargetStanding {
    let seconds = recording.recorded.as_secs();
    let state = match (recording.began, session) {
        (false, _) => TargetState::Waiting,
        // It goes on when the next worker is in the room.
        (true, SessionState::Entering) => TargetState::Interrupted { seconds },
        (true, _) => TargetState::Recording { seconds },
    };
    TargetStanding { name: recording.id.to_string(), kind: Kind::Recording, state, bytes: recording.bytes }
}

/// A name from the configuration as it is; a number in the place of an address.
fn nameless(name: String, kind: &str, number: usize) -> String {
    if name.contains("://") { format!("{kind} {number}") } else { name }
}

fn live_state(live: &LiveStand) -> TargetState {
    match &live.state {
        None => TargetState::Waiting,
        Some(LiveState::Connecting) => TargetState::Connecting,
        Some(LiveState::Live) => TargetState::Live,
        Some(LiveState::Behind { by_s }) => TargetState::Behind { by_s: *by_s },
        Some(LiveState::Retrying { attempt, reason, .. }) => {
            TargetState::Retrying { attempt: *attempt, reason: reason.sentence().into() }
        }
        Some(LiveState::Refused { attempt, reason, .. }) => {
            TargetState::Refused { attempt: *attempt, reason: reason.sentence().into() }
        }
        Some(LiveState::Ended) => TargetState::Ended,
    }
}

#[cfg(test)]
#[path = "monitor_keeper_tests.rs"]
mod tests;
