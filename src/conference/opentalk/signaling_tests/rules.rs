//! Joining, people, Targets, and every way out.

use super::*;

#[test]
fn a_join_tells_everything_once_and_in_order() {
    let people = json!([
        somebody("p1", "Ada"),
        {"id": "gone", "control": {"display_name": "Gone", "left_at": "2026-11-21T06:11:42Z", "participation_kind": "guest"}},
        {"id": "rec2", "control": {"display_name": "recorder", "left_at": null, "participation_kind": "recorder"}},
        somebody("us", "recorder"),
    ]);
    let mut desk = Desk::new();
    desk.connect();
    let actions = desk.hear("control", join(recording("starting"), people));
    let tell = Action::Tell;
    let expected = [
        tell(ConferenceEvent::Entered { title: Some(Pii::new("Weekly")) }),
        tell(ConferenceEvent::Joined { participant: id("p1"), name: Pii::new("Ada") }),
        tell(ConferenceEvent::Facts { participant: id("p1"), facts: Facts::default() }),
        tell(ConferenceEvent::Consent { participant: id("p1"), given: false, by: "control join_success" }),
        shown("rec", Light::Starting),
        wish("rec", TargetWish::Start(Delivery::Recording)),
        tell(ConferenceEvent::Listed),
        Action::EnterMedia(Credentials { url: "ws://inner".into(), token: Secret::new("lk-1") }),
    ];
    assert_eq!(actions, expected);
}

#[test]
fn a_stale_command_leads_to_a_join_without_a_wish() {
    let mut desk = Desk::new();
    desk.connect();
    let actions = desk.hear("control", join(recording("inactive"), json!([])));
    assert!(!told(&actions).iter().any(|event| matches!(event, ConferenceEvent::Wish { .. })), "{actions:?}");
    assert!(actions.contains(&shown("rec", Light::Inactive)));
}

#[test]
fn only_what_changed_of_somebody_is_told() {
    let mut desk = Desk::inside(&join(recording("starting"), json!([somebody("p", "Bob")])));
    let bob = || somebody("p", "Bob");
    assert_eq!(desk.hear("control", message("update", bob(), json!({}))), []);
    let consent = |given| Action::Tell(ConferenceEvent::Consent { participant: id("p"), given, by: "control update" });
    for given in [true, false, true] {
        let update = message("update", bob(), json!({"recording": {"consents_recording": given}}));
        assert_eq!(desk.hear("control", update.clone()), [consent(given)]);
        assert_eq!(desk.hear("control", update), []);
    }
    // An update that says nothing of consent says that there is none.
    assert_eq!(desk.hear("control", message("update", bob(), json!({}))), [consent(false)]);
    let renamed = Action::Tell(ConferenceEvent::Joined { participant: id("p"), name: Pii::new("Robert") });
    assert_eq!(desk.hear("control", message("update", somebody("p", "Robert"), json!({}))), [renamed]);
    let mut raised = somebody("p", "Robert");
    raised["control"]["hand_is_up"] = true.into();
    raised["control"]["role"] = "moderator".into();
    let facts = Facts { role: Role::Moderator, hand: Hand::Raised { unix_ms: None }, ..Facts::default() };
    let told = Action::Tell(ConferenceEvent::Facts { participant: id("p"), facts });
    assert_eq!(desk.hear("control", message("update", raised, json!({}))), [told]);
}

#[test]
fn whoever_comes_back_has_not_agreed() {
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    let consenting = message("joined", somebody("p", "Bob"), json!({"recording": {"consents_recording": true}}));
    let actions = desk.hear("control", consenting);
    let consent = |given| Action::Tell(ConferenceEvent::Consent { participant: id("p"), given, by: "control joined" });
    assert!(actions.contains(&consent(true)));
    let left = Action::Tell(ConferenceEvent::Left { participant: id("p") });
    assert_eq!(desk.hear("control", json!({"message": "left", "id": "p", "reason": "quit"})), [left]);
    assert_eq!(desk.hear("control", json!({"message": "left", "id": "p"})), []);
    let actions = desk.hear("control", message("joined", somebody("p", "Bob"), json!({})));
    assert!(actions.contains(&consent(false)), "{actions:?}");
}

