//! What each layout makes of 0 to 30 people, as text in `golden/`, so that a change of a layout is seen in a diff.
//! `ROOMCAST_WRITE_GOLDEN=1 cargo test -p recorder_core golden` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::scene::{Content, Ornament};

use super::tests::{assert_valid, seat, size, stage};
use super::*;
use crate::stage::Part;

/// Everybody in the room, and how many of the first ones have which role or share a screen.
#[derive(Clone, Copy, Default)]
struct Meeting {
    people: u64,
    screens: u64,
    presenters: u64,
    interpreter: bool,
    hands: u64,
    /// Who speaks, counted from 0.
    speaker: Option<u64>,
}

impl Meeting {
    fn stage(self) -> Stage {
        let mut people = stage(self.people).seats;
        for (place, seat) in (0_u64..).zip(&mut people) {
            seat.role = match place {
                0 if self.interpreter => Role::Interpreter,
                _ if place < self.presenters => Role::Presenter,
                _ => Role::Attendee,
            };
            seat.hand = place.checked_sub(self.people - self.hands);
            (seat.speaking, seat.floor) = (self.speaker == Some(place), self.speaker == Some(place));
        }
        people.sort_by_key(|seat| !seat.floor);
        let screens = (0..self.screens.min(self.people)).rev().map(|owner| seat(&format!("p{owner}"), Part::Screen, 100 + owner));
        Stage { seats: screens.chain(people).collect(), audible: vec![] }
    }
}

fn rect(rect: crate::scene::Rect) -> String {
    format!("{}x{}@{},{}", rect.width, rect.height, rect.x, rect.y)
}

fn ornament(ornament: &Ornament) -> String {
    let content = match &ornament.content {
        Content::Plain => "bar".to_owned(),
        Content::Text(words) => format!("{:?}", words.expose()),
        Content::Clock { format } => format!("clock {format}"),
        Content::Image { path } => format!("image {path}"),
    };
    format!("{content} {}px {}", ornament.text_px, rect(ornament.rect))
}

/// One line: tiles of the same size behind their size, a screen with a star, a border with an exclamation mark.
fn line(scene: &Scene) -> String {
    let mut line = String::new();
    let mut size = None;
    for tile in &scene.tiles {
        let (rect, star) = (tile.rect, tile.video.as_ref().is_some_and(|video| video.kind == crate::ids::TrackKind::Screen));
        if size.replace((rect.width, rect.height)) != Some((rect.width, rect.height)) {
            let _ = write!(line, " {}x{}:", rect.width, rect.height);
        }
        let (star, border) = (if star { "*" } else { "" }, if tile.speaking { "!" } else { "" });
        let _ = write!(line, " {}{star}{border}@{},{}", tile.participant, rect.x, rect.y);
    }
    for one in &scene.ornaments {
        let _ = write!(line, " | {}", ornament(one));
    }
    line
}

/// All that a layout makes, on the canvas that it is for.
fn golden(name: &str) -> String {
    let canvas = if name == "portrait" { size(720, 1280) } else { size(1280, 720) };
    let layout = Layout::built_in(name).unwrap();
    let strip = Strip { title: None, clock: Some("%H:%M".into()), logo: Some("logo.png".into()) };
    let (plain, dressed) = (Dress::default(), Dress { strip: Some(strip), ..Dress::default() });
    let title = Pii::new("Weekly");
    let people = |people| Meeting { people, ..Meeting::default() };
    let mut states = vec![("people", (0..=30).map(people).collect::<Vec<_>>())];
    let some = [1, 2, 5, 9, 30];
    let with = |change: fn(&mut Meeting)| {
        some.map(people).into_iter().map(move |mut meeting| {
            change(&mut meeting);
            meeting
        })
    };
    states.push(("a screen", with(|meeting| meeting.screens = 1).collect()));
    states.push(("two screens", with(|meeting| meeting.screens = 2).collect()));
    states.push(("three screens", with(|meeting| meeting.screens = 3).collect()));
    states.push(("three presenters", with(|meeting| meeting.presenters = 3).collect()));
    states.push(("three presenters and a screen", with(|meeting| (meeting.presenters, meeting.screens) = (3, 1)).collect()));
    states.push(("an interpreter", with(|meeting| meeting.interpreter = true).collect()));
    states.push(("an interpreter and a screen", with(|meeting| (meeting.interpreter, meeting.screens) = (true, 1)).collect()));
    states.push(("the last one speaks", with(|meeting| meeting.speaker = Some(meeting.people - 1)).collect()));
    states.push(("the last two raise a hand", with(|meeting| meeting.hands = meeting.people.min(2)).collect()));
    let mut text = format!("{name} on {}x{}\n", canvas.width_px, canvas.height_px);
    for (state, meetings) in &states {
        let _ = writeln!(text, "\n{state}");
        for meeting in meetings {
            let setting = Setting { canvas, dress: &plain, title: Some(&title) };
            let scene = layout.arrange_calmly(&meeting.stage(), &setting, &mut Seating::default(), SessionTime::ZERO);
            assert_valid(&scene);
            let _ = writeln!(text, "{:2}:{}", meeting.people, line(&scene));
        }
    }
    let _ = writeln!(text, "\nwith a strip");
    for meeting in some.map(people) {
        let setting = Setting { canvas, dress: &dressed, title: Some(&title) };
        let scene = layout.arrange_calmly(&meeting.stage(), &setting, &mut Seating::default(), SessionTime::ZERO);
        assert_valid(&scene);
        let _ = writeln!(text, "{:2}:{}", meeting.people, line(&scene));
    }
    text
}

#[test]
fn every_layout_places_people_as_its_golden_text_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("layout/golden");
    for name in Layout::built_in_names() {
        let (path, actual) = (folder.join(format!("{name}.txt")), golden(name));
        if std::env::var_os("ROOMCAST_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
            assert_eq!(actual, expected, "{name}.txt, line {}", number + 1);
        }
        assert_eq!(actual.lines().count(), expected.lines().count(), "{name}.txt");
    }
}
