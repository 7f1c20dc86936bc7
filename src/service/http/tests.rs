//! The interface over real sockets, with Sessions that this test posts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream as StdTcpStream};

use recorder_core::admission::{Machine, Shortage};
use recorder_core::controller_upload::{State as FilmState, Status as FilmStatus};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::{SessionId, TargetId};
use recorder_core::layout::{Layout, NamedText};
use recorder_core::live::{LiveState, Reason};
use recorder_core::time::SessionTime;
use recorder_core::upload;
use serde_json::{Value, json};

use super::*;
use crate::service::board::{Command, Load, Refusal, SessionEntry};
use crate::service::job::Status;
use crate::service::order::{LiveStand, Outcome, RecordingSnapshot, SessionState, Snapshot};
use crate::storage::controller_upload::FilmStand;
use crate::storage::recording_uploads::{UploadOf, Uploads};
use crate::target::rtmp::LiveFigures;

const TOKEN: &str = "canary-of-the-operators-0123456789";

/// An interface on a free port, with the layout files `own.toml` and `broken.toml`.
struct World {
    board: Board,
    server: Server,
    _folder: tempfile::TempDir,
}

async fn world(token: Option<&str>) -> World {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.toml"), "[[arrangement]]\nuse = \"grid\"\n").unwrap();
    std::fs::write(folder.path().join("broken.toml"), "[[arrangement]]\nuse = \"nothing\"\n").unwrap();
    let board = Board::new(3);
    let token = token.map(|text| Token::new(&Secret::new(text)));
    let operators = Operators { board: board.clone(), layouts: Layouts::new(Some(folder.path().to_owned())), token };
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), operators).await.unwrap();
    World { board, server, _folder: folder }
}

fn grid() -> NamedText {
    NamedText { name: "grid".into(), text: Layout::built_in_text("grid").unwrap().into() }
}

/// Sends these bytes, and reads what comes until the end.
async fn raw(server: &Server, request: Vec<u8>) -> String {
    let address = server.address();
    let talk = move || {
        let mut stream = StdTcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        // A server that refuses early need not read the rest.
        let _ = stream.write_all(&request);
        let mut answer = String::new();
        // A server that closes before it has read everything resets the connection; what it said before has arrived.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

/// Status and body.
async fn ask(server: &Server, method: &str, path: &str, authorization: Option<&str>, body: &str) -> (u16, String) {
    let authorization = authorization.map_or(String::new(), |text| format!("authorization: {text}\r\n"));
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{authorization}content-length: {length}\r\n\r\n{body}");
    let answer = raw(server, request.into_bytes()).await;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

async fn ours(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, body) = ask(server, method, path, Some(&format!("Bearer {TOKEN}")), body).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

/// Obeys the commands of a Session, and notes them.
fn obey(mut entry: SessionEntry) -> tokio::sync::mpsc::UnboundedReceiver<(String, NamedText)> {
    let (sender, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let Command::Layout { name, text, done } = entry.command().await;
            entry.update(&Snapshot { layout: name.clone(), ..Snapshot::default() });
            sender.send((name, text)).unwrap();
            done.send(Ok(())).unwrap();
        }
    });
    seen
}

#[tokio::test]
async fn everything_but_health_needs_the_token() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let _entry = board.session(SessionId::new("s"), grid());
    let guarded = [("GET", "/metrics"), ("GET", "/status"), ("GET", "/sessions/s/layout"), ("PUT", "/sessions/s/layout")];
    let longer = format!("Bearer {TOKEN}x");
    let basic = format!("Basic {TOKEN}");
    let wrong = [None, Some("Bearer"), Some("Bearer "), Some("Bearer wrong"), Some(TOKEN), Some(&longer[..longer.len() - 2])];
    for (method, path) in guarded {
        for authorization in wrong.into_iter().chain([Some(longer.as_str()), Some(basic.as_str())]) {
            let (status, body) = ask(&server, method, path, authorization, "{\"layout\":\"grid\"}").await;
            assert_eq!(status, 401, "{method} {path} {authorization:?}: {body}");
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["error"]["code"], "unauthorized");
        }
    }
    let lower = format!("bearer {TOKEN}");
    assert_eq!(ask(&server, "GET", "/status", Some(&lower), "").await.0, 200);
    for path in ["/health", "/health/ready"] {
        assert_eq!(ask(&server, "GET", path, None, "").await.0, 200);
    }
    let (status, body) = ask(&server, "GET", "/nothing", None, "").await;
    assert_eq!((status, body.contains("unknown_path")), (404, true));
}

