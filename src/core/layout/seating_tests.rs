//! Calm: who keeps a place, who gets one, and when.

use proptest::prelude::*;

use crate::ids::TrackKind;
use crate::scene::{Rect, Tile};
use crate::stage::{Part, Seat};

use super::tests::{assert_valid, seat, size, stage};
use super::*;

/// A layout and what it remembers, shown one stage after another.
struct Watched {
    layout: Layout,
    seating: Seating,
    now: SessionTime,
}

impl Watched {
    fn new(layout: &str) -> Self {
        Self { layout: Layout::built_in(layout).unwrap(), seating: Seating::default(), now: SessionTime::ZERO }
    }

    /// A grid with so many places.
    fn grid_of(places: u32) -> Self {
        let region = format!("[[arrangement.region]]\nat_most={places}\narea={{left=0,top=0,width=100,height=100}}");
        let layout = Layout::parse("small", &format!("hold_ms=3000\n[[arrangement]]\n{region}")).unwrap();
        Self { layout, ..Self::new("grid") }
    }

    fn at(&mut self, ms: u64, seats: &[Seat]) -> Scene {
        self.now = SessionTime::from_millis(ms);
        let setting = Setting { canvas: size(1280, 720), dress: &Dress::default(), title: None };
        let mut seats = seats.to_vec();
        // As the stage orders them: screens, who has the floor, who speaks, who spoke last, who came first. A silent one who spoke has
        // `arrival` as all the others here, so that list order stands for what was before.
        seats.sort_by_key(|seat| (seat.part, !seat.floor, !seat.speaking));
        let scene = self.layout.arrange_calmly(&Stage { seats, audible: vec![] }, &setting, &mut self.seating, self.now);
        assert_valid(&scene);
        scene
    }

    fn names(&mut self, ms: u64, seats: &[Seat]) -> Vec<String> {
        names(&self.at(ms, seats))
    }
}

fn names(scene: &Scene) -> Vec<String> {
    let name = |tile: &Tile| match &tile.video {
        Some(video) if video.kind == TrackKind::Screen => format!("{}*", tile.participant),
        _ => tile.participant.to_string(),
    };
    scene.tiles.iter().map(name).collect()
}

fn person<'a>(seats: &'a mut [Seat], name: &str) -> &'a mut Seat {
    seats.iter_mut().find(|seat| seat.participant.as_str() == name && seat.part == Part::Person).unwrap()
}

/// With whoever is named speaking, the first of them having the floor.
fn speak(mut seats: Vec<Seat>, speakers: &[&str]) -> Vec<Seat> {
    for seat in seats.iter_mut().filter(|seat| seat.part == Part::Person) {
        seat.speaking = speakers.contains(&seat.participant.as_str());
        seat.floor = speakers.first() == Some(&seat.participant.as_str());
    }
    seats
}

#[test]
fn whoever_speaks_in_view_moves_nobody() {
    let (mut room, seats) = (Watched::grid_of(4), stage(6).seats);
    let before = room.names(0, &seats);
    assert_eq!(before, ["p0", "p1", "p2", "p3"]);
    for (ms, speakers) in [(1000, vec!["p3"]), (2000, vec!["p1", "p3"]), (3000, vec![]), (9000, vec!["p0"])] {
        assert_eq!(room.names(ms, &speak(seats.clone(), &speakers)), before, "{speakers:?}");
    }
}

#[test]
fn whoever_speaks_out_of_sight_takes_the_place_of_the_longest_silent() {
    let (mut room, mut seats) = (Watched::grid_of(4), stage(6).seats);
    room.at(0, &seats);
    // The others have spoken since; p1 is the one who has been silent for the longest time.
    let silent = seats.remove(1);
    seats.push(silent);
    seats.sort_by_key(|seat| matches!(seat.participant.as_str(), "p4" | "p5"));
    let scene = room.at(1000, &speak(seats.clone(), &["p5"]));
    assert_eq!(names(&scene), ["p0", "p5", "p2", "p3"], "in the same place, and nobody else moves");
    // Silent again, p5 stays; p1 has no reason to come back.
    assert_eq!(room.names(60_000, &speak(seats, &[])), ["p0", "p5", "p2", "p3"]);
}

