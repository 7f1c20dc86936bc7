//! The programme ring: the last 15 s of a Rendition's packets, for any number of Targets.
//!
//! In: packets from the encoders' threads. Out: a [`Cursor`] for each Target, read on the Target's own thread.
//! A publisher never waits. A recording's cursor holds the ring back, up to 256 MiB; what falls out beyond that is counted as a gap.
//! A live cursor holds nothing: when it falls behind it goes on at the newest keyframe.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use recorder_core::time::SessionTime;

use super::grid::Grid;
use super::packet::{CodecHeaders, Packet, Stream};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// Programme time that is always kept.
    pub keep: Duration,
    /// Keyframes that are kept for longer: two, so that a whole GOP is there at any moment at which pictures are made.
    pub keyframes: usize,
    /// Bytes up to which recordings may hold packets back.
    pub held_bytes: usize,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self { keep: Duration::from_secs(15), keyframes: 2, held_bytes: 256 << 20 }
    }
}

/// Keyframes are kept so many times longer than everything else, when there are no newer ones.
const KEYS_KEPT: u32 = 4;

/// The ring of one Rendition. Cheap to clone.
#[derive(Clone)]
pub struct Ring {
    shared: Arc<Shared>,
}

struct Shared {
    /// The only lock; held for a few instructions at a time.
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    limits: RingLimits,
    headers: Option<CodecHeaders>,
    grid: Option<Grid>,
    packets: VecDeque<Arc<Packet>>,
    /// Number of the packet at the front; numbers count from the first packet published.
    first: u64,
    bytes: usize,
    keyframes: usize,
    closed: bool,
    /// Next packet of each cursor that holds the ring back.
    holds: BTreeMap<u64, u64>,
    next_hold: u64,
}

/// What a cursor finds.
#[derive(Clone, Debug)]
pub enum Next {
    /// The next packet.
    Packet(Arc<Packet>),
    /// No packet came within the time.
    Nothing,
    /// Packets were lost to this cursor; it goes on behind them.
    Gap {
        /// How many.
        missed: u64,
    },
    /// No packet will come any more.
    Closed,
}

/// How a cursor behaves when its Target is slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OnSlow {
    /// The ring waits for it (within its limits).
    Hold(u64),
    /// It skips to the newest keyframe.
    Skip,
}

/// One Target's place in the ring.
pub struct Cursor {
    shared: Arc<Shared>,
    next: u64,
    on_slow: OnSlow,
}

impl Default for Ring {
    fn default() -> Self {
        Self::new(RingLimits::default())
    }
}

impl Ring {
    /// An empty ring.
    pub fn new(limits: RingLimits) -> Self {
        let state = State { limits, ..State::default() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), news: Condvar::new() }) }
    }

    /// What decoders must know; set before the first packet that needs it.
    pub fn set_headers(&self, headers: CodecHeaders) {
        self.shared.lock().headers = Some(headers);
        self.shared.news.notify_all();
    }

    /// Where its pictures lie; set before the first packet.
    pub fn set_grid(&self, grid: Grid) {
        self.shared.lock().grid = Some(grid);
    }

    /// Adds a packet. Packets of one stream come in order. Never waits for a reader.
    pub fn publish(&self, packet: Packet) {
        let mut state = self.shared.lock();
        state.bytes += packet.data.len();
        state.keyframes += usize::from(is_picture_key(&packet));
        state.packets.push_back(Arc::new(packet));
        state.evict();
        drop(state);
        self.shared.news.notify_all();
    }

    /// No more packets follow; cursors end after the last one.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.news.notify_all();
    }

    /// A cursor for a recording that begins at `from`: it starts with the oldest packet that lasts beyond this instant, and loses nothing
    /// while the ring's limit is not reached.
    pub fn record_from(&self, from: SessionTime) -> Cursor {
        let mut state = self.shared.lock();
        let skipped = state.packets.iter().take_while(|p| p.pts + p.duration <= from).count() as u64;
        let next = state.first + skipped;
        let id = state.next_hold;
        state.next_hold += 1;
        state.holds.insert(id, next);
        drop(state);
        Cursor { shared: self.shared.clone(), next, on_slow: OnSlow::Hold(id) }
    }

    /// A cursor for a live destination, at the newest keyframe.
    pub fn live(&self) -> Cursor {
        let next = self.shared.lock().newest_keyframe();
        Cursor { shared: self.shared.clone(), next, on_slow: OnSlow::Skip }
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.shared.lock().bytes
    }
}

