//! The loop of the reception thread: commands, packets and time go into a [`Receiver`], and what comes out goes where it belongs.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::net::{Protocol, Receive, TcpType};
use tokio::sync::{mpsc, oneshot};

use super::receiver::{Out, Receiver};
use super::sockets::{UdpSockets, local_address_towards};
use super::tcp::TcpLink;
use super::{CaptureTimes, Command, IngestError, IngestEvent, IngestSettings, Transports};
use crate::media::MediaSink;

/// Head start of UDP over TCP.
const TCP_AFTER: Duration = Duration::from_millis(500);
/// How long a TCP connection may take.
const TCP_CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// TCP connections at most.
const MAX_TCP_LINKS: usize = 4;
/// Events that wait for a busy adapter; older news of flow is dropped first.
const MAX_WAITING_EVENTS: usize = 256;

/// Body of the reception thread. Ends when told to, or when all handles are gone.
pub(crate) fn thread(
    settings: IngestSettings,
    capture: Box<dyn CaptureTimes>,
    media: MediaSink,
    events: mpsc::Sender<IngestEvent>,
    commands: mpsc::Receiver<Command>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Dropping the command channel tells the adapter.
            tracing::error!(%error, "reception cannot start");
            return;
        }
    };
    runtime.block_on(async {
        let (linked, links) = mpsc::channel(MAX_TCP_LINKS);
        let receiver = Receiver::new(&settings, capture, Instant::now());
        let udp = UdpSockets::new(settings.receive_buffer_bytes);
        let run = Run {
            settings,
            receiver,
            media,
            udp,
            tcp: Vec::new(),
            tcp_wanted: Vec::new(),
            tcp_at: None,
            linked,
            waiting: VecDeque::new(),
            connection: 0,
        };
        run.run(events, commands, links).await;
    });
}

struct Run {
    settings: IngestSettings,
    receiver: Receiver,
    media: MediaSink,
    udp: UdpSockets,
    tcp: Vec<TcpLink>,
    /// Passive candidates not yet tried.
    tcp_wanted: Vec<SocketAddr>,
    tcp_at: Option<Instant>,
    linked: mpsc::Sender<(u32, TcpLink)>,
    waiting: VecDeque<IngestEvent>,
    connection: u32,
}

enum Next {
    Command(Option<Command>),
    Packets,
    Linked(u32, TcpLink),
    Time,
    EventSent,
}

impl Run {
    async fn run(
        mut self,
        events: mpsc::Sender<IngestEvent>,
        mut commands: mpsc::Receiver<Command>,
        mut links: mpsc::Receiver<(u32, TcpLink)>,
    ) {
        loop {
            self.drain();
            let wake = self.tcp_at.map_or(self.receiver.wake(), |at| at.min(self.receiver.wake()));
            let has_event = !self.waiting.is_empty() && !events.is_closed();
            let next = tokio::select! {
                biased;
                command = commands.recv() => Next::Command(command),
                Some((connection, link)) = links.recv() => Next::Linked(connection, link),
                Ok(permit) = events.reserve(), if has_event => {
                    if let Some(event) = self.waiting.pop_front() {
                        permit.send(event);
                    }
                    Next::EventSent
                }
                () = readable(&self.udp, &self.tcp) => Next::Packets,
                () = tokio::time::sleep_until(wake.into()) => Next::Time,
            };
            // A defect of the protocol library must not end the Session: it costs one connection.
            match catch_unwind(AssertUnwindSafe(|| self.step(next))) {
                Ok(None) => {}
                Ok(Some(done)) => {
                    self.drain();
                    // An error means that nobody waits for the end.
                    _ = done.send(());
                    return;
                }
                Err(_) => {
                    tracing::error!("reception hit a defect; the connection is made anew");
                    self.restart();
                    self.tell(IngestEvent::Failed { reason: "defect in reception".into() });
                }
            }
        }
    }

