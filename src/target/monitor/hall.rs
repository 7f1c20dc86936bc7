//! Everybody who watches, and what they are shown.
//!
//! In: viewers who come and go, packets of the worker. Out: packets to each viewer. One task owns it all and waits for no viewer: what blocks (making and ending a viewer's graph)
//! is done beside it. Packets are only fetched, and sound only transcoded, while somebody watches.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use recorder_core::time::SessionTime;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::follower::{Gop, Picture};
use super::offer::Offer;
use super::payload::AvcConfig;
use super::viewer::{Numbers, Viewer};
use super::wire::{Message, Messages, Received};
use crate::graph::{EncodedPacket, GraphError, OpusFromAac, ViewerEvent, ViewerGraph};
use crate::programme::packet::Stream;

/// Viewers at a time.
pub(super) const MOST_VIEWERS: usize = 100;
/// Pictures that are caught up with go out this far apart: a GOP of two seconds takes an eighth of one.
const CATCH_UP_EVERY: Duration = Duration::from_millis(4);
/// How often viewers are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two calls for a worker that is not there.
const CALL_EVERY: Duration = Duration::from_millis(100);
/// How long packets are still fetched when nobody watches: whoever reloads the page finds all at work.
const LINGER: Duration = Duration::from_secs(5);
/// Sound that is older is not let hear: a viewer who joins hears on from now.
const OLD_SOUND: Duration = Duration::from_millis(200);
/// An answer takes some ten milliseconds; on a machine that is busy with other things a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Events of viewers and packets of sound that may wait for the task.
const WAITING: usize = 256;

/// The name of a viewer, which nobody can guess.
pub(super) type ViewerId = u128;

/// Why nobody could join.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    /// Too many.
    #[error("{MOST_VIEWERS} people watch already")]
    Full,
    /// The offer does not fit.
    #[error("the offer cannot be answered")]
    Refused,
    /// This machine has no peer to give.
    #[error("the programme monitor cannot take anybody now")]
    Unable,
}

/// What is wanted.
pub(super) enum Request {
    /// Somebody wants to watch.
    Join {
        /// Their offer.
        offer: Box<Offer>,
        /// Where they have reached us.
        address: IpAddr,
        /// The name and the answer.
        reply: oneshot::Sender<Result<(ViewerId, String), JoinError>>,
    },
    /// Somebody has watched enough.
    Leave {
        /// Who.
        id: ViewerId,
        /// Whether they were there.
        reply: oneshot::Sender<bool>,
    },
}

/// What comes from elsewhere to the task.
enum Event {
    Joined {
        id: ViewerId,
        joined: Result<(Box<Viewer>, String), JoinError>,
        reply: oneshot::Sender<Result<(ViewerId, String), JoinError>>,
    },
    Viewer(ViewerId, ViewerEvent),
}

/// Everybody who watches.
pub(super) struct Hall {
    viewers: BTreeMap<ViewerId, Viewer>,
    joining: usize,
    /// When somebody was there last.
    left: Instant,
    feed: Feed,
    avc: Option<AvcConfig>,
    gop: Gop,
    opus: Option<OpusFromAac>,
    sound: (mpsc::Sender<EncodedPacket>, mpsc::Receiver<EncodedPacket>),
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    count: watch::Sender<usize>,
}

impl Hall {
    /// Nobody is there; packets come from a worker that listens on `feed`. `count` is told how many watch.
    pub(super) fn new(feed: PathBuf, count: watch::Sender<usize>) -> Self {
        Self {
            viewers: BTreeMap::new(),
            joining: 0,
            left: Instant::now(),
            feed: Feed { path: feed, wanted: false, messages: None },
            avc: None,
            gop: Gop::default(),
            opus: None,
            sound: mpsc::channel(WAITING),
            events: mpsc::channel(WAITING),
            count,
        }
    }

