//! Asks a live destination whether it would take a stream, without sending one.
//!
//! In: a destination. Out: how it answered. Blocks its thread. To ask with the key is a publishing without media: a server may show it to people, and hang
//! up on a Session that uses the same key, so the caller makes sure that none does.

use std::time::{Duration, Instant};

use recorder_core::live::Reason;

use super::LiveEnvironment;
use super::connection::{Connection, Plan, Progress};
use super::destination::Destination;
use super::protocol::Goal;

/// How far to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeDepth {
    /// Name, connection, certificate, application. The key is not sent.
    Connect,
    /// The key, too: the stream is begun and ended.
    Publish,
}

/// A destination that would take the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeAnswer {
    /// From the first step to the last answer.
    pub took: Duration,
    /// Round trip of TCP.
    pub round_trip: Duration,
}

/// Longer than the limits of all steps; [`recorder_core::live`] has limits for each.
const LIMIT: Duration = Duration::from_secs(10);
/// A server that checks keys late is given so long to say no.
const SECOND_THOUGHTS: Duration = Duration::from_millis(1500);
const TURN: Duration = Duration::from_millis(50);
const SEND_BUFFER: usize = 128 * 1024;

/// Asks.
///
/// # Errors
/// Why the destination would not take the stream, as far as it said so within a second or two.
pub fn probe(environment: &LiveEnvironment, destination: &Destination, depth: ProbeDepth) -> Result<ProbeAnswer, Reason> {
    let plan = Plan {
        destination: destination.clone(),
        trust: environment.trust.clone(),
        policy: environment.policy.clone(),
        names: environment.names.clone(),
        send_buffer: SEND_BUFFER,
    };
    let goal = match depth {
        ProbeDepth::Connect => Goal::Enter,
        ProbeDepth::Publish => Goal::Publish,
    };
    let begin = Instant::now();
    let mut step = recorder_core::live::Step::Lookup;
    let mut connection = Connection::begin(&plan, goal, 0);
    loop {
        match connection.advance(TURN) {
            Some(Progress::Ready) => break,
            Some(Progress::Failed(reason)) => return Err(reason),
            Some(Progress::Reached(reached)) => step = reached,
            None if begin.elapsed() > LIMIT => return Err(Reason::NoAnswer(step)),
            None => {}
        }
    }
    let answer = ProbeAnswer { took: begin.elapsed(), round_trip: connection.signs().round_trip };
    if depth == ProbeDepth::Publish {
        let ready = Instant::now();
        while ready.elapsed() < SECOND_THOUGHTS {
            connection.wait(TURN);
            connection.pump();
            if let Some(Progress::Failed(reason)) = connection.take_progress() {
                return Err(reason);
            }
        }
    }
    connection.protocol().farewell();
    connection.pump();
    connection.finish();
    Ok(answer)
}
