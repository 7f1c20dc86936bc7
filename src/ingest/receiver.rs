//! Reception without I/O: str0m, and what an SFU's subscriber needs around it.
//!
//! In: offers, candidates, datagrams and the time. Out: answers, datagrams, [`MediaFrame`]s and events, drained by [`Receiver::poll`].
//! Runs on the reception thread, or in a test's virtual time: it never reads a clock. It refuses to pass on what is not mapped to a Track.
//!
//! Three habits of SFUs are met here, two more in [`super::sdp`]: an m-line is used again for another stream without saying so by a
//! header extension (the m-line is thrown away in str0m first, or keyframes might be asked of the old stream);
//! Opus is retransmitted on its own SSRC (str0m asks only where there is a repair SSRC); tiny blank frames end a stream.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use recorder_core::ids::TrackId;
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, Mid};
use str0m::net::Transmit;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};

use self::packets::Stretch;
use self::streams::{Report, Stream, nanos_since_1970};
use super::keyframes::KeyframeRequests;
use super::sdp::{Media, Offer, correct_answer};
use super::{CaptureTimes, Flow, IngestError, IngestEvent, IngestSettings};
use crate::clock::SessionClock;
use crate::media::MediaFrame;

/// An SFU that hears our first check before our answer drops it; the default of 250 ms would cost that much of the programme's start.
const FIRST_STUN_RETRY: Duration = Duration::from_millis(50);
/// Candidates kept until the first offer.
const MAX_EARLY_CANDIDATES: usize = 64;
/// Longest time between two looks at the clock.
const MAX_SLEEP: Duration = Duration::from_millis(500);

mod packets;
mod streams;

/// Which Track an m-line carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MidTrack {
    /// `a=mid` of the m-line.
    pub mid: String,
    /// The Track.
    pub track: TrackId,
    /// The SFU's own id of what it forwards here (LiveKit: track sid). Another source is another stream, even on the same m-line.
    pub source: String,
}

/// What leaves a [`Receiver`].
#[derive(Debug)]
pub enum Out {
    /// A datagram to send from its `source`.
    Transmit(Transmit),
    /// A whole frame.
    Frame(MediaFrame),
    /// News for the adapter.
    Event(IngestEvent),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Idle,
    Connecting { since: Instant },
    Up,
    Silent,
    Failed,
}

struct Line {
    track: TrackId,
    source: String,
    ssrc: Option<u32>,
    /// The last keyframe was a blank one: nothing until the next real keyframe is a picture.
    blank: bool,
    stretch: Option<Stretch>,
}

/// One connection to an SFU, received; see the module.
pub struct Receiver {
    rtc: Rtc,
    clock: SessionClock,
    silence_limit: Duration,
    connect_limit: Duration,
    mixer_delay: Duration,
    first_stream: u32,
    capture: Box<dyn CaptureTimes>,
    connection: u32,
    link: Link,
    ufrag: Option<String>,
    has_offer: bool,
    early_candidates: Vec<Candidate>,
    ssrcs: BTreeMap<String, u32>,
    lines: BTreeMap<Mid, Line>,
    streams: BTreeMap<TrackId, Stream>,
    keyframes: KeyframeRequests,
    last_received: Instant,
    now: Instant,
    rtc_wake: Instant,
    out: VecDeque<Out>,
    /// Packets that str0m could not use: garbage, or encrypted with another key.
    refused: u64,
}

impl Receiver {
    /// Ready for a first offer.
    pub fn new(settings: &IngestSettings, capture: Box<dyn CaptureTimes>, now: Instant) -> Self {
        Self {
            rtc: new_rtc(now),
            clock: settings.clock,
            silence_limit: settings.silence_limit,
            connect_limit: settings.connect_limit,
            mixer_delay: settings.mixer_delay,
            first_stream: settings.first_stream,
            capture,
            connection: 0,
            link: Link::Idle,
            ufrag: None,
            has_offer: false,
            early_candidates: Vec::new(),
            ssrcs: BTreeMap::new(),
            lines: BTreeMap::new(),
            streams: BTreeMap::new(),
            keyframes: KeyframeRequests::default(),
            last_received: now,
            now,
            rtc_wake: now,
            out: VecDeque::new(),
            refused: 0,
        }
    }

    /// Throws the connection away; ready for a first offer again. Stream numbers and the clock model go on.
    pub fn restart(&mut self, now: Instant) {
        if !self.has_offer && self.link == Link::Idle {
            self.early_candidates.clear();
            return;
        }
        self.rtc = new_rtc(now);
        self.connection += 1;
        self.link = Link::Idle;
        self.ufrag = None;
        self.has_offer = false;
        self.early_candidates.clear();
        self.ssrcs.clear();
        self.lines.clear();
        self.last_received = now;
        self.now = now;
        self.rtc_wake = now;
        self.out.clear();
    }

