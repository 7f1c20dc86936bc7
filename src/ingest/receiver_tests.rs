//! Reception against an SFU that is str0m too, in virtual time: no socket, no clock, no sleep.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use recorder_core::ids::{ParticipantId, TrackKind};
use recorder_core::time::SessionTime;
use str0m::change::{SdpAnswer, SdpApi};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RawPacket, RtpWrite, rtcp::Rtcp};

use super::streams::extend;
use super::*;
use crate::ingest::capture::ArrivalIsCapture;
use crate::media::Codec;

const TICK: Duration = Duration::from_millis(5);

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 5000))
}

fn camera(who: &str) -> TrackId {
    TrackId::new(ParticipantId::new(who), TrackKind::Camera)
}

fn microphone(who: &str) -> TrackId {
    TrackId::new(ParticipantId::new(who), TrackKind::Microphone)
}

type Report = (TrackId, u32, u32, i64, u64);

/// Keeps what it is told.
#[derive(Default, Clone)]
struct Noted(Arc<Mutex<Vec<Report>>>);

impl CaptureTimes for Noted {
    fn arrived(&mut self, _: &TrackId, _: u32, _: u32, _: u64, arrival: SessionTime) -> SessionTime {
        arrival
    }
    fn made_up(&mut self, _: &TrackId, _: u32, _: u64, _: SessionTime) -> Option<SessionTime> {
        None
    }
    fn sender_report(&mut self, track: &TrackId, stream: u32, hz: u32, ntp_ns: i64, rtp_time: u64, _: SessionTime) {
        self.0.lock().unwrap().push((track.clone(), stream, hz, ntp_ns, rtp_time));
    }
    fn forget(&mut self, _: &TrackId) {}
}

/// Says of a datagram whether it is lost.
type Loss = Box<dyn FnMut(&[u8]) -> bool>;

struct World {
    now: Instant,
    sfu: Rtc,
    receiver: Receiver,
    to_receiver: VecDeque<Vec<u8>>,
    to_sfu: VecDeque<Vec<u8>>,
    /// Which datagrams the network loses on the way to us.
    loses: Loss,
    frames: Vec<MediaFrame>,
    events: Vec<IngestEvent>,
    keyframe_requests: Vec<Duration>,
    nacked: u32,
    start: Instant,
    last_answer: String,
}

impl World {
    fn new(capture: Box<dyn CaptureTimes>) -> Self {
        Self::of(capture, new_sfu)
    }

    fn of(capture: Box<dyn CaptureTimes>, sfu: fn(Instant) -> Rtc) -> Self {
        let now = Instant::now();
        crate::ingest::install_crypto();
        let settings = IngestSettings::new(SessionClock::start());
        let sfu = sfu(now);
        let receiver = Receiver::new(&settings, capture, now);
        let mut world = Self {
            now,
            sfu,
            receiver,
            to_receiver: VecDeque::new(),
            to_sfu: VecDeque::new(),
            loses: Box::new(|_| false),
            frames: Vec::new(),
            events: Vec::new(),
            keyframe_requests: Vec::new(),
            nacked: 0,
            start: now,
            last_answer: String::new(),
        };
        world.add_candidates();
        world
    }

    fn add_candidates(&mut self) {
        self.receiver.add_local_candidate(Candidate::host(address(2), "udp").unwrap());
        self.receiver.add_remote_candidate(Candidate::host(address(1), "udp").unwrap());
    }

    /// Another SFU, as after a restart of the server.
    fn reconnect(&mut self) {
        self.sfu = new_sfu(self.now);
        self.receiver.restart(self.now);
        self.to_receiver.clear();
        self.to_sfu.clear();
        self.add_candidates();
    }

