//! Where log lines go: standard error, as text or JSON, for supervisor and workers alike.
//!
//! In: the `log` section and `RUST_LOG`. Out: the installed subscriber. Called once in each process, first of all.
//! Refuses details of libraries, which hold secrets; a filter that is not understood was refused by the configuration. A reader of standard error
//! that went away costs log lines, and nothing else.

use std::io::{IsTerminal, StderrLock, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Installs the subscriber of this process. A second call changes nothing.
pub fn start(log: &Log) {
    let filter = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| log.filter.clone());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_ansi(terminal).with_writer(Lines { terminal });
    let chosen = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_said));
    let installed = match log.format {
        LogFormat::Text => chosen.with(lines).try_init(),
        LogFormat::Json => chosen.with(lines.json().flatten_event(true)).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Whatever the filter asks for, libraries tell no details: they log requests with their tokens, and passwords of connections.
fn may_be_said(what: &Metadata<'_>) -> bool {
    let library = what.target().split("::").next().unwrap_or_default();
    // What happens to the broker's connection we say ourselves; to lapin a connection that is lost is an error.
    matches!(library, "roomcast" | "recorder_core") || (library != "lapin" && *what.level() <= Level::INFO)
}

/// Standard error; on a terminal each line first clears the progress line that may stand there.
struct Lines {
    terminal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<StderrLock<'static>>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { out: std::io::stderr().lock(), clear: self.terminal }
    }
}

/// One line.
struct Line<W> {
    out: W,
    clear: bool,
}

impl<W: Write> Write for Line<W> {
    /// Never fails: the subscriber would report the failure with `eprintln!`, which panics when standard error is closed.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if std::mem::take(&mut self.clear) {
            let _ = self.out.write_all(b"\r\x1b[K");
        }
        let _ = self.out.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = self.out.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let mut line = Line { out: Closed, clear: true };
        assert!(line.write_all(b"something").and_then(|()| line.flush()).is_ok());
    }

    #[test]
    fn a_terminal_line_is_cleared_once() {
        let mut line = Line { out: Vec::new(), clear: true };
        line.write_all(b"one").and_then(|()| line.write_all(b"two")).unwrap();
        assert_eq!(line.out, b"\r\x1b[Konetwo");
    }
}
