use std::time::Duration;

use super::*;
use crate::fault::{Blame, Retry, Scope};
use crate::made_up::id;

const ASKED: ConsentRule = ConsentRule::Asked { call_in_included: false };

fn at(s: u64) -> SessionTime {
    SessionTime::from_millis(s * 1000)
}

fn file() -> TargetId {
    TargetId::new("file")
}

/// A chronicle, and what it said so far as JSON, each line with its second.
struct Diary {
    chronicle: Chronicle,
    ledger: Vec<String>,
    events: Vec<String>,
}

impl Diary {
    fn under(rule: ConsentRule) -> Self {
        let chronicle = Chronicle::new(SessionId::new("s"), rule, "grid");
        Self { chronicle, ledger: Vec::new(), events: Vec::new() }
    }

    fn write(&mut self, lines: Vec<Dated>) {
        for (at, line) in lines {
            let s = at.as_nanos() / 1_000_000_000;
            match line {
                Line::Ledger(entry) => self.ledger.push(format!("{s} {}", serde_json::to_string(&entry).unwrap())),
                Line::Event(event) => self.events.push(format!("{s} {}", serde_json::to_string(&event).unwrap())),
            }
        }
    }

    fn note(&mut self, s: u64, note: Note) {
        let lines = self.chronicle.note(at(s), note);
        self.write(lines);
    }

    fn event(&mut self, s: u64, event: &ConferenceEvent) {
        let note = Note::of_event(event).unwrap();
        // As it arrives at the supervisor.
        let note = serde_json::from_str(&serde_json::to_string(&note).unwrap()).unwrap();
        self.note(s, note);
    }

    fn joins(&mut self, s: u64, name: &str) {
        self.event(s, &ConferenceEvent::Joined { participant: id(name), name: Pii::new(format!("{name} Surname")) });
    }

    fn consents(&mut self, s: u64, name: &str, given: bool) {
        self.event(s, &ConferenceEvent::Consent { participant: id(name), given, by: "update" });
    }

    fn leaves(&mut self, s: u64, name: &str) {
        self.event(s, &ConferenceEvent::Left { participant: id(name) });
    }

    fn head(&mut self, s: u64) {
        let lines = self.chronicle.head(&file(), at(s));
        self.write(lines);
    }
}

#[test]
fn names_are_written_only_while_somebody_agrees() {
    let mut diary = Diary::under(ASKED);
    diary.joins(1, "ada");
    diary.joins(2, "bob");
    diary.consents(2, "bob", false);
    diary.consents(3, "ada", true);
    // Said again, it is no news.
    diary.consents(3, "ada", true);
    diary.consents(4, "ada", false);
    diary.leaves(5, "ada");
    diary.leaves(5, "bob");
    assert_eq!(
        diary.ledger,
        [
            r#"3 {"entry":"given","who":"person-1","participant":"ada","name":"ada Surname","by":"update"}"#,
            r#"4 {"entry":"withdrawn","who":"person-1","by":"update"}"#,
        ]
    );
    assert_eq!(
        diary.events,
        [
            r#"1 {"event":"joined","who":"person-1"}"#,
            r#"2 {"event":"joined","who":"person-2"}"#,
            r#"5 {"event":"left","who":"person-1"}"#,
            r#"5 {"event":"left","who":"person-2"}"#,
        ]
    );
}