impl Cursor {
    /// The next packet, waiting at most `wait` for it.
    pub fn next(&mut self, wait: Duration) -> Next {
        let deadline = Instant::now() + wait;
        let shared = self.shared.clone();
        let mut state = shared.lock();
        loop {
            if self.next < state.first {
                return self.skip(&mut state);
            }
            let offset = (self.next - state.first) as usize;
            if let Some(packet) = state.packets.get(offset).cloned() {
                self.next += 1;
                if let OnSlow::Hold(id) = self.on_slow {
                    state.holds.insert(id, self.next);
                }
                return Next::Packet(packet);
            }
            if state.closed {
                return Next::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Nothing;
            }
            state = shared.news.wait_timeout(state, left).map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
    }

    /// The codec headers, once known.
    pub fn headers(&self) -> Option<CodecHeaders> {
        self.shared.lock().headers.clone()
    }

    /// Where the pictures lie, once known.
    pub fn grid(&self) -> Option<Grid> {
        self.shared.lock().grid
    }

    /// The instant of the newest packet.
    pub fn newest(&self) -> Option<SessionTime> {
        self.shared.lock().packets.back().map(|packet| packet.pts)
    }

    /// Programme time between this cursor and the newest packet.
    pub fn behind(&self) -> Duration {
        let state = self.shared.lock();
        let offset = self.next.saturating_sub(state.first) as usize;
        match (state.packets.get(offset), state.packets.back()) {
            (Some(mine), Some(newest)) => newest.pts.since(mine.pts),
            _ => Duration::ZERO,
        }
    }

    /// A live Target that lags skips the GOPs between it and the newest keyframe; the packets skipped are returned as a number.
    pub fn skip_to_newest_keyframe(&mut self) -> u64 {
        let newest = self.shared.lock().newest_keyframe();
        let missed = newest.saturating_sub(self.next);
        self.next = self.next.max(newest);
        missed
    }

    /// Whoever does not want what is there waits for the next packet; the packets skipped are returned as a number.
    pub fn skip_to_end(&mut self) -> u64 {
        let state = self.shared.lock();
        let end = state.first + state.packets.len() as u64;
        let missed = end.saturating_sub(self.next);
        self.next = end;
        missed
    }

    fn skip(&mut self, state: &mut State) -> Next {
        let to = match self.on_slow {
            OnSlow::Hold(id) => {
                // A recording goes on at the next picture that can be decoded; sound before it would have no picture.
                let key = state.packets.iter().position(|p| is_picture_key(p)).unwrap_or(0) as u64;
                let to = state.first + key;
                state.holds.insert(id, to);
                to
            }
            OnSlow::Skip => state.newest_keyframe(),
        };
        let missed = to - self.next;
        self.next = to;
        Next::Gap { missed }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let OnSlow::Hold(id) = self.on_slow {
            self.shared.lock().holds.remove(&id);
        }
    }
}

impl Shared {
    /// The state is valid after each statement that changes it, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn newest_keyframe(&self) -> u64 {
        let back = self.packets.iter().rev().position(is_key_of_arc);
        back.map_or(self.first + self.packets.len() as u64, |back| self.first + (self.packets.len() - 1 - back) as u64)
    }

    fn evict(&mut self) {
        while let (Some(oldest), Some(newest)) = (self.packets.front(), self.packets.back()) {
            let age = newest.pts.since(oldest.pts);
            let old = age > self.limits.keep;
            // While no pictures are made a keyframe must not keep all the sound behind it.
            let spare_key =
                !is_picture_key(oldest) || self.keyframes > self.limits.keyframes || age > KEYS_KEPT * self.limits.keep;
            let held = self.holds.values().any(|next| *next <= self.first);
            if self.bytes <= self.limits.held_bytes && !(old && spare_key && !held) {
                return;
            }
            self.bytes -= oldest.data.len();
            self.keyframes -= usize::from(is_picture_key(oldest));
            self.packets.pop_front();
            self.first += 1;
        }
    }
}

fn is_picture_key(packet: &Packet) -> bool {
    packet.stream == Stream::Video && packet.keyframe
}

