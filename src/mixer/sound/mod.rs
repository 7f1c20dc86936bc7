//! The sound of the Programme: one continuous sample stream for each audible Track, summed and kept below the ceiling.
//!
//! In: Opus packets with capture times ([`SoundMixer::offer`]), Scenes ([`SoundMixer::show`]), and the programme instants for which
//! sound is wanted ([`SoundMixer::mix`]). Out: 48 kHz stereo, and how loud everybody is. Runs on the sound thread; a function of its
//! inputs alone: it reads no clock, does no I/O, never waits.
//!
//! The way of a packet: [`decode`] makes samples on arrival, and conceals what is missing; a [`lane`] keeps them by their RTP time; a
//! [`voice`] reads them at the exact fractional place that the capture times ask for, through a ratio that is bent but never jumps;
//! [`level`] makes everybody equally loud, by what [`speech`] hears; [`balance`] makes room where several speak; [`limiter`] keeps the sum from
//! clipping.
//!
//! What it refuses to do: in-band FEC (it shifts the sound by a frame), any jump of a sample stream other than in silence or through a
//! crossfade, and growing: seconds a Track, number of Tracks and Scenes ahead are bounded.

mod balance;
mod decode;
mod lane;
mod level;
mod limiter;
mod sinc;
mod speech;
mod track;
mod true_peak;
mod voice;
mod weighting;

#[cfg(test)]
mod level_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::scene::Scene;
use recorder_core::time::SessionTime;
use serde::{Deserialize, Serialize};

use crate::media::{Codec, MediaFrame};
use balance::Balance;
use level::Leveller;
use limiter::Limiter;
use speech::Subject;
use track::{SoundTrack, Wanted};

/// Samples a second, of everything here.
pub const SAMPLE_RATE_HZ: u32 = 48_000;

/// Longest piece that is rendered at once, in samples.
const PIECE: usize = 1_024;

/// Scenes that may wait for their instant; more mean that nobody mixes.
const SCENES_AHEAD: usize = 64;

/// A Track that brought nothing for so long is dropped; it begins anew with its next packet.
const IDLE_NS: i64 = 30_000_000_000;

/// What can be set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SoundSettings {
    /// The signal is never above this, neither at a sample nor between two, in dB of full scale.
    pub ceiling_dbtp: f32,
    /// Tracks beyond this number are not taken, and counted.
    pub max_tracks: usize,
    /// How loud everybody is made.
    pub level: LevelSettings,
}

impl Default for SoundSettings {
    fn default() -> Self {
        Self { ceiling_dbtp: -3.0, max_tracks: 256, level: LevelSettings::default() }
    }
}

/// How loud everybody is made.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LevelSettings {
    /// The loudness that speech is brought to, and the sound of screens not let above, in LUFS; `None` leaves everything as it comes.
    pub speech_lufs: Option<f32>,
    /// The sound of shared screens is turned down by so many dB while somebody speaks.
    pub duck_db: f32,
    /// In this time.
    pub duck_attack: Duration,
    /// And is back in this one.
    pub duck_release: Duration,
}

impl Default for LevelSettings {
    fn default() -> Self {
        Self {
            speech_lufs: Some(-16.0),
            duck_db: 0.0,
            duck_attack: Duration::from_millis(300),
            duck_release: Duration::from_secs(1),
        }
    }
}

/// What went other than planned, counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SoundCounts {
    /// Packets decoded.
    pub packets: u64,
    /// Packets that came when their instant had been mixed, or twice.
    pub late: u64,
    /// Packets that are not Opus.
    pub undecodable: u64,
    /// Packets of another codec, or of a Track beyond the limit.
    pub refused: u64,
    /// Samples made up by the decoder, where packets were missing.
    pub concealed_samples: u64,
    /// Times that a Track was placed anew, with a crossfade, because its capture times had moved too far.
    pub replaced: u64,
    /// Times that the programme instant did not continue the one before.
    pub restarts: u64,
}

/// What one call of [`SoundMixer::mix`] did.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MixReport {
    /// Tracks that are audible and brought sound.
    pub heard: usize,
    /// The least gain of the limiter, 1.0 if it did nothing.
    pub least_gain: f32,
    /// Counted since the start.
    pub counts: SoundCounts,
}