#[test]
fn who_leaves_has_not_agreed_any_more_and_comes_back_as_another() {
    let mut diary = Diary::under(ASKED);
    diary.joins(1, "ada");
    diary.consents(1, "ada", true);
    diary.leaves(2, "ada");
    diary.joins(3, "ada");
    diary.head(4);
    assert_eq!(diary.ledger[1], r#"2 {"entry":"left","who":"person-1","participant":"ada","name":"ada Surname"}"#);
    assert!(diary.ledger[2].starts_with(r#"4 {"entry":"rule""#), "{:?}", diary.ledger);
    assert_eq!(diary.ledger.len(), 3, "nobody who is there agrees");
    assert_eq!(diary.events.last().unwrap(), r#"3 {"event":"joined","who":"person-2"}"#);
}

#[test]
fn where_nobody_is_asked_everybody_is_named() {
    let mut diary = Diary::under(ConsentRule::NotAsked);
    diary.joins(1, "ada");
    diary.event(2, &ConferenceEvent::Joined { participant: id("ada"), name: Pii::new("Ada L") });
    diary.head(3);
    assert_eq!(diary.events[1], r#"2 {"event":"renamed","who":"person-1","participant":"ada","name":"Ada L"}"#);
    assert_eq!(diary.ledger, [r#"3 {"entry":"rule","version":1,"session":"s","recording":"file","consent":"not_asked"}"#]);
}

#[test]
fn a_recording_that_begins_later_is_told_how_things_stand() {
    let mut diary = Diary::under(ASKED);
    diary.joins(1, "ada");
    diary.joins(2, "bob");
    diary.consents(3, "bob", true);
    let takes = Note::TakeBegins { target: TargetId::new("stream"), take: TakeId(1), from: at(4) };
    diary.note(4, takes);
    let dated = diary.chronicle.layout("speaker", at(5));
    diary.write(vec![dated]);
    (diary.ledger, diary.events) = (Vec::new(), Vec::new());
    diary.head(6);
    assert_eq!(
        diary.ledger,
        [
            r#"6 {"entry":"rule","version":1,"session":"s","recording":"file","consent":"asked","call_in_without_consent":"exclude"}"#,
            r#"3 {"entry":"given","who":"person-2","participant":"bob","name":"bob Surname","by":"update"}"#,
        ]
    );
    assert_eq!(
        diary.events,
        [
            r#"6 {"event":"begins","version":1,"session":"s","recording":"file"}"#,
            r#"6 {"event":"layout","name":"speaker"}"#,
            r#"1 {"event":"joined","who":"person-1"}"#,
            r#"2 {"event":"joined","who":"person-2","participant":"bob","name":"bob Surname"}"#,
            r#"4 {"event":"take_began","target":"stream","take":1}"#,
        ]
    );
}

#[test]
fn who_is_not_in_the_list_of_a_new_connection_has_left() {
    let mut diary = Diary::under(ASKED);
    for name in ["ada", "bob"] {
        diary.joins(1, name);
        diary.consents(1, name, true);
    }
    (diary.ledger, diary.events) = (Vec::new(), Vec::new());
    diary.event(5, &ConferenceEvent::Entered { title: Some(Pii::new("Weekly")) });
    diary.joins(5, "bob");
    diary.consents(5, "bob", true);
    diary.event(6, &ConferenceEvent::Listed);
    assert_eq!(diary.ledger, [r#"6 {"entry":"left","who":"person-1","participant":"ada","name":"ada Surname"}"#]);
    assert_eq!(diary.events[0], r#"5 {"event":"room_entered"}"#);
    assert_eq!(diary.events.len(), 2, "{:?}", diary.events);
}

#[test]
fn callers_are_included_by_the_rule_and_not_named_for_that() {
    let telephone = crate::conference::Facts { call_in: true, ..Default::default() };
    for (rule, expected) in [(true, &["included", "given", "withdrawn", "included"][..]), (false, &["given", "withdrawn"])] {
        let mut diary = Diary::under(ConsentRule::Asked { call_in_included: rule });
        diary.joins(1, "ada");
        diary.event(1, &ConferenceEvent::Facts { participant: id("ada"), facts: telephone.clone() });
        diary.consents(2, "ada", true);
        diary.consents(3, "ada", false);
        let said: Vec<_> = diary.ledger.iter().map(|line| line.split('"').nth(3).unwrap()).collect();
        assert_eq!(said, expected);
        let named = diary.ledger.iter().filter(|line| line.contains("Surname")).count();
        assert_eq!(named, 1, "{:?}", diary.ledger);
    }
}

#[test]
fn takes_of_a_worker_that_died_end_with_what_is_safe() {
    let mut diary = Diary::under(ASKED);
    for (target, from) in [("file", 2), ("stream", 3)] {
        diary.note(4, Note::TakeBegins { target: TargetId::new(target), take: TakeId(1), from: at(from) });
    }
    diary.note(5, Note::TakeEnds { target: TargetId::new("other"), until: at(5), pauses: true });
    let lines = diary.chronicle.worker_died(|target| (*target == file()).then_some(at(9)));
    diary.write(lines);
    assert_eq!(
        diary.events[2..],
        [
            r#"9 {"event":"take_ended","target":"file","take":1,"why":"crashed"}"#,
            r#"3 {"event":"take_ended","target":"stream","take":1,"why":"crashed"}"#,
        ]
    );
    assert!(diary.chronicle.worker_died(|_| None).is_empty());
}

#[test]
fn what_the_session_decides_is_noted() {
    let target = file();
    let action = Action::BeginTake { target: target.clone(), take: TakeId(2), at: at(1) };
    assert_eq!(Note::of_action(&action), Some(Note::TakeBegins { target: target.clone(), take: TakeId(2), from: at(1) }));
    for (then, pauses) in [(After::Pause, true), (After::Stop, false)] {
        let action = Action::EndTake { target: target.clone(), at: at(1), then };
        assert_eq!(Note::of_action(&action), Some(Note::TakeEnds { target: target.clone(), until: at(1), pauses }));
    }
    let standing = Standing::Error { code: "internal", message: "It broke.".into() };
    let told = Note::of_action(&Action::Tell(ConferenceCommand::Report { target: target.clone(), standing }));
    let mut diary = Diary::under(ASKED);
    diary.note(1, told.unwrap());
    assert_eq!(diary.events, [r#"1 {"event":"told","target":"file","shown":"error","code":"internal","message":"It broke."}"#]);
    assert_eq!(Note::of_action(&Action::TryNow { target }), None);
    let fault = Fault { scope: Scope::Session, blame: Blame::Conference, retry: Retry::Never, sentence: "Away.".into() };
    diary.note(2, Note::Lost(fault.clone()));
    diary.note(3, Note::Ending { reason: "lost".into(), fault: Some(fault) });
    let last = [r#"2 {"event":"room_lost","sentence":"Away."}"#, r#"3 {"event":"session_ends","reason":"lost","fault":"Away."}"#];
    assert_eq!(diary.events[1..], last);
}

#[test]
fn instants_lie_where_the_takes_of_a_film_put_them() {
    let mut film = FilmClock::default();
    assert_eq!(film.position(at(5)), None);
    film.begins(at(10));
    assert_eq!((film.position(at(9)), film.position(at(12))), (None, Some(Duration::from_secs(2))));
    film.ends(at(14));
    assert_eq!(film.position(at(15)), None);
    film.begins(at(20));
    assert_eq!(film.position(at(21)), Some(Duration::from_secs(5)));
    // The writer knows better.
    film.lies(at(20), Duration::from_millis(4_500));
    assert_eq!(film.position(at(21)), Some(Duration::from_millis(5_500)));
    film.ends(at(22));
    film.lies(at(22), Duration::ZERO);
    film.begins(at(30));
    assert_eq!(film.position(at(31)), Some(Duration::from_millis(7_500)));
}

#[test]
fn where_a_film_goes_on_that_somebody_else_began_is_known_when_its_writer_says_it() {
    let mut film = FilmClock::of_a_begun_film();
    film.begins(at(10));
    assert_eq!(film.position(at(11)), None);
    film.lies(at(10), Duration::from_secs(300));
    assert_eq!(film.position(at(11)), Some(Duration::from_secs(301)));
    film.ends(at(12));
    film.begins(at(20));
    assert_eq!(film.position(at(20)), Some(Duration::from_secs(302)));
}
