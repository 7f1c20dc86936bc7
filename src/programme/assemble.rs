//! Joins what the two encoders make into the ring: exact times, and codec headers before the first packet.
//!
//! In: encoded packets on the encoders' streaming threads. Out: packets in the [`Ring`]. Encoders without B frames give one packet for each input, in
//! order, so a packet's time is noted and counted, not measured: the n-th packet shows the n-th tick that was handed over, AAC frame n decodes to
//! samples (n − 1)·1024 … n·1024 (the first frame is the encoder's priming).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::grid::Grid;
use super::packet::{CodecHeaders, Packet, Stream};
use super::ring::Ring;
use crate::graph::{EncodedPacket, SoundEncoder};

/// Samples of one AAC frame.
pub const AAC_FRAME_SAMPLES: u64 = 1024;
/// Sound channels of the programme.
pub const CHANNELS: u16 = 2;

/// An encoder that has made nothing for so much programme time, while it was given pictures or the other one made packets, is silent.
pub const SILENT: Duration = Duration::from_secs(15);
/// Bytes that may wait for the other encoder's header.
const EARLY_BYTES: usize = 64 << 20;

/// What the meeting point has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assembled {
    /// Both encoders have ended, and the ring is closed. Said once.
    Ended,
    /// An encoder is silent, and nothing more is published. Said again with each packet until it is heard.
    Silent(Stream),
}

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
    /// Packets that came before both headers were known: a few, from the first moments, at most [`SILENT`] and [`EARLY_BYTES`].
    early: Vec<Packet>,
    early_bytes: usize,
    pictures: u64,
    /// Ticks whose pictures are being encoded; a few, because the picture thread holds pictures back from a slow encoder, and at most those of
    /// [`SILENT`].
    ticks: VecDeque<u64>,
    sounds: u64,
    bytes: u64,
    open_streams: u8,
    /// The silent one, once there is one, and whether that was heard.
    silent: Option<(Stream, bool)>,
    tell: Box<dyn FnMut(Assembled) -> bool + Send>,
}

