//! Starts worker and monitor processes and hears of their end.
//!
//! In: nothing but the wish. Out: a [`Running`] worker: its socket, a way to signal it, and its [`Exit`]. One parked thread a worker waits for
//! its end. Refuses to signal a process that was already waited for, whose number may belong to somebody else by now.
//! A worker is not killed with its supervisor: when its socket closes it ends its Takes itself.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use recorder_core::supervision::Death;
use tokio::sync::oneshot;

use super::link;
use crate::config::is_secret_variable;

/// How a worker ended.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// The status, as the death that it is if no last message came before.
    pub how: Death,
    /// Processor time that the process used in its life.
    pub cpu: Duration,
}

/// A worker that was started.
pub struct Running {
    /// The supervisor's end of the private socket.
    pub socket: UnixStream,
    /// Comes when the process is gone.
    pub exited: oneshot::Receiver<Exit>,
    /// Sends a signal, if the process is still there.
    pub signal: Box<dyn Fn(Signal) + Send>,
    /// Process number, for measuring it.
    pub pid: Option<u32>,
}

/// Starts workers.
pub trait Launcher: Send {
    /// Starts one.
    ///
    /// # Errors
    /// No process, file descriptor or memory is left.
    fn launch(&mut self) -> io::Result<Running>;
}

/// Starts this same program with arguments of its own: `roomcast worker --link FD`.
#[derive(Debug)]
pub struct OwnProgram {
    /// Arguments before `--link FD`.
    pub arguments: Vec<String>,
}

impl Launcher for OwnProgram {
    fn launch(&mut self) -> io::Result<Running> {
        // Also right when the file was replaced by an upgrade meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("roomcast").args(&self.arguments);
        without_secrets(&mut command);
        start(command, "--link")
    }
}

/// Starts this same program as a monitor: `roomcast monitor --listen FD --link FD`.
#[derive(Debug)]
pub struct OwnMonitor {
    /// Arguments before those.
    pub arguments: Vec<String>,
    /// Where viewers come to; each monitor gets it, so that viewers can wait for the next one.
    pub listener: TcpListener,
}

impl Launcher for OwnMonitor {
    fn launch(&mut self) -> io::Result<Running> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("roomcast").args(&self.arguments);
        without_secrets(&mut command);
        leave(&mut command, "--listen", self.listener.as_raw_fd());
        start(command, "--link")
    }
}

/// From now on a crash of this process, or of a child, leaves no core dump: it would hold stream keys and tokens.
///
/// # Errors
/// The system refuses.
pub fn leave_no_core_dump() -> io::Result<()> {
    // A limit of 0 keeps files away, but not a program that the system gives dumps to; one of 1 byte keeps away both (core(5)).
    Ok(setrlimit(Resource::RLIMIT_CORE, 1, 1)?)
}

/// From now on this process, and its children, may open as many files as the system allows at all: each Session and each viewer needs some twenty, and the usual
/// limit is one for programs that wait by `select`.
pub fn allow_many_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::debug!(%error, "the number of descriptors stays as it is");
    }
}

/// Whoever may read the environment of a child finds no secret in it.
pub fn without_secrets(command: &mut Command) {
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(is_secret_variable) {
            command.env_remove(variable);
        }
    }
}

/// Starts `command` with `flag` and the number of its socket as last arguments.
fn start(mut command: Command, flag: &str) -> io::Result<Running> {
    let (ours, theirs) = link::pair().map_err(io::Error::other)?;
    let fd = theirs.as_raw_fd();
    // A group of its own: Ctrl-C on the terminal reaches the supervisor only. Standard output belongs to the supervisor.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    leave(&mut command, flag, fd);
    let child = command.spawn()?;
    drop(theirs);
    let pid = Pid::from_raw(child.id() as i32);
    // Guards "was not waited for yet"; held for one system call.
    let there = Arc::new(Mutex::new(true));
    let (ended, exited) = oneshot::channel();
    let waiter_there = Arc::clone(&there);
    std::thread::Builder::new().name(format!("wait-{pid}")).spawn(move || {
        let exit = wait(pid, &waiter_there);
        let _ = ended.send(exit);
    })?;
    let signal = Box::new(move |signal| {
        let there = there.lock().unwrap_or_else(PoisonError::into_inner);
        if *there && let Err(error) = kill(pid, signal) {
            tracing::debug!(%error, %signal, "signal not sent");
        }
    });
    Ok(Running { socket: ours, exited, signal, pid: Some(child.id()) })
}

/// Leaves a descriptor open for the new process, and tells it the number after `flag`.
fn leave(command: &mut Command, flag: &str, fd: RawFd) {
    command.arg(flag).arg(fd.to_string());
    // SAFETY: fcntl is async-signal-safe, and touches only the copy of the descriptor table in the new process.
    unsafe {
        command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

fn wait(pid: Pid, there: &Mutex<bool>) -> Exit {
    // First wait without taking the process out of the table, so that its number stays its own until the lock is held.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {}
    let mut there = there.lock().unwrap_or_else(PoisonError::into_inner);
    *there = false;
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of this plain struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    unsafe { libc::wait4(pid.as_raw(), &mut status, 0, &mut usage) };
    let status = ExitStatus::from_raw(status);
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => Death::Signal(signal),
        (None, code) => Death::Exit(code.unwrap_or(-1)),
    };
    Exit { how, cpu: time(usage.ru_utime) + time(usage.ru_stime) }
}

fn time(value: libc::timeval) -> Duration {
    Duration::from_secs(value.tv_sec.unsigned_abs()) + Duration::from_micros(value.tv_usec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn shell(script: &str) -> Running {
        let mut command = Command::new("bash");
        command.args(["-c", script, "sh"]);
        start(command, "--link").unwrap()
    }

    #[tokio::test]
    async fn the_socket_reaches_the_new_process_and_its_end_is_told() {
        let mut worker = shell("cat <&$2 >&$2; exit 7");
        worker.socket.write_all(b"hello").unwrap();
        worker.socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = String::new();
        worker.socket.read_to_string(&mut back).unwrap();
        assert_eq!(back, "hello");
        assert_eq!(worker.exited.await.unwrap().how, Death::Exit(7));
    }

    #[tokio::test]
    async fn a_second_worker_does_not_hold_the_socket_of_the_first() {
        let mut first = shell("exit 0");
        let second = shell("exec sleep 600");
        let mut rest = Vec::new();
        // Would wait for ever if the second process had a copy of the far end.
        first.socket.read_to_end(&mut rest).unwrap();
        (second.signal)(Signal::SIGKILL);
        assert_eq!(second.exited.await.unwrap().how, Death::Signal(9));
        (second.signal)(Signal::SIGKILL);
        assert_eq!(first.exited.await.unwrap().how, Death::Exit(0));
    }
}
