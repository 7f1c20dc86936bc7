//! Notes when a thread of the test or of a program that it started stood still, although it had work: evidence of what the machine did.
//!
//! In: what Linux counts for each thread, the time that it was ready to run and got no processor (`/proc/PID/task/TID/schedstat`), and how late the
//! watching thread itself wakes up, which also shows a virtual machine that was stopped as a whole. Out: [`Stall`]s of the threads that pictures pass.
//! Only what happened is noted; what it excuses is decided by [`super::film::judge`].

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::film::{Part, Stall};

/// Distance of two looks, and how many of them are one window.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const WINDOW_LOOKS: usize = 5;
/// New programs are looked for after so many looks.
const FIND_EVERY: u32 = 5;
/// Less waiting than this in a window is what the product has to bear.
const NOTED: Duration = Duration::from_millis(100);

/// Watches until it is asked for what it saw.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Seen>>,
}

impl Watch {
    /// Begins to watch this process and everything below it, now and later.
    pub fn begin() -> Watch {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let (mut watcher, mut looks, mut last) = (Watcher::default(), 0_u32, Instant::now());
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
                if looks.is_multiple_of(FIND_EVERY) {
                    watcher.processes = family();
                }
                looks += 1;
                let now = Instant::now();
                watcher.note_lateness(last, now);
                watcher.look(now);
                last = Instant::now();
            }
            watcher.stalls
        });
        Watch { stop, thread }
    }

    /// Ends it: everything that was seen, in the time of a film that began at this instant.
    pub fn end(self, film_begin: Instant) -> Vec<Stall> {
        drop(self.stop);
        let seen = self.thread.join().expect("it only reads files");
        // What was before the film has negative times.
        let at_s = |at: Instant| {
            at.saturating_duration_since(film_begin).as_secs_f64() - film_begin.saturating_duration_since(at).as_secs_f64()
        };
        let stall = |seen: Seen| Stall {
            during_s: at_s(seen.from)..at_s(seen.until),
            who: seen.who,
            part: seen.part,
            waited_ms: seen.waited.as_secs_f64() * 1000.0,
        };
        seen.into_iter().map(stall).collect()
    }
}

/// A thread got no processor, or nobody did.
struct Seen {
    from: Instant,
    until: Instant,
    who: String,
    part: Part,
    waited: Duration,
}

/// What a thread does for the pictures; `None` for one that does nothing for them. Of the product only some do, of the servers and senders all.
fn part_of(process: &str, thread: &str) -> Option<Part> {
    match (process, thread) {
        // The supervisor, and below it the worker, which is started from /proc/self/exe.
        ("roomcast" | "exe", "ingest" | "pictures" | "encoded:src") => Some(Part::Way),
        ("roomcast" | "exe", "canvas:src") => Some(Part::Encoder),
        ("roomcast" | "exe", _) => None,
        _ => Some(Part::Way),
    }
}

#[derive(Default)]
struct Watcher {
    processes: Vec<u32>,
    /// For each thread when it was looked at, and how long it had waited by then, oldest first.
    threads: HashMap<u32, VecDeque<(Instant, Duration)>>,
    stalls: Vec<Seen>,
}

impl Watcher {
    fn note_lateness(&mut self, from: Instant, until: Instant) {
        let waited = (until - from).saturating_sub(LOOK_EVERY);
        if waited >= NOTED {
            self.stalls.push(Seen { from, until, who: "the watching thread".into(), part: Part::Way, waited });
        }
    }

    fn look(&mut self, now: Instant) {
        let mut seen = HashMap::new();
        for pid in &self.processes {
            for thread in numbers(&format!("/proc/{pid}/task")) {
                let Some(waited) = waited(*pid, thread) else { continue };
                let mut looks = self.threads.remove(&thread).unwrap_or_default();
                looks.push_back((now, waited));
                let &(from, before) = &looks[0];
                let waited = waited.saturating_sub(before);
                if waited >= NOTED {
                    let (process, name) = (word(&format!("/proc/{pid}/comm")), word(&format!("/proc/{pid}/task/{thread}/comm")));
                    let who = format!("{name} of {process}");
                    self.stalls.extend(part_of(&process, &name).map(|part| Seen { from, until: now, who, part, waited }));
                }
                if looks.len() > WINDOW_LOOKS {
                    looks.pop_front();
                }
                seen.insert(thread, looks);
            }
        }
        self.threads = seen;
    }
}

/// How long a thread has been ready without running, since it began (Documentation/scheduler/sched-stats.rst).
fn waited(pid: u32, thread: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
    Some(Duration::from_nanos(text.split_whitespace().nth(1)?.parse().ok()?))
}

/// This process and all below it.
fn family() -> Vec<u32> {
    let mut found = vec![std::process::id()];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for thread in numbers(&format!("/proc/{pid}/task")) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// The entries of a folder that are numbers.
fn numbers(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn word(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}
