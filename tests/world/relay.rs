//! A bad network between the product and a LiveKit server: loses datagrams on purpose, reproducibly.
//!
//! The product connects to the relay's WebSocket. Signaling passes unchanged but for the server's ICE candidates, which name the relay's
//! UDP port instead of the server's, and the product's candidates are kept from the server, so that all media pass through here: the
//! server learns only where the relay's datagrams come from (RFC 8445, section 7.3.1.3).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use livekit_protocol::{SignalRequest, SignalResponse, signal_request::Message as Asked, signal_response::Message as Said};
use prost::Message as _;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::livekit::LiveKit;

/// What happens to datagrams, in both directions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Weather {
    /// All pass.
    Clear,
    /// Each is lost with this probability.
    Uniform(f64),
    /// The same share is lost, but always so many in a row.
    Bursts { share: f64, length: u32 },
    /// None passes.
    Black,
}

/// A running relay.
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
    /// Each change ends all WebSockets.
    cut: tokio::sync::watch::Sender<u64>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    weather: Mutex<Weather>,
    /// How long a datagram is on its way.
    datagrams_take: Mutex<Duration>,
    /// How long the server's goodbyes are on their way.
    farewells_take: Mutex<Duration>,
    passed: AtomicU64,
    lost: AtomicU64,
    /// When keyframe requests of the product were lost.
    lost_requests: Mutex<Vec<std::time::Instant>>,
    /// Paths and queries of the WebSocket requests so far.
    asked: Mutex<Vec<String>>,
    server: (u16, u16),
    udp_port: u16,
}

/// Decides about one direction of one flow.
struct Dice {
    state: u64,
    burst_left: u32,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Dice { state: seed, burst_left: 0 }
    }

    /// A number from 0 to 1 (splitmix64).
    fn roll(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn loses(&mut self, weather: Weather) -> bool {
        match weather {
            Weather::Clear => false,
            Weather::Black => true,
            Weather::Uniform(share) => self.roll() < share,
            Weather::Bursts { share, length } => {
                // Of the datagrams outside bursts so many begin one that the share comes out right.
                if self.burst_left == 0 && self.roll() < share / (f64::from(length) * (1.0 - share) + share) {
                    self.burst_left = length;
                }
                let is_lost = self.burst_left > 0;
                self.burst_left = self.burst_left.saturating_sub(1);
                is_lost
            }
        }
    }
}

