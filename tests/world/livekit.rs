//! A real livekit-server with a private configuration, and the tokens that open its rooms.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{cached_program, free_tcp_port, free_udp_port, signal, until, wait};

/// API key of all test servers.
pub const API_KEY: &str = "devkey";
/// API secret of all test servers: long enough for the server, and easy to find where it must not be.
pub const API_SECRET: &str = "canary-api-secret-0123456789abcdefghij";

/// A running livekit-server.
pub struct LiveKit {
    child: Option<Child>,
    folder: tempfile::TempDir,
    rooms: Rooms,
    /// TCP port of signaling.
    pub port: u16,
    /// UDP port of all media.
    pub udp_port: u16,
}

/// Where rooms come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rooms {
    /// Whoever joins first makes one.
    MadeByJoining,
    /// There are none.
    Unknown,
}

/// Who a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// May send and receive.
    Participant,
    /// The same, by telephone.
    Caller,
    /// May receive only, is not shown, and counts as a recorder.
    Recorder,
}

impl LiveKit {
    /// Starts a server and waits until it answers.
    pub fn start() -> LiveKit {
        Self::with(Rooms::MadeByJoining)
    }

    /// Starts a server and waits until it answers.
    pub fn with(rooms: Rooms) -> LiveKit {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = LiveKit { child: None, folder, rooms, port: free_tcp_port(), udp_port: free_udp_port() };
        server.run();
        server
    }

    /// Where people and the product connect to.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Address as clients take it.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    fn run(&mut self) {
        let (port, udp_port) = (self.port, self.udp_port);
        let config = format!(
            "port: {port}\nbind_addresses: [127.0.0.1]\nrtc:\n  udp_port: {udp_port}\n  tcp_port: 0\n  use_external_ip: false\n  \
             node_ip: 127.0.0.1\n  enable_loopback_candidate: true\n  interfaces: {{includes: [lo]}}\nkeys: {{{API_KEY}: {API_SECRET}}}\n\
             room: {{auto_create: {}, empty_timeout: 30}}\nlogging: {{level: info}}\n",
            self.rooms == Rooms::MadeByJoining
        );
        let config_path = self.folder.path().join("livekit.yaml");
        std::fs::write(&config_path, config).expect("configuration is written");
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("livekit.log")).expect("log");
        let child = Command::new(cached_program("livekit-server"))
            .arg("--config")
            .arg(&config_path)
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("livekit-server starts");
        self.child = Some(child);
        until(Duration::from_secs(20), "livekit-server answers", || self.answers().then_some(()));
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = String::new();
        stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.contains(" 200 ")
    }

    /// Ends the server at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::SIGKILL);
            child.wait().expect("it ends");
        }
    }

    /// Starts the server again after [`LiveKit::kill`], at the same ports.
    pub fn come_back(&mut self) {
        self.run();
    }

    /// Closes a room, as its owner may: everybody is sent out.
    pub fn close_room(&self, room: &str) {
        let mut claims = json!({"iss": API_KEY, "sub": "owner", "video": {"roomCreate": true}});
        claims["exp"] = json!(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 60);
        let (token, body) = (signed(&claims), json!({ "room": room }).to_string());
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        let length = body.len();
        write!(
            stream,
            "POST /twirp/livekit.RoomService/DeleteRoom HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer \
             {token}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("the server listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server answers");
        assert!(answer.contains(" 200 "), "{answer}");
    }

    /// Kills the server and starts it again at the same ports.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    /// What the server logged; for the message of a test that fails.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("livekit.log")).unwrap_or_default()
    }
}

impl Drop for LiveKit {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A first SIGTERM waits for everybody to leave, and one within the first second is forgotten: hence a limit.
            signal(&child, Signal::SIGTERM);
            if wait(&mut child, Duration::from_millis(300)).is_none() {
                signal(&child, Signal::SIGKILL);
                let _ = child.wait();
            }
        }
    }
}

/// A token for a room, good for an hour.
pub fn token(room: &str, identity: &str, name: &str, grant: Grant) -> String {
    token_until(room, identity, name, grant, 3600)
}

/// A token that ends so many seconds from now; negative is expired.
pub fn token_until(room: &str, identity: &str, name: &str, grant: Grant, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut claims = json!({
        "iss": API_KEY, "sub": identity, "name": name, "nbf": now - 7200, "exp": now.saturating_add_signed(seconds),
        "video": {"roomJoin": true, "room": room, "canPublish": grant != Grant::Recorder, "canSubscribe": true, "canPublishData": true},
    });
    if grant == Grant::Recorder {
        claims["video"]["hidden"] = json!(true);
        claims["video"]["recorder"] = json!(true);
        claims["kind"] = json!("egress");
    }
    if grant == Grant::Caller {
        claims["kind"] = json!("sip");
    }
    signed(&claims)
}

/// A token with these claims, signed with the key of the tests.
pub fn signed(claims: &serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(API_SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("a token")
}
