//! The programme monitor: a real browser sees and hears what goes out, in time; whatever viewers do, and whatever becomes of the monitor, changes nothing for the recording.

#![allow(clippy::expect_used, clippy::print_stdout)]

use roomcast_world as world;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomcast::rehearsal::card::{self, PEOPLE};
use serde_json::{Value, json};
use world::film::ear::median;
use world::film::judge::Judge;
use world::film::{Film, Part, TileRect};
use world::product::Product;
use world::recording::{four_tiles, one_room_at_a_time};
use world::stalls::Watch;
use world::until;
use world::watching::Watcher;
use world::whep::{Viewer, ask};

const TOKEN: &str = "canary-0123456789";
/// No step takes longer, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);
/// A browser tries again when it has not both streams after this time.
const TRIES_AGAIN: Duration = Duration::from_secs(10);
/// A picture is mixed so late…
const MIXER_DELAY_MS: f64 = 500.0;
/// …and is seen at most so much later.
const SEEN_WITHIN_MS: f64 = 400.0;
/// A round of the simulated meeting.
const ROUND: Duration = Duration::from_secs(40);

/// Where the monitor is, as the product says it.
fn monitor(product: &Product) -> SocketAddr {
    until(PATIENCE, "the address of the monitor", || {
        let log = product.log();
        let line = log.lines().find_map(|line| line.strip_prefix("programme monitor: http://"))?;
        line.trim_end_matches('/').parse().ok()
    })
}

/// The value of ` at=12.345678s` in the line with `text`.
fn at_in_log(log: &str, text: &str) -> f64 {
    let line = log.lines().find(|line| line.contains(text)).expect("the line is there");
    let at = line.split_whitespace().find_map(|word| word.strip_prefix("at=")?.strip_suffix('s')?.parse().ok());
    at.expect("a time")
}

/// Reads the counter of the first tile from what the video shows, every 50 ms, with the page's own time.
fn sampling() -> String {
    let part = json!({ "x": card::STRIP_X, "y": card::STRIP_Y, "cells": card::CELLS, "bits": card::COUNTER_BITS });
    format!(
        r#"(() => {{
            const part = {part}, video = document.getElementById("programme");
            const canvas = new OffscreenCanvas(640, 360), drawing = canvas.getContext("2d", {{ willReadFrequently: true }});
            window.seen = [];
            setInterval(() => {{
                if (!video.videoWidth) return;
                const at = performance.now();
                drawing.drawImage(video, 0, 0, 640, 360, 0, 0, 640, 360);
                const cell = (part.x[1] - part.x[0]) / part.cells;
                const light = (index) => {{
                    const x = Math.round(640 * (part.x[0] + cell * (index + 0.5))), y = Math.round(360 * (part.y[0] + part.y[1]) / 2);
                    return drawing.getImageData(x, y, 1, 1).data[1];
                }};
                const [white, black] = [light(0), light(1)];
                if (white - black < 70) return;
                let counter = 0;
                for (let bit = 0; bit < part.bits; bit++) counter = counter * 2 + (light(2 + bit) > (white + black) / 2 ? 1 : 0);
                window.seen.push([at, counter]);
            }}, 50);
        }})()"#
    )
}

/// Session time minus the page's time, in milliseconds: of five answers the one that came most quickly.
const CLOCKS: &str = r#"(async () => {
    let best = null;
    for (let n = 0; n < 5; n++) {
        const before = performance.now(), { now_ms } = await (await fetch("/state")).json(), after = performance.now();
        if (!best || after - before < best[0]) best = [after - before, now_ms - (before + after) / 2];
    }
    return best[1];
})()"#;

/// The loudest frequency of what is heard.
const HEARD: &str = r#"(async () => {
    const context = new AudioContext({ sampleRate: 48000 });
    const ear = context.createAnalyser();
    ear.fftSize = 32768;
    ear.smoothingTimeConstant = 0;
    context.createMediaStreamSource(document.getElementById("programme").srcObject).connect(ear);
    await context.resume();
    await new Promise((done) => setTimeout(done, 900));
    const bins = new Float32Array(ear.frequencyBinCount);
    ear.getFloatFrequencyData(bins);
    const loudest = bins.indexOf(Math.max(...bins));
    await context.close();
    return [loudest * context.sampleRate / ear.fftSize, bins[loudest]];
})()"#;

