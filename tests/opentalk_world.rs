//! Proves the stand-in for an OpenTalk controller: asked the same as a real one was asked, it answers in the same words and the same order.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use world::controller::{Controller, Kind, Misbehaviour, Person, RoomPlan, Setup};

/// What this stand-in does not play: nothing of it concerns a recorder.
const NOT_PLAYED: [&str; 5] = ["chat", "timer", "automod", "breakout", "meeting_report"];

/// The form of a message: types instead of values, and names of things that are anybody's.
fn form(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => json!("time"),
        Value::String(_) => json!("text"),
        // One of each form: how many there are differs.
        Value::Array(entries) => {
            let mut forms: Vec<Value> = entries.iter().map(form).collect();
            forms.sort_by_key(Value::to_string);
            forms.dedup();
            json!(forms)
        }
        Value::Object(fields) => {
            let named = fields.iter().map(|(name, value)| {
                let is_id = name.len() == 36 && name.matches('-').count() == 4;
                // What people have written to each other is nothing to a recorder.
                let value = if name == "room_history" { &json!([]) } else { value };
                (if is_id { format!("id-{}", form(value)) } else { name.clone() }, form(value))
            });
            Value::Object(named.collect::<Map<_, _>>())
        }
    }
}

/// Namespace and name, and for words that decide something, those.
fn title(message: &Value) -> String {
    let payload = &message["payload"];
    let name = payload["message"].as_str().or(payload["action"].as_str()).unwrap_or_default();
    let more = ["status", "error", "new_role", "reason"].iter().filter_map(|key| payload[*key].as_str());
    let more: Vec<&str> = more.collect();
    format!("{} {name} {}", message["namespace"].as_str().unwrap_or_default(), more.join(" ")).trim_end().to_owned()
}

fn is_played(message: &Value) -> bool {
    let (namespace, payload) = (message["namespace"].as_str().unwrap_or_default(), &message["payload"]);
    let is_of_livekit =
        namespace == "livekit" && payload["message"] != "credentials" && payload["action"] != "create_new_access_token";
    !NOT_PLAYED.contains(&namespace) && !is_of_livekit
}

/// Plays a recording's requests against the stand-in, and compares what everybody was told.
struct Replay {
    controller: Controller,
    room: String,
    people: BTreeMap<String, Person>,
    /// What each was told by the real one, in this life of theirs.
    real: BTreeMap<String, Vec<Value>>,
    /// Ids of the recording, and ours for them.
    ids: BTreeMap<String, String>,
}

impl Replay {
    fn of(title: &str) -> Replay {
        let controller = Controller::start(Setup::simple("ws://127.0.0.1:7990"));
        let room = controller.plan(RoomPlan::titled(title).streaming_to("Portal", "rtmp://127.0.0.1:1935/live/k3y-abc"));
        Replay { controller, room, people: BTreeMap::new(), real: BTreeMap::new(), ids: BTreeMap::new() }
    }

    fn translated(&self, value: &Value) -> Value {
        let mut text = value.to_string();
        for (theirs, ours) in &self.ids {
            text = text.replace(theirs, ours);
        }
        serde_json::from_str(&text).expect("JSON")
    }

    fn play(&mut self, who: &str, message: &Value) {
        let payload = self.translated(&message["payload"]);
        let namespace = message["namespace"].as_str().expect("a namespace");
        if let Some(person) = self.people.get(who) {
            self.controller.says(person, namespace, payload);
            return;
        }
        assert_eq!(payload["action"], "join", "{who}: {message}");
        let name = payload["display_name"].as_str().expect("a name");
        let kind = match who {
            _ if who.starts_with("recorder") => Kind::Recorder,
            "moderator" => Kind::Moderator,
            _ => Kind::Guest,
        };
        let person = self.controller.joins(&self.room, kind, name);
        self.people.insert(who.into(), person);
    }

