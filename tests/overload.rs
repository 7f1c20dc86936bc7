//! A machine that is too slow: pictures are repeated and counted, sound and time stay whole.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roomcast::rehearsal::card::PEOPLE;
use world::family::{Role, process};
use world::film::judge::Judge;
use world::film::{Film, TileRect};
use world::product::Product;

const SECONDS: u32 = 30;

/// Somebody else's program that never sleeps.
struct Busy(Child);

impl Busy {
    fn on(core: &str) -> Busy {
        let mut command = Command::new("taskset");
        command.args(["-c", core, "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
        Busy(command.spawn().expect("taskset"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Binds all threads of a process to a core.
fn bind(pid: u32, core: &str) {
    let bound = Command::new("taskset").args(["-a", "-c", "-p", core, &pid.to_string()]).stdout(Stdio::null()).status();
    assert!(bound.expect("taskset").success());
}

/// A figure of the table at the end.
fn figure(table: &str, name: &str) -> f64 {
    let line = table.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {table}"));
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn on_one_core_beside_a_busy_loop_the_sound_is_complete_and_pictures_are_repeated() {
    let folder = tempfile::tempdir().expect("folder");
    let _busy = Busy::on("0");
    let duration = format!("{SECONDS}s");
    let size = std::env::var("ROOMCAST_TEST_SIZE").unwrap_or_else(|_| "1920x1080".into());
    let arguments = ["rehearse", "--duration", &duration, "--to", "out.mp4", "--size", &size, "--layout", "grid"];
    let product = Product::start(folder.path(), &arguments, &[], "");
    // The people are not on this machine: they are late by themselves otherwise.
    let (actors, worker) = (process(product.pid(), Role::Actors), process(product.pid(), Role::Worker));
    bind(product.pid(), "0");
    bind(worker, "0");
    bind(actors, "1");
    let outcome = product.finish(Duration::from_secs(120));
    outcome.is_well();
    println!("{}\n{}", outcome.log.lines().filter(|line| line.contains(" lag ")).collect::<Vec<_>>().join("\n"), outcome.said);
    let path = folder.path().join("out.mp4");
    if let Some(keep) = std::env::var_os("ROOMCAST_KEEP") {
        std::fs::copy(&path, std::path::PathBuf::from(keep).join("overload.mp4")).expect("kept");
    }
    let (width, height) = size.split_once('x').map(|(w, h)| (w.parse().expect("w"), h.parse().expect("h"))).expect("a size");
    let tiles: Vec<_> = (0..4).map(|index| TileRect::in_grid(index, 2, width / 2, height / 2)).collect();
    let film = Film::watch(&path, &tiles);
    let mut judge = Judge::new(&film);
    judge.decodes_clean().is_of(width, height, f64::from(SECONDS));
    // People take turns. From 4 s on everybody has joined.
    for (person, range) in [(1, 4.5..5.5), (2, 6.5..7.5), (3, 8.5..10.5), (0, 12.0..15.5), (1, 17.0..24.0), (2, 26.0..29.0)] {
        let seconds = (range.end - range.start) as usize;
        judge.hears(person, 25.0, range.clone());
        let beeps = film.sound().beeps(&PEOPLE[person], range).len();
        judge.promise(beeps.abs_diff(seconds) <= 1, format!("{} beeps of {}", beeps, PEOPLE[person].name));
    }
    judge.hears_not(3, 12.0..29.0);
    // While four tiles stand where they are, and somebody speaks whose camera is on: picture and sound belong together. What is seen is
    // late by the pictures that were left out before it, two as a rule; nothing adds up.
    for (tile, person, range) in [(2, 2, 6.2..7.8), (3, 2, 26.0..29.5)] {
        judge.is_in_sync(tile, person, 67.0, 200.0, range);
    }
    let (made, repeated) = (figure(&outcome.said, "frames made"), figure(&outcome.said, "frames repeated"));
    judge.promise((made - f64::from(SECONDS) * 30.0).abs() <= 3.0, format!("{made} frames made, {repeated} of them repeated"));
    let complaints = outcome.log.lines().filter(|line| line.contains("This machine is too slow: ")).count();
    // A third of all pictures left out means more than a quarter of those of some two seconds.
    judge.promise(repeated < 300.0 || complaints > 0, format!("told {complaints} times that the machine is too slow"));
    judge.promise(repeated > 0.0, "the machine was too slow, so pictures were repeated");
    judge.finish();
}