#[tokio::test]
async fn without_a_configured_token_only_health_is_answered() {
    let World { server, .. } = world(None).await;
    assert_eq!(ask(&server, "GET", "/health", None, "").await.0, 200);
    for authorization in [None, Some("Bearer "), Some("Bearer x")] {
        let (status, body) = ask(&server, "GET", "/status", authorization, "").await;
        assert_eq!((status, body.contains("no_token_configured")), (403, true), "{body}");
    }
}

#[tokio::test]
async fn health_says_how_much_room_there_is_and_why_not() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let entry = board.session(SessionId::new("s"), grid());
    let capacity = json!({ "running": 1, "most": 3, "free": 2, "machine": null });
    let well = json!({ "live": true, "ready": true, "not_ready": null, "capacity": capacity });
    assert_eq!(ours(&server, "GET", "/health", "").await, (200, well));
    board.set_ready(Err("The broker cannot be reached.".into()));
    drop(entry);
    let capacity = json!({ "running": 0, "most": 3, "free": 3, "machine": null });
    let sentence = "The broker cannot be reached.";
    let unwell = json!({ "live": true, "ready": false, "not_ready": sentence, "capacity": capacity });
    assert_eq!(ours(&server, "GET", "/health", "").await, (200, unwell.clone()));
    assert_eq!(ours(&server, "GET", "/health/ready", "").await, (503, unwell));
}

