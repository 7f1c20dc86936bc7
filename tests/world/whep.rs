//! A WHEP viewer (webrtcbin at the other end; a browser, too, is asked in `watching`), and HTTP by hand.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_sdp as gst_sdp;
use gstreamer_video as gst_video;
use gstreamer_webrtc as gst_webrtc;

/// No answer takes longer, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// Payload type of the picture in the offer.
const PICTURE: u8 = 96;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// For example 201.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks once, on a connection of its own.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {address}\r\n");
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    // Who refuses a body need not read it to the end.
    let _ = stream.write_all(body);
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut answer = Answer { status, head, body: Vec::new() };
    match answer.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => {
            answer.body.resize(length, 0);
            reader.read_exact(&mut answer.body)?;
        }
        None => _ = reader.read_to_end(&mut answer.body)?,
    }
    Ok(answer)
}

/// One viewer.
pub struct Viewer {
    pipeline: gst::Pipeline,
    peer: gst::Element,
    pictures_from: Arc<Mutex<Option<gst::Pad>>>,
    seen: Arc<Seen>,
    monitor: SocketAddr,
    token: String,
    place: String,
}

/// What has come.
#[derive(Default)]
struct Seen {
    pictures: AtomicUsize,
    keyframes: AtomicUsize,
    sounds: AtomicUsize,
}

/// A peer that has made an offer, and the offer.
fn peer() -> (gst::Pipeline, gst::Element, String) {
    gst::init().expect("GStreamer starts");
    let pipeline = gst::Pipeline::new();
    let peer =
        gst::ElementFactory::make("webrtcbin").property_from_str("bundle-policy", "max-bundle").build().expect("webrtcbin");
    pipeline.add(&peer).expect("a pipeline");
    let ice = peer.property::<gst::glib::Object>("ice-agent");
    assert!(ice.emit_by_name::<bool>("add-local-ip-address", &[&"127.0.0.1"]), "127.0.0.1 can be used");
    let agent = ice.property::<gst::glib::Object>("agent");
    ["ice-tcp", "upnp"].into_iter().for_each(|needless| agent.set_property(needless, false));
    for text in [
        "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96,packetization-mode=(string)1,rtcp-fb-nack-pli=true",
        "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=97,encoding-params=(string)2",
    ] {
        let caps: gst::Caps = text.parse().expect("caps");
        let direction = gst_webrtc::WebRTCRTPTransceiverDirection::Recvonly;
        peer.emit_by_name::<gst_webrtc::WebRTCRTPTransceiver>("add-transceiver", &[&direction, &caps]);
    }
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let promise = gst::Promise::new();
    peer.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &promise]);
    promise.wait();
    let offer = promise.get_reply().expect("an offer").get::<gst_webrtc::WebRTCSessionDescription>("offer").expect("an offer");
    describe(&peer, "set-local-description", &offer);
    let text = peer.property::<gst_webrtc::WebRTCSessionDescription>("local-description").sdp().as_text().expect("text");
    (pipeline, peer, text)
}

fn describe(peer: &gst::Element, signal: &str, description: &gst_webrtc::WebRTCSessionDescription) {
    let promise = gst::Promise::new();
    peer.emit_by_name::<()>(signal, &[description, &promise]);
    promise.wait();
    assert!(!promise.get_reply().is_some_and(|reply| reply.has_field("error")), "{signal}: {:?}", promise.get_reply());
}

impl Viewer {
    /// An offer of somebody who will not come.
    pub fn offer() -> String {
        let (pipeline, _, offer) = peer();
        pipeline.set_state(gst::State::Null).expect("it ends");
        offer
    }

    /// Joins; the answer of the monitor when it refuses.
    pub fn join(monitor: SocketAddr, token: &str) -> Result<Viewer, Answer> {
        let (pipeline, peer, offer) = peer();
        let (seen, pictures_from) = (Arc::<Seen>::default(), Arc::<Mutex<Option<gst::Pad>>>::default());
        let (counts, place_of_pictures, all) = (Arc::clone(&seen), Arc::clone(&pictures_from), pipeline.downgrade());
        peer.connect_pad_added(move |_, pad| {
            let Some(pipeline) = all.upgrade() else { return };
            let sink =
                gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build().expect("fakesink");
            pipeline.add(&sink).expect("a pipeline");
            sink.sync_state_with_parent().expect("it plays");
            pad.link(&sink.static_pad("sink").expect("a pad")).expect("it fits");
            let (counts, place_of_pictures) = (Arc::clone(&counts), Arc::clone(&place_of_pictures));
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                if let Some(packet) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) {
                    let is_picture = packet[1] & 0x7f == PICTURE;
                    if is_picture {
                        place_of_pictures.lock().expect("a pad").get_or_insert_with(|| pad.clone());
                    }
                    count(&counts, is_picture, &packet);
                }
                gst::PadProbeReturn::Ok
            });
        });
        let bearer = format!("Bearer {token}");
        let headers = [("Content-Type", "application/sdp"), ("Authorization", &bearer)];
        let answer = ask(monitor, "POST", "/whep", &headers, offer.as_bytes()).expect("the monitor answers");
        let place = answer.header("location").unwrap_or_default().to_owned();
        let viewer = Viewer { pipeline, peer: peer.clone(), pictures_from, seen, monitor, token: token.to_owned(), place };
        if answer.status != 201 {
            return Err(answer);
        }
        let sdp = gst_sdp::SDPMessage::parse_buffer(&answer.body).expect("an answer in SDP");
        let description = gst_webrtc::WebRTCSessionDescription::new(gst_webrtc::WebRTCSDPType::Answer, sdp);
        describe(&peer, "set-remote-description", &description);
        Ok(viewer)
    }

    /// Whole pictures that came.
    pub fn pictures(&self) -> usize {
        self.seen.pictures.load(Ordering::Relaxed)
    }

    /// Keyframes that came.
    pub fn keyframes(&self) -> usize {
        self.seen.keyframes.load(Ordering::Relaxed)
    }

    /// Packets of sound that came.
    pub fn sounds(&self) -> usize {
        self.seen.sounds.load(Ordering::Relaxed)
    }

    /// How it stands, for whoever has to find out why it does not see anything.
    pub fn story(&self) -> String {
        let state = |name: &str| self.peer.property_value(name).serialize().map(|state| state.to_string());
        let (connection, ice) = (state("connection-state"), state("ice-connection-state"));
        format!(
            "{connection:?}, ICE {ice:?}: {} pictures, {} keyframes, {} sounds",
            self.pictures(),
            self.keyframes(),
            self.sounds()
        )
    }

    /// Says that it cannot decode what it has.
    pub fn wants_keyframe(&self) {
        let pad = self.pictures_from.lock().expect("a pad").clone().expect("the picture has begun");
        let wish = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        assert!(pad.send_event(wish), "the wish is sent");
    }

    /// Leaves in order.
    pub fn leave(self) {
        let bearer = format!("Bearer {}", self.token);
        let answer = ask(self.monitor, "DELETE", &self.place, &[("Authorization", &bearer)], b"").expect("the monitor answers");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Counts an RTP packet: pictures by their last one, keyframes by their parameter sets.
fn count(seen: &Seen, is_picture: bool, packet: &[u8]) {
    let of = |counter: &AtomicUsize, yes: bool| _ = counter.fetch_add(usize::from(yes), Ordering::Relaxed);
    of(&seen.sounds, !is_picture);
    of(&seen.pictures, is_picture && packet[1] & 0x80 != 0);
    of(&seen.keyframes, is_picture && packet.get(12).is_some_and(|first| first & 0x1f == 24));
}
