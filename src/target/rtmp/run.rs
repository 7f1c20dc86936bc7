//! The loop of a live destination's thread: does what `recorder_core::live` decides, and tells it what was seen.

use std::time::Duration;

use recorder_core::live::pace::Pace;
use recorder_core::live::splice::Splice;
use recorder_core::live::{Action, Evidence, Input, Live, LiveState};
use recorder_core::time::SessionTime;

use super::connection::{Connection, Plan, Progress};
use super::feed::{Fed, Feed};
use super::protocol::{COUNT_STEP, Goal};
use super::{LiveEnvironment, LiveFigures, LiveReport, LiveSettings, Order, Orders};
use crate::clock::SessionClock;
use crate::programme::ring::Ring;

/// Orders and the server are looked at so often, at least.
const TURN: Duration = Duration::from_millis(40);
/// While the line is full, so often.
const FULL_TURN: Duration = Duration::from_millis(20);
/// How often evidence is given.
const EVIDENCE: Duration = Duration::from_millis(200);
/// How often figures are reported.
const FIGURES: Duration = Duration::from_secs(1);
/// After the end of the Take so much more session time passes at most until its last packets are in the ring: the mixer's delay, and encoding.
const LAST_PACKETS: Duration = Duration::from_secs(3);
/// The system may hold so much of the stream for sending; it counts its own overhead against that.
const SEND_BUFFER_S: u64 = 1;
const SMALLEST_SEND_BUFFER: u64 = 128 * 1024;
const LARGEST_SEND_BUFFER: u64 = 8 << 20;

/// Runs until the Take is over.
pub(super) fn run<R: FnMut(LiveReport)>(
    environment: &LiveEnvironment,
    settings: &LiveSettings,
    ring: &Ring,
    clock: SessionClock,
    reports: R,
    orders: &Orders,
) {
    let send_buffer = (settings.bytes_per_s * SEND_BUFFER_S).clamp(SMALLEST_SEND_BUFFER, LARGEST_SEND_BUFFER);
    let plan = Plan {
        destination: settings.destination.clone(),
        trust: environment.trust.clone(),
        policy: environment.policy.clone(),
        names: environment.names.clone(),
        send_buffer: usize::try_from(send_buffer).unwrap_or(usize::MAX),
    };
    let now = clock.now();
    let mut runner = Runner {
        live: Live::new(now, settings.seed),
        plan,
        settings,
        ring,
        clock,
        reports,
        connection: None,
        on_air: None,
        splice: settings.splice.clone(),
        parks_at: None,
        end: None,
        past: LiveFigures::default(),
        figures_at: now,
        attempts: 0,
    };
    while !runner.live.is_over() {
        runner.turn(orders);
    }
    // The last word.
    runner.obey();
}

struct Runner<'a, R> {
    live: Live,
    plan: Plan,
    settings: &'a LiveSettings,
    ring: &'a Ring,
    clock: SessionClock,
    reports: R,
    connection: Option<Connection>,
    on_air: Option<OnAir>,
    /// What is sent when, whatever the connection.
    splice: Splice,
    /// The pause that is not reported yet.
    parks_at: Option<SessionTime>,
    /// Nothing of this instant or later is sent.
    end: Option<SessionTime>,
    /// Of connections that are gone.
    past: LiveFigures,
    figures_at: SessionTime,
    attempts: u64,
}

/// A connection that publishes.
struct OnAir {
    feed: Feed,
    pace: Pace,
    evidence_at: SessionTime,
    /// Everything was handed over, and the server is being told that this was all.
    is_closing: bool,
}

