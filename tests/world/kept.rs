//! Servers that end when this process ends, however it ends, and leave nothing behind.
//!
//! A shell between us and the server waits for the end of its standard input, which is a pipe of ours. Then it ends the server by its process id, and
//! removes the folder. So a server may be shared by all tests of a program, which ends without dropping what is shared.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::family::send;
use super::wait;

/// `sh -c SCRIPT name LOG FOLDER PROGRAM ARGUMENT…`; a folder of no name is left alone.
const SCRIPT: &str = r#"
log=$1 folder=$2
shift 2
# Whoever interrupts the tests from a terminal interrupts us, too: our end comes with the pipe's.
trap "" INT HUP
"$@" </dev/null >>"$log" 2>&1 &
server=$!
echo "$server"
cat >/dev/null
kill -TERM "$server"
(sleep 15; kill -KILL "$server") &
guard=$!
wait "$server"
kill "$guard"
[ -z "$folder" ] || rm -rf "$folder"
"#;

/// A running server.
pub struct Kept {
    shell: Child,
    server: u32,
}

/// What is run, and where it writes.
pub struct Program<'a> {
    /// The program and its arguments.
    pub words: Vec<&'a OsStr>,
    /// Variables beside ours.
    pub variables: Vec<(&'static str, String)>,
    /// Where its output goes.
    pub log: &'a Path,
    /// What is removed after its end.
    pub folder: Option<PathBuf>,
}

impl Kept {
    /// Starts a server; nobody knows yet whether it answers.
    pub fn start(program: Program<'_>) -> Kept {
        File::options().create(true).append(true).open(program.log).expect("a log");
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "kept"]).arg(program.log).arg(program.folder.unwrap_or_default()).args(program.words);
        command.envs(program.variables).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("sh runs");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut line).expect("the shell says who the server is");
        let server = line.trim().parse().expect("a process id");
        Kept { shell, server }
    }

    /// Ends the server at once, as a crash does; the shell keeps its process id from being anybody else's until then.
    pub fn kill(self) {
        send(self.server, Signal::SIGKILL);
    }

    /// Stops the server where it is, or lets it go on.
    pub fn freeze(&self, is_frozen: bool) {
        send(self.server, if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT });
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let ended = wait(&mut self.shell, Duration::from_secs(20));
        assert!(ended.is_some() || std::thread::panicking(), "a server does not end");
    }
}
