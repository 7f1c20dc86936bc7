//! One Participant's NTP clock, as far as it can be seen from here.

use std::collections::VecDeque;

use crate::ids::TrackKind;
use crate::time::SessionTime;

use super::slew::{Pace, Slewed};
use super::track::{BEGINNING_NS, REPORT_NOISE_NS, Relation, TrackClock};
use super::window::SlidingMin;

/// Two Tracks of one Participant are not further apart in transit than this; more means that the NTP clock was set in between.
const TRANSIT_SPREAD_NS: i64 = 200_000_000;

/// A correction that keeps a Track where it is yields to a known one only if that fits the other Tracks better by this.
const CLEARLY_BETTER_NS: i64 = 60_000_000;

/// So much of a Track must have arrived before its transit is trusted to make a correction: a burst of jitter is over by then.
const TRUSTED_AFTER_NS: i64 = 1_000_000_000;

/// Corrections remembered. A sender that sets its clock more often than this within one meeting has the oldest forgotten.
const CORRECTIONS: usize = 8;

/// For so long after the first report the offset may move fast.
const SETTLING_NS: i64 = 6_000_000_000;

/// The share of the calm rate that the offset uses, so that Tracks, which follow it, never fall behind it.
const OFFSET_SHARE: f64 = 0.8;

/// The clock of one sender and of its Tracks.
#[derive(Debug, Default)]
pub(super) struct ParticipantClock {
    tracks: Vec<(TrackKind, TrackClock)>,
    /// NTP values are counted from the first that came.
    ntp_origin_ns: Option<i64>,
    /// Arrival minus corrected NTP.
    transits: SlidingMin,
    /// The same, slewed.
    offset: Option<Slewed>,
    offset_since: SessionTime,
    last_arrival: SessionTime,
    /// What was added to the sender's NTP, after each time it was set. Newest last.
    corrections: VecDeque<i64>,
}

impl ParticipantClock {
    pub(super) fn arrived(
        &mut self,
        kind: TrackKind,
        stream: u32,
        clock_hz: u32,
        rtp_time: u64,
        arrival: SessionTime,
    ) -> SessionTime {
        let n = self.track(kind, stream, clock_hz, rtp_time);
        let (_, track) = &mut self.tracks[n];
        let mut media = track.media_ns(rtp_time);
        if track.jumped(media, arrival) {
            track.restart(stream, clock_hz, rtp_time);
            media = 0;
        }
        track.note(media, arrival);
        if let Some(raw) = track.unfitted_ns {
            self.fit(n, raw);
        }
        let (_, track) = &self.tracks[n];
        let target = match track.relation {
            Some(relation) => {
                let ntp = media.saturating_add(relation.ntp_ns);
                let transit = (arrival.as_nanos() as i64).saturating_sub(ntp);
                let start = track.shown_ns().map_or(transit, |shown| shown.saturating_sub(relation.ntp_ns));
                relation.ntp_ns.saturating_add(self.offset(arrival, transit, start))
            }
            None => track.least_arrival().unwrap_or(0),
        };
        self.tracks[n].1.capture(media, arrival, target)
    }

    /// Where an RTP time lies by what is shown now.
    pub(super) fn place(&self, kind: TrackKind, stream: u32, rtp_time: u64) -> Option<SessionTime> {
        let (_, track) = self.tracks.iter().find(|(k, track)| *k == kind && track.stream() == stream)?;
        track.place(rtp_time)
    }

    pub(super) fn sender_report(&mut self, kind: TrackKind, stream: u32, clock_hz: u32, ntp_ns: i64, rtp_time: u64) {
        if self.tracks.iter().any(|(k, track)| *k == kind && track.stream() > stream) {
            return;
        }
        let n = self.track(kind, stream, clock_hz, rtp_time);
        let origin = *self.ntp_origin_ns.get_or_insert(ntp_ns);
        let (_, track) = &mut self.tracks[n];
        let raw = ntp_ns.saturating_sub(origin).saturating_sub(track.media_ns(rtp_time));
        match &mut track.relation {
            None => {
                track.unfitted_ns = Some(raw);
                self.fit(n, raw);
            }
            Some(relation) => {
                if !relation.agrees(raw) {
                    self.jumped(n, raw);
                }
            }
        }
    }

    /// Returns true when no Track is left.
    pub(super) fn forget(&mut self, kind: TrackKind) -> bool {
        self.tracks.retain(|(k, _)| *k != kind);
        self.tracks.is_empty()
    }

