//! The room's task against a server that is only signaling: everything that a real server cannot be made to do on command.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use livekit_protocol::{
    DisconnectReason, JoinResponse, LeaveRequest, ParticipantInfo, ParticipantUpdate, ReconnectResponse, SignalRequest,
    SignalResponse, TrackInfo, TrackSource, TrackType, leave_request, participant_info, signal_request, signal_response,
};
use prost::Message as _;
use recorder_core::conference::{LayerWish, Subscription};
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use rustls::pki_types::PrivateKeyDer;
use signal_request::Message as Q;
use signal_response::Message as R;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::presence::candidate_of;
use super::*;
use crate::ingest::capture::ArrivalIsCapture;
use crate::media::lanes;
use crate::trust::Trust;

const LIMIT: Duration = Duration::from_secs(10);
const TOKEN: &str = "canary-token-1";

struct Server {
    listener: TcpListener,
}

struct Client {
    socket: WebSocketStream<TcpStream>,
    query: String,
    bearer: String,
}

impl Server {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn enter(&self, tokens: TokenSource) -> ConferenceHandle {
        enter(settings(self.url()), lanes().0, tokens)
    }

    fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// Somebody is let in.
    async fn admit(&self) -> Client {
        let mut client = self.accept().await;
        client.join().await;
        client
    }

    async fn refuse(&self, status: &str, body: &str) {
        let (mut socket, _) = self.listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await.unwrap();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        socket.write_all(answer.as_bytes()).await.unwrap();
    }

    async fn accept(&self) -> Client {
        let (socket, _) = tokio::time::timeout(LIMIT, self.listener.accept()).await.expect("a connection").unwrap();
        let (mut query, mut bearer) = (String::new(), String::new());
        // The type is the library's.
        #[allow(clippy::result_large_err)]
        let note = |request: &Request, response: Response| {
            query = request.uri().query().unwrap_or_default().to_owned();
            bearer = request.headers()["authorization"].to_str().unwrap().to_owned();
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(socket, note).await.unwrap();
        Client { socket, query, bearer }
    }
}

/// A room that we have entered.
async fn entered(tokens: TokenSource) -> (Server, ConferenceHandle, Client) {
    let server = Server::start().await;
    let handle = server.enter(tokens);
    let client = server.admit().await;
    (server, handle, client)
}

impl Client {
    async fn say(&mut self, message: R) {
        let bytes = SignalResponse { message: Some(message) }.encode_to_vec();
        self.socket.send(Message::Binary(bytes.into())).await.unwrap();
    }

    async fn join(&mut self) {
        self.say(R::Join(JoinResponse {
            participant: Some(ParticipantInfo { sid: "PA_us".into(), identity: "us".into(), ..Default::default() }),
            other_participants: vec![ada()],
            ping_interval: 5,
            ping_timeout: 15,
            ..Default::default()
        }))
        .await;
    }

