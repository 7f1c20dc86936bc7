//! The books beside a recording, as files: a ledger of consent and a log of events, one JSON object a line.
//!
//! In: lines, and then the film that they belong to. Out: two files in the spool folder, each line synced, that [`finalise`](super::finalise()) puts
//! beside the film. A thread of its own writes, so that nobody waits for the disk; the file functions block on the caller's thread. Refuses to
//! deliver half a line: what a crash tore is cut off.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::StorageError;
use super::disk::{Disk, DiskFile};
use super::finalise::deliver;
use super::outbox;

/// What a book is called as an object.
pub const CONTENT_TYPE: &str = "application/x-ndjson";
/// Ending of a book's name.
const ENDING: &str = "jsonl";
/// Lines that may wait for the disk.
const LINES: usize = 4096;
/// Bytes that may wait for a disk that refuses; lines beyond that are lost, and counted.
const UNSAFE_BYTES: usize = 1 << 20;
/// A disk that refuses is tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes that are looked at together.
const BLOCK: u64 = 4096;

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Book {
    /// Who agreed to be recorded.
    Ledger,
    /// What happened.
    Events,
}

impl Book {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ledger, Self::Events];

    fn word(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Events => "events",
        }
    }

    /// Its name in the spool folder.
    pub fn file_name(self) -> String {
        format!("recording.{}.{ENDING}", self.word())
    }

    /// Its path or key beside a film: `standup.mp4` has `standup.ledger.jsonl`.
    pub fn beside(self, film: &Path) -> PathBuf {
        film.with_extension(format!("{}.{ENDING}", self.word()))
    }
}

/// Whether a file or an object is a book, by its name.
pub fn is_book(name: &Path) -> bool {
    name.extension().is_some_and(|ending| ending == ENDING)
}

/// Writes the books of one recording.
#[derive(Debug)]
pub struct BookWriter {
    lines: SyncSender<(Book, String)>,
    missed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// Books that get no more lines, and whose last ones are on their way to the disk.
#[derive(Debug)]
pub struct Closing(JoinHandle<()>);

impl BookWriter {
    /// Begins to write into this folder.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(disk: Arc<dyn Disk>, folder: PathBuf) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(LINES);
        let (span, missed) = (tracing::Span::current(), Arc::default());
        let pen = Pen::new(disk, folder, Arc::clone(&missed));
        let write = move || span.in_scope(|| pen.write_all(&waiting));
        let thread = std::thread::Builder::new().name("books".into()).spawn(write)?;
        Ok(Self { lines, missed, thread })
    }

    /// Writes a line, later and without waiting. One for which there is no room is lost.
    pub fn write(&self, book: Book, line: String) {
        if self.lines.try_send((book, line)).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were lost since this was asked last.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    /// No more lines come.
    pub fn close(self) -> Closing {
        Closing(self.thread)
    }
}

impl Closing {
    /// Returns when every line is on the disk, or could not be written. Blocks.
    pub fn wait(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread that writes the books of a recording has panicked");
        }
    }
}

/// What the thread owns.
struct Pen {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    pages: [Page; 2],
    /// The disk refuses, and that was said.
    is_stuck: bool,
    missed: Arc<AtomicU64>,
}

/// One book.
struct Page {
    book: Book,
    file: Option<Box<dyn DiskFile>>,
    /// Bytes that the disk has confirmed.
    len: u64,
    /// Lines that it has not.
    unsafe_lines: String,
}

impl Pen {
    fn new(disk: Arc<dyn Disk>, folder: PathBuf, missed: Arc<AtomicU64>) -> Self {
        let page = |book| Page { book, file: None, len: 0, unsafe_lines: String::new() };
        Self { disk, folder, pages: Book::ALL.map(page), is_stuck: false, missed }
    }

    fn write_all(mut self, lines: &Receiver<(Book, String)>) {
        let mut tried = Instant::now();
        loop {
            let first = match self.is_stuck {
                true => lines.recv_timeout(AGAIN),
                false => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let is_over = first == Err(RecvTimeoutError::Disconnected);
            first.into_iter().chain(lines.try_iter()).for_each(|line| self.take(line));
            if self.is_stuck && !is_over && tried.elapsed() < AGAIN {
                continue;
            }
            tried = Instant::now();
            match self.sync() {
                Ok(()) if std::mem::take(&mut self.is_stuck) => tracing::info!("the books of the recording are written again"),
                Ok(()) => {}
                Err(error) if !std::mem::replace(&mut self.is_stuck, true) || is_over => {
                    let reason = StorageError::folder(&self.folder, "written", error).to_fault();
                    tracing::error!(%reason, "the books of the recording cannot be written");
                }
                Err(_) => {}
            }
            if is_over {
                return;
            }
        }
    }

    fn take(&mut self, (book, line): (Book, String)) {
        for page in self.pages.iter_mut().filter(|page| page.book == book) {
            if page.unsafe_lines.len() >= UNSAFE_BYTES {
                self.missed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            page.unsafe_lines.push_str(&line);
            page.unsafe_lines.push('\n');
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        for page in &mut self.pages {
            if page.unsafe_lines.is_empty() {
                continue;
            }
            let file = match &page.file {
                Some(file) => file,
                None => {
                    let file = self.disk.open_or_create(&self.folder.join(page.book.file_name()))?;
                    self.disk.sync_folder(&self.folder)?;
                    page.len = file.size()?;
                    page.file.insert(file)
                }
            };
            // At a place of its own: after an error the same lines are written over what may be there of them.
            file.write_all_at(page.unsafe_lines.as_bytes(), page.len)?;
            file.sync()?;
            page.len += page.unsafe_lines.len() as u64;
            page.unsafe_lines.clear();
        }
        Ok(())
    }
}

/// Puts the books of a spool folder beside the film that they belong to. Can be interrupted anywhere and called again.
pub(super) fn finish(disk: &dyn Disk, folder: &Path, film: &Path) -> Result<(), StorageError> {
    for book in Book::ALL {
        let name = book.file_name();
        let growing = folder.join(&name);
        let file = match disk.open(&growing) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StorageError::file(&growing, "opened", error)),
        };
        let len = cut(&*file).map_err(|source| StorageError::file(&growing, "written", source))?;
        outbox::keep_for_uploads(disk, folder, &name)?;
        deliver(disk, &growing, &*file, len, &book.beside(film))?;
        drop(file);
        match disk.remove(&growing) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StorageError::file(&growing, "removed", error)),
            _ => {}
        }
    }
    Ok(())
}

/// Cuts off a line without an end. The length that is left.
fn cut(file: &dyn DiskFile) -> io::Result<u64> {
    let len = file.size()?;
    let (mut end, mut block) = (len, vec![0; BLOCK as usize]);
    let kept = loop {
        let begin = end.saturating_sub(BLOCK);
        let part = &mut block[..usize::try_from(end - begin).unwrap_or(0)];
        let mut filled = 0;
        while filled < part.len() {
            match file.read_at(&mut part[filled..], begin + filled as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        match part.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => break begin + at as u64 + 1,
            None if begin == 0 => break 0,
            None => end = begin,
        }
    };
    if kept < len {
        file.set_len(kept)?;
    }
    file.sync()?;
    Ok(kept)
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
