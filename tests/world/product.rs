//! Runs the product as a user does, and keeps what it says.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{signal, until, wait};

/// A running `roomcast`.
pub struct Product {
    child: Child,
    folder: PathBuf,
    begun: Instant,
}

/// The program under test: Cargo puts it into the folder above the one of the test programs.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("a test program");
    here.ancestors().nth(2).expect("a folder of Cargo").join("roomcast")
}

/// What is left of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub said: String,
    /// Standard error: the log.
    pub log: String,
}

impl Product {
    /// Starts the product. Its words go to `stdout` and `stderr` files in `folder`; `input` is given on standard input.
    pub fn start(folder: &Path, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Product {
        Self::start_by(&[], folder, arguments, environment, input)
    }

    /// The same by another program: its words come before the product and its arguments, and in the end it becomes the product.
    pub fn start_by(words: &[&str], folder: &Path, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Product {
        let program = program();
        let mut line = words.iter().map(OsStr::new).chain([program.as_os_str()]).chain(arguments.iter().map(OsStr::new));
        let file = |name: &str| File::create(folder.join(name)).expect("output file");
        let mut child = Command::new(line.next().expect("a program"))
            .args(line)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("roomcast starts");
        // A product that has ended already does not read; its outcome says why.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        Product { child, folder: folder.to_owned(), begun: Instant::now() }
    }

    /// Process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Time since it was started.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, which: Signal) {
        signal(&self.child, which);
    }

    /// Asks `roomcast health --ready`, by the configuration in this folder: whether it is ready, and what it says.
    pub fn health(&self, folder: &Path) -> (bool, String) {
        let asked = Command::new(program())
            .args(["--config", "roomcast.toml", "health", "--ready"])
            .current_dir(folder)
            .output()
            .expect("roomcast starts");
        let said = [asked.stdout, asked.stderr].concat();
        (asked.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    /// Waits until the log has this text.
    pub fn logs(&self, text: &str, limit: Duration) {
        until(limit, &format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }

    /// Argument lists of the supervisor and everything below it, to look for secrets.
    pub fn argument_lists(&self) -> String {
        let mut all = String::new();
        let mut pids = vec![self.child.id()];
        while let Some(pid) = pids.pop() {
            all.push_str(
                &std::fs::read(format!("/proc/{pid}/cmdline"))
                    .map(|raw| String::from_utf8_lossy(&raw).replace('\0', " "))
                    .unwrap_or_default(),
            );
            all.push('\n');
            for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                pids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        all
    }

    /// Waits for the end. Kills it and fails when it takes longer.
    pub fn finish(mut self, limit: Duration) -> Outcome {
        let status = wait(&mut self.child, limit);
        let read = |name: &str| String::from_utf8_lossy(&std::fs::read(self.folder.join(name)).unwrap_or_default()).into_owned();
        let Some(status) = status else {
            panic!("roomcast still runs after {limit:?}; its log:\n{}", read("stderr"));
        };
        Outcome { status, said: read("stdout"), log: read("stderr") }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Outcome {
    /// It ended well, and logged no error.
    pub fn is_well(&self) -> &Self {
        assert!(self.status.success(), "{}; log:\n{}", self.status, self.log);
        self.errors_only(&[])
    }

    /// Each error in the log has one of these texts.
    pub fn errors_only(&self, expected: &[&str]) -> &Self {
        let is_error =
            |line: &&str| line.contains(" ERROR ") || line.contains("\"level\":\"ERROR\"") || line.contains("panicked at");
        let unexpected: Vec<&str> =
            self.log.lines().filter(is_error).filter(|line| !expected.iter().any(|text| line.contains(text))).collect();
        assert!(unexpected.is_empty(), "errors in the log:\n{}", unexpected.join("\n"));
        self
    }

    /// None of the secrets is in what it said or in a file of the folder.
    pub fn keeps_secret(&self, folder: &Path, secrets: &[&str]) -> &Self {
        for secret in secrets {
            assert!(!self.said.contains(secret) && !self.log.contains(secret), "a secret was said");
        }
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(&next).expect("folder").flatten() {
                let path = entry.path();
                assert!(!secrets.iter().any(|secret| path.to_string_lossy().contains(secret)), "a secret is in a file name");
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let content = std::fs::read(&path).unwrap_or_default();
                for secret in secrets {
                    let is_there = content.windows(secret.len()).any(|part| part == secret.as_bytes());
                    assert!(!is_there, "a secret is in {}", path.display());
                }
            }
        }
        self
    }
}