#[test]
fn whoever_was_brought_into_view_stays_for_the_hold_time() {
    let (mut room, seats) = (Watched::grid_of(1), stage(4).seats);
    assert_eq!(room.names(0, &seats), ["p0"]);
    assert_eq!(room.names(100, &speak(seats.clone(), &["p1"])), ["p1"], "who only came first is not held");
    assert_eq!(room.names(1000, &speak(seats.clone(), &["p2"])), ["p1"]);
    assert_eq!(room.seating.wake(), Some(SessionTime::from_millis(3100)));
    assert_eq!(room.names(3099, &speak(seats.clone(), &["p2"])), ["p1"]);
    assert_eq!(room.names(3100, &speak(seats.clone(), &["p2"])), ["p2"]);
    assert_eq!(room.seating.wake(), None);
    // A word that ends within the hold time changes nothing.
    assert_eq!(room.names(4000, &speak(seats.clone(), &["p3"])), ["p2"]);
    assert_eq!(room.names(5000, &speak(seats.clone(), &[])), ["p2"]);
    assert_eq!((room.names(60_000, &seats), room.seating.wake()), (vec!["p2".to_owned()], None));
}

#[test]
fn a_raised_hand_comes_into_view_and_stays_when_it_is_lowered() {
    let (mut room, mut seats) = (Watched::grid_of(2), stage(4).seats);
    room.at(0, &seats);
    person(&mut seats, "p3").hand = Some(0);
    let scene = room.at(1000, &seats);
    assert_eq!(names(&scene), ["p0", "p3"]);
    assert!(scene.tiles[1].label.as_ref().unwrap().hand && !scene.tiles[0].label.as_ref().unwrap().hand);
    person(&mut seats, "p3").hand = None;
    assert_eq!(room.names(20_000, &seats), ["p0", "p3"]);
    // The first hand before the second.
    person(&mut seats, "p1").hand = Some(1);
    person(&mut seats, "p2").hand = Some(0);
    assert_eq!(room.names(40_000, &seats), ["p1", "p2"]);
}

#[test]
fn a_new_screen_is_shown_at_once_and_stands_first() {
    let (mut room, mut seats) = (Watched::grid_of(3), stage(4).seats);
    room.at(0, &seats);
    seats.push(seat("p3", Part::Screen, 9));
    assert_eq!(room.names(1000, &seats), ["p3*", "p0", "p1"]);
}

#[test]
fn a_place_that_becomes_free_is_filled_and_the_others_stay() {
    let (mut room, mut seats) = (Watched::grid_of(4), stage(6).seats);
    room.at(0, &seats);
    seats.remove(1);
    assert_eq!(room.names(1000, &seats), ["p0", "p4", "p2", "p3"]);
}

#[test]
fn the_new_speaker_and_the_old_one_change_places() {
    let (mut room, seats) = (Watched::new("speaker"), stage(5).seats);
    assert_eq!(room.names(0, &speak(seats.clone(), &["p0"])), ["p0", "p1", "p2", "p3", "p4"]);
    assert_eq!(room.names(1000, &speak(seats.clone(), &["p3"])), ["p3", "p1", "p2", "p0", "p4"]);
    assert_eq!(room.names(2000, &speak(seats, &["p1"])), ["p1", "p3", "p2", "p0", "p4"]);
}