    /// Serves until nobody can ask any more.
    pub(super) async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut look = interval(LOOK_EVERY);
        let mut catch_up = interval(CATCH_UP_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        catch_up.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_catching_up = self.viewers.values().any(|viewer| viewer.is_catching_up(&self.gop));
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.asked(request),
                    None => return,
                },
                Some(event) = self.events.1.recv() => self.heard(event),
                Some(packet) = self.sound.1.recv() => {
                    let pts = SessionTime::from_nanos(packet.pts_ns);
                    self.each(|viewer, _| viewer.hear(&packet.data, pts));
                }
                fed = self.feed.next() => self.fed(fed),
                _ = catch_up.tick(), if is_catching_up => self.each(|viewer, gop| viewer.catch_up(gop)),
                _ = look.tick() => self.look(),
            }
        }
    }

    fn asked(&mut self, request: Request) {
        match request {
            Request::Join { reply, .. } if self.viewers.len() + self.joining >= MOST_VIEWERS => {
                // Who asked may have gone.
                let _ = reply.send(Err(JoinError::Full));
            }
            Request::Join { offer, address, reply } => {
                let (Some(numbers), Some(id)) = (Numbers::new(), new_id()) else {
                    let _ = reply.send(Err(JoinError::Unable));
                    return;
                };
                self.joining += 1;
                self.feed.wanted = true;
                let events = self.events.0.clone();
                tokio::spawn(async move {
                    let joined = join(id, &offer, &numbers, address, events.clone()).await;
                    // After the end of the hall nobody joins.
                    let _ = events.send(Event::Joined { id, joined, reply }).await;
                });
            }
            Request::Leave { id, reply } => _ = reply.send(self.remove(id, "it has left")),
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Joined { id, joined, reply } => {
                self.joining -= 1;
                self.left = Instant::now();
                let answer = joined.map(|(viewer, answer)| {
                    self.viewers.insert(id, *viewer);
                    self.count.send_replace(self.viewers.len());
                    (id, answer)
                });
                if reply.send(answer).is_err() {
                    self.remove(id, "it has not waited for the answer");
                }
            }
            Event::Viewer(id, event) => {
                let Some(viewer) = self.viewers.get_mut(&id) else { return };
                match event {
                    ViewerEvent::Connected if viewer.connected(Instant::now()) => {}
                    ViewerEvent::Connected => {
                        tracing::warn!("a viewer has another certificate than its offer names");
                        self.remove(id, "it is not who made the offer");
                    }
                    ViewerEvent::Gone => _ = self.remove(id, "its connection has ended"),
                    ViewerEvent::KeyframeWanted => viewer.keyframe_wanted(Instant::now()),
                }
            }
        }
    }

    fn fed(&mut self, fed: Fed) {
        match fed {
            Fed::Message(Message::Headers { avc, aac }) => {
                self.forget();
                self.avc = AvcConfig::parse(&avc);
                let sound = self.sound.0.clone();
                let opus = OpusFromAac::start(&aac, move |packet| {
                    // Sound that nobody takes in time is of no use.
                    packet.map(|packet| sound.try_send(packet).ok());
                });
                self.opus = opus.inspect_err(|error| tracing::warn!(%error, "the programme monitor is silent")).ok();
            }
            Fed::Message(Message::Packet(packet)) => match packet.stream {
                Stream::Video => self.picture(packet),
                Stream::Sound => self.transcode(&packet),
            },
            Fed::Message(Message::Gap) => self.gop.clear(),
            Fed::Ended => self.forget(),
        }
    }

    fn picture(&mut self, packet: Received) {
        let Some(avc) = &self.avc else { return };
        let payloads = avc.payloads(&packet.data, packet.keyframe);
        if !payloads.is_empty() {
            self.gop.push(Picture { pts: packet.pts, payloads }, packet.keyframe);
            self.each(|viewer, gop| viewer.show(gop));
        }
    }

    fn transcode(&mut self, packet: &Received) {
        if packet.behind <= OLD_SOUND
            && let Some(opus) = &self.opus
            && let Err(error) = opus.push(&packet.data, packet.pts.as_nanos())
        {
            tracing::warn!(%error, "the programme monitor is silent");
            self.opus = None;
        }
    }

    /// What comes next has nothing to do with what was.
    fn forget(&mut self) {
        self.gop.clear();
        self.avc = None;
        self.opus = None;
    }

    /// Does something for each viewer; who cannot be served goes.
    fn each(&mut self, mut serve: impl FnMut(&mut Viewer, &Gop) -> Result<(), GraphError>) {
        let broken: Vec<ViewerId> =
            self.viewers.iter_mut().filter_map(|(id, viewer)| serve(viewer, &self.gop).is_err().then_some(*id)).collect();
        broken.into_iter().for_each(|id| _ = self.remove(id, "its graph has failed"));
    }

    fn look(&mut self) {
        let now = Instant::now();
        let gone: Vec<_> = self.viewers.iter_mut().filter_map(|(id, viewer)| Some((*id, viewer.is_gone(now)?))).collect();
        gone.into_iter().for_each(|(id, why)| _ = self.remove(id, why));
        if self.viewers.is_empty() && self.joining == 0 && now.duration_since(self.left) > LINGER {
            self.feed.stop();
            self.forget();
        }
    }

    fn remove(&mut self, id: ViewerId, why: &str) -> bool {
        let Some(viewer) = self.viewers.remove(&id) else { return false };
        tracing::debug!(why, "a viewer goes");
        // Its threads are waited for.
        tokio::task::spawn_blocking(move || drop(viewer));
        self.left = Instant::now();
        self.count.send_replace(self.viewers.len());
        true
    }
}

