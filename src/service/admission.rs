//! Measures what a machine has left, for [`recorder_core::admission`] to decide by.
//!
//! In: /proc, cgroup v2, the spool's disk, our own limits, and what each Session's workers have used. Out: a [`Measured`] once a second. A task of its own; what it reads, it
//! reads on a blocking thread, because a disk may be one behind a network. What cannot be read counts as unlimited: it refuses to stop a service that works.
//!
//! Limits of a container count as the machine's: the tightest of `cpu.max` and of `memory.max` from our own cgroup up to the root.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;
use recorder_core::admission::{Cost, Machine};
use recorder_core::ids::SessionId;
use tokio::sync::watch;

use super::board::Board;

/// How often it is measured.
const EVERY: Duration = Duration::from_secs(1);
/// Processor time is averaged over this.
const OVER: Duration = Duration::from_secs(5);
/// /proc counts processor time in this (USER_HZ, the same on every Linux).
const TICK_MS: u64 = 10;
/// Where cgroup v2 lies.
const CGROUPS: &str = "/sys/fs/cgroup";

/// How it stands.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The machine.
    pub machine: Machine,
    /// The Sessions that run.
    pub costs: Vec<(SessionId, Cost)>,
}

/// Begins to measure, for as long as somebody listens; `None` until the first time.
pub fn start(spool: PathBuf, board: Board) -> watch::Receiver<Option<Measured>> {
    let (told, measured) = watch::channel(None);
    tokio::spawn(async move {
        let mut gauge = Gauge::new(spool);
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !told.is_closed() {
            every.tick().await;
            let running = board.running();
            let used = running.into_iter().map(|posted| (posted.id, posted.snapshot.cpu, posted.snapshot.memory_bytes)).collect();
            let looked = tokio::task::spawn_blocking(move || (gauge.look(Instant::now(), used), gauge)).await;
            let Ok((seen, back)) = looked else { return };
            gauge = back;
            told.send_replace(Some(seen));
        }
    });
    measured
}

/// How fast something grows, on average over [`OVER`].
#[derive(Debug, Default)]
struct Rate(VecDeque<(Instant, Duration)>);

impl Rate {
    /// Seconds a second, with this newest value.
    fn with(&mut self, now: Instant, value: Duration) -> f64 {
        self.0.push_back((now, value));
        while self.0.len() > 2 && self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= OVER) {
            self.0.pop_front();
        }
        let Some((from, before)) = self.0.front() else { return 0.0 };
        let time = now.duration_since(*from).as_secs_f64();
        if time > 0.0 { value.saturating_sub(*before).as_secs_f64() / time } else { 0.0 }
    }
}

/// Everything that is read, and what was read before.
struct Gauge {
    spool: PathBuf,
    /// Our cgroup and those above it.
    groups: Vec<PathBuf>,
    used: Rate,
    sessions: BTreeMap<SessionId, Rate>,
}