#[test]
fn other_recorders_are_nobody() {
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    let mut recorder = somebody("r", "recorder");
    recorder["control"]["participation_kind"] = "recorder".into();
    assert_eq!(desk.hear("control", message("joined", recorder, json!({}))), []);
    assert_eq!(desk.hear("control", message("joined", somebody("us", "us"), json!({}))), []);
}

#[test]
fn moderators_wishes_are_passed_on() {
    let streams = json!({
        "rec": {"stream_kind": "recording", "status": {"status": "starting"}},
        "live": {"stream_kind": "streaming", "status": {"status": "inactive"}, "location": "rtmp://h/a b?x=1#y"},
    });
    let mut desk = Desk::inside(&join(streams, json!([])));
    let all = json!(["rec", "live"]);
    let live = Delivery::Live { location: Secret::new("rtmp://h/a b?x=1#y") };
    let started = desk.hear("recording_service", json!({"action": "start_streams", "target_ids": all}));
    assert_eq!(started, [wish("rec", TargetWish::Start(Delivery::Recording)), wish("live", TargetWish::Start(live))]);
    let paused = desk.hear("recording_service", json!({"action": "pause_streams", "target_ids": ["rec"]}));
    assert_eq!(paused, [wish("rec", TargetWish::Pause)]);
    let stopped = desk.hear("recording_service", json!({"action": "stop_streams", "target_ids": all}));
    assert_eq!(stopped, [wish("rec", TargetWish::Stop), wish("live", TargetWish::Stop)]);
    // Empty, unknown, and none of ours.
    for ids in [json!([]), json!(["nobody"]), json!([4]), Value::Null] {
        for action in ["start_streams", "pause_streams", "stop_streams"] {
            assert_eq!(desk.hear("recording_service", json!({"action": action, "target_ids": ids})), []);
        }
    }
}

#[test]
fn what_cannot_be_delivered_is_answered_with_an_error() {
    let streams = json!({
        "sky": {"stream_kind": "skywriting", "status": {"status": "starting"}, "location": "x"},
        "lost": {"stream_kind": "streaming", "status": {"status": "inactive"}},
    });
    let mut desk = Desk::new();
    desk.connect();
    let error = |target: &str, code: &str, message: &str| {
        let reason = json!({"code": code, "message": message});
        json!({"namespace": "recording_service", "payload":
            {"message": "stream_updated", "target_id": target, "status": "error", "reason": reason}})
    };
    let says: Vec<Value> = desk
        .hear("control", join(streams, json!([])))
        .into_iter()
        .filter_map(|action| if let Action::Say(text) = action { serde_json::from_str(&text).ok() } else { None })
        .collect();
    assert_eq!(says, [error("sky", "unsupported", "This kind of target is not supported.")]);
    desk.hear("recording", json!({"message": "stream_updated", "target_id": "sky", "status": "error"}));
    desk.signaling.heard(
        &json!({"namespace": "recording_service", "payload": {"action": "start_streams", "target_ids": ["lost"]}}).to_string(),
        desk.now,
    );
    assert_eq!(desk.said(), [error("lost", "no_location", "The live destination has no address.")]);
    let stop = json!({"namespace": "recording_service", "payload": {"action": "stop_streams", "target_ids": ["sky"]}});
    desk.signaling.heard(&stop.to_string(), desk.now);
    assert_eq!(desk.said()[0]["payload"], json!({"message": "stream_updated", "target_id": "sky", "status": "inactive"}));
}