fn is_key_of_arc(packet: &Arc<Packet>) -> bool {
    is_picture_key(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    /// Picture `n` of ten a second, a keyframe each two seconds, 1000 bytes.
    fn picture(n: u64) -> Packet {
        Packet {
            stream: Stream::Video,
            pts: SessionTime::from_millis(n * 100),
            duration: TICK,
            keyframe: n.is_multiple_of(20),
            data: vec![0; 1000].into(),
        }
    }

    fn next_pts(cursor: &mut Cursor) -> Option<u64> {
        match cursor.next(Duration::ZERO) {
            Next::Packet(p) => Some(p.pts.as_nanos() / 100_000_000),
            _ => None,
        }
    }

    #[test]
    fn a_recording_begins_at_its_first_instant_and_loses_nothing_while_it_waits() {
        let ring = Ring::default();
        (0..30).for_each(|n| ring.publish(picture(n)));
        let mut cursor = ring.record_from(SessionTime::from_millis(2000));
        (30..2000).for_each(|n| ring.publish(picture(n)));
        let read: Vec<u64> = std::iter::from_fn(|| next_pts(&mut cursor)).collect();
        assert_eq!(read, (20..2000).collect::<Vec<_>>());
    }

    #[test]
    fn without_a_recording_only_the_last_15_s_are_kept() {
        let ring = Ring::default();
        (0..5000).for_each(|n| ring.publish(picture(n)));
        assert!(ring.bytes() <= 152 * 1000, "{} bytes", ring.bytes());
    }

    #[test]
    fn while_no_pictures_are_made_sound_does_not_pile_up() {
        let ring = Ring::default();
        (0..30).for_each(|n| ring.publish(picture(n)));
        let sound = |n: u64| Packet { stream: Stream::Sound, keyframe: true, ..picture(n) };
        (30..36_000).for_each(|n| ring.publish(sound(n)));
        assert!(ring.bytes() <= 152 * 1000, "{} bytes", ring.bytes());
        let mut cursor = ring.live();
        assert_eq!((cursor.newest(), cursor.skip_to_end()), (Some(picture(35_999).pts), 0));
        ring.publish(picture(36_000));
        assert_eq!(next_pts(&mut cursor), Some(36_000));
    }

    #[test]
    fn a_recording_that_holds_too_much_gets_a_counted_gap_that_ends_at_a_keyframe() {
        let ring = Ring::new(RingLimits { held_bytes: 100_000, ..RingLimits::default() });
        let mut cursor = ring.record_from(SessionTime::ZERO);
        (0..150).for_each(|n| ring.publish(picture(n)));
        // 100 packets fit: 50 to 149 are left, the next keyframe is 60.
        match cursor.next(Duration::ZERO) {
            Next::Gap { missed } => assert_eq!(missed, 60),
            other => panic!("expected a gap, found {other:?}"),
        }
        assert_eq!(next_pts(&mut cursor), Some(60));
    }

    #[test]
    fn a_live_destination_starts_at_the_newest_keyframe_and_skips_whole_gops() {
        let ring = Ring::default();
        (0..50).for_each(|n| ring.publish(picture(n)));
        let mut cursor = ring.live();
        assert_eq!(next_pts(&mut cursor), Some(40));
        (50..90).for_each(|n| ring.publish(picture(n)));
        assert_eq!(cursor.skip_to_newest_keyframe(), 80 - 41);
        assert_eq!(next_pts(&mut cursor), Some(80));
        (90..1000).for_each(|n| ring.publish(picture(n)));
        assert!(matches!(cursor.next(Duration::ZERO), Next::Gap { .. }));
        assert_eq!(next_pts(&mut cursor), Some(980));
    }

    #[test]
    fn a_slow_live_destination_never_changes_what_a_recording_reads() {
        let ring = Ring::default();
        let mut recording = ring.record_from(SessionTime::ZERO);
        let _stalled = ring.live();
        let mut read = Vec::new();
        for n in 0..3000 {
            ring.publish(picture(n));
            read.extend(next_pts(&mut recording));
        }
        assert_eq!(read, (0..3000).collect::<Vec<_>>());
        assert!(ring.bytes() <= 152 * 1000);
    }

    #[test]
    fn cursors_end_after_the_last_packet() {
        let ring = Ring::default();
        let mut cursor = ring.record_from(SessionTime::ZERO);
        ring.publish(picture(0));
        ring.close();
        assert_eq!(next_pts(&mut cursor), Some(0));
        assert!(matches!(cursor.next(TICK), Next::Closed));
    }
}
