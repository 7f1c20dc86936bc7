//! What Prometheus is told: one table of metrics, and their values at the moment of the question.
//!
//! In: the [`Board`]. Out: OpenMetrics text; `docs/metrics.md` is made from the same table by `roomcast generate`. Counters are sums over all Sessions since
//! the start of the process, so they never fall when a Session is over; what belongs to one Session carries its name, and goes with it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use recorder_core::admission::{Machine, Shortage};

use super::status::{Health, SESSION_STATES, STATES, TargetStatus, places, session_word, targets};
use crate::service::board::{Board, Load, Posted, Totals};
use crate::service::usage::own_cpu;

/// What the text is (OpenMetrics 1.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Labels and a value.
type Sample = (Vec<(&'static str, String)>, f64);

/// One metric.
struct Metric {
    /// Counters are shown with `_total` behind it.
    name: &'static str,
    kind: MetricType,
    labels: &'static str,
    help: &'static str,
    samples: fn(&Seen) -> Vec<Sample>,
}

/// Everything that values are taken from, at one moment.
struct Seen {
    totals: Totals,
    health: Health,
    load: Option<Load>,
    running: Vec<Posted>,
    targets: Vec<TargetStatus>,
    own_cpu_s: f64,
}

impl Seen {
    fn on(board: &Board) -> Self {
        let running = board.running();
        let deliveries = board.deliveries();
        let targets = running.iter().flat_map(|posted| targets(&posted.snapshot));
        let targets = targets.chain(deliveries.iter().flat_map(places)).collect();
        let (totals, health) = (board.totals(), Health::of(board));
        Self { totals, health, load: board.load(), running, targets, own_cpu_s: own_cpu().as_secs_f64() }
    }
}

const fn counter(name: &'static str, help: &'static str, samples: fn(&Seen) -> Vec<Sample>) -> Metric {
    Metric { name, kind: MetricType::Counter, labels: "", help, samples }
}

const fn gauge(name: &'static str, labels: &'static str, help: &'static str, samples: fn(&Seen) -> Vec<Sample>) -> Metric {
    Metric { name, kind: MetricType::Gauge, labels, help, samples }
}

/// All metrics, in the order in which they are told.
const METRICS: [Metric; 34] = [
    gauge("roomcast_build", "version", "Always 1; the label says which version runs.", |_| {
        vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)]
    }),
    gauge("roomcast_ready", "", "1 when new Orders can be taken, if there is room; otherwise 0.", |seen| {
        one(f64::from(u8::from(seen.health.ready)))
    }),
    gauge("roomcast_capacity_sessions", "", "Sessions that may run at the same time.", |seen| {
        one(seen.health.capacity.most as f64)
    }),
    gauge("roomcast_too_little", "of", "1 when the machine has too little of this for another Session; otherwise 0.", too_little),
    gauge("roomcast_machine_cpus", "", "Processors that Roomcast may use.", |seen| load(seen, |machine| machine.cpus)),
    gauge("roomcast_machine_cpus_used", "", "Of these, in use, by whomever.", |seen| load(seen, |machine| machine.cpu_used)),
    gauge("roomcast_machine_memory_free_bytes", "", "Memory that Roomcast may still take.", |seen| {
        load(seen, |machine| machine.memory_free as f64)
    }),
    gauge("roomcast_spool_free_bytes", "", "What is free of the disk of the spool.", |seen| {
        load(seen, |machine| machine.disk_free as f64)
    }),
    gauge("roomcast_machine_files_free", "", "Descriptors that the process may still open.", |seen| {
        load(seen, |machine| machine.files_free as f64)
    }),
    counter("roomcast_orders_refused", "Orders that were refused, because there was no room for them.", |seen| {
        one(seen.totals.refused as f64)
    }),
    gauge("roomcast_sessions", "state", "Sessions that are not over, by state.", sessions),
    counter("roomcast_sessions_ended", "Sessions that are over and did not fail.", |seen| one(seen.totals.ended_well as f64)),
    counter("roomcast_sessions_failed", "Sessions that failed.", |seen| one(seen.totals.failed as f64)),
    counter("roomcast_workers_replaced", "Workers that took the place of one that died.", |seen| {
        one(seen.totals.workers_replaced as f64)
    }),
    gauge(
        "roomcast_targets",
        "kind, state",
        "Targets of Sessions and deliveries that are not over, by kind and state; also those of the last deliveries that came to nothing.",
        targets_by_state,
    ),
    counter("roomcast_pictures", "Programme pictures made.", |seen| one(seen.totals.pictures as f64)),
    counter("roomcast_pictures_repeated", "Of these, repeated because the machine was too slow.", |seen| {
        one(seen.totals.repeated as f64)
    }),
    counter("roomcast_frames_dropped", "Received frames that were dropped before decoding.", |seen| {
        one(seen.totals.dropped as f64)
    }),
    counter("roomcast_encoded_bytes", "Bytes that the encoders made.", |seen| one(seen.totals.encoded_bytes as f64)),
    counter("roomcast_recorded_seconds", "Programme time that is safe on disk.", |seen| one(seen.totals.recorded.as_secs_f64())),
    counter("roomcast_live_confirmed_bytes", "Bytes that live destinations have confirmed.", |seen| {
        one(seen.totals.live_bytes as f64)
    }),
    counter("roomcast_live_left_out", "Pictures that live destinations did not get because they were behind.", |seen| {
        one(seen.totals.live_left_out as f64)
    }),
    counter("roomcast_live_retries", "Times that a live destination had to be tried again.", |seen| {
        one(seen.totals.live_retries as f64)
    }),
    gauge(
        "roomcast_upload_backlog_bytes",
        "",
        "Bytes that are safe on disk and not yet in their storage or at their controller.",
        |seen| one(uploads(seen, |upload| upload.bytes_wanted.unwrap_or_default().saturating_sub(upload.bytes))),
    ),
    gauge(
        "roomcast_upload_sent_bytes",
        "",
        "Bytes that storages have, and controllers have taken, of the uploads that are not over.",
        |seen| one(uploads(seen, |upload| upload.bytes)),
    ),
    counter("roomcast_worker_cpu_seconds", "Processor time of all workers.", |seen| one(seen.totals.cpu.as_secs_f64())),
    counter("roomcast_supervisor_cpu_seconds", "Processor time of the supervisor itself.", |seen| one(seen.own_cpu_s)),
    gauge("roomcast_session_people", "session", "People in the room.", |seen| {
        each(seen, |posted| f64::from(posted.snapshot.status.people))
    }),
    gauge("roomcast_session_tiles", "session", "Tiles of the picture.", |seen| {
        each(seen, |posted| f64::from(posted.snapshot.status.tiles))
    }),
    gauge("roomcast_session_pictures_per_second", "session", "Programme pictures made in the last second.", |seen| {
        each(seen, |posted| f64::from(posted.snapshot.status.fps))
    }),
    gauge("roomcast_session_encoder_lag_seconds", "session", "How far the encoder is behind the mixer.", |seen| {
        each(seen, |posted| posted.snapshot.status.encoder_lag.as_secs_f64())
    }),
    gauge("roomcast_session_recorded_bytes", "session", "Bytes of the recording that are safe on disk.", |seen| {
        each(seen, |posted| posted.snapshot.bytes as f64)
    }),
    gauge("roomcast_session_cpu_seconds", "session", "Processor time of the Session's workers so far.", |seen| {
        each(seen, |posted| posted.snapshot.cpu.as_secs_f64())
    }),
    gauge("roomcast_session_memory_bytes", "session", "Memory of the Session's worker and of the supervisor.", |seen| {
        each(seen, |posted| posted.snapshot.memory_bytes as f64)
    }),
];

