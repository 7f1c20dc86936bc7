//! Real messages, odd ones, and any at all.

use proptest::prelude::*;

use super::*;

const RECORDED: [&str; 9] = [
    include_str!("../../../tests/recorded/opentalk-b/01-lifecycle.jsonl"),
    include_str!("../../../tests/recorded/opentalk-b/02-deadline.jsonl"),
    include_str!("../../../tests/recorded/opentalk-b/03-bad-inputs.jsonl"),
    include_str!("../../../tests/recorded/opentalk-b/04-streaming.jsonl"),
    include_str!("../../../tests/recorded/opentalk-b/05-endings.jsonl"),
    include_str!("../../../tests/recorded/opentalk-b/07-breakout.jsonl"),
    include_str!("../../../tests/recorded/opentalk-b/08-livekit.jsonl"),
    include_str!("../../../tests/recorded/opentalk-b/10-operations.jsonl"),
    include_str!("../../../tests/recorded/opentalk-b/13-misc.jsonl"),
];

/// Everything that a real controller said, to whomever.
fn recorded() -> Vec<Value> {
    let lines = RECORDED.iter().flat_map(|file| file.lines()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["dir"] == "in").map(|line| line["msg"].clone()).filter(|msg| msg["namespace"].is_string()).collect()
}

#[test]
fn every_recorded_message_is_read() {
    let messages = recorded();
    let (mut joins, mut people) = (0, 0);
    for message in &messages {
        match read(&message.to_string()).unwrap() {
            Heard::Joined(arrival) => {
                joins += 1;
                assert!(arrival.credentials.is_some(), "{message}");
                let listed = message["payload"]["participants"].as_array().unwrap().len();
                assert_eq!(arrival.people.len(), listed);
            }
            Heard::Person(_) => people += 1,
            _ => {}
        }
    }
    assert!(messages.len() > 250 && joins > 30 && people > 20, "{} {joins} {people}", messages.len());
}

fn payload(namespace: &str, payload: Value) -> Result<Heard, Unreadable> {
    read(&json!({"namespace": namespace, "timestamp": "2026-11-21T06:15:44Z", "payload": payload}).to_string())
}

