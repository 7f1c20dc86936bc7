//! Records a real browser beside a person of the Go publisher: a real encoder with real keyframe requests, redundant sound (RFC 2198), the
//! sender reports and header extensions of another stack.

#![allow(clippy::expect_used, clippy::print_stdout)]

use roomcast_world as world;

use std::time::Duration;

use world::chromium::Chromium;
use world::crowd::{Crowd, Joining};
use world::film::TileRect;
use world::film::ear::median;
use world::film::judge::{Cadence, Judge, sync_offsets};
use world::livekit::LiveKit;
use world::recording::record;

const SECONDS: u32 = 12;
/// Who is sent by the Go publisher; the first tile.
const GO: usize = 0;
/// Who is in the browser; the second tile. Grey, because a browser turns the colours of a canvas into others (full range, BT.709), and nothing
/// in the stream says so.
const BROWSER: usize = 8;

#[test]
fn a_browser_is_recorded_beside_somebody_else() {
    let server = LiveKit::start();
    let mut crowd = Crowd::gather(1);
    crowd.join(&server, "room", &Joining::usual(GO));
    let browser = Chromium::join(&server, "room", BROWSER);
    let recording = record(&server.url(), "room", Some(&format!("{SECONDS}s")));
    let (film, _folder) = recording.film(
        Duration::from_secs(u64::from(SECONDS) + 30),
        &[0, 1].map(|index| TileRect { y: 180, ..TileRect::in_grid(index, 2, 640, 360) }),
    );
    browser.is_well();
    let outgoing = browser.outgoing();

    let mut judge = Judge::new(&film);
    judge.decodes_clean().is_of(1280, 720, f64::from(SECONDS));
    // A browser takes up to a second longer to be seen than the publisher.
    let steady = 2.0..f64::from(SECONDS) - 0.2;
    judge.shows(GO, GO, steady.clone()).hears(GO, 25.0, steady.clone()).shows(1, BROWSER, steady.clone());
    // A browser that draws and encodes in software needs most of two cores. Where the recording had to leave out pictures there were not enough
    // for it, and when it played what says nothing of us; what it sent and was asked for does.
    let left_out = film.pictures.windows(2).any(|pair| pair[1].at_s - pair[0].at_s > 1.5 / 30.0);
    if left_out {
        println!(
            "  NOT JUDGED: cadence, and the browser's sound in time: the machine was too full for a browser beside all else"
        );
    } else {
        judge.has_constant_rate(30.0).shows_each_once(GO, steady.clone()).is_in_sync(GO, GO, 20.0, 45.0, steady.clone());
        judge.hears(BROWSER, 25.0, steady.clone()).never_still(1, 500.0, steady.clone());
    }
    // It encodes in software beside everything else here, and draws when it gets to it: half of the pictures must do.
    let cadence = Cadence::of(&film, 1, &steady);
    let enough = cadence.backwards == 0 && cadence.unreadable == 0 && cadence.fresh * 2 >= cadence.pictures;
    judge.promise(enough || left_out, format!("the browser's pictures go on: {cadence:?}"));

    // Flash and beep are one instant of the page's time, but not of what the browser sends: its time moves in blocks of 20 ms of sound, a
    // drawing waits up to 17 ms for the next frame of the page, and a picture of the film up to 17 ms for its tick, either way. That is 45 ms
    // beside what the page itself knows: how late it drew. Measured: medians from -19 to 14 ms with 20 ms of that, 115 ms when starved.
    let (offsets, lonely) = sync_offsets(&film, 1, BROWSER, &steady);
    let middle = median(offsets.iter().copied()).unwrap_or(f64::NAN);
    let drawn_late = median(outgoing.drawn_late_ms.iter().copied()).unwrap_or(f64::NAN);
    // A browser that was starved skips pictures of its own, and keeps the distance that it has got by it. That it was must be seen.
    let starved = film.stalls.iter().filter(|stall| stall.who.ends_with(" of chromium"));
    let starved = starved.max_by(|a, b| a.waited_ms.total_cmp(&b.waited_ms)).filter(|_| cadence.skipped > 0);
    if let Some(stall) = starved {
        println!("  EXCUSED up to 115 ms: {stall}");
    }
    let most = if starved.is_some() { 115.0 } else { 45.0 };
    let in_sync = lonely == 0 && offsets.len() >= 8 && (-most..=most + drawn_late).contains(&middle);
    let seen =
        format!("median {middle:.1} of {most} ms, drawn {drawn_late:.1} ms late, {} pairs, {lonely} lonely", offsets.len());
    judge.promise(in_sync || left_out, format!("the browser's picture against sound: {seen}"));

    judge.promise(outgoing.sound.starts_with("red/"), format!("its sound is sent as {}", outgoing.sound));
    let pictures: Vec<_> = outgoing.streams.iter().filter(|stream| stream.kind == "video").collect();
    let are_layers = pictures.len() == 2 && pictures.iter().all(|stream| stream.codec == "video/VP8" && stream.packets > 0);
    judge.promise(are_layers, format!("it sends two layers: {pictures:?}"));
    // The first keyframe begins the stream, before anybody watches; ours is another one.
    let is_asked = pictures.iter().any(|stream| stream.asked > 0 && stream.keyframes > 1);
    judge.promise(is_asked, "it was asked for a keyframe, and made one");
    judge.finish();
    drop(browser);
    crowd.disperse();
}