    fn negotiate<T>(&mut self, change: impl FnOnce(&mut SdpApi<'_>) -> T, tracks: impl FnOnce(&T) -> Vec<MidTrack>) -> T {
        let mut changes = self.sfu.sdp_api();
        let made = change(&mut changes);
        let (offer, pending) = changes.apply().unwrap();
        // LiveKit offers retransmission of Opus, which str0m never does.
        let text =
            offer.to_sdp_string().replace("a=rtpmap:111 opus/48000/2\r\n", "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 nack\r\n");
        self.last_answer = self.receiver.accept_offer(&text, tracks(&made), self.now).unwrap();
        let answer = SdpAnswer::from_sdp_string(&self.last_answer).unwrap();
        self.sfu.sdp_api().accept_answer(pending, answer).unwrap();
        made
    }

    /// A connection with one camera and one microphone.
    fn connected(capture: Box<dyn CaptureTimes>) -> (Self, Mid, Mid) {
        Self::new(capture).connect()
    }

    fn connect(self) -> (Self, Mid, Mid) {
        let mut world = self;
        let (video, sound) = world.negotiate(
            |changes| {
                let media = |c: &mut SdpApi<'_>, kind| c.add_media(kind, Direction::SendRecv, None, None, None);
                (media(changes, MediaKind::Video), media(changes, MediaKind::Audio))
            },
            |(video, sound)| vec![mapped(*video, camera("a"), "TR_v"), mapped(*sound, microphone("a"), "TR_a")],
        );
        world.run(Duration::from_millis(500));
        assert!(world.events.contains(&IngestEvent::Connected), "{:?}", world.events);
        (world, video, sound)
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            for datagram in std::mem::take(&mut self.to_sfu) {
                let receive = Receive::new(Protocol::Udp, address(2), address(1), &datagram).unwrap();
                self.sfu.handle_input(Input::Receive(self.now, receive)).unwrap();
                self.drain_sfu();
            }
            for datagram in std::mem::take(&mut self.to_receiver) {
                match Receive::new(Protocol::Udp, address(1), address(2), &datagram) {
                    Ok(receive) => self.receiver.receive(receive, self.now),
                    Err(_) => self.receiver.refuse(),
                }
            }
            self.sfu.handle_input(Input::Timeout(self.now)).unwrap();
            self.drain_sfu();
            self.receiver.timeout(self.now);
            while let Some(out) = self.receiver.poll() {
                match out {
                    Out::Transmit(packet) => self.to_sfu.push_back(packet.contents.to_vec()),
                    Out::Frame(frame) => self.frames.push(frame),
                    Out::Event(event) => self.events.push(event),
                }
            }
        }
    }

    fn drain_sfu(&mut self) {
        loop {
            match self.sfu.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Transmit(packet) => {
                    if !(self.loses)(&packet.contents) {
                        self.to_receiver.push_back(packet.contents.to_vec());
                    }
                }
                Output::Event(Event::KeyframeRequest(request)) => {
                    assert_eq!(request.kind, KeyframeRequestKind::Pli);
                    self.keyframe_requests.push(self.now - self.start);
                }
                Output::Event(Event::RawPacket(raw)) => {
                    if let RawPacket::RtcpRx(Rtcp::Nack(_)) = *raw {
                        self.nacked += 1;
                    }
                }
                Output::Event(_) => {}
            }
        }
    }

    fn send(&mut self, mid: Mid, pt: u8, seq: u64, rtp_time: u32, payload: &[u8]) {
        let write = RtpWrite::new(pt.into(), seq.into(), rtp_time, self.now, payload.to_vec()).marker(true).nackable(true);
        self.sfu.direct_api().stream_tx_by_mid(mid, None).unwrap().write_rtp(write);
    }

    fn send_video(&mut self, mid: Mid, seqs: std::ops::Range<u64>, first_is: Vp8) {
        for seq in seqs.clone() {
            let payload = if seq == seqs.start { vp8(first_is) } else { vp8(Vp8::Inter) };
            self.send(mid, 96, seq, 3000 * seq as u32, &payload);
            self.run(Duration::from_millis(35));
        }
    }

    fn seen(&self, track: &TrackId) -> Vec<&MediaFrame> {
        self.frames.iter().filter(|frame| &frame.track == track).collect()
    }
}