    /// The place of the Track in the list, made or begun anew if need be.
    fn track(&mut self, kind: TrackKind, stream: u32, clock_hz: u32, rtp_time: u64) -> usize {
        match self.tracks.iter().position(|(k, _)| *k == kind) {
            Some(n) => {
                let (_, track) = &mut self.tracks[n];
                if track.stream() != stream {
                    track.restart(stream, clock_hz, rtp_time);
                }
                n
            }
            None => {
                self.tracks.push((kind, TrackClock::new(stream, clock_hz, rtp_time)));
                self.tracks.len() - 1
            }
        }
    }

    /// Where the corrected NTP clock lies on ours, having seen one more transit.
    fn offset(&mut self, arrival: SessionTime, transit_ns: i64, start_ns: i64) -> i64 {
        self.transits.push(arrival, transit_ns);
        let target = self.transits.min().unwrap_or(transit_ns);
        let elapsed = arrival.signed_since(self.last_arrival);
        self.last_arrival = self.last_arrival.max(arrival);
        match &mut self.offset {
            Some(offset) => {
                if arrival.signed_since(self.offset_since) < BEGINNING_NS {
                    offset.hurry(target);
                }
                let settled = arrival.signed_since(self.offset_since) > SETTLING_NS;
                offset.follow(target, elapsed, if settled { Pace::Settled } else { Pace::Settling }, OFFSET_SHARE)
            }
            None => {
                self.offset_since = arrival;
                self.offset.insert(Slewed::at(start_ns)).value()
            }
        }
    }

    /// Chooses the correction for the first report of a stream: the known one under which the Track's transit fits the Participant's.
    fn fit(&mut self, n: usize, raw_ns: i64) {
        let (_, track) = &self.tracks[n];
        let correction = match (self.others(n).or(self.transits.min()), track.least_arrival()) {
            // The first Track with a report: any NTP is right.
            (None, _) => self.corrections.back().copied().unwrap_or(0),
            (Some(_), None) => return,
            (Some(least), Some(arrival)) => {
                // The correction under which this Track would have exactly the Participant's transit.
                let ideal = arrival.saturating_sub(raw_ns).saturating_sub(least);
                match nearest(&self.corrections, ideal) {
                    Some(known) if distance(known, ideal) < TRANSIT_SPREAD_NS => known,
                    _ if track.seen_ns() < TRUSTED_AFTER_NS => return,
                    _ => ideal,
                }
            }
        };
        self.remember(correction);
        self.tracks[n].1.relate(Relation::new(raw_ns, correction));
    }

    /// A report says that the media lie elsewhere on the NTP clock than before, while their arrivals run on.
    fn jumped(&mut self, n: usize, raw_ns: i64) {
        let others = self.others(n);
        let (_, track) = &mut self.tracks[n];
        let least_arrival = track.least_arrival();
        let Some(relation) = &mut track.relation else { return };
        let continuing = relation.ntp_ns.saturating_sub(raw_ns);
        let near = nearest(&self.corrections, continuing).filter(|&known| distance(known, continuing) < REPORT_NOISE_NS);
        let correction = near.unwrap_or_else(|| {
            let Some((arrival, least)) = least_arrival.zip(others) else { return continuing };
            let ideal = arrival.saturating_sub(raw_ns).saturating_sub(least);
            match nearest(&self.corrections, ideal) {
                // What was believed before was wrong, not this report.
                Some(known) if distance(known, ideal).saturating_add(CLEARLY_BETTER_NS) < distance(continuing, ideal) => known,
                _ => continuing,
            }
        });
        relation.corrected(raw_ns, correction);
        self.remember(correction);
    }

    /// The least transit of the Participant's other Tracks: what this one is measured by. Its own would prove it right.
    fn others(&self, n: usize) -> Option<i64> {
        let others = self.tracks.iter().enumerate().filter(|(at, _)| *at != n);
        others.filter_map(|(_, (_, track))| Some(track.least_arrival()?.saturating_sub(track.relation?.ntp_ns))).min()
    }

    fn remember(&mut self, correction_ns: i64) {
        self.corrections.retain(|&c| c != correction_ns);
        self.corrections.push_back(correction_ns);
        if self.corrections.len() > CORRECTIONS {
            self.corrections.pop_front();
        }
    }
}

fn distance(a: i64, b: i64) -> i64 {
    a.saturating_sub(b).saturating_abs()
}

fn nearest(list: &VecDeque<i64>, wanted: i64) -> Option<i64> {
    list.iter().copied().min_by_key(|&c| distance(c, wanted))
}

#[cfg(test)]
impl ParticipantClock {
    /// Values held, for the tests of memory.
    pub(super) fn held(&self) -> usize {
        self.transits.len() + self.corrections.len() + self.tracks.iter().map(|(_, t)| t.held()).sum::<usize>()
    }
}
