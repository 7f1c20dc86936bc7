//! Who is in the simulated meeting now, what they send, and when the next picture or packet is due.
//!
//! In: acts, wishes of the receiver, keyframe requests, the time. Out: messages to the receiver, and media with exact RTP times.
//! People take turns: only whose turn it is sends tone and beeps, the others send silence.
//! Pure: time comes in as a parameter, in nanoseconds since the first hello.

use std::collections::BTreeMap;
use std::sync::Arc;

use recorder_core::ids::{ParticipantId, TrackId, TrackKind};

use super::card::{self, PEOPLE};
use super::encode::{LOOP_PACKETS, PACKET_SAMPLES, SAMPLE_RATE_HZ};
use super::loops::{Layer, PersonLoops, file_stem};
use super::script::{Act, Deed, SCREEN_CARD};
use super::talk::{FromActors, Wish};

/// Pictures have RTP times in 1/90000 s.
const VIDEO_HZ: u64 = 90_000;
/// RTP times begin here, 8 s (video) before they wrap around 32 bits, so that each meeting sees that.
const RTP_BASE: u64 = (1 << 32) - 8 * VIDEO_HZ;
/// People do not take their pictures at the same instant: each is this much later than the one before.
const PHASE_NS: u64 = 7_300_000;

/// Packets in a second.
const PACKETS_PER_SECOND: u64 = (SAMPLE_RATE_HZ / PACKET_SAMPLES) as u64;
/// The packet of each second with which a turn begins and ends: half-way between two beeps, so that none is cut.
const TURN_AT_PACKET: u64 = PACKETS_PER_SECOND / 2;

/// A picture or packet that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// Of which Track.
    pub track: TrackId,
    /// When it was captured, which is now or a little earlier.
    pub captured_ns: u64,
    /// In units of the medium's clock.
    pub rtp_time: u64,
    /// Encoded.
    pub data: Arc<[u8]>,
}

/// One Track that somebody has switched on.
struct Source {
    loops: Arc<PersonLoops>,
    /// Media time 0: the same instant for all Tracks of a person.
    zero_ns: u64,
    /// Number of the next picture or packet.
    next: u64,
    muted: bool,
    /// Sound: whether tone and beeps are sent, or silence.
    speaks: bool,
    wish: Option<Wish>,
    /// Which layer the receiver gets; `None` until the first picture.
    layer: Option<Layer>,
    keyframe_wanted: bool,
}

/// The people and what they send.
pub struct Stage {
    loops: Vec<Arc<PersonLoops>>,
    /// What somebody sends who listens.
    silence: Arc<[u8]>,
    here: BTreeMap<usize, ParticipantId>,
    sources: BTreeMap<TrackId, Source>,
    speaker: Option<ParticipantId>,
    wishes: Vec<Wish>,
}

/// The id of a person of the card.
pub fn participant(person: usize) -> ParticipantId {
    ParticipantId::new(file_stem(&PEOPLE[person % PEOPLE.len()]))
}

impl Stage {
    /// An empty stage. `loops` has whoever may come, and the screen's card; `silence` is a packet that can be repeated.
    pub fn new(loops: Vec<PersonLoops>, silence: Arc<[u8]>) -> Self {
        let loops = loops.into_iter().map(Arc::new).collect();
        Self { loops, silence, here: BTreeMap::new(), sources: BTreeMap::new(), speaker: None, wishes: Vec::new() }
    }

    /// Performs an act; says what the receiver is told.
    pub fn perform(&mut self, act: &Act, now_ns: u64) -> Vec<FromActors> {
        let who = participant(act.person);
        let track = |kind| TrackId::new(who.clone(), kind);
        let zero_ns = now_ns + PHASE_NS * act.person as u64;
        match act.deed {
            Deed::Join => {
                self.here.insert(act.person, who.clone());
                let mut told = vec![self.introduction(act.person, &who)];
                for kind in [TrackKind::Microphone, TrackKind::Camera] {
                    told.extend(self.start(track(kind), act.person, zero_ns));
                }
                told
            }
            Deed::Leave => {
                self.here.remove(&act.person);
                self.sources.retain(|track, _| track.participant != who);
                vec![FromActors::Left { participant: who }]
            }
            Deed::Mute(kind) => self.set_muted(track(kind), true),
            Deed::Unmute(kind) => self.set_muted(track(kind), false),
            Deed::ShareScreen => self.start(track(TrackKind::Screen), SCREEN_CARD, zero_ns).into_iter().collect(),
            Deed::EndScreen => {
                let track = track(TrackKind::Screen);
                self.sources.remove(&track).map(|_| FromActors::TrackDown { track }).into_iter().collect()
            }
            Deed::Speak => {
                self.speaker = Some(who.clone());
                vec![FromActors::Speaking { participants: vec![who] }]
            }
        }
    }

