//! Kills the product in every way and at any instant, and looks at what is left of its recordings.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use roomcast::rehearsal::card;
use serde_json::Value;
use world::books::Book;
use world::dice::Dice;
use world::family::{Family, Role, process, send};
use world::film::{Film, TileRect};
use world::product::Product;

const FPS: f64 = 30.0;
/// Pictures are cut to whole ones.
const ONE_PICTURE_S: f64 = 1.0 / FPS + 0.001;
/// Loss that is allowed of what was shown as written.
const LOSS_ALLOWED_S: f64 = 1.0;

/// How often each kind of kill is tried: `ROOMCAST_KILLS`, for scripts/campaign.
fn times(usual: u32) -> u32 {
    std::env::var("ROOMCAST_KILLS").ok().map_or(usual, |text| text.parse().expect("a number"))
}

/// At most so many rehearsals at a time, or they measure the machine.
static PLACES: (Mutex<u32>, Condvar) = (Mutex::new(3), Condvar::new());

struct Place;

impl Place {
    fn take() -> Place {
        let mut free = PLACES.1.wait_while(PLACES.0.lock().expect("lock"), |free| *free == 0).expect("lock");
        *free -= 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *PLACES.0.lock().expect("lock") += 1;
        PLACES.1.notify_one();
    }
}

/// A simulated meeting that is being recorded.
struct Rehearsal {
    product: Product,
    folder: tempfile::TempDir,
    _place: Place,
}

fn rehearse(seconds: u32) -> Rehearsal {
    let place = Place::take();
    let folder = tempfile::tempdir().expect("folder");
    let duration = format!("{seconds}s");
    let arguments = ["rehearse", "--duration", &duration, "--to", "out.mp4", "--size", "320x180", "--layout", "grid"];
    let environment = [("RUST_LOG", "info,roomcast::service::supervisor=debug"), ("ROOMCAST_BOOKS__RECORD", "true")];
    let product = Product::start(folder.path(), &arguments, &environment, "");
    Rehearsal { product, folder, _place: place }
}

impl Rehearsal {
    /// Waits until something of the recording is on disk.
    fn records(&self) -> &Self {
        self.product.logs(" written target.id=", Duration::from_secs(60));
        self
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("out.mp4.roomcast")
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out.mp4")
    }
}

/// The last value of a field like ` until=12.345678s` in lines with `text`.
fn seconds_in_log(log: &str, text: &str, field: &str) -> Option<f64> {
    let line = log.lines().rev().find(|line| line.contains(text))?;
    line.split_whitespace().find_map(|word| word.strip_prefix(field)?.strip_suffix('s')?.parse().ok())
}

/// The newest instant that was ever shown as written.
fn newest_written(log: &str) -> f64 {
    let all = log.lines().filter_map(|line| seconds_in_log(line, " written target.id=", "until="));
    all.reduce(f64::max).expect("something was written")
}

fn take_began(log: &str, take: u32) -> f64 {
    seconds_in_log(log, &format!(" take={take} at="), "at=").expect("the Take began")
}

fn recover(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roomcast")).arg("recover").arg(folder).output().expect("roomcast starts")
}

/// `recover` makes the file where it was wanted, and nothing else is left.
fn recovers(folder: &Path, spool: &Path) -> Film {
    let output = recover(spool);
    let out = folder.join("out.mp4");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}\n", out.display()));
    assert!(output.status.success());
    assert!(!spool.exists(), "the spool folder is removed");
    // Of the books every line that was begun before the newest one is whole.
    assert!(events_beside(&out).lines("event", "take_began").count() >= 1);
    is_ordinary(&out)
}

fn events_beside(film: &Path) -> Book {
    Book::read(&std::fs::read(film.with_extension("events.jsonl")).expect("events"))
}

