use std::time::Duration;

use recorder_core::ids::{ParticipantId, TrackKind};
use str0m::change::SdpOffer;
use str0m::media::KeyframeRequestKind;

use super::*;

/// A sender and a plain str0m receiver, joined without sockets, in virtual time.
struct Pair {
    sender: Sender,
    receiver: Rtc,
    now: Instant,
    /// Mid, RTP time and first byte of what arrived.
    arrived: Vec<(String, u64, u8)>,
    reports: Vec<(std::time::SystemTime, u64)>,
    keyframes_wanted: Vec<TrackId>,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let config = RtcConfig::new().set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()));
        let mut receiver = config.clear_codecs().enable_opus(true, false).enable_vp8(true).build(now);
        receiver.add_local_candidate(Candidate::host(address(2), "udp").unwrap());
        let sender = Sender::new(address(1), now).unwrap();
        Self { sender, receiver, now, arrived: Vec::new(), reports: Vec::new(), keyframes_wanted: Vec::new() }
    }

    /// Offers `wanted`; gives the offer's text and the mids.
    fn negotiate(&mut self, wanted: &[TrackId]) -> Offer {
        let offer = self.sender.offer(wanted).unwrap();
        assert!(self.sender.offer(&[]).is_none(), "one offer at a time");
        let parsed = SdpOffer::from_sdp_string(&offer.sdp).unwrap();
        let answer = self.receiver.sdp_api().accept_offer(parsed).unwrap();
        self.sender.answer(&answer.to_sdp_string()).unwrap();
        self.pump();
        offer
    }

    fn pump(&mut self) {
        loop {
            let mut quiet = true;
            loop {
                match self.sender.poll().unwrap() {
                    Outcome::Wait(_) => break,
                    Outcome::KeyframeWanted(track) => self.keyframes_wanted.push(track),
                    Outcome::Datagram(to, datagram) => {
                        quiet = false;
                        let contents = datagram[..].try_into().unwrap();
                        let receive = Receive { proto: Protocol::Udp, source: address(1), destination: to, contents };
                        self.receiver.handle_input(Input::Receive(self.now, receive)).unwrap();
                        quiet &= !self.drain_receiver();
                    }
                }
            }
            quiet &= !self.drain_receiver();
            if quiet {
                return;
            }
        }
    }

    fn drain_receiver(&mut self) -> bool {
        let mut sent = false;
        loop {
            match self.receiver.poll_output().unwrap() {
                Output::Timeout(_) => return sent,
                Output::Transmit(transmit) => {
                    sent = true;
                    self.sender.receive(address(2), &transmit.contents, self.now).unwrap();
                }
                Output::Event(Event::MediaData(data)) => {
                    self.arrived.push((data.mid.to_string(), data.time.numer(), data.data[0]));
                }
                Output::Event(Event::SenderFeedback(feedback)) => {
                    self.reports.push((feedback.sender_info.ntp_time, feedback.sender_info.rtp_time.numer()));
                }
                Output::Event(_) => {}
            }
        }
    }

    fn wait(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now += Duration::from_millis(10);
            self.sender.tick(self.now).unwrap();
            self.receiver.handle_input(Input::Timeout(self.now)).unwrap();
            self.pump();
        }
    }

    fn connect(&mut self) {
        let mut guard = 0;
        while !(self.sender.is_connected() && self.receiver.is_connected()) {
            self.wait(10);
            guard += 1;
            assert!(guard < 1_000, "does not connect");
        }
    }
}

fn track(name: &str, kind: TrackKind) -> TrackId {
    TrackId::new(ParticipantId::new(name), kind)
}

fn ssrcs(sdp: &str) -> Vec<&str> {
    sdp.lines().filter_map(|line| line.strip_prefix("a=ssrc:")?.split_ascii_whitespace().next()).collect()
}

/// A keyframe of 16x16, as far as packetizers look.
fn picture(mark: u8) -> Arc<[u8]> {
    Arc::from([mark & 0xfe, 0, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0, 1, 2, 3, 4])
}

#[test]
fn pictures_and_packets_arrive_with_their_times() {
    let mut pair = Pair::new();
    let (camera, sound) = (track("ada", TrackKind::Camera), track("ada", TrackKind::Microphone));
    let offer = pair.negotiate(&[camera.clone(), sound.clone()]);
    assert!(!offer.sdp.contains("sdes:mid"), "like LiveKit, no MID extension");
    assert!(pair.sender.offer(&[sound.clone(), camera.clone()]).is_none(), "nothing changes");
    pair.connect();
    let mid = |track: &TrackId| offer.lines.iter().find(|line| line.track == *track).unwrap().mid.clone();
    let start = (1_u64 << 32) - 6_000;
    for n in 0..4 {
        pair.sender.send(&camera, pair.now, start + n * 3_000, &picture(2 * n as u8)).unwrap();
        pair.pump();
        pair.sender.send(&sound, pair.now, 480_000 + n * 960, &Arc::from([0xf8, n as u8])).unwrap();
        pair.pump();
        pair.wait(20);
    }
    let of = |track: &TrackId| -> Vec<u64> {
        let first = pair.arrived.iter().find(|(m, ..)| *m == mid(track)).unwrap().1;
        pair.arrived.iter().filter(|(m, ..)| *m == mid(track)).map(|(_, time, _)| time - first).collect()
    };
    assert_eq!(of(&camera), [0, 3_000, 6_000, 9_000], "over the wrap of 32 bits");
    assert_eq!(of(&sound), [0, 960, 1_920, 2_880]);
}