impl<R: FnMut(LiveReport)> Runner<'_, R> {
    fn turn(&mut self, orders: &Orders) {
        self.obey();
        // Whoever waits for packets or the server looks for orders in passing; who has nothing else to do waits for them.
        let rest = if self.connection.is_some() { Duration::ZERO } else { self.until_wake().min(FIGURES) };
        if let Some(order) = orders.wait(rest) {
            self.take_order(order);
        }
        if self.end.is_some() && self.on_air.is_none() {
            // Nobody waits for the end of what nobody sees.
            self.live.handle(Input::End, self.clock.now());
        } else if self.on_air.is_some() {
            self.stream();
        } else if self.connection.is_some() {
            self.advance();
        }
        self.report_pause();
        let now = self.clock.now();
        if self.live.poll_wake().is_some_and(|at| at <= now) {
            self.live.handle(Input::Woken, now);
        }
        if self.connection.is_some() && now.since(self.figures_at) >= FIGURES {
            self.figures_at = now;
            let figures = self.figures();
            (self.reports)(LiveReport::Figures(figures));
        }
    }

    fn take_order(&mut self, order: Order) {
        let now = self.clock.now();
        match order {
            Order::TryNow => self.live.handle(Input::TryNow, now),
            Order::Pause(at) => {
                tracing::info!(destination = %self.settings.destination, "the live destination is paused");
                self.splice.pause(at);
                self.parks_at = Some(at);
            }
            Order::Resume(at) => {
                tracing::info!(destination = %self.settings.destination, "the live destination is resumed");
                self.splice.resume(at);
                self.parks_at = None;
            }
            Order::EndTake(at) => {
                self.end = Some(self.end.map_or(at, |before| before.min(at)));
            }
            Order::EndAtOnce => {
                self.live.handle(Input::End, now);
                if let Some(connection) = &mut self.connection {
                    connection.discard();
                }
                self.forget();
                self.live.handle(Input::Closed, now);
            }
        }
    }

    fn obey(&mut self) {
        while let Some(action) = self.live.poll_action() {
            match action {
                Action::Attempt { .. } => {
                    self.attempts += 1;
                    let seed = self.settings.seed.wrapping_add(self.attempts);
                    self.connection = Some(Connection::begin(&self.plan, Goal::Publish, seed));
                }
                Action::Abort => self.forget(),
                Action::Close => {
                    if let (Some(connection), Some(on_air)) = (&mut self.connection, &mut self.on_air) {
                        connection.protocol().farewell();
                        on_air.is_closing = true;
                    }
                }
                Action::Tell(state) => {
                    log(&self.settings.destination, &state);
                    if state == LiveState::Ended {
                        let figures = self.figures();
                        (self.reports)(LiveReport::Figures(figures));
                        self.forget();
                    }
                    (self.reports)(LiveReport::State(state));
                }
            }
        }
    }

    /// An attempt that is not yet publishing goes on.
    fn advance(&mut self) {
        let wait = self.until_wake().min(TURN);
        let Some(connection) = &mut self.connection else { return };
        let progress = connection.advance(wait);
        let now = self.clock.now();
        match progress {
            None => {}
            Some(Progress::Reached(step)) => self.live.handle(Input::Reached(step), now),
            Some(Progress::Ready) => {
                let slate = self.settings.slate.clone();
                let feed = Feed::new(self.ring.live(), slate, &self.splice, self.settings.bytes_per_s);
                let pace = Pace::new(self.settings.bytes_per_s);
                self.on_air = Some(OnAir { feed, pace, evidence_at: now, is_closing: false });
                self.past.publishings += 1;
                self.live.handle(Input::Publishing, now);
            }
            Some(Progress::Failed(reason)) => {
                self.forget();
                self.live.handle(Input::Failed(reason), now);
            }
        }
    }

    /// One turn of a connection that publishes.
    fn stream(&mut self) {
        let (Some(connection), Some(on_air)) = (&mut self.connection, &mut self.on_air) else { return };
        let mut is_over = false;
        if on_air.is_closing {
            connection.wait(FULL_TURN);
        } else if connection.unsent() > 0 || !on_air.pace.has_room() {
            // The line is full: packets wait in the ring. What is confirmed meanwhile tells no socket event.
            connection.wait(FULL_TURN);
            if on_air.pace.must_skip(on_air.feed.behind()) {
                on_air.feed.skip(connection.protocol(), &self.splice);
            }
        } else {
            match on_air.feed.feed(connection.protocol(), &self.splice, self.end, TURN) {
                Fed::Sent(pts) => {
                    connection.pump();
                    on_air.pace.sent(connection.made(), pts);
                    self.splice.sent(pts);
                }
                Fed::Nothing => {}
                Fed::Ended => is_over = true,
            }
        }
        connection.pump();
        let now = self.clock.now();
        is_over |= !on_air.is_closing && self.end.is_some_and(|end| now >= end + LAST_PACKETS);
        let signs = connection.signs();
        let waiting = signs.unconfirmed + connection.unsent() as u64;
        on_air.pace.confirmed(connection.made().saturating_sub(waiting), now);
        let failed = match connection.take_progress() {
            Some(Progress::Failed(reason)) => Some(reason),
            _ => None,
        };
        if let Some(reason) = failed {
            self.forget();
            return self.live.handle(Input::Failed(reason), now);
        }
        if on_air.is_closing && waiting == 0 {
            connection.finish();
            self.forget();
            return self.live.handle(Input::Closed, now);
        }
        if now.since(on_air.evidence_at) >= EVIDENCE {
            on_air.evidence_at = now;
            let evidence = Evidence {
                confirmed: signs.confirmed,
                waiting: waiting > 0,
                sent: connection.made(),
                counted: connection.protocol().counted(),
                count_step: u64::from(COUNT_STEP),
                behind: on_air.pace.lag(on_air.feed.behind()),
            };
            self.live.handle(Input::Evidence(evidence), now);
        }
        if is_over {
            self.live.handle(Input::End, now);
        }
    }

    /// Tells of a pause when the last of the programme is handed over, or nobody gets any of it.
    fn report_pause(&mut self) {
        let reached = |at: SessionTime| self.on_air.as_ref().is_none_or(|on_air| on_air.feed.reached() >= at);
        if self.parks_at.take_if(|at| reached(*at)).is_some() {
            (self.reports)(LiveReport::Parked);
        }
    }

    fn figures(&self) -> LiveFigures {
        let mut figures = self.past;
        if let Some(connection) = &self.connection {
            let signs = connection.signs();
            figures.confirmed_bytes += signs.confirmed;
            figures.resent += u64::from(signs.resent);
            figures.round_trip = signs.round_trip;
        }
        if let Some(on_air) = &self.on_air {
            figures.left_out += on_air.feed.left_out();
            figures.behind = on_air.pace.lag(on_air.feed.behind());
        }
        figures
    }

    /// Drops the connection, and keeps its numbers.
    fn forget(&mut self) {
        self.past = LiveFigures { round_trip: Duration::ZERO, behind: Duration::ZERO, ..self.figures() };
        self.connection = None;
        self.on_air = None;
    }

    fn until_wake(&self) -> Duration {
        self.live.poll_wake().map_or(FIGURES, |at| at.since(self.clock.now()))
    }
}

fn log(destination: &super::Destination, state: &LiveState) {
    match state {
        LiveState::Retrying { attempt, reason, .. } => {
            tracing::warn!(%destination, attempt, "{}", reason.sentence());
        }
        LiveState::Refused { attempt, reason, .. } => {
            tracing::error!(%destination, attempt, "the live destination refuses the stream: {}", reason.sentence());
        }
        LiveState::Behind { by_s } => tracing::debug!(%destination, by_s, "the live destination is behind"),
        LiveState::Connecting => tracing::info!(%destination, "connecting to the live destination"),
        LiveState::Live => tracing::info!(%destination, "the live destination is live"),
        LiveState::Ended => tracing::info!(%destination, "the live destination has ended"),
    }
}
