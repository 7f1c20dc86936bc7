//! The graphs of the programme monitor: the sound as Opus, and one WebRTC peer for each viewer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_sdp as gst_sdp;
use gstreamer_video as gst_video;
use gstreamer_webrtc as gst_webrtc;
use tokio::sync::oneshot;

use super::encoder::{EncodedPacket, deliver};
use super::template::{Graph, GraphError, Template};

pub(super) const TEMPLATES: [Template; 2] = [
    Template::new("monitor-viewer", include_str!("../../pipelines/monitor-viewer.launch")),
    Template::new("monitor-sound", include_str!("../../pipelines/monitor-sound.launch")),
];

/// What `webrtcbin` makes inside of itself.
const INSIDE: [&str; 8] = ["rtpbin", "rtpfunnel", "nicesrc", "nicesink", "dtlssrtpdec", "dtlssrtpenc", "srtpdec", "srtpenc"];

/// Time between two reports to a viewer. By the second one a player keeps sound and picture together; GStreamer's own five seconds would let it wait long.
const REPORT_EVERY: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Elements that the programme monitor needs and this machine lacks.
///
/// # Errors
/// GStreamer does not start.
pub fn missing_for_monitor() -> Result<Vec<&'static str>, GraphError> {
    let mut missing = Vec::new();
    for template in TEMPLATES {
        missing.extend(template.missing()?);
    }
    missing.extend(INSIDE.into_iter().filter(|factory| gst::ElementFactory::find(factory).is_none()));
    missing.sort_unstable();
    missing.dedup();
    Ok(missing)
}

/// AAC to Opus. Owned by the monitor's task.
pub struct OpusFromAac {
    graph: Graph,
    source: gst_app::AppSrc,
}

impl OpusFromAac {
    /// A running transcoder for the AAC of this AudioSpecificConfig, 48 kHz stereo, which hands each Opus packet to `output`.
    ///
    /// # Errors
    /// Missing elements.
    pub fn start(config: &[u8], output: impl Fn(Option<EncodedPacket>) + Send + Sync + 'static) -> Result<Self, GraphError> {
        let graph = TEMPLATES[1].build()?;
        let source: gst_app::AppSrc = graph.element("packets_in")?;
        let caps = gst::Caps::builder("audio/mpeg")
            .field("mpegversion", 4i32)
            .field("stream-format", "raw")
            .field("rate", 48_000i32)
            .field("channels", 2i32)
            .field("codec_data", gst::Buffer::from_slice(config.to_vec()))
            .build();
        source.set_caps(Some(&caps));
        source.set_max_bytes(0);
        deliver(&graph, output)?;
        graph.play()?;
        Ok(Self { graph, source })
    }

    /// Takes one AAC frame; never waits.
    ///
    /// # Errors
    /// The transcoder has ended by a fault.
    pub fn push(&self, frame: &[u8], pts_ns: u64) -> Result<(), GraphError> {
        let mut buffer = gst::Buffer::from_slice(frame.to_vec());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(pts_ns));
        }
        if let Some(fault) = self.graph.poll_fault() {
            tracing::warn!(element = fault.element, reason = fault.message, "the monitor's sound has a fault");
        }
        self.source.push_buffer(buffer).map(|_| ()).map_err(|_| GraphError::Flow("monitor-sound"))
    }
}

/// One stream that a viewer is sent, as the offer has it.
#[derive(Clone, Debug)]
pub struct SentStream {
    /// Which m-line of the offer.
    pub line: u32,
    /// How the offer numbers the codec.
    pub payload_type: u8,
    /// Format parameters of the offer.
    pub format: Vec<(String, String)>,
    /// Identifies the stream.
    pub ssrc: u32,
}

/// Which stream a packet belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewerStream {
    /// H.264.
    Picture,
    /// Opus.
    Sound,
}

/// What a viewer's graph sees; called on threads of GStreamer, must not wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewerEvent {
    /// Packets can be exchanged.
    Connected,
    /// The connection ended, or did not come about.
    Gone,
    /// The viewer cannot decode what it has, and wants a keyframe.
    KeyframeWanted,
}

/// A viewer could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    /// The graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The peer refuses the offer, or makes no answer of it.
    #[error("the offer cannot be answered: {0}")]
    Refused(&'static str),
}

/// One WebRTC peer. Dropping it waits for its threads: not on a tokio task.
pub struct ViewerGraph {
    graph: Graph,
    peer: gst::Element,
    picture: gst_app::AppSrc,
    sound: gst_app::AppSrc,
    heard: Arc<AtomicU32>,
}