#[test]
fn what_everybody_is_shown_is_told() {
    let mut desk = Desk::inside(&join(recording("starting"), json!([])));
    for (word, light) in
        [("active", Light::Active), ("paused", Light::Paused), ("inactive", Light::Inactive), ("error", Light::Error)]
    {
        let update = json!({"message": "stream_updated", "target_id": "rec", "status": word});
        assert_eq!(desk.hear("recording", update), [shown("rec", light)]);
    }
    for (target, word) in [("rec", "dreaming"), ("nobody", "active")] {
        assert_eq!(desk.hear("recording", json!({"message": "stream_updated", "target_id": target, "status": word})), []);
    }
}

#[test]
fn a_session_that_begins_goes_on_where_a_recorder_before_it_was() {
    for (status, wanted) in
        [("active", Some(TargetWish::Start(Delivery::Recording))), ("paused", Some(TargetWish::Pause)), ("error", None)]
    {
        let mut desk = Desk::new();
        desk.connect();
        let actions = desk.hear("control", join(recording(status), json!([])));
        let wishes: Vec<_> = actions.iter().filter(|a| matches!(a, Action::Tell(ConferenceEvent::Wish { .. }))).collect();
        assert_eq!(wishes, wanted.map(|wanted| wish("rec", wanted)).iter().collect::<Vec<_>>(), "{status}");
    }
}

#[test]
fn a_session_that_goes_on_does_not_take_its_old_word_for_a_wish() {
    for (status, wanted) in [
        ("active", None),
        ("inactive", None),
        ("paused", Some(TargetWish::Pause)),
        ("starting", Some(TargetWish::Start(Delivery::Recording))),
    ] {
        let mut desk = Desk::of(Some(FormerWorker { recording: None, wanted: Vec::new() }));
        desk.connect();
        let actions = desk.hear("control", join(recording(status), json!([])));
        let wishes: Vec<_> = actions.iter().filter(|a| matches!(a, Action::Tell(ConferenceEvent::Wish { .. }))).collect();
        assert_eq!(wishes, wanted.map(|wanted| wish("rec", wanted)).iter().collect::<Vec<_>>(), "{status}");
    }
}

#[test]
fn the_recording_keeps_its_name_when_the_controller_gives_it_another() {
    let mut desk = Desk::inside(&join(recording("starting"), json!([])));
    desk.signaling.broken(Broken::Cut, desk.now);
    desk.drain();
    assert_eq!(desk.wait(Duration::ZERO), [Action::Connect]);
    desk.connect();
    let renamed = json!({"new": {"stream_kind": "recording", "status": {"status": "inactive"}}});
    let actions = desk.hear("control", join(renamed, json!([])));
    assert!(actions.contains(&shown("rec", Light::Inactive)), "{actions:?}");
    desk.signaling.report(&target("rec"), &Standing::Active);
    assert_eq!(desk.said()[0]["payload"], json!({"message": "stream_updated", "target_id": "new", "status": "active"}));
    let paused = desk.hear("recording_service", json!({"action": "pause_streams", "target_ids": ["new"]}));
    assert_eq!(paused, [wish("rec", TargetWish::Pause)]);
}

#[test]
fn a_worker_in_place_of_another_knows_what_the_recording_was_called() {
    let mut desk = Desk::of(Some(FormerWorker { recording: Some(target("first")), wanted: Vec::new() }));
    desk.connect();
    assert!(desk.hear("control", join(recording("inactive"), json!([]))).contains(&shown("first", Light::Inactive)));
}