#[test]
fn a_bad_connection_does_not_turn_the_picture_over() {
    let (mut room, five, four) = (Watched::new("auto"), stage(5).seats, stage(4).seats);
    let large = |scene: &Scene| scene.tiles[0].rect.width;
    assert_eq!(large(&room.at(0, &four)), 640);
    assert_eq!(large(&room.at(1000, &five)), 1024, "who comes is shown at once");
    assert_eq!(large(&room.at(2000, &four)), 1024);
    assert_eq!(room.seating.wake(), Some(SessionTime::from_millis(5000)));
    assert_eq!(large(&room.at(4000, &five)), 1024);
    assert_eq!(room.seating.wake(), None);
    assert_eq!(large(&room.at(6000, &four)), 1024);
    assert_eq!(large(&room.at(8999, &four)), 1024);
    assert_eq!(large(&room.at(9000, &four)), 640);
    // A screen is another matter.
    let mut shared = four.clone();
    shared.push(seat("p0", Part::Screen, 9));
    assert_eq!(large(&room.at(9100, &shared)), 1024);
    assert_eq!(large(&room.at(9200, &four)), 640);
}

#[test]
fn an_interpreter_keeps_a_whole_tile_of_the_same_size() {
    let mut room = Watched::new("auto");
    for people in 1..30 {
        let mut seats = stage(people).seats;
        person(&mut seats, "p0").role = Role::Interpreter;
        if people % 2 == 0 {
            seats.push(seat("p1", Part::Screen, 99));
        }
        let scene = room.at(people * 10_000, &seats);
        let tile = scene.tiles.iter().find(|tile| tile.participant.as_str() == "p0").unwrap();
        assert_eq!((tile.rect, tile.fit), (Rect { x: 1024, y: 0, width: 256, height: 720 }, Fit::Contain), "{people} people");
        assert!(scene.tiles.iter().all(|other| other.rect.x + other.rect.width <= 1024 || other == tile));
    }
}

#[test]
fn people_are_pinned_by_name_and_id_and_may_lie_over_the_others() {
    let text = "[[pinned]]\nname='p2'\narea={left=0,top=75,width=25,height=25}\nover=true\nlabels='none'\n\
                [[pinned]]\nid='p1'\narea={left=0,top=0,width=100,height=20}\n[[arrangement]]\nuse='grid'";
    let layout = Layout::parse("mine", text).unwrap();
    let scene = layout.arrange(&stage(3), size(1280, 720), SessionTime::ZERO);
    let placed: Vec<_> = scene.tiles.iter().map(|tile| (tile.participant.as_str(), tile.rect, tile.label.is_some())).collect();
    let rect = |x, y, width, height| Rect { x, y, width, height };
    let expected =
        [("p0", rect(128, 144, 1024, 576), true), ("p2", rect(0, 540, 320, 180), false), ("p1", rect(0, 0, 1280, 144), true)];
    assert_eq!(placed, expected, "over the others means drawn after them");
}

#[test]
fn what_a_file_says_about_look_is_in_the_scene() {
    let text = "backdrop='wall.png'\nsafe_area=5\ntransition_ms=200\n[strip]\nside='bottom'\nheight_px=60\ntitle='left'\n\
                background='#ff0000'\n[[ornament]]\narea={left=0,top=0,width=50,height=10}\nwords={en='Live',de='Direkt'}\n\
                [[arrangement]]\noverlap=true\n[[arrangement.region]]\nat_most=1\ntile_shape='free'\nlabels='lower_third'\n\
                count_others=false\narea={left=0,top=0,width=100,height=100}\n[[arrangement.region]]\nat_most=1\n\
                area={left=70,top=70,width=30,height=30}\n";
    let layout = Layout::parse("/srv/layouts/own.toml", text).unwrap();
    assert_eq!(layout.pictures().map(|path| &**path).collect::<Vec<_>>(), ["/srv/layouts/wall.png"]);
    let title = Pii::new("Weekly");
    let mut dress = Dress { strip: Some(Strip::default()), language: Language::De, ..Dress::default() };
    let scene = |dress: &Dress| {
        let setting = Setting { canvas: size(1280, 720), dress, title: Some(&title) };
        layout.arrange_calmly(&stage(4), &setting, &mut Seating::default(), SessionTime::ZERO)
    };
    let shown = scene(&dress);
    assert_eq!(shown.backdrop.as_deref(), Some("/srv/layouts/wall.png"));
    assert_eq!(shown.transition, Duration::from_millis(200));
    let rect = |x, y, width, height| Rect { x, y, width, height };
    assert_eq!(shown.tiles.iter().map(|tile| tile.rect).collect::<Vec<_>>(), [rect(64, 36, 1152, 588), rect(886, 448, 312, 176)]);
    assert_eq!(shown.tiles[0].label.as_ref().map(|label| label.style), Some(LabelStyle::LowerThird));
    let texts: Vec<_> = shown.ornaments.iter().map(|ornament| (format!("{:?}", ornament.content), ornament.rect)).collect();
    assert_eq!(texts[0].1, rect(64, 624, 1152, 60), "the bar");
    assert_eq!(texts[2].1, rect(64, 36, 576, 58), "in what the strip leaves");
    let words = |scene: &Scene| {
        let words = |ornament: &crate::scene::Ornament| match &ornament.content {
            crate::scene::Content::Text(words) => Some(words.expose().to_owned()),
            _ => None,
        };
        scene.ornaments.iter().filter_map(words).collect::<Vec<_>>()
    };
    assert_eq!(words(&shown), ["Weekly", "Direkt", "+2"]);
    dress.strip = Some(Strip { title: Some(Pii::new("Ours")), ..Strip::default() });
    dress.transition = Some(Duration::ZERO);
    let ours = scene(&dress);
    assert_eq!((words(&ours), ours.transition), (vec!["Ours".into(), "Direkt".into(), "+2".into()], Duration::ZERO));
}

