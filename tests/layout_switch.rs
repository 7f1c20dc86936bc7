//! Operators change the picture of a running recording, by the product's own commands; the file is judged picture by picture.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use world::film::judge::Judge;
use world::film::{Film, TileRect};
use world::product::Product;
use world::until;

const TOKEN: &str = "canary-of-the-operators-0123456789";
/// Seconds of programme.
const SECONDS: u64 = 39;
/// From here on all four are in the room with their cameras, and nobody shares a screen.
const ALL_THERE_S: f64 = 34.0;
/// Dmitri speaks from 32 s to 40 s of the meeting.
const DMITRI: usize = 3;
/// The session time that is told is up to a second old, and is asked for by another process.
const PRECISION_S: std::ops::RangeInclusive<f64> = -1.0..=3.0;
/// Time between two questions how late it is.
const GENTLY: Duration = Duration::from_millis(100);

/// `roomcast` against the interface at `url`.
fn operator(folder: &Path, url: &str, arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.args(arguments).args(["--url", url]).current_dir(folder);
    if let Some(token) = token {
        command.env("ROOMCAST_HTTP__TOKEN", token);
    }
    command.output().expect("roomcast starts")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn status(folder: &Path, url: &str) -> Value {
    serde_json::from_str(&said(&operator(folder, url, &["status", "--json"], Some(TOKEN)))).expect("JSON")
}

/// The first Session of the status, without a process for each question: the machine has a recording to make.
fn session_now(address: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /status HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    status["sessions"].get(0).cloned()
}

/// Who has which place of the grid: Chiara has left and come back, so hers is the last.
const IN_GRID: [usize; 4] = [0, 1, DMITRI, 2];
/// Dmitri's.
const CORNER: usize = 2;

/// Switches the layout by the interface itself.
fn put_layout(address: &str, session: &str, layout: &str) -> (u16, Value) {
    let body = format!("{{\"layout\":\"{layout}\"}}");
    let mut stream = TcpStream::connect(address).expect("the interface listens");
    let head = format!("PUT /sessions/{session}/layout HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}");
    write!(stream, "{head}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).expect("a body");
    (status, serde_json::from_str(body).expect("JSON"))
}

/// Where a layout puts the large picture on the 640x360 canvas of this test.
const LARGE: TileRect = TileRect { x: 64, y: 0, width: 512, height: 288 };
const WHOLE: TileRect = TileRect { x: 0, y: 0, width: 640, height: 360 };

/// Grid, speaker, single and grid again, while everything else goes on as if nothing had happened.
#[test]
fn the_layout_is_switched_while_the_recording_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let duration = format!("{SECONDS}s");
    let arguments = [
        "rehearse",
        "--http",
        "127.0.0.1:0",
        "--duration",
        &duration,
        "--to",
        "out.mp4",
        "--size",
        "640x360",
        "--layout",
        "grid",
    ];
    let environment = [("ROOMCAST_HTTP__TOKEN", TOKEN)];
    let product = Product::start(folder.path(), &arguments, &environment, "");
    product.logs("operators are answered address=", Duration::from_secs(60));
    let log = product.log();
    let address = log.split("operators are answered address=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = address.expect("an address");
    let url = format!("http://{address}");
    let at = folder.path();

    // Health needs no token, everything else does.
    assert!(said(&operator(at, &url, &["health", "--ready"], None)).starts_with("live, ready; "));
    let refused = operator(at, &url, &["status"], None);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("give the operators' token"));

    let once = |what: &str, field: &str, least: f64| {
        until(Duration::from_secs(60), what, || {
            std::thread::sleep(GENTLY);
            session_now(address).filter(|session| session[field].as_f64().is_some_and(|value| value >= least))
        })
    };
    let session = once("a Session that records", "recorded_s", 0.1)["id"].as_str().expect("a name").to_owned();
    assert_eq!(said(&operator(at, &url, &["health"], None)), "live, ready; 1 of 1 Sessions run\n", "{}", product.log());
    let switch = |layout: &str, from_s: f64| {
        let asked = once("the time to switch", "elapsed_s", from_s)["elapsed_s"].as_f64().expect("a number");
        let (status, answer) = put_layout(address, &session, layout);
        assert_eq!((status, answer["layout"].as_str()), (200, Some(layout)));
        until(Duration::from_secs(10), "the status says so", || {
            std::thread::sleep(GENTLY);
            session_now(address).filter(|now| now["layout"] == layout && now["state"] == "live")
        });
        asked
    };
    let bad = operator(at, &url, &["layout", &session, "circle"], Some(TOKEN));
    assert!(String::from_utf8_lossy(&bad.stderr).starts_with("error: there is no layout \"circle\"; there are: auto, "));
    assert_eq!(said(&operator(at, &url, &["layout", &session], Some(TOKEN))), "grid\n");
    let asked = [switch("speaker", ALL_THERE_S), switch("single", ALL_THERE_S + 1.0), switch("grid", ALL_THERE_S + 2.0)];
    assert_eq!(status(at, &url)["sessions"][0]["layout"], "grid");

    let outcome = product.finish(Duration::from_secs(90));
    outcome.is_well().keeps_secret(at, &["canary"]);
    for layout in ["speaker", "single", "grid"] {
        assert_eq!(outcome.log.matches(&format!("another layout layout=\"{layout}\"")).count(), 1, "{}", outcome.log);
    }

    let grid: Vec<TileRect> = (0..4).map(|index| TileRect::in_grid(index, 2, 320, 180)).collect();
    let mut tiles = grid.clone();
    tiles.extend([LARGE, WHOLE]);
    let mut film = Film::watch(&at.join("out.mp4"), &tiles);
    let changes = changes(&film);
    println!("asked for at {asked:?}; changed at {changes:?}");
    let large = film.follow(DMITRI, &[5, 4, CORNER]);
    let mut judge = Judge::new(&film);
    judge.decodes_clean().is_of(640, 360, SECONDS as f64).has_constant_rate(30.0);
    // Just before it nothing else happens.
    let begin = changes[0] - 0.25;
    let [to_speaker, to_single, to_grid] = changes;
    for (asked, changed) in asked.into_iter().zip(changes) {
        judge.promise(
            PRECISION_S.contains(&(changed - asked)),
            format!("asked for at {asked:.2} s or a little later, changed at {changed:.2} s"),
        );
    }
    let inside = |range: Range<f64>| range.start + 0.001..range.end - 0.001;
    for (tile, person) in IN_GRID.into_iter().enumerate() {
        judge.shows(tile, person, inside(begin..to_speaker));
        // Whoever was not seen for a while waits for a keyframe.
        judge.shows(tile, person, inside(to_grid + 1.5..SECONDS as f64 - 0.2));
    }
    judge.shows(4, DMITRI, inside(to_speaker..to_single)).shows(5, DMITRI, inside(to_single..to_grid));
    // Whoever speaks is seen in each picture of his once, whichever place he has; and he is heard without a gap.
    judge.shows_each_once(large, begin..to_grid + 1.0).hears(DMITRI, 13.0, begin..38.5);
    judge.is_in_sync(large, DMITRI, 20.0, 45.0, begin..38.5);
    judge.finish();
}

/// When the picture became another one: the first pictures in which Dmitri is large, whole, and in his corner again.
fn changes(film: &Film) -> [f64; 3] {
    let mut from = ALL_THERE_S - 0.3;
    [4, 5, CORNER].map(|tile| {
        let is_there = |picture: &&world::film::Picture| {
            picture.at_s >= from && picture.tiles[tile].person == Some(DMITRI) && picture.tiles[tile].counter.is_some()
        };
        let at =
            film.pictures.iter().find(is_there).unwrap_or_else(|| panic!("tile {tile} never shows Dmitri after {from} s")).at_s;
        from = at;
        at
    })
}
