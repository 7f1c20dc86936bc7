//! What processes cost, read from /proc as anybody can: processor time of whole processes and of their threads by name, and memory.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

/// Processor seconds (user and system) that processes have used so far.
#[derive(Clone, Default)]
pub(crate) struct Spent {
    /// Of the whole processes, also of threads that have ended.
    pub(crate) whole_s: f64,
    /// By name of the thread, summed over threads of the same name.
    pub(crate) threads_s: BTreeMap<String, f64>,
}

impl Spent {
    /// Reads the clocks of these processes.
    pub(crate) fn so_far(pids: &[u32]) -> Spent {
        let mut spent = Spent::default();
        for pid in pids {
            spent.whole_s += seconds(&format!("/proc/{pid}/stat")).map_or(0.0, |(_, seconds)| seconds);
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                if let Some((name, seconds)) = seconds(&task.path().join("stat").to_string_lossy()) {
                    *spent.threads_s.entry(name).or_default() += seconds;
                }
            }
        }
        spent
    }

    /// Cores used between an earlier reading and this one, `window` apart.
    pub(crate) fn cores_since(&self, earlier: &Spent, window: Duration) -> (f64, BTreeMap<String, f64>) {
        let per_second = |now: f64, before: f64| (now - before) / window.as_secs_f64();
        let threads = self
            .threads_s
            .iter()
            .map(|(name, now)| (name.clone(), per_second(*now, earlier.threads_s.get(name).copied().unwrap_or(0.0))));
        (per_second(self.whole_s, earlier.whole_s), threads.collect())
    }
}

/// Name and processor seconds of a `stat` file (proc_pid_stat(5): utime and stime are fields 14 and 15, the name is in parentheses).
fn seconds(path: &str) -> Option<(String, f64)> {
    let text = fs::read_to_string(path).ok()?;
    let (before, after) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((before.split_once('(')?.1.to_owned(), ticks as f64 / TICKS_PER_SECOND))
}

/// The kernel shows times in units of USER_HZ, which is 100 on every architecture of Debian.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process and everything below it.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    all
}

/// The three numbers of /proc/loadavg.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Processor seconds of this process.
pub(crate) fn own_s() -> f64 {
    roomcast::service::usage::own_cpu().as_secs_f64()
}

/// Processor seconds of this thread.
pub(crate) fn thread_s() -> f64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of threads");
    now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9
}

/// Keeps all processors awake while it lives, by loops that run when nothing else wants to (SCHED_IDLE, sched(7)): one that sleeps between two pictures
/// needs more time for the same work afterwards, which a floor that never waits does not show.
pub(crate) struct Awake(Vec<Child>);

impl Awake {
    pub(crate) fn keep() -> Self {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let idle = |processor: usize| {
            Command::new("chrt")
                .args(["--idle", "0", "taskset", "--cpu-list", &processor.to_string(), "sh", "-c", "while :; do :; done"])
                .spawn()
                .expect("util-linux is there")
        };
        Self((0..count).map(idle).collect())
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
