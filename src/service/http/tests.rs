//! The interface over real sockets, with Sessions that this test posts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream as StdTcpStream};

use recorder_core::admission::{Machine, Shortage};
use recorder_core::ids::SessionId;
use recorder_core::layout::{Layout, NamedText};
use serde_json::{Value, json};

use super::*;
use crate::service::board::{Command, Load, Refusal, SessionEntry};
use crate::service::order::{Outcome, Snapshot};

mod figures;

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
