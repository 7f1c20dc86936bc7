//! What a person at the command line sees: lines that renew themselves, and a small table at the end.
//!
//! In: [`Snapshot`]s and the [`Outcome`]. Out: text for a terminal (a line of at most 80 columns for the Session, and one for each Target that
//! is elsewhere) or a file (the same lines each 10 s, and one for each change of a live destination).
//! Runs on the supervisor's task; a terminal that cannot be written to is not worth a recording, so errors are passed over.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use recorder_core::fault::Fault;
use recorder_core::ids::TargetId;
use recorder_core::live::LiveState;
use recorder_core::time::SessionTime;
use recorder_core::upload::State;

use super::supervisor::{LiveStand, Outcome, Snapshot, View};
use crate::storage::recording_uploads::{UploadOf, Uploads};

/// Where the progress goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Screen {
    /// Lines that are renewed.
    Terminal,
    /// Lines each 10 s.
    Plain,
}

/// Time between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows progress.
pub struct Progress<W> {
    out: W,
    screen: Screen,
    next_plain: Duration,
    /// Lines that stand on the terminal, the cursor at the end of the last one.
    drawn: usize,
    /// When uploads after the end were shown last, and what.
    uploads_shown: Option<(Instant, Vec<String>)>,
}

impl<W: Write + Send> Progress<W> {
    /// Progress on `out`.
    pub fn new(out: W, screen: Screen) -> Self {
        Self { out, screen, next_plain: Duration::ZERO, drawn: 0, uploads_shown: None }
    }

    /// Ends the lines that renew themselves.
    pub fn end(&mut self) {
        if self.screen == Screen::Terminal {
            let up = self.up();
            let _ = write!(self.out, "{up}\x1b[J").and_then(|()| self.out.flush());
            self.drawn = 0;
        }
    }

    /// Shows how uploads get on when the Session is over.
    pub fn uploads(&mut self, uploads: &Uploads) {
        let lines = upload_lines(uploads);
        match self.screen {
            Screen::Terminal => self.draw(&lines),
            Screen::Plain => {
                let is_news =
                    self.uploads_shown.as_ref().is_none_or(|(at, shown)| *shown != lines && at.elapsed() >= PLAIN_EVERY);
                if is_news {
                    self.write(&lines);
                    self.uploads_shown = Some((Instant::now(), lines));
                }
            }
        }
    }

    /// Whole lines, at once: the worker writes its log to the same file.
    fn write(&mut self, lines: &[String]) {
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let _ = self.out.write_all(text.as_bytes());
    }

    /// Back to where the drawn lines begin.
    fn up(&self) -> String {
        match self.drawn {
            0 | 1 => "\r".to_owned(),
            lines => format!("\r\x1b[{}A", lines - 1),
        }
    }

    fn draw(&mut self, lines: &[String]) {
        // Without automatic wrap (DECAWM), or a narrow terminal would keep the upper rows of each line.
        let text: Vec<String> = lines.iter().map(|line| format!("\x1b[K{line}")).collect();
        let up = self.up();
        let _ = write!(self.out, "{up}\x1b[?7l{}\x1b[?7h", text.join("\n")).and_then(|()| self.out.flush());
        self.drawn = lines.len();
    }
}

impl<W: Write + Send> View for Progress<W> {
    fn progress(&mut self, snapshot: &Snapshot) {
        if self.screen == Screen::Plain && snapshot.elapsed < self.next_plain {
            return;
        }
        let mut lines = vec![line(snapshot)];
        lines.extend(snapshot.lives.iter().map(live_line));
        lines.extend(upload_lines(&snapshot.uploads));
        match self.screen {
            Screen::Terminal => self.draw(&lines),
            Screen::Plain => {
                self.next_plain = snapshot.elapsed + PLAIN_EVERY;
                self.write(&lines);
            }
        }
    }

    fn tell(&mut self, fault: &Fault) {
        self.end();
        self.write(std::slice::from_ref(&fault.sentence));
    }

