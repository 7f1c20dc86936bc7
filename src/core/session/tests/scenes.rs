//! What is shown and subscribed.

use crate::conference::{Facts, Hand, Role};
use crate::layout::Language;
use crate::slate::{Slate, SlateKind};

use super::*;

const BEFORE_START: &str = "We will begin shortly.";
const NOBODY: &str = "Nobody is here yet.";
const LOST: &str = "The connection to the conference is lost. Trying to get back.";

#[test]
fn everybody_is_seen_and_heard_at_the_size_of_their_tile() {
    let play = Play::entered(settings(), &["ada", "bob", "cem", "dia"]);
    assert_eq!(play.tiles(), ["ada", "bob", "cem", "dia"]);
    for name in ["ada", "bob", "cem", "dia"] {
        assert_eq!(play.layer(name, TrackKind::Camera), Some(Some((640, 360))));
        assert_eq!(play.layer(name, TrackKind::Microphone), Some(None));
    }
    assert_eq!(play.subscribed().len(), 8);
    assert_eq!(play.shown().audible.len(), 4);
    assert_eq!(play.shown().from, at(100));
}

#[test]
fn who_has_no_tile_stays_subscribed_without_a_layer() {
    let mut settings = settings();
    settings.layout = Layout::built_in("speaker").unwrap();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let play = Play::entered(settings, &names);
    assert_eq!(play.tiles(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(play.layer("a", TrackKind::Camera), Some(Some((1024, 576))));
    assert_eq!(play.layer("f", TrackKind::Camera), Some(Some((256, 144))));
    assert_eq!(play.layer("h", TrackKind::Camera), Some(None));
    assert_eq!(play.shown().audible.len(), 8);
}

#[test]
fn a_scene_is_shown_only_when_it_changed_and_is_stamped_with_its_time() {
    let mut play = Play::entered(settings(), &["ada"]);
    let before = play.log.len();
    play.joins(3000, "ada");
    play.up(3000, "ada", TrackKind::Camera);
    play.input(3000, Input::Heard(vec![Loudness { participant: id("ada"), dbfs: -80.0 }]));
    play.input(3100, Input::Woken);
    assert_eq!(play.log.len(), before);
    play.joins(4000, "bob");
    assert_eq!(play.shown().from, at(4000));
    assert_eq!(play.tiles(), ["ada", "[bob]"]);
}

#[test]
fn muting_sound_keeps_the_subscription_and_shows_in_the_label() {
    let mut play = Play::entered(settings(), &["ada"]);
    let muted = |play: &Play| play.shown().tiles[0].label.as_ref().unwrap().muted;
    assert!(!muted(&play));
    play.mutes(1000, "ada", TrackKind::Microphone);
    assert!(muted(&play));
    assert_eq!(play.layer("ada", TrackKind::Microphone), Some(None));
    assert_eq!(play.shown().audible, [track("ada", TrackKind::Microphone)]);
    play.up(2000, "ada", TrackKind::Microphone);
    assert!(!muted(&play));
    let lists = play.log.iter().filter(|(time, action)| *time >= at(1000) && matches!(action, Action::Tell(_))).count();
    assert_eq!(lists, 0, "muting must not touch subscriptions");
}

#[test]
fn a_camera_that_is_off_is_a_placeholder_with_a_name_in_the_same_place() {
    let mut play = Play::entered(settings(), &["ada", "bob"]);
    play.mutes(1000, "ada", TrackKind::Camera);
    assert_eq!(play.tiles(), ["[ada]", "bob"]);
    assert_eq!(play.shown().tiles[0].label.as_ref().unwrap().name, Pii::new("ada"));
    play.down(2000, "ada", TrackKind::Camera);
    assert_eq!(play.tiles(), ["[ada]", "bob"]);
    assert_eq!(play.layer("ada", TrackKind::Camera), None);
    play.up(3000, "ada", TrackKind::Camera);
    assert_eq!(play.tiles(), ["ada", "bob"]);
}

#[test]
fn a_shared_screen_is_an_extra_tile_and_its_sound_is_heard() {
    let mut play = Play::entered(settings(), &["ada", "bob"]);
    play.up(1000, "bob", TrackKind::Screen);
    play.up(1000, "bob", TrackKind::ScreenAudio);
    assert_eq!(play.tiles(), ["bob's screen", "ada", "bob"]);
    assert!(play.shown().audible.contains(&track("bob", TrackKind::ScreenAudio)));
    play.down(2000, "bob", TrackKind::Screen);
    assert_eq!(play.tiles(), ["ada", "bob"]);
}

#[test]
fn who_speaks_gets_a_border_and_loses_it_in_time() {
    let mut play = Play::entered(settings(), &["ada", "bob"]);
    let heard = |dbfs| Input::Heard(vec![Loudness { participant: id("bob"), dbfs }]);
    play.input(1000, heard(-20.0));
    play.sleep_until(1200);
    assert!(play.shown().tiles[1].speaking && !play.shown().tiles[0].speaking);
    play.input(1300, heard(-90.0));
    play.sleep_until(2299);
    assert!(play.shown().tiles[1].speaking);
    play.sleep_until(2300);
    assert!(!play.shown().tiles[1].speaking);
    assert_eq!(play.shown().from, at(2300));
}

#[test]
fn a_lost_connection_keeps_everybody_in_place_until_it_is_known_who_came_back() {
    let mut play = Play::entered(settings(), &["ada", "bob", "cem"]);
    let rects: Vec<_> = play.shown().tiles.iter().map(|tile| tile.rect).collect();
    let told = play.log.iter().filter(|(_, action)| matches!(action, Action::Tell(_))).count();
    play.lost(5000);
    assert_eq!(play.tiles(), ["[ada]", "[bob]", "[cem]"]);
    assert_eq!(play.shown().tiles[1].label.as_ref().unwrap().name, Pii::new("bob"));
    assert_eq!(play.notice().as_deref(), Some(LOST));
    assert_eq!(play.log.iter().filter(|(_, action)| matches!(action, Action::Tell(_))).count(), told, "there is nobody to tell");

    play.event(8000, ConferenceEvent::Entered { title: None });
    // The whole wish is told at once, also when it is the same as before, so that nobody who comes back is first dropped.
    let told_anew = |(time, action): &(SessionTime, Action)| {
        *time == at(8000) && matches!(action, Action::Tell(ConferenceCommand::Subscribe(_)))
    };
    assert!(play.log.iter().any(told_anew));
    assert_eq!(play.subscribed().len(), 6);
    assert_eq!(play.layer("cem", TrackKind::Camera), Some(Some((640, 360))));
    play.joins(8010, "cem");
    play.up(8020, "cem", TrackKind::Camera);
    assert_eq!(play.tiles(), ["[ada]", "[bob]", "cem"]);
    assert_eq!(play.shown().tiles.iter().map(|tile| tile.rect).collect::<Vec<_>>(), rects);
    play.joins(8030, "ada");
    play.up(8030, "ada", TrackKind::Camera);
    play.event(8040, ConferenceEvent::Listed);
    assert_eq!(play.tiles(), ["ada", "cem"]);
    assert_eq!(play.notice(), None);
    assert_eq!(play.layer("bob", TrackKind::Camera), None);
    assert_eq!(play.layer("ada", TrackKind::Microphone), None, "a Track that was not told again is gone");
    assert_eq!(play.layer("ada", TrackKind::Camera), Some(Some((640, 360))));
}

#[test]
fn a_list_that_was_not_begun_sweeps_nobody_out() {
    let mut play = Play::entered(settings(), &["ada"]);
    play.lost(5000);
    play.event(5100, ConferenceEvent::Listed);
    assert_eq!(play.tiles(), ["[ada]"]);
}

#[test]
fn another_layout_is_shown_at_once_and_nothing_else_changes() {
    let mut play = Play::entered(settings(), &["ada", "bob", "cem"]);
    let before = play.deeds();
    play.input(5000, Input::Layout(Layout::built_in("speaker").unwrap()));
    assert_eq!(play.tiles(), ["ada", "bob", "cem"]);
    assert_eq!((play.shown().from, play.shown().tiles[0].rect.width), (at(5000), 1024));
    assert_eq!(play.layer("ada", TrackKind::Camera), Some(Some((1024, 576))));
    assert_eq!(play.deeds(), before);
    assert_eq!(play.subscribed().len(), 6);
    // The same again is no news.
    let log = play.log.len();
    play.input(6000, Input::Layout(Layout::built_in("speaker").unwrap()));
    assert_eq!(play.log.len(), log);
}

#[test]
fn who_leaves_does_not_change_the_arrangement_at_once() {
    let mut settings = settings();
    settings.layout = Layout::built_in("auto").unwrap();
    let mut play = Play::entered(settings, &["a", "b", "c", "d", "e"]);
    let large = |play: &Play| play.shown().tiles[0].rect.width;
    assert_eq!(large(&play), 1024);
    play.leaves(5000, "e");
    assert_eq!(large(&play), 1024);
    play.sleep_until(7999);
    assert_eq!((large(&play), play.session.poll_wake()), (1024, Some((at(8000), Wake::Place))));
    play.sleep_until(8000);
    assert_eq!((large(&play), play.shown().from), (640, at(8000)));
}

#[test]
fn roles_and_hands_reach_the_picture() {
    let mut settings = settings();
    settings.layout = Layout::built_in("stage").unwrap();
    let mut play = Play::entered(settings, &["ada", "bob", "cem"]);
    assert_eq!(play.tiles(), ["ada", "bob", "cem"]);
    let facts = |role, hand| Facts { role, hand, avatar: None, call_in: false };
    let told = |name: &str, facts| ConferenceEvent::Facts { participant: id(name), facts };
    play.event(1000, told("cem", facts(Role::Moderator, Hand::Raised { unix_ms: None })));
    assert_eq!(play.tiles(), ["cem"]);
    assert!(play.shown().tiles[0].label.as_ref().unwrap().hand);
    play.event(2000, told("cem", facts(Role::Moderator, Hand::Down)));
    assert!(!play.shown().tiles[0].label.as_ref().unwrap().hand);
    play.event(3000, told("eve", facts(Role::Presenter, Hand::Down)));
    assert_eq!(play.tiles(), ["cem"], "who has not joined is nobody");
}

#[test]
fn a_slate_is_in_the_language_of_the_programme_and_in_the_words_of_a_file() {
    let mut settings = settings();
    settings.dress.language = Language::De;
    let own = "[[ornament]]\narea={left=0,top=0,width=100,height=100}\ntext='Pause'";
    settings.dress.slates.put(SlateKind::Nobody, Slate::parse("own", own).unwrap());
    let mut play = Play::new(settings);
    assert_eq!(play.notice().as_deref(), Some("Es geht gleich los."));
    play.enter(100, &[]);
    assert_eq!(play.notice().as_deref(), Some("Pause"));
}

#[test]
fn nobody_here_is_said_when_it_is_known() {
    let mut play = Play::new(settings());
    assert_eq!(play.notice().as_deref(), Some(BEFORE_START));
    play.event(100, ConferenceEvent::Entered { title: None });
    assert_eq!(play.notice(), None);
    play.event(150, ConferenceEvent::Listed);
    assert_eq!(play.notice().as_deref(), Some(NOBODY));
    play.joins(200, "ada");
    assert_eq!(play.notice(), None);
    play.leaves(300, "ada");
    assert_eq!(play.notice().as_deref(), Some(NOBODY));
}

#[test]
fn what_made_workers_die_is_neither_subscribed_nor_drawn() {
    let caution = Caution::Without(vec![track("ada", TrackKind::Camera)]);
    let play = Play::entered(SessionSettings { caution, ..settings() }, &["ada", "bob"]);
    assert_eq!(play.tiles(), ["[ada]", "bob"]);
    assert_eq!(play.layer("ada", TrackKind::Camera), None);
    assert_eq!(play.layer("ada", TrackKind::Microphone), Some(None));
}

#[test]
fn sound_only_subscribes_no_video() {
    let mut play = Play::entered(SessionSettings { caution: Caution::SoundOnly, ..settings() }, &["ada", "bob"]);
    play.up(1000, "bob", TrackKind::Screen);
    assert_eq!(play.tiles(), ["[bob]", "[ada]", "[bob]"]);
    assert!(play.subscribed().iter().all(|subscription| subscription.track.kind == TrackKind::Microphone));
    assert_eq!((play.subscribed().len(), play.shown().audible.len()), (2, 2));
}

#[test]
fn only_the_newest_scene_and_list_wait_to_be_fetched() {
    let mut session = Session::new(settings(), at(0));
    session.handle(Input::Conference(ConferenceEvent::Entered { title: None }), at(0));
    for n in 0..500 {
        let participant = id(&format!("p{n}"));
        session
            .handle(Input::Conference(ConferenceEvent::Joined { participant: participant.clone(), name: Pii::new("p") }), at(n));
        let track = TrackId::new(participant, TrackKind::Camera);
        session.handle(Input::Conference(ConferenceEvent::TrackUp { track, muted: false }), at(n));
    }
    let waiting: Vec<_> = std::iter::from_fn(|| session.poll_action()).collect();
    assert_eq!(waiting.len(), 3, "{waiting:?}");
}

/// 720p as everybody stands, and upright with the speaker large.
fn landscape_and_portrait() -> SessionSettings {
    let mut settings = settings();
    let layout = Some(Layout::built_in("speaker").unwrap());
    settings.renditions.push(Framing { canvas: CanvasSize::new(720, 1280).unwrap(), layout });
    settings
}

#[test]
fn each_rendition_has_its_own_scene_and_a_track_is_received_for_the_largest_of_its_tiles() {
    let play = Play::entered(landscape_and_portrait(), &["ada", "bob"]);
    let of = |rendition: usize| {
        let scene = play.shown_in(rendition);
        let rects: Vec<_> = scene.tiles.iter().map(|tile| (tile.participant.to_string(), tile.rect)).collect();
        (scene.from, (scene.canvas.width_px, scene.canvas.height_px), scene.audible.len(), rects)
    };
    let (landscape, portrait) = (of(0), of(1));
    assert_eq!((landscape.0, landscape.1, landscape.2), (at(100), (1280, 720), 2));
    assert_eq!((portrait.0, portrait.1, portrait.2), (at(100), (720, 1280), 2));
    for (name, index) in [("ada", 0), ("bob", 1)] {
        let (wide, upright) = (landscape.3[index].1, portrait.3[index].1);
        assert_eq!((landscape.3[index].0.as_str(), portrait.3[index].0.as_str()), (name, name));
        assert_ne!((wide.width, wide.height), (upright.width, upright.height));
        let largest = (wide.width.max(upright.width), wide.height.max(upright.height));
        assert_eq!(play.layer(name, TrackKind::Camera), Some(Some(largest)), "{wide:?} {upright:?}");
    }
}

#[test]
fn another_layout_leaves_a_rendition_with_its_own_alone() {
    let mut play = Play::entered(landscape_and_portrait(), &["ada", "bob", "cem"]);
    let before = [play.shown(), play.shown_in(1)];
    play.input(5000, Input::Layout(Layout::built_in("single").unwrap()));
    assert_eq!(play.tiles(), ["ada"]);
    assert_eq!(play.shown_in(1).tiles, before[1].tiles);
    assert_eq!([play.shown().from, play.shown_in(1).from], [at(5000); 2], "Scenes are true from one time on");
}

#[test]
fn a_rendition_wakes_for_its_own_places() {
    let mut settings = settings();
    let layout = Some(Layout::built_in("auto").unwrap());
    settings.renditions.push(Framing { canvas: CanvasSize::new(854, 480).unwrap(), layout });
    let mut play = Play::entered(settings, &["a", "b", "c", "d", "e"]);
    let large = play.shown_in(1).tiles[0].rect.width;
    play.leaves(5000, "e");
    assert_eq!((play.shown_in(1).tiles[0].rect.width, play.session.poll_wake()), (large, Some((at(8000), Wake::Place))));
    play.sleep_until(8000);
    assert!(play.shown_in(1).tiles[0].rect.width < large);
}
