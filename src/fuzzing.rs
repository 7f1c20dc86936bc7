//! Everything that reads what others wrote, each as a function of bytes: for `fuzz/`, and for the test that replays its corpus.
//!
//! In: bytes, whatever they are. Out: nothing. Runs on the caller's thread. A panic, a hang or a large allocation is a defect of the parser behind it.
//! It is no interface of Roomcast: other programs must not use it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use livekit_protocol::signal_response::Message;
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::layout::{Language, Layout};
use recorder_core::scene::CanvasSize;
use recorder_core::secret::{Pii, Secret};
use recorder_core::slate::Slate;
use recorder_core::stage::{Part, Seat, Stage};
use recorder_core::time::SessionTime;
use recorder_core::upload::record::Record;
use recorder_core::upload::trouble::Reach;
use recorder_core::upload::{Action, Input, Trouble, Upload};
use serde_json::Value;

use crate::clock::SessionClock;
use crate::command::amqp::Room;
use crate::conference::opentalk;
use crate::config;
use crate::identity::Claims;
use crate::ingest::capture::ArrivalIsCapture;
use crate::ingest::offline::{OfflinePacket, OfflineStream, datagrams_of_tcp};
use crate::ingest::receiver::Receiver;
use crate::ingest::{IngestSettings, sdp};
use crate::livekit::roster::Roster;
use crate::livekit::signal;
use crate::livekit::verdict::{Farewell, Refusal};
use crate::mixer::still::{Still, StillLimits};
use crate::service::http;
use crate::storage::{disk::SystemDisk, finalise, outbox};
use crate::target::mp4::{Ending, Scanner};
use crate::target::rtmp;

/// A parser of bytes that others wrote.
pub type Parser = fn(&[u8]);

/// All of them, by the name of their folder in `fuzz/corpus`.
pub const PARSERS: [(&str, Parser); 18] = [
    ("amqp", amqp),
    ("avatar", avatar),
    ("config", configuration),
    ("http_layout", http::wanted),
    ("ice_tcp", datagrams_of_tcp),
    ("import_config", import_config),
    ("journals", journals),
    ("layout", layout),
    ("livekit", livekit),
    ("mp4", mp4),
    ("rtmp", rtmp::overhear),
    ("rtp", rtp),
    ("sdp", session_description),
    ("signaling", signaling),
    ("slate", slate),
    ("ticket", opentalk::start::answered),
    ("token", token),
    ("uploads", uploads),
];

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A start command of the broker.
fn amqp(bytes: &[u8]) {
    _ = Room::read(bytes);
}

/// What a controller says, a message a line.
fn signaling(bytes: &[u8]) {
    opentalk::overhear(text(bytes).lines());
}

/// An access token.
fn token(bytes: &[u8]) {
    let claims = Claims::read(&Secret::new(text(bytes)));
    _ = (claims.has_role(), claims.audience().len());
}

/// Messages of a LiveKit server, each with its length before it (16 bits, big-endian), and the body of its refusal.
fn livekit(mut bytes: &[u8]) {
    let mut roster = Roster::default();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (message, behind) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        bytes = behind;
        match signal::decode(message) {
            Ok(Some(Message::Join(join))) => _ = roster.joined(&join),
            Ok(Some(Message::Update(update))) => _ = roster.updated(&update.participants),
            Ok(Some(Message::SpeakersChanged(changed))) => _ = roster.speakers(&changed.speakers),
            Ok(Some(Message::Leave(leave))) => _ = Farewell::of(&leave),
            Ok(Some(Message::Offer(offer))) => session_description(offer.sdp.as_bytes()),
            Ok(_) | Err(_) => _ = Refusal::of_http(401, message),
        }
    }
    _ = roster.listing();
}

