//! Any meeting: whatever happens in whatever order, the promises hold. And a very long one.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use crate::conference::{Facts, Hand, Role};
use crate::layout::Strip;
use crate::layout::tests::assert_valid;

use super::*;

#[derive(Clone, Debug)]
enum Happens {
    Joins(u8),
    Leaves(u8),
    Up(u8, u8, bool),
    Down(u8, u8),
    Hint(u8),
    Heard(u8, f32),
    Lost,
    Entered,
    Listed,
    Written(u64),
    Failed(u8),
    Closed(u8),
    Ended(u8),
    Stop,
    Facts(u8, u8, u8),
    Layout(u8),
}

const KINDS: [TrackKind; 4] = [TrackKind::Camera, TrackKind::Microphone, TrackKind::Screen, TrackKind::ScreenAudio];

fn happens() -> impl Strategy<Value = Happens> {
    let who = || 0u8..30;
    prop_oneof![
        12 => who().prop_map(Happens::Joins),
        4 => who().prop_map(Happens::Leaves),
        20 => (who(), 0u8..4, any::<bool>()).prop_map(|(who, kind, muted)| Happens::Up(who, kind, muted)),
        4 => (who(), 0u8..4).prop_map(|(who, kind)| Happens::Down(who, kind)),
        2 => who().prop_map(Happens::Hint),
        10 => (who(), -100f32..0.0).prop_map(|(who, dbfs)| Happens::Heard(who, dbfs)),
        2 => Just(Happens::Lost),
        4 => Just(Happens::Entered),
        3 => Just(Happens::Listed),
        3 => (0u64..100_000).prop_map(Happens::Written),
        1 => (0u8..3).prop_map(Happens::Failed),
        1 => (0u8..3).prop_map(Happens::Closed),
        1 => (0u8..4).prop_map(Happens::Ended),
        1 => Just(Happens::Stop),
        6 => (who(), 0u8..4, 0u8..3).prop_map(|(who, role, hand)| Happens::Facts(who, role, hand)),
        3 => (0u8..9).prop_map(Happens::Layout),
    ]
}

fn input(happens: Happens) -> Input {
    let who = |n: u8| id(&format!("p{n}"));
    let track = |n: u8, kind: u8| TrackId::new(who(n), KINDS[usize::from(kind)]);
    let target = |n: u8, report| Input::Target { id: TargetId::new(format!("t{n}")), report };
    Input::Conference(match happens {
        Happens::Joins(n) => ConferenceEvent::Joined { participant: who(n), name: Pii::new("somebody") },
        Happens::Leaves(n) => ConferenceEvent::Left { participant: who(n) },
        Happens::Up(n, kind, muted) => ConferenceEvent::TrackUp { track: track(n, kind), muted },
        Happens::Down(n, kind) => ConferenceEvent::TrackDown { track: track(n, kind) },
        Happens::Hint(n) => ConferenceEvent::Speaking { participants: vec![who(n)] },
        Happens::Lost => ConferenceEvent::Lost { fault: fault("away") },
        Happens::Entered => ConferenceEvent::Entered { title: None },
        Happens::Listed => ConferenceEvent::Listed,
        Happens::Ended(n) => ConferenceEvent::Ended {
            reason: [EndReason::RoomClosed, EndReason::Left, EndReason::Removed, EndReason::Refused(fault("no"))][usize::from(n)]
                .clone(),
        },
        Happens::Heard(n, dbfs) => return Input::Heard(vec![Loudness { participant: who(n), dbfs }]),
        Happens::Written(until) => return target(0, TargetReport::TakeWritten { until: at(until) }),
        Happens::Failed(n) => return target(n, TargetReport::Failed(fault("full"))),
        Happens::Closed(n) => return target(n, TargetReport::Ended),
        Happens::Stop => return Input::Stop,
        Happens::Facts(n, role, hand) => {
            let role = [Role::Attendee, Role::Presenter, Role::Moderator, Role::Interpreter][usize::from(role)];
            let hand =
                [Hand::Down, Hand::Raised { unix_ms: None }, Hand::Raised { unix_ms: Some(u64::from(n)) }][usize::from(hand)];
            ConferenceEvent::Facts { participant: who(n), facts: Facts { role, hand, ..Facts::default() } }
        }
        Happens::Layout(n) => {
            let name = Layout::built_in_names().nth(usize::from(n)).unwrap();
            return Input::Layout(Layout::built_in(name).unwrap());
        }
    })
}