#[test]
fn the_example_of_the_manual_is_a_layout() {
    let manual = include_str!("../../../docs/layouts.md");
    let (_, rest) = manual.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let layout = Layout::parse("/etc/roomcast/own.toml", text).unwrap();
    assert_eq!((layout.hold, layout.transition), (Duration::from_secs(3), Duration::from_millis(200)));
    let mut seats = stage(5).seats;
    person(&mut seats, "p4").role = Role::Interpreter;
    let scene = layout.arrange(&Stage { seats, audible: vec![] }, size(1280, 720), SessionTime::ZERO);
    assert_valid(&scene);
    assert_eq!(scene.tiles.len(), 5);
    assert_eq!(scene.tiles.last().map(|tile| tile.participant.as_str()), Some("p4"));
}

#[test]
fn audio_shows_no_picture_of_anybody() {
    let scene = Watched::new("audio").at(0, &stage(4).seats);
    assert_eq!(scene.tiles.len(), 4);
    assert!(scene.tiles.iter().all(|tile| tile.video.is_none()));
}

proptest! {
    /// Whatever happens to people in a full grid: of those in view before and after, nobody moves while nobody comes or goes.
    #[test]
    fn nobody_in_view_moves_while_nobody_comes_or_goes(
        people in 2u64..12, places in 1u32..9,
        steps in prop::collection::vec((0u64..12, any::<bool>(), any::<bool>(), 0u64..5000), 1..40),
    ) {
        let (mut room, mut seats) = (Watched::grid_of(places), stage(people).seats);
        let mut before = room.at(0, &seats);
        let mut ms = 0;
        for (who, speaks, raises, pause) in steps {
            ms += pause;
            let seat = &mut seats[(who % people) as usize];
            (seat.speaking, seat.hand) = (speaks, raises.then_some(who));
            let after = room.at(ms, &seats);
            let speaking = speaks && !before.tiles.iter().any(|tile| tile.participant.as_str() == format!("p{}", who % people));
            for tile in &after.tiles {
                let earlier = before.tiles.iter().find(|other| other.participant == tile.participant);
                prop_assert!(earlier.is_none_or(|earlier| earlier.rect == tile.rect), "{tile:?} moved");
            }
            let changed = after.tiles.iter().filter(|tile| !before.tiles.iter().any(|other| other.participant == tile.participant));
            let changed = changed.count();
            prop_assert!(changed == 0 || speaking || seats.iter().any(|seat| seat.speaking || seat.hand.is_some()));
            prop_assert!(room.seating.wake().is_none_or(|wake| wake > SessionTime::from_millis(ms)));
            before = after;
        }
    }
}