/// What a supervisor that was killed has left: names, and nothing that could be streamed to.
#[test]
fn what_ran_before_and_is_known_by_its_name_is_wanted_as_it_was_once() {
    let stream = |status: &str| json!({"stream_kind": "livestream", "location": "rtmp://a/b", "status": {"status": status}});
    let streams = json!({"s1": stream("inactive"), "s2": stream("inactive"), "s3": stream("inactive")});
    let former = |name: &str, paused| FormerTarget { target: target(name), paused };
    let wanted = vec![former("s1", false), former("s3", true), former("deleted", false)];
    let mut desk = Desk::of(Some(FormerWorker { recording: None, wanted }));
    desk.connect();
    let actions = desk.hear("control", join(streams.clone(), json!([])));
    let wishes: Vec<_> = actions.into_iter().filter(|a| matches!(a, Action::Tell(ConferenceEvent::Wish { .. }))).collect();
    let start = |name: &str| wish(name, TargetWish::Start(Delivery::Live { location: Secret::new("rtmp://a/b") }));
    assert_eq!(wishes, [start("s1"), start("s3"), wish("s3", TargetWish::Pause)]);
    // After a loss the Session knows what it runs.
    desk.signaling.broken(Broken::Cut, desk.now);
    desk.drain();
    desk.wait(Duration::ZERO);
    desk.connect();
    let actions = desk.hear("control", join(streams, json!([])));
    assert!(!actions.iter().any(|action| matches!(action, Action::Tell(ConferenceEvent::Wish { .. }))), "{actions:?}");
}

#[test]
fn nothing_is_said_before_the_join_and_nothing_after_the_end() {
    let mut desk = Desk::new();
    desk.signaling.report(&target("rec"), &Standing::Active);
    assert_eq!(desk.drain(), []);
    desk.connect();
    assert_eq!(desk.hear("recording_service", json!({"action": "start_streams", "target_ids": ["rec"]})), []);
    desk.hear("control", join(recording("starting"), json!([])));
    desk.signaling.leave();
    assert_eq!(desk.drain(), [Action::End(EndReason::Left)]);
    desk.signaling.report(&target("rec"), &Standing::Active);
    desk.signaling.broken(Broken::Cut, desk.now);
    desk.signaling.leave();
    desk.signaling.woken(desk.now + Duration::from_secs(3600));
    assert_eq!(desk.hear("moderation", json!({"message": "kicked"})), []);
    assert_eq!(desk.signaling.poll_wake(), None);
}

#[test]
fn every_farewell_ends_it() {
    for (namespace, message, reason) in [
        ("moderation", "kicked", EndReason::Removed),
        ("moderation", "banned", EndReason::Removed),
        ("moderation", "sent_to_waiting_room", EndReason::Removed),
        ("moderation", "session_ended", EndReason::RoomClosed),
        ("control", "room_deleted", EndReason::RoomClosed),
        ("control", "time_limit_quota_elapsed", EndReason::RoomClosed),
    ] {
        let mut desk = Desk::inside(&join(recording("starting"), json!([])));
        let farewell = json!({"message": message, "issued_by": "p"});
        assert_eq!(desk.hear(namespace, farewell.clone()), [Action::End(reason.clone())]);
        // Also on the way in.
        let mut desk = Desk::new();
        desk.connect();
        assert_eq!(desk.hear(namespace, farewell), [Action::End(reason)]);
    }
}

#[test]
fn a_normal_closure_is_meant_and_any_other_end_is_a_loss() {
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    desk.signaling.broken(Broken::Closed(Some(1000)), desk.now);
    assert_eq!(desk.drain(), [Action::End(EndReason::Removed)]);
    // 1002 is what the library makes of 1006, which must not be in a frame, and is.
    for how in
        [Broken::Closed(Some(1001)), Broken::Closed(Some(1002)), Broken::Closed(Some(1011)), Broken::Closed(None), Broken::Cut]
    {
        let mut desk = Desk::inside(&join(json!({}), json!([])));
        desk.signaling.broken(how, desk.now);
        let actions = desk.drain();
        assert!(lost(&actions) && actions.len() == 1, "{how:?}: {actions:?}");
        assert_eq!(desk.wait(Duration::ZERO), [Action::Connect]);
    }
    let mut desk = Desk::new();
    desk.connect();
    desk.signaling.broken(Broken::Closed(Some(1000)), desk.now);
    assert!(lost(&desk.drain()), "nobody was let in yet");
}

#[test]
fn silence_for_35_seconds_is_death() {
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    desk.pass(Duration::from_secs(15));
    desk.signaling.beat(desk.now);
    desk.pass(Duration::from_secs(30));
    desk.signaling.woken(desk.now);
    assert_eq!(desk.drain(), []);
    let actions = desk.wait(Duration::from_secs(5));
    assert_eq!(actions[0], Action::HangUp);
    assert!(lost(&actions));
}

