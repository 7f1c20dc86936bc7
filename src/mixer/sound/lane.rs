//! The decoded samples of one unbroken stretch of a Track, by their RTP time.
//!
//! A sample's place is its RTP time minus that of the stretch's first packet. Places that hold nothing read as silence. A lane holds
//! what has not been played, at most [`MAX_SAMPLES`]; it begins small and grows when the delay asks for it.

use std::collections::VecDeque;

/// Where decoded sound lies behind the RTP time: libopus encoders look ahead 6.5 ms, and the RTP time of a packet is that of the first
/// sample that went into the encoder with it (RFC 7587 section 4.1 knows no pre-skip). So the sample captured at a packet's RTP time
/// comes out of the decoder 312 samples later (RFC 7845 section 4.2 calls the same thing pre-skip). Every browser uses libopus so.
/// Subtracting it here makes a flash and a beep of the same instant fall together exactly.
pub(super) const CODEC_DELAY: f64 = 312.0;

/// 2.7 s: the longest mixer delay, with room.
pub(super) const MAX_SAMPLES: usize = 131_072;

/// 0.34 s a channel to begin with.
const FIRST_SAMPLES: usize = 16_384;

/// More than the packets of 2.5 ms that fit into a lane.
const MAX_MARKS: usize = 1_200;

/// A sample that is quieter than −80 dB counts as silence.
const SILENCE: f32 = 1e-4;

/// A packet's place and its capture time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    place: i64,
    capture_ns: i64,
}

/// Samples of one stretch.
pub(super) struct Lane {
    pub(super) id: u32,
    rtp_origin: u64,
    left: Vec<f32>,
    right: Vec<f32>,
    /// One behind the last sample.
    end: i64,
    /// What lies before this has been played, and may be given up.
    played: i64,
    /// One behind the last sample of which left and right may differ.
    stereo_end: i64,
    marks: VecDeque<Mark>,
}

impl Lane {
    /// A lane whose first packet has this RTP time.
    pub(super) fn new(id: u32, rtp_origin: u64) -> Self {
        Self {
            id,
            rtp_origin,
            left: vec![0.0; FIRST_SAMPLES],
            right: vec![0.0; FIRST_SAMPLES],
            end: 0,
            played: 0,
            stereo_end: i64::MIN,
            marks: VecDeque::new(),
        }
    }

    /// The place of an RTP time; far away if it belongs to another stretch.
    pub(super) fn place(&self, rtp_time: u64) -> i64 {
        rtp_time.wrapping_sub(self.rtp_origin) as i64
    }

    pub(super) fn end(&self) -> i64 {
        self.end
    }

    pub(super) fn played(&self) -> i64 {
        self.played
    }

    /// Notes that everything before `place` has been played.
    pub(super) fn play_to(&mut self, place: i64) {
        self.played = self.played.max(place);
    }

    /// Notes when the packet at `place` was captured.
    pub(super) fn mark(&mut self, place: i64, capture_ns: i64) {
        self.marks.push_back(Mark { place, capture_ns });
        if self.marks.len() > MAX_MARKS {
            self.marks.pop_front();
        }
    }

    /// The place of the sample that was captured at this instant, by the first packet captured after it: behind a pause, the sound
    /// that comes counts, not the one that was.
    pub(super) fn target(&mut self, at_ns: i64) -> Option<f64> {
        while self.marks.len() > 1 && self.marks[1].capture_ns <= at_ns {
            self.marks.pop_front();
        }
        let first = self.marks.front()?;
        let mark = if first.capture_ns <= at_ns { self.marks.get(1).unwrap_or(first) } else { first };
        Some(mark.place as f64 + (at_ns - mark.capture_ns) as f64 * 48e-6 + CODEC_DELAY)
    }

    /// When the lane's first sample was captured; asked before anything is played.
    pub(super) fn begins_ns(&self) -> Option<i64> {
        let first = self.marks.front()?;
        Some(first.capture_ns - ((first.place as f64 + CODEC_DELAY) / 48e-6) as i64)
    }

