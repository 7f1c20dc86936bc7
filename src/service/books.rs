//! The books of a Session's recordings: what [`recorder_core::books`] says, with its times, on the way to the disk.
//!
//! In: what workers note and what the supervisor does. Out: lines for each recording that is open, in files beside it. Lives on the Session's task, and
//! never waits. It is the supervisor's, so that a worker that dies takes no line with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use recorder_core::books::{Chronicle, Dated, Entry, Event, FilmClock, Line, Note, What};
use recorder_core::fault::Fault;
use recorder_core::ids::{SessionId, TargetId};
use recorder_core::stage::ConsentRule;
use recorder_core::time::SessionTime;
use serde::Serialize;

use crate::storage::books::{Book, BookWriter, Closing};
use crate::storage::disk::SystemDisk;

/// Lines of a recording whose folder is still being made; more are lost, and counted.
const WAITING: usize = 4096;

/// All of a Session.
#[derive(Debug)]
pub(super) struct Books {
    /// Whether recordings have books.
    on: bool,
    chronicle: Chronicle,
    /// Session time zero, in nanoseconds since 1970.
    epoch_ns: i128,
    open: Vec<Volume>,
}

/// Those of one recording.
#[derive(Debug)]
struct Volume {
    target: TargetId,
    run: u32,
    film: FilmClock,
    pen: Pen,
}

#[derive(Debug)]
enum Pen {
    /// There is no folder yet.
    Waiting { lines: Vec<(Book, String)>, missed: u64 },
    /// There is.
    Writing(BookWriter),
    /// There cannot be one.
    Broken,
}

impl Books {
    /// Nothing is recorded yet. `now` is both the time of day and the session time.
    pub(super) fn new(on: bool, session: SessionId, rule: ConsentRule, layout: &str, now: (Timestamp, SessionTime)) -> Self {
        let epoch_ns = now.0.as_nanosecond() - i128::from(now.1.as_nanos());
        Self { on, chronicle: Chronicle::new(session, rule, layout), epoch_ns, open: Vec::new() }
    }

    /// A recording begins. Its lines wait until it has a folder.
    pub(super) fn begin(&mut self, target: &TargetId, run: u32, at: SessionTime) {
        self.open_volume(target, run, at, FilmClock::new());
    }

    /// A recording of which an earlier supervisor began the film goes on in its folder.
    pub(super) fn go_on(&mut self, target: &TargetId, run: u32, folder: PathBuf, at: SessionTime) {
        self.open_volume(target, run, at, FilmClock::of_a_begun_film());
        self.place(target, run, folder);
    }

    fn open_volume(&mut self, target: &TargetId, run: u32, at: SessionTime, film: FilmClock) {
        if !self.on {
            return;
        }
        // One that was wanted by a worker that died, before it had a folder.
        self.open.retain(|volume| volume.target != *target);
        let pen = Pen::Waiting { lines: Vec::new(), missed: 0 };
        let mut volume = Volume { target: target.clone(), run, film, pen };
        for line in self.chronicle.head(target, at) {
            volume.write(self.epoch_ns, &line);
        }
        self.open.push(volume);
    }

    /// The recording has this folder.
    pub(super) fn place(&mut self, target: &TargetId, run: u32, folder: PathBuf) {
        let found = self.open.iter_mut().find(|volume| volume.target == *target && volume.run == run);
        let Some(Volume { pen, .. }) = found else { return };
        let Pen::Waiting { lines, missed } = std::mem::replace(pen, Pen::Broken) else { return };
        match BookWriter::start(Arc::new(SystemDisk), folder) {
            Ok(writer) => {
                lines.into_iter().for_each(|(book, line)| writer.write(book, line));
                if missed > 0 {
                    tracing::warn!(target.id = %target, missed, "the books of a recording lack lines of its beginning");
                }
                *pen = Pen::Writing(writer);
            }
            Err(error) => tracing::error!(target.id = %target, %error, "a recording has no books"),
        }
    }

    /// The recording cannot begin.
    pub(super) fn forget(&mut self, target: &TargetId, run: u32) {
        self.open.retain(|volume| volume.target != *target || volume.run != run);
    }

    /// A worker saw something.
    pub(super) fn note(&mut self, at: SessionTime, note: Note) {
        if let Note::TakeBegins { target, from, .. } = &note {
            self.open.iter_mut().filter(|volume| volume.target == *target).for_each(|volume| volume.film.begins(*from));
        }
        let ended = match &note {
            Note::TakeEnds { target, until, .. } => Some((target.clone(), *until)),
            _ => None,
        };
        let lines = self.chronicle.note(at, note);
        self.write(&lines);
        if let Some((target, until)) = ended {
            self.film_ends(&target, until);
        }
    }

    /// The running Take of a recording lies there in its film: its first picture is of the instant `at`.
    pub(super) fn take_lies(&mut self, target: &TargetId, at: SessionTime, film: Duration) {
        self.open.iter_mut().filter(|volume| volume.target == *target).for_each(|volume| volume.film.lies(at, film));
    }