fn one(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

fn each(seen: &Seen, value: fn(&Posted) -> f64) -> Vec<Sample> {
    seen.running.iter().map(|posted| (vec![("session", posted.id.to_string())], value(posted))).collect()
}

/// Nothing where it is not looked at.
fn load(seen: &Seen, value: fn(&Machine) -> f64) -> Vec<Sample> {
    seen.load.iter().map(|load| (Vec::new(), value(&load.machine))).collect()
}

fn too_little(seen: &Seen) -> Vec<Sample> {
    let of = |load: &Load| {
        let shortage = load.shortage;
        let sample = move |of: Shortage| (vec![("of", of.word().to_owned())], f64::from(u8::from(shortage == Some(of))));
        Shortage::ALL.map(sample)
    };
    seen.load.iter().flat_map(of).collect()
}

fn uploads(seen: &Seen, of: fn(&TargetStatus) -> u64) -> f64 {
    seen.targets.iter().filter(|target| matches!(&*target.kind, "upload" | "controller")).map(of).sum::<u64>() as f64
}

fn sessions(seen: &Seen) -> Vec<Sample> {
    let count = |state| seen.running.iter().filter(|posted| posted.snapshot.state == state).count() as f64;
    let not_over = SESSION_STATES.into_iter().take(SESSION_STATES.len() - 1);
    not_over.map(|state| (vec![("state", session_word(state).to_owned())], count(state))).collect()
}

/// States without a Target are told too, so that an alarm sees a zero and not a gap.
fn targets_by_state(seen: &Seen) -> Vec<Sample> {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for target in &seen.targets {
        *counts.entry((&target.kind, &target.state)).or_default() += 1;
    }
    let all = STATES.iter().flat_map(|(kind, states)| states.iter().map(move |state| (*kind, *state)));
    all.map(|(kind, state)| {
        let labels = vec![("kind", kind.to_owned()), ("state", state.to_owned())];
        (labels, f64::from(counts.get(&(kind, state)).copied().unwrap_or_default()))
    })
    .collect()
}

/// The board as the library wants it.
#[derive(Debug)]
struct Collected(Board);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = Seen::on(&self.0);
        for Metric { name, kind, help, samples, .. } in &METRICS {
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            for (labels, value) in samples(&seen) {
                let is_counter = matches!(kind, MetricType::Counter);
                match (labels.is_empty(), is_counter) {
                    (true, true) => metric.encode_counter::<[(&str, String); 0], f64, f64>(&value, None)?,
                    (true, false) => metric.encode_gauge(&value)?,
                    (false, true) => {
                        metric.encode_family(&labels)?.encode_counter::<[(&str, String); 0], f64, f64>(&value, None)?;
                    }
                    (false, false) => metric.encode_family(&labels)?.encode_gauge(&value)?,
                }
            }
        }
        Ok(())
    }
}

/// All metrics now.
///
/// # Errors
/// None that is known: text is written into memory.
pub fn text(board: &Board) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(board.clone())));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// `docs/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Made from the source by `cargo run -- generate`; do not edit. `GET /metrics` tells them as OpenMetrics text, to whoever has the operators' token.\n\n\
         Counters are sums over all Sessions since the start of the process. What carries the label `session` is there as long as the Session is not over.\n\n\
         | name | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for Metric { name, kind, labels, help, .. } in &METRICS {
        let ending = if matches!(kind, MetricType::Counter) { "_total" } else { "" };
        let _ = writeln!(page, "| `{name}{ending}` | {} | {labels} | {help} |", kind.as_str());
    }
    page.push_str("\nStates of Sessions: ");
    let words: Vec<String> = SESSION_STATES.iter().map(|state| format!("`{}`", session_word(*state))).collect();
    let _ = writeln!(page, "{}. States of Targets:\n", words.join(", "));
    for (kind, states) in STATES {
        let states: Vec<String> = states.iter().map(|state| format!("`{state}`")).collect();
        let _ = writeln!(page, "- `{kind}`: {}", states.join(", "));
    }
    page
}