#[tokio::test]
async fn what_the_machine_has_too_little_of_is_told_everywhere() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let machine =
        Machine { cpus: 4.0, cpu_used: 3.5, memory_free: 1 << 30, disk_free: 5 << 30, disk_size: 100 << 30, files_free: 900 };
    board.set_load(Load { machine, shortage: Some(Shortage::Cpu) });
    board.refused();
    let expected = json!({ "cpus": 4.0, "cpus_used": 3.5, "memory_free_bytes": 1u64 << 30, "disk_free_bytes": 5u64 << 30,
        "disk_bytes": 100u64 << 30, "files_free": 900, "too_little": "cpu" });
    let (_, health) = ours(&server, "GET", "/health", "").await;
    assert_eq!((&health["capacity"]["machine"], &health["capacity"]["free"]), (&expected, &json!(0)));
    assert_eq!(ours(&server, "GET", "/status", "").await.1["machine"], expected);
    let (_, metrics) = ask(&server, "GET", "/metrics", Some(&format!("Bearer {TOKEN}")), "").await;
    for line in [
        "roomcast_too_little{of=\"cpu\"} 1.0",
        "roomcast_too_little{of=\"disk\"} 0.0",
        "roomcast_too_little{of=\"files\"} 0.0",
        "roomcast_machine_files_free 900.0",
        "roomcast_machine_cpus_used 3.5",
        "roomcast_orders_refused_total 1.0",
    ] {
        assert!(metrics.lines().any(|said| said == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_layout_is_switched_by_its_name_and_told() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let began_with = NamedText { name: "/etc/elsewhere.toml".into(), ..grid() };
    let mut seen = obey(board.session(SessionId::new("1 / ä"), began_with));
    let path = "/sessions/1%20%2F%20%C3%A4/layout";
    let (status, body) = ours(&server, "GET", path, "").await;
    assert_eq!((status, body["layout"].as_str()), (200, Some("/etc/elsewhere.toml")));
    let names: Vec<&str> = body["layouts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.starts_with(&["auto"]) && names.ends_with(&["broken", "own", "/etc/elsewhere.toml"]), "{names:?}");
    for name in ["speaker", "own", "/etc/elsewhere.toml"] {
        let (status, body) = ours(&server, "PUT", path, &json!({ "layout": name }).to_string()).await;
        assert_eq!((status, body["layout"].as_str()), (200, Some(name)), "{body}");
        let (told, text) = seen.recv().await.unwrap();
        assert_eq!(told, name);
        Layout::parse(&text.name, &text.text).unwrap();
    }
    assert_eq!(ours(&server, "GET", path, "").await.1["layout"], "/etc/elsewhere.toml");
}

/// Each is refused with the field that is wrong, and nothing reaches the Session.
#[tokio::test]
async fn bad_requests_are_refused_by_name_and_change_nothing() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let mut seen = obey(board.session(SessionId::new("s"), grid()));
    let mut ending = board.session(SessionId::new("ending"), grid());
    ending.ended(&Outcome::default());
    let good = "{\"layout\":\"grid\"}";
    let layout = Some("layout");
    type Case<'a> = (&'a str, &'a str, &'a str, u16, &'a str, Option<&'a str>);
    let table: [Case<'_>; 19] = [
        ("PUT", "/sessions/s/layout", "", 400, "bad_json", None),
        ("PUT", "/sessions/s/layout", "{", 400, "bad_json", None),
        ("PUT", "/sessions/s/layout", "layout=grid", 400, "bad_json", None),
        ("PUT", "/sessions/s/layout", "[]", 400, "bad_field", layout),
        ("PUT", "/sessions/s/layout", "{}", 400, "bad_field", layout),
        ("PUT", "/sessions/s/layout", "{\"layout\":3}", 400, "bad_field", layout),
        ("PUT", "/sessions/s/layout", "{\"layout\":null}", 400, "bad_field", layout),
        ("PUT", "/sessions/s/layout", "{\"layout\":\"grid\",\"speed\":1}", 400, "bad_field", Some("speed")),
        ("PUT", "/sessions/s/layout", "{\"layout\":\"circle\"}", 400, "unknown_layout", layout),
        ("PUT", "/sessions/s/layout", "{\"layout\":\"\"}", 400, "unknown_layout", layout),
        ("PUT", "/sessions/s/layout", "{\"layout\":\"../own\"}", 400, "unknown_layout", layout),
        ("PUT", "/sessions/s/layout", "{\"layout\":\"/etc/passwd\"}", 400, "unknown_layout", layout),
        ("PUT", "/sessions/s/layout", "{\"layout\":\"broken\"}", 400, "bad_layout", layout),
        ("PUT", "/sessions/other/layout", good, 404, "unknown_session", None),
        ("GET", "/sessions/other/layout", "", 404, "unknown_session", None),
        ("PUT", "/sessions/ending/layout", good, 409, "ending", None),
        ("POST", "/sessions/s/layout", good, 405, "wrong_method", None),
        ("PUT", "/status", "", 405, "wrong_method", None),
        ("GET", "/sessions/s", "", 404, "unknown_path", None),
    ];
    for (method, path, body, status, code, field) in table {
        let (got, answer) = ours(&server, method, path, body).await;
        let error = &answer["error"];
        let found = (got, error["code"].as_str(), error["field"].as_str());
        assert_eq!(found, (status, Some(code), field), "{method} {path} {body}: {answer}");
        assert!(error["sentence"].as_str().is_some_and(|text| text.len() > 10), "{answer}");
    }
    let large = format!("{{\"layout\":\"{}\"}}", "x".repeat(MAX_BODY));
    let (status, answer) = ours(&server, "PUT", "/sessions/s/layout", &large).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (413, Some("too_large")));
    let long_head = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2 * MAX_HEAD));
    assert!(raw(&server, long_head.into_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert!(raw(&server, b"no HTTP at all\r\n\r\n".to_vec()).await.starts_with("HTTP/1.1 400 "));
    assert!(seen.try_recv().is_err(), "nothing reached the Session");
    assert_eq!(board.find("s").unwrap().0.snapshot.layout, "grid");
}

#[tokio::test]
async fn a_supervisor_that_has_no_time_is_said_to_be_busy() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let mut entry = board.session(SessionId::new("s"), grid());
    let refuse = async {
        let Command::Layout { done, .. } = entry.command().await;
        done.send(Err(Refusal::Busy)).unwrap();
    };
    let ask = ours(&server, "PUT", "/sessions/s/layout", "{\"layout\":\"grid\"}");
    let ((status, answer), ()) = tokio::join!(ask, refuse);
    assert_eq!((status, answer["error"]["code"].as_str()), (503, Some("busy")));
}

