//! Joins what the two encoders make into the ring: exact times, and codec headers before the first packet.
//!
//! In: encoded packets on the encoders' streaming threads. Out: packets in the [`Ring`]. Encoders without B frames give one packet for each input, in
//! order, so a packet's time is noted and counted, not measured: the n-th packet shows the n-th tick that was handed over, AAC frame n decodes to
//! samples (n − 1)·1024 … n·1024 (the first frame is the encoder's priming).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::grid::Grid;
use super::packet::{CodecHeaders, Packet, Stream};
use super::ring::Ring;
use crate::graph::{EncodedPacket, SoundEncoder};

/// Samples of one AAC frame.
pub const AAC_FRAME_SAMPLES: u64 = 1024;
/// Sound channels of the programme.
pub const CHANNELS: u16 = 2;

/// The meeting point of both encoders.
#[derive(Clone)]
pub struct Assembler {
    shared: Arc<Mutex<State>>,
}

struct State {
    ring: Ring,
    grid: Grid,
    avc: Option<Arc<[u8]>>,
    aac: Option<Arc<[u8]>>,
    /// Packets that came before both headers were known: a few, from the first moments.
    early: Vec<Packet>,
    pictures: u64,
    /// Ticks whose pictures are being encoded; a few, because the picture thread holds pictures back from a slow encoder.
    ticks: VecDeque<u64>,
    sounds: u64,
    bytes: u64,
    open_streams: u8,
    at_end: Option<Box<dyn FnOnce() + Send>>,
}

impl Assembler {
    /// Feeds `ring` with packets on `grid`; `at_end` is called once, after both encoders have ended and the ring is closed.
    pub fn new(ring: Ring, grid: Grid, at_end: impl FnOnce() + Send + 'static) -> Self {
        let state = State {
            ring,
            grid,
            avc: None,
            aac: None,
            early: Vec::new(),
            pictures: 0,
            ticks: VecDeque::new(),
            sounds: 0,
            bytes: 0,
            open_streams: 2,
            at_end: Some(Box::new(at_end)),
        };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// The picture of this tick is handed to the encoder next. Ticks may be left out: the picture before then lasts longer.
    pub fn expect(&self, tick: u64) {
        self.lock().ticks.push_back(tick);
    }

    /// Takes what the picture encoder made, `None` at its end.
    pub fn picture(&self, encoded: Option<EncodedPacket>) {
        let mut state = self.lock();
        let Some(encoded) = encoded else { return state.end() };
        let Some(tick) = state.ticks.pop_front() else {
            tracing::error!("the picture encoder made a picture that nobody gave it");
            return;
        };
        state.pictures += 1;
        let packet = Packet {
            stream: Stream::Video,
            pts: state.grid.picture(tick),
            duration: state.grid.picture(tick + 1).since(state.grid.picture(tick)),
            keyframe: encoded.keyframe,
            data: encoded.data,
        };
        if state.avc.is_none() {
            state.avc = encoded.config;
        }
        state.publish(packet);
    }

    /// Takes what the sound encoder made, `None` at its end.
    pub fn sound(&self, encoded: Option<EncodedPacket>) {
        let mut state = self.lock();
        let Some(encoded) = encoded else { return state.end() };
        let first = state.sounds as i64 * AAC_FRAME_SAMPLES as i64 - i64::from(SoundEncoder::PRIMING_SAMPLES);
        state.sounds += 1;
        let pts = state.grid.sample(first);
        let packet = Packet {
            stream: Stream::Sound,
            pts,
            duration: state.grid.sample(first + AAC_FRAME_SAMPLES as i64).since(pts),
            keyframe: true,
            data: encoded.data,
        };
        if state.aac.is_none() {
            state.aac = encoded.config;
        }
        state.publish(packet);
    }

    /// Pictures and bytes that the encoders have made so far.
    pub fn made(&self) -> (u64, u64) {
        let state = self.lock();
        (state.pictures, state.bytes)
    }

    /// The state is whole after every statement, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn publish(&mut self, packet: Packet) {
        self.bytes += packet.data.len() as u64;
        match (&self.avc, &self.aac) {
            (Some(avc), Some(aac)) if !self.early.is_empty() => {
                self.ring.set_headers(CodecHeaders {
                    avc_config: avc.clone(),
                    aac_config: aac.clone(),
                    width_px: self.grid.canvas.width_px,
                    height_px: self.grid.canvas.height_px,
                    fps: self.grid.fps,
                    sample_rate_hz: 48_000,
                    channels: CHANNELS,
                });
                let mut early = std::mem::take(&mut self.early);
                early.push(packet);
                early.sort_by_key(|p| p.pts);
                early.into_iter().for_each(|p| self.ring.publish(p));
            }
            (Some(_), Some(_)) => self.ring.publish(packet),
            _ => self.early.push(packet),
        }
    }

    fn end(&mut self) {
        self.open_streams = self.open_streams.saturating_sub(1);
        if self.open_streams == 0 {
            self.ring.close();
            if let Some(at_end) = self.at_end.take() {
                at_end();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use recorder_core::scene::CanvasSize;
    use recorder_core::time::SessionTime;

    use super::*;
    use crate::programme::ring::Next;

    fn encoded(config: &[u8]) -> Option<EncodedPacket> {
        Some(EncodedPacket { pts_ns: 0, keyframe: true, data: vec![1, 2, 3].into(), config: Some(config.into()) })
    }

    #[test]
    fn packets_have_exact_times_and_headers_come_first() {
        let ring = Ring::default();
        let grid = Grid { canvas: CanvasSize { width_px: 16, height_px: 16 }, fps: 30, first: SessionTime::from_millis(1000) };
        let ended = Arc::new(Mutex::new(false));
        let flag = ended.clone();
        let assembler = Assembler::new(ring.clone(), grid, move || *flag.lock().unwrap() = true);
        let mut cursor = ring.record_from(SessionTime::ZERO);
        // Tick 1 was left out by a machine that is too slow.
        [0, 2].into_iter().for_each(|tick| assembler.expect(tick));
        assembler.picture(encoded(b"avc"));
        assembler.picture(encoded(b"avc"));
        assert!(matches!(cursor.next(Duration::ZERO), Next::Nothing), "nothing without the sound's header");
        assembler.sound(encoded(b"aac"));
        assert_eq!(cursor.headers().unwrap().aac_config.as_ref(), b"aac");
        (0..3).for_each(|_| assembler.sound(encoded(b"aac")));
        assembler.picture(None);
        assembler.sound(None);
        let mut got = Vec::new();
        while let Next::Packet(p) = cursor.next(Duration::ZERO) {
            got.push((p.stream, p.pts.as_nanos()));
        }
        let priming = 1_000_000_000 - 21_333_333;
        assert!(got.contains(&(Stream::Sound, priming - 1)) || got.contains(&(Stream::Sound, priming)), "{got:?}");
        assert_eq!(
            got.iter().filter(|(s, _)| *s == Stream::Video).map(|(_, t)| *t).collect::<Vec<_>>(),
            [1_000_000_000, 1_066_666_666]
        );
        assert_eq!(got.iter().filter(|(s, _)| *s == Stream::Sound).nth(1).unwrap().1, 1_000_000_000);
        assert!(matches!(cursor.next(Duration::ZERO), Next::Closed) && *ended.lock().unwrap());
    }
}
