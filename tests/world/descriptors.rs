//! How many descriptors a process of the product has, and may have.

use std::process::Command;

/// Descriptors that it has open.
pub fn open(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// As many as it may open at all.
pub fn most(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    line.split_whitespace().next().and_then(|most| most.parse().ok()).expect("a number")
}

/// From now on it may have no descriptor of this number or above; those that it has stay.
pub fn allow(pid: u32, below: u64) {
    let mut changing = Command::new("prlimit");
    changing.args(["--pid", &pid.to_string(), &format!("--nofile={below}:")]);
    assert!(changing.status().expect("prlimit runs").success(), "it may have so many");
}