impl Gauge {
    fn new(spool: PathBuf) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self { spool, groups: groups(&own, Path::new(CGROUPS)), used: Rate::default(), sessions: BTreeMap::new() }
    }

    fn look(&mut self, now: Instant, used: Vec<(SessionId, Duration, u64)>) -> Measured {
        let (cpus, cpu_used) = self.processors();
        let (disk_free, disk_size) = disk(&self.spool);
        let cpu_used = self.used.with(now, cpu_used);
        let machine = Machine { cpus, cpu_used, memory_free: self.memory_free(), disk_free, disk_size, files_free: files_free() };
        self.sessions.retain(|session, _| used.iter().any(|(running, ..)| running == session));
        let costs = used.into_iter().map(|(session, cpu, memory)| {
            let cpu = self.sessions.entry(session.clone()).or_default().with(now, cpu);
            (session, Cost { cpu, memory })
        });
        Measured { machine, costs: costs.collect() }
    }

    /// How many processors we may use, and the processor time used of them: of the group whose limit is the tightest, or of the processors themselves.
    fn processors(&self) -> (f64, Duration) {
        let allowed = sched_getaffinity(Pid::from_raw(0)).ok();
        let is_ours = |cpu| allowed.as_ref().is_none_or(|set: &CpuSet| set.is_set(cpu).unwrap_or(false));
        let (cpus, used) = processors_of(&fs::read_to_string("/proc/stat").unwrap_or_default(), is_ours);
        let quotas = self.groups.iter().filter_map(|group| Some((quota(&read(group, "cpu.max")?)?, group)));
        let tightest = quotas.min_by(|(one, _), (other, _)| one.total_cmp(other)).filter(|(quota, _)| *quota < cpus);
        let limited = tightest.and_then(|(quota, group)| Some((quota, usage(&read(group, "cpu.stat")?)?)));
        limited.unwrap_or((cpus, used))
    }

    fn memory_free(&self) -> u64 {
        let machine = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable:").map(|kib| kib * 1024);
        let of_group = |group: &PathBuf| {
            let most: u64 = read(group, "memory.max")?.trim().parse().ok()?;
            let used: u64 = read(group, "memory.current")?.trim().parse().ok()?;
            // What only speeds up files is given back when it is needed.
            let cache = read(group, "memory.stat").and_then(|text| field(&text, "inactive_file")).unwrap_or_default();
            Some(most.saturating_sub(used.saturating_sub(cache)))
        };
        self.groups.iter().filter_map(of_group).chain(machine).min().unwrap_or(u64::MAX)
    }
}

fn read(group: &Path, file: &str) -> Option<String> {
    fs::read_to_string(group.join(file)).ok()
}

/// Bytes free for us, and in all; a disk that cannot be asked has room.
fn disk(spool: &Path) -> (u64, u64) {
    statvfs(spool)
        .map_or((u64::MAX, 0), |disk| (disk.blocks_available() * disk.fragment_size(), disk.blocks() * disk.fragment_size()))
}

/// Descriptors that this process may still open. None is left when there is none to count them by.
fn files_free() -> u64 {
    let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    match fs::read_dir("/proc/self/fd") {
        Ok(open) => most.saturating_sub(open.count() as u64),
        Err(error) if error.raw_os_error() == Some(Errno::EMFILE as i32) => 0,
        Err(_) => u64::MAX,
    }
}

/// The line `0::/path` of /proc/self/cgroup (cgroups(7)) as folders, the innermost first.
fn groups(own: &str, root: &Path) -> Vec<PathBuf> {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    // A path from outside of our namespace begins with "..": then only the root is ours to see.
    let inner = if path.split('/').any(|part| part == "..") { root.to_owned() } else { root.join(path) };
    inner.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_path_buf).collect()
}

