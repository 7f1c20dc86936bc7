//! One viewer: what they are sent, and whether they are still there.
//!
//! In: pictures, sound and the time. Out: RTP packets, into the viewer's own graph. Owned by the monitor's task, which it never holds up.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use recorder_core::time::SessionTime;

use super::follower::{Follower, Gop};
use super::offer::{Line, Offer};
use super::payload::RtpStream;
use crate::graph::{GraphError, SentStream, ViewerGraph, ViewerStream};

/// RTP clock of H.264 (RFC 6184) and of Opus (RFC 7587).
const PICTURE_HZ: u64 = 90_000;
const SOUND_HZ: u64 = 48_000;
/// A viewer whose graph holds more than this is not reached any more for the time being.
const MOST_WAITING_BYTES: u64 = 4 << 20;
/// A viewer must be connected after this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// A viewer that sends no report for so long is gone: browsers send one each second or two.
const SILENT: Duration = Duration::from_secs(15);
/// Between two answers to wishes for keyframes: viewers repeat the wish while the answer is on its way.
const ANEW_EVERY: Duration = Duration::from_millis(500);

/// Numbers that nobody can guess.
pub(super) struct Numbers {
    picture: StreamNumbers,
    sound: StreamNumbers,
}

struct StreamNumbers {
    ssrc: u32,
    sequence: u16,
    time: u32,
}

impl Numbers {
    /// New ones; `None` when the system has none to give.
    pub(super) fn new() -> Option<Self> {
        let mut bytes = [0_u8; 20];
        rand::fill(&mut bytes).ok()?;
        let stream = |b: &[u8]| StreamNumbers {
            ssrc: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
            sequence: u16::from_be_bytes([b[4], b[5]]),
            time: u32::from_be_bytes([b[6], b[7], b[8], b[9]]),
        };
        Some(Self { picture: stream(&bytes[..10]), sound: stream(&bytes[10..]) })
    }

    /// The picture and the sound of this offer.
    pub(super) fn streams(&self, offer: &Offer) -> (SentStream, SentStream) {
        let stream = |line: &Line, numbers: &StreamNumbers| SentStream {
            line: line.index,
            payload_type: line.payload_type,
            format: line.format.clone(),
            ssrc: numbers.ssrc,
        };
        (stream(&offer.picture, &self.picture), stream(&offer.sound, &self.sound))
    }
}

/// One stream to one viewer.
struct Sending {
    packets: RtpStream,
    hz: u64,
    /// RTP time at session time zero.
    base: u32,
}

impl Sending {
    fn new(line: &Line, numbers: &StreamNumbers, hz: u64) -> Self {
        let packets = RtpStream { payload_type: line.payload_type, ssrc: numbers.ssrc, sequence: numbers.sequence };
        Self { packets, hz, base: numbers.time }
    }

    fn time(&self, at: SessionTime) -> u32 {
        let ticks = u128::from(at.as_nanos()) * u128::from(self.hz) / 1_000_000_000;
        // Wraps as RTP time does.
        self.base.wrapping_add(ticks as u32)
    }
}

/// A viewer that has an answer.
pub(super) struct Viewer {
    graph: ViewerGraph,
    fingerprint: [u8; 32],
    picture: Sending,
    sound: Sending,
    follower: Follower,
    joined: Instant,
    /// Since it is connected: when it was heard last, and the count of its reports then.
    connected: Option<(Instant, u32)>,
    begun_anew: Option<Instant>,
    /// An instant of the programme, and the running time of the graph when it was sent first.
    origin: Option<(SessionTime, u64)>,
}

impl Viewer {
    /// One who was answered now.
    pub(super) fn new(graph: ViewerGraph, offer: &Offer, numbers: &Numbers, now: Instant) -> Self {
        Self {
            graph,
            fingerprint: offer.fingerprint,
            picture: Sending::new(&offer.picture, &numbers.picture, PICTURE_HZ),
            sound: Sending::new(&offer.sound, &numbers.sound, SOUND_HZ),
            follower: Follower::new(),
            joined: now,
            connected: None,
            begun_anew: None,
            origin: None,
        }
    }

    /// The connection is there. Returns whether the viewer is who made the offer; only then anything is sent.
    pub(super) fn connected(&mut self, now: Instant) -> bool {
        if self.connected.is_none() {
            if !self.graph.certificate().is_some_and(|pem| is_of(&pem, &self.fingerprint)) {
                return false;
            }
            self.graph.listen();
            self.connected = Some((now, self.graph.heard()));
        }
        true
    }

    /// The viewer wants a keyframe.
    pub(super) fn keyframe_wanted(&mut self, now: Instant) {
        if self.begun_anew.is_none_or(|before| now.duration_since(before) >= ANEW_EVERY) {
            self.begun_anew = Some(now);
            self.follower.begin_anew();
        }
    }