/// The offer of a media server, and behind a line `=` its candidates.
fn session_description(bytes: &[u8]) {
    let text = text(bytes);
    let (offer, candidates) = text.split_once("\n=\n").unwrap_or((&text, ""));
    if let Ok(parsed) = sdp::Offer::parse(offer) {
        _ = (parsed.sources(), sdp::correct_answer(offer, &parsed));
    }
    let now = Instant::now();
    let settings = IngestSettings::new(SessionClock::start());
    let mut receiver = Receiver::new(&settings, Box::new(ArrivalIsCapture), now);
    _ = receiver.accept_offer(offer, Vec::new(), now);
    for candidate in candidates.lines().filter_map(|line| str0m::Candidate::from_sdp_string(line).ok()).take(8) {
        receiver.add_remote_candidate(candidate);
    }
    receiver.timeout(now + Duration::from_millis(20));
}

/// The packets of one RTP stream: the first byte is the codec; then for each packet its flags, how far sequence number, time and clock go on,
/// its length, and its payload.
fn rtp(bytes: &[u8]) {
    let Some((&kind, mut rest)) = bytes.split_first() else { return };
    let content = OfflineStream::CONTENTS[usize::from(kind) % OfflineStream::CONTENTS.len()];
    let began = Instant::now();
    let mut stream = OfflineStream::new(content, track(), began, Duration::from_millis(500));
    let (mut seq, mut time, mut now) = (1_u64 << 16, 1_u64 << 32, began);
    while let [flags, seq_step, time_step, ms, length, behind @ ..] = rest {
        seq = seq.saturating_add_signed(i64::from(*seq_step as i8));
        time = time.saturating_add_signed(i64::from(*time_step as i8) * 960);
        now += Duration::from_millis(u64::from(*ms));
        let (payload, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        stream.put(OfflinePacket { seq, time, marker: flags & 1 != 0, payload: payload.to_vec() }, now);
        while stream.take(now).is_some() {}
        rest = behind;
    }
    // All that can still pass by itself does so.
    while let Some(at) = stream.wake().filter(|at| *at <= began + Duration::from_secs(60)) {
        now = now.max(at) + Duration::from_millis(1);
        while stream.take(now).is_some() {}
        if stream.wake().is_some_and(|again| again <= at) {
            break;
        }
    }
}

fn track() -> TrackId {
    TrackId::new(ParticipantId::new("somebody"), TrackKind::Camera)
}

/// The configuration file.
fn configuration(bytes: &[u8]) {
    if let Ok(config) = config::parse("fuzz.toml", &text(bytes), []) {
        _ = (config.programme.video_kbps(), config.http.url());
    }
}

/// The configuration file of another recorder. What is made of it must be a configuration.
fn import_config(bytes: &[u8]) {
    if let Ok(imported) = config::import::import("old.toml", &text(bytes), Path::new("/run/secrets")) {
        assert!(config::parse("new.toml", &imported.toml, []).is_ok(), "an import is a configuration");
    }
}

/// A layout file, with nobody up to a room full of people in it.
fn layout(bytes: &[u8]) {
    let Ok(layout) = Layout::parse("fuzz.toml", &text(bytes)) else { return };
    let canvas = CanvasSize { width_px: 1280, height_px: 720 };
    for people in [0, 1, 2, 5, 9, 30] {
        let stage = Stage { seats: (0..people).map(seat).collect(), audible: Vec::new() };
        _ = layout.arrange(&stage, canvas, SessionTime::ZERO);
    }
}

fn seat(number: u64) -> Seat {
    let part = if number == 1 { Part::Screen } else { Part::Person };
    let id = ParticipantId::new(format!("person {number}"));
    Seat {
        muted: number.is_multiple_of(2),
        speaking: number == 2,
        hand: (number == 3).then_some(number),
        ..Seat::new(id, Pii::new("Somebody"), part, number).with_video()
    }
}

/// A slate file.
fn slate(bytes: &[u8]) {
    let Ok(slate) = Slate::parse("fuzz.toml", &text(bytes)) else { return };
    let canvas = CanvasSize { width_px: 1280, height_px: 720 };
    let Ok(layout) = Layout::built_in("grid") else { return };
    let mut scene = layout.arrange(&Stage::default(), canvas, SessionTime::ZERO);
    slate.over(&mut scene, Language::En, Some(&Pii::new("A meeting")));
}

/// A recording as a crash left it.
fn mp4(bytes: &[u8]) {
    for scanner in [Scanner::open(bytes), Scanner::open_interrupted(bytes)].into_iter().flatten() {
        _ = Ending::plan(scanner);
    }
}

/// A spool folder: `session.json` in the first line, the journal of finalising in the second, and the recording behind both.
fn journals(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let (notes, journal, film) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    in_a_folder(|folder| {
        let spool = folder.join("out.mp4.roomcast");
        fs::create_dir(&spool)?;
        fs::write(spool.join("recording.mp4"), film)?;
        for (name, content) in [("session.json", notes), ("recording.mp4.journal", journal)] {
            if let Some(content) = content.filter(|content| !content.is_empty()) {
                fs::write(spool.join(name), at_home(content, folder))?;
            }
        }
        _ = finalise(&SystemDisk, &spool);
        Ok(())
    });
}

/// JSON in which every place on the disk lies in `folder`; other bytes as they are: nothing is done with those.
fn at_home(content: &[u8], folder: &Path) -> Vec<u8> {
    fn rename(value: &mut Value, folder: &Path) {
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    let place = match name.as_str() {
                        "wanted" => folder.join("out.mp4"),
                        "delivered" => folder.join("delivered.mp4"),
                        "file" => Path::new("recording.mp4").to_path_buf(),
                        _ => {
                            rename(inner, folder);
                            continue;
                        }
                    };
                    if inner.is_string() {
                        *inner = Value::String(place.to_string_lossy().into_owned());
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|inner| rename(inner, folder)),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(content) else { return content.to_vec() };
    rename(&mut value, folder);
    value.to_string().into_bytes()
}

/// What a spool folder says of its uploads: `targets.json` in the first line, the journal of the storage `main` behind it. The upload goes on, and
/// everything that it asks for fails.
fn uploads(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (targets, journal) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    in_a_folder(|folder| {
        let uploads = folder.join("upload");
        fs::create_dir(&uploads)?;
        fs::write(uploads.join("targets.json"), targets)?;
        fs::write(uploads.join("recording.mp4.main.json"), journal)?;
        for outgoing in outbox::outgoing(folder).into_iter().flatten() {
            _ = (outgoing.is_over(), outgoing.journal.upload.expected_etag());
            go_on(outgoing.journal.upload);
        }
        Ok(())
    });
}

fn go_on(record: Record) {
    let mut now = SessionTime::ZERO;
    let mut upload = Upload::resume(record, 1, now);
    upload.handle(Input::Grown { bytes: 40 << 20 }, now);
    upload.handle(Input::Ended { bytes: 50 << 20 }, now);
    for _ in 0..20 {
        while let Some(action) = upload.poll_action() {
            if let Action::Ask { id, .. } = action {
                upload.handle(Input::Answered { id, answer: Err(Trouble::Unreachable(Reach::Broken)) }, now);
            }
        }
        let Some(wake) = upload.poll_wake() else { break };
        now = now.max(wake);
        upload.handle(Input::Woken, now);
    }
}

/// A folder that is gone afterwards. What the disk refuses is of no interest here.
fn in_a_folder(work: impl FnOnce(&Path) -> std::io::Result<()>) {
    let folder = std::env::temp_dir().join(format!("roomcast-fuzzing-{}-{:?}", std::process::id(), std::thread::current().id()));
    if fs::create_dir_all(&folder).is_ok() {
        _ = work(&folder);
        _ = fs::remove_dir_all(&folder);
    }
}

/// A picture of a person.
fn avatar(bytes: &[u8]) {
    // Less than what is allowed, so that a large but honest picture is not taken for a hang.
    let limits = StillLimits { pixels: 512 * 512, memory: 8 << 20 };
    _ = Still::decode(bytes, CanvasSize { width_px: 320, height_px: 180 }, limits);
}