    /// Puts interleaved samples at `place`; over what is there already it fades within `fade` samples. What has been played stays.
    /// The lane ends with them.
    pub(super) fn put(&mut self, place: i64, interleaved: &[f32], stereo: bool, fade: usize) {
        let len = (interleaved.len() / 2) as i64;
        let from = place.max(self.played);
        if place + len <= from {
            return;
        }
        self.reserve(place + len);
        // Behind a hole nothing old may lie.
        for p in self.end.max(from - self.left.len() as i64)..from {
            let i = self.index(p);
            self.left[i] = 0.0;
            self.right[i] = 0.0;
        }
        let old_end = self.end;
        let mask = self.left.len() - 1;
        let skip = (from - place) as usize;
        for (n, pair) in interleaved.chunks_exact(2).enumerate().skip(skip) {
            let p = place + n as i64;
            let i = p as usize & mask;
            let (mut l, mut r) = (bounded(pair[0]), bounded(pair[1]));
            let into = n - skip;
            if p < old_end && into < fade {
                let share = (into + 1) as f32 / (fade + 1) as f32;
                l = self.left[i] + (l - self.left[i]) * share;
                r = self.right[i] + (r - self.right[i]) * share;
            }
            self.left[i] = l;
            self.right[i] = r;
        }
        self.end = place + len;
        if stereo {
            self.stereo_end = self.end;
        }
    }

    /// Whether everything from `place` on for `n` samples is the same on both sides.
    pub(super) fn mono_from(&self, place: i64) -> bool {
        self.stereo_end <= place
    }

    /// Whether there is anything at all in the stretch.
    pub(super) fn holds(&self, from: i64, n: usize) -> bool {
        from < self.end && from + n as i64 > 0
    }

    /// Whether nothing can be heard in the stretch.
    pub(super) fn silent(&self, from: i64, n: usize) -> bool {
        let first = from.max(self.end - self.left.len() as i64).max(0);
        (first..(from + n as i64).min(self.end)).all(|p| {
            let i = self.index(p);
            self.left[i].abs() < SILENCE && self.right[i].abs() < SILENCE
        })
    }

    /// Copies a stretch; silence where the lane holds nothing.
    pub(super) fn read(&self, from: i64, left: &mut [f32], right: Option<&mut [f32]>) {
        copy(&self.left, self.end, from, left);
        if let Some(right) = right {
            copy(&self.right, self.end, from, right);
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        8 * self.left.len()
    }

    fn index(&self, place: i64) -> usize {
        place as usize & (self.left.len() - 1)
    }

    /// Grows so that nothing unplayed is overwritten when the lane ends at `end`.
    fn reserve(&mut self, end: i64) {
        let old = self.left.len();
        let mut size = old;
        while end - self.played > size as i64 && size < MAX_SAMPLES {
            size *= 2;
        }
        if size == old {
            return;
        }
        let from = (self.end - old as i64).max(0);
        let mut left = vec![0.0; size];
        let mut right = vec![0.0; size];
        for p in from..self.end {
            left[p as usize & (size - 1)] = self.left[p as usize & (old - 1)];
            right[p as usize & (size - 1)] = self.right[p as usize & (old - 1)];
        }
        self.left = left;
        self.right = right;
    }
}

/// Keeps the infinities of a decoder that was fed garbage out of the sum.
fn bounded(x: f32) -> f32 {
    if x.is_finite() { x.clamp(-4.0, 4.0) } else { 0.0 }
}

fn copy(ring: &[f32], end: i64, from: i64, out: &mut [f32]) {
    let size = ring.len() as i64;
    let until = from + out.len() as i64;
    let first = from.max(0).max(end - size).min(until);
    let last = until.min(end).max(first);
    let (head, rest) = out.split_at_mut((first - from) as usize);
    let (body, tail) = rest.split_at_mut((last - first) as usize);
    head.fill(0.0);
    tail.fill(0.0);
    let start = (first & (size - 1)) as usize;
    let before_wrap = body.len().min(ring.len() - start);
    let (a, b) = body.split_at_mut(before_wrap);
    a.copy_from_slice(&ring[start..start + before_wrap]);
    b.copy_from_slice(&ring[..b.len()]);
}
