//! A simulated person in a real browser: headless Chromium with livekit-client, the second WebRTC stack that is not ours.
//!
//! In: a room and a person of the test card. Out: what the page says (published, what it sends, errors). The page and the client library
//! are served from here over 127.0.0.1; the browser has an empty profile of its own and ends, with everything below it, with its owner.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use roomcast::rehearsal::card::{self, PEOPLE};
use serde::Deserialize;
use serde_json::json;

use super::crowd::who;
use super::livekit::{Grant, LiveKit, token};
use super::{cache, until};

const PAGE: &str = include_str!("../chromium/page.html");
const LIBRARY: &str = "livekit-client.umd.js";
/// A browser starts in about a second; on a machine that is busy with other things in ten.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running browser with one person in it.
pub struct Chromium {
    child: Child,
    heard: Arc<Mutex<Vec<Said>>>,
    _profile: tempfile::TempDir,
}

/// What the page says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said {
    /// published, outgoing, disconnected or error.
    pub event: String,
    /// Why, of an error.
    pub why: String,
    /// All streams that are sent.
    pub streams: Vec<Outgoing>,
    /// The sound codec that the server prefers.
    pub sound: String,
    /// How late the first picture of each second was drawn, against the sound that was made at that time.
    pub drawn_late_ms: Vec<f64>,
}

/// What the browser knows of one stream that it sends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Outgoing {
    /// audio or video.
    pub kind: String,
    /// MIME type of what is in the packets.
    pub codec: String,
    /// Height of the last picture.
    pub height: u32,
    pub packets: u64,
    pub pictures: u64,
    pub keyframes: u64,
    /// Keyframe requests received.
    pub asked: u64,
}

impl Chromium {
    /// Somebody joins a room with a browser; returns when the room has their tracks.
    pub fn join(server: &LiveKit, room: &str, person: usize) -> Chromium {
        let heard: Arc<Mutex<Vec<Said>>> = Arc::default();
        let part = part(server, room, person);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let page = format!("http://{}/", listener.local_addr().expect("bound"));
        let ear = Arc::clone(&heard);
        std::thread::spawn(move || {
            // Ends with the test program; after the browser nobody calls any more.
            for caller in listener.incoming().flatten() {
                let (part, ear) = (part.clone(), Arc::clone(&ear));
                std::thread::spawn(move || serve(caller, &part, &ear));
            }
        });
        let profile = tempfile::tempdir().expect("a folder");
        let child = start(profile.path(), &page, &["--allow-loopback-in-peer-connection"]);
        let browser = Chromium { child, heard, _profile: profile };
        until(PATIENCE, "the browser publishes", || {
            browser.is_well();
            browser.heard().iter().any(|said| said.event == "published").then_some(())
        });
        browser
    }

    /// Everything that the page said so far.
    pub fn heard(&self) -> Vec<Said> {
        self.heard.lock().expect("listener").clone()
    }

    /// Fails if the page told of an error or lost the room.
    pub fn is_well(&self) {
        let wrong: Vec<_> = self.heard().into_iter().filter(|said| matches!(&*said.event, "error" | "disconnected")).collect();
        assert!(wrong.is_empty(), "the browser says {wrong:?}");
    }

    /// What it sent when it last said so.
    pub fn outgoing(&self) -> Said {
        self.heard().into_iter().rev().find(|said| said.event == "outgoing").expect("the page tells each second")
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The child has not been waited for, so its group is still its own.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// A browser that opens `page`, with arguments of its own.
pub(super) fn start(profile: &std::path::Path, page: &str, arguments: &[&str]) -> Child {
    // The person's computer is another one; what it computes must not be taken from the recorder.
    Command::new("nice")
        .args([
            "-n",
            "10",
            "chromium",
            "--headless",
            // Only a page of our own is opened, and root cannot have a sandbox.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--disable-background-timer-throttling",
            "--disable-renderer-backgrounding",
            "--autoplay-policy=no-user-gesture-required",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .arg(page)
        // Whatever it keeps outside of its profile goes with it too.
        .env("HOME", profile)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("chromium starts; it is one of the Debian packages of the tests")
}

/// What the page has to know, as JSON.
fn part(server: &LiveKit, room: &str, person: usize) -> String {
    let who = who(person);
    let person = &PEOPLE[person];
    json!({
        "url": server.url(),
        "token": token(room, &who, person.name, Grant::Participant),
        "size": [640, 360],
        "person": {"ycbcr": person.ycbcr, "tone_hz": person.tone_hz, "beep_hz": person.beep_hz},
        "card": {
            "fps": card::FPS, "loop_frames": card::LOOP_FRAMES, "counter_bits": card::COUNTER_BITS,
            "strip_x": card::STRIP_X, "strip_y": card::STRIP_Y, "flash_x": card::FLASH_X, "flash_y": card::FLASH_Y,
            "flash_frames": card::FLASH_FRAMES, "bar_x": card::BAR_X, "bar_y": card::BAR_Y, "bar_width": card::BAR_WIDTH,
            "beep_ms": card::BEEP_MS, "tone_amplitude": card::TONE_AMPLITUDE, "beep_amplitude": card::BEEP_AMPLITUDE,
        },
    })
    .to_string()
}

/// Answers one request; `None` when the browser went away in the middle of it.
fn serve(caller: TcpStream, part: &str, ear: &Mutex<Vec<Said>>) -> Option<()> {
    let mut reader = BufReader::new(caller.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let (status, kind, body) = match request.split_whitespace().nth(1)? {
        "/" => ("200 OK", "text/html", PAGE.as_bytes().to_vec()),
        "/part.json" => ("200 OK", "application/json", part.as_bytes().to_vec()),
        "/livekit-client.umd.js" => {
            let path = cache().join("lib").join(LIBRARY);
            let library =
                std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: run scripts/servers first", path.display()));
            ("200 OK", "text/javascript", library)
        }
        "/said" => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let why = String::from_utf8_lossy(&body).into_owned();
            let said = serde_json::from_slice(&body).unwrap_or(Said { event: "error".into(), why, ..Said::default() });
            ear.lock().expect("listener").push(said);
            ("204 No Content", "text/plain", Vec::new())
        }
        _ => ("404 Not Found", "text/plain", Vec::new()),
    };
    let mut caller = caller;
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    caller.write_all(head.as_bytes()).ok()?;
    caller.write_all(&body).ok()
}