    fn live(&mut self, id: &TargetId, state: &LiveState) {
        // On a terminal its own line shows it.
        if self.screen == Screen::Plain && !matches!(state, LiveState::Behind { .. }) {
            self.write(&[format!("{id}: {}", live_words(Some(state)))]);
        }
    }
}

/// `00:01:05 rec   4 people   4 tiles   30.0 fps   lag   3 ms    12.4 MB`
fn line(snapshot: &Snapshot) -> String {
    let Snapshot { elapsed, status, bytes, recording, lives, .. } = snapshot;
    let is_on_air = lives.iter().any(|live| matches!(live.state, Some(LiveState::Live | LiveState::Behind { .. })));
    let state = match (recording, is_on_air) {
        (true, _) => "rec",
        (false, true) => "air",
        (false, false) => "...",
    };
    let lag_ms = status.encoder_lag.as_millis();
    let people = plural(status.people, "person", "people");
    let tiles = plural(status.tiles, "tile", "tiles");
    let (clock, size) = (clock(*elapsed), size(*bytes));
    format!("{clock} {state}  {people:>10}  {tiles:>8}  {:>5.1} fps  lag {lag_ms:>4} ms  {size:>9}", status.fps)
}

/// `  youtube   live   45.2 MB   23 ms   0 left out`
fn live_line(live: &LiveStand) -> String {
    let LiveStand { id, state, figures, .. } = live;
    let mut line = format!("  {:<29} ", id.to_string());
    line.push_str(&live_words(state.as_ref()));
    if figures.publishings > 0 {
        let _ = write!(
            line,
            "   {}   {} ms   {} left out",
            size(figures.confirmed_bytes),
            figures.round_trip.as_millis(),
            figures.left_out
        );
    }
    line
}

fn live_words(state: Option<&LiveState>) -> String {
    let tried = |word: &str, attempt: u32, at: SessionTime, why: &str| {
        format!("{word} (attempt {attempt} at {}): {why}", clock(at.since(SessionTime::ZERO)))
    };
    match state {
        None => "waiting".into(),
        Some(LiveState::Connecting) => "connecting".into(),
        Some(LiveState::Live) => "live".into(),
        Some(LiveState::Behind { by_s }) => format!("live, behind by {by_s} s"),
        Some(LiveState::Retrying { attempt, at, reason }) => tried("retrying", *attempt, *at, reason.sentence()),
        Some(LiveState::Refused { attempt, at, reason }) => tried("refused", *attempt, *at, reason.sentence()),
        Some(LiveState::Ended) => "ended".into(),
    }
}

/// `  s3://team/standup.mp4   uploading   12.4 of 13.0 MB`
fn upload_lines(uploads: &Uploads) -> Vec<String> {
    let fault = uploads.fault.iter().map(|fault| format!("  {:<29} {}", "uploads", fault.sentence));
    uploads.each.iter().map(upload_line).chain(fault).collect()
}

fn upload_line(upload: &UploadOf) -> String {
    let UploadOf { bucket, status, .. } = upload;
    let words = match &status.state {
        State::Following | State::Finishing => format!("uploading   {} of {}", size(status.sent), size(status.known)),
        State::Retrying(fault) => format!("retrying    {} of {}: {}", size(status.sent), size(status.known), fault.sentence),
        State::Refused(fault) => format!("refused     {} of {}: {}", size(status.sent), size(status.known), fault.sentence),
        State::Stored => format!("stored      {}", size(status.known)),
        State::Abandoned => "not stored: the recording cannot be used".into(),
    };
    format!("  {:<29} {words}", format!("s3://{bucket}/{}", status.key))
}

/// How the uploads ended.
pub fn uploads_table(uploads: &Uploads) -> String {
    upload_lines(uploads).into_iter().map(|line| line + "\n").collect()
}