/// Like LiveKit: ICE-lite, and no MID header extension.
fn new_sfu(now: Instant) -> Rtc {
    let mut sfu = Rtc::builder().set_rtp_mode(true).set_ice_lite(true).enable_raw_packets(true).clear_extension_map().build(now);
    sfu.add_local_candidate(Candidate::host(address(1), "udp").unwrap());
    sfu
}

fn mapped(mid: Mid, track: TrackId, source: &str) -> MidTrack {
    MidTrack { mid: mid.to_string(), track, source: source.into() }
}

#[derive(Clone, Copy)]
enum Vp8 {
    Key(u16),
    Inter,
}

fn vp8(frame: Vp8) -> Vec<u8> {
    let mut payload = vec![0x10];
    match frame {
        Vp8::Key(width) => {
            payload.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a]);
            payload.extend(width.to_le_bytes());
            payload.extend((width / 2).to_le_bytes());
        }
        Vp8::Inter => payload.extend([0x11, 0x02, 0x00]),
    }
    payload.extend([7; 40]);
    payload
}

/// Whether these bytes are an RTP packet with this payload type and sequence number.
fn is_rtp(datagram: &[u8], pt: u8, seq: Option<u16>) -> bool {
    datagram.len() > 12
        && datagram[0] >> 6 == 2
        && datagram[1] & 0x7f == pt
        && seq.is_none_or(|seq| datagram[2..4] == seq.to_be_bytes())
}

#[test]
fn frames_arrive_whole_on_their_tracks() {
    let (mut world, video, sound) = World::connected(Box::new(ArrivalIsCapture));
    for n in 0..20 {
        world.send(sound, 111, 100 + n, 960 * n as u32, &[n as u8; 30]);
        world.run(Duration::from_millis(20));
    }
    world.send_video(video, 50..60, Vp8::Key(640));
    assert_eq!(world.seen(&microphone("a")).len(), 20);
    let pictures = world.seen(&camera("a"));
    assert_eq!(pictures.len(), 10);
    assert!(pictures[0].keyframe && !pictures[1].keyframe);
    assert!(pictures.iter().all(|p| p.codec == Codec::Vp8 && p.stream == 1 && p.contiguous));
    assert_eq!(pictures[9].rtp_time - pictures[0].rtp_time, 9 * 3000);
    assert!(pictures.windows(2).all(|w| w[0].arrival < w[1].arrival));
}

#[test]
fn we_only_receive() {
    let (world, video, sound) = World::connected(Box::new(ArrivalIsCapture));
    assert_eq!(world.sfu.media(video).unwrap().direction(), Direction::SendOnly);
    assert_eq!(world.sfu.media(sound).unwrap().direction(), Direction::SendOnly);
    assert!(!world.last_answer.contains("a=ssrc"));
    let codecs = ["VP8/90000", "VP9/90000", "H264/90000"].map(|codec| world.last_answer.contains(codec));
    assert_eq!(codecs, [true; 3], "{}", world.last_answer);
    assert!(!world.last_answer.contains("AV1") && !world.last_answer.contains("H265"), "{}", world.last_answer);
}

#[test]
fn an_m_line_used_again_for_another_stream_is_not_silent() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.send_video(video, 40_000..40_010, Vp8::Key(640));
    assert_eq!(world.seen(&camera("a")).len(), 10);

    world.negotiate(|changes| changes.set_direction(video, Direction::Inactive), |()| Vec::new());
    world.run(Duration::from_millis(100));
    world.sfu.direct_api().reset_stream_tx(video, None, 4242.into(), Some(4243.into())).unwrap();
    world.negotiate(|changes| changes.set_direction(video, Direction::SendRecv), |()| vec![mapped(video, camera("b"), "TR_w")]);
    assert!(world.last_answer.contains("a=recvonly"));
    world.run(Duration::from_millis(100));
    // Far below the numbers of the stream before.
    world.send_video(video, 10..20, Vp8::Key(320));
    assert_eq!(world.seen(&camera("b")).len(), 10, "the new stream is received");
    assert_eq!(world.seen(&camera("a")).len(), 10, "and not as the old Track");
}