    /// The next request that is no ping.
    async fn hear(&mut self) -> Q {
        loop {
            let message = tokio::time::timeout(LIMIT, self.socket.next()).await.expect("a message").unwrap().unwrap();
            let Message::Binary(bytes) = message else { continue };
            match SignalRequest::decode(&*bytes).unwrap().message.unwrap() {
                Q::Ping(_) | Q::PingReq(_) => {}
                other => return other,
            }
        }
    }
}

fn settings(url: String) -> LiveKitSettings {
    LiveKitSettings::new(url, Secret::new(TOKEN), trust(None), SessionClock::start(), Box::new(ArrivalIsCapture))
}

fn trust(ca_file: Option<&Path>) -> Trust {
    Trust::load(ca_file).unwrap()
}

fn ada() -> ParticipantInfo {
    let track = |sid: &str, kind: TrackType, source: TrackSource| TrackInfo {
        sid: sid.into(),
        r#type: kind.into(),
        source: source.into(),
        ..Default::default()
    };
    ParticipantInfo {
        sid: "PA_ada".into(),
        identity: "ada".into(),
        name: "Ada".into(),
        state: participant_info::State::Active.into(),
        tracks: vec![
            track("TR_v", TrackType::Video, TrackSource::Camera),
            track("TR_a", TrackType::Audio, TrackSource::Microphone),
        ],
        ..Default::default()
    }
}

fn camera() -> Subscription {
    let track = TrackId::new(ParticipantId::new("ada"), TrackKind::Camera);
    Subscription { track, layer: Some(LayerWish { width_px: 640, height_px: 360 }) }
}

async fn until(handle: &mut ConferenceHandle, wanted: impl Fn(&ConferenceEvent) -> bool) -> Vec<ConferenceEvent> {
    let mut seen = Vec::new();
    loop {
        let event = tokio::time::timeout(LIMIT, handle.events.recv()).await.expect("an event").expect("the task lives");
        let is_wanted = wanted(&event);
        seen.push(event);
        if is_wanted {
            return seen;
        }
    }
}

async fn ended(handle: &mut ConferenceHandle) -> EndReason {
    let events = until(handle, |e| matches!(e, ConferenceEvent::Ended { .. })).await;
    assert_eq!(handle.events.recv().await, None, "nothing follows");
    match events.into_iter().last() {
        Some(ConferenceEvent::Ended { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_a_sentence_without_the_token() {
    for (status, body, sentence) in [
        (
            "401 Unauthorized",
            "invalid token: canary-token-1, error: token has invalid claims: token is expired",
            "The access token for the LiveKit room has expired.",
        ),
        (
            "401 Unauthorized",
            "invalid token: canary-token-1, error: token signature is invalid: signature is invalid",
            "The LiveKit server does not accept the access token.",
        ),
        ("404 Not Found", "requested room does not exist", "The room does not exist on the LiveKit server."),
        ("200 OK", "hello", "There is no LiveKit server at this address."),
    ] {
        let server = Server::start().await;
        let mut handle = server.enter(TokenSource::none());
        server.refuse(status, body).await;
        let reason = ended(&mut handle).await;
        assert!(!format!("{reason:?}").contains("canary"), "{reason:?}");
        assert!(matches!(&reason, EndReason::Refused(fault) if fault.sentence == sentence), "{reason:?}");
    }
}

#[tokio::test]
async fn a_wish_made_before_entering_is_said_with_the_first_breath() {
    let server = Server::start().await;
    let mut handle = server.enter(TokenSource::none());
    handle.commands.send(ConferenceCommand::Subscribe(vec![camera()])).await.unwrap();
    let mut client = server.accept().await;
    assert!(client.query.contains("auto_subscribe=0") && !client.query.contains("canary"), "{}", client.query);
    assert_eq!(client.bearer, format!("Bearer {TOKEN}"));
    client.join().await;
    assert!(matches!(client.hear().await, Q::Subscription(s) if s.subscribe && s.track_sids == ["TR_v"]));
    assert!(matches!(client.hear().await, Q::TrackSetting(s) if (s.width, s.height, s.disabled) == (640, 360, false)));
    let events = until(&mut handle, |e| *e == ConferenceEvent::Listed).await;
    assert!(matches!(events[0], ConferenceEvent::Entered { .. }));
    handle.commands.send(ConferenceCommand::Leave).await.unwrap();
    assert!(matches!(client.hear().await, Q::Leave(_)));
    assert_eq!(ended(&mut handle).await, EndReason::Left);
}

#[tokio::test]
async fn a_lost_connection_is_resumed_with_the_newest_token_and_without_a_word() {
    let server = Server::start().await;
    let mut handle = server.enter(TokenSource::none());
    handle.commands.send(ConferenceCommand::Subscribe(vec![camera()])).await.unwrap();
    let mut client = server.admit().await;
    client.hear().await;
    client.say(R::RefreshToken("fresh-1".into())).await;
    client.say(R::RefreshToken("fresh-2".into())).await;
    until(&mut handle, |e| *e == ConferenceEvent::Listed).await;
    client.socket.close(None).await.unwrap();
    drop(client);

    let mut client = server.accept().await;
    assert!(client.query.contains("reconnect=1&sid=PA_us"), "{}", client.query);
    assert_eq!(client.bearer, "Bearer fresh-2");
    client.say(R::Reconnect(ReconnectResponse::default())).await;
    assert!(matches!(client.hear().await, Q::SyncState(s) if s.subscription.as_ref().is_some_and(|s| s.track_sids == ["TR_v"])));
    let us = ParticipantInfo { sid: "PA_us".into(), identity: "us".into(), ..Default::default() };
    client.say(R::Update(ParticipantUpdate { participants: vec![us] })).await;
    let events = until(&mut handle, |e| matches!(e, ConferenceEvent::Left { .. })).await;
    assert!(!events.iter().any(|e| matches!(e, ConferenceEvent::Lost { .. } | ConferenceEvent::Entered { .. })), "{events:?}");
}

#[tokio::test]
async fn a_server_that_forgot_us_is_joined_again_and_told_the_whole_wish() {
    let server = Server::start().await;
    let mut handle = server.enter(TokenSource::none());
    handle.commands.send(ConferenceCommand::Subscribe(vec![camera()])).await.unwrap();
    let mut client = server.admit().await;
    let leave = LeaveRequest {
        reason: DisconnectReason::StateMismatch.into(),
        action: leave_request::Action::Reconnect.into(),
        ..Default::default()
    };
    client.say(R::Leave(leave)).await;
    until(&mut handle, |e| *e == ConferenceEvent::Listed).await;
    let mut client = server.accept().await;
    assert!(!client.query.contains("reconnect"), "{}", client.query);
    client.join().await;
    assert!(matches!(client.hear().await, Q::Subscription(s) if s.subscribe && s.track_sids == ["TR_v"]));
    assert!(matches!(client.hear().await, Q::TrackSetting(_)));
    let events = until(&mut handle, |e| *e == ConferenceEvent::Listed).await;
    assert!(matches!(events[0], ConferenceEvent::Entered { .. }), "{events:?}");
}

#[tokio::test]
async fn whoever_takes_our_identity_or_removes_us_ends_it() {
    for (reason, end) in [
        (DisconnectReason::DuplicateIdentity, EndReason::Removed),
        (DisconnectReason::ParticipantRemoved, EndReason::Removed),
        (DisconnectReason::RoomDeleted, EndReason::RoomClosed),
    ] {
        let (_server, mut handle, mut client) = entered(TokenSource::none()).await;
        client.say(R::Leave(LeaveRequest { reason: reason.into(), ..Default::default() })).await;
        assert_eq!(ended(&mut handle).await, end);
    }
}

#[tokio::test]
async fn a_garbage_offer_loses_the_connection_and_no_more() {
    let (server, mut handle, mut client) = entered(TokenSource::none()).await;
    let sdp = "v=0\r\nthis is no description".into();
    client.say(R::Offer(SessionDescription { r#type: "offer".into(), sdp, id: 1, ..Default::default() })).await;
    let events = until(&mut handle, |e| matches!(e, ConferenceEvent::Lost { .. })).await;
    let Some(ConferenceEvent::Lost { fault }) = events.last() else { panic!() };
    assert_eq!(
        fault.sentence,
        "The media server's offer cannot be read: line 2 of the session description has no type letter and equals sign."
    );
    let _client = server.admit().await;
    until(&mut handle, |e| matches!(e, ConferenceEvent::Entered { .. })).await;
}

#[tokio::test]
async fn a_rejoin_that_is_refused_asks_for_a_token_then_takes_the_refreshed_one_then_ends() {
    let (tokens, mut asked) = TokenSource::new();
    let (server, mut handle, mut client) = entered(tokens).await;
    client.say(R::RefreshToken("refreshed".into())).await;
    client.say(R::Leave(leave_again())).await;
    drop(client);
    server.refuse("401 Unauthorized", "token is expired").await;
    asked.requests.recv().await.unwrap().send(Some(Secret::new("from-the-source"))).unwrap();
    let mut client = server.accept().await;
    assert_eq!(client.bearer, "Bearer from-the-source");
    client.join().await;
    client.say(R::Leave(leave_again())).await;
    drop(client);
    server.refuse("401 Unauthorized", "token is expired").await;
    asked.requests.recv().await.unwrap().send(None).unwrap();
    let client = server.accept().await;
    assert_eq!(client.bearer, "Bearer refreshed");
    drop(client);
    // The connection broke before a word; now everything is refused.
    let refusing = async {
        loop {
            server.refuse("401 Unauthorized", "token is expired").await;
        }
    };
    let answering = async {
        while let Some(question) = asked.requests.recv().await {
            _ = question.send(None);
        }
    };
    let reason = tokio::select! {
        reason = ended(&mut handle) => reason,
        () = async { tokio::join!(refusing, answering); } => unreachable!(),
    };
    assert!(matches!(&reason, EndReason::Refused(fault) if fault.sentence.contains("expired")), "{reason:?}");
}

#[tokio::test]
async fn a_resume_that_is_refused_with_the_refreshed_token_is_a_join_with_the_first_one() {
    let (tokens, mut asked) = TokenSource::new();
    let (server, mut handle, mut client) = entered(tokens).await;
    client.say(R::RefreshToken("refreshed".into())).await;
    until(&mut handle, |e| *e == ConferenceEvent::Listed).await;
    asked.refreshed.changed().await.unwrap();
    assert_eq!(asked.refreshed.borrow().as_ref().map(Secret::expose), Some("refreshed"), "kept for a later process");
    client.socket.close(None).await.unwrap();
    drop(client);
    server.refuse("401 Unauthorized", "invalid token: refreshed").await;
    let mut client = server.accept().await;
    assert_eq!((client.bearer.as_str(), client.query.contains("reconnect")), ("Bearer canary-token-1", false));
    client.join().await;
    let events = until(&mut handle, |e| *e == ConferenceEvent::Listed).await;
    assert!(matches!(events[0], ConferenceEvent::Entered { .. }), "{events:?}");
    assert!(asked.requests.try_recv().is_err(), "nobody had to be asked");
}

#[tokio::test]
async fn a_replacement_tries_the_refreshed_token_when_the_first_one_is_refused() {
    let server = Server::start().await;
    let settings = LiveKitSettings { refreshed: Some(Secret::new("refreshed")), ..settings(server.url()) };
    let mut handle = enter(settings, lanes().0, TokenSource::none());
    server.refuse("401 Unauthorized", "token is expired").await;
    let mut client = server.accept().await;
    assert_eq!(client.bearer, "Bearer refreshed");
    client.join().await;
    until(&mut handle, |e| *e == ConferenceEvent::Listed).await;
}

fn leave_again() -> LeaveRequest {
    LeaveRequest { action: leave_request::Action::Reconnect.into(), ..Default::default() }
}

#[tokio::test]
async fn an_unreachable_server_is_told_once_and_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut handle = enter(settings(format!("http://{address}")), lanes().0, TokenSource::none());
    let events = until(&mut handle, |e| matches!(e, ConferenceEvent::Lost { .. })).await;
    assert_eq!(events.len(), 1);
    let server = Server { listener: TcpListener::bind(address).await.unwrap() };
    let _client = server.admit().await;
    let events = until(&mut handle, |e| *e == ConferenceEvent::Listed).await;
    assert!(matches!(events[0], ConferenceEvent::Entered { .. }), "{events:?}");
}

#[tokio::test]
async fn a_certificate_must_be_of_somebody_who_is_trusted() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = Server::start().await;
    let url = format!("wss://localhost:{}", server.listener.local_addr().unwrap().port());
    let enter = |trust| {
        let settings =
            LiveKitSettings::new(url.clone(), Secret::new(TOKEN), trust, SessionClock::start(), Box::new(ArrivalIsCapture));
        enter(settings, lanes().0, TokenSource::none())
    };

    let mut stranger = enter(trust(None));
    let socket = server.listener.accept().await.unwrap().0;
    assert!(tls.accept(socket).await.is_err(), "the client hangs up");
    let events = until(&mut stranger, |e| matches!(e, ConferenceEvent::Ended { .. })).await;
    let [ConferenceEvent::Ended { reason: EndReason::Refused(fault) }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        fault.sentence,
        "No secure connection to the LiveKit server is possible: its certificate is not trusted here ([livekit] ca_file) or not for \
         its name."
    );

    let _friend = enter(trust(Some(&ca_file)));
    let mut socket = tls.accept(server.listener.accept().await.unwrap().0).await.unwrap();
    let mut request = [0; 4096];
    let length = socket.read(&mut request).await.unwrap();
    let request = std::str::from_utf8(&request[..length]).unwrap();
    assert!(request.contains("Bearer canary-token-1"), "the token goes to whoever is trusted: {request}");
}

#[test]
fn candidates_are_read_or_left_out() {
    let init = r#"{"candidate":"candidate:1 1 udp 1 1.2.3.4 5 typ host","sdpMid":"0"}"#;
    assert_eq!(candidate_of(init).as_deref(), Some("candidate:1 1 udp 1 1.2.3.4 5 typ host"));
    for init in ["", "{}", "[1]", r#"{"candidate":""}"#, "{\"candidate\":3}"] {
        assert_eq!(candidate_of(init), None, "{init}");
    }
}
