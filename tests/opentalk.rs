//! The OpenTalk adapter against the stand-in controller, over real sockets: getting in, being told, and every way out.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use recorder_core::conference::{
    ConferenceCommand, ConferenceEvent, Delivery, EndReason, Light, Standing, Subscription, TargetWish,
};
use recorder_core::fault::Fault;
use recorder_core::ids::{ParticipantId, TargetId, TrackId, TrackKind};
use recorder_core::secret::Secret;
use roomcast::clock::SessionClock;
use roomcast::conference::ConferenceHandle;
use roomcast::conference::opentalk::controller::Controller as Address;
use roomcast::conference::opentalk::start::StartRoom;
use roomcast::conference::opentalk::ticket_source::TicketSource;
use roomcast::conference::opentalk::{self, OpenTalkSettings};
use roomcast::ingest::capture::ArrivalIsCapture;
use roomcast::media::{MediaSource, lanes};
use roomcast::trust::Trust;
use world::certificates::Certificates;
use world::controller::{Controller, Kind, Misbehaviour, Person, RoomPlan, Setup};
use world::crowd::{Crowd, Joining, who};
use world::livekit::LiveKit;

const LIMIT: Duration = Duration::from_secs(20);
/// A media server that is not there.
const NOWHERE: &str = "ws://127.0.0.1:1";

/// A recorder in a room: the adapter, and somebody who gives it tickets.
struct Recorder {
    runtime: tokio::runtime::Runtime,
    handle: ConferenceHandle,
    media: MediaSource,
    /// What happened so far.
    seen: Vec<ConferenceEvent>,
}

impl Recorder {
    fn enter(controller: &Controller, room: &str) -> Recorder {
        Self::with(controller, StartRoom { room: room.into(), breakout: None }, Trust::load(None).expect("trust"), |_| {})
    }

    fn with(controller: &Controller, room: StartRoom, trust: Trust, change: impl FnOnce(&mut OpenTalkSettings)) -> Recorder {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let address = Address::at(&controller.url(), trust).expect("an address");
        let (tickets, mut requests) = TicketSource::new();
        let asking = address.clone();
        runtime.spawn(async move {
            while let Some(request) = requests.recv().await {
                let answer = asking.start(&Secret::new("good"), &room).await.map_err(|error| error.fault());
                // Whoever asked may have left meanwhile.
                let _ = request.send(answer);
            }
        });
        let (clock, capture) = (SessionClock::start(), Box::new(ArrivalIsCapture));
        let media_trust = Trust::load(None).expect("the system's");
        let mut settings = OpenTalkSettings::new(address, "Recorder", media_trust, clock, capture);
        change(&mut settings);
        let (sink, media) = lanes();
        let handle = {
            let _inside = runtime.enter();
            opentalk::enter(settings, sink, tickets)
        };
        Recorder { runtime, handle, media, seen: Vec::new() }
    }

    fn next(&mut self) -> Option<ConferenceEvent> {
        let event = self.runtime.block_on(async { tokio::time::timeout(LIMIT, self.handle.events.recv()).await });
        let event = event.unwrap_or_else(|_| panic!("no event; seen {:?}", self.seen));
        self.seen.extend(event.clone());
        event
    }

    /// Waits for an event, and gives it.
    fn until(&mut self, is_it: impl Fn(&ConferenceEvent) -> bool) -> ConferenceEvent {
        loop {
            match self.next() {
                Some(event) if is_it(&event) => return event,
                Some(ConferenceEvent::Ended { reason }) => panic!("ended: {reason:?}"),
                Some(_) => {}
                None => panic!("ended; seen {:?}", self.seen),
            }
        }
    }

    fn listed(&mut self) {
        self.until(|event| *event == ConferenceEvent::Listed);
    }

