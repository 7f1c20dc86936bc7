//! The sending end of the simulated meeting: one peer connection that offers and sends, as an SFU does.
//!
//! In: which Tracks to send, pictures and packets with their times, datagrams, answers. Out: offers, datagrams, keyframe requests.
//! No I/O: [`super::actors`] owns the socket and the clock, tests may own them too. It refuses to receive media.
//!
//! Like LiveKit it names streams by `a=ssrc` only (no MID header extension) and gives the m-line of an ended Track to the next one of the
//! same medium, with a new SSRC.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recorder_core::ids::TrackId;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::talk::Line;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The peer connection failed or was closed by the receiver.
    #[error("the peer connection of the simulated meeting failed")]
    Rtc(#[from] str0m::RtcError),
    /// The receiver's answer cannot be read.
    #[error("the answer of the receiver cannot be read")]
    Answer(#[from] str0m::error::SdpError),
    /// An answer without an offer.
    #[error("the receiver answered an offer that was not made")]
    NoOffer,
    /// The local address cannot be a candidate.
    #[error("the local address cannot be used")]
    Address(#[from] str0m::error::IceError),
    /// The peer connection is gone.
    #[error("the receiver closed the peer connection")]
    Closed,
}

/// What comes out of a [`Sender`].
#[derive(Debug)]
pub enum Outcome {
    /// To be sent.
    Datagram(SocketAddr, Vec<u8>),
    /// The receiver needs a keyframe of this Track.
    KeyframeWanted(TrackId),
    /// Nothing more until this instant.
    Wait(Instant),
}

/// One m-line.
struct Slot {
    mid: Mid,
    video: bool,
    /// Who has it, as agreed or being offered.
    track: Option<TrackId>,
    /// How many owners it has had.
    owners: u32,
}

/// An offer to be told to the receiver.
#[derive(Debug)]
pub struct Offer {
    /// Session description.
    pub sdp: String,
    /// Which m-line carries which Track; others are idle.
    pub lines: Vec<Line>,
}

/// The sending end.
pub struct Sender {
    rtc: Rtc,
    local: SocketAddr,
    slots: Vec<Slot>,
    pending: Option<SdpPendingOffer>,
    keyframes_wanted: VecDeque<TrackId>,
}

/// Until the first answer a connectivity check is repeated this soon.
const FIRST_STUN_RETRY: Duration = Duration::from_millis(50);

impl Sender {
    /// A new peer connection that is reached at `local`.
    ///
    /// # Errors
    /// `local` cannot be a candidate.
    pub fn new(local: SocketAddr, now: Instant) -> Result<Self, SendError> {
        let mut extensions = ExtensionMap::empty();
        extensions.set(3, Extension::TransportSequenceNumber);
        let mut config = RtcConfig::new().set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()));
        config.set_initial_stun_rto(FIRST_STUN_RETRY);
        let mut rtc = config.clear_codecs().enable_opus(true, false).enable_vp8(true).set_extension_map(extensions).build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        Ok(Self { rtc, local, slots: Vec::new(), pending: None, keyframes_wanted: VecDeque::new() })
    }

    /// Makes an offer when `wanted` is not what was agreed; `None` when nothing changes, or while an answer is awaited: ask again after it.
    pub fn offer(&mut self, wanted: &[TrackId]) -> Option<Offer> {
        if self.pending.is_some() {
            return None;
        }
        // An m-line that becomes idle by this offer is used again by a later one only: its receiver has to see it idle first.
        let mut idle: Vec<Mid> = self.slots.iter().filter(|slot| slot.track.is_none()).map(|slot| slot.mid).collect();
        let new: Vec<&TrackId> =
            wanted.iter().filter(|&track| !self.slots.iter().any(|slot| slot.track.as_ref() == Some(track))).collect();
        let mut turned = Vec::new();
        let ended = |slot: &&mut Slot| slot.track.as_ref().is_some_and(|track| !wanted.contains(track));
        for slot in self.slots.iter_mut().filter(ended) {
            slot.track = None;
            turned.push((slot.mid, Direction::Inactive));
        }
        let mut added = Vec::new();
        for track in new {
            let fits = |slot: &&mut Slot| slot.video == track.kind.is_video() && idle.contains(&slot.mid);
            let Some(slot) = self.slots.iter_mut().find(fits) else {
                added.push(track.clone());
                continue;
            };
            slot.track = Some(track.clone());
            slot.owners += 1;
            idle.retain(|mid| *mid != slot.mid);
            turned.push((slot.mid, Direction::SendOnly));
            let mut direct = self.rtc.direct_api();
            let (ssrc, rtx) = (direct.new_ssrc(), direct.new_ssrc());
            let has_rtx = direct.stream_tx_by_mid(slot.mid, None).is_some_and(|stream| stream.rtx().is_some());
            direct.reset_stream_tx(slot.mid, None, ssrc, has_rtx.then_some(rtx));
        }
        if turned.is_empty() && added.is_empty() {
            return None;
        }
        let mut changes = self.rtc.sdp_api();
        for (mid, direction) in turned {
            changes.set_direction(mid, direction);
        }
        for track in added {
            let kind = if track.kind.is_video() { MediaKind::Video } else { MediaKind::Audio };
            let (stream, name) = (track.participant.to_string(), format!("{}-{:?}", track.participant, track.kind));
            let mid = changes.add_media(kind, Direction::SendOnly, Some(stream), Some(name), None);
            self.slots.push(Slot { mid, video: track.kind.is_video(), track: Some(track), owners: 1 });
        }
        let (offer, pending) = changes.apply()?;
        self.pending = Some(pending);
        let carries = |slot: &Slot| {
            let (mid, track) = (slot.mid.to_string(), slot.track.clone()?);
            Some(Line { source: format!("{mid}.{}", slot.owners), mid, track })
        };
        Some(Offer { sdp: offer.to_sdp_string(), lines: self.slots.iter().filter_map(carries).collect() })
    }

    /// Takes the answer to the last offer.
    ///
    /// # Errors
    /// There was no offer, or the answer does not fit it.
    pub fn answer(&mut self, sdp: &str) -> Result<(), SendError> {
        let pending = self.pending.take().ok_or(SendError::NoOffer)?;
        Ok(self.rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(sdp)?)?)
    }

    /// Takes a candidate of the receiver (`candidate:…`).
    ///
    /// # Errors
    /// It cannot be read.
    pub fn candidate(&mut self, text: &str) -> Result<(), SendError> {
        self.rtc.add_remote_candidate(Candidate::from_sdp_string(text)?);
        Ok(())
    }

    /// Whether media would arrive.
    pub fn is_connected(&self) -> bool {
        self.rtc.is_connected()
    }

    /// Whether `track` is agreed and can be sent.
    pub fn carries(&self, track: &TrackId) -> bool {
        self.slot(track).is_some_and(|slot| self.rtc.media(slot.mid).is_some_and(|media| media.direction().is_sending()))
    }

    /// Sends a picture or packet: `rtp_time` in units of the medium's clock, taken at `captured`. One for a Track that is not agreed is
    /// dropped, as an SFU does. Drain [`Self::poll`] after each.
    ///
    /// # Errors
    /// The peer connection failed.
    pub fn send(&mut self, track: &TrackId, captured: Instant, rtp_time: u64, data: &Arc<[u8]>) -> Result<(), SendError> {
        // What a camera takes while nobody is connected is not sent later either.
        if !self.rtc.is_connected() || !self.carries(track) {
            return Ok(());
        }
        let Some((mid, video)) = self.slot(track).map(|slot| (slot.mid, slot.video)) else { return Ok(()) };
        let (codec, clock) = if video { (Codec::Vp8, Frequency::NINETY_KHZ) } else { (Codec::Opus, Frequency::FORTY_EIGHT_KHZ) };
        let Some(writer) = self.rtc.writer(mid) else { return Ok(()) };
        let Some(pt) = writer.payload_params().find(|params| params.spec().codec == codec).map(|params| params.pt()) else {
            return Ok(());
        };
        Ok(writer.write(pt, captured, MediaTime::new(rtp_time, clock), Arc::clone(data))?)
    }

    /// Takes a datagram; garbage is dropped.
    ///
    /// # Errors
    /// The peer connection failed.
    pub fn receive(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) -> Result<(), SendError> {
        let Ok(contents) = datagram.try_into() else { return Ok(()) };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
        Ok(self.rtc.handle_input(Input::Receive(now, receive))?)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// The peer connection failed.
    pub fn tick(&mut self, now: Instant) -> Result<(), SendError> {
        Ok(self.rtc.handle_input(Input::Timeout(now))?)
    }

    /// What is to be done next. Call until it says [`Outcome::Wait`].
    ///
    /// # Errors
    /// The peer connection failed or was closed.
    pub fn poll(&mut self) -> Result<Outcome, SendError> {
        loop {
            if let Some(track) = self.keyframes_wanted.pop_front() {
                return Ok(Outcome::KeyframeWanted(track));
            }
            if !self.rtc.is_alive() {
                return Err(SendError::Closed);
            }
            match self.rtc.poll_output()? {
                Output::Transmit(transmit) => return Ok(Outcome::Datagram(transmit.destination, transmit.contents.into())),
                Output::Timeout(at) => return Ok(Outcome::Wait(at)),
                Output::Event(Event::KeyframeRequest(request)) => {
                    let track = self.slots.iter().find(|slot| slot.mid == request.mid).and_then(|slot| slot.track.clone());
                    self.keyframes_wanted.extend(track);
                }
                // What was taken before was not sent, so each picture needs another beginning.
                Output::Event(Event::Connected) => {
                    let cameras = self.slots.iter().filter(|slot| slot.video).filter_map(|slot| slot.track.clone());
                    self.keyframes_wanted.extend(cameras);
                }
                Output::Event(_) => {}
            }
        }
    }

    fn slot(&self, track: &TrackId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.track.as_ref() == Some(track))
    }
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