    /// Packets refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether ICE and DTLS are up.
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// Applies an offer, maps its m-lines to Tracks, and makes the answer.
    ///
    /// # Errors
    /// An offer that cannot be read ([`IngestError::Sdp`]) or answered ([`IngestError::Offer`]). A later good offer is still possible.
    pub fn accept_offer(&mut self, text: &str, tracks: Vec<MidTrack>, now: Instant) -> Result<String, IngestError> {
        self.now = now;
        let offer = Offer::parse(text)?;
        let parsed = SdpOffer::from_sdp_string(text).map_err(|e| IngestError::Offer(e.into()))?;
        self.drop_reused_lines(&offer);
        let answer = self.rtc.sdp_api().accept_offer(parsed).map_err(IngestError::Offer)?;
        self.allow_opus_nack(&offer);
        self.note_ice(&offer);
        for section in offer.sections() {
            if let Some(ssrc) = section.ssrc {
                self.ssrcs.insert(section.mid.clone(), ssrc);
            }
        }
        self.map_tracks(tracks);
        self.has_offer = true;
        for candidate in std::mem::take(&mut self.early_candidates) {
            self.rtc.add_remote_candidate(candidate);
        }
        self.pump();
        Ok(correct_answer(&answer.to_sdp_string(), &offer)?)
    }

    /// An SFU that uses an m-line again announces a new SSRC there. For str0m the m-line must be a new one.
    fn drop_reused_lines(&mut self, offer: &Offer) {
        for section in offer.sections() {
            let before = self.ssrcs.get(&section.mid);
            if let (Some(new), Some(&old)) = (section.ssrc, before)
                && new != old
            {
                self.rtc.direct_api().remove_media(Mid::from(section.mid.as_str()));
            }
        }
        self.pump();
    }

