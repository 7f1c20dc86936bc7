//! One Track's media clock.

use crate::time::SessionTime;

use super::slew::{Pace, Slewed};
use super::window::SlidingMin;

/// A difference between what RTP time and arrival did since the last frame that no network explains: the media clock itself jumped.
const MEDIA_JUMP_NS: i64 = 1_000_000_000;

/// For so long after its beginning or its first report a Track may be bent fast.
const SETTLING_NS: i64 = 6_000_000_000;

/// Whoever joins finds senders that had to wait for the connection, and sends what they kept in one burst: its oldest frames come late, and
/// the estimate with them. What arrives so soon after the first frame is still behind the mixer's delay, so it may step to its place.
pub(super) const BEGINNING_NS: i64 = 500_000_000;

/// Reports differ by so little when nothing happened.
pub(super) const REPORT_NOISE_NS: i64 = 40_000_000;

/// The share of a new report in the smoothed relation, once it is known well: at 100 ppm and a report every 3 s the relation lags 1 ms.
const REPORT_SHARE: i64 = 4;

/// Where media lie on the sender's NTP clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relation {
    /// Corrected NTP minus media, smoothed, in nanoseconds.
    pub(super) ntp_ns: i64,
    /// What was added to the sender's NTP.
    pub(super) correction_ns: i64,
    /// Reports that agreed.
    reports: i64,
}

impl Relation {
    pub(super) fn new(raw_ns: i64, correction_ns: i64) -> Self {
        Self { ntp_ns: raw_ns.saturating_add(correction_ns), correction_ns, reports: 1 }
    }

    /// Takes a further report if it agrees with those before.
    pub(super) fn agrees(&mut self, raw_ns: i64) -> bool {
        let off = raw_ns.saturating_add(self.correction_ns).saturating_sub(self.ntp_ns);
        if off.saturating_abs() > REPORT_NOISE_NS {
            return false;
        }
        self.reports = (self.reports + 1).min(REPORT_SHARE);
        self.ntp_ns += off / self.reports;
        true
    }

    /// The same place of the media under another correction: nothing that is shown moves.
    pub(super) fn corrected(&mut self, raw_ns: i64, correction_ns: i64) {
        self.correction_ns = correction_ns;
        self.ntp_ns = raw_ns.saturating_add(correction_ns);
        self.reports = 1;
    }
}

/// The media clock of one RTP stream of a Track.
#[derive(Debug)]
pub(super) struct TrackClock {
    stream: u32,
    clock_hz: u32,
    rtp_origin: u64,
    /// Arrival minus media.
    arrivals: SlidingMin,
    pub(super) relation: Option<Relation>,
    /// The first report, while no correction fits it yet.
    pub(super) unfitted_ns: Option<i64>,
    shown: Option<Slewed>,
    first_media_ns: i64,
    first_arrival: SessionTime,
    settled_from_ns: i64,
    last: Option<(i64, SessionTime)>,
    last_capture: SessionTime,
}

impl TrackClock {
    pub(super) fn new(stream: u32, clock_hz: u32, rtp_time: u64) -> Self {
        Self {
            stream,
            clock_hz: clock_hz.max(1),
            rtp_origin: rtp_time,
            arrivals: SlidingMin::default(),
            relation: None,
            unfitted_ns: None,
            shown: None,
            first_media_ns: 0,
            first_arrival: SessionTime::ZERO,
            settled_from_ns: SETTLING_NS,
            last: None,
            last_capture: SessionTime::ZERO,
        }
    }

    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    /// Begins anew with another RTP stream; only the promise that capture times do not go back remains.
    pub(super) fn restart(&mut self, stream: u32, clock_hz: u32, rtp_time: u64) {
        let last_capture = self.last_capture;
        *self = Self::new(stream, clock_hz, rtp_time);
        self.last_capture = last_capture;
    }

    /// RTP time in nanoseconds from the stream's origin.
    pub(super) fn media_ns(&self, rtp_time: u64) -> i64 {
        let ticks = i128::from(rtp_time.wrapping_sub(self.rtp_origin) as i64);
        let ns = ticks * 1_000_000_000 / i128::from(self.clock_hz);
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
    }

    /// Whether the media clock jumped between the last frame and this one.
    pub(super) fn jumped(&self, media_ns: i64, arrival: SessionTime) -> bool {
        self.last.is_some_and(|(media, at)| {
            let media_step = media_ns.saturating_sub(media);
            media_step < -MEDIA_JUMP_NS || media_step.saturating_sub(arrival.signed_since(at)) > MEDIA_JUMP_NS
        })
    }

    /// Notes an arrival.
    pub(super) fn note(&mut self, media_ns: i64, arrival: SessionTime) {
        if self.last.is_none() {
            self.first_media_ns = media_ns;
            self.first_arrival = arrival;
            self.settled_from_ns = media_ns.saturating_add(SETTLING_NS);
        }
        self.arrivals.push(arrival, (arrival.as_nanos() as i64).saturating_sub(media_ns));
    }

    /// The least (arrival − media) of the window.
    pub(super) fn least_arrival(&self) -> Option<i64> {
        self.arrivals.min()
    }

    /// How much media has arrived, from the first frame to the last.
    pub(super) fn seen_ns(&self) -> i64 {
        self.last.map_or(0, |(media, _)| media.saturating_sub(self.first_media_ns))
    }

    /// What is shown now: capture minus media.
    pub(super) fn shown_ns(&self) -> Option<i64> {
        self.shown.as_ref().map(Slewed::value)
    }

    /// The capture time that `rtp_time` has by what is shown now; never before that of a frame that arrived.
    pub(super) fn place(&self, rtp_time: u64) -> Option<SessionTime> {
        let capture = self.media_ns(rtp_time).saturating_add(self.shown_ns()?);
        Some(SessionTime::from_nanos(capture.max(0) as u64).max(self.last_capture))
    }

    /// The Track has its first relation.
    pub(super) fn relate(&mut self, relation: Relation) {
        self.relation = Some(relation);
        self.unfitted_ns = None;
        if let Some((media, _)) = self.last {
            self.settled_from_ns = media.saturating_add(SETTLING_NS);
        }
    }

    /// The capture time of a frame whose place should be `target_ns` behind its media time.
    pub(super) fn capture(&mut self, media_ns: i64, arrival: SessionTime, target_ns: i64) -> SessionTime {
        let elapsed = self.last.map_or(0, |(media, _)| media_ns.saturating_sub(media));
        let pace = if media_ns < self.settled_from_ns { Pace::Settling } else { Pace::Settled };
        let shown = self.shown.get_or_insert_with(|| Slewed::at(target_ns));
        if arrival.signed_since(self.first_arrival) < BEGINNING_NS {
            shown.hurry(target_ns);
        }
        let shown = shown.follow(target_ns, elapsed, pace, 1.0);
        if elapsed >= 0 {
            self.last = Some((media_ns, arrival));
        }
        let capture = SessionTime::from_nanos(media_ns.saturating_add(shown).max(0) as u64);
        if elapsed < 0 {
            return capture;
        }
        self.last_capture = self.last_capture.max(capture);
        self.last_capture
    }
}

#[cfg(test)]
impl TrackClock {
    /// Values held, for the tests of memory.
    pub(super) fn held(&self) -> usize {
        self.arrivals.len()
    }
}