/// The sound mixer of one Session.
pub struct SoundMixer {
    settings: SoundSettings,
    /// In a fixed order, so that the same input gives the same bits.
    tracks: BTreeMap<TrackId, SoundTrack>,
    /// The levels of Tracks that were dropped: who comes back is as loud as before.
    levels_known: BTreeMap<TrackId, Leveller>,
    balance: Balance,
    audible: BTreeSet<TrackId>,
    scenes: VecDeque<Arc<Scene>>,
    limiter: Limiter,
    timeline: Option<Timeline>,
    counts: SoundCounts,
    /// Mixed, not yet limited.
    left: Vec<f32>,
    right: Vec<f32>,
}

/// Where the programme stands.
#[derive(Clone, Copy)]
struct Timeline {
    origin_ns: i64,
    /// Samples given out since the origin.
    given: u64,
    /// Samples rendered since the origin; ahead of `given` by the limiter's delay.
    rendered: u64,
}

impl Timeline {
    fn instant_ns(&self, sample: u64) -> i64 {
        self.origin_ns + samples_to_ns(sample)
    }
}

/// The length of so many samples in nanoseconds; exact to the nanosecond, however many.
fn samples_to_ns(samples: u64) -> i64 {
    (samples * 62_500 / 3) as i64
}

impl SoundMixer {
    /// A mixer that has heard nothing.
    pub fn new(settings: SoundSettings) -> Self {
        Self {
            settings,
            tracks: BTreeMap::new(),
            levels_known: BTreeMap::new(),
            balance: Balance::new(settings.level),
            audible: BTreeSet::new(),
            scenes: VecDeque::new(),
            limiter: Limiter::new(10_f32.powf(settings.ceiling_dbtp / 20.0)),
            timeline: None,
            counts: SoundCounts::default(),
            left: vec![0.0; PIECE],
            right: vec![0.0; PIECE],
        }
    }

    /// Takes a packet and decodes it. Packets of one Track come in order; what is not usable is counted and concealed.
    pub fn offer(&mut self, frame: MediaFrame) {
        if frame.codec != Codec::Opus {
            self.counts.refused += 1;
            return;
        }
        let now = self.timeline.map_or(frame.capture.as_nanos() as i64, |t| t.instant_ns(t.rendered));
        if !self.tracks.contains_key(&frame.track) {
            if self.tracks.len() >= self.settings.max_tracks {
                self.counts.refused += 1;
                return;
            }
            let leveller = self.levels_known.remove(&frame.track).unwrap_or_else(|| Leveller::new(subject_of(&frame.track)));
            match SoundTrack::new(self.audible.contains(&frame.track), leveller) {
                Ok(track) => {
                    self.tracks.insert(frame.track.clone(), track);
                }
                Err(error) => {
                    tracing::error!(error = %error, "no decoder for a sound track");
                    self.counts.refused += 1;
                    return;
                }
            }
        }
        if let Some(track) = self.tracks.get_mut(&frame.track) {
            track.offer(&frame, now, &mut self.counts);
        }
    }

    /// Takes a Scene; who is audible changes when the programme reaches `scene.from`, within 5 ms. Scenes come in order of time.
    pub fn show(&mut self, scene: Arc<Scene>) {
        self.scenes.push_back(scene);
        if self.scenes.len() > SCENES_AHEAD
            && let Some(oldest) = self.scenes.pop_front()
        {
            self.apply(&oldest);
        }
    }