    /// A moderator wants something.
    pub(super) fn wanted(&mut self, target: &TargetId, what: What, at: SessionTime) {
        self.write(&[(at, Line::Event(Event::Wanted { target: target.clone(), what }))]);
    }

    /// An operator wants another layout.
    pub(super) fn layout(&mut self, name: &str, at: SessionTime) {
        let line = self.chronicle.layout(name, at);
        self.write(&[line]);
    }

    /// Something went wrong.
    pub(super) fn fault(&mut self, target: Option<&TargetId>, fault: &Fault, at: SessionTime) {
        let event = Event::Fault { target: target.cloned(), blame: fault.blame, sentence: fault.sentence.clone() };
        self.write(&[(at, Line::Event(event))]);
    }

    /// The worker died; of each recording everything before the given instant is safe.
    pub(super) fn worker_died(&mut self, safe: impl Fn(&TargetId) -> Option<SessionTime>) {
        let lines = self.chronicle.worker_died(&safe);
        self.write(&lines);
        let ended = |line: &Dated| match line {
            (until, Line::Event(Event::TakeEnded { target, .. })) => Some((target.clone(), *until)),
            _ => None,
        };
        lines.iter().filter_map(ended).for_each(|(target, until)| self.film_ends(&target, until));
    }

    /// The recording is closed: its books get their last lines. `None` when it has none.
    pub(super) fn close(&mut self, target: &TargetId, run: u32, at: SessionTime) -> Option<Closing> {
        let index = self.open.iter().position(|volume| volume.target == *target && volume.run == run)?;
        self.open.remove(index).close(self.epoch_ns, at)
    }

    /// The Session is over.
    pub(super) fn close_all(&mut self, at: SessionTime) -> Vec<Closing> {
        self.open.drain(..).filter_map(|volume| volume.close(self.epoch_ns, at)).collect()
    }

    fn film_ends(&mut self, target: &TargetId, until: SessionTime) {
        self.open.iter_mut().filter(|volume| volume.target == *target).for_each(|volume| volume.film.ends(until));
    }

    fn write(&mut self, lines: &[Dated]) {
        for volume in &mut self.open {
            lines.iter().for_each(|line| volume.write(self.epoch_ns, line));
        }
    }
}

impl Volume {
    fn write(&mut self, epoch_ns: i128, line: &Dated) {
        if let Pen::Writing(writer) = &self.pen {
            let missed = writer.missed();
            if missed > 0 {
                tracing::warn!(missed, "lines of the books of a recording were lost");
                let at = line.0;
                self.put(epoch_ns, &(at, Line::Event(Event::Missing { lines: missed })));
                self.put(epoch_ns, &(at, Line::Ledger(Entry::Missing { lines: missed })));
            }
        }
        self.put(epoch_ns, line);
    }

    fn put(&mut self, epoch_ns: i128, (at, line): &Dated) {
        let film = self.film.position(*at);
        let (book, text) = match line {
            Line::Ledger(entry) => (Book::Ledger, dated(epoch_ns, *at, film, entry)),
            Line::Event(event) => (Book::Events, dated(epoch_ns, *at, film, event)),
        };
        let Some(text) = text else { return };
        match &mut self.pen {
            Pen::Waiting { lines, .. } if lines.len() < WAITING => lines.push((book, text)),
            Pen::Waiting { missed, .. } => *missed += 1,
            Pen::Writing(writer) => writer.write(book, text),
            Pen::Broken => {}
        }
    }

    fn close(mut self, epoch_ns: i128, at: SessionTime) -> Option<Closing> {
        self.write(epoch_ns, &(at, Line::Event(Event::Closed)));
        self.write(epoch_ns, &(at, Line::Ledger(Entry::Closed)));
        match self.pen {
            Pen::Writing(writer) => Some(writer.close()),
            Pen::Waiting { .. } | Pen::Broken => None,
        }
    }
}

/// A line as it is in the file.
fn dated(epoch_ns: i128, at: SessionTime, film: Option<Duration>, what: &impl Serialize) -> Option<String> {
    #[derive(Serialize)]
    struct Line<'a, T> {
        /// Time of day, UTC.
        at: String,
        /// Programme time.
        session_s: f64,
        /// Where it lies in the film.
        #[serde(skip_serializing_if = "Option::is_none")]
        film_s: Option<f64>,
        #[serde(flatten)]
        what: &'a T,
    }
    let utc = Timestamp::from_nanosecond(epoch_ns + i128::from(at.as_nanos())).unwrap_or(Timestamp::UNIX_EPOCH);
    let line = Line {
        at: utc.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        session_s: milliseconds(at.as_secs_f64()),
        film_s: film.map(|film| milliseconds(film.as_secs_f64())),
        what,
    };
    serde_json::to_string(&line).inspect_err(|error| tracing::error!(%error, "a line of a book cannot be put into words")).ok()
}

fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