#[test]
fn rooms_that_cannot_be_recorded_are_left_without_media() {
    let mut secret = join(json!({}), json!([somebody("p", "Ada")]));
    secret["event_info"]["e2e_encryption"] = true.into();
    let mut breakout = join(json!({}), json!([]));
    breakout["breakout"] = json!({"current": "35e4734b-3c3a-464c-8bd7-50fb4aacca66", "rooms": []});
    let mut nothing = join(json!({}), json!([]));
    nothing.as_object_mut().unwrap().remove("livekit");
    for (room, sentence) in [
        (secret, "The room is encrypted from end to end, and cannot be recorded."),
        (breakout, "Breakout rooms cannot be recorded."),
        (nothing, "The OpenTalk room has no LiveKit server."),
    ] {
        let mut desk = Desk::new();
        desk.connect();
        let actions = desk.hear("control", room);
        let [Action::End(EndReason::Refused(fault))] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((fault.sentence.as_str(), fault.retry), (sentence, Retry::Never));
    }
    // The main room, while others are in breakout rooms.
    let mut main = join(json!({}), json!([]));
    main["breakout"] = json!({"current": null, "rooms": []});
    assert!(Desk::inside(&main).signaling.has_been_inside());
}

#[test]
fn movers_to_breakout_rooms_have_left() {
    let mut desk = Desk::inside(&join(recording("active"), json!([somebody("p", "Bob")])));
    let rooms = json!([{"id": "b", "name": "Group 1"}]);
    assert_eq!(desk.hear("breakout", json!({"message": "started", "rooms": rooms, "assignment": null})), []);
    let left = Action::Tell(ConferenceEvent::Left { participant: id("p") });
    assert_eq!(desk.hear("control", json!({"message": "left", "id": "p", "reason": "quit"})), [left]);
    let moved =
        json!({"message": "joined", "breakout_room": "b", "id": "p", "display_name": "Bob", "participation_kind": "guest"});
    assert_eq!(desk.hear("breakout", moved), []);
    for message in ["left", "stopped", "expired"] {
        assert_eq!(desk.hear("breakout", json!({"message": message, "id": "p"})), []);
    }
}

#[test]
fn a_full_room_is_refused_at_first_and_waited_for_later() {
    let full = json!({"message": "join_blocked", "reason": "participant_limit_reached"});
    let mut desk = Desk::new();
    desk.connect();
    let actions = desk.hear("control", full.clone());
    assert!(matches!(&actions[..], [Action::End(EndReason::Refused(_))]), "{actions:?}");
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    desk.signaling.broken(Broken::Cut, desk.now);
    desk.drain();
    desk.wait(Duration::ZERO);
    desk.connect();
    assert_eq!(desk.hear("control", full), [Action::HangUp]);
    assert_eq!(desk.wait(FULL_PAUSE), [Action::Connect]);
}

#[test]
fn a_door_that_stays_shut_is_a_loss_and_a_wrong_name_an_end() {
    let mut desk = Desk::new();
    desk.connect();
    let actions = desk.wait(JOIN_LIMIT);
    assert!(actions[0] == Action::HangUp && lost(&actions), "{actions:?}");
    for (namespace, payload) in [
        ("control", json!({"message": "error", "error": "invalid_username"})),
        ("moderation", json!({"message": "in_waiting_room"})),
    ] {
        let mut desk = Desk::new();
        desk.connect();
        let actions = desk.hear(namespace, payload);
        assert!(matches!(&actions[..], [Action::End(EndReason::Refused(fault))] if fault.retry == Retry::Never), "{actions:?}");
    }
    let mut desk = Desk::new();
    desk.connect();
    assert_eq!(desk.hear("control", json!({"message": "error", "error": "invalid_json"})), []);
}

