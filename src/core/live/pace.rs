//! How much of a stream may be on the way to a destination, and when pictures are left out.
//!
//! In: what was handed over for sending, and what the other side has confirmed. Out: whether there is room for more, how late the destination is, and
//! whether it must skip to the newest keyframe. Pure.
//!
//! What lies in the system's send buffer can no longer be left out, so its size is what makes a slow destination late. It holds at most
//! 2 s of programme, and at most what the line has lately carried in 3 s. Packets wait in the ring, where they can be skipped: from 6 s on. Together a
//! destination is at most 10 s late.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::SessionTime;

/// At most so much programme is on the way.
const PROGRAMME: Duration = Duration::from_secs(2);
/// At most so much sending time is on the way.
const SENDING: Duration = Duration::from_secs(3);
/// Beyond this lag in the ring a destination goes on at the newest keyframe.
const SKIP: Duration = Duration::from_secs(6);
/// Over which the speed of the line is measured.
const WINDOW: Duration = Duration::from_secs(2);
/// No speed is believed from less.
const SHORTEST_WINDOW: Duration = Duration::from_millis(500);
/// Below this the round trips of a long line would make a fast line slow.
const LEAST_BYTES: u64 = 64 * 1024;

/// The pace of one connection. Bytes count from its beginning.
#[derive(Debug)]
pub struct Pace {
    bytes_per_s: u64,
    sent: u64,
    confirmed: u64,
    /// Ends of the messages on the way, and their programme instants; a few hundred.
    on_the_way: VecDeque<(u64, SessionTime)>,
    /// What was confirmed when, over [`WINDOW`]; at most 20 a second.
    history: VecDeque<(SessionTime, u64)>,
    newest: Option<SessionTime>,
}

impl Pace {
    /// For a stream of so many bytes a second.
    pub fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s: bytes_per_s.max(1),
            sent: 0,
            confirmed: 0,
            on_the_way: VecDeque::new(),
            history: VecDeque::new(),
            newest: None,
        }
    }

    /// The message that shows `pts` was handed over; so many bytes were by now.
    pub fn sent(&mut self, total: u64, pts: SessionTime) {
        self.sent = total;
        self.newest = self.newest.max(Some(pts));
        self.on_the_way.push_back((total, pts));
    }

    /// So many bytes are confirmed by now.
    pub fn confirmed(&mut self, total: u64, now: SessionTime) {
        self.confirmed = total.max(self.confirmed);
        while self.on_the_way.front().is_some_and(|(end, _)| *end <= self.confirmed) {
            self.on_the_way.pop_front();
        }
        if self.history.back().is_none_or(|(at, _)| now.since(*at) >= WINDOW / 40) {
            self.history.push_back((now, self.confirmed));
        }
        while self.history.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.history.pop_front();
        }
    }

    /// Whether another message may be handed over.
    pub fn has_room(&self) -> bool {
        self.sent.saturating_sub(self.confirmed) < self.limit()
    }

    /// Whether a cursor that is so far behind the newest packet must skip.
    pub fn must_skip(&self, cursor_behind: Duration) -> bool {
        cursor_behind > SKIP
    }

    /// How late the destination is, when the newest packet in the ring is `cursor_behind` newer than the last one handed over.
    pub fn lag(&self, cursor_behind: Duration) -> Duration {
        let on_the_way = match (self.on_the_way.front(), self.newest) {
            (Some((_, oldest)), Some(newest)) => newest.since(*oldest),
            _ => Duration::ZERO,
        };
        on_the_way + cursor_behind
    }

    /// Bytes a second that the line has lately carried; `None` until there is something to tell from.
    pub fn bytes_per_s(&self) -> Option<u64> {
        let ((from, first), (to, last)) = (self.history.front()?, self.history.back()?);
        let span = to.since(*from);
        (span >= SHORTEST_WINDOW).then(|| ((last - first) as f64 / span.as_secs_f64()) as u64)
    }

    fn limit(&self) -> u64 {
        let most = bytes_in(self.bytes_per_s, PROGRAMME);
        match self.bytes_per_s() {
            // A line nobody knows yet gets little, so that a slow one is not late from the start.
            None => most / 4,
            Some(speed) => bytes_in(speed, SENDING).max(LEAST_BYTES).min(most),
        }
        .max(1)
    }
}

