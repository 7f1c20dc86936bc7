//! Records people who send VP9 and H.264 beside VP8, and loses the signaling connection in the middle of it.

#![allow(clippy::expect_used)]

use roomcast_world as world;

use std::time::Duration;

use serde_json::json;
use world::codecs::{Rare, ensure};
use world::crowd::{Crowd, Joining};
use world::film::TileRect;
use world::film::ear::median;
use world::film::judge::{Judge, sync_offsets};
use world::livekit::LiveKit;
use world::recording::record;
use world::relay::Relay;

const SECONDS: u32 = 14;
/// Who sends what, and everybody's tile.
const VP8: usize = 0;
const VP9: usize = 1;
const H264: usize = 2;

#[test]
fn every_codec_is_recorded_and_a_lost_signaling_connection_costs_no_picture() {
    let server = LiveKit::start();
    let relay = Relay::before(&server, 1);
    let mut crowd = Crowd::gather(3);
    ensure(Rare::Vp9, VP9);
    ensure(Rare::H264, H264);
    let sends = |codec: Rare| json!({"camera": {"codec": codec.name(), "layers": [360]}});
    let everybody = [Joining::usual(VP8), Joining::with(VP9, sends(Rare::Vp9)), Joining::with(H264, sends(Rare::H264))];
    crowd.join_all(&server, "room", &everybody);

    // Only the product's way leads over the relay.
    let recording = record(&relay.url(), "room", Some(&format!("{SECONDS}s")));
    recording.is_under_way(Duration::from_secs(6));
    assert_eq!(relay.connections(), (1, 0), "one connection, made to join");
    relay.cut_signaling();
    world::until(Duration::from_secs(5), "the session is resumed", || (relay.connections() == (2, 1)).then_some(()));
    recording.product.logs("resumed", Duration::from_secs(5));
    // News still reach us: somebody leaves, which only the new connection tells.
    recording.is_under_way(Duration::from_secs(10));
    crowd.ask(VP8, "leave", json!({}));
    let tile = |x, y| TileRect { x, y, width: 640, height: 360 };
    let tiles = [tile(0, 0), tile(640, 0), tile(320, 360), tile(0, 180), tile(640, 180)];
    let (film, _folder) = recording.film(Duration::from_secs(u64::from(SECONDS) + 30), &tiles);

    let mut judge = Judge::new(&film);
    judge.decodes_clean().is_of(1280, 720, f64::from(SECONDS)).has_constant_rate(30.0);
    for person in [VP8, VP9, H264] {
        // The way through the relay is found later than the direct one, and without a twin of keyframes the one of the next second answers a
        // request. The cut was at 6 s.
        let steady = 2.0..9.4;
        judge
            .shows(person, person, steady.clone())
            .shows_each_once(person, steady.clone())
            .never_still(person, 100.0, steady.clone())
            .hears(person, 25.0, steady.clone())
            .is_in_sync(person, person, 20.0, 45.0, steady.clone());
        // All have one clock here, so no codec may be further from its sound than another: each decoder's delay is accounted for.
        let middle = |person| median(sync_offsets(&film, person, person, &steady).0.into_iter()).unwrap_or(f64::NAN);
        let apart = middle(person) - middle(VP8);
        judge.promise(
            apart.abs() <= 5.0,
            format!("tile {person}: {:.1} ms from its sound, {apart:.1} ms more than VP8", middle(person)),
        );
    }
    let alone = 11.0..f64::from(SECONDS) - 0.2;
    judge.hears_not(VP8, alone.clone());
    for (tile, person) in [(3, VP9), (4, H264)] {
        judge.shows(tile, person, alone.clone()).shows_each_once(tile, alone.clone()).hears(person, 25.0, 2.0..alone.end);
    }
    judge.finish();
    crowd.disperse();
}