    fn allow_opus_nack(&mut self, offer: &Offer) {
        for section in offer.sections().iter().filter(|s| s.media == Media::Audio && s.offers_opus_nack()) {
            if let Some(ssrc) = section.ssrc
                && let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc.into())
            {
                stream.suppress_nack(false);
            }
        }
    }

    fn note_ice(&mut self, offer: &Offer) {
        let ufrag = offer.ice_ufrag().map(str::to_owned);
        if self.ufrag != ufrag || self.link == Link::Idle {
            self.ufrag = ufrag;
            self.link = Link::Connecting { since: self.now };
        }
    }

    /// Says anew which m-lines are which Tracks. Of two m-lines with the same Track the later in the list wins.
    pub fn map_tracks(&mut self, tracks: Vec<MidTrack>) {
        let mut lines = BTreeMap::new();
        for MidTrack { mid: name, track, source } in tracks {
            let mid = Mid::from(name.as_str());
            let ssrc = self.ssrcs.get(&name).copied();
            let same = self.lines.get_mut(&mid).filter(|old| old.track == track && old.source == source && old.ssrc == ssrc);
            let (blank, stretch) = same.map_or((false, None), |old| (old.blank, old.stretch.take()));
            lines.retain(|_, line: &mut Line| line.track != track);
            lines.insert(mid, Line { track, source, ssrc, blank, stretch });
        }
        for gone in self.lines.values().filter(|old| !lines.values().any(|line: &Line| line.track == old.track)) {
            self.keyframes.forget(&gone.track);
            self.capture.forget(&gone.track);
        }
        for begins in lines.values().filter(|line| line.stretch.is_none()) {
            self.keyframes.misses(&begins.track, None);
        }
        self.lines = lines;
    }

    /// Adds a candidate of the SFU.
    pub fn add_remote_candidate(&mut self, candidate: Candidate) {
        if self.has_offer {
            self.rtc.add_remote_candidate(candidate);
            self.pump();
        } else if self.early_candidates.len() < MAX_EARLY_CANDIDATES {
            self.early_candidates.push(candidate);
        }
    }

    /// Adds a local candidate, and reports it for trickling.
    pub fn add_local_candidate(&mut self, candidate: Candidate) {
        if let Some(added) = self.rtc.add_local_candidate(candidate) {
            let text = added.to_sdp_string();
            self.out.push_back(Out::Event(IngestEvent::Candidate(text)));
        }
        self.pump();
    }

    /// A decoder needs a keyframe of this Track.
    pub fn request_keyframe(&mut self, track: &TrackId, now: Instant) {
        self.now = now;
        if track.kind.is_video() && self.lines.values().any(|line| &line.track == track) {
            self.keyframes.want(track);
            self.pump();
        }
    }

    /// A datagram (or one TCP frame) arrived.
    pub fn receive(&mut self, received: str0m::net::Receive<'_>, at: Instant) {
        self.now = self.now.max(at);
        self.last_received = self.now;
        if self.link == Link::Silent {
            self.link = Link::Up;
            self.out.push_back(Out::Event(IngestEvent::Connected));
        }
        let input = Input::Receive(at, received);
        if !self.rtc.accepts(&input) {
            self.refused += 1;
            return;
        }
        self.input(input);
    }

    /// Something arrived that is no WebRTC datagram at all.
    pub fn refuse(&mut self) {
        self.refused += 1;
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.watch();
        self.release_due();
        self.input(Input::Timeout(self.now));
    }

    /// When [`Receiver::timeout`] is needed next.
    pub fn wake(&self) -> Instant {
        if self.link == Link::Failed {
            return self.now + MAX_SLEEP;
        }
        let own = self.lines.values().filter_map(Line::wake).chain(self.keyframes.wake());
        own.fold(self.rtc_wake.min(self.now + MAX_SLEEP), Instant::min)
    }

    /// The next thing to send, pass on, or tell.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// Closes DTLS in an orderly way; what [`Receiver::poll`] still has should be sent.
    pub fn close(&mut self) {
        if self.has_offer && self.rtc.is_alive() && self.rtc.close().is_ok() {
            self.pump();
        }
    }

    fn input(&mut self, input: Input<'_>) {
        if self.link == Link::Failed {
            return;
        }
        match self.rtc.handle_input(input) {
            Ok(()) => self.pump(),
            Err(error) => self.trouble(&error),
        }
    }

    /// str0m's errors are about one packet, unless it says that it is dead.
    fn trouble(&mut self, error: &str0m::error::RtcError) {
        self.refused += 1;
        if !self.rtc.is_alive() {
            self.fail(format!("the connection broke: {error}"));
        }
    }

    fn fail(&mut self, reason: String) {
        if self.link != Link::Failed {
            self.link = Link::Failed;
            self.out.push_back(Out::Event(IngestEvent::Failed { reason }));
        }
    }

    /// str0m itself does not notice a peer that has vanished.
    fn watch(&mut self) {
        match self.link {
            Link::Up if self.now.saturating_duration_since(self.last_received) > self.silence_limit => {
                self.link = Link::Silent;
                self.out.push_back(Out::Event(IngestEvent::Disconnected));
            }
            Link::Connecting { since } if self.now.saturating_duration_since(since) > self.connect_limit => {
                self.fail("no connection was made in time".into());
            }
            _ => {}
        }
    }

    fn pump(&mut self) {
        loop {
            for track in self.keyframes.due(self.now) {
                self.send_keyframe_request(&track);
            }
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.rtc_wake = at;
                    break;
                }
                Ok(Output::Transmit(transmit)) => self.out.push_back(Out::Transmit(transmit)),
                Ok(Output::Event(event)) => self.event(event),
                Err(error) => {
                    self.rtc_wake = self.now + MAX_SLEEP;
                    self.trouble(&error);
                    break;
                }
            }
        }
    }

    fn send_keyframe_request(&mut self, track: &TrackId) {
        let Some((&mid, _)) = self.lines.iter().find(|(_, line)| &line.track == track) else { return };
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
            tracing::debug!(%mid, kind = ?track.kind, "asking for a keyframe");
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected => self.up(),
            Event::IceConnectionStateChange(IceConnectionState::Connected | IceConnectionState::Completed)
                if self.rtc.is_connected() =>
            {
                self.up();
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) if self.link == Link::Up => {
                self.link = Link::Silent;
                self.out.push_back(Out::Event(IngestEvent::Disconnected));
            }
            Event::RtpPacket(packet) => self.packet(packet),
            Event::SenderFeedback(feedback) => {
                let info = feedback.sender_info;
                let report = Report {
                    ntp_ns: nanos_since_1970(info.ntp_time),
                    // Only the 32 bits of the wire are meant; they are extended like the frames' own.
                    rtp_time: info.rtp_time.numer() as u32,
                    received_at: feedback.received_at,
                };
                self.report(feedback.mid, *info.ssrc, report);
            }
            Event::StreamPaused(paused) => {
                if let Some(line) = self.lines.get(&paused.mid) {
                    let flow = if paused.paused { Flow::Stopped } else { Flow::Flowing };
                    if flow == Flow::Stopped {
                        // Nobody can answer a request on a stopped stream; the next frame will ask again.
                        self.keyframes.satisfied(&line.track);
                    }
                    self.out.push_back(Out::Event(IngestEvent::Paused { track: line.track.clone(), flow }));
                }
            }
            Event::Closed => self.fail("the media server closed the connection".into()),
            _ => {}
        }
    }

    fn up(&mut self) {
        if matches!(self.link, Link::Connecting { .. } | Link::Silent) {
            self.link = Link::Up;
            self.last_received = self.now;
            self.out.push_back(Out::Event(IngestEvent::Connected));
        }
    }
}

fn new_rtc(now: Instant) -> Rtc {
    super::install_crypto();
    let mut builder = Rtc::builder();
    builder.set_initial_stun_rto(FIRST_STUN_RETRY);
    builder
        .clear_codecs()
        .enable_opus(true, true)
        .enable_vp8(true)
        .enable_vp9(true)
        .enable_h264(true)
        .set_rtp_mode(true)
        .build(now)
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