fn new_id() -> Option<ViewerId> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(ViewerId::from_be_bytes(bytes))
}

async fn join(
    id: ViewerId,
    offer: &Offer,
    numbers: &Numbers,
    address: IpAddr,
    events: mpsc::Sender<Event>,
) -> Result<(Box<Viewer>, String), JoinError> {
    let (picture, sound) = numbers.streams(offer);
    let tell = move |event| {
        // A keyframe is wished for again; what is lost of an end is found when the viewer stays silent.
        let _ = events.try_send(Event::Viewer(id, event));
    };
    let started = tokio::task::spawn_blocking(move || ViewerGraph::start(&picture, &sound, address, tell)).await;
    let graph = match started {
        Ok(Ok(graph)) => graph,
        Ok(Err(error)) => {
            tracing::warn!(%error, "nobody can join the programme monitor");
            return Err(JoinError::Unable);
        }
        Err(_) => return Err(JoinError::Unable),
    };
    match timeout(ANSWER_WITHIN, graph.answer(&offer.text)).await {
        Ok(Ok(answer)) => Ok((Box::new(Viewer::new(graph, offer, numbers, Instant::now())), answer)),
        refused => {
            tracing::info!(
                reason = refused.ok().and_then(Result::err).map(|error| error.to_string()),
                "a viewer was not answered"
            );
            tokio::task::spawn_blocking(move || drop(graph));
            Err(JoinError::Refused)
        }
    }
}

/// What comes from the worker.
enum Fed {
    Message(Message),
    /// It has ended or hung up.
    Ended,
}

/// The call to the worker.
struct Feed {
    path: PathBuf,
    wanted: bool,
    messages: Option<Messages<UnixStream>>,
}

impl Feed {
    /// What comes next; never ends while nothing is wanted. May be cancelled at any time.
    async fn next(&mut self) -> Fed {
        if !self.wanted {
            return std::future::pending().await;
        }
        let messages = loop {
            match &mut self.messages {
                Some(messages) => break messages,
                none => match UnixStream::connect(&self.path).await {
                    Ok(stream) => *none = Some(Messages::new(stream)),
                    Err(_) => sleep(CALL_EVERY).await,
                },
            }
        };
        match messages.next().await {
            Ok(Some(message)) => Fed::Message(message),
            ended => {
                if let Err(error) = ended {
                    tracing::warn!(%error, "the worker hung up");
                }
                self.messages = None;
                Fed::Ended
            }
        }
    }

    fn stop(&mut self) {
        self.wanted = false;
        self.messages = None;
    }
}