    /// Returns the sender to answer when it is time to end.
    fn step(&mut self, next: Next) -> Option<oneshot::Sender<()>> {
        let now = Instant::now();
        match next {
            Next::Command(None) => {
                self.receiver.close();
                return Some(oneshot::channel().0);
            }
            Next::Command(Some(Command::Close(done))) => {
                self.receiver.close();
                return Some(done);
            }
            Next::Command(Some(command)) => self.obey(command, now),
            Next::Packets => self.read(now),
            Next::Linked(connection, link) if connection == self.connection => self.add_link(link),
            Next::Linked(..) | Next::EventSent => {}
            Next::Time => {
                if self.tcp_at.is_some_and(|at| at <= now) {
                    self.tcp_at = None;
                    self.connect_tcp();
                }
                self.receiver.timeout(now);
            }
        }
        None
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::AcceptOffer { sdp, tracks, answer } => {
                let result = self.receiver.accept_offer(&sdp, tracks, now);
                // An error means that the adapter no longer waits.
                _ = answer.send(result);
                self.receiver.timeout(now);
            }
            Command::AddCandidate(text) => match Candidate::from_sdp_string(&text) {
                Ok(candidate) => self.add_candidate(candidate, now),
                Err(_) => tracing::warn!("{}", IngestError::Candidate),
            },
            Command::MapTracks(tracks) => self.receiver.map_tracks(tracks),
            Command::RequestKeyframe(track) => self.receiver.request_keyframe(&track, now),
            Command::Restart => self.restart(),
            Command::Close(_) => {}
        }
    }

    fn restart(&mut self) {
        self.receiver.close();
        self.drain();
        self.connection += 1;
        self.receiver.restart(Instant::now());
        self.udp.close_all();
        self.tcp.clear();
        self.tcp_wanted.clear();
        self.tcp_at = None;
        self.waiting.clear();
    }

    fn add_candidate(&mut self, candidate: Candidate, now: Instant) {
        let remote = candidate.addr();
        match candidate.proto() {
            Protocol::Udp if self.settings.transports == Transports::UdpThenTcp => {
                self.open_udp(remote);
                self.receiver.add_remote_candidate(candidate);
                self.receiver.timeout(now);
            }
            Protocol::Tcp if candidate.tcptype() == Some(TcpType::Passive) => {
                self.receiver.add_remote_candidate(candidate);
                if self.tcp_wanted.len() < MAX_TCP_LINKS && !self.tcp_wanted.contains(&remote) {
                    self.tcp_wanted.push(remote);
                    match self.settings.transports {
                        Transports::UdpThenTcp => self.tcp_at = Some(self.tcp_at.unwrap_or(now + TCP_AFTER)),
                        Transports::TcpOnly => self.connect_tcp(),
                    }
                }
            }
            _ => {}
        }
    }

    fn open_udp(&mut self, remote: SocketAddr) {
        let addresses = if self.settings.bind.is_empty() {
            local_address_towards(remote).map(|ip| vec![ip])
        } else {
            Ok(self.settings.bind.iter().copied().filter(|ip| ip.is_ipv4() == remote.is_ipv4()).collect())
        };
        let opened = addresses.and_then(|ips| ips.into_iter().map(|ip| self.udp.open(ip)).collect::<Result<Vec<_>, _>>());
        match opened {
            Ok(locals) => {
                for local in locals.into_iter().flatten() {
                    if let Ok(host) = Candidate::host(local, "udp") {
                        self.receiver.add_local_candidate(host);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "no socket towards a candidate of the media server"),
        }
    }

    fn connect_tcp(&mut self) {
        // Taken in any case: after an ICE restart the same candidates are told again, and must be wanted again.
        let wanted = std::mem::take(&mut self.tcp_wanted);
        if self.receiver.is_up() {
            return;
        }
        for remote in wanted {
            let (linked, connection) = (self.linked.clone(), self.connection);
            tokio::spawn(async move {
                match tokio::time::timeout(TCP_CONNECT_LIMIT, TcpLink::connect(remote)).await {
                    // An error means that the thread is ending.
                    Ok(Ok(link)) => _ = linked.send((connection, link)).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TCP connection to the media server"),
                    Err(_) => tracing::debug!("no TCP connection to the media server in time"),
                }
            });
        }
    }

    fn add_link(&mut self, link: TcpLink) {
        if let Ok(local) = Candidate::builder().tcp().host(link.local).tcptype(TcpType::Active).build()
            && self.tcp.len() < MAX_TCP_LINKS
        {
            self.tcp.push(link);
            self.receiver.add_local_candidate(local);
        }
    }

    fn read(&mut self, now: Instant) {
        let receiver = &mut self.receiver;
        let mut deliver = |protocol, source, local, bytes: &[u8]| match Receive::new(protocol, source, local, bytes) {
            Ok(received) => receiver.receive(received, now),
            Err(_) => receiver.refuse(),
        };
        self.udp.read(|source, local, bytes| deliver(Protocol::Udp, source, local, bytes));
        self.tcp.retain_mut(|link| {
            let (remote, local) = (link.remote, link.local);
            link.turn(|bytes| deliver(Protocol::Tcp, remote, local, bytes)).is_ok()
        });
    }

    fn drain(&mut self) {
        while let Some(out) = self.receiver.poll() {
            match out {
                Out::Frame(frame) => self.media.put(frame),
                Out::Event(event) => self.tell(event),
                Out::Transmit(packet) if packet.proto == Protocol::Udp => {
                    self.udp.send(packet.source, packet.destination, &packet.contents);
                }
                Out::Transmit(packet) => {
                    if let Some(index) = self.tcp.iter().position(|link| link.local == packet.source)
                        && self.tcp[index].send(&packet.contents).is_err()
                    {
                        self.tcp.swap_remove(index);
                    }
                }
            }
        }
    }

    fn tell(&mut self, event: IngestEvent) {
        if self.waiting.len() >= MAX_WAITING_EVENTS {
            let flow = self.waiting.iter().position(|e| matches!(e, IngestEvent::Paused { .. }));
            _ = self.waiting.remove(flow.unwrap_or(0));
        }
        self.waiting.push_back(event);
    }
}

async fn readable(udp: &UdpSockets, tcp: &[TcpLink]) {
    poll_fn(|cx| {
        let mut ready = udp.poll_readable(cx);
        for link in tcp {
            if link.poll_ready(cx).is_ready() {
                ready = Poll::Ready(());
            }
        }
        ready
    })
    .await;
}
