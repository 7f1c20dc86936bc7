//! Proves the world of the live tests itself: people come, mute, switch and go, and the relay loses what it should.

#![allow(clippy::expect_used)]

use roomcast_world as world;

use std::time::Duration;

use serde_json::json;
use world::crowd::{Crowd, Joining, who};
use world::livekit::LiveKit;
use world::relay::{Relay, Weather, rehearse_loss};

#[test]
fn people_join_mute_switch_leave_and_come_back() {
    let mut server = LiveKit::start();
    let mut crowd = Crowd::gather(2);
    crowd.join(&server, "room", &Joining::usual(0));
    crowd.join(&server, "room", &Joining::with(1, json!({"camera": {"layers": [360]}, "ppm": 100})));
    let sends = |crowd: &Crowd, person: usize, what: &str, at_least: usize| {
        let name = who(person);
        world::until(Duration::from_secs(5), "media are sent", || {
            let count =
                crowd.events().iter().filter(|event| event.event == "sending" && event.who == name && event.what == what).count();
            (count >= at_least).then_some(())
        });
    };
    sends(&crowd, 0, "camera", 1);
    sends(&crowd, 1, "microphone", 1);
    crowd.ask(0, "mute", json!({"what": "microphone"}));
    let back_ms = crowd.ask(0, "unmute", json!({"what": "microphone"})).media_ms;
    assert_eq!(back_ms % 1000, 0, "sound begins with a beep");
    sends(&crowd, 0, "microphone", 2);
    let last =
        crowd.events().into_iter().rev().find(|event| event.event == "sending" && event.what == "microphone").expect("sent");
    assert_eq!(last.media_ms, back_ms);
    crowd.ask(1, "switch", json!({"what": "camera", "track": {"loops": who(0), "layers": [720, 360, 180], "resizing": true}}));
    sends(&crowd, 1, "camera", 2);
    crowd.ask(0, "publish", json!({"what": "screen", "track": {"loops": who(1), "layers": [720]}}));
    crowd.ask(0, "publish", json!({"what": "screen_audio", "track": {"loops": who(1)}}));
    sends(&crowd, 0, "screen_audio", 1);
    crowd.ask(1, "leave", json!({}));
    crowd.join(&server, "room", &Joining::with(1, json!({"camera": null})));
    server.restart();
    crowd.wait_for("Ada to come back after the server's crash", |event| event.event == "reconnected" && event.who == who(0));
    crowd.disperse();
}

#[test]
fn the_relay_carries_everything_and_can_go_black() {
    let server = LiveKit::start();
    let relay = Relay::before(&server, 1);
    let mut crowd = Crowd::gather(1);
    crowd.join(&server, "room", &Joining::with(0, json!({"url": relay.url()})));
    let media =
        |at_least: u64| world::until(Duration::from_secs(10), "datagrams pass", || (relay.counts().0 >= at_least).then_some(()));
    media(500);
    assert_eq!(relay.counts().1, 0);
    relay.set(Weather::Black);
    let (passed, lost) = relay.counts();
    world::until(Duration::from_secs(5), "datagrams are lost", || (relay.counts().1 >= lost + 200).then_some(()));
    // One may have been on its way when the weather changed.
    assert!(relay.counts().0 <= passed + 1);
    relay.set(Weather::Clear);
    media(passed + 200);
    crowd.disperse();
}

#[test]
fn the_same_seed_loses_the_same_and_the_right_share() {
    let uniform = Weather::Uniform(0.05);
    let bursts = Weather::Bursts { share: 0.05, length: 4 };
    assert_eq!(rehearse_loss(uniform, 3, 1000), rehearse_loss(uniform, 3, 1000));
    assert_ne!(rehearse_loss(uniform, 3, 1000), rehearse_loss(uniform, 4, 1000));
    for weather in [uniform, bursts] {
        let (lost, _) = rehearse_loss(weather, 7, 200_000);
        assert!((9_500..10_500).contains(&lost), "{weather:?}: {lost}");
    }
    let (_, runs) = rehearse_loss(bursts, 7, 200_000);
    assert!(runs[..runs.len() - 1].iter().all(|run| run % 4 == 0), "{runs:?}");
}