/// What the browser says of what it received: how long a picture and a sound wait in it before they are played, and how much later than its picture a sound is played.
const STATS: &str = r#"(async () => {
    const of = {};
    for (const one of (await peer.getStats()).values()) if (one.type === "inbound-rtp") of[one.kind] = one;
    const waited = (one) => Math.round(1000 * one.jitterBufferDelay / one.jitterBufferEmittedCount);
    const { framesDecoded, framesDropped, packetsLost, pliCount, freezeCount } = of.video;
    const apart_ms = of.video.estimatedPlayoutTimestamp - of.audio.estimatedPlayoutTimestamp;
    return { framesDecoded, framesDropped, packetsLost, pliCount, freezeCount, picture_waited_ms: waited(of.video), sound_waited_ms: waited(of.audio), apart_ms };
})()"#;

/// With ROOMCAST_KEEP=FOLDER what the page looks like is kept there.
fn keep_if_asked(name: &str, picture: &[u8]) {
    if let Some(folder) = std::env::var_os("ROOMCAST_KEEP") {
        std::fs::write(Path::new(&folder).join(name), picture).expect("the picture is kept");
    }
}

/// What the browser offers for the picture, and what it was answered: profile-level-ids of H.264 in packetization-mode=1.
const PROFILES: &str = r#"(() => {
    const of = ({ sdp }) => sdp.split(/\r?\n/).filter((line) => /^a=fmtp:.*packetization-mode=1/.test(line))
        .map((line) => line.match(/profile-level-id=(..)/)[1].toLowerCase());
    return [of(peer.localDescription), of(peer.remoteDescription)];
})()"#;

/// Whether just four people are shown at this time of the film, in seconds: in the first round of the play, and between a screen and the next absence in each later one.
fn is_of_four(at_s: f64) -> bool {
    (3.5..11.0).contains(&at_s) || at_s >= 26.0 && (at_s - 26.0) % 36.0 < 20.0
}