    /// The real one has let somebody in: from now on we know what it calls them and its Targets.
    fn learn(&mut self, who: &str, message: &Value) {
        let payload = &message["payload"];
        if payload["message"] == "join_success" {
            self.ids.insert(payload["id"].as_str().expect("an id").into(), self.people[who].id.clone());
            for (id, target) in payload["recording"]["targets"].as_object().expect("targets") {
                if target["streaming_kind"] == "recording" {
                    self.ids.insert(id.clone(), self.controller.recording_target(&self.room));
                }
            }
        }
        self.real.entry(who.into()).or_default().push(message.clone());
    }

    fn leave(&mut self, who: &str) {
        self.compare(who);
        if let Some(person) = self.people.remove(who) {
            self.controller.leaves(&person);
        }
        self.real.remove(who);
    }

    fn compare(&self, who: &str) {
        let (Some(person), Some(real)) = (self.people.get(who), self.real.get(who)) else { return };
        let real: Vec<&Value> = real.iter().filter(|message| is_played(message)).collect();
        let mut ours = self.controller.heard(person);
        // The recording ends before everybody has left.
        while ours.len() > real.len() && ours.last().is_some_and(|last| title(last) == "control left quit") {
            ours.pop();
        }
        let titles = |messages: &mut dyn Iterator<Item = &Value>| messages.map(title).collect::<Vec<_>>();
        assert_eq!(titles(&mut ours.iter()), titles(&mut real.iter().copied()), "{who}");
        for (ours, real) in ours.iter().zip(real) {
            if who == "moderator" && title(real) == "control join_success" {
                // Moderators are told of votes and waiting rooms, too, which no recorder is.
                continue;
            }
            // People who have left are another form of people; how many there were is up to the recording.
            assert_eq!(form(ours), form(real), "{who}: {}", title(real));
        }
    }
}