#[test]
fn garbage_is_passed_over() {
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    let large = format!(
        "{{\"namespace\":\"chat\",\"payload\":{{\"message\":\"message_sent\",\"content\":\"{}\"}}}}",
        "x".repeat(1 << 20)
    );
    for text in ["", "{not json", "{\"namespace\":\"control\"}", "null", &large] {
        desk.signaling.heard(text, desk.now);
        assert_eq!(desk.drain(), []);
    }
    assert_eq!(desk.signaling.unreadable, 4);
}

#[test]
fn first_attempts_end_when_nobody_waits_any_more() {
    // Tickets are refused: five attempts.
    let mut desk = Desk::new();
    for _ in 1..FIRST_FAILURES {
        desk.signaling.refused(&Refusal::Ticket, desk.now);
        desk.drain();
        let at = desk.signaling.poll_wake().unwrap();
        assert_eq!(desk.wait(at - desk.now), [Action::Connect]);
    }
    desk.signaling.refused(&Refusal::Ticket, desk.now);
    assert!(matches!(&desk.drain()[..], [Action::End(EndReason::Refused(_))]));
    // Whoever gives tickets says that it is for ever.
    let never = Fault { retry: Retry::Never, ..Refusal::Busy.fault() };
    let mut desk = Desk::new();
    desk.signaling.refused(&Refusal::Source(never.clone()), desk.now);
    assert_eq!(desk.drain(), [Action::End(EndReason::Refused(never.clone()))]);
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    desk.signaling.broken(Broken::Cut, desk.now);
    desk.drain();
    desk.wait(Duration::ZERO);
    desk.signaling.refused(&Refusal::Source(never.clone()), desk.now);
    assert_eq!(desk.drain(), [Action::End(EndReason::Refused(never))]);
}

#[test]
fn a_controller_that_is_away_is_waited_for() {
    let all = [
        Refusal::Busy,
        Refusal::Unreachable,
        Refusal::TooSlow,
        Refusal::Ticket,
        Refusal::NotHere,
        Refusal::Protocol,
        Refusal::NotSecure,
    ];
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    desk.signaling.broken(Broken::Cut, desk.now);
    assert!(lost(&desk.drain()));
    desk.wait(Duration::ZERO);
    for refusal in all.iter().cycle().take(200) {
        desk.signaling.refused(refusal, desk.now);
        assert_eq!(desk.drain(), [], "the loss was told");
        let at = desk.signaling.poll_wake().unwrap();
        assert!(at - desk.now <= Duration::from_secs(12));
        assert_eq!(desk.wait(at - desk.now), [Action::Connect]);
    }
    desk.connect();
    let actions = desk.hear("control", join(json!({}), json!([])));
    assert!(matches!(actions[0], Action::Tell(ConferenceEvent::Entered { .. })));
    // At the first attempt, what will not change is final.
    for refusal in [Refusal::NotHere, Refusal::Protocol, Refusal::NotSecure] {
        let mut desk = Desk::new();
        desk.signaling.refused(&refusal, desk.now);
        assert!(matches!(&desk.drain()[..], [Action::End(EndReason::Refused(_))]), "{refusal:?}");
    }
}

#[test]
fn a_room_that_throws_us_out_at_once_is_not_hammered() {
    let mut desk = Desk::inside(&join(json!({}), json!([])));
    let mut waits = Vec::new();
    for _ in 0..5 {
        desk.signaling.broken(Broken::Closed(Some(1011)), desk.now);
        desk.drain();
        let at = desk.signaling.poll_wake().unwrap();
        waits.push((at - desk.now).as_millis());
        desk.wait(at - desk.now);
        desk.connect();
        desk.hear("control", join(json!({}), json!([])));
    }
    assert_eq!(waits, [0, 300, 600, 1000, 1700]);
    desk.pass(Duration::from_secs(10));
    desk.signaling.broken(Broken::Cut, desk.now);
    desk.drain();
    assert_eq!(desk.wait(Duration::ZERO), [Action::Connect], "that was another loss");
}