fn bytes_in(bytes_per_s: u64, time: Duration) -> u64 {
    (bytes_per_s as f64 * time.as_secs_f64()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const FPS: u64 = 30;
    const STREAM: u64 = 375_000;
    const GOP_S: u64 = 2;

    /// What a destination at the end of a line of `line(second)` bytes a second gets of `seconds` of stream: the worst lateness of a delivered picture from
    /// second 5 on, the pictures left out, and the most bytes that were on the way.
    fn deliver(seconds: u64, line: impl Fn(u64) -> u64) -> (Duration, u64, u64) {
        let picture = |n: u64| SessionTime::from_nanos(n * 1_000_000_000 / FPS);
        // A keyframe of a third of a second's bytes, the rest evenly.
        let key_bytes = STREAM / 3;
        let other_bytes = (STREAM * GOP_S - key_bytes) / (GOP_S * FPS - 1);
        let size = |n: u64| if n.is_multiple_of(GOP_S * FPS) { key_bytes } else { other_bytes };
        let mut pace = Pace::new(STREAM);
        let (mut next, mut sent, mut carried, mut skipped) = (0, 0, 0.0_f64, 0);
        let (mut worst, mut most) = (Duration::ZERO, 0);
        let mut way = VecDeque::new();
        for ms in 0..seconds * 1000 {
            let now = SessionTime::from_millis(ms);
            let made = ms * FPS / 1000;
            carried = (carried + line(ms / 1000) as f64 / 1000.0).min(sent as f64);
            pace.confirmed(carried as u64, now);
            while way.front().is_some_and(|(end, _)| *end <= carried as u64) {
                let (_, pts) = way.pop_front().unwrap();
                if ms > 5000 {
                    worst = worst.max(now.since(pts));
                }
            }
            let behind = picture(made).since(picture(next));
            if pace.must_skip(behind) {
                let key = made / (GOP_S * FPS) * (GOP_S * FPS);
                skipped += key - next;
                next = key;
            }
            while next <= made && pace.has_room() {
                sent += size(next);
                pace.sent(sent, picture(next));
                way.push_back((sent, picture(next)));
                next += 1;
            }
            most = most.max(sent - carried as u64);
        }
        (worst, skipped, most)
    }

    #[test]
    fn a_line_that_carries_the_stream_leaves_nothing_out() {
        let (worst, skipped, _) = deliver(120, |_| STREAM * 12 / 10);
        assert_eq!(skipped, 0);
        assert!(worst < Duration::from_secs(2), "{worst:?}");
    }

    #[test]
    fn at_500_kbit_a_destination_is_at_most_10_s_late() {
        let (worst, skipped, most) = deliver(300, |_| 62_500);
        assert!(worst <= Duration::from_secs(10), "{worst:?}");
        assert!(skipped > 200 * FPS, "{skipped} pictures left out");
        assert!(most <= 2 * STREAM + STREAM / 3, "{most} bytes on the way");
    }

    #[test]
    fn a_line_that_becomes_slow_and_fast_again_is_in_time_again() {
        let line = |s| if (20..60).contains(&s) { 62_500 } else { STREAM * 2 };
        let (worst, skipped, _) = deliver(120, line);
        assert!(worst <= Duration::from_secs(10), "{worst:?}");
        assert!(skipped > 0 && skipped < 45 * FPS, "{skipped} pictures left out");
    }

    #[test]
    fn lateness_counts_what_is_on_the_way_and_what_waits() {
        let mut pace = Pace::new(STREAM);
        pace.sent(100, SessionTime::from_millis(1000));
        pace.sent(200, SessionTime::from_millis(1500));
        assert_eq!(pace.lag(Duration::from_secs(1)), Duration::from_millis(1500));
        pace.confirmed(150, SessionTime::from_millis(1600));
        assert_eq!(pace.lag(Duration::from_secs(1)), Duration::from_millis(1000));
        pace.confirmed(200, SessionTime::from_millis(1700));
        assert_eq!(pace.lag(Duration::ZERO), Duration::ZERO);
    }
}
