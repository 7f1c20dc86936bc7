//! The processes of a running product: finding them, and ending them as crashes do.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::until;

/// Which part of the product a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The process that was started.
    Supervisor,
    /// Makes the recording.
    Worker,
    /// Plays the simulated meeting.
    Actors,
    /// Anything else.
    Other,
}

/// A process and everything below it.
#[derive(Clone, Debug)]
pub struct Family {
    /// Process ids and roles, parents first.
    pub members: Vec<(u32, Role)>,
}

impl Family {
    /// Everything below the supervisor, and itself.
    pub fn of(supervisor: u32) -> Family {
        let mut members = vec![(supervisor, Role::Supervisor)];
        let mut next = 0;
        while let Some((pid, _)) = members.get(next).copied() {
            next += 1;
            for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                members
                    .extend(children.split_whitespace().filter_map(|child| child.parse().ok()).map(|child| (child, role(child))));
            }
        }
        Family { members }
    }

    /// The process with this role.
    pub fn the(&self, wanted: Role) -> Option<u32> {
        self.members.iter().find(|(_, role)| *role == wanted).map(|(pid, _)| *pid)
    }

    /// Kills all of them at the same instant: nobody sees another one die.
    pub fn kill(&self) {
        for (pid, _) in &self.members {
            send(*pid, Signal::SIGSTOP);
        }
        for (pid, _) in &self.members {
            send(*pid, Signal::SIGKILL);
        }
    }

    /// Waits until none of them is left.
    pub fn is_gone_within(&self, limit: Duration) {
        let left = || self.members.iter().filter(|(pid, _)| runs(*pid)).collect::<Vec<_>>();
        until(limit, "no process is left", || left().is_empty().then_some(()));
    }
}

/// Waits for the process with this role below a supervisor.
pub fn process(supervisor: u32, role: Role) -> u32 {
    until(Duration::from_secs(20), "the process is there", || Family::of(supervisor).the(role))
}

/// Sends a signal to a process of the product's; one that is gone does not need it.
pub fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal);
}

/// A process that has ended and waits for its parent does not run.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// What the processes of this product call themselves.
fn role(pid: u32) -> Role {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    match words {
        words if words.contains(&&b"worker"[..]) => Role::Worker,
        words if words.contains(&&b"rehearsal-actors"[..]) => Role::Actors,
        _ => Role::Other,
    }
}