impl Relay {
    /// Puts a relay before a server. The same seed loses the same datagrams of each flow.
    pub fn before(server: &LiveKit, seed: u64) -> Relay {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let (listener, socket) = runtime.block_on(async {
            (TcpListener::bind("127.0.0.1:0").await.expect("port"), UdpSocket::bind("127.0.0.1:0").await.expect("port"))
        });
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            weather: Mutex::new(Weather::Clear),
            datagrams_take: Mutex::default(),
            farewells_take: Mutex::default(),
            passed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            lost_requests: Mutex::default(),
            asked: Mutex::default(),
            server: (server.port, server.udp_port),
            udp_port: socket.local_addr().expect("bound").port(),
        });
        runtime.spawn(media(Arc::clone(&shared), Arc::new(socket), seed));
        let signaling_shared = Arc::clone(&shared);
        let (cut, was_cut) = tokio::sync::watch::channel(0);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (conversation, mut was_cut) = (signaling(Arc::clone(&signaling_shared), client), was_cut.clone());
                was_cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = conversation => {}
                        _ = was_cut.changed() => {}
                    }
                });
            }
        });
        Relay { port, shared, cut, runtime: Some(runtime) }
    }

    /// Breaks all signaling connections, without a farewell. Media pass on, and new connections are welcome.
    pub fn cut_signaling(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Makes the way longer, in each direction. (A round trip that LiveKit measures as 0 ms is taken for unknown, and then it does not repeat
    /// a packet within 100 ms of its first sending.)
    pub fn delay_datagrams(&self, by: Duration) {
        *self.shared.datagrams_take.lock().expect("datagrams") = by;
    }

    /// Holds back the server's goodbyes: its media end before it says why.
    pub fn delay_farewells(&self, by: Duration) {
        *self.shared.farewells_take.lock().expect("farewells") = by;
    }

    /// Where the product connects to.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Changes the weather from now on.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().expect("weather") = weather;
    }

    /// How many signaling connections were asked for, and how many of them to resume a session.
    pub fn connections(&self) -> (usize, usize) {
        let asked = self.shared.asked.lock().expect("asked");
        (asked.len(), asked.iter().filter(|path| path.contains("reconnect=1")).count())
    }

    /// When keyframe requests of the product were lost. One that travels behind other feedback is not recognized: only the first header is in the clear.
    pub fn lost_requests(&self) -> Vec<std::time::Instant> {
        self.shared.lost_requests.lock().expect("requests").clone()
    }

    /// Datagrams passed and lost so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.passed.load(Ordering::Relaxed), self.shared.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn lets_pass(&self, dice: &mut Dice) -> bool {
        let weather = *self.weather.lock().expect("weather");
        let is_lost = dice.loses(weather);
        if is_lost { &self.lost } else { &self.passed }.fetch_add(1, Ordering::Relaxed);
        !is_lost
    }

    /// When what sets out now arrives.
    fn due(&self) -> Instant {
        Instant::now() + *self.datagrams_take.lock().expect("datagrams")
    }

    fn rename(&self, text: &str) -> String {
        text.replace(&format!(" 127.0.0.1 {} ", self.server.1), &format!(" 127.0.0.1 {} ", self.udp_port))
    }

    /// How long this message is on its way.
    fn delay(&self, data: &[u8]) -> Duration {
        match SignalResponse::decode(data) {
            Ok(SignalResponse { message: Some(Said::Leave(_)) }) => *self.farewells_take.lock().expect("farewells"),
            _ => Duration::ZERO,
        }
    }

    /// Rewrites the server's candidates in a signaling message; `None` if there are none in it.
    fn rewrite(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut message = SignalResponse::decode(data).ok()?;
        match message.message.as_mut()? {
            Said::Trickle(trickle) => trickle.candidate_init = self.rename(&trickle.candidate_init),
            Said::Answer(description) | Said::Offer(description) => description.sdp = self.rename(&description.sdp),
            _ => return None,
        }
        Some(message.encode_to_vec())
    }
}

/// What the server may know of a signaling message of the product: everything but where it listens. `None`: nothing.
fn veil(data: &[u8]) -> Option<Vec<u8>> {
    let Ok(mut message) = SignalRequest::decode(data) else { return Some(data.to_vec()) };
    match message.message.as_mut() {
        Some(Asked::Trickle(_)) => return None,
        Some(Asked::Answer(description) | Asked::Offer(description)) => {
            let lines = description.sdp.split_inclusive('\n');
            description.sdp = lines.filter(|line| !line.starts_with("a=candidate:")).collect();
        }
        _ => return Some(data.to_vec()),
    }
    Some(message.encode_to_vec())
}

/// Entrance of a way: datagrams with the times of their arrival.
type Way = mpsc::UnboundedSender<(Instant, Vec<u8>)>;

/// A way that takes its time, in order. What is put in leaves `socket`, towards `to` or where it is connected to.
fn way(socket: Arc<UdpSocket>, to: Option<SocketAddr>) -> Way {
    let (entrance, mut exit) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((at, datagram)) = exit.recv().await {
            tokio::time::sleep_until(at).await;
            let _ = match to {
                Some(to) => socket.send_to(&datagram, to).await,
                None => socket.send(&datagram).await,
            };
        }
    });
    entrance
}

async fn media(shared: Arc<Shared>, socket: Arc<UdpSocket>, seed: u64) {
    let mut flows: HashMap<SocketAddr, (Way, Dice)> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        // Linux reports an earlier datagram's refusal here; the flow goes on.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        if !flows.contains_key(&client) {
            let upstream = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("port"));
            upstream.connect(("127.0.0.1", shared.server.1)).await.expect("loopback");
            let number = flows.len() as u64 * 2;
            tokio::spawn(backwards(
                Arc::clone(&shared),
                Arc::clone(&upstream),
                Arc::clone(&socket),
                client,
                Dice::new(seed ^ (number + 1) << 32),
            ));
            flows.insert(client, (way(upstream, None), Dice::new(seed ^ number << 32)));
        }
        let Some((way, dice)) = flows.get_mut(&client) else { continue };
        if shared.lets_pass(dice) {
            let _ = way.send((shared.due(), buffer[..length].to_vec()));
        } else if asks_for_keyframe(&buffer[..length]) {
            shared.lost_requests.lock().expect("requests").push(std::time::Instant::now());
        }
    }
}