    /// Makes `out.len() / 2` interleaved stereo samples, the first of which belongs to programme instant `at`. Calls follow each other
    /// without a gap: `at` is the last `at` plus the samples made then. If it is not (by more than a sample), the sound begins anew
    /// there with a short fade, and that is counted.
    pub fn mix(&mut self, at: SessionTime, out: &mut [f32]) -> MixReport {
        let wanted = out.len() / 2;
        let mut line = self.timeline_at(at);
        let mut report = MixReport { heard: 0, least_gain: 1.0, counts: self.counts };
        let mut done = 0;
        while done < wanted {
            let n = (wanted - done).min(PIECE);
            while line.rendered < line.given + (n + Limiter::DELAY) as u64 {
                let missing = (line.given + (n + Limiter::DELAY) as u64 - line.rendered) as usize;
                let made = self.render(&line, missing.min(PIECE), &mut report);
                self.limiter.push(&self.left[..made], &self.right[..made]);
                line.rendered += made as u64;
            }
            self.limiter.pull(&mut out[2 * done..2 * (done + n)]);
            line.given += n as u64;
            done += n;
        }
        if let Some(odd) = out.get_mut(2 * wanted) {
            *odd = 0.0;
        }
        self.timeline = Some(line);
        self.drop_idle(line.instant_ns(line.rendered));
        report.least_gain = self.limiter.take_least_gain();
        report.counts = self.counts;
        report
    }

    /// How loud everybody with a microphone was since the last call, from decoded sound, audible or not: mean power in dB of an
    /// overloading square wave (dBov), −127 for silence. Call it ten times a second or so.
    pub fn levels(&mut self) -> Vec<(ParticipantId, f32)> {
        let mut levels: Vec<_> = self
            .tracks
            .iter_mut()
            .filter(|(id, _)| id.kind == TrackKind::Microphone)
            .map(|(id, track)| (id.participant.clone(), track.take_level_dbov()))
            .collect();
        levels.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        levels
    }

    /// Bytes of samples held, for status and tests.
    pub fn held_bytes(&self) -> usize {
        self.tracks.values().map(SoundTrack::held_bytes).sum()
    }

    fn drop_idle(&mut self, now_ns: i64) {
        for (id, track) in self.tracks.extract_if(.., |_, track| now_ns - track.last_offer_ns() >= IDLE_NS) {
            if self.levels_known.len() >= self.settings.max_tracks {
                self.levels_known.pop_first();
            }
            self.levels_known.insert(id, track.leveller().clone());
        }
    }

    fn timeline_at(&mut self, at: SessionTime) -> Timeline {
        let at_ns = at.as_nanos() as i64;
        match self.timeline {
            Some(line) if (at_ns - line.instant_ns(line.given)).abs() <= 21_000 => line,
            before => {
                if before.is_some() {
                    self.counts.restarts += 1;
                    self.limiter.clear();
                    self.tracks.values_mut().for_each(SoundTrack::cut);
                }
                Timeline { origin_ns: at_ns, given: 0, rendered: 0 }
            }
        }
    }

    /// Renders up to `most` samples into `left` and `right`, as far as the audible Tracks stay the same. Returns how many.
    fn render(&mut self, line: &Timeline, most: usize, report: &mut MixReport) -> usize {
        let from_ns = line.instant_ns(line.rendered);
        let mut n = most;
        while let Some(scene) = self.scenes.front() {
            let until_ns = scene.from.as_nanos() as i64 - from_ns;
            if until_ns > 0 {
                // The first sample that is not before the Scene.
                n = n.min(((until_ns * 3 + 62_499) / 62_500) as usize);
                break;
            }
            if let Some(scene) = self.scenes.pop_front() {
                self.apply(&scene);
            }
        }
        let (left, right) = (&mut self.left[..n], &mut self.right[..n]);
        left.fill(0.0);
        right.fill(0.0);
        let speaking = self.tracks.values().filter(|track| track.speaks(from_ns)).count();
        let (people, screens) = self.balance.next(speaking, n);
        let speech_lufs = self.settings.level.speech_lufs;
        let mut heard = 0;
        for (id, track) in &mut self.tracks {
            let swell = if id.kind == TrackKind::Microphone { people } else { screens };
            heard += usize::from(track.render(Wanted { from_ns, speech_lufs, swell }, left, right, &mut self.counts));
        }
        report.heard = report.heard.max(heard);
        n
    }

    fn apply(&mut self, scene: &Scene) {
        self.audible.clear();
        self.audible.extend(scene.audible.iter().cloned());
        for (id, track) in &mut self.tracks {
            track.set_audible(self.audible.contains(id));
        }
    }
}

/// What of a Track counts for its level.
fn subject_of(track: &TrackId) -> Subject {
    if track.kind == TrackKind::Microphone { Subject::Speech } else { Subject::Sound }
}
