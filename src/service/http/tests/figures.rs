//! What operators are shown of Sessions and deliveries: status and metrics.

use recorder_core::controller_upload::{State as FilmState, Status as FilmStatus};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::TargetId;
use recorder_core::live::{LiveState, Reason};
use recorder_core::time::SessionTime;
use recorder_core::upload;

use super::*;
use crate::service::job::Status;
use crate::service::order::{LiveStand, RecordingSnapshot, SessionState};
use crate::storage::controller_upload::FilmStand;
use crate::storage::recording_uploads::{UploadOf, Uploads};
use crate::target::rtmp::LiveFigures;

/// A Session with one Target of each kind, each in trouble.
fn busy() -> Snapshot {
    let trouble = |sentence: &str| Fault {
        scope: Scope::Target,
        blame: Blame::Destination,
        retry: Retry::After(Duration::from_millis(1500)),
        sentence: sentence.into(),
    };
    let at = SessionTime::from_millis(90_000);
    let state = LiveState::Retrying { attempt: 3, at, reason: Reason::ConnectionRefused };
    let figures = LiveFigures { confirmed_bytes: 4000, left_out: 7, ..LiveFigures::default() };
    let fault = state.fault(SessionTime::from_millis(88_500));
    let live = LiveStand { state: Some(state), figures, fault, retries: 2, ..LiveStand::new(TargetId::new("youtube")) };
    let status = upload::Status {
        state: upload::State::Retrying(trouble("The storage does not answer.")),
        key: "standup.mp4".into(),
        sent: 600,
        known: 1000,
    };
    let upload = UploadOf { file: "recording.mp4".into(), storage: "s3".into(), bucket: "team".into(), status };
    Snapshot {
        state: SessionState::Live,
        layout: "speaker".into(),
        elapsed: Duration::from_millis(65_500),
        status: Status {
            people: 4,
            tiles: 3,
            pictures: 1965,
            repeated: 5,
            fps: 29.5,
            encoder_lag: Duration::from_millis(40),
            dropped: 6,
            encoded_bytes: 9000,
            ..Status::default()
        },
        bytes: 1000,
        recording: true,
        recordings: vec![RecordingSnapshot {
            id: TargetId::new("recording"),
            began: true,
            recorded: Duration::from_secs(9),
            bytes: 1000,
        }],
        recorded: Duration::from_secs(64),
        lives: vec![live],
        uploads: Uploads { each: vec![upload], fault: None, over: false },
        fault: Some(trouble("The machine is too slow.")),
        workers: 2,
        cpu: Duration::from_millis(20_250),
        memory_bytes: 5000,
    }
}

#[tokio::test]
async fn status_shows_every_session_and_target_with_its_last_fault() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let entry = board.session(SessionId::new("s"), grid());
    entry.update(&busy());
    let (code, status) = ours(&server, "GET", "/status", "").await;
    assert_eq!((code, status["version"].as_str()), (200, Some(env!("CARGO_PKG_VERSION"))));
    let fault = |blame: &str, after: Value, sentence: &str| json!({ "scope": "target", "blame": blame, "retry_after_s": after, "sentence": sentence });
    let refused = fault("destination", json!(1.5), "The server refuses the connection.");
    let silent = fault("destination", json!(1.5), "The storage does not answer.");
    let target = |id: &str, kind: &str, state: &str, bytes: u64| json!({ "id": id, "kind": kind, "state": state, "bytes": bytes, "bytes_wanted": null, "left_out": null, "retries": null, "fault": null });
    let mut uploaded = target("s3://team/standup.mp4", "upload", "retrying", 600);
    (uploaded["bytes_wanted"], uploaded["fault"]) = (json!(1000), silent);
    let mut streamed = target("youtube", "live", "retrying", 4000);
    (streamed["left_out"], streamed["retries"], streamed["fault"]) = (json!(7), json!(2), refused);
    let targets = json!([target("recording", "recording", "recording", 1000), uploaded, streamed]);
    let expected = json!({
        "id": "s", "state": "live", "layout": "speaker", "elapsed_s": 65.5, "recorded_s": 64.0, "people": 4, "tiles": 3,
        "pictures": 1965, "repeated": 5, "fps": 29.5, "encoder_lag_ms": 40, "dropped": 6, "workers": 2, "cpu_s": 20.25,
        "memory_bytes": 5000, "reason": null, "targets": targets,
        "fault": fault("destination", json!(1.5), "The machine is too slow."),
    });
    assert_eq!(status["sessions"], json!([expected]));
    assert_eq!(status["over"], json!([]));
    drop(entry);
    let (_, status) = ours(&server, "GET", "/status", "").await;
    assert_eq!((&status["sessions"], &status["over"][0]["state"]), (&json!([]), &json!("over")));
}

