//! What our processes cost: memory and processor time, read from /proc.
//!
//! In: process numbers. Out: bytes and durations. A read takes well below a millisecond; refuses nothing: what cannot be read counts as zero.

use std::time::Duration;

use nix::time::ClockId;

/// Highest sum of memory seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeakMemory {
    bytes: u64,
}

impl PeakMemory {
    /// Adds up the proportional set size (shared pages divided among their users) of these processes now; returns the sum in bytes.
    pub fn sample(&mut self, pids: impl IntoIterator<Item = u32>) -> u64 {
        let now = pids.into_iter().filter_map(pss_bytes).sum();
        self.bytes = self.bytes.max(now);
        now
    }

    /// The highest sum so far.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

fn pss_bytes(pid: u32) -> Option<u64> {
    pss_of(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// `Pss:    1234 kB` of smaps_rollup (proc_pid_smaps(5)).
fn pss_of(text: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}

/// Processor time of a process since it began, without its children.
pub fn cpu_of(pid: u32) -> Duration {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
    let used = ClockId::pid_cpu_clock_id(pid).and_then(ClockId::now);
    used.map_or(Duration::ZERO, |time| {
        Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_nanos(time.tv_nsec().unsigned_abs())
    })
}

/// Processor time of this process since it began, without its children.
pub fn own_cpu() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| {
        let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(us.unsigned_abs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_sum_and_keeps_the_highest() {
        let text = "5581-7ffd ---p 00000000 00:00 0  [rollup]\nRss:   5000 kB\nPss:    1234 kB\nPss_Anon: 99 kB\n";
        assert_eq!(pss_of(text), Some(1234 * 1024));
        let mut peak = PeakMemory::default();
        let own = peak.sample([std::process::id()]);
        assert_eq!(peak.bytes(), own);
        assert!(own > 500_000, "{own}");
        assert_eq!(peak.sample([]), 0);
        assert_eq!(peak.bytes(), own);
        let before = cpu_of(std::process::id());
        assert!(before > Duration::ZERO && own_cpu() > Duration::ZERO);
        while cpu_of(std::process::id()) == before {}
        assert_eq!(cpu_of(u32::MAX), Duration::ZERO);
    }
}