/// Clients that say nothing hold their places no longer than their time, and then others are answered.
#[tokio::test]
async fn slow_clients_are_cut_off_and_more_than_the_most_wait() {
    let board = Board::new(1);
    let operators = Operators { board, layouts: Layouts::default(), token: None };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let time = Duration::from_millis(300);
    let task = tokio::spawn(listen_on(listener, api::router(Arc::new(operators)), time));
    let server = Server { address, task };
    let slow = tokio::task::spawn_blocking(move || {
        let slow: Vec<StdTcpStream> = (0..MAX_CONNECTIONS)
            .map(|_| {
                let mut stream = StdTcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                stream.write_all(b"GET /health HT").unwrap();
                stream
            })
            .collect();
        slow.into_iter().for_each(|mut stream| {
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest).map_err(|error| error.kind());
            assert!(rest.is_empty() && ended != Err(std::io::ErrorKind::WouldBlock), "not cut off: {ended:?}");
        });
    });
    let begun = std::time::Instant::now();
    assert_eq!(ask(&server, "GET", "/health", None, "").await.0, 200);
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    slow.await.unwrap();
}

/// Far beyond the time of a connection.
const LIMIT: Duration = Duration::from_secs(20);

/// A Session with one Target of each kind, each in trouble.
fn busy() -> Snapshot {
    let trouble = |sentence: &str| Fault {
        scope: Scope::Target,
        blame: Blame::Destination,
        retry: Retry::After(Duration::from_millis(1500)),
        sentence: sentence.into(),
    };
    let at = SessionTime::from_millis(90_000);
    let state = LiveState::Retrying { attempt: 3, at, reason: Reason::ConnectionRefused };
    let figures = LiveFigures { confirmed_bytes: 4000, left_out: 7, ..LiveFigures::default() };
    let fault = state.fault(SessionTime::from_millis(88_500));
    let live = LiveStand { state: Some(state), figures, fault, retries: 2, ..LiveStand::new(TargetId::new("youtube")) };
    let status = upload::Status {
        state: upload::State::Retrying(trouble("The storage does not answer.")),
        key: "standup.mp4".into(),
        sent: 600,
        known: 1000,
    };
    let upload = UploadOf { file: "recording.mp4".into(), storage: "s3".into(), bucket: "team".into(), status };
    Snapshot {
        state: SessionState::Live,
        layout: "speaker".into(),
        elapsed: Duration::from_millis(65_500),
        status: Status {
            people: 4,
            tiles: 3,
            pictures: 1965,
            repeated: 5,
            fps: 29.5,
            encoder_lag: Duration::from_millis(40),
            dropped: 6,
            encoded_bytes: 9000,
            ..Status::default()
        },
        bytes: 1000,
        recording: true,
        recordings: vec![RecordingSnapshot {
            id: TargetId::new("recording"),
            began: true,
            recorded: Duration::from_secs(9),
            bytes: 1000,
        }],
        recorded: Duration::from_secs(64),
        lives: vec![live],
        uploads: Uploads { each: vec![upload], fault: None, over: false },
        fault: Some(trouble("The machine is too slow.")),
        workers: 2,
        cpu: Duration::from_millis(20_250),
        memory_bytes: 5000,
    }
}

#[tokio::test]
async fn status_shows_every_session_and_target_with_its_last_fault() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let entry = board.session(SessionId::new("s"), grid());
    entry.update(&busy());
    let (code, status) = ours(&server, "GET", "/status", "").await;
    assert_eq!((code, status["version"].as_str()), (200, Some(env!("CARGO_PKG_VERSION"))));
    let fault = |blame: &str, after: Value, sentence: &str| json!({ "scope": "target", "blame": blame, "retry_after_s": after, "sentence": sentence });
    let refused = fault("destination", json!(1.5), "The server refuses the connection.");
    let silent = fault("destination", json!(1.5), "The storage does not answer.");
    let target = |id: &str, kind: &str, state: &str, bytes: u64| json!({ "id": id, "kind": kind, "state": state, "bytes": bytes, "bytes_wanted": null, "left_out": null, "retries": null, "fault": null });
    let mut uploaded = target("s3://team/standup.mp4", "upload", "retrying", 600);
    (uploaded["bytes_wanted"], uploaded["fault"]) = (json!(1000), silent);
    let mut streamed = target("youtube", "live", "retrying", 4000);
    (streamed["left_out"], streamed["retries"], streamed["fault"]) = (json!(7), json!(2), refused);
    let targets = json!([target("recording", "recording", "recording", 1000), uploaded, streamed]);
    let expected = json!({
        "id": "s", "state": "live", "layout": "speaker", "elapsed_s": 65.5, "recorded_s": 64.0, "people": 4, "tiles": 3,
        "pictures": 1965, "repeated": 5, "fps": 29.5, "encoder_lag_ms": 40, "dropped": 6, "workers": 2, "cpu_s": 20.25,
        "memory_bytes": 5000, "reason": null, "targets": targets,
        "fault": fault("destination", json!(1.5), "The machine is too slow."),
    });
    assert_eq!(status["sessions"], json!([expected]));
    assert_eq!(status["over"], json!([]));
    drop(entry);
    let (_, status) = ours(&server, "GET", "/status", "").await;
    assert_eq!((&status["sessions"], &status["over"][0]["state"]), (&json!([]), &json!("over")));
}

