//! A Session whose Targets are commanded by the moderators of the room.

use std::time::Duration;

use super::*;
use crate::conference::{Light, Standing, TargetWish};
use crate::live::{LiveState, Reason, Step};
use crate::session::{Commanded, Resumed, Withheld};
use crate::slate::{Slate, SlateKind};

fn recording() -> TargetId {
    TargetId::new("recording")
}

fn stream() -> TargetId {
    TargetId::new("stream")
}

fn live() -> Delivery {
    Delivery::Live { location: crate::secret::Secret::new("rtmp://example.org/live/key") }
}

fn commanded() -> SessionSettings {
    SessionSettings { targets: vec![], commanded: Some(Commanded::default()), ..settings() }
}

impl Play {
    /// In the room since 100 ms with Ada, where these are wanted already.
    fn ordered(settings: SessionSettings, wanted: &[(TargetId, Delivery)]) -> Self {
        let mut play = Self::new(settings);
        play.event(100, ConferenceEvent::Entered { title: None });
        for (target, delivery) in wanted {
            play.wish(100, target.clone(), TargetWish::Start(delivery.clone()));
        }
        play.joins(100, "ada");
        play.up(100, "ada", TrackKind::Camera);
        play.event(100, ConferenceEvent::Listed);
        play
    }

    fn wish(&mut self, ms: u64, target: TargetId, wish: TargetWish) {
        self.event(ms, ConferenceEvent::Wish { target, wish });
    }

    fn says(&mut self, ms: u64, id: TargetId, report: TargetReport) {
        self.input(ms, Input::Target { id, report });
    }

    /// What the Conference was told about Targets.
    fn told(&self) -> Vec<(u64, String, Light)> {
        let report = |(at, action): &(SessionTime, Action)| match action {
            Action::Tell(ConferenceCommand::Report { target, standing }) => {
                Some((at.as_nanos() / 1_000_000, target.to_string(), standing.light()))
            }
            _ => None,
        };
        self.log.iter().filter_map(report).collect()
    }

    /// What was done about Targets and leaving.
    fn done(&self) -> Vec<(u64, String)> {
        let deed = |(at, action): &(SessionTime, Action)| {
            let text = match action {
                Action::Open { target, run, .. } => format!("open {target} {run}"),
                Action::BeginTake { target, take, .. } => format!("begin {target} {}", take.0),
                Action::EndTake { target, then: After::Pause, .. } => format!("pause {target}"),
                Action::EndTake { target, then: After::Stop, .. } => format!("end {target}"),
                Action::TryNow { target } => format!("try {target}"),
                Action::ShowSlate { target, .. } => format!("slate {target}"),
                Action::Tell(ConferenceCommand::Leave) => "leave".to_owned(),
                Action::Over(outcome) => format!("over: {}", outcome.why),
                _ => return None,
            };
            Some((at.as_nanos() / 1_000_000, text))
        };
        self.log.iter().filter_map(deed).collect()
    }
}

fn retrying() -> TargetReport {
    TargetReport::Live(LiveState::Retrying { attempt: 1, at: at(0), reason: Reason::NoAnswer(Step::Connect) })
}

fn refused() -> TargetReport {
    TargetReport::Live(LiveState::Refused { attempt: 2, at: at(0), reason: Reason::NoAnswer(Step::Connect) })
}

fn texts(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(ms, text)| (*ms, (*text).to_owned())).collect()
}

fn lights(list: &[(u64, &str, Light)]) -> Vec<(u64, String, Light)> {
    list.iter().map(|(ms, id, light)| (*ms, (*id).to_owned(), *light)).collect()
}

#[test]
fn a_click_becomes_a_take_and_a_stop_ends_it_and_we_leave_when_it_is_stored() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording)]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.wish(20_000, recording(), TargetWish::Stop);
    play.says(20_600, recording(), TargetReport::Ended);
    assert_eq!(play.session.phase(), Phase::Live, "it is not stored yet");
    play.input(24_000, Input::Delivered { target: recording(), run: 1, fault: None });
    play.ended(24_050, EndReason::Left);
    let expected = [
        (100, "open recording 1"),
        (100, "begin recording 1"),
        (20_000, "end recording"),
        (24_000, "leave"),
        (24_050, "over: Nothing is wanted any more."),
    ];
    assert_eq!(play.done(), texts(&expected));
    let expected =
        [(100, "recording", Light::Starting), (900, "recording", Light::Active), (20_000, "recording", Light::Inactive)];
    assert_eq!(play.told(), lights(&expected));
}