fn replay(name: &str, title: &str, until_ms: i64) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/opentalk-b").join(name);
    let recording = std::fs::read_to_string(path.with_extension("jsonl")).expect("a recording");
    let mut replay = Replay::of(title);
    let mut compared = 0;
    for line in recording.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["t"].as_i64().expect("a time") > until_ms {
            break;
        }
        let (who, message) = (line["who"].as_str().expect("somebody"), &line["msg"]);
        let is_message = message["namespace"].is_string() && is_played(message);
        match line["dir"].as_str().expect("a direction") {
            "out" if is_message => replay.play(who, message),
            "in" if is_message => {
                compared += 1;
                replay.learn(who, message);
            }
            "out" if message.get("close").is_some() => replay.leave(who),
            _ => {}
        }
    }
    for who in replay.people.keys() {
        replay.compare(who);
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn a_whole_meeting_goes_as_it_really_went() {
    replay("01-lifecycle", "Weekly sync: Straße & Co", i64::MAX);
}

/// One click and what follows in real time, as in the recording of deadlines.
struct Clicked {
    controller: Controller,
    room: String,
    moderator: Person,
    target: String,
    published: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Clicked {
    fn once() -> Clicked {
        let published: std::sync::Arc<std::sync::Mutex<Vec<String>>> = std::sync::Arc::default();
        let keep = std::sync::Arc::clone(&published);
        let mut setup = Setup::simple("ws://127.0.0.1:1");
        setup.publish = Box::new(move |body| {
            keep.lock().expect("list").push(body.to_owned());
            true
        });
        let controller = Controller::start(setup);
        let room = controller.plan(RoomPlan::titled("t"));
        let moderator = controller.joins(&room, Kind::Moderator, "Alice");
        let target = controller.recording_target(&room);
        let clicked = Clicked { controller, room, moderator, target, published };
        clicked.click();
        clicked
    }

    fn click(&self) {
        self.controller.click_start(&self.moderator, std::slice::from_ref(&self.target));
    }

    fn recorder(&self) -> Person {
        let recorder = self.controller.seats_recorder(&self.room, "rec");
        self.controller.says(&recorder, "control", json!({"action": "join", "display_name": "recorder"}));
        recorder
    }

    fn report(&self, recorder: &Person, payload: Value) {
        let mut report = json!({"message": "stream_updated", "target_id": self.target});
        report.as_object_mut().expect("made here").extend(payload.as_object().expect("made here").clone());
        self.controller.says(recorder, "recording_service", report);
    }

    fn status(&self) -> String {
        self.controller.what_everybody_sees(&self.room, &self.target)
    }

    fn published(&self) -> usize {
        self.published.lock().expect("list").len()
    }

    fn is_timed_out(&self) {
        world::until(Duration::from_secs(8), "the moderator is told of the timeout", || {
            (self.controller.moderator_was_told(&self.moderator) == ["timeout"]).then_some(())
        });
    }
}

#[test]
fn nobody_comes_and_a_second_click_changes_nothing() {
    let clicked = Clicked::once();
    let body = format!(r#"{{"breakout":null,"room":"{}"}}"#, clicked.room);
    assert_eq!(*clicked.published.lock().expect("list"), [body]);
    clicked.click();
    assert_eq!((clicked.published(), clicked.status().as_str()), (1, "starting"));
    clicked.is_timed_out();
    assert_eq!(clicked.status(), "inactive");
}

#[test]
fn an_error_is_forgotten_and_an_active_target_is_none() {
    let failed = Clicked::once();
    let recorder = failed.recorder();
    failed.report(&recorder, json!({"status": "error", "reason": {"code": "start_recording", "message": "disk full"}}));
    assert_eq!(failed.status(), "error");
    failed.is_timed_out();
    assert_eq!(failed.status(), "inactive");

    let active = Clicked::once();
    let recorder = active.recorder();
    active.report(&recorder, json!({"status": "active"}));
    // Clicks of five seconds ago are looked at in their order: after another's timeout, this one's would have come.
    let later = Clicked::once();
    later.is_timed_out();
    assert_eq!((active.status().as_str(), active.controller.moderator_was_told(&active.moderator).len()), ("active", 0));
}

#[test]
fn a_click_of_somebody_who_leaves_is_stuck_until_a_recorder_comes() {
    let stuck = Clicked::once();
    stuck.controller.leaves(&stuck.moderator);
    let later = Clicked::once();
    later.is_timed_out();
    assert_eq!(stuck.status(), "starting");
    let other = stuck.controller.joins(&stuck.room, Kind::Moderator, "Eve");
    stuck.controller.click_start(&other, std::slice::from_ref(&stuck.target));
    assert_eq!(stuck.published(), 1, "swallowed");
    let recorder = stuck.recorder();
    stuck.report(&recorder, json!({"status": "active"}));
    assert_eq!(stuck.status(), "active");
    stuck.controller.leaves(&recorder);
    assert_eq!(stuck.status(), "inactive");
}

#[test]
fn a_broker_that_is_away_leaves_it_stuck_and_lets_nobody_in() {
    let clicked = Clicked::once();
    clicked.is_timed_out();
    clicked.controller.misbehave(Misbehaviour::NoBroker);
    clicked.click();
    let later = Clicked::once();
    later.is_timed_out();
    assert_eq!((clicked.status().as_str(), clicked.published()), ("starting", 1));
    assert_eq!(
        ask(&clicked.controller, "GET /signaling", &[("sec-websocket-protocol", "opentalk-signaling-json-v1.0, ticket#x")], ""),
        (500, String::new())
    );
}

#[test]
fn malformed_reports_are_ignored_and_any_recorder_that_ends_resets() {
    let clicked = Clicked::once();
    let recorder = clicked.recorder();
    clicked.report(&recorder, json!({"status": "active"}));
    for odd in [
        json!({"status": "nonsense"}),
        json!({"status": "error"}),
        json!({"status": {"status": "paused"}}),
        json!({"message": "nope", "status": "paused"}),
    ] {
        clicked.report(&recorder, odd);
        assert_eq!(clicked.status(), "active");
    }
    let second = clicked.controller.seats_recorder(&clicked.room, "never joined");
    clicked.controller.leaves(&second);
    assert_eq!(clicked.status(), "inactive");
    // Nothing runs: another click is published although a recorder is here, and is not told to it.
    let before = clicked.controller.heard(&recorder).len();
    clicked.click();
    assert_eq!((clicked.published(), clicked.controller.heard(&recorder).len()), (2, before));
}

/// Status and body.
fn ask(controller: &Controller, what: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let port = controller.url().rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let mut request = format!("{what} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{request}\r\n{body}").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[test]
fn the_start_service_answers_as_the_real_one_did() {
    let controller = Controller::start(Setup::simple("ws://127.0.0.1:1"));
    let room = controller.plan(RoomPlan::titled("t"));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/opentalk-b/03-bad-inputs.jsonl");
    let recording = std::fs::read_to_string(path).expect("a recording");
    let lines: Vec<Value> = recording.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let real: Vec<&Value> = lines.iter().filter(|line| line["via"] == "http").collect();
    let mut rows = 0;
    for pair in real.chunks(2) {
        let (asked, answered) = (&pair[0]["msg"], &pair[1]["msg"]);
        // The one request with a token that is good, and the others with none that is: the recording has no words of theirs.
        let status = answered["status"].as_u64().expect("a status") as u16;
        let token = if status == 401 { "bad" } else { "good" };
        if asked["body"].is_null() {
            continue;
        }
        let mut body = asked["body"].clone();
        if status == 200 {
            body["room_id"] = json!(room);
        }
        let authorization = format!("Bearer {token}");
        let mut headers = vec![("content-type", "application/json")];
        if !asked["auth"].is_null() {
            headers.push(("authorization", &authorization));
        }
        let (ours, text) = ask(&controller, "POST /v1/services/recording/start", &headers, &body.to_string());
        let ours_body: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((ours, form(&ours_body)), (status, form(&answered["body"])), "{asked}");
        if status != 200 {
            assert_eq!(ours_body["code"], answered["body"]["code"], "{asked}");
        }
        rows += 1;
    }
    assert_eq!(rows, 15);
    let (status, _) = ask(&controller, "GET /v1/services/recording/start", &[], "");
    assert_eq!(status, 404);
}

#[test]
fn the_upgrade_is_refused_as_the_real_one_did() {
    let controller = Controller::start(Setup::simple("ws://127.0.0.1:1"));
    for (protocols, status, code) in [
        (None, 400, "missing_protocol"),
        (Some("opentalk-signaling-json-v1.0"), 401, "missing_ticket"),
        (Some("ticket#x"), 400, "invalid_protocol"),
        (Some("k3k-signaling-json-v1.0, ticket#x"), 400, "invalid_protocol"),
        (Some("opentalk-signaling-json-v1.0, ticket#short"), 401, "invalid_ticket"),
    ] {
        let headers: Vec<(&str, &str)> = protocols.iter().map(|protocols| ("sec-websocket-protocol", *protocols)).collect();
        let (ours, body) = ask(&controller, "GET /signaling", &headers, "");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((ours, body["code"].as_str()), (status, Some(code)), "{protocols:?}");
    }
}

/// Frames of an upload, as the recording has them: a number before so many bytes, or bytes alone.
fn upload_frame(said: &Value) -> Message {
    let bytes = |count: &Value| vec![0xee; count.as_u64().expect("a length") as usize];
    if let Some(part) = said.get("binary") {
        let number = part["part_index"].as_u64().expect("a number") as u32;
        return Message::binary([&number.to_be_bytes()[..], &bytes(&part["data_bytes"])].concat());
    }
    match said.get("text") {
        // Text whose first four characters are a number, too.
        Some(_) => Message::text("\0\0\0\0part0"),
        None => Message::binary(bytes(&said["binary_raw"])),
    }
}

/// Each upload of the recording once more: it is let in or refused with the same status, ended with the same code, and stored under the same name, with the
/// same size, or not at all.
#[test]
fn uploads_are_stored_as_the_real_one_stored_them() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/opentalk-b/06-upload.jsonl");
    let recording = std::fs::read_to_string(path).expect("a recording");
    let lines: Vec<Value> = recording.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let (mut uploads, mut stored) = (0, 0);
    for case in lines.chunk_by(|_, next| next["msg"].get("connect").is_none()) {
        let asked = &case[0]["msg"];
        if asked.get("connect").is_none() {
            continue;
        }
        let controller = Controller::start(Setup::simple("ws://127.0.0.1:1"));
        let find = |name: &str| case.iter().map(|line| &line["msg"]).find_map(|said| said.get(name));
        let has_event = find("assets").is_some_and(|assets| assets.to_string().contains("title_recording"));
        let room = controller.plan(RoomPlan::titled(if has_event { "Upload: Ümläut & title" } else { "" }));
        let is_room = |id: &str| id.len() == 36;
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in asked["query"].as_object().expect("a query") {
            let value = value.as_str().expect("text");
            query.append_pair(name, if name == "room_id" && is_room(value) { room.as_str() } else { value });
        }
        let address = format!("{}/v1/services/recording/upload?{}", controller.url().replace("http", "ws"), query.finish());
        let mut request = address.into_client_request().expect("an address");
        if let Some(token) = asked["auth"].as_str() {
            // The one token of the recording that is a recorder's.
            let token = if token.starts_with("eyJjwt004") { "Bearer good" } else { "Bearer bad" };
            request.headers_mut().insert("authorization", token.parse().expect("a header"));
        }
        runtime.block_on(async {
            let connected = tokio_tungstenite::connect_async(request).await;
            if let Some(status) = find("upgrade_refused") {
                let Err(Error::Http(answer)) = connected else { panic!("{asked}") };
                assert_eq!(u64::from(answer.status().as_u16()), status.as_u64().expect("a status"), "{asked}");
                return;
            }
            let (mut socket, _) = connected.expect("let in");
            let is_frame = |said: &&Value| ["binary", "binary_raw", "text"].iter().any(|kind| said.get(*kind).is_some());
            for said in case.iter().map(|line| &line["msg"]).filter(is_frame) {
                socket.send(upload_frame(said)).await.expect("taken");
            }
            let Some(closed) = find("closed") else { return };
            socket.close(None).await.expect("taken");
            let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!("no close frame: {asked}") };
            assert_eq!(u64::from(u16::from(frame.code)), closed["close_code"].as_u64().expect("a code"));
        });
        uploads += 1;
        let Some(assets) = find("assets").and_then(Value::as_array) else { continue };
        let ours = world::until(Duration::from_secs(10), "the upload is over", || {
            Some(controller.assets())
                .filter(|ours| !ours.is_empty() || (assets.is_empty() && is_over(&controller, find("closed"))))
        });
        let form = |name: &str, size: u64| (name.to_owned(), size);
        let ours_listed: Vec<_> = ours.iter().map(|asset| form(&asset.filename, asset.size)).collect();
        let real =
            assets.iter().map(|asset| form(asset["filename"].as_str().expect("a name"), asset["size"].as_u64().expect("a size")));
        assert_eq!(ours_listed, real.collect::<Vec<_>>(), "{case:?}");
        if let Some(bytes) = find("bytes") {
            let is_readable = find("download") == Some(&json!(200));
            let length = ours[0].bytes.as_ref().map(|bytes| bytes.len() as u64);
            assert_eq!(length, is_readable.then(|| bytes.as_u64().expect("a length")), "{case:?}");
            stored += 1;
        }
    }
    assert_eq!((uploads, stored), (31, 17));
}

/// An upload of which nothing is stored is over when its frames are counted; one that was not let in has none.
fn is_over(controller: &Controller, closed: Option<&Value>) -> bool {
    closed.is_none() || !controller.upload_frames().is_empty()
}