    fn lost(&mut self) -> Fault {
        match self.until(|event| matches!(event, ConferenceEvent::Lost { .. })) {
            ConferenceEvent::Lost { fault } => fault,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the end; nothing may follow.
    fn ended(&mut self) -> EndReason {
        loop {
            if let Some(ConferenceEvent::Ended { reason }) = self.next() {
                assert_eq!(self.next(), None);
                return reason;
            }
        }
    }

    fn refused(&mut self) -> Fault {
        match self.ended() {
            EndReason::Refused(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    fn tell(&self, command: ConferenceCommand) {
        self.handle.commands.blocking_send(command).expect("the adapter lives");
    }

    fn report(&self, target: &str, standing: Standing) {
        self.tell(ConferenceCommand::Report { target: TargetId::new(target), standing });
    }
}

/// A room with a moderator who has clicked.
struct Meeting {
    controller: Controller,
    room: String,
    moderator: Person,
    target: String,
}

impl Meeting {
    fn begin() -> Meeting {
        Self::at(NOWHERE)
    }

    fn at(livekit_url: &str) -> Meeting {
        Self::of(Setup::simple(livekit_url), RoomPlan::titled("Weekly"))
    }

    fn of(setup: Setup, plan: RoomPlan) -> Meeting {
        let controller = Controller::start(setup);
        let room = controller.plan(plan);
        let moderator = controller.joins(&room, Kind::Moderator, "Alice");
        let target = controller.recording_target(&room);
        controller.click_start(&moderator, std::slice::from_ref(&target));
        Meeting { controller, room, moderator, target }
    }

    /// With a recorder that has reported.
    fn recorded() -> (Meeting, Recorder) {
        let meeting = Self::begin();
        let recorder = meeting.recorder();
        (meeting, recorder)
    }

    fn recorder(&self) -> Recorder {
        let mut recorder = Recorder::enter(&self.controller, &self.room);
        recorder.listed();
        recorder.report(&self.target, Standing::Active);
        self.controller.shows(&self.room, &self.target, "active");
        recorder
    }

    fn targets(&self) -> &[String] {
        std::slice::from_ref(&self.target)
    }

    fn wish(&self, wish: TargetWish) -> ConferenceEvent {
        ConferenceEvent::Wish { target: TargetId::new(self.target.as_str()), wish }
    }
}

#[test]
fn a_click_becomes_a_recording_that_pauses_goes_on_and_ends() {
    let (meeting, mut recorder) = Meeting::recorded();
    assert!(recorder.seen.contains(&meeting.wish(TargetWish::Start(Delivery::Recording))));
    let Some(ConferenceEvent::Entered { title: Some(title) }) = recorder.seen.first() else { panic!("{:?}", recorder.seen) };
    assert_eq!(title.expose(), "Weekly");
    meeting.controller.click_pause(&meeting.moderator, meeting.targets());
    let wish = meeting.wish(TargetWish::Pause);
    recorder.until(|event| *event == wish);
    recorder.report(&meeting.target, Standing::Paused);
    meeting.controller.shows(&meeting.room, &meeting.target, "paused");
    meeting.controller.click_start(&meeting.moderator, meeting.targets());
    let wish = meeting.wish(TargetWish::Start(Delivery::Recording));
    recorder.until(|event| *event == wish);
    let failed = Standing::Error { code: "disk_full", message: "The disk is full.".into() };
    recorder.report(&meeting.target, failed);
    meeting.controller.shows(&meeting.room, &meeting.target, "error");
    let target = TargetId::new(meeting.target.as_str());
    recorder.until(|event| *event == ConferenceEvent::Shown { target: target.clone(), light: Light::Error });
    recorder.report(&meeting.target, Standing::Active);
    meeting.controller.shows(&meeting.room, &meeting.target, "active");
    meeting.controller.click_stop(&meeting.moderator, meeting.targets());
    let wish = meeting.wish(TargetWish::Stop);
    recorder.until(|event| *event == wish);
    recorder.report(&meeting.target, Standing::Inactive);
    meeting.controller.shows(&meeting.room, &meeting.target, "inactive");
    recorder.tell(ConferenceCommand::Leave);
    assert_eq!(recorder.ended(), EndReason::Left);
    meeting.controller.has_recorders(&meeting.room, 0);
    assert_eq!(meeting.controller.close_frames(), 1, "one close frame, and TCP is dropped");
    assert!(meeting.controller.moderator_was_told(&meeting.moderator).is_empty());
}

#[test]
fn people_are_told_with_consent_names_hands_and_telephones() {
    let (meeting, mut recorder) = Meeting::recorded();
    let Meeting { controller, room, moderator, .. } = &meeting;
    let bob = controller.joins(room, Kind::Guest, "Bob");
    let id = ParticipantId::new(bob.id.as_str());
    let consent = |given, by| ConferenceEvent::Consent { participant: id.clone(), given, by };
    recorder.until(|event| *event == consent(false, "control joined"));
    for given in [true, false, true] {
        controller.consent(&bob, given);
        recorder.until(|event| *event == consent(given, "control update"));
    }
    controller.rename(moderator, &bob, "Robert");
    let name = |event: &ConferenceEvent| matches!(event, ConferenceEvent::Joined { name, .. } if name.expose() == "Robert");
    recorder.until(name);
    controller.hand(&bob, true);
    recorder.until(|event| matches!(event, ConferenceEvent::Facts { facts, .. } if facts.hand != Default::default()));
    let caller = controller.joins(room, Kind::Caller, "+49 30 123");
    recorder.until(|event| matches!(event, ConferenceEvent::Facts { facts, .. } if facts.call_in));
    controller.leaves(&bob);
    recorder.until(|event| *event == ConferenceEvent::Left { participant: id.clone() });
    // Whoever comes back has not agreed.
    controller.joins_as(room, Kind::Guest, "Robert", &bob.id);
    recorder.until(|event| *event == consent(false, "control joined"));
    controller.leaves(&caller);
}

#[test]
fn every_farewell_of_the_room_ends_it() {
    type Away = fn(&Meeting);
    let farewells: [(Away, EndReason); 5] = [
        (|m| m.controller.kick_recorder(&m.moderator), EndReason::Removed),
        (|m| m.controller.debrief(&m.moderator), EndReason::RoomClosed),
        (|m| m.controller.delete_room(&m.room), EndReason::RoomClosed),
        (|m| m.controller.time_is_up(&m.room), EndReason::RoomClosed),
        (|m| m.controller.close_recorders(&m.room, 1000), EndReason::Removed),
    ];
    for (away, reason) in farewells {
        let (meeting, mut recorder) = Meeting::recorded();
        let begin = Instant::now();
        away(&meeting);
        assert_eq!(recorder.ended(), reason);
        assert!(begin.elapsed() < Duration::from_secs(5), "TCP is dropped, although the controller would keep it");
        world::until(LIMIT, "our close frame", || (meeting.controller.close_frames() == 1).then_some(()));
    }
}

#[test]
fn a_lost_connection_is_made_anew_with_another_ticket() {
    type Trouble = fn(&Meeting);
    let troubles: [Trouble; 4] = [
        |m| m.controller.cut_recorders(&m.room),
        |m| m.controller.close_recorders(&m.room, 1001),
        // What must never be in a frame, and is.
        |m| m.controller.close_recorders(&m.room, 1006),
        |m| m.controller.close_recorders(&m.room, 1011),
    ];
    for trouble in troubles {
        let (meeting, mut recorder) = Meeting::recorded();
        trouble(&meeting);
        recorder.lost();
        // The end of the old connection has reset it; the list of the new one says so, or a moment later everybody is told.
        let reset = ConferenceEvent::Shown { target: TargetId::new(meeting.target.as_str()), light: Light::Inactive };
        recorder.until(|event| *event == reset);
        recorder.report(&meeting.target, Standing::Active);
        meeting.controller.shows(&meeting.room, &meeting.target, "active");
        assert_eq!((meeting.controller.starts(), meeting.controller.recorders(&meeting.room).len()), (2, 1));
    }
}

#[test]
fn a_controller_that_is_restarted_has_another_name_for_the_same_recording() {
    let (meeting, mut recorder) = Meeting::recorded();
    meeting.controller.restart();
    recorder.lost();
    recorder.listed();
    recorder.report(&meeting.target, Standing::Active);
    let renamed = meeting.controller.recording_target(&meeting.room);
    assert_ne!(renamed, meeting.target);
    meeting.controller.shows(&meeting.room, &renamed, "active");
    let moderator = meeting.controller.joins(&meeting.room, Kind::Moderator, "Alice");
    meeting.controller.click_stop(&moderator, &[renamed]);
    let wish = meeting.wish(TargetWish::Stop);
    recorder.until(|event| *event == wish);
}

#[test]
fn a_controller_that_falls_silent_is_left_after_35_seconds() {
    let (meeting, mut recorder) = Meeting::recorded();
    let silent_since = Instant::now();
    meeting.controller.fall_silent(&meeting.room);
    // Nothing comes for longer than other tests wait.
    let lost = recorder.runtime.block_on(async {
        let events = &mut recorder.handle.events;
        let waiting = async { while !matches!(events.recv().await, None | Some(ConferenceEvent::Lost { .. })) {} };
        tokio::time::timeout(Duration::from_secs(45), waiting).await
    });
    assert!(lost.is_ok() && silent_since.elapsed() >= Duration::from_secs(30), "{:?}", silent_since.elapsed());
    recorder.listed();
}

#[test]
fn pings_are_answered_for_as_long_as_it_takes() {
    let (meeting, mut recorder) = Meeting::recorded();
    // The second tick, at 30 s, cuts whoever did not answer the first.
    recorder.runtime.block_on(async {
        let events = &mut recorder.handle.events;
        let lost = async { while !matches!(events.recv().await, None | Some(ConferenceEvent::Lost { .. })) {} };
        assert!(tokio::time::timeout(Duration::from_secs(32), lost).await.is_err());
    });
    assert_eq!(meeting.controller.recorders(&meeting.room).len(), 1);
}

#[test]
fn tickets_that_are_used_or_too_old_are_replaced_and_at_first_not_for_ever() {
    let meeting = Meeting::begin();
    // One that somebody else has used.
    let stale = Secret::new(format!("{}#{}", meeting.room, "x".repeat(27)));
    let room = StartRoom { room: meeting.room.clone(), breakout: None };
    let trust = || Trust::load(None).expect("trust");
    let mut recorder = Recorder::with(&meeting.controller, room.clone(), trust(), |settings| settings.ticket = Some(stale));
    recorder.listed();
    assert_eq!(meeting.controller.starts(), 1);
    recorder.tell(ConferenceCommand::Leave);
    assert_eq!(recorder.ended(), EndReason::Left);

    meeting.controller.misbehave(Misbehaviour::ExpireTickets);
    let mut recorder = Recorder::enter(&meeting.controller, &meeting.room);
    assert_eq!(recorder.refused().sentence, "The OpenTalk controller does not accept the ticket.");
    assert_eq!(meeting.controller.starts(), 6);
}

#[test]
fn a_start_that_fails_is_tried_a_little_and_a_refusal_not_again() {
    let meeting = Meeting::begin();
    meeting.controller.misbehave(Misbehaviour::FailStart);
    let mut recorder = Recorder::enter(&meeting.controller, &meeting.room);
    assert_eq!(recorder.refused().sentence, "The OpenTalk controller gives no ticket for this room.");
    assert_eq!(meeting.controller.starts(), 5);
    meeting.controller.misbehave(Misbehaviour::RefuseQuota);
    let mut recorder = Recorder::enter(&meeting.controller, &meeting.room);
    assert_eq!(recorder.refused().sentence, "The storage of the room's owner is full.");
    assert_eq!(meeting.controller.starts(), 6);
}

#[test]
fn a_controller_without_its_broker_is_waited_for() {
    let meeting = Meeting::begin();
    meeting.controller.misbehave(Misbehaviour::NoBroker);
    let mut recorder = Recorder::enter(&meeting.controller, &meeting.room);
    assert_eq!(recorder.lost().sentence, "The OpenTalk controller is not ready.");
    meeting.controller.misbehave(Misbehaviour::None);
    recorder.listed();
}

#[test]
fn garbage_is_passed_over_and_what_is_too_large_is_a_loss() {
    let meeting = Meeting::begin();
    meeting.controller.misbehave(Misbehaviour::Garbage);
    let mut recorder = meeting.recorder();
    meeting.controller.misbehave(Misbehaviour::Oversized);
    meeting.controller.joins(&meeting.room, Kind::Guest, "Bob");
    recorder.lost();
    meeting.controller.misbehave(Misbehaviour::None);
    recorder.listed();
}

#[test]
fn rooms_that_cannot_be_recorded_are_left_at_once() {
    let meeting = Meeting::begin();
    let room = StartRoom { room: meeting.room.clone(), breakout: Some("26bbe290-2935-447a-80ab-6ab7ffaf4d73".into()) };
    let mut recorder = Recorder::with(&meeting.controller, room, Trust::load(None).expect("trust"), |_| {});
    assert_eq!(recorder.refused().sentence, "Breakout rooms cannot be recorded.");
    let secret = meeting.controller.plan(RoomPlan { is_encrypted: true, ..RoomPlan::titled("Secret") });
    let mut recorder = Recorder::enter(&meeting.controller, &secret);
    assert_eq!(recorder.refused().sentence, "The room is encrypted from end to end, and cannot be recorded.");
    let small = meeting.controller.plan(RoomPlan { places: Some(0), ..RoomPlan::titled("Small") });
    let mut recorder = Recorder::enter(&meeting.controller, &small);
    assert_eq!(recorder.refused().sentence, "The OpenTalk room has no place for another participant.");
}

#[test]
fn live_destinations_come_with_their_address_as_it_is() {
    let odd = "rtmp://h/live/a b\"'?auth=1&x=2#frag";
    let plan = RoomPlan::titled("t").streaming_to("Portal", odd);
    let portal = plan.streams[0].id.clone();
    let meeting = Meeting::of(Setup::simple(NOWHERE), plan);
    let mut recorder = meeting.recorder();
    meeting.controller.click_start(&meeting.moderator, std::slice::from_ref(&portal));
    let wish = TargetWish::Start(Delivery::Live { location: Secret::new(odd) });
    let wish = ConferenceEvent::Wish { target: TargetId::new(portal.as_str()), wish };
    recorder.until(|event| *event == wish);
}

#[test]
fn another_recorders_end_is_seen_and_can_be_set_right() {
    let (meeting, mut recorder) = Meeting::recorded();
    let other = meeting.controller.seats_recorder(&meeting.room, "other");
    meeting.controller.leaves(&other);
    let target = TargetId::new(meeting.target.as_str());
    recorder.until(|event| *event == ConferenceEvent::Shown { target: target.clone(), light: Light::Inactive });
    recorder.report(&meeting.target, Standing::Active);
    meeting.controller.shows(&meeting.room, &meeting.target, "active");
}

#[test]
fn a_controller_of_our_own_authority_is_believed_and_a_stranger_is_not() {
    let certificates = Certificates::make();
    let identity = |name: &str| Some((certificates.path(&format!("{name}.pem")), certificates.path(&format!("{name}.key"))));
    let trust = || Trust::load(Some(&certificates.path("ca.pem"))).expect("trust");
    let good = Meeting::of(Setup { tls: identity("good"), ..Setup::simple(NOWHERE) }, RoomPlan::titled("t"));
    let room = |meeting: &Meeting| StartRoom { room: meeting.room.clone(), breakout: None };
    let mut recorder = Recorder::with(&good.controller, room(&good), trust(), |_| {});
    recorder.listed();
    for name in ["foreign", "expired"] {
        let stranger = Meeting::of(Setup { tls: identity(name), ..Setup::simple(NOWHERE) }, RoomPlan::titled("t"));
        let ticket = Secret::new(format!("{}#{}", stranger.room, "x".repeat(27)));
        let mut recorder =
            Recorder::with(&stranger.controller, room(&stranger), trust(), |settings| settings.ticket = Some(ticket));
        assert_eq!(recorder.refused().sentence, "No secure connection to the OpenTalk controller is possible.");
        let address = Address::at(&stranger.controller.url(), trust()).expect("an address");
        let refused = recorder.runtime.block_on(address.start(&Secret::new("good"), &room(&stranger))).expect_err("a stranger");
        assert_eq!(refused.fault().sentence, "No secure connection to the OpenTalk controller is possible.");
    }
}

/// Somebody publishes through a real media server, and is received by what signaling tells of it.
#[test]
fn media_come_from_the_room_that_signaling_names_and_survive_both_servers() {
    let mut server = LiveKit::start();
    let meeting = Meeting::at(&server.url());
    let Meeting { controller, room, .. } = &meeting;
    let mut crowd = Crowd::gather(1);
    let ada = controller.joins_as(room, Kind::Guest, "Ada", &who(0));
    let token = controller.livekit_token(&ada, &server.url());
    crowd.join(&server, room, &Joining::with(0, serde_json::json!({ "token": token })));
    let mut recorder = meeting.recorder();
    let track = TrackId::new(ParticipantId::new(ada.id.as_str()), TrackKind::Microphone);
    let is_up = |event: &ConferenceEvent| matches!(event, ConferenceEvent::TrackUp { track: up, .. } if *up == track);
    recorder.until(is_up);
    recorder.tell(ConferenceCommand::Subscribe(vec![Subscription { track: track.clone(), layer: None }]));
    let streams: Arc<Mutex<Vec<u32>>> = Arc::default();
    let first = hear(&recorder.media, &streams);

    // Signaling alone is lost: nothing goes down, and the Track is received again under another identity.
    let before = recorder.seen.len();
    controller.cut_recorders(room);
    recorder.lost();
    recorder.listed();
    world::until(LIMIT, "sound of another stream", || {
        let newest = hear(&recorder.media, &streams);
        (newest > first).then_some(())
    });
    let since = &recorder.seen[before..];
    assert!(!since.iter().any(|event| matches!(event, ConferenceEvent::TrackDown { .. })), "{since:?}");

    // The media server alone: the Track goes down, the person stays, and it comes back.
    let before = recorder.seen.len();
    server.restart();
    recorder.until(|event| matches!(event, ConferenceEvent::TrackDown { track: down } if *down == track));
    recorder.until(is_up);
    let since = &recorder.seen[before..];
    let is_about_people = |event: &&ConferenceEvent| matches!(event, ConferenceEvent::Left { .. } | ConferenceEvent::Lost { .. });
    assert_eq!(since.iter().find(is_about_people), None);
    recorder.tell(ConferenceCommand::Leave);
    assert_eq!(recorder.ended(), EndReason::Left);
    crowd.disperse();
}

/// Waits for a packet of sound; the number of its stream, which never falls.
fn hear(media: &MediaSource, streams: &Mutex<Vec<u32>>) -> u32 {
    let frame = media.sound.recv_timeout(LIMIT).expect("sound");
    let mut streams = streams.lock().expect("list");
    assert!(streams.last().is_none_or(|last| *last <= frame.stream), "{streams:?} and {}", frame.stream);
    streams.push(frame.stream);
    frame.stream
}