/// Read by a parser of the format, not by this code's own idea of it.
#[tokio::test]
async fn metrics_are_read_by_a_real_parser_and_have_the_right_values() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let mut past = board.session(SessionId::new("past"), grid());
    past.ended(&Outcome { last: busy(), ..Outcome::default() });
    drop(past);
    let entry = board.session(SessionId::new("a \"quoted\" name"), grid());
    entry.update(&busy());
    let (code, text) = ours(&server, "GET", "/metrics", "").await;
    let text = text.as_str().expect("text").to_owned();
    assert_eq!(code, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let parsed = prometheus_parse::Scrape::parse(lines).unwrap();
    let value = |name: &str, labels: &[(&str, &str)]| {
        let found = parsed.samples.iter().filter(|sample| {
            sample.metric == name && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(*value))
        });
        let [sample] = found.collect::<Vec<_>>()[..] else { panic!("one {name} {labels:?} in:\n{text}") };
        match sample.value {
            prometheus_parse::Value::Counter(value)
            | prometheus_parse::Value::Gauge(value)
            | prometheus_parse::Value::Untyped(value) => value,
            _ => panic!("{name} is no number"),
        }
    };
    for (name, expected) in [
        ("roomcast_ready", 1.0),
        ("roomcast_capacity_sessions", 3.0),
        ("roomcast_sessions_ended_total", 1.0),
        ("roomcast_sessions_failed_total", 0.0),
        ("roomcast_workers_replaced_total", 2.0),
        ("roomcast_pictures_total", 2.0 * 1965.0),
        ("roomcast_pictures_repeated_total", 10.0),
        ("roomcast_frames_dropped_total", 12.0),
        ("roomcast_encoded_bytes_total", 18_000.0),
        ("roomcast_recorded_seconds_total", 128.0),
        ("roomcast_live_confirmed_bytes_total", 8000.0),
        ("roomcast_live_left_out_total", 14.0),
        ("roomcast_live_retries_total", 4.0),
        ("roomcast_upload_backlog_bytes", 400.0),
        ("roomcast_upload_sent_bytes", 600.0),
        ("roomcast_worker_cpu_seconds_total", 40.5),
        ("roomcast_session_people", 4.0),
        ("roomcast_session_tiles", 3.0),
        ("roomcast_session_pictures_per_second", 29.5),
        ("roomcast_session_encoder_lag_seconds", 0.04),
        ("roomcast_session_recorded_bytes", 1000.0),
        ("roomcast_session_cpu_seconds", 20.25),
        ("roomcast_session_memory_bytes", 5000.0),
    ] {
        assert_eq!(value(name, &[]), expected, "{name}");
    }
    assert!(value("roomcast_supervisor_cpu_seconds_total", &[]) > 0.0);
    assert_eq!(value("roomcast_build", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(
        (value("roomcast_sessions", &[("state", "live")]), value("roomcast_sessions", &[("state", "ending")])),
        (1.0, 0.0)
    );
    for (kind, state, count) in
        [("live", "retrying", 1.0), ("live", "live", 0.0), ("upload", "retrying", 1.0), ("recording", "recording", 1.0)]
    {
        assert_eq!(value("roomcast_targets", &[("kind", kind), ("state", state)]), count, "{kind} {state}");
    }
    // Each has its type and its meaning, and stands on the page about metrics.
    let page = metrics::reference();
    for sample in &parsed.samples {
        let family = sample.metric.strip_suffix("_total").unwrap_or(&sample.metric);
        assert!(text.contains(&format!("# HELP {family} ")) && text.contains(&format!("# TYPE {family} ")), "{family}");
        assert!(page.contains(&format!("| `{}` |", sample.metric)), "{}", sample.metric);
    }
}

#[test]
fn the_page_about_metrics_is_up_to_date() {
    let stored = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap_or_default();
    assert_eq!(stored, metrics::reference(), "docs/metrics.md is not what the source says; run: cargo run -- generate");
}

/// An alarm on a metric that does not exist never goes off.
#[test]
fn alarms_look_at_metrics_that_exist() {
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/prometheus-rules.yaml")).unwrap();
    let page = metrics::reference();
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("roomcast_"));
    let known = words.filter(|word| page.contains(&format!("| `{word}` |"))).count();
    let all = rules.matches("roomcast_").count();
    assert!(all > 5 && known == all, "{known} of {all} are known");
}

/// What becomes of a recording after its end does not depend on its Session being there.
#[tokio::test]
async fn deliveries_are_shown_beside_the_sessions() {
    let World { server, board, _folder } = world(Some(TOKEN)).await;
    let entry = board.delivery("s-2".into());
    let sentence = "The recording is not at the controller yet.".to_owned();
    let fault = Fault { scope: Scope::Target, blame: Blame::Conference, retry: Retry::After(LIMIT), sentence };
    for (state, word, is_fault) in [
        (FilmState::Sending, "uploading", false),
        (FilmState::Retrying(fault.clone()), "retrying", true),
        (FilmState::Delivered, "delivered", false),
    ] {
        let status = FilmStatus { state, sent: 300, len: 1000 };
        entry.update(|delivery| delivery.films = vec![FilmStand { name: "recording_x.mp4".into(), status }]);
        let bearer = format!("Bearer {TOKEN}");
        let (_, body) = ask(&server, "GET", "/status", Some(&bearer), "").await;
        let delivery = serde_json::from_str::<Value>(&body).unwrap()["deliveries"][0].clone();
        assert_eq!(
            (&delivery["recording"], &delivery["targets"][0]["id"]),
            (&json!("s-2"), &json!("controller: recording_x.mp4"))
        );
        let target = &delivery["targets"][0];
        assert_eq!((&target["state"], &target["bytes"], &target["bytes_wanted"]), (&json!(word), &json!(300), &json!(1000)));
        assert_eq!(target["fault"]["sentence"].is_string(), is_fault);
        let (_, metrics) = ask(&server, "GET", "/metrics", Some(&bearer), "").await;
        for sample in [format!("{{kind=\"controller\",state=\"{word}\"}} 1"), "roomcast_upload_backlog_bytes 700".into()] {
            assert!(metrics.contains(&sample), "{sample}:\n{metrics}");
        }
    }
    drop(entry);
    assert!(board.deliveries().is_empty());
}