/// Whether a datagram begins with a picture loss indication (RFC 4585, section 6.3.1); the header is not encrypted.
fn asks_for_keyframe(datagram: &[u8]) -> bool {
    matches!(datagram, [0x81, 206, ..])
}

async fn backwards(shared: Arc<Shared>, upstream: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr, mut dice: Dice) {
    let mut buffer = vec![0; 65_536];
    let way = way(socket, Some(client));
    loop {
        let Ok(length) = upstream.recv(&mut buffer).await else { continue };
        if shared.lets_pass(&mut dice) {
            let _ = way.send((shared.due(), buffer[..length].to_vec()));
        }
    }
}

/// One connection of the product: a WebSocket, or a plain HTTP request that passes as it is.
async fn signaling(shared: Arc<Shared>, mut client: TcpStream) -> Option<()> {
    let head = peek_head(&client).await?;
    let is_websocket = head.lines().any(|line| line.to_ascii_lowercase().replace(' ', "") == "upgrade:websocket");
    if !is_websocket {
        let mut server = TcpStream::connect(("127.0.0.1", shared.server.0)).await.ok()?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()?;
        return None;
    }
    let path = head.split_whitespace().nth(1)?;
    shared.asked.lock().expect("asked").push(path.to_owned());
    let mut request = format!("ws://127.0.0.1:{}{path}", shared.server.0).into_client_request().ok()?;
    let authorization =
        head.lines().find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("authorization")));
    if let Some((_, value)) = authorization {
        request.headers_mut().insert("authorization", value.trim().parse().ok()?);
    }
    let upstream = match tokio_tungstenite::connect_async(request).await {
        Ok((upstream, _)) => upstream,
        Err(Error::Http(answer)) => {
            // The server's refusal reaches the product as it is.
            let body = answer.body().clone().unwrap_or_default();
            let head = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.status(), body.len());
            client.write_all(head.as_bytes()).await.ok()?;
            return client.write_all(&body).await.ok();
        }
        Err(_) => return None,
    };
    let (mut to_client, mut from_client) = tokio_tungstenite::accept_async(client).await.ok()?.split();
    let (mut to_server, mut from_server) = upstream.split();
    let upwards = async {
        while let Some(Ok(message)) = from_client.next().await {
            let message = match &message {
                Message::Binary(data) => match veil(data) {
                    Some(veiled) => Message::Binary(veiled.into()),
                    None => continue,
                },
                _ => message,
            };
            if to_server.send(message).await.is_err() {
                // The server's last words may still be on their way.
                return std::future::pending().await;
            }
        }
        to_server.close().await.ok()
    };
    let downwards = async {
        while let Some(Ok(message)) = from_server.next().await {
            let message = match &message {
                Message::Binary(data) => {
                    tokio::time::sleep(shared.delay(data)).await;
                    shared.rewrite(data).map_or(message, |changed| Message::Binary(changed.into()))
                }
                _ => message,
            };
            to_client.send(message).await.ok()?;
        }
        to_client.close().await.ok()
    };
    tokio::select! {
        _ = upwards => {}
        _ = downwards => {}
    }
    Some(())
}

async fn peek_head(client: &TcpStream) -> Option<String> {
    let mut buffer = vec![0; 16_384];
    loop {
        let length = client.peek(&mut buffer).await.ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        if let Some(end) = text.find("\r\n\r\n") {
            return Some(text[..end].to_owned());
        }
        if length == 0 || length == buffer.len() {
            return None;
        }
        tokio::task::yield_now().await;
    }
}

/// How many of `count` datagrams are lost, and the lengths of the runs in which they are; for the proof of the dice.
pub fn rehearse_loss(weather: Weather, seed: u64, count: usize) -> (usize, Vec<usize>) {
    let mut dice = Dice::new(seed);
    let fates: Vec<bool> = (0..count).map(|_| dice.loses(weather)).collect();
    let runs = fates.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[bool]>::len).collect();
    (fates.iter().filter(|is_lost| **is_lost).count(), runs)
}