#[test]
fn a_stale_command_is_left_quietly() {
    let mut play = Play::ordered(commanded(), &[]);
    play.ended(120, EndReason::Left);
    assert_eq!(play.done(), texts(&[(100, "leave"), (120, "over: Nothing is wanted any more.")]));
    assert_eq!(play.told(), []);
    assert!(play.subscribed().is_empty(), "nothing is received for nobody");
}

#[test]
fn storage_that_refuses_is_told_while_we_are_still_there() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording)]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.wish(20_000, recording(), TargetWish::Stop);
    play.says(20_600, recording(), TargetReport::Ended);
    let refused = fault("The storage refuses the recording.");
    play.input(33_000, Input::Delivered { target: recording(), run: 1, fault: Some(refused) });
    assert_eq!(play.told().last(), lights(&[(33_000, "recording", Light::Error)]).last());
    play.sleep_until(42_000);
    assert_eq!(play.session.phase(), Phase::Live, "the error disappears when we leave");
    play.sleep_until(44_000);
    assert!(play.done().contains(&(43_000, "leave".to_owned())), "{:?}", play.done());

    // One that never answers is waited for so long and no longer.
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording)]);
    play.wish(20_000, recording(), TargetWish::Stop);
    play.says(20_600, recording(), TargetReport::Ended);
    play.sleep_until(200_000);
    assert!(play.done().contains(&(80_600, "leave".to_owned())), "{:?}", play.done());
}

#[test]
fn pause_and_resume_make_takes_of_one_recording() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording)]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.wish(5000, recording(), TargetWish::Pause);
    play.sleep_until(5499);
    assert!(!play.subscribed().is_empty(), "the last word is on its way");
    play.sleep_until(5500);
    assert!(play.subscribed().is_empty(), "while everything is paused nobody is received");
    play.says(5600, recording(), TargetReport::Parked);
    play.sleep_until(9000);
    play.wish(9000, recording(), TargetWish::Start(Delivery::Recording));
    assert!(!play.subscribed().is_empty());
    play.says(9900, recording(), TargetReport::TakeWritten { until: at(9600) });
    // Resumed before the paused Take was closed.
    play.wish(12_000, recording(), TargetWish::Pause);
    play.wish(12_100, recording(), TargetWish::Start(Delivery::Recording));
    play.says(13_000, recording(), TargetReport::TakeWritten { until: at(12_600) });
    let expected = [
        (100, "open recording 1"),
        (100, "begin recording 1"),
        (5000, "pause recording"),
        (9000, "begin recording 2"),
        (12_000, "pause recording"),
        (12_100, "begin recording 3"),
    ];
    assert_eq!(play.done(), texts(&expected));
    let lights_seen: Vec<Light> = play.told().into_iter().map(|(_, _, light)| light).collect();
    use Light::{Active, Paused, Starting};
    assert_eq!(lights_seen, [Starting, Active, Paused, Starting, Active, Paused, Starting, Active]);
}

/// While one Target goes on everybody is received; with the last one paused nobody is, and people keep their places until they are received again.
#[test]
fn people_are_received_as_long_as_anything_is_delivered_and_keep_their_places() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording), (stream(), live())]);
    play.joins(1000, "bob");
    play.up(1000, "bob", TrackKind::Camera);
    play.says(1500, recording(), TargetReport::TakeWritten { until: at(600) });
    play.says(3200, stream(), TargetReport::Live(LiveState::Live));
    let (received, scene) = (play.subscribed(), play.shown());
    assert_eq!((received.len(), scene.tiles.len()), (2, 2));
    play.wish(5000, stream(), TargetWish::Pause);
    play.says(5600, stream(), TargetReport::Parked);
    play.sleep_until(9000);
    assert_eq!(play.subscribed(), received, "the recording goes on");
    play.wish(10_000, recording(), TargetWish::Pause);
    play.sleep_until(10_600);
    assert_eq!(play.subscribed(), []);
    assert_eq!(play.shown(), scene, "tiles keep their places");
    // Resumed before anybody was let go: they were never away.
    play.wish(20_000, recording(), TargetWish::Start(Delivery::Recording));
    assert_eq!((play.subscribed(), play.shown()), (received.clone(), scene.clone()));
    play.wish(21_000, recording(), TargetWish::Pause);
    play.wish(21_300, stream(), TargetWish::Start(live()));
    let told = play.log.len();
    play.sleep_until(30_000);
    let again = |(_, action): &(SessionTime, Action)| matches!(action, Action::Tell(ConferenceCommand::Subscribe(_)));
    assert!(!play.log[told..].iter().any(again));
    assert_eq!((play.subscribed(), play.shown()), (received, scene));
}