    /// Whether pictures wait to be sent one after another.
    pub(super) fn is_catching_up(&self, gop: &Gop) -> bool {
        self.connected.is_some() && self.follower.is_catching_up(gop)
    }

    /// Sends the next picture of those that are caught up with.
    pub(super) fn catch_up(&mut self, gop: &Gop) -> Result<(), GraphError> {
        if self.is_catching_up(gop) { self.send_next(gop).map(|_| ()) } else { Ok(()) }
    }

    /// Sends what has just come, unless others are to be sent first.
    pub(super) fn show(&mut self, gop: &Gop) -> Result<(), GraphError> {
        while self.connected.is_some() && !self.follower.is_catching_up(gop) && self.send_next(gop)? {}
        Ok(())
    }

    fn send_next(&mut self, gop: &Gop) -> Result<bool, GraphError> {
        if self.graph.waiting_bytes() > MOST_WAITING_BYTES {
            self.follower.begin_anew();
            return Ok(false);
        }
        let Some((picture, shown)) = self.follower.next(gop) else { return Ok(false) };
        let (time, running) = (self.picture.time(shown), self.running_time(shown));
        let last = picture.payloads.len().saturating_sub(1);
        let payloads = picture.payloads.iter().enumerate();
        let packets = payloads.map(|(index, payload)| self.picture.packets.packet(payload, time, index == last)).collect();
        self.graph.push(ViewerStream::Picture, packets, running)?;
        Ok(true)
    }

    /// Sends an Opus packet.
    pub(super) fn hear(&mut self, packet: &[u8], pts: SessionTime) -> Result<(), GraphError> {
        if self.connected.is_none() || self.graph.waiting_bytes() > MOST_WAITING_BYTES {
            return Ok(());
        }
        let running = self.running_time(pts);
        let packet = self.sound.packets.packet(packet, self.sound.time(pts), false);
        self.graph.push(ViewerStream::Sound, vec![packet], running)
    }

    /// Picture and sound have one origin, so that the reports which GStreamer makes of both relate them rightly.
    fn running_time(&mut self, at: SessionTime) -> u64 {
        let (instant, running) = *self.origin.get_or_insert_with(|| (at, self.graph.running_time_ns()));
        running.saturating_add_signed(at.signed_since(instant))
    }

    /// Why the viewer is not there any more, if so. Asked once a second.
    pub(super) fn is_gone(&mut self, now: Instant) -> Option<&'static str> {
        if self.graph.is_broken() {
            return Some("its graph has failed");
        }
        match &mut self.connected {
            None => (now.duration_since(self.joined) > CONNECT_WITHIN).then_some("it has not connected"),
            Some((heard_at, count)) => {
                let heard = self.graph.heard();
                if heard != *count {
                    (*heard_at, *count) = (now, heard);
                }
                (now.duration_since(*heard_at) > SILENT).then_some("it says nothing any more")
            }
        }
    }
}

/// Whether this is the certificate (PEM) with this SHA-256 sum.
fn is_of(pem: &str, fingerprint: &[u8; 32]) -> bool {
    let lines = pem.lines().skip_while(|line| !line.contains("BEGIN CERTIFICATE")).skip(1);
    let text: String = lines.take_while(|line| !line.contains("END CERTIFICATE")).map(str::trim).collect();
    STANDARD.decode(text).is_ok_and(|der| !der.is_empty() && digest(&SHA256, &der).as_ref() == fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_known_by_its_sum() {
        let pem = "-----BEGIN CERTIFICATE-----\nQUJD\nREVG\n-----END CERTIFICATE-----\n";
        let sum: [u8; 32] = digest(&SHA256, b"ABCDEF").as_ref().try_into().unwrap();
        assert!(is_of(pem, &sum));
        assert!(!is_of(pem, &[0; 32]));
        assert!(!is_of(&pem.replace("REVG", "REVH"), &sum));
        let nothing: [u8; 32] = digest(&SHA256, b"").as_ref().try_into().unwrap();
        assert!(!is_of("", &nothing) && !is_of("-----BEGIN CERTIFICATE-----", &nothing));
    }

    #[test]
    fn rtp_time_wraps_and_does_not_drift() {
        let numbers = StreamNumbers { ssrc: 1, sequence: 2, time: u32::MAX - 89_999 };
        let line = Line { index: 0, payload_type: 96, format: Vec::new() };
        let sending = Sending::new(&line, &numbers, PICTURE_HZ);
        assert_eq!(sending.time(SessionTime::from_millis(1000)), 0);
        assert_eq!(sending.time(SessionTime::from_millis(12 * 3_600_000 + 1000)), ((12 * 3600 * PICTURE_HZ) % (1 << 32)) as u32);
    }
}
