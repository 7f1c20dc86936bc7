//! One Track: its decoder, the stretches it brought, and the voices that read them.

use std::collections::VecDeque;

use super::SoundCounts;
use super::decode::{DecodeError, LONGEST_CONCEALMENT, OpusSound};
use super::lane::Lane;
use super::level::{Leveller, Swell};
use super::sinc::AFTER;
use super::voice::{FADE, Ramp, Scratch, Voice};
use crate::media::MediaFrame;

/// Missing sound is made up for so long (100 ms), the last 40 ms of it fading.
const CONCEALED: usize = 4_800;
const CONCEALED_FADE: usize = 1_920;

/// A packet of one or two bytes says that the sender is silent and sends nothing until something changes, but each 400 ms
/// (RFC 6716 section 2.1.9). Until then the decoder's comfort noise goes on; without it the background would pulse.
const SILENT_PACKET: usize = 2;
const COMFORT: usize = 24_000;

/// Behind a longer pause than this (1 s) begins another lane.
const PAUSE: i64 = 48_000;

/// RTP time that goes back by more than this (3 s) is another stream whose number was not told.
const BACKWARDS: i64 = 144_000;

/// Over made-up sound that comes to be known after all, it fades within 2.5 ms.
const MEND: usize = 120;

/// Beyond this error (30 ms) a voice is placed anew: bending it there would leave it apart from its picture for seconds.
const REPLACE: f64 = 1_440.0;

/// In silence it is already from 0.5 ms on.
const REPLACE_SILENT: f64 = 24.0;

/// Lanes kept: what plays, what comes, and one more for a stream that restarts twice within the delay.
const LANES: usize = 3;

/// Voices of a Track at once: one, and those that fade out.
const VOICES: usize = 4;

/// The level of silence, in dBov.
const SILENT_DBOV: f32 = -127.0;

/// What is rendered: the programme instant of the first sample, how loud speech is to be (`None`: as it came), and a gain for all Tracks of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) from_ns: i64,
    pub(super) speech_lufs: Option<f32>,
    pub(super) swell: Swell,
}

/// The sound of one Track.
pub(super) struct SoundTrack {
    decoder: OpusSound,
    stream: Option<u32>,
    lanes: VecDeque<Lane>,
    next_lane: u32,
    /// Where the last packet was placed in the newest lane.
    last_place: i64,
    /// Samples made up since the last packet.
    made_up: usize,
    /// So many may be.
    may_make_up: usize,
    /// How loud the made-up sound was at its end; the next packet takes it from there.
    tail_gain: f32,
    voices: Vec<Voice>,
    audible: Ramp,
    leveller: Leveller,
    power: f64,
    powered: u64,
    last_offer_ns: i64,
    scratch: Scratch,
    /// Room for the sum of the voices and for one of them.
    rooms: [Vec<f32>; 4],
}

impl SoundTrack {
    /// A Track that has brought nothing; `leveller` may know it from before.
    pub(super) fn new(audible: bool, leveller: Leveller) -> Result<Self, DecodeError> {
        Ok(Self {
            decoder: OpusSound::new()?,
            stream: None,
            lanes: VecDeque::new(),
            next_lane: 0,
            last_place: 0,
            made_up: CONCEALED,
            may_make_up: CONCEALED,
            tail_gain: 1.0,
            voices: Vec::new(),
            audible: Ramp::at(if audible { 1.0 } else { 0.0 }),
            leveller,
            power: 0.0,
            powered: 0,
            last_offer_ns: 0,
            scratch: Scratch::default(),
            rooms: Default::default(),
        })
    }