/// An ordinary file: the tables at its end, nothing fragmented, every decoder is content, and one can seek.
fn is_ordinary(file: &Path) -> Film {
    let bytes = std::fs::read(file).expect("the file");
    let mut boxes = Vec::new();
    let mut at = 0;
    while at + 16 <= bytes.len() {
        let short = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let long = u64::from_be_bytes(bytes[at + 8..at + 16].try_into().expect("8 bytes"));
        let len = if short == 1 { long as usize } else { short as usize };
        boxes.push((String::from_utf8_lossy(&bytes[at + 4..at + 8]).into_owned(), at..at + len));
        at += len.max(8);
    }
    let names: Vec<&str> = boxes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ftyp", "mdat", "moov"], "{}", file.display());
    let tables = &bytes[boxes[2].1.clone()];
    assert!(!tables.windows(4).any(|word| word == b"mvex"), "no mvex");
    let film = Film::watch(file, &[]);
    assert_eq!(film.complaints, "");
    let half = film.pictures.len() / 2;
    let from = format!("{:.3}", film.pictures[half].at_s);
    let sought = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-ss", &from, "-i"])
        .arg(file)
        .args(["-map", "0:v", "-f", "framehash", "-"])
        .output()
        .expect("ffmpeg");
    assert_eq!(String::from_utf8_lossy(&sought.stderr), "");
    let pictures = String::from_utf8_lossy(&sought.stdout).lines().filter(|line| !line.starts_with('#')).count();
    assert!(pictures.abs_diff(film.pictures.len() - half) <= 1, "{pictures} pictures after seeking to {from} s");
    film
}

/// Runs `attempt` so many times, side by side.
fn side_by_side(times: u32, attempt: impl Fn(u32) + Sync) {
    std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..times)
            .map(|number| {
                scope.spawn({
                    let attempt = &attempt;
                    move || attempt(number)
                })
            })
            .collect();
        let broken = attempts.into_iter().map(std::thread::ScopedJoinHandle::join).filter(Result::is_err).count();
        assert_eq!(broken, 0, "of {times} attempts");
    });
}