#[test]
fn a_stream_that_is_resumed_is_active_at_once_because_its_connection_has_stayed() {
    let mut play = Play::ordered(commanded(), &[(stream(), live())]);
    play.says(3200, stream(), TargetReport::Live(LiveState::Live));
    play.wish(5000, stream(), TargetWish::Pause);
    play.says(5600, stream(), TargetReport::Parked);
    // What is lost for a moment while the slate is shown is not lost any more.
    play.says(7000, stream(), retrying());
    play.says(11_000, stream(), TargetReport::Live(LiveState::Live));
    play.wish(20_000, stream(), TargetWish::Start(live()));
    let expected = [(100, "open stream 1"), (100, "begin stream 1"), (5000, "pause stream"), (20_000, "begin stream 2")];
    assert_eq!(play.done(), texts(&expected));
    use Light::{Active, Paused, Starting};
    let lights_seen: Vec<Light> = play.told().into_iter().map(|(_, _, light)| light).collect();
    assert_eq!(lights_seen, [Starting, Active, Paused, Paused, Active]);
}

#[test]
fn a_stream_that_is_lost_while_it_is_paused_fails_after_the_grace_or_is_tried_at_once_when_it_is_wanted() {
    let paused = || {
        let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording), (stream(), live())]);
        play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
        play.says(3200, stream(), TargetReport::Live(LiveState::Live));
        play.wish(5000, stream(), TargetWish::Pause);
        play.says(5600, stream(), TargetReport::Parked);
        play.says(10_000, stream(), retrying());
        play
    };
    let mut play = paused();
    play.sleep_until(69_999);
    assert_eq!(play.told().last(), lights(&[(10_100, "stream", Light::Paused)]).last(), "told again, as after each click");
    play.sleep_until(70_000);
    assert_eq!(play.told().last(), lights(&[(70_000, "stream", Light::Error)]).last());
    assert_eq!(play.done().last(), texts(&[(70_000, "end stream")]).last());

    let mut play = paused();
    play.wish(20_000, stream(), TargetWish::Start(live()));
    assert_eq!(play.done()[play.done().len() - 2..], texts(&[(20_000, "try stream"), (20_000, "begin stream 2")]));
    assert_eq!(play.told().last(), lights(&[(20_000, "stream", Light::Starting)]).last(), "nobody takes it yet");
}

#[test]
fn a_worker_that_replaces_another_during_a_pause_shows_the_slate_and_receives_nobody() {
    let resumed = |target, delivery| Resumed { target, delivery, run: 1, next: TakeId(2), paused: true };
    let resumed = vec![resumed(recording(), Delivery::Recording), resumed(stream(), live())];
    let settings = SessionSettings { commanded: Some(Commanded { resumed, ..Commanded::default() }), ..commanded() };
    let mut play = Play::new(settings);
    play.enter(5000, &["ada"]);
    assert_eq!(play.done(), texts(&[(5000, "slate stream")]));
    assert_eq!(play.subscribed(), []);
    assert_eq!(play.told(), lights(&[(5000, "recording", Light::Paused), (5000, "stream", Light::Paused)]));
    // The connection of the slate is live: so is the stream once it is resumed.
    play.says(9000, stream(), TargetReport::Live(LiveState::Live));
    play.lost(10_000);
    play.enter(11_000, &["ada"]);
    play.wish(20_000, stream(), TargetWish::Start(live()));
    assert_eq!(play.done(), texts(&[(5000, "slate stream"), (20_000, "begin stream 2")]));
    assert_eq!(play.subscribed().len(), 2);
    assert_eq!(play.told().last(), lights(&[(20_000, "stream", Light::Active)]).last());
}