impl ViewerGraph {
    /// A running graph that has not heard of an offer yet. It can be reached at `address` only.
    ///
    /// # Errors
    /// Missing elements, or a graph that refuses to run.
    pub fn start(
        picture: &SentStream,
        sound: &SentStream,
        address: IpAddr,
        events: impl Fn(ViewerEvent) + Clone + Send + Sync + 'static,
    ) -> Result<Self, GraphError> {
        let graph = TEMPLATES[0].build()?;
        let peer: gst::Element = graph.element("peer")?;
        reach_at(&peer, address);
        let sources = [("picture", "video", "H264", 90_000, picture), ("sound", "audio", "OPUS", 48_000, sound)];
        for (name, media, codec, hz, stream) in sources {
            let source: gst_app::AppSrc = graph.element(name)?;
            let mut caps = gst::Caps::builder("application/x-rtp")
                .field("media", media)
                .field("encoding-name", codec)
                .field("clock-rate", hz)
                .field("payload", i32::from(stream.payload_type))
                .field("ssrc", stream.ssrc);
            for (key, value) in &stream.format {
                caps = caps.field(key.as_str(), value.as_str());
            }
            source.set_caps(Some(&caps.build()));
            source.set_max_bytes(0);
            source
                .link_pads(Some("src"), &peer, Some(&format!("sink_{}", stream.line)))
                .map_err(|_| GraphError::NoElement { graph: "monitor-viewer", element: "peer" })?;
            keep_keyframe_wishes(&source, events.clone());
        }
        for index in 0..2 {
            let transceiver = peer.emit_by_name::<Option<gst_webrtc::WebRTCRTPTransceiver>>("get-transceiver", &[&index]);
            if let Some(transceiver) = transceiver {
                transceiver.set_direction(gst_webrtc::WebRTCRTPTransceiverDirection::Sendonly);
            }
        }
        peer.connect_notify(Some("connection-state"), move |peer, _| {
            use gst_webrtc::WebRTCPeerConnectionState as State;
            match peer.property::<State>("connection-state") {
                State::Connected => events(ViewerEvent::Connected),
                State::Failed | State::Closed => events(ViewerEvent::Gone),
                _ => {}
            }
        });
        graph.play()?;
        let (picture, sound) = (graph.element("picture")?, graph.element("sound")?);
        Ok(Self { graph, peer, picture, sound, heard: Arc::default() })
    }

    /// Takes the offer, and gives the answer with all our addresses in it. The graph must live as long as the future.
    ///
    /// # Errors
    /// It is refused.
    pub fn answer(&self, offer: &str) -> impl Future<Output = Result<String, ViewerError>> + Send + 'static {
        negotiate(self.peer.clone(), offer.to_owned())
    }

    /// The certificate that the viewer has shown (PEM). GStreamer 1.22 does not compare it with the offer.
    pub fn certificate(&self) -> Option<String> {
        let transceiver = self.peer.emit_by_name::<Option<gst_webrtc::WebRTCRTPTransceiver>>("get-transceiver", &[&0i32])?;
        transceiver.sender()?.transport()?.remote_certificate().map(|pem| pem.to_string())
    }

    /// From now on reports of the viewer are counted: see [`Self::heard`]; and it is told each second or so how sound and picture belong together. Call when it is connected.
    pub fn listen(&self) {
        let Some(rtpbin) = self.peer.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name("rtpbin")) else { return };
        // Both streams are one session, because they are bundled.
        if let Some(session) = rtpbin.emit_by_name::<Option<glib::Object>>("get-internal-session", &[&0_u32]) {
            session.set_property("rtcp-min-interval", REPORT_EVERY.nseconds());
        }
        let Some(pad) = rtpbin.pads().into_iter().find(|pad| pad.name().starts_with("recv_rtcp_sink")) else { return };
        let heard = Arc::clone(&self.heard);
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
            heard.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }

    /// How many reports the viewer has sent.
    pub fn heard(&self) -> u32 {
        self.heard.load(Ordering::Relaxed)
    }

    /// The running time of the graph now, in nanoseconds; packets are given theirs on the same scale.
    pub fn running_time_ns(&self) -> u64 {
        self.peer.current_running_time().map_or(0, gst::ClockTime::nseconds)
    }

    /// Sends RTP packets of one instant; never waits.
    ///
    /// # Errors
    /// The graph has ended by a fault.
    pub fn push(&self, stream: ViewerStream, packets: Vec<Vec<u8>>, running_time_ns: u64) -> Result<(), GraphError> {
        let mut list = gst::BufferList::new_sized(packets.len());
        if let Some(list) = list.get_mut() {
            for packet in packets {
                let mut buffer = gst::Buffer::from_mut_slice(packet);
                if let Some(buffer) = buffer.get_mut() {
                    buffer.set_pts(gst::ClockTime::from_nseconds(running_time_ns));
                }
                list.add(buffer);
            }
        }
        let source = match stream {
            ViewerStream::Picture => &self.picture,
            ViewerStream::Sound => &self.sound,
        };
        source.push_buffer_list(list).map(|_| ()).map_err(|_| GraphError::Flow("monitor-viewer"))
    }

    /// Bytes that wait in the sources.
    pub fn waiting_bytes(&self) -> u64 {
        self.picture.current_level_bytes() + self.sound.current_level_bytes()
    }

    /// Whether the graph has a fault.
    pub fn is_broken(&self) -> bool {
        self.graph
            .poll_fault()
            .inspect(|fault| tracing::warn!(element = fault.element, reason = fault.message, "a viewer's graph has a fault"))
            .is_some()
    }
}