impl Assembler {
    /// Feeds `ring` with packets on `grid`. `tell` is called on the encoders' threads, must not wait, and says whether it was heard.
    pub fn new(ring: Ring, grid: Grid, tell: impl FnMut(Assembled) -> bool + Send + 'static) -> Self {
        ring.set_grid(grid);
        let state = State {
            ring,
            grid,
            avc: None,
            aac: None,
            early: Vec::new(),
            early_bytes: 0,
            pictures: 0,
            ticks: VecDeque::new(),
            sounds: 0,
            bytes: 0,
            open_streams: 2,
            silent: None,
            tell: Box::new(tell),
        };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// The picture of this tick is handed to the encoder next. Ticks may be left out: the picture before then lasts longer.
    pub fn expect(&self, tick: u64) {
        let mut state = self.lock();
        if let Some((silent, _)) = state.silent {
            return state.fall_silent(silent);
        }
        let oldest = state.ticks.front().map_or(tick, |oldest| *oldest);
        if state.grid.picture(tick).since(state.grid.picture(oldest)) > SILENT {
            return state.fall_silent(Stream::Video);
        }
        state.ticks.push_back(tick);
    }

    /// Takes what the picture encoder made, `None` at its end.
    pub fn picture(&self, encoded: Option<EncodedPacket>) {
        let mut state = self.lock();
        let Some(encoded) = encoded else { return state.end() };
        let Some(tick) = state.ticks.pop_front() else {
            if state.silent.is_some() {
                return;
            }
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
        if let Some((silent, _)) = self.silent {
            return self.fall_silent(silent);
        }
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
            (avc, _) => {
                let missing = if avc.is_none() { Stream::Video } else { Stream::Sound };
                let waited = self.early.first().map_or(Duration::ZERO, |first| packet.pts.since(first.pts));
                self.early_bytes += packet.data.len();
                if waited > SILENT || self.early_bytes > EARLY_BYTES {
                    return self.fall_silent(missing);
                }
                self.early.push(packet);
            }
        }
    }

    /// Nothing that was made can be decoded, or be kept in sync: it is given up, and told until somebody has heard it.
    fn fall_silent(&mut self, stream: Stream) {
        let (silent, heard) = self.silent.unwrap_or((stream, false));
        self.early = Vec::new();
        self.ticks.clear();
        self.silent = Some((silent, heard || (self.tell)(Assembled::Silent(silent))));
    }

    fn end(&mut self) {
        let was_open = self.open_streams > 0;
        self.open_streams = self.open_streams.saturating_sub(1);
        if was_open && self.open_streams == 0 {
            self.ring.close();
            (self.tell)(Assembled::Ended);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let assembler = Assembler::new(ring.clone(), grid, move |told| {
            assert_eq!(told, Assembled::Ended);
            *flag.lock().unwrap() = true;
            true
        });
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

    /// An assembler whose words are kept; the first `deaf` of them are not heard.
    fn listened(deaf: usize) -> (Assembler, Ring, Arc<Mutex<Vec<Assembled>>>) {
        let ring = Ring::default();
        let grid = Grid { canvas: CanvasSize { width_px: 16, height_px: 16 }, fps: 30, first: SessionTime::from_millis(1000) };
        let told = Arc::new(Mutex::new(Vec::new()));
        let words = told.clone();
        let assembler = Assembler::new(ring.clone(), grid, move |word| {
            words.lock().unwrap().push(word);
            words.lock().unwrap().len() > deaf
        });
        (assembler, ring, told)
    }

    fn waiting(assembler: &Assembler) -> usize {
        let state = assembler.lock();
        state.early.len().max(state.ticks.len())
    }

    #[test]
    fn an_encoder_that_stays_silent_from_the_beginning_is_told_and_nothing_piles_up() {
        let (assembler, ring, told) = listened(2);
        // Ten minutes of sound, and no picture.
        (0..28_125).for_each(|_| assembler.sound(encoded(b"aac")));
        assert_eq!(*told.lock().unwrap(), [Assembled::Silent(Stream::Video); 3], "until it was heard");
        assert_eq!((waiting(&assembler), ring.bytes()), (0, 0));

        let (assembler, _, told) = listened(0);
        for tick in 0..18_000 {
            assembler.expect(tick);
            assembler.picture(encoded(b"avc"));
            assert!(waiting(&assembler) <= 15 * 30 + 1);
        }
        assert_eq!(*told.lock().unwrap(), [Assembled::Silent(Stream::Sound)]);
    }

    #[test]
    fn a_large_packet_more_than_may_wait_is_not_kept() {
        let (assembler, _, told) = listened(0);
        let large: Arc<[u8]> = vec![0; EARLY_BYTES / 2 + 1].into();
        for tick in 0..2 {
            assembler.expect(tick);
            let packet = encoded(b"avc").map(|packet| EncodedPacket { data: large.clone(), ..packet });
            assembler.picture(packet);
        }
        assert_eq!(*told.lock().unwrap(), [Assembled::Silent(Stream::Sound)]);
    }

    #[test]
    fn a_picture_encoder_that_falls_silent_later_is_told() {
        let (assembler, ring, told) = listened(0);
        assembler.expect(0);
        assembler.picture(encoded(b"avc"));
        assembler.sound(encoded(b"aac"));
        let before = ring.bytes();
        assert!(before > 0);
        (1..=451).for_each(|tick| assembler.expect(tick));
        assert_eq!(*told.lock().unwrap(), [], "fifteen seconds are waited for");
        (452..18_000).for_each(|tick| {
            assembler.expect(tick);
            assert!(waiting(&assembler) <= 15 * 30 + 1);
        });
        assert_eq!(*told.lock().unwrap(), [Assembled::Silent(Stream::Video)]);
        // Late ones are of no use any more.
        assembler.picture(encoded(b"avc"));
        assert_eq!(ring.bytes(), before);
    }
}