fn person(control: Value, more: Value) -> Person {
    let mut participant = json!({"message": "joined", "id": "p", "control": control});
    if let (Some(fields), Some(over)) = (participant.as_object_mut(), more.as_object()) {
        fields.extend(over.clone());
    }
    match payload("control", participant) {
        Ok(Heard::Person(person)) => person,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_person_is_read_whole() {
    let control = json!({"display_name": "Ada", "role": "moderator", "participation_kind": "user", "left_at": null,
        "avatar_url": "https://e.org/a.png", "hand_is_up": true, "hand_updated_at": "2026-11-21T06:15:52.083166998Z"});
    let ada = person(control, json!({"recording": {"consents_recording": true}, "chat": {"groups": []}}));
    assert_eq!((ada.name.expose(), ada.consents, ada.is_here), ("Ada", true, true));
    let hand = Hand::Raised { unix_ms: Some(1_795_241_752_083) };
    let avatar = Some(Pii::new("https://e.org/a.png"));
    assert_eq!(ada.facts, Facts { role: Role::Moderator, hand, avatar, call_in: false });
}

#[test]
fn who_did_not_answer_yet_does_not_agree() {
    let kind = json!({"participation_kind": "guest", "role": "guest", "display_name": "Bob"});
    for recording in
        [json!({}), json!({"recording": null}), json!({"recording": {}}), json!({"recording": {"consents_recording": "yes"}})]
    {
        assert!(!person(kind.clone(), recording.clone()).consents, "{recording}");
    }
}

#[test]
fn services_and_those_who_left_are_not_here() {
    for (control, is_here) in [
        (json!({"participation_kind": "recorder"}), false),
        (json!({"participation_kind": "transcription"}), false),
        (json!({"participation_kind": "sip"}), true),
        (json!({"participation_kind": "hologram"}), true),
        (json!({"left_at": "2026-11-21T06:11:42.324171929Z"}), false),
        (json!({"left_at": null}), true),
    ] {
        assert_eq!(person(control.clone(), json!({})).is_here, is_here, "{control}");
    }
    assert!(person(json!({"participation_kind": "sip"}), json!({})).facts.call_in);
}

#[test]
fn a_field_of_another_type_counts_as_absent() {
    let odd =
        person(json!({"display_name": 7, "role": [], "hand_is_up": "up", "avatar_url": {}, "hand_updated_at": 3}), json!({}));
    assert_eq!((odd.name.expose(), odd.facts), ("", Facts::default()));
    let join = json!({"message": "join_success", "id": "us", "livekit": 3, "participants": [4, {"id": 5}, {"id": "p", "control": {}}],
        "recording_service": {"streams": {"a": 1, "b": {"stream_kind": "recording", "status": "starting"}}}, "event_info": [],
        "breakout": "no"});
    let Ok(Heard::Joined(arrival)) = payload("control", join) else { panic!() };
    assert_eq!((arrival.people.len(), arrival.credentials, arrival.hindrance, arrival.title), (1, None, None, None));
    let expected = Stream { delivery: Ok(Delivery::Recording), light: None };
    assert_eq!(arrival.streams, BTreeMap::from([("b".to_owned(), expected)]));
}

#[test]
fn a_message_without_its_subject_is_not_one() {
    for (namespace, message) in [
        ("control", json!({"message": "joined", "control": {}})),
        ("control", json!({"message": "joined", "id": "p"})),
        ("control", json!({"message": "left"})),
        ("control", json!({"message": "join_success"})),
        ("recording", json!({"message": "stream_updated", "status": "active"})),
        ("livekit", json!({"message": "credentials", "public_url": "ws://e.org"})),
    ] {
        assert_eq!(payload(namespace, message.clone()), Err(Unreadable), "{message}");
    }
    for text in ["", "{", "[]", "{\"namespace\":3,\"payload\":{}}", &"[".repeat(5000)] {
        assert_eq!(read(text), Err(Unreadable), "{text}");
    }
    for (namespace, message) in
        [("hologram", json!({"message": "joined"})), ("control", json!({"message": "danced"})), ("chat", json!(3))]
    {
        assert_eq!(payload(namespace, message), Ok(Heard::Nothing));
    }
}

#[test]
fn every_kind_of_target_is_told_apart_and_its_address_is_kept_as_it_is() {
    let delivery = |stream: Value| Stream::from(serde_json::from_value::<StreamState>(stream).unwrap()).delivery;
    for location in ["rtmp://h/live/key?auth=1&x=2#frag", "abcd:efgh", "rtmp://h/a\" b'ü", "https://whip.example.org/in/x"] {
        let live = Ok(Delivery::Live { location: Secret::new(location) });
        for kind in ["streaming", "rtmp"] {
            assert_eq!(delivery(json!({"stream_kind": kind, "location": location})), live);
        }
    }
    assert_eq!(delivery(json!({"stream_kind": "recording", "location": "ignored"})), Ok(Delivery::Recording));
    assert_eq!(delivery(json!({"stream_kind": "streaming"})), Err(Unfit::Address));
    assert_eq!(delivery(json!({"stream_kind": "streaming", "location": ""})), Err(Unfit::Address));
    assert_eq!(delivery(json!({"stream_kind": "skywriting", "location": "x"})), Err(Unfit::Kind));
    assert_eq!(delivery(json!({})), Err(Unfit::Kind));
}

#[test]
fn the_way_past_the_proxy_is_preferred() {
    let read = |service: Value| {
        let message = json!({"message": "credentials", "token": "t", "public_url": "wss://public", "service_url": service});
        match payload("livekit", message) {
            Ok(Heard::Credentials(credentials)) => credentials.url,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(json!("ws://inner:7880")), "ws://inner:7880");
    assert_eq!(read(Value::Null), "wss://public");
    assert_eq!(read(json!("")), "wss://public");
}

#[test]
fn what_we_say_is_what_a_real_controller_took() {
    assert_eq!(join("rec"), r#"{"namespace":"control","payload":{"action":"join","display_name":"rec"}}"#);
    assert_eq!(ask_for_credentials(), r#"{"namespace":"livekit","payload":{"action":"create_new_access_token"}}"#);
    for (standing, word) in [
        (Standing::Inactive, "inactive"),
        (Standing::Starting, "starting"),
        (Standing::Active, "active"),
        (Standing::Paused, "paused"),
    ] {
        let said: Value = serde_json::from_str(&report("t", &standing)).unwrap();
        let expected = json!({"message": "stream_updated", "target_id": "t", "status": word});
        assert_eq!(said, json!({"namespace": "recording_service", "payload": expected}));
    }
    let failed = Standing::Error { code: "start_livestream", message: "x".repeat(100_000) };
    let said = report("t", &failed);
    assert!(said.len() < LARGEST_FRAME);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["payload"]["status"], "error");
    assert_eq!(said["payload"]["reason"]["code"], "start_livestream");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_]{1,12}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Puts `new` in the place of the n-th value of a tree.
fn mutate(value: &mut Value, n: &mut usize, new: &Value) {
    if *n == 0 {
        *value = new.clone();
    }
    *n = n.wrapping_sub(1);
    match value {
        Value::Array(entries) => entries.iter_mut().for_each(|entry| mutate(entry, n, new)),
        Value::Object(fields) => fields.values_mut().for_each(|entry| mutate(entry, n, new)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        _ = read(&text);
    }

    #[test]
    fn any_json_is_read_or_refused(json in any_json(), namespace in "(control|moderation|recording|recording_service|livekit)",
        message in "(join_success|joined|update|left|stream_updated|credentials|start_streams|error)") {
        let mut payload = json;
        if let Some(fields) = payload.as_object_mut() {
            fields.insert("message".into(), message.into());
        }
        _ = read(&json!({"namespace": namespace, "payload": payload}).to_string());
    }

    #[test]
    fn a_real_message_with_one_odd_value_loses_no_more_than_that(which in any::<prop::sample::Index>(), place in 0_usize..400, odd in any_json()) {
        let messages = recorded();
        let mut message = messages[which.index(messages.len())].clone();
        mutate(&mut message["payload"], &mut place.clone(), &odd);
        _ = read(&message.to_string());
    }

    #[test]
    fn a_message_that_is_cut_off_is_refused(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        let messages = recorded();
        let text = messages[which.index(messages.len())].to_string();
        let end = (0..text.len()).filter(|i| text.is_char_boundary(*i)).nth(at.index(text.chars().count())).unwrap_or_default();
        prop_assert_eq!(read(&text[..end]), Err(Unreadable));
    }
}