/// What a careful listener knows about Tracks, kept apart from the Session.
#[derive(Default)]
struct Known {
    people: BTreeSet<ParticipantId>,
    tracks: BTreeSet<TrackId>,
}

impl Known {
    fn learn(&mut self, input: &Input) {
        let Input::Conference(event) = input else { return };
        match event {
            ConferenceEvent::Joined { participant, .. } => {
                self.people.insert(participant.clone());
            }
            ConferenceEvent::Left { participant } => {
                self.people.remove(participant);
                self.tracks.retain(|track| track.participant != *participant);
            }
            ConferenceEvent::TrackUp { track, .. } if self.people.contains(&track.participant) => {
                self.tracks.insert(track.clone());
            }
            ConferenceEvent::TrackDown { track } => {
                self.tracks.remove(track);
            }
            _ => {}
        }
    }
}

/// Of each Target: Takes are begun and ended in turn, each at most once; nothing comes after Over.
fn assert_paired(play: &Play) {
    for target in ["t0", "t1"].map(TargetId::new) {
        let deeds = play.log.iter().filter_map(|(_, action)| match action {
            Action::BeginTake { target: of, at, .. } if *of == target => Some(("begin", *at)),
            Action::EndTake { target: of, at, .. } if *of == target => Some(("end", *at)),
            _ => None,
        });
        let deeds: Vec<_> = deeds.collect();
        match &deeds[..] {
            [] => {}
            [("begin", _)] => assert_eq!(play.outcome(), None, "a Take is left open"),
            [("begin", from), ("end", until)] => assert!(from <= until),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_meeting_keeps_the_promises(
        meeting in prop::collection::vec((happens(), 0u64..4000), 1..150),
        layout in prop::sample::select(Layout::built_in_names().collect::<Vec<_>>()),
        own_layout in prop::option::of(prop::sample::select(Layout::built_in_names().collect::<Vec<_>>())),
        sound_only in any::<bool>(), limited in any::<bool>(), strip in any::<bool>(),
    ) {
        let without = vec![TrackId::new(id("p1"), TrackKind::Camera)];
        let mut settings = SessionSettings {
            layout: Layout::built_in(layout).unwrap(),
            targets: vec![TargetId::new("t0"), TargetId::new("t1")],
            caution: if sound_only { Caution::SoundOnly } else { Caution::Without(without.clone()) },
            duration: limited.then_some(Duration::from_secs(60)),
            ..settings()
        };
        let layout = own_layout.map(|name| Layout::built_in(name).unwrap());
        settings.renditions.push(Framing { canvas: CanvasSize::new(720, 1280).unwrap(), layout });
        settings.dress.strip = strip.then(Strip::default);
        let caution = settings.caution.clone();
        let mut play = Play::new(settings);
        let mut known = Known::default();
        let mut ms = 0;
        // Enter first, mostly: otherwise most meetings would never begin.
        let start = (meeting.len() % 8 != 0).then_some((Happens::Entered, 50)).into_iter();
        for (happens, pause) in start.chain(meeting) {
            ms += pause;
            let input = input(happens);
            known.learn(&input);
            play.input(ms, input);
            assert_eq!((play.shown().from, &play.shown().audible), (play.shown_in(1).from, &play.shown_in(1).audible));
            for scene in [play.shown(), play.shown_in(1)] {
                assert_valid(&scene);
                if play.session.phase() == Phase::Live || play.session.phase() == Phase::Entering {
                    for track in scene.tiles.iter().filter_map(|tile| tile.video.as_ref()).chain(&scene.audible) {
                        assert!(known.tracks.contains(track), "{track:?} is shown and not known");
                        assert!(caution.allows(track), "{track:?} is forbidden");
                    }
                    for tile in &scene.tiles {
                        assert!(known.people.contains(&tile.participant));
                    }
                }
            }
            for Subscription { track, .. } in play.subscribed() {
                assert!(caution.allows(&track), "{track:?} is forbidden");
            }
            assert_paired(&play);
        }
        // Every Session ends, whether anybody answers or not.
        play.sleep_until(13 * 3600 * 1000);
        prop_assert!(play.outcome().is_some(), "{:?}", play.session.phase());
        assert_paired(&play);
    }
}

#[test]
fn twelve_hours_of_churn_keep_the_state_small() {
    let mut session = Session::new(settings(), at(0));
    let (handled, drained) = (Cell::new(0), Cell::new(0));
    let handle = |session: &mut Session, input: Input, now: u64| {
        session.handle(input, at(now));
        handled.set(handled.get() + 1);
        while session.poll_action().is_some() {
            drained.set(drained.get() + 1);
        }
    };
    let conference = Input::Conference;
    handle(&mut session, conference(ConferenceEvent::Entered { title: None }), 0);
    handle(&mut session, conference(ConferenceEvent::Listed), 0);
    let mut sizes = vec![];
    for second in 0..12 * 3600 - 1 {
        let now = second * 1000;
        // Every four seconds a new person comes with everything they can have, and the eighth before them leaves: 10,800 people.
        let name = |n: u64| id(&format!("p{n}"));
        let newest = second / 4;
        if second % 4 == 0 {
            handle(
                &mut session,
                conference(ConferenceEvent::Joined { participant: name(newest), name: Pii::new("somebody") }),
                now,
            );
            for kind in [TrackKind::Camera, TrackKind::Microphone, TrackKind::Screen] {
                let track = TrackId::new(name(newest), kind);
                handle(&mut session, conference(ConferenceEvent::TrackUp { track, muted: false }), now);
            }
            if newest >= 8 {
                handle(&mut session, conference(ConferenceEvent::Left { participant: name(newest - 8) }), now);
            }
        }
        // The meter speaks ten times a second; somebody else speaks every three seconds.
        let loud = |n: u64| if n % 8 == second / 3 % 8 { -20.0 } else { -70.0 };
        let here = newest.saturating_sub(7)..=newest;
        let heard: Vec<_> = here.clone().map(|n| Loudness { participant: name(n), dbfs: loud(n) }).collect();
        for tenth in 0..10 {
            handle(&mut session, Input::Heard(heard.clone()), now + 100 * tenth);
        }
        handle(&mut session, Input::Target { id: file(), report: TargetReport::TakeWritten { until: at(now) } }, now + 950);
        if second % 600 == 599 {
            let lost = ConferenceEvent::Lost { fault: fault("away") };
            handle(&mut session, conference(lost), now + 960);
            handle(&mut session, conference(ConferenceEvent::Entered { title: None }), now + 970);
            for n in here {
                handle(
                    &mut session,
                    conference(ConferenceEvent::Joined { participant: name(n), name: Pii::new("somebody") }),
                    now + 980,
                );
                let track = TrackId::new(name(n), TrackKind::Camera);
                handle(&mut session, conference(ConferenceEvent::TrackUp { track, muted: false }), now + 980);
            }
            handle(&mut session, conference(ConferenceEvent::Listed), now + 990);
        }
        if second % 600 == 300 {
            sizes.push(session.footprint());
        }
        assert!(session.people() <= 8, "{} people", session.people());
    }
    assert_eq!(session.phase(), Phase::Live);
    assert!(sizes.len() >= 71 && sizes.windows(2).all(|pair| pair[0] == pair[1]), "{sizes:?}");
    assert!(handled.get() > 500_000 && drained.get() > 50_000, "{handled:?} inputs, {drained:?} actions");
    handle(&mut session, Input::Woken, 12 * 3600 * 1000);
    assert_eq!(session.phase(), Phase::Ending);
}
