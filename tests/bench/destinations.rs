//! What each further live destination costs: the same rehearsal with ten of them and with none.

use std::fmt::Write;
use std::time::Duration;

use super::report::median;
use super::world::product::Product;
use super::world::rtmp::Nginx;

/// So many at once.
const MANY: usize = 10;
/// One of them may cost this share of a core.
const WANTED: f64 = 0.02;

/// Cores with none and with ten destinations, medians.
pub(crate) struct Destinations {
    pub(crate) none: f64,
    pub(crate) ten: f64,
}

impl Destinations {
    /// Measures both in turn.
    pub(crate) fn measure(repetitions: usize, seconds: u32) -> Self {
        let (mut none, mut ten) = (Vec::new(), Vec::new());
        for _ in 0..repetitions {
            none.push(cores(0, seconds));
            ten.push(cores(MANY, seconds));
        }
        Self { none: median(none), ten: median(ten) }
    }

    /// Of one destination.
    pub(crate) fn each(&self) -> f64 {
        (self.ten - self.none) / MANY as f64
    }

    /// Whether the promise was kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.each() <= WANTED
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let missed = if self.is_kept() { "" } else { "  MISSED" };
        format!(
            "A rehearsal with {MANY} live destinations takes {:.3} cores, and with none {:.3}: {:.4} each; at most {WANTED} are wanted{missed}",
            self.ten,
            self.none,
            self.each()
        )
    }
}

/// Runs a rehearsal to a file and so many destinations; gives what its table says.
fn cores(destinations: usize, seconds: u32) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::start();
    let mut config = String::from("[live]\nallowed_addresses = [\"127.0.0.0/8\"]\n");
    let duration = format!("{seconds}s");
    let mut arguments =
        vec!["--config", "roomcast.toml", "rehearse", "--duration", &duration, "--to", "out.mp4", "--layout", "grid"];
    let names: Vec<String> = (0..destinations).map(|n| format!("channel-{n}")).collect();
    for name in &names {
        let _ = writeln!(config, "[destinations.{name}]\naddress = \"{}\"\nkey = \"good-{name}\"", nginx.address());
        arguments.extend(["--to", name]);
    }
    std::fs::write(folder.path().join("roomcast.toml"), config).expect("the configuration is written");
    let outcome = Product::start(folder.path(), &arguments, &[], "").finish(Duration::from_secs(u64::from(seconds) + 120));
    outcome.is_well();
    let figure = outcome.said.lines().find_map(|line| line.trim().strip_prefix("CPU seconds per second")?.trim().parse().ok());
    figure.expect("the table has the figure")
}