#[test]
fn an_ended_tracks_m_line_goes_to_the_next_one_with_a_new_ssrc() {
    let mut pair = Pair::new();
    let (ada, ivo) = (track("ada", TrackKind::Camera), track("ivo", TrackKind::Camera));
    let first = pair.negotiate(std::slice::from_ref(&ada));
    pair.connect();
    let ended = pair.negotiate(&[]);
    assert!(ended.lines.is_empty() && ended.sdp.contains("a=inactive"));
    pair.sender.send(&ada, pair.now, 0, &picture(0)).unwrap();
    pair.wait(50);
    assert!(pair.arrived.is_empty(), "nothing is sent for a Track that ended");
    let reused = pair.negotiate(std::slice::from_ref(&ivo));
    assert_eq!(first.lines[0].mid, reused.lines[0].mid);
    assert_ne!(first.lines[0].source, reused.lines[0].source);
    assert_eq!(reused.lines[0].track, ivo);
    assert_eq!(reused.sdp.matches("m=video").count(), 1);
    let before = ssrcs(&first.sdp);
    assert!(!before.is_empty() && !ssrcs(&reused.sdp).is_empty());
    assert!(ssrcs(&reused.sdp).iter().all(|ssrc| !before.contains(ssrc)), "{before:?} again");

    // In one offer one ends and another begins: the m-line has to be idle first.
    let swapped = pair.negotiate(std::slice::from_ref(&ada));
    assert_eq!((swapped.lines.len(), &swapped.lines[0].track), (1, &ada));
    assert_ne!(swapped.lines[0].mid, reused.lines[0].mid);
}

#[test]
fn keyframe_requests_come_back_with_their_track() {
    let mut pair = Pair::new();
    let (ada, ivo) = (track("ada", TrackKind::Camera), track("ivo", TrackKind::Camera));
    let offer = pair.negotiate(&[ada.clone(), ivo.clone()]);
    pair.connect();
    assert_eq!(pair.keyframes_wanted, [ada.clone(), ivo.clone()], "whoever connects has seen nothing yet");
    pair.keyframes_wanted.clear();
    for track in [&ada, &ivo] {
        pair.sender.send(track, pair.now, 90_000, &picture(0)).unwrap();
        pair.pump();
    }
    pair.wait(100);
    let mid = offer.lines.iter().find(|line| line.track == ivo).unwrap().mid.as_str();
    pair.receiver.writer(Mid::from(mid)).unwrap().request_keyframe(None, KeyframeRequestKind::Pli).unwrap();
    pair.wait(100);
    assert_eq!(pair.keyframes_wanted, [ivo]);
}

#[test]
fn what_is_taken_before_the_connection_is_not_sent_later() {
    let mut pair = Pair::new();
    let camera = track("ada", TrackKind::Camera);
    pair.negotiate(std::slice::from_ref(&camera));
    for n in 0..30 {
        pair.sender.send(&camera, pair.now, 90_000 + n * 3_000, &picture(0)).unwrap();
    }
    pair.connect();
    pair.sender.send(&camera, pair.now, 900_000, &picture(2)).unwrap();
    pair.wait(200);
    assert_eq!(pair.arrived.iter().map(|(_, _, mark)| *mark).collect::<Vec<_>>(), [2]);
}

#[test]
fn sender_reports_relate_both_tracks_to_one_clock() {
    let mut pair = Pair::new();
    let camera = track("ada", TrackKind::Camera);
    pair.negotiate(std::slice::from_ref(&camera));
    pair.connect();
    let start = pair.now;
    for n in 0..90 {
        // Written 4 ms late: the report must still tell the capture time.
        let captured = start + Duration::from_nanos(n * 1_000_000_000 / 30);
        pair.now = captured + Duration::from_millis(4);
        pair.sender.tick(pair.now).unwrap();
        pair.pump();
        pair.sender.send(&camera, captured, 90_000 + n * 3_000, &picture(0)).unwrap();
        pair.pump();
    }
    assert!(pair.reports.len() > 1);
    let offsets: Vec<f64> = pair
        .reports
        .iter()
        .filter(|(_, rtp)| *rtp > 0)
        .map(|(ntp, rtp)| ntp.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() - *rtp as f64 / 90_000.0)
        .collect();
    assert!(offsets.len() > 1 && offsets.iter().all(|offset| (offset - offsets[0]).abs() < 0.000_1), "{offsets:?}");
}

#[test]
fn wrong_answers_are_refused() {
    let mut sender = Sender::new(address(1), Instant::now()).unwrap();
    assert!(matches!(sender.answer("v=0\r\n"), Err(SendError::NoOffer)));
    sender.offer(&[track("ada", TrackKind::Camera)]).unwrap();
    assert!(sender.answer("nonsense").is_err());
    assert!(sender.candidate("candidate:nonsense").is_err());
    sender.receive(address(2), &[1, 2, 3], Instant::now()).unwrap();
}