#[test]
fn a_browser_sees_and_hears_what_goes_out_in_time() {
    let _alone = one_room_at_a_time();
    let folder = tempfile::tempdir().expect("folder");
    let arguments = ["rehearse", "--duration", "1h", "--to", "out.mp4", "--monitor", "127.0.0.1:0"];
    let (watch, begun) = (Watch::begin(), Instant::now());
    let product = Product::start(folder.path(), &arguments, &[], "");
    let address = monitor(&product);
    let wrong_name = ask(address, "GET", "/state", &[("Host", "evil.example.org")], b"").expect("an answer");
    assert_eq!(wrong_name.status, 421, "{wrong_name:?}");
    let other_site = ask(address, "POST", "/whep", &[("Origin", "http://evil.example.org")], b"").expect("an answer");
    assert_eq!(other_site.status, 403, "{other_site:?}");

    let mut page = Watcher::open(&format!("http://{address}/"), "de");
    page.value(&sampling());
    until(PATIENCE, "the picture moves", || (page.value("window.seen.length").as_u64()? > 5).then_some(()));
    let clocks_ms = page.value(CLOCKS).as_f64().expect("a number");
    until(PATIENCE, "a voice is heard", || {
        let heard = page.value(HEARD);
        let (hz, decibels) = (heard[0].as_f64()?, heard[1].as_f64()?);
        let is_a_voice = PEOPLE.iter().any(|person| (f64::from(person.tone_hz) - hz).abs() < 10.0);
        (is_a_voice && decibels > -60.0).then_some(())
    });
    product.logs(" take=1 at=", PATIENCE);
    let begin_ms = at_in_log(&product.log(), " take=1 at=") * 1000.0;
    let shown_s = |at: f64| (at + clocks_ms - begin_ms) / 1000.0;
    let seen = until(ROUND + PATIENCE, "four people are seen for a while", || {
        let seen: Vec<(f64, u32)> = serde_json::from_value(page.value("window.seen")).ok()?;
        // What is shown was captured a little before.
        (seen.iter().filter(|(at, _)| is_of_four(shown_s(*at) - 1.0)).count() >= 100).then_some(seen)
    });
    keep_if_asked("monitor-light.png", &page.looks(false));
    keep_if_asked("monitor-dark.png", &page.looks(true));
    let words = page.value("document.body.innerText + document.documentElement.lang");
    let words = words.as_str().expect("text");
    for word in ["Aufzeichnung", "zeichnet auf, 00:0", "Personen", "Ton an"] {
        assert!(words.contains(word), "{word} in {words}");
    }
    assert_eq!(page.value(r#"document.getElementById("notice").textContent"#), "");
    page.value(r#"document.getElementById("sound").click()"#);
    assert_eq!(page.value(r#"document.getElementById("programme").muted"#), false);
    let [offered, answered]: [Vec<String>; 2] = serde_json::from_value(page.value(PROFILES)).expect("two lists");
    // High; Main for who does not take that.
    let best = ["64", "4d"].into_iter().find(|profile| offered.iter().any(|one| one == profile)).expect("one of both");
    assert_eq!(answered, [best], "of {offered:?}");
    println!("  {} of {offered:?}; {}", answered[0], page.value(STATS));
    drop(page);
    product.signal(Signal::SIGINT);
    let outcome = product.finish(PATIENCE);
    outcome.is_well();

    let mut film = Film::watch(&folder.path().join("out.mp4"), &four_tiles());
    assert_eq!(film.complaints, "");
    film.stalls = watch.end(begun + Duration::from_secs_f64(begin_ms / 1000.0));
    // Counters repeat after ten seconds: of the pictures with this one that which was captured last.
    let captured_s = |shown_s: f64, counter: u32| {
        let before = film.pictures.iter().rev().filter(|picture| is_of_four(picture.at_s) && picture.at_s <= shown_s);
        before.map(|picture| (picture.at_s, picture.tiles[0].counter)).find(|(_, of)| *of == Some(counter)).map(|(at_s, _)| at_s)
    };
    let seen: Vec<_> = seen.iter().map(|(at, counter)| (shown_s(*at), *counter)).collect();
    let late: Vec<Late> = seen
        .iter()
        .filter(|(shown_s, _)| is_of_four(*shown_s))
        .filter_map(|(shown_s, counter)| {
            let captured_s = captured_s(*shown_s, *counter)?;
            let stood = film.stall(&[Part::Way, Part::Encoder], captured_s..*shown_s).map_or(0.0, |stall| stall.waited_ms);
            Some(Late { ms: (shown_s - captured_s) * 1000.0, stood_ms: stood })
        })
        // A counter that was misread is that of any picture.
        .filter(|late| late.ms < 5000.0)
        .collect();
    let middle = median(late.iter().map(|late| late.ms)).expect("pictures were seen");
    let ours = median(late.iter().map(|late| late.ms - late.stood_ms)).expect("pictures were seen");
    let disturbed = late.iter().filter(|late| late.stood_ms > 0.0).count();
    println!(
        "  the browser shows a picture {middle:.0} ms after it was captured (median of {}), {MIXER_DELAY_MS:.0} ms of that in the mixer; \
         {ours:.0} ms without the time that a thread got no processor, in {disturbed} of them",
        late.len()
    );
    assert!(late.len() >= 60, "{} of {}", late.len(), seen.len());
    assert!(ours <= MIXER_DELAY_MS + SEEN_WITHIN_MS, "{late:?}");
}

/// How late a picture was seen.
#[derive(Debug)]
struct Late {
    ms: f64,
    /// So long a thread that it passed on its way waited for a processor.
    stood_ms: f64,
}

/// Process number of the monitor of this product.
fn monitor_pid(product: &Product) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", product.pid())).expect("children");
    let is_monitor = |pid: &&str| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|b| *b == 0).any(|word| word == b"monitor"))
    };
    children.split_whitespace().find(is_monitor).and_then(|pid| pid.parse().ok()).expect("the monitor runs")
}

/// Method, path, headers and body of a request that must be refused, with which status and word.
type Refused<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);