#[test]
fn a_track_on_another_stream_counts_it() {
    let (mut world, video, sound) = World::connected(Box::new(ArrivalIsCapture));
    world.send_video(video, 100..103, Vp8::Key(640));
    let again = world.negotiate(
        |changes| changes.add_media(MediaKind::Video, Direction::SendRecv, None, None, None),
        |mid| vec![mapped(*mid, camera("a"), "TR_v2"), mapped(sound, microphone("a"), "TR_a")],
    );
    world.run(Duration::from_millis(100));
    world.send_video(again, 5..8, Vp8::Key(640));
    // What still comes on the old m-line belongs to nobody.
    world.send_video(video, 103..105, Vp8::Inter);
    let streams: Vec<_> = world.seen(&camera("a")).iter().map(|f| f.stream).collect();
    assert_eq!(streams, [1, 1, 1, 2, 2, 2]);
}

#[test]
fn stream_numbers_go_on_after_a_restart() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.send_video(video, 100..102, Vp8::Key(640));
    world.reconnect();
    let video = world.negotiate(
        |changes| changes.add_media(MediaKind::Video, Direction::SendRecv, None, None, None),
        |mid| vec![mapped(*mid, camera("a"), "TR_v")],
    );
    world.run(Duration::from_millis(500));
    world.send_video(video, 100..102, Vp8::Key(640));
    let streams: Vec<_> = world.seen(&camera("a")).iter().map(|f| f.stream).collect();
    assert_eq!(streams, [1, 1, 2, 2]);
}

#[test]
fn a_decoders_wish_is_sent_at_once_and_throttled() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.send_video(video, 100..103, Vp8::Key(640));
    for _ in 0..10 {
        world.receiver.request_keyframe(&camera("a"), world.now);
        world.receiver.request_keyframe(&microphone("a"), world.now);
        world.receiver.request_keyframe(&camera("nobody"), world.now);
        world.run(Duration::from_millis(50));
    }
    assert_eq!(world.keyframe_requests.len(), 1, "{:?}", world.keyframe_requests);
}

#[test]
fn blank_frames_are_not_pictures() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.send_video(video, 100..103, Vp8::Key(640));
    world.send_video(video, 103..105, Vp8::Key(8));
    world.send_video(video, 105..106, Vp8::Key(16));
    assert_eq!(world.seen(&camera("a")).len(), 3);
    world.send_video(video, 106..108, Vp8::Key(320));
    assert_eq!(world.seen(&camera("a")).len(), 5);
}

#[test]
fn pictures_that_return_after_blank_frames_without_their_keyframe_ask_for_one() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    world.send_video(video, 100..103, Vp8::Key(640));
    world.send_video(video, 103..104, Vp8::Key(8));
    assert_eq!(world.keyframe_requests.len(), 0);
    world.send_video(video, 104..107, Vp8::Inter);
    assert_eq!(world.keyframe_requests.len(), 1, "{:?}", world.keyframe_requests);
    assert_eq!(world.seen(&camera("a")).len(), 3, "and are not shown before");
}

#[test]
fn nothing_is_passed_on_that_is_not_mapped() {
    let (mut world, video, sound) = World::connected(Box::new(ArrivalIsCapture));
    world.receiver.map_tracks(vec![mapped(sound, microphone("a"), "TR_a")]);
    world.send_video(video, 100..103, Vp8::Key(640));
    world.send(sound, 111, 1, 0, &[1; 30]);
    world.run(Duration::from_millis(50));
    assert_eq!(world.seen(&camera("a")).len(), 0);
    assert_eq!(world.seen(&microphone("a")).len(), 1);
}

