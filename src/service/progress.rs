//! What a person at the command line sees: one line that renews itself, and a small table at the end.
//!
//! In: [`Snapshot`]s and the [`Outcome`]. Out: text for a terminal (one line, at most 80 columns) or a file (a line each 10 s).
//! Runs on the supervisor's task; a terminal that cannot be written to is not worth a recording, so errors are passed over.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use recorder_core::fault::Fault;

use super::supervisor::{Outcome, Snapshot, View};

/// Where the progress goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Screen {
    /// One line, renewed.
    Terminal,
    /// A line each 10 s.
    Plain,
}

/// Time between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows progress.
pub struct Progress<W> {
    out: W,
    screen: Screen,
    next_plain: Duration,
}

impl<W: Write + Send> Progress<W> {
    /// Progress on `out`.
    pub fn new(out: W, screen: Screen) -> Self {
        Self { out, screen, next_plain: Duration::ZERO }
    }

    /// Ends the line that renews itself.
    pub fn end(&mut self) {
        if self.screen == Screen::Terminal {
            let _ = self.out.write_all(b"\r\x1b[K").and_then(|()| self.out.flush());
        }
    }
}

impl<W: Write + Send> View for Progress<W> {
    fn progress(&mut self, snapshot: &Snapshot) {
        let line = line(snapshot);
        let _ = match self.screen {
            // Without automatic wrap (DECAWM), or a narrow terminal would keep the upper rows of each line.
            Screen::Terminal => write!(self.out, "\r\x1b[K\x1b[?7l{line}\x1b[?7h").and_then(|()| self.out.flush()),
            Screen::Plain if snapshot.elapsed >= self.next_plain => {
                self.next_plain = snapshot.elapsed + PLAIN_EVERY;
                writeln!(self.out, "{line}")
            }
            Screen::Plain => Ok(()),
        };
    }

    fn tell(&mut self, fault: &Fault) {
        self.end();
        let _ = writeln!(self.out, "{}", fault.sentence);
    }
}

/// `00:01:05 rec   4 people   4 tiles   30.0 fps   lag   3 ms    12.4 MB`
fn line(snapshot: &Snapshot) -> String {
    let Snapshot { elapsed, status, bytes, recording } = snapshot;
    let state = if *recording { "rec" } else { "..." };
    let lag_ms = status.encoder_lag.as_millis();
    let people = plural(status.people, "person", "people");
    let tiles = plural(status.tiles, "tile", "tiles");
    let (clock, size) = (clock(*elapsed), size(*bytes));
    format!("{clock} {state}  {people:>10}  {tiles:>8}  {:>5.1} fps  lag {lag_ms:>4} ms  {size:>9}", status.fps)
}

fn plural(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn clock(time: Duration) -> String {
    let s = time.as_secs();
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// In powers of 1000, as file managers show it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A/V offset read from a finished file.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct SyncFigure {
    /// Median over all people and seconds; positive: the sound is late.
    pub median_ms: f64,
    /// The one farthest from zero.
    pub worst_ms: f64,
}

/// The files' paths and the table of figures.
pub fn table(files: &[(&Path, u64)], outcome: &Outcome, sync: Option<SyncFigure>) -> String {
    let mut text = String::new();
    for (file, _) in files {
        let _ = writeln!(text, "{}", file.display());
    }
    let status = &outcome.last.status;
    let seconds = outcome.recorded.as_secs_f64();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<28}{value}");
    };
    row("duration", format!("{seconds:.1} s"));
    row("size", size(files.iter().map(|(_, bytes)| bytes).sum()));
    row("frames made", status.pictures.to_string());
    row("frames repeated", status.repeated.to_string());
    if let Some(SyncFigure { median_ms, worst_ms }) = sync {
        row("A/V offset", format!("{median_ms:+.1} ms median, {worst_ms:+.1} ms worst"));
    }
    if seconds > 0.0 {
        row("CPU seconds per second", format!("{:.2}", outcome.cpu.as_secs_f64() / seconds));
    }
    row("peak memory", format!("{:.0} MiB", outcome.peak_memory_bytes as f64 / f64::from(1 << 20)));
    if outcome.workers > 1 {
        row("workers replaced", (outcome.workers - 1).to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::job::Status;

    fn snapshot(seconds: u64) -> Snapshot {
        let status = Status { people: 4, tiles: 4, fps: 30.0, encoder_lag: Duration::from_millis(3), ..Status::default() };
        Snapshot { elapsed: Duration::from_secs(seconds), status, bytes: 12_400_000, recording: true }
    }

    #[test]
    fn the_line_fits_a_terminal_in_the_worst_case() {
        assert_eq!(line(&snapshot(65)), "00:01:05 rec    4 people   4 tiles   30.0 fps  lag    3 ms    12.4 MB");
        let mut large = snapshot(99 * 3600);
        large.status.people = 999;
        large.status.tiles = 99;
        large.status.encoder_lag = Duration::from_millis(9999);
        large.bytes = 123_000_000_000;
        assert!(line(&large).chars().count() < 80, "{}", line(&large));
    }

    #[test]
    fn a_file_gets_a_line_each_ten_seconds_and_a_terminal_one_line() {
        let mut plain = Progress::new(Vec::new(), Screen::Plain);
        (0..=25).for_each(|s| plain.progress(&snapshot(s)));
        let text = String::from_utf8(plain.out).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains('\x1b') && !text.contains('\r'));
        let mut terminal = Progress::new(Vec::new(), Screen::Terminal);
        (0..=25).for_each(|s| terminal.progress(&snapshot(s)));
        let text = String::from_utf8(terminal.out).unwrap();
        assert!(!text.contains('\n'));
        assert!(
            text.starts_with("\r\x1b[K\x1b[?7l00:00:00") && text.ends_with("\x1b[?7h"),
            "cut, not wrapped, on a narrow terminal"
        );
    }

    #[test]
    fn the_table_has_every_figure() {
        let outcome = Outcome {
            last: Snapshot { status: Status { pictures: 600, repeated: 2, ..Status::default() }, ..snapshot(20) },
            recorded: Duration::from_secs(20),
            cpu: Duration::from_secs(12),
            peak_memory_bytes: 200 << 20,
            workers: 2,
            ..Outcome::default()
        };
        let sync = SyncFigure { median_ms: 1.26, worst_ms: -20.0 };
        let text = table(&[(Path::new("recordings/a.mp4"), 8_000_000)], &outcome, Some(sync));
        assert_eq!(
            text,
            "recordings/a.mp4\n\
             \x20 duration                    20.0 s\n\
             \x20 size                        8.0 MB\n\
             \x20 frames made                 600\n\
             \x20 frames repeated             2\n\
             \x20 A/V offset                  +1.3 ms median, -20.0 ms worst\n\
             \x20 CPU seconds per second      0.60\n\
             \x20 peak memory                 200 MiB\n\
             \x20 workers replaced            1\n"
        );
        assert!(!table(&[], &outcome, None).contains("A/V"));
    }
}