    /// Everything that a receiver which comes now must be told; its wishes begin empty.
    pub fn tell_all(&mut self) -> Vec<FromActors> {
        self.wish(&[]);
        let mut told: Vec<FromActors> = self.here.iter().map(|(&person, who)| self.introduction(person, who)).collect();
        told.extend(self.sources.iter().map(|(track, s)| FromActors::TrackUp { track: track.clone(), muted: s.muted }));
        if let Some(speaker) = &self.speaker {
            told.push(FromActors::Speaking { participants: vec![speaker.clone()] });
        }
        told
    }

    /// Takes the receiver's wishes, all of them.
    pub fn wish(&mut self, wishes: &[Wish]) {
        self.wishes = wishes.to_vec();
        for (track, source) in &mut self.sources {
            let wish = wishes.iter().find(|wish| wish.track == *track).cloned();
            if wish.is_none() {
                source.layer = None;
            }
            source.wish = wish;
        }
    }

    /// The Tracks that are wanted and there.
    pub fn wanted(&self) -> Vec<TrackId> {
        self.sources.iter().filter(|(_, source)| source.wish.is_some()).map(|(track, _)| track.clone()).collect()
    }

    /// The next picture of this Track must be a keyframe.
    pub fn want_keyframe(&mut self, track: &TrackId) {
        if let Some(source) = self.sources.get_mut(track) {
            source.keyframe_wanted = true;
        }
    }

    /// What is due until now, in the order of each Track. What nobody wants is skipped, but its time goes on.
    pub fn due(&mut self, now_ns: u64) -> Vec<Due> {
        let mut due = Vec::new();
        for (track, source) in &mut self.sources {
            while source.captured_ns(track.kind) <= now_ns {
                if source.next == 0 || source.next % PACKETS_PER_SECOND == TURN_AT_PACKET {
                    source.speaks = self.speaker.as_ref() == Some(&track.participant);
                }
                if let Some(data) = source.take(track.kind, &self.silence) {
                    let captured_ns = source.captured_ns(track.kind);
                    due.push(Due { track: track.clone(), captured_ns, rtp_time: source.rtp_time(track.kind), data });
                }
                source.next += 1;
            }
        }
        due
    }

    /// When the next picture or packet is due.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.sources.iter().map(|(track, source)| source.captured_ns(track.kind)).min()
    }

    fn introduction(&self, person: usize, who: &ParticipantId) -> FromActors {
        FromActors::Joined { participant: who.clone(), name: PEOPLE[person % PEOPLE.len()].name.to_owned() }
    }

    fn start(&mut self, track: TrackId, card: usize, zero_ns: u64) -> Option<FromActors> {
        let loops = self.loops.iter().find(|loops| *loops.person == PEOPLE[card])?;
        let wish = self.wishes.iter().find(|wish| wish.track == track).cloned();
        let source = Source {
            loops: Arc::clone(loops),
            zero_ns,
            next: 0,
            muted: false,
            speaks: false,
            wish,
            layer: None,
            keyframe_wanted: true,
        };
        self.sources.insert(track.clone(), source);
        Some(FromActors::TrackUp { track, muted: false })
    }

    fn set_muted(&mut self, track: TrackId, muted: bool) -> Vec<FromActors> {
        let Some(source) = self.sources.get_mut(&track) else { return Vec::new() };
        source.muted = muted;
        source.layer = None;
        vec![FromActors::TrackUp { track, muted }]
    }
}

impl Source {
    fn captured_ns(&self, kind: TrackKind) -> u64 {
        let (units, hz) = if kind.is_video() { (1, u64::from(card::FPS)) } else { (u64::from(PACKET_SAMPLES), 48_000) };
        // Rounded up, so that a time that is due is due.
        self.zero_ns + (self.next * units * 1_000_000_000).div_ceil(hz)
    }

    fn rtp_time(&self, kind: TrackKind) -> u64 {
        let step = if kind.is_video() { VIDEO_HZ / u64::from(card::FPS) } else { u64::from(PACKET_SAMPLES) };
        RTP_BASE + self.next * step
    }

    /// The picture or packet whose turn it is, if it is wanted.
    fn take(&mut self, kind: TrackKind, silence: &Arc<[u8]>) -> Option<Arc<[u8]>> {
        let wish = self.wish.as_ref().filter(|_| !self.muted)?;
        if !kind.is_video() && !self.speaks {
            return Some(Arc::clone(silence));
        }
        if !kind.is_video() {
            return self.loops.sound.get((self.next % u64::from(LOOP_PACKETS)) as usize).cloned();
        }
        let Some((width, height)) = wish.size_px else {
            self.layer = None;
            return None;
        };
        let best = Layer::fitting(self.loops.layers.iter().map(|l| l.layer), width, height)?;
        // A receiver can begin, or change the layer, at a keyframe only; the twin has one for each picture.
        let switched = self.layer.replace(best) != Some(best);
        let layer = self.loops.layers.iter().find(|l| l.layer == best)?;
        let chain = if std::mem::take(&mut self.keyframe_wanted) || switched { &layer.twin } else { &layer.main };
        chain.get((self.next % u64::from(card::LOOP_FRAMES)) as usize).cloned()
    }
}

const _: () = assert!(SAMPLE_RATE_HZ == 48_000);

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
