//! Simulated people, sent by `tests/publisher` on a WebRTC stack that is not ours.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use roomcast::rehearsal::card::{PEOPLE, Person};
use roomcast::rehearsal::loops::{self, Layer};
use roomcast::rehearsal::picture::Surface;
use serde::Deserialize;
use serde_json::{Value, json};

use super::livekit::{Grant, LiveKit, token};
use super::{cached_program, wait};

/// Longest wait for an answer; unmuting waits for the next whole second by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the publisher says, see `event` in its source.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    pub event: String,
    pub r#ref: u64,
    pub who: String,
    pub what: String,
    pub why: String,
    pub media_ms: i64,
    pub height: u32,
    pub after_ms: f64,
    pub at_ms: f64,
}

/// A publisher process with everybody in it.
pub struct Crowd {
    child: Child,
    input: Option<ChildStdin>,
    heard: Arc<(Mutex<Vec<Event>>, Condvar)>,
    next_ref: u64,
    media_zero: Instant,
}

/// How somebody joins: by default with microphone and a camera of three layers, and a right clock.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Index in [`PEOPLE`]; higher ones look and sound like [`card`] says.
    pub person: usize,
    /// Options as the publisher takes them, over the defaults.
    pub options: Value,
    /// What the media server takes them for.
    pub grant: Grant,
}

impl Joining {
    /// With everything as usual.
    pub fn usual(person: usize) -> Self {
        Joining::with(person, json!({}))
    }

    /// With other options, for example `json!({"ppm": 100})`, or `json!({"camera": null})` for sound only.
    pub fn with(person: usize, options: Value) -> Self {
        Joining { person, options, grant: Grant::Participant }
    }

    /// By telephone: a voice, of whom the media server says that it came by SIP.
    pub fn calling(person: usize) -> Self {
        Joining { grant: Grant::Caller, ..Joining::with(person, json!({ "camera": null })) }
    }
}

/// The card of a person: from the tenth on they are used again.
pub fn card(person: usize) -> &'static Person {
    &PEOPLE[person % PEOPLE.len()]
}

/// Name of a person for the publisher.
pub fn who(person: usize) -> String {
    let stem = loops::file_stem(card(person));
    match person / PEOPLE.len() {
        0 => stem,
        round => format!("{stem}-{}", round + 1),
    }
}

impl Crowd {
    /// Starts a publisher without anybody. Makes the loops of the first `people` people if this is the first time.
    pub fn gather(people: usize) -> Crowd {
        Crowd::gather_on(Surface::Plain, people)
    }

    /// The same with another surface of the cards.
    pub fn gather_on(surface: Surface, people: usize) -> Crowd {
        let folder = loops::cache_folder_of(surface).expect("a cache folder");
        loops::ensure_on(surface, &folder, people.min(PEOPLE.len()), &Layer::ALL).expect("loops are made");
        let mut child = Command::new(cached_program("publisher"))
            .arg("-loops")
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("publisher starts");
        let heard: Arc<(Mutex<Vec<Event>>, Condvar)> = Arc::default();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let listener = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event: Event = serde_json::from_str(&line).unwrap_or_else(|_| Event {
                    event: "noise".into(),
                    why: line,
                    ..Event::default()
                });
                listener.0.lock().expect("listener").push(event);
                listener.1.notify_all();
            }
        });
        let input = child.stdin.take();
        let mut crowd = Crowd { child, input, heard, next_ref: 1, media_zero: Instant::now() };
        let ready = crowd.wait_for("the publisher to begin", |event| event.event == "ready");
        crowd.media_zero = Instant::now() - Duration::from_secs_f64(ready.at_ms / 1000.0);
        crowd
    }

    /// Process id of the publisher.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The instant of media time 0 of everybody without a phase; right to the few milliseconds that a pipe takes.
    pub fn media_zero(&self) -> Instant {
        self.media_zero
    }

    /// Somebody joins a room and publishes; returns when the room has the tracks.
    pub fn join(&mut self, server: &LiveKit, room: &str, joining: &Joining) {
        let reference = self.start_joining(server, room, joining);
        self.finish(reference);
    }

    /// Everybody joins, in this order, each after the one before.
    pub fn join_all(&mut self, server: &LiveKit, room: &str, everybody: &[Joining]) {
        for joining in everybody {
            self.join(server, room, joining);
        }
    }

    fn start_joining(&mut self, server: &LiveKit, room: &str, joining: &Joining) -> u64 {
        let (name, stem) = (who(joining.person), loops::file_stem(card(joining.person)));
        let mut command = json!({
            "do": "join", "who": name, "url": server.url(), "microphone": {"loops": stem}, "camera": {"loops": stem},
            "token": token(room, &name, card(joining.person).name, joining.grant),
        });
        let (Some(fields), Some(over)) = (command.as_object_mut(), joining.options.as_object()) else {
            panic!("options are an object")
        };
        fields.extend(over.clone());
        self.send(command)
    }

    /// Does something with somebody, for example `("mute", json!({"what": "microphone"}))`, and waits until it is done.
    pub fn ask(&mut self, person: usize, what: &str, more: Value) -> Event {
        let mut command = json!({"do": what, "who": who(person)});
        if let (Some(fields), Some(over)) = (command.as_object_mut(), more.as_object()) {
            fields.extend(over.clone());
        }
        let reference = self.send(command);
        self.finish(reference)
    }

    fn send(&mut self, mut command: Value) -> u64 {
        let reference = self.next_ref;
        self.next_ref += 1;
        command["ref"] = json!(reference);
        let input = self.input.as_mut().expect("open");
        writeln!(input, "{command}").expect("publisher listens");
        reference
    }

    fn finish(&self, reference: u64) -> Event {
        let answer = self.wait_for("an answer of the publisher", |event| event.r#ref == reference);
        assert_eq!(answer.event, "done", "{answer:?}");
        answer
    }

    /// The first event that fits, already heard or still to come.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let begin = Instant::now();
        let (lock, bell) = &*self.heard;
        let mut events = lock.lock().expect("listener");
        loop {
            if let Some(event) = events.iter().find(|event| fits(event)) {
                return event.clone();
            }
            let left = PATIENCE
                .checked_sub(begin.elapsed())
                .unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}; heard {events:?}"));
            events = bell.wait_timeout(events, left).expect("listener").0;
        }
    }

    /// Everything heard so far.
    pub fn events(&self) -> Vec<Event> {
        self.heard.0.lock().expect("listener").clone()
    }

    /// Everybody leaves and the publisher ends.
    pub fn disperse(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.input.take().is_some() && wait(&mut self.child, Duration::from_secs(5)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.end();
    }
}
