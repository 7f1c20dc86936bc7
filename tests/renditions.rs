//! One meeting in several Renditions at once: landscape, upright and small, each a film of its own, from one decode of everybody.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use recorder_core::ids::ParticipantId;
use recorder_core::layout::Layout;
use recorder_core::scene::CanvasSize;
use recorder_core::secret::Pii;
use recorder_core::stage::{Part, Seat, Stage};
use recorder_core::time::SessionTime;
use world::crowd::{Crowd, Joining, who};
use world::film::judge::Judge;
use world::film::{Film, TileRect};
use world::livekit::{Grant, LiveKit, token};
use world::product::Product;
use world::recording::session_time_of_recording;
use world::stalls::Watch;

const SECONDS: f64 = 16.0;
const PEOPLE: usize = 4;
/// Everybody one below the other, which no built-in layout does with four.
const COLUMN: &str = "background = \"#14161c\"\n[[arrangement]]\n[[arrangement.region]]\n\
                      area = { left = 0, top = 0, width = 100, height = 100 }\nat_most = 25\nflow = \"column\"\n";
const CONFIG: &str = "[renditions.upright]\nsize = \"720x1280\"\nlayout = \"column.toml\"\n\
                      [renditions.small]\nsize = \"854x480\"\nsound_kbps = 64\n[renditions.unused]\nsize = \"1920x1080\"\n";

/// Where the people stand who joined in this order.
fn tiles(layout: &Layout, width_px: u32, height_px: u32) -> Vec<TileRect> {
    let seat = |index: usize| Seat::new(ParticipantId::new(who(index)), Pii::new(who(index)), Part::Person, index as u64);
    let stage = Stage { seats: (0..PEOPLE).map(seat).collect(), audible: Vec::new() };
    let scene = layout.arrange(&stage, CanvasSize { width_px, height_px }, SessionTime::ZERO);
    let rects = scene.tiles.iter().map(|tile| tile.rect);
    rects.map(|r| TileRect { x: r.x as usize, y: r.y as usize, width: r.width as usize, height: r.height as usize }).collect()
}

/// The number behind `name=` in each line that has it.
fn numbers<'a>(log: &'a str, name: &'a str) -> impl Iterator<Item = u64> + 'a {
    log.lines().filter_map(move |line| {
        let text = line.split_once(name)?.1;
        text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
}

#[test]
fn a_meeting_is_recorded_landscape_upright_and_small_at_once() {
    let server = LiveKit::start();
    let mut crowd = Crowd::gather(PEOPLE);
    crowd.join_all(&server, "room", &[0, 1, 2, 3].map(Joining::usual));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("roomcast.toml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("column.toml"), COLUMN).unwrap();
    let (url, seconds) = (server.url(), format!("{SECONDS}s"));
    let mut arguments = vec!["--config", "roomcast.toml", "record", "--livekit", &url, "--token-file", "-", "--layout", "grid"];
    arguments.extend(["--to", "wide.mp4", "--to", "upright=upright.mp4", "--to", "small=small.mp4", "--duration", &seconds]);
    let environment = [("RUST_LOG", "info,roomcast::graph=debug")];
    let (watch, begun) = (Watch::begin(), Instant::now());
    let product = Product::start(folder.path(), &arguments, &environment, &token("room", "roomcast", "", Grant::Recorder));
    let outcome = product.finish(Duration::from_secs(60));
    outcome.is_well();
    let stalls = watch.end(begun + session_time_of_recording(&outcome.log));
    println!("{}", outcome.said);
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());

    let (grid, column) = (Layout::built_in("grid").unwrap(), Layout::parse("column.toml", COLUMN).unwrap());
    for (name, layout, width, height) in [("wide", &grid, 1280, 720), ("upright", &column, 720, 1280), ("small", &grid, 854, 480)]
    {
        println!("{name}:");
        let mut film = Film::watch(&folder.path().join(format!("{name}.mp4")), &tiles(layout, width, height));
        film.stalls.clone_from(&stalls);
        let mut judge = Judge::new(&film);
        judge.decodes_clean().is_of(width as usize, height as usize, SECONDS).has_constant_rate(30.0);
        let steady = 1.0..SECONDS - 0.2;
        for person in 0..PEOPLE {
            judge
                .shows(person, person, steady.clone())
                .shows_each_once(person, steady.clone())
                .hears(person, 25.0, steady.clone())
                .is_in_sync(person, person, 20.0, 45.0, steady.clone());
        }
        judge.finish();
    }

    // One decoder for each person, at the layer that the largest tile needs, and three picture encoders: what nobody ordered is not made.
    let decoders: BTreeSet<u64> = numbers(&outcome.log, "decoder=").collect();
    assert_eq!(decoders.len(), PEOPLE, "{}", outcome.log);
    assert_eq!(numbers(&outcome.log, "encoder_width=").collect::<BTreeSet<_>>(), BTreeSet::from([720, 854, 1280]));
    assert!(!folder.path().join("unused.mp4").exists());
    crowd.disperse();
}