#[test]
fn sender_reports_reach_the_clock_model_in_the_frames_time() {
    let noted = Noted::default();
    let (mut world, video, _) = World::connected(Box::new(noted.clone()));
    world.send_video(video, 100..250, Vp8::Key(640));
    let last = world.seen(&camera("a")).last().unwrap().rtp_time;
    let reports = noted.0.lock().unwrap();
    let (track, stream, hz, _, rtp_time) = reports.last().expect("a report came");
    assert_eq!((track, *stream, *hz), (&camera("a"), 1, 90_000));
    assert!(rtp_time.abs_diff(last) < 5 * 90_000, "{rtp_time} is in the same time as {last}");
}

#[test]
fn a_report_before_or_after_a_wrap_is_extended_towards_the_frames() {
    assert_eq!(extend(0x1_0000_0010, 0xffff_fff0), 0xffff_fff0);
    assert_eq!(extend(0xffff_fff0, 0x10), 0x1_0000_0010);
    let before_first = extend(5, 0xffff_ffff);
    assert_eq!(5_u64.wrapping_sub(before_first), 6, "a distance survives below the first frame's zero");
    let before_1970 = UNIX_EPOCH - Duration::from_secs(3);
    assert_eq!(nanos_since_1970(before_1970), -3_000_000_000);
}

#[test]
fn a_vanished_sfu_is_noticed() {
    let (mut world, ..) = World::connected(Box::new(ArrivalIsCapture));
    world.events.clear();
    world.loses = Box::new(|_| true);
    world.run(Duration::from_secs(4));
    assert!(!world.events.contains(&IngestEvent::Disconnected), "a short silence is nothing");
    world.run(Duration::from_secs(8));
    assert_eq!(world.events.iter().filter(|e| **e == IngestEvent::Disconnected).count(), 1, "{:?}", world.events);
}

#[test]
fn an_offer_that_leads_nowhere_fails_in_time() {
    let mut world = World::new(Box::new(ArrivalIsCapture));
    world.loses = Box::new(|_| true);
    world.negotiate(|c| c.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None), |_| Vec::new());
    world.run(Duration::from_secs(11));
    assert!(world.events.iter().any(|e| matches!(e, IngestEvent::Failed { .. })), "{:?}", world.events);
}

#[test]
fn garbage_offers_are_refused_and_good_ones_still_accepted() {
    let mut world = World::new(Box::new(ArrivalIsCapture));
    for text in ["", "garbage", "v=0\r\n", "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\n"] {
        let refused = world.receiver.accept_offer(text, Vec::new(), world.now);
        assert!(matches!(refused, Err(IngestError::Sdp(_) | IngestError::Offer(_))), "{text}");
    }
}

#[test]
fn garbage_packets_do_no_harm() {
    let (mut world, video, _) = World::connected(Box::new(ArrivalIsCapture));
    let real = Arc::new(Mutex::new(Vec::new()));
    let copies = real.clone();
    world.loses = Box::new(move |datagram| {
        copies.lock().unwrap().push(datagram.to_vec());
        false
    });
    world.send_video(video, 100..110, Vp8::Key(640));
    world.loses = Box::new(|_| false);
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let real = real.lock().unwrap().clone();
    for _ in 0..3000 {
        let mut datagram = real[random() % real.len()].clone();
        match random() % 4 {
            0 => datagram.truncate(random() % (datagram.len() + 1)),
            1 => datagram = (0..random() % 100).map(|_| random() as u8).collect(),
            2 => {
                let at = random() % datagram.len();
                datagram[at] = random() as u8;
            }
            _ => datagram.extend([0; 7]),
        }
        // ICE credentials and DTLS are protected; only media is let through, like from a stranger.
        world.to_receiver.push_back(datagram);
    }
    world.run(Duration::from_millis(100));
    assert!(world.receiver.refused() > 0);
    let before = world.seen(&camera("a")).len();
    world.send_video(video, 110..120, Vp8::Key(640));
    assert_eq!(world.seen(&camera("a")).len(), before + 10, "reception goes on");
}

#[path = "receiver_repair_tests.rs"]
mod repair;