    pub(super) fn last_offer_ns(&self) -> i64 {
        self.last_offer_ns
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::held_bytes).sum()
    }

    /// What has been learnt of the person's level.
    pub(super) fn leveller(&self) -> &Leveller {
        &self.leveller
    }

    /// Whether somebody who can be heard speaks at this instant.
    pub(super) fn speaks(&self, at_ns: i64) -> bool {
        !self.audible.ending() && self.leveller.speaks(at_ns)
    }

    /// Fades in or out, from the next sample rendered.
    pub(super) fn set_audible(&mut self, audible: bool) {
        self.audible.to(if audible { 1.0 } else { 0.0 }, 0);
    }

    /// Programme time jumped: the next sample is read where it belongs, without a crossfade from where it does not.
    pub(super) fn cut(&mut self) {
        self.voices.clear();
    }

    /// Mean power since the last call, in dBov.
    pub(super) fn take_level_dbov(&mut self) -> f32 {
        let mean = if self.powered == 0 { 0.0 } else { self.power / self.powered as f64 };
        self.power = 0.0;
        self.powered = 0;
        if mean <= 0.0 { SILENT_DBOV } else { (10.0 * mean.log10()).max(f64::from(SILENT_DBOV)) as f32 }
    }

    /// Decodes a packet and puts it into its place.
    pub(super) fn offer(&mut self, frame: &MediaFrame, now_ns: i64, counts: &mut SoundCounts) {
        self.last_offer_ns = now_ns;
        let place = match self.stream {
            Some(stream) if frame.stream < stream => {
                counts.late += 1;
                return;
            }
            Some(stream) if stream == frame.stream => self.place(frame, counts),
            _ => Some(self.begin(frame, counts)),
        };
        let Some(place) = place else {
            counts.late += 1;
            return;
        };
        self.stream = Some(frame.stream);
        self.last_place = place;
        let decoded = match self.decoder.decode(&frame.data) {
            Ok(decoded) => decoded,
            Err(error) => {
                // Its place stays empty, and is concealed when the next packet comes or when it is to be played.
                tracing::debug!(error = %error, "a packet made no sound");
                counts.undecodable += 1;
                return;
            }
        };
        counts.packets += 1;
        let samples = &mut self.decoder.samples()[..2 * decoded.samples];
        self.power += samples.iter().map(|x| f64::from(x * x)).sum::<f64>() / 2.0;
        self.powered += decoded.samples as u64;
        self.leveller.listen(samples, decoded.stereo, frame.capture.as_nanos() as i64);
        if self.tail_gain < 1.0 {
            let rise = (1.0 - self.tail_gain) / FADE as f32;
            for (n, pair) in samples.chunks_exact_mut(2).take(FADE).enumerate() {
                let gain = self.tail_gain + rise * n as f32;
                pair[0] *= gain;
                pair[1] *= gain;
            }
        }
        let Some(lane) = self.lanes.back_mut() else { return };
        if place + (decoded.samples as i64) <= lane.played() {
            counts.late += 1;
        }
        lane.put(place, samples, decoded.stereo, MEND);
        lane.mark(place, frame.capture.as_nanos() as i64);
        self.made_up = 0;
        self.may_make_up = if frame.data.len() <= SILENT_PACKET { COMFORT } else { CONCEALED };
        self.tail_gain = 1.0;
    }

    /// Where the packet of the known stream goes, with everything before it filled; `None` if it came before.
    fn place(&mut self, frame: &MediaFrame, counts: &mut SoundCounts) -> Option<i64> {
        let lane = self.lanes.back()?;
        let place = lane.place(frame.rtp_time);
        if place < self.last_place - BACKWARDS {
            return Some(self.begin(frame, counts));
        }
        if place <= self.last_place {
            return None;
        }
        let gap = place - lane.end();
        if gap > PAUSE {
            self.conceal(CONCEALED, counts);
            return Some(self.push_lane(frame.rtp_time));
        }
        if gap > 0 {
            self.conceal(gap as usize, counts);
        }
        Some(place)
    }

    /// Begins another stream.
    fn begin(&mut self, frame: &MediaFrame, counts: &mut SoundCounts) -> i64 {
        self.conceal(CONCEALED, counts);
        self.decoder.reset();
        // A fresh decoder rises from silence by itself.
        self.made_up = CONCEALED;
        self.may_make_up = CONCEALED;
        self.tail_gain = 1.0;
        self.push_lane(frame.rtp_time)
    }

    fn push_lane(&mut self, rtp_time: u64) -> i64 {
        self.lanes.push_back(Lane::new(self.next_lane, rtp_time));
        self.next_lane = self.next_lane.wrapping_add(1);
        if self.lanes.len() > LANES
            && let Some(oldest) = self.lanes.pop_front()
        {
            self.voices.retain(|voice| voice.lane != oldest.id);
        }
        0
    }

    /// Makes up to `missing` samples at the end of the newest lane; silence follows when that has gone on for too long.
    fn conceal(&mut self, missing: usize, counts: &mut SoundCounts) {
        let Some(lane) = self.lanes.back_mut() else { return };
        let mut left = missing.min(self.may_make_up.saturating_sub(self.made_up));
        while left > 0 {
            let Ok(made) = self.decoder.conceal(left.min(LONGEST_CONCEALMENT)) else { break };
            if made.samples == 0 {
                break;
            }
            let samples = &mut self.decoder.samples()[..2 * made.samples];
            for (n, pair) in samples.chunks_exact_mut(2).enumerate() {
                let into = self.made_up + n + 1;
                if into + CONCEALED_FADE > self.may_make_up {
                    self.tail_gain = (self.may_make_up.saturating_sub(into)) as f32 / CONCEALED_FADE as f32;
                    pair[0] *= self.tail_gain;
                    pair[1] *= self.tail_gain;
                }
            }
            lane.put(lane.end(), samples, made.stereo, 0);
            self.made_up += made.samples;
            counts.concealed_samples += made.samples as u64;
            left -= made.samples;
        }
    }

    /// Adds the Track's sound. Returns whether there was any.
    pub(super) fn render(&mut self, wanted: Wanted, left: &mut [f32], right: &mut [f32], counts: &mut SoundCounts) -> bool {
        let (n, from_ns) = (left.len(), wanted.from_ns);
        if self.audible.silent() {
            self.voices.clear();
            self.pass(from_ns);
            return false;
        }
        self.choose(from_ns, n, counts);
        let mut any = false;
        let [mut sum_l, mut sum_r, mut own_l, mut own_r] = std::mem::take(&mut self.rooms);
        for room in [&mut sum_l, &mut sum_r, &mut own_l, &mut own_r] {
            room.resize(n, 0.0);
        }
        let lead = self.voices.len().wrapping_sub(1);
        for v in 0..self.voices.len() {
            let target = self.target(self.voices[v].lane, from_ns);
            let voice = &mut self.voices[v];
            // A voice that fades out goes straight on.
            let target = if v == lead { target.unwrap_or(voice.place) } else { voice.place };
            let path = voice.path(target, n);
            let needed = path.at(n).floor() as i64 + AFTER + 1;
            let id = voice.lane;
            self.provide(id, needed, counts);
            let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == id) else { continue };
            let voice = &mut self.voices[v];
            if any {
                if voice.read(lane, path, &mut self.scratch, &mut own_l, &mut own_r) {
                    add(&mut sum_l, &own_l);
                    add(&mut sum_r, &own_r);
                }
            } else {
                any = voice.read(lane, path, &mut self.scratch, &mut sum_l, &mut sum_r);
            }
            lane.play_to(needed);
        }
        if any {
            let own = wanted.speech_lufs.map_or(Swell::NONE, |lufs| self.leveller.swell(from_ns, n, lufs));
            own.and(wanted.swell).apply(&mut sum_l, &mut sum_r);
            self.audible.apply(&mut sum_l, &mut sum_r);
            add(left, &sum_l);
            add(right, &sum_r);
        } else {
            sum_l.fill(0.0);
            sum_r.fill(0.0);
            self.audible.apply(&mut sum_l, &mut sum_r);
        }
        self.rooms = [sum_l, sum_r, own_l, own_r];
        self.voices.retain(|voice| !voice.ramp.silent());
        self.clear_lanes();
        any
    }

    /// Nobody listens: time passes all the same.
    fn pass(&mut self, from_ns: i64) {
        for lane in &mut self.lanes {
            if let Some(target) = lane.target(from_ns) {
                lane.play_to((target as i64).min(lane.end()));
            }
        }
        while self.lanes.len() > 1 && self.lanes[1].begins_ns().is_some_and(|begins| begins <= from_ns) {
            self.lanes.pop_front();
        }
    }

    fn target(&mut self, lane: u32, at_ns: i64) -> Option<f64> {
        self.lanes.iter_mut().find(|l| l.id == lane)?.target(at_ns)
    }

    /// Decides what is read: begins, changes to the next lane, or places anew. The last voice leads.
    fn choose(&mut self, from_ns: i64, n: usize, counts: &mut SoundCounts) {
        let until_ns = from_ns + super::samples_to_ns(n as u64);
        for at in 0..self.lanes.len() {
            let id = self.lanes[at].id;
            let leads = self.voices.last().map(|voice| voice.lane);
            if leads.is_some_and(|lead| self.lanes.iter().position(|l| l.id == lead).is_some_and(|place| place >= at)) {
                continue;
            }
            let Some(begins) = self.lanes[at].begins_ns().filter(|&begins| begins < until_ns) else { continue };
            let Some(target) = self.lanes[at].target(from_ns) else { continue };
            let wait = ((begins - from_ns).max(0) * 3 / 62_500) as usize;
            // A voice that meets the lane's beginning needs no fade.
            self.lead(Voice::new(id, target, if begins >= from_ns { 1.0 } else { 0.0 }), wait);
        }
        let Some(voice) = self.voices.last() else { return };
        let (id, place) = (voice.lane, voice.place);
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == id) else { return };
        let Some(target) = lane.target(from_ns) else { return };
        let error = (target - place).abs();
        if error < REPLACE_SILENT {
            return;
        }
        if lane.silent(place as i64 - 16, n + 32) && lane.silent(target as i64 - 16, n + 32) {
            if let Some(voice) = self.voices.last_mut() {
                voice.jump(target);
            }
        } else if error > REPLACE {
            counts.replaced += 1;
            self.lead(Voice::new(id, target, 0.0), 0);
        }
    }

    /// Makes `voice` lead; the others fade out after `wait` samples.
    fn lead(&mut self, voice: Voice, wait: usize) {
        for other in self.voices.iter_mut().filter(|other| !other.ramp.ending()) {
            other.ramp.to(0.0, wait);
        }
        if self.voices.len() >= VOICES {
            self.voices.remove(0);
        }
        self.voices.push(voice);
    }

    /// Makes sound up where the newest lane should have some and has not.
    fn provide(&mut self, lane: u32, needed: i64, counts: &mut SoundCounts) {
        let Some(newest) = self.lanes.back().filter(|newest| newest.id == lane) else { return };
        let missing = needed - newest.end();
        if missing > 0 && self.made_up < self.may_make_up {
            self.conceal((missing as usize).next_multiple_of(LONGEST_CONCEALMENT / 8), counts);
        }
    }

    /// Drops lanes that nobody reads any more.
    fn clear_lanes(&mut self) {
        let Some(lead) = self.voices.last().map(|voice| voice.lane) else { return };
        while let Some(first) = self.lanes.front().map(|lane| lane.id)
            && first != lead
            && self.lanes.len() > 1
            && !self.voices.iter().any(|voice| voice.lane == first)
        {
            self.lanes.pop_front();
        }
    }
}

fn add(sum: &mut [f32], own: &[f32]) {
    for (s, x) in sum.iter_mut().zip(own) {
        *s += x;
    }
}
