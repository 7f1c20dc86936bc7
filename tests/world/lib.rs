//! The world around the product, for tests: real servers, simulated people on another WebRTC stack, a lossy network, and a ruler for films.
//!
//! Everything listens on 127.0.0.1 at ports that are free, is awaited by an answer and never by a pause, and ends with its owner.
//! Servers and the publisher come from the cache that `scripts/servers` fills.
// It is a crate of its own, so that it is compiled once for all test programs. It fails by panicking.
#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod bad_http;
pub mod books;
pub mod certificates;
pub mod chromium;
pub mod clip;
pub mod codecs;
pub mod controller;
pub mod crowd;
pub mod descriptors;
pub mod dice;
pub mod drawing;
pub mod family;
pub mod film;
pub mod kept;
pub mod keycloak;
pub mod line;
pub mod livekit;
pub mod log;
pub mod meeting;
pub mod opentalk;
pub mod product;
pub mod rabbitmq;
pub mod recording;
pub mod relay;
pub mod rtmp;
pub mod s3;
pub mod small_disk;
pub mod spool;
pub mod stalls;
pub mod stand_in;
pub mod uploads;
pub mod wall_clock;
pub mod watching;
pub mod whep;

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

/// Looks again every 5 ms until `look` gives something; panics with `what` when the time is over.
pub fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until so much time has passed since `since`, as a person with a watch would.
pub fn after(since: Instant, seconds: f64) {
    let time = Duration::from_secs_f64(seconds);
    until(time + Duration::from_secs(10), "time passes", || (since.elapsed() >= time).then_some(()));
}

/// A TCP port of 127.0.0.1 that nobody used a moment ago.
pub fn free_tcp_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

/// A UDP port of 127.0.0.1 that nobody used a moment ago.
pub fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

/// Where `scripts/servers` keeps what it built.
pub fn cache() -> PathBuf {
    match std::env::var_os("ROOMCAST_CACHE") {
        Some(folder) => folder.into(),
        None => PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/roomcast"),
    }
}

/// A program of the cache.
pub fn cached_program(name: &str) -> PathBuf {
    let path = cache().join("bin").join(name);
    assert!(path.exists(), "{} is missing: run scripts/servers first", path.display());
    path
}

/// Sends a signal to a child that has not been waited for, so its pid cannot be anybody else's.
pub fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, signal).expect("our child can be signalled");
}

/// Waits for the end of a child; `None` if it still runs after the limit.
pub fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("child of ours") {
            return Some(status);
        }
        if begin.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processor seconds of each thread of this name in a process.
pub fn cpu_seconds(pid: u32, name: &str) -> Vec<f64> {
    let mut seconds = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.expect("a thread").path().join("stat")) else { continue };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        if &stat[open + 1..close] == name {
            let fields: Vec<&str> = stat[close + 2..].split(' ').collect();
            let ticks: f64 = fields[11].parse::<f64>().expect("a number") + fields[12].parse::<f64>().expect("a number");
            seconds.push(ticks / 100.0);
        }
    }
    seconds
}

/// Processor seconds of a whole process, all its threads together.
pub fn cpu_of_process(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("a number") + fields[12].parse::<f64>().expect("a number");
    ticks / 100.0
}