/// Waits for an instant that somebody threw the dice for: nothing is awaited.
fn pass(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn everything_killed_at_any_instant_leaves_a_film_of_all_that_was_written() {
    let dice = Mutex::new(Dice::new("everything killed"));
    side_by_side(times(10), |number| {
        let rehearsal = rehearse(60);
        rehearsal.records();
        let instant = dice.lock().expect("lock").below(Duration::from_secs(5));
        pass(instant);
        let family = Family::of(rehearsal.product.pid());
        assert!(family.the(Role::Worker).is_some() && family.the(Role::Actors).is_some(), "{family:?}");
        family.kill();
        family.is_gone_within(Duration::from_secs(5));
        let log = rehearsal.product.log();
        let (began, written) = (take_began(&log, 1), newest_written(&log));
        // As it was left.
        let film = Film::watch(&rehearsal.spool().join("recording.mp4"), &[]);
        assert_eq!(film.complaints, "", "as it was left");
        let kept = began + film.pictures.len() as f64 / FPS;
        let kept_sound = began + film.sound().end_s();
        println!(
            "{number}: killed {instant:?} after the first fragment; shown as written {written:.3} s, kept {kept:.3} s and {kept_sound:.3} s of sound"
        );
        assert!(kept >= written - LOSS_ALLOWED_S && kept_sound >= written - LOSS_ALLOWED_S);
        // The promise allows a second; the file is synced before it is said, so nothing is lost.
        assert!(kept >= written - ONE_PICTURE_S, "{kept} of {written}");
        assert!(kept_sound >= written - 0.03, "{kept_sound} of {written}");
        let recovered = recovers(rehearsal.folder.path(), &rehearsal.spool());
        assert_eq!(recovered.pictures.len(), film.pictures.len(), "recovering loses nothing");
    });
}

#[test]
fn a_killed_worker_is_replaced_and_the_recording_goes_on_in_the_same_file() {
    let dice = Mutex::new(Dice::new("worker killed"));
    side_by_side(times(10), |number| {
        let rehearsal = rehearse(9);
        rehearsal.records();
        // Everybody has joined by then, so that the counters can be compared.
        let instant = Duration::from_millis(3500) + dice.lock().expect("lock").below(Duration::from_millis(2500));
        pass(instant);
        let worker = process(rehearsal.product.pid(), Role::Worker);
        let before = newest_written(&rehearsal.product.log());
        send(worker, Signal::SIGKILL);
        rehearsal.product.logs(" take=2 at=", Duration::from_secs(20));
        let notes: Value =
            serde_json::from_slice(&std::fs::read(rehearsal.spool().join("session.json")).expect("notes")).expect("JSON");
        let takes = notes["parts"][0]["takes"].as_array().expect("Takes").clone();
        assert_eq!(notes["parts"].as_array().map(Vec::len), Some(1), "one file");
        assert_eq!(takes.len(), 2, "two Takes");
        let second_at = takes[1]["file_began_ns"].as_f64().expect("a time") / 1e9;
        let (out, log_then) = (rehearsal.out(), rehearsal.product.log());
        let (first_began, second_began) = (take_began(&log_then, 1), take_began(&log_then, 2));
        let Rehearsal { product, folder, _place } = rehearsal;
        let outcome = product.finish(Duration::from_secs(60));
        outcome.is_well();
        assert!(outcome.said.contains("workers replaced            1"), "{}", outcome.said);
        let kept = first_began + second_at;
        println!(
            "{number}: killed {instant:?} after the first fragment; shown as written {before:.3} s, kept {kept:.3} s; goes on at {second_began:.3} s"
        );
        assert!(kept >= before - LOSS_ALLOWED_S);
        assert!(kept >= before - ONE_PICTURE_S, "{kept} of {before}");
        is_ordinary(&out);
        let events = events_beside(&out);
        let ended: Vec<_> = events.lines("event", "take_ended").map(|line| line["why"].as_str()).collect();
        assert_eq!(ended, [Some("crashed"), Some("stopped")]);
        let again_s = events.lines("event", "take_began").nth(1).and_then(|line| line["film_s"].as_f64()).expect("a second Take");
        // The dead worker may have written a fragment of which nobody knows.
        assert!((again_s - second_at).abs() < 0.6, "the book says {again_s} s of {second_at} s");
        assert!(events.is_closed("event"));
        let tiles: Vec<_> = (0..4).map(|index| TileRect::in_grid(index, 2, 160, 90)).collect();
        let film = Film::watch(&out, &tiles);
        // What was ordered; and at most one fragment more, which the worker had synced and could not report any more.
        assert!((8.9..9.65).contains(&film.duration_s), "{} s", film.duration_s);
        let readable = |picture: &&world::film::Picture| picture.tiles[0].person == Some(0) && picture.tiles[0].counter.is_some();
        let counter = |picture: &world::film::Picture| picture.tiles[0].counter.map_or(0, u64::from);
        let last_before =
            film.pictures.iter().filter(|picture| picture.at_s < second_at - 0.001).rfind(readable).expect("a picture");
        let after = film.pictures.iter().filter(|picture| picture.at_s > second_at - 0.001).rfind(readable).expect("a picture");
        assert!(second_at - last_before.at_s < 0.2, "read at {} of {second_at}", last_before.at_s);
        let programme = (second_began + after.at_s - second_at) - (first_began + last_before.at_s);
        let expected = (programme * FPS).round() as i64;
        let seen = (counter(after) + u64::from(card::LOOP_FRAMES) - counter(last_before)) % u64::from(card::LOOP_FRAMES);
        // Where capture lies is estimated anew after each join.
        println!("{number}: the counter went on by {seen} in {programme:.3} s, which is {expected}");
        let off = (seen as i64 - expected).rem_euclid(i64::from(card::LOOP_FRAMES));
        assert!(off <= 2 || off >= i64::from(card::LOOP_FRAMES) - 2, "the counter went on by {seen} in {programme:.3} s");
        drop(folder);
    });
}

/// Copies a folder without folders in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}

#[test]
fn finalising_killed_again_and_again_ends_with_the_same_file() {
    let mut dice = Dice::new("finalising killed");
    let rehearsal = rehearse(60);
    rehearsal.records();
    pass(Duration::from_secs(3));
    let family = Family::of(rehearsal.product.pid());
    family.kill();
    family.is_gone_within(Duration::from_secs(5));
    let undisturbed = tempfile::tempdir().expect("folder");
    copy(&rehearsal.spool(), &undisturbed.path().join("out.mp4.roomcast"));
    let begun = Instant::now();
    recovers(undisturbed.path(), &undisturbed.path().join("out.mp4.roomcast"));
    let expected = std::fs::read(undisturbed.path().join("out.mp4")).expect("the file");
    let mut longest = Duration::from_millis(5);
    let (mut kills, mut inside) = (0, 0);
    for turn in 0..times(60) {
        let (base, shm) = (tempfile::tempdir().expect("folder"), tempfile::tempdir_in("/dev/shm").expect("folder"));
        // Every second time the file must be copied to another file system.
        let spool = if turn % 2 == 0 { base.path() } else { shm.path() }.join("out.mp4.roomcast");
        copy(&rehearsal.spool(), &spool);
        if turn % 2 == 1 {
            let mut notes: Value =
                serde_json::from_slice(&std::fs::read(spool.join("session.json")).expect("notes")).expect("JSON");
            notes["wanted"] = base.path().join("out.mp4").display().to_string().into();
            std::fs::write(spool.join("session.json"), notes.to_string()).expect("notes");
        }
        let journal = spool.join("recording.mp4.journal");
        for attempt in 0..3 {
            let started = Instant::now();
            let mut child = Command::new(env!("CARGO_BIN_EXE_roomcast"))
                .arg("recover")
                .arg(&spool)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("roomcast starts");
            if attempt == 0 {
                // The steps of the end are a small part of the time: one kill of three is aimed at them.
                while !journal.exists() && child.try_wait().expect("child").is_none() {
                    std::hint::spin_loop();
                }
                pass(dice.below(Duration::from_millis(2)));
            } else {
                pass(dice.below(longest));
            }
            if child.try_wait().expect("child").is_none() {
                kills += 1;
                child.kill().expect("killed");
            } else {
                longest = longest.min(started.elapsed());
            }
            child.wait().expect("child");
            let is_inside = journal.exists();
            inside += u32::from(is_inside);
            if !is_inside && spool.exists() {
                // It came too early: next time later.
                longest = (longest.mul_f64(1.1)).min(Duration::from_millis(200));
            }
        }
        if spool.exists() {
            let output = recover(&spool);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(!spool.exists());
        let mut names: Vec<_> =
            std::fs::read_dir(base.path()).expect("folder").flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        assert_eq!(names, ["out.events.jsonl", "out.ledger.jsonl", "out.mp4"]);
        assert!(std::fs::read(base.path().join("out.mp4")).expect("the file") == expected, "turn {turn}");
    }
    println!("{kills} kills, {inside} of them while the journal was there, in {:?}", begun.elapsed());
    assert!(inside >= 5, "{inside} of {kills}");
}

#[test]
fn the_first_ctrl_c_ends_cleanly_and_the_second_at_once() {
    // Cleanly.
    let rehearsal = rehearse(60);
    rehearsal.records();
    pass(Duration::from_secs(2));
    let family = Family::of(rehearsal.product.pid());
    rehearsal.product.signal(Signal::SIGINT);
    let asked_at = newest_written(&rehearsal.product.log());
    let (spool, out) = (rehearsal.spool(), rehearsal.out());
    let Rehearsal { product, folder, _place } = rehearsal;
    let outcome = product.finish(Duration::from_secs(20));
    outcome.is_well();
    assert!(outcome.said.starts_with("out.mp4\n"), "{}", outcome.said);
    family.is_gone_within(Duration::from_secs(10));
    assert!(!spool.exists());
    let film = is_ordinary(&out);
    let began = take_began(&outcome.log, 1);
    assert!(began + film.duration_s >= asked_at, "complete until it was asked to stop");
    drop((folder, _place));

    // At once.
    let rehearsal = rehearse(60);
    rehearsal.records();
    let family = Family::of(rehearsal.product.pid());
    rehearsal.product.signal(Signal::SIGINT);
    rehearsal.product.logs("ending the Session", Duration::from_secs(5));
    rehearsal.product.signal(Signal::SIGINT);
    let second = Instant::now();
    let spool = rehearsal.spool();
    let Rehearsal { product, folder, _place } = rehearsal;
    let outcome = product.finish(Duration::from_secs(10));
    println!("ended {:?} after the second Ctrl-C", second.elapsed());
    assert!(second.elapsed() < Duration::from_secs(3));
    assert_eq!(outcome.status.code(), Some(1));
    let last = outcome.log.lines().last().unwrap_or_default();
    assert_eq!(
        last,
        "error: Ended at once. What was recorded is kept; make a file of it with: roomcast recover out.mp4.roomcast"
    );
    family.is_gone_within(Duration::from_secs(10));
    recovers(folder.path(), &spool);
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    let rehearsal = rehearse(5);
    rehearsal.records();
    let first = process(rehearsal.product.pid(), Role::Worker);
    send(first, Signal::SIGSTOP);
    rehearsal.product.logs(" take=2 at=", Duration::from_secs(40));
    assert!(!world::family::runs(first));
    let out = rehearsal.out();
    let Rehearsal { product, folder, _place } = rehearsal;
    let outcome = product.finish(Duration::from_secs(40));
    assert!(outcome.status.success(), "{}", outcome.log);
    outcome.errors_only(&["the worker stands still; aborting it"]);
    assert!(outcome.said.contains("workers replaced            1"), "{}", outcome.said);
    let film = is_ordinary(&out);
    assert!((film.duration_s - 5.0).abs() <= 0.1, "{} s", film.duration_s);
    drop(folder);
}

#[test]
fn a_worker_without_its_supervisor_ends_its_take_and_leaves_nobody_behind() {
    let rehearsal = rehearse(60);
    rehearsal.records();
    let family = Family::of(rehearsal.product.pid());
    let written = newest_written(&rehearsal.product.log());
    rehearsal.product.signal(Signal::SIGKILL);
    family.is_gone_within(Duration::from_secs(10));
    let notes: Value =
        serde_json::from_slice(&std::fs::read(rehearsal.spool().join("session.json")).expect("notes")).expect("JSON");
    let ended = notes["parts"][0]["takes"][0]["ended"].as_f64().expect("the Take was ended") / 1e9;
    assert!(ended >= written, "{ended} of {written}");
    let began = take_began(&rehearsal.product.log(), 1);
    let film = recovers(rehearsal.folder.path(), &rehearsal.spool());
    assert!((began + film.pictures.len() as f64 / FPS - ended).abs() <= ONE_PICTURE_S, "the file ends where the notes say");
}

#[test]
fn actors_do_not_wait_for_a_supervisor_that_was_killed_with_its_worker() {
    let rehearsal = rehearse(60);
    rehearsal.records();
    let family = Family::of(rehearsal.product.pid());
    for role in [Role::Supervisor, Role::Worker] {
        send(family.the(role).expect("it runs"), Signal::SIGSTOP);
    }
    for role in [Role::Supervisor, Role::Worker] {
        send(family.the(role).expect("it runs"), Signal::SIGKILL);
    }
    family.is_gone_within(Duration::from_secs(10));
}
