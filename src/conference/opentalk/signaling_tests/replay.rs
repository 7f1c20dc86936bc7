//! Recordings of a real controller: what is made of them, compared with what was reviewed once.
//!
//! `ROOMCAST_BLESS=1` writes the files anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;

/// Names ids in the order in which they appear.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(&mut self, kind: &str, id: &str) -> String {
        let number = self.0.len() + 1;
        self.0.entry(id.to_owned()).or_insert_with(|| format!("{kind}{number}")).clone()
    }
}

fn line(action: &Action, names: &mut Names) -> String {
    match action {
        Action::Connect => "connect".into(),
        Action::HangUp => "hang up".into(),
        Action::Say(text) => {
            let said: Value = serde_json::from_str(text).unwrap();
            let payload = &said["payload"];
            let what = payload["action"].as_str().or(payload["message"].as_str()).unwrap();
            let target = payload["target_id"].as_str().map(|id| names.of("t", id)).unwrap_or_default();
            format!("say {what} {target} {}", payload["status"].as_str().unwrap_or_default()).trim_end().to_owned()
        }
        Action::EnterMedia(credentials) => format!("enter media at {}", credentials.url),
        Action::GiveToken(token) => format!("give token {}", if token.is_some() { "a new one" } else { "none" }),
        Action::End(reason) => format!("end {reason:?}"),
        Action::Tell(event) => match event {
            ConferenceEvent::Entered { title } => format!("entered {:?}", title.as_ref().map(|t| t.expose())),
            ConferenceEvent::Joined { participant, name } => {
                format!("joined {} {:?}", names.of("p", participant.as_str()), name.expose())
            }
            ConferenceEvent::Facts { participant, facts } => {
                let Facts { role, hand, avatar, call_in } = facts;
                let hand = if *hand == Hand::Down { "down" } else { "up" };
                let p = names.of("p", participant.as_str());
                format!("facts {p} {role:?}, hand {hand}, avatar {}, call-in {call_in}", avatar.is_some())
            }
            ConferenceEvent::Consent { participant, given, .. } => {
                format!("consent {} {given}", names.of("p", participant.as_str()))
            }
            ConferenceEvent::Left { participant } => format!("left {}", names.of("p", participant.as_str())),
            ConferenceEvent::Wish { target, wish } => {
                let wish = match wish {
                    TargetWish::Start(Delivery::Recording) => "start a recording".to_owned(),
                    TargetWish::Start(Delivery::Live { location }) => format!("start to {}", location.expose()),
                    TargetWish::Pause => "pause".into(),
                    TargetWish::Stop => "stop".into(),
                };
                format!("wish {} {wish}", names.of("t", target.as_str()))
            }
            ConferenceEvent::Shown { target, light } => format!("shown {} {light:?}", names.of("t", target.as_str())),
            other => format!("{other:?}"),
        },
    }
}

fn standing(payload: &Value) -> Option<Standing> {
    let reason = &payload["reason"];
    match payload["status"].as_str()? {
        "active" => Some(Standing::Active),
        "paused" => Some(Standing::Paused),
        "inactive" => Some(Standing::Inactive),
        "error" => {
            let code =
                ["already_running", "start_recording", "start_livestream"].into_iter().find(|code| reason["code"] == *code)?;
            Some(Standing::Error { code, message: reason["message"].as_str()?.to_owned() })
        }
        _ => None,
    }
}

/// What each recorder of a recording would have done, and that it says the same words as the one that was recorded.
fn replay(recording: &str) -> String {
    let mut names = Names::default();
    let mut recorders: BTreeMap<String, Desk> = BTreeMap::new();
    let mut out = String::new();
    for text in recording.lines() {
        let entry: Value = serde_json::from_str(text).unwrap();
        let (who, msg) = (entry["who"].as_str().unwrap().to_owned(), &entry["msg"]);
        if !who.starts_with("recorder") || entry["via"] != "ws" {
            continue;
        }
        if msg.get("connect").is_some() {
            recorders.insert(who.clone(), Desk::new());
            continue;
        }
        let Some(desk) = recorders.get_mut(&who) else { continue };
        let now = desk.now;
        let payload = &msg["payload"];
        match (entry["dir"].as_str().unwrap(), msg["namespace"].as_str()) {
            ("in", Some(_)) => desk.signaling.heard(&msg.to_string(), now),
            ("in", None) if msg["connected"] == true => desk.signaling.opened(now),
            ("in", None) => {
                let code = msg["close_frame"]["code"].as_u64().or(msg["closed"]["close_code"].as_u64());
                match code {
                    // What Python calls an end without a close frame.
                    Some(1006) => desk.signaling.broken(Broken::Cut, now),
                    Some(code) => desk.signaling.broken(Broken::Closed(Some(code as u16)), now),
                    None => {}
                }
            }
            ("out", Some("recording_service")) => {
                if let Some(standing) = standing(payload) {
                    desk.signaling.report(&target(payload["target_id"].as_str().unwrap()), &standing);
                    let said: Value = match desk.signaling.actions.back() {
                        Some(Action::Say(said)) => serde_json::from_str(said).unwrap(),
                        // A Target of a controller that was there before.
                        _ => continue,
                    };
                    assert_eq!(&said, msg);
                }
            }
            ("out", Some("livekit")) if payload["action"] == "create_new_access_token" => desk.signaling.token_asked(),
            ("out", None) if msg.get("close").is_some() => desk.signaling.leave(),
            _ => {}
        }
        for action in desk.drain() {
            writeln!(out, "{who:<9} {}", line(&action, &mut names)).unwrap();
        }
    }
    out
}

#[test]
fn recordings_of_a_real_controller_are_understood() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/opentalk-b");
    for name in
        ["01-lifecycle", "02-deadline", "04-streaming", "05-endings", "07-breakout", "08-livekit", "10-operations", "13-misc"]
    {
        let recording = std::fs::read_to_string(folder.join(name).with_extension("jsonl")).unwrap();
        let expected = folder.join(name).with_extension("txt");
        let understood = replay(&recording);
        if std::env::var_os("ROOMCAST_BLESS").is_some() {
            std::fs::write(&expected, &understood).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        let differs = understood.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert!(understood == expected, "{name}: {differs:?}");
    }
}