#[test]
fn the_slate_of_a_pause_is_as_large_as_its_rendition_and_nothing_on_it_moves() {
    let text = "background = '#102030'\n[[ornament]]\narea={left=0,top=0,width=100,height=50}\ntext='Back soon'\n\
                [[ornament]]\narea={left=0,top=50,width=100,height=50}\nclock='%H:%M'";
    let mut settings = commanded();
    settings.dress.slates.put(SlateKind::Paused, Slate::parse("own", text).unwrap());
    settings.renditions.push(Framing { canvas: CanvasSize::new(720, 1280).unwrap(), layout: None });
    let play = Play::ordered(settings, &[]);
    let scene = play.session.paused_scene(1).unwrap();
    assert_eq!((scene.canvas.width_px, scene.canvas.height_px, scene.background), (720, 1280, Rgb(16, 32, 48)));
    let words: Vec<_> = scene.ornaments.iter().map(|ornament| ornament.content.clone()).collect();
    assert_eq!(words, [Content::Text(Pii::new("Back soon"))]);
    assert!(scene.tiles.is_empty() && scene.audible.is_empty());
    assert_eq!(play.session.paused_scene(2), None);
}

#[test]
fn a_recording_that_is_stopped_and_wanted_again_is_another_one() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording), (stream(), live())]);
    play.says(900, stream(), TargetReport::Live(LiveState::Live));
    play.wish(5000, recording(), TargetWish::Stop);
    // Wanted again before the first is closed.
    play.wish(5100, recording(), TargetWish::Start(Delivery::Recording));
    play.says(5700, recording(), TargetReport::Ended);
    // Of the first one: that is not what people see.
    play.input(6000, Input::Delivered { target: recording(), run: 1, fault: Some(fault("Refused.")) });
    play.says(6600, recording(), TargetReport::TakeWritten { until: at(6200) });
    let done = play.done();
    assert!(done.contains(&(5700, "open recording 2".to_owned())), "{done:?}");
    assert!(done.contains(&(5700, "begin recording 1".to_owned())), "{done:?}");
    assert_eq!(play.told().last(), lights(&[(6600, "recording", Light::Active)]).last());
}

#[test]
fn a_destination_that_is_lost_is_active_for_the_grace_and_then_failed_until_somebody_wants_it() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording), (stream(), live())]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.says(3000, stream(), TargetReport::Live(LiveState::Live));
    play.says(60_000, stream(), retrying());
    play.says(80_000, stream(), retrying());
    play.sleep_until(119_999);
    assert_eq!(play.told().last(), lights(&[(3000, "stream", Light::Active)]).last(), "the grace is not over");
    play.sleep_until(120_000);
    assert_eq!(play.told().last(), lights(&[(120_000, "stream", Light::Error)]).last());
    assert_eq!(play.done().last(), texts(&[(120_000, "end stream")]).last());
    play.says(120_100, stream(), TargetReport::Ended);
    play.sleep_until(300_000);
    assert_eq!(play.done().last(), texts(&[(120_000, "end stream")]).last(), "nothing is tried any more");
    play.wish(300_000, stream(), TargetWish::Start(live()));
    assert_eq!(play.done()[play.done().len() - 2..], texts(&[(300_000, "open stream 2"), (300_000, "begin stream 1")]));
    assert_eq!(play.told().last(), lights(&[(300_000, "stream", Light::Starting)]).last());
}

#[test]
fn a_destination_that_comes_back_within_the_grace_was_active_all_the_time() {
    let mut play = Play::ordered(commanded(), &[(stream(), live())]);
    play.says(3000, stream(), TargetReport::Live(LiveState::Live));
    play.says(60_000, stream(), retrying());
    play.says(110_000, stream(), TargetReport::Live(LiveState::Behind { by_s: 3 }));
    play.sleep_until(400_000);
    assert_eq!(play.told(), lights(&[(100, "stream", Light::Starting), (3000, "stream", Light::Active)]));
}