fn plural(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `00:01:05`
pub(crate) fn clock(time: Duration) -> String {
    let s = time.as_secs();
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// In powers of 1000, as file managers show it.
pub(crate) fn size(bytes: u64) -> String {
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
    // A Session that only streams has recorded nothing.
    if seconds > 0.0 || outcome.last.lives.is_empty() {
        row("duration", format!("{seconds:.1} s"));
        row("size", size(files.iter().map(|(_, bytes)| bytes).sum()));
    }
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
    for live in &outcome.last.lives {
        let _ = writeln!(text, "{}", live_line(live));
    }
    text
}

#[cfg(test)]
mod tests {
    use recorder_core::live::{CertificateFault, Reason};
    use recorder_core::upload;

    use super::*;
    use crate::service::job::Status;
    use crate::target::rtmp::LiveFigures;

    fn snapshot(seconds: u64) -> Snapshot {
        let status = Status { people: 4, tiles: 4, fps: 30.0, encoder_lag: Duration::from_millis(3), ..Status::default() };
        Snapshot { elapsed: Duration::from_secs(seconds), status, bytes: 12_400_000, recording: true, ..Snapshot::default() }
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
            text.starts_with("\r\x1b[?7l\x1b[K00:00:00") && text.ends_with("\x1b[?7h"),
            "cut, not wrapped, on a narrow terminal"
        );
    }

    fn with_targets(state: LiveState) -> Snapshot {
        let figures = LiveFigures {
            confirmed_bytes: 45_200_000,
            publishings: 2,
            left_out: 7,
            round_trip: Duration::from_millis(23),
            ..LiveFigures::default()
        };
        let live = LiveStand { state: Some(state), figures, ..LiveStand::new(TargetId::new("youtube")) };
        let status = upload::Status { state: State::Following, key: "standup.mp4".into(), sent: 8_000_000, known: 12_400_000 };
        let upload = UploadOf { file: "recording.mp4".into(), storage: "s3".into(), bucket: "team".into(), status };
        let uploads = Uploads { each: vec![upload], fault: None, over: false };
        Snapshot { lives: vec![live], uploads, ..snapshot(65) }
    }

    #[test]
    fn each_target_has_its_line() {
        let at = SessionTime::from_millis(70_000);
        for (state, words) in [
            (LiveState::Connecting, "connecting"),
            (LiveState::Live, "live"),
            (LiveState::Behind { by_s: 4 }, "live, behind by 4 s"),
            (
                LiveState::Retrying { attempt: 3, at, reason: Reason::ConnectionRefused },
                "retrying (attempt 3 at 00:01:10): The server refuses the connection.",
            ),
            (
                LiveState::Refused { attempt: 2, at, reason: Reason::Certificate(CertificateFault::Expired) },
                "refused (attempt 2 at 00:01:10): The certificate of the server has expired.",
            ),
            (LiveState::Ended, "ended"),
        ] {
            let mut plain = Progress::new(Vec::new(), Screen::Plain);
            plain.progress(&with_targets(state));
            let text = String::from_utf8(plain.out).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[1], format!("  youtube                       {words}   45.2 MB   23 ms   7 left out"));
            assert_eq!(lines[2], "  s3://team/standup.mp4         uploading   8.0 MB of 12.4 MB");
        }
    }

    #[test]
    fn a_terminal_keeps_one_line_for_each_target() {
        let mut terminal = Progress::new(Vec::new(), Screen::Terminal);
        (0..5).for_each(|_| terminal.progress(&with_targets(LiveState::Live)));
        terminal.tell(&nothing());
        let text = String::from_utf8(terminal.out).unwrap();
        assert_eq!(text.matches("\x1b[2A").count(), 5, "back over three lines, four times to draw and once to end: {text:?}");
        assert!(text.ends_with("\x1b[JNothing.\n"));
    }

    fn nothing() -> Fault {
        use recorder_core::fault::{Blame, Retry, Scope};
        Fault { scope: Scope::Session, blame: Blame::Us, retry: Retry::Never, sentence: "Nothing.".into() }
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