/// `cpu.max`: `200000 100000` is two processors, `max 100000` any number.
fn quota(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let (quota, period): (f64, f64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// Processor time of a group by its `cpu.stat`.
fn usage(text: &str) -> Option<Duration> {
    field(text, "usage_usec").map(Duration::from_micros)
}

/// A line `name 123`, perhaps with a unit behind it.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// How many of the wanted processors /proc/stat knows, and the time for which they were busy (proc_stat(5)).
fn processors_of(stat: &str, is_ours: impl Fn(usize) -> bool) -> (f64, Duration) {
    let (mut count, mut ticks) = (0_u32, 0_u64);
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        let number = words.next().and_then(|name| name.strip_prefix("cpu")).and_then(|number| number.parse().ok());
        let Some(number) = number else { continue };
        if is_ours(number) {
            let times: Vec<u64> = words.map(|word| word.parse().unwrap_or_default()).collect();
            // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in the first two.
            let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| times.get(*at)).sum::<u64>();
            (count, ticks) = (count + 1, ticks + busy);
        }
    }
    (f64::from(count.max(1)), Duration::from_millis(ticks.saturating_mul(TICK_MS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  900 0 0 0 0 0 0 0 0 0\ncpu0 100 20 30 1000 50 1 2 3 9 9\ncpu1 200 0 0 500 0 0 0 0 0 0\nintr 5\nctxt 7\n";

    #[test]
    fn what_the_system_says_is_understood() {
        assert_eq!(processors_of(STAT, |_| true), (2.0, Duration::from_millis(3560)));
        assert_eq!(processors_of(STAT, |cpu| cpu == 1), (1.0, Duration::from_millis(2000)));
        assert_eq!(processors_of("", |_| true), (1.0, Duration::ZERO));
        assert_eq!(quota("150000 100000\n"), Some(1.5));
        for text in ["max 100000\n", "", "0 100000", "5", "100000 0"] {
            assert_eq!(quota(text), None, "{text}");
        }
        assert_eq!(usage("usage_usec 1500000\nuser_usec 1\n"), Some(Duration::from_millis(1500)));
        assert_eq!(field("MemTotal: 5 kB\nMemAvailable:    123 kB\n", "MemAvailable:"), Some(123));
        assert_eq!(field("inactive_file x", "inactive_file"), None);
    }

    #[test]
    fn our_group_and_those_above_it_are_found() {
        let root = Path::new("/sys/fs/cgroup");
        let of = |own: &str| groups(own, root);
        assert_eq!(of("3:cpu:/x\n0::/a/b\n"), [root.join("a/b"), root.join("a"), root.to_owned()]);
        assert_eq!(of("0::/\n"), [root.to_owned()]);
        assert_eq!(of("0::/../../x\n"), [root.to_owned()]);
        assert!(of("3:cpu:/x\n").is_empty());
    }

    #[test]
    fn the_tightest_limit_of_a_container_is_the_machines() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("pod");
        std::fs::create_dir(&inner).unwrap();
        for (group, file, text) in [
            (root.path(), "cpu.max", "max 100000"),
            (&inner, "cpu.max", "50000 100000"),
            (&inner, "cpu.stat", "usage_usec 2000000"),
            (root.path(), "memory.max", "1000000"),
            (root.path(), "memory.current", "900000"),
            (root.path(), "memory.stat", "anon 1\ninactive_file 300000\n"),
            (&inner, "memory.max", "max"),
            (&inner, "memory.current", "900000"),
        ] {
            std::fs::write(group.join(file), text).unwrap();
        }
        let groups = vec![inner.clone(), root.path().to_owned()];
        let mut gauge = Gauge { spool: root.path().to_owned(), groups, used: Rate::default(), sessions: BTreeMap::new() };
        let (begin, id) = (Instant::now(), SessionId::new("s"));
        let seen = gauge.look(begin, vec![(id.clone(), Duration::from_secs(1), 7)]);
        assert_eq!((seen.machine.cpus, seen.machine.cpu_used, seen.machine.memory_free), (0.5, 0.0, 400_000));
        assert!(seen.machine.disk_free > 0 && seen.machine.disk_size >= seen.machine.disk_free);
        std::fs::write(inner.join("cpu.stat"), "usage_usec 2400000").unwrap();
        let seen = gauge.look(begin + Duration::from_secs(1), vec![(id.clone(), Duration::from_millis(1300), 7)]);
        assert!((seen.machine.cpu_used - 0.4).abs() < 1e-9, "{}", seen.machine.cpu_used);
        assert_eq!(seen.costs.len(), 1);
        assert!((seen.costs[0].1.cpu - 0.3).abs() < 1e-9 && seen.costs[0].1.memory == 7);
        assert!(gauge.look(begin + Duration::from_secs(2), Vec::new()).costs.is_empty());
        assert!(gauge.sessions.is_empty(), "who is gone is forgotten");
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let (mut rate, begin) = (Rate::default(), Instant::now());
        let at = |s: u64| begin + Duration::from_secs(s);
        assert_eq!(rate.with(at(0), Duration::ZERO), 0.0);
        for s in 1..=10 {
            assert!((rate.with(at(s), Duration::from_secs(s)) - 1.0).abs() < 1e-9);
        }
        for s in 11..=15 {
            rate.with(at(s), Duration::from_secs(10));
        }
        assert_eq!(rate.with(at(16), Duration::from_secs(10)), 0.0, "what was before is forgotten");
    }
}