#[test]
fn start_for_a_destination_that_waits_means_now_and_for_an_active_one_it_is_answered() {
    let mut play = Play::ordered(commanded(), &[(stream(), live())]);
    play.says(3000, stream(), TargetReport::Live(LiveState::Live));
    play.wish(20_000, stream(), TargetWish::Start(live()));
    assert_eq!(play.told().last(), lights(&[(20_000, "stream", Light::Active)]).last());
    assert_eq!(play.done().len(), 2);
    play.says(30_000, stream(), retrying());
    play.wish(31_000, stream(), TargetWish::Start(live()));
    assert_eq!(play.done().last(), texts(&[(31_000, "try stream")]).last());
}

#[test]
fn a_destination_that_never_took_the_stream_and_refuses_is_an_error_at_once_and_the_others_go_on() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording), (stream(), live())]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.says(1500, stream(), refused());
    play.says(1600, stream(), TargetReport::Ended);
    // Told at once, and again when the controller may have reset it.
    play.sleep_until(30_000);
    let of_stream: Vec<_> = play.told().into_iter().filter(|(_, id, _)| id == "stream").collect();
    let expected = [(100, "stream", Light::Starting), (1500, "stream", Light::Error), (5100, "stream", Light::Error)];
    assert_eq!(of_stream, lights(&expected));
    assert_eq!(play.session.phase(), Phase::Live);
}

#[test]
fn after_a_lost_connection_everything_is_told_again_and_targets_go_on() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording)]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.lost(30_000);
    play.enter(40_000, &["ada"]);
    assert_eq!(play.told().last(), lights(&[(40_000, "recording", Light::Active)]).last());
    assert_eq!(play.done().len(), 2, "the Take goes on");
    // Somebody else's socket ended, and the controller reset what it shows.
    play.event(50_000, ConferenceEvent::Shown { target: recording(), light: Light::Active });
    play.event(60_000, ConferenceEvent::Shown { target: recording(), light: Light::Inactive });
    assert_eq!(play.told().last(), lights(&[(60_000, "recording", Light::Active)]).last());
}

#[test]
fn a_worker_that_replaces_another_goes_on_with_what_was_wanted() {
    let resumed = |target, run, next, paused| Resumed { target, delivery: Delivery::Recording, run, next: TakeId(next), paused };
    let resumed = vec![resumed(recording(), 2, 3, false), resumed(TargetId::new("paused"), 1, 2, true)];
    let settings = SessionSettings { commanded: Some(Commanded { resumed, ..Commanded::default() }), ..commanded() };
    let mut play = Play::new(settings);
    play.enter(5000, &["ada"]);
    assert_eq!(play.done(), texts(&[(5000, "open recording 2"), (5000, "begin recording 3")]));
    // That it goes on is told at once: nobody has clicked, but the room shows what the end of the worker before has made of it.
    play.says(5900, recording(), TargetReport::TakeWritten { until: at(5600) });
    let expected = [(5000, "recording", Light::Starting), (5000, "paused", Light::Paused), (5900, "recording", Light::Active)];
    assert_eq!(play.told(), lights(&expected));
}

#[test]
fn ordered_again_we_go_on_while_something_runs_and_go_otherwise() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording)]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.input(2000, Input::OrderedAgain);
    assert_eq!(play.done().len(), 2);
    play.wish(20_000, recording(), TargetWish::Stop);
    play.says(20_600, recording(), TargetReport::Ended);
    play.input(21_000, Input::OrderedAgain);
    assert_eq!(play.done().last(), texts(&[(21_000, "leave")]).last());
}

#[test]
fn a_service_that_ends_finishes_what_runs_says_why_and_leaves_when_it_is_stored() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording), (stream(), live())]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.says(900, stream(), TargetReport::Live(LiveState::Live));
    play.input(20_000, Input::Withhold(Withheld::Everything(fault("The recorder is being shut down."))));
    play.says(20_100, stream(), TargetReport::Ended);
    play.says(20_600, recording(), TargetReport::Ended);
    // Whoever wants more is told the same.
    play.wish(22_000, stream(), TargetWish::Start(live()));
    play.input(25_000, Input::Delivered { target: recording(), run: 1, fault: None });
    play.sleep_until(60_000);
    let expected =
        [(20_000, "end recording"), (20_000, "end stream"), (35_000, "leave"), (37_000, "over: Nothing is wanted any more.")];
    assert_eq!(play.done()[4..], texts(&expected));
    let told = play.told();
    let error = |at, id: &str| (at, id.to_owned(), Light::Error);
    assert!(told.contains(&error(20_000, "recording")) && told.contains(&error(20_000, "stream")), "{told:?}");
    assert!(told.contains(&error(22_000, "stream")), "the click is answered: {told:?}");
}