/// Read by a parser of the format, not by this code's own idea of it.
#[tokio::test]
async fn metrics_are_read_by_a_real_parser_and_have_the_right_values() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let mut past = board.session(SessionId::new("past"), grid());
    past.ended(&Outcome { last: busy(), ..Outcome::default() });
    drop(past);
    let entry = board.session(SessionId::new("a \"quoted\" name"), grid());
    entry.update(&busy());
    let (code, text) = ours(&server, "GET", "/metrics", "").await;
    let text = text.as_str().expect("text").to_owned();
    assert_eq!(code, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let parsed = prometheus_parse::Scrape::parse(lines).unwrap();
    let value = |name: &str, labels: &[(&str, &str)]| {
        let found = parsed.samples.iter().filter(|sample| {
            sample.metric == name && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(*value))
        });
        let [sample] = found.collect::<Vec<_>>()[..] else { panic!("one {name} {labels:?} in:\n{text}") };
        match sample.value {
            prometheus_parse::Value::Counter(value)
            | prometheus_parse::Value::Gauge(value)
            | prometheus_parse::Value::Untyped(value) => value,
            _ => panic!("{name} is no number"),
        }
    };
    for (name, expected) in [
        ("roomcast_ready", 1.0),
        ("roomcast_capacity_sessions", 3.0),
        ("roomcast_sessions_ended_total", 1.0),
        ("roomcast_sessions_failed_total", 0.0),
        ("roomcast_workers_replaced_total", 2.0),
        ("roomcast_pictures_total", 2.0 * 1965.0),
        ("roomcast_pictures_repeated_total", 10.0),
        ("roomcast_frames_dropped_total", 12.0),
        ("roomcast_encoded_bytes_total", 18_000.0),
        ("roomcast_recorded_seconds_total", 128.0),
        ("roomcast_live_confirmed_bytes_total", 8000.0),
        ("roomcast_live_left_out_total", 14.0),
        ("roomcast_live_retries_total", 4.0),
        ("roomcast_upload_backlog_bytes", 400.0),
        ("roomcast_upload_sent_bytes", 600.0),
        ("roomcast_worker_cpu_seconds_total", 40.5),
        ("roomcast_session_people", 4.0),
        ("roomcast_session_tiles", 3.0),
        ("roomcast_session_pictures_per_second", 29.5),
        ("roomcast_session_encoder_lag_seconds", 0.04),
        ("roomcast_session_recorded_bytes", 1000.0),
        ("roomcast_session_cpu_seconds", 20.25),
        ("roomcast_session_memory_bytes", 5000.0),
    ] {
        assert_eq!(value(name, &[]), expected, "{name}");
    }
    assert!(value("roomcast_supervisor_cpu_seconds_total", &[]) > 0.0);
    assert_eq!(value("roomcast_build", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(
        (value("roomcast_sessions", &[("state", "live")]), value("roomcast_sessions", &[("state", "ending")])),
        (1.0, 0.0)
    );
    for (kind, state, count) in
        [("live", "retrying", 1.0), ("live", "live", 0.0), ("upload", "retrying", 1.0), ("recording", "recording", 1.0)]
    {
        assert_eq!(value("roomcast_targets", &[("kind", kind), ("state", state)]), count, "{kind} {state}");
    }
    // Each has its type and its meaning, and stands on the page about metrics.
    let page = metrics::reference();
    for sample in &parsed.samples {
        let family = sample.metric.strip_suffix("_total").unwrap_or(&sample.metric);
        assert!(text.contains(&format!("# HELP {family} ")) && text.contains(&format!("# TYPE {family} ")), "{family}");
        assert!(page.contains(&format!("| `{}` |", sample.metric)), "{}", sample.metric);
    }
}

#[test]
fn the_page_about_metrics_is_up_to_date() {
    let stored = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap_or_default();
    assert_eq!(stored, metrics::reference(), "docs/metrics.md is not what the source says; run: cargo run -- generate");
}

/// An alarm on a metric that does not exist never goes off.
#[test]
fn alarms_look_at_metrics_that_exist() {
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/prometheus-rules.yaml")).unwrap();
    let page = metrics::reference();
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("roomcast_"));
    let known = words.filter(|word| page.contains(&format!("| `{word}` |"))).count();
    let all = rules.matches("roomcast_").count();
    assert!(all > 5 && known == all, "{known} of {all} are known");
}