/// What must be refused.
fn refusals(address: SocketAddr) {
    let offer = Viewer::offer();
    let bearer = format!("Bearer {TOKEN}");
    let (known, sdp) = (("Authorization", bearer.as_str()), ("Content-Type", "application/sdp"));
    let vp8 = offer.replace("H264/90000", "VP8/90000");
    let nobody = "/whep/0123456789abcdef0123456789abcdef";
    let table: [Refused<'_>; 13] = [
        ("GET", "/state", &[], b"", 401, "wrong_token"),
        ("GET", "/state", &[("Authorization", "Bearer canary-wrong")], b"", 401, "wrong_token"),
        ("POST", "/whep", &[sdp], offer.as_bytes(), 401, "wrong_token"),
        ("POST", "/whep", &[known, sdp], b"hello", 400, "bad_offer"),
        ("POST", "/whep", &[known, sdp], b"\xff\xfe", 400, "bad_offer"),
        ("POST", "/whep", &[known, sdp], vp8.as_bytes(), 422, "bad_offer"),
        ("POST", "/whep", &[known, ("Content-Type", "text/plain")], offer.as_bytes(), 415, "not_sdp"),
        ("POST", "/whep", &[known, sdp], &[b'v'; 70_000], 413, "too_large"),
        ("GET", "/whep", &[known], b"", 405, "wrong_method"),
        ("PATCH", nobody, &[known], b"", 405, "wrong_method"),
        ("DELETE", nobody, &[known], b"", 404, "not_found"),
        ("DELETE", "/whep/nobody", &[known], b"", 404, "not_found"),
        ("GET", "/etc/passwd", &[known], b"", 404, "not_found"),
    ];
    for (method, path, headers, body, status, word) in table {
        let answer = ask(address, method, path, headers, body).expect("an answer");
        let said: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((answer.status, said["error"].as_str()), (status, Some(word)), "{method} {path}: {answer:?}");
        assert!(said["sentence"].as_str().is_some_and(|sentence| !sentence.is_empty() && !sentence.contains("canary")));
        assert_eq!(answer.header("allow").is_some(), status == 405, "{answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
    // The page itself says nothing, and needs none.
    let page = ask(address, "GET", "/", &[], b"").expect("an answer");
    assert!(
        page.status == 200
            && page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
}

/// Comes, sees, hears, and goes. Returns how long it took until there was something to see and to hear; `None` for a connection that carries one of the two only.
fn visit(address: SocketAddr) -> Option<Duration> {
    let came = Instant::now();
    let viewer = Viewer::join(address, TOKEN).expect("the viewer is let in");
    let mut has_asked = false;
    let mut is_served = || {
        // The first packets can be there before their keys. A browser asks for another keyframe then, and so does this viewer.
        if viewer.pictures() > 2 && viewer.keyframes() == 0 && !std::mem::replace(&mut has_asked, true) {
            viewer.wants_keyframe();
        }
        viewer.keyframes() > 0 && viewer.pictures() > 2 && viewer.sounds() > 1
    };
    until(2 * TRIES_AGAIN, "an end of waiting", || (is_served() || came.elapsed() > TRIES_AGAIN).then_some(()));
    let waited = came.elapsed();
    let served = is_served().then_some(waited);
    if served.is_none() {
        println!("  a visit without picture or sound: {}", viewer.story());
    }
    viewer.leave();
    served
}

#[test]
fn viewers_and_the_death_of_the_monitor_change_nothing() {
    let _alone = one_room_at_a_time();
    let folder = tempfile::tempdir().expect("folder");
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).expect("token file");
    let token = token.to_string_lossy().into_owned();
    let mut arguments = vec!["rehearse", "--duration", "1h", "--to", "out.mp4", "--size", "320x180"];
    arguments.extend(["--monitor", "127.0.0.1:0", "--monitor-token-file", &token]);
    // Who goes, and why: for whoever has to find out what became of a viewer.
    let environment = [("ROOMCAST_LOG__FILTER", "info,roomcast::target::monitor=debug")];
    let (watch, begun) = (Watch::begin(), Instant::now());
    let product = Product::start(folder.path(), &arguments, &environment, "");
    let address = monitor(&product);
    refusals(address);
    product.logs(" take=1 at=", PATIENCE);

    // One who stays, and asks for a keyframe as a browser does that has lost packets.
    let guest = Viewer::join(address, TOKEN).expect("the viewer is let in");
    until(PATIENCE, "pictures", || (guest.pictures() > 10).then_some(()));
    let (before, asked) = (guest.keyframes(), Instant::now());
    guest.wants_keyframe();
    until(PATIENCE, "a keyframe", || (guest.keyframes() > before).then_some(()));
    println!("  a keyframe comes {} ms after the wish", asked.elapsed().as_millis());

    let began = Instant::now();
    let waited: Vec<f64> = std::thread::scope(|scope| {
        let some = || (0..25).filter_map(|_| visit(address)).map(|waited| waited.as_secs_f64() * 1000.0).collect::<Vec<_>>();
        let crowd: Vec<_> = (0..4).map(|_| scope.spawn(some)).collect();
        crowd.into_iter().flat_map(|some| some.join().expect("every visit went well")).collect()
    });
    // A browser whose connection lacks a stream makes another one; these viewers do not.
    assert!(waited.len() >= 97, "{} of 100 saw and heard\n{}", waited.len(), product.log());
    let middle = median(waited.iter().copied()).expect("visits");
    println!(
        "  a hundred viewers came and went in {:.1} s; {} of them saw and heard, after {middle:.0} ms (median)",
        began.elapsed().as_secs_f64(),
        waited.len()
    );
    let before = guest.pictures();
    until(PATIENCE, "pictures go on", || (guest.pictures() > before + 5).then_some(()));

    let first = monitor_pid(&product);
    kill(Pid::from_raw(first), Signal::SIGKILL).expect("the monitor runs");
    // Who comes now waits in the queue of the listening socket, or finds the place of the dead one.
    until(PATIENCE, "there is another monitor", || {
        let answer = ask(address, "GET", "/state", &[("Authorization", &format!("Bearer {TOKEN}"))], b"").ok()?;
        (answer.status == 200).then_some(())
    });
    assert_ne!(monitor_pid(&product), first);
    assert!((0..3).any(|_| visit(address).is_some()), "the next monitor serves, too");
    assert!(!product.argument_lists().contains("canary"));

    product.signal(Signal::SIGINT);
    let outcome = product.finish(PATIENCE);
    outcome.is_well();
    assert!(!outcome.log.contains("canary") && !outcome.said.contains("canary"), "the token is not said");
    let repeated = outcome.said.lines().find(|line| line.contains("frames repeated")).expect("a figure");
    println!("  {}", repeated.trim());
    let path = folder.path().join("out.mp4");
    let mut film = Film::watch(&path, &[TileRect { x: 0, y: 0, width: 160, height: 90 }]);
    film.stalls = watch.end(begun + Duration::from_secs_f64(at_in_log(&outcome.log, " take=1 at=")));
    Judge::new(&film).decodes_clean().has_constant_rate(30.0).finish();
    // No viewer's wish has reached the encoder.
    let keyframes = keyframes(&path);
    let is_every_two_seconds = keyframes.windows(2).all(|pair| (pair[1] - pair[0] - 2.0).abs() < 0.2);
    let expected = (film.duration_s / 2.0).ceil() as usize;
    assert!(keyframes.len() == expected && is_every_two_seconds, "{keyframes:?} in {} s", film.duration_s);
}

/// When the film has keyframes.
fn keyframes(film: &Path) -> Vec<f64> {
    let arguments = ["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(arguments).arg(film).output().expect("ffprobe starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.split_once(','))
        .filter(|(_, flags)| flags.starts_with('K'))
        .filter_map(|(at, _)| at.parse().ok())
        .collect()
}