#[test]
fn a_disk_that_fills_ends_recordings_and_no_streams() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording), (stream(), live())]);
    play.says(900, recording(), TargetReport::TakeWritten { until: at(600) });
    play.says(900, stream(), TargetReport::Live(LiveState::Live));
    play.input(20_000, Input::Withhold(Withheld::Recordings(fault("The disk is full."))));
    // Wanted again while it is being closed: that is not forgotten, and not begun.
    play.wish(20_100, recording(), TargetWish::Start(Delivery::Recording));
    play.says(20_600, recording(), TargetReport::Ended);
    play.wish(22_000, recording(), TargetWish::Start(Delivery::Recording));
    play.sleep_until(30_000);
    assert_eq!(play.done()[4..], texts(&[(20_000, "end recording")]));
    assert_eq!(play.told().last(), lights(&[(27_100, "recording", Light::Error)]).last(), "{:?}", play.told());
    // There is room again: what failed stays so until somebody wants it.
    play.input(40_000, Input::Withhold(Withheld::Nothing));
    play.sleep_until(41_000);
    assert_eq!(play.done().len(), 5);
    play.wish(41_000, recording(), TargetWish::Start(Delivery::Recording));
    assert_eq!(play.done()[5..], texts(&[(41_000, "open recording 2"), (41_000, "begin recording 1")]));
}

#[test]
fn what_an_earlier_worker_was_at_ends_when_it_is_withheld_meanwhile() {
    let resumed = vec![Resumed { target: recording(), delivery: Delivery::Recording, run: 1, next: TakeId(2), paused: false }];
    let withheld = Withheld::Everything(fault("The recorder is being shut down."));
    let settings = SessionSettings { commanded: Some(Commanded { resumed, withheld, ..Commanded::default() }), ..commanded() };
    let mut play = Play::new(settings);
    play.enter(5000, &["ada"]);
    play.says(5100, recording(), TargetReport::Ended);
    assert_eq!(play.done(), texts(&[(0, "end recording")]));
    assert_eq!(play.told(), lights(&[(5000, "recording", Light::Error)]));
}

#[test]
fn a_stop_of_the_service_ends_all_takes() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording), (stream(), live())]);
    play.input(2000, Input::Stop);
    let ends: Vec<_> = play.done().into_iter().filter(|(_, deed)| deed.starts_with("end")).collect();
    assert_eq!(ends, texts(&[(2000, "end recording"), (2000, "end stream")]));
}

#[test]
fn too_long_outside_ends_the_session_and_its_takes() {
    let mut play = Play::ordered(
        SessionSettings { conference_grace: Duration::from_secs(120), ..commanded() },
        &[(recording(), Delivery::Recording)],
    );
    play.lost(10_000);
    play.sleep_until(129_999);
    assert_eq!(play.session.phase(), Phase::Live);
    play.sleep_until(130_000);
    assert_eq!(play.session.phase(), Phase::Ending);
    assert!(play.done().contains(&(130_000, "end recording".to_owned())));
}

#[test]
fn an_error_says_which_kind_and_why() {
    let mut play = Play::ordered(commanded(), &[(recording(), Delivery::Recording)]);
    play.says(900, recording(), TargetReport::Failed(Fault { blame: Blame::Operator, ..fault("The disk is full.") }));
    let told = play.log.iter().rev().find_map(|(_, action)| match action {
        Action::Tell(ConferenceCommand::Report { standing, .. }) => Some(standing.clone()),
        _ => None,
    });
    let expected = Standing::Error { code: "not_configured", message: "The disk is full.".to_owned() };
    assert_eq!(told, Some(expected));
}