/// Nothing that operators are answered, and no log line of theirs, has the token in it.
#[tokio::test]
async fn no_answer_has_the_token_in_it() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let _entry = board.session(SessionId::new("s"), grid());
    for path in ["/health", "/status", "/metrics", "/sessions/s/layout", "/nothing"] {
        for authorization in [None, Some(format!("Bearer {TOKEN}")), Some(format!("Basic {TOKEN}"))] {
            let (_, body) = ask(&server, "GET", path, authorization.as_deref(), "").await;
            assert!(!body.contains("canary"), "{path}: {body}");
        }
    }
}

/// What becomes of a recording after its end does not depend on its Session being there.
#[tokio::test]
async fn deliveries_are_shown_beside_the_sessions() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let entry = board.delivery("s-2".into());
    let sentence = "The recording is not at the controller yet.".to_owned();
    let fault = Fault { scope: Scope::Target, blame: Blame::Conference, retry: Retry::After(LIMIT), sentence };
    for (state, word, is_fault) in [
        (FilmState::Sending, "uploading", false),
        (FilmState::Retrying(fault.clone()), "retrying", true),
        (FilmState::Delivered, "delivered", false),
    ] {
        let status = FilmStatus { state, sent: 300, len: 1000 };
        entry.update(|delivery| delivery.films = vec![FilmStand { name: "recording_x.mp4".into(), status }]);
        let bearer = format!("Bearer {TOKEN}");
        let (_, body) = ask(&server, "GET", "/status", Some(&bearer), "").await;
        let delivery = serde_json::from_str::<Value>(&body).unwrap()["deliveries"][0].clone();
        assert_eq!(
            (&delivery["recording"], &delivery["targets"][0]["id"]),
            (&json!("s-2"), &json!("controller: recording_x.mp4"))
        );
        let target = &delivery["targets"][0];
        assert_eq!((&target["state"], &target["bytes"], &target["bytes_wanted"]), (&json!(word), &json!(300), &json!(1000)));
        assert_eq!(target["fault"]["sentence"].is_string(), is_fault);
        let (_, metrics) = ask(&server, "GET", "/metrics", Some(&bearer), "").await;
        for sample in [format!("{{kind=\"controller\",state=\"{word}\"}} 1"), "roomcast_upload_backlog_bytes 700".into()] {
            assert!(metrics.contains(&sample), "{sample}:\n{metrics}");
        }
    }
    drop(entry);
    assert!(board.deliveries().is_empty());
}

#[tokio::test]
async fn the_client_says_why_there_is_no_answer() {
    use super::client::{Client, ClientError};
    for bad in ["", "127.0.0.1:1", "https://h:1", "http://", "http://u:canary@h:1", "http://h:1?token=canary"] {
        assert!(matches!(Client::new(bad, None), Err(ClientError::Address)), "{bad}");
    }
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let _entry = board.session(SessionId::new("1 / ä"), grid());
    let client = Client::new(&format!("http://{}", server.address()), Some(Secret::new(TOKEN))).unwrap();
    let (status, body) = client.ask(hyper::Method::GET, &["sessions", "1 / ä", "layout"], String::new()).await.unwrap();
    assert_eq!((status.as_u16(), serde_json::from_slice::<Value>(&body).unwrap()["layout"].as_str()), (200, Some("grid")));
    let odd = Client::new(&format!("http://{}", server.address()), Some(Secret::new("canary\n"))).unwrap();
    let refused = odd.ask(hyper::Method::GET, &["status"], String::new()).await.unwrap_err();
    assert_eq!(refused.to_string(), "the operators' token has characters that cannot be sent");
    let address = server.address();
    drop(server);
    tokio::task::yield_now().await;
    let gone = client.ask(hyper::Method::GET, &["health"], String::new()).await.unwrap_err();
    assert_eq!(gone.to_string(), format!("{address} cannot be reached: connection refused"));
}