async fn negotiate(peer: gst::Element, offer: String) -> Result<String, ViewerError> {
    use gst_webrtc::{WebRTCICEGatheringState as Gathering, WebRTCSDPType, WebRTCSessionDescription};
    let message = gst_sdp::SDPMessage::parse_buffer(offer.as_bytes()).map_err(|_| ViewerError::Refused("not SDP"))?;
    tell(&peer, "set-remote-description", &WebRTCSessionDescription::new(WebRTCSDPType::Offer, message)).await?;
    let (promise, reply) = gst::Promise::new_future();
    peer.emit_by_name::<()>("create-answer", &[&None::<gst::Structure>, &promise]);
    let reply = reply.await.ok().flatten().ok_or(ViewerError::Refused("no answer"))?;
    let answer = reply.value("answer").ok().and_then(|value| value.get::<WebRTCSessionDescription>().ok());
    let answer = answer.ok_or(ViewerError::Refused("no answer"))?;
    let (told, gathered) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let is_complete = |peer: &gst::Element| peer.property::<Gathering>("ice-gathering-state") == Gathering::Complete;
    let watching = peer.connect_notify(Some("ice-gathering-state"), move |peer, _| {
        let waiting = is_complete(peer).then(|| told.lock().unwrap_or_else(PoisonError::into_inner).take()).flatten();
        // Who does not wait any more has the answer or has given up.
        waiting.map(|told| told.send(()).ok());
    });
    tell(&peer, "set-local-description", &answer).await?;
    let complete = is_complete(&peer) || gathered.await.is_ok();
    peer.disconnect(watching);
    let local = peer.property::<Option<WebRTCSessionDescription>>("local-description");
    let text = local.filter(|_| complete).and_then(|local| local.sdp().as_text().ok());
    text.ok_or(ViewerError::Refused("no addresses"))
}

async fn tell(peer: &gst::Element, signal: &str, description: &gst_webrtc::WebRTCSessionDescription) -> Result<(), ViewerError> {
    let (promise, reply) = gst::Promise::new_future();
    peer.emit_by_name::<()>(signal, &[description, &promise]);
    match reply.await {
        Ok(Some(reply)) if reply.has_field("error") => Err(ViewerError::Refused("the streams do not fit")),
        Ok(_) => Ok(()),
        Err(_) => Err(ViewerError::Refused("the peer has ended")),
    }
}

/// Host candidates of this address and no other, by UDP.
fn reach_at(peer: &gst::Element, address: IpAddr) {
    let ice = peer.property::<glib::Object>("ice-agent");
    if !ice.emit_by_name::<bool>("add-local-ip-address", &[&address.to_string()]) {
        tracing::warn!(%address, "viewers cannot come to this address");
    }
    let agent = ice.property::<glib::Object>("agent");
    agent.set_property("ice-tcp", false);
    agent.set_property("upnp", false);
}

/// A viewer's wish for a keyframe ends here: it must not travel to an encoder that others share.
fn keep_keyframe_wishes(source: &gst_app::AppSrc, events: impl Fn(ViewerEvent) + Send + Sync + 'static) {
    let Some(pad) = source.static_pad("src") else { return };
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &info.data
            && gst_video::ForceKeyUnitEvent::is(event)
        {
            events(ViewerEvent::KeyframeWanted);
            return gst::PadProbeReturn::Drop;
        }
        gst::PadProbeReturn::Ok
    });
}
