//! The door of the programme monitor: the page, the state, and WHEP.
//!
//! In: HTTP/1.1. Out: the page, JSON, SDP answers; each refusal has its status and a sentence. Runs on the monitor's task. Refuses whoever does not know the token, pages of
//! other sites, bodies above [`MOST_BODY_BYTES`], connections above [`MOST_CONNECTIONS`], and to wait for anybody longer than [`PATIENCE`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use recorder_core::secret::Secret;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::hall::{self, JoinError, ViewerId};
use super::offer::Offer;
use super::page;
use super::standing::Standing;
use crate::clock::SessionClock;

/// Offers of browsers have some 10 KB.
const MOST_BODY_BYTES: usize = 64 << 10;
/// Connections at a time: each page keeps one or two.
const MOST_CONNECTIONS: usize = 256;
/// For the head of a request, and again for its body.
const PATIENCE: Duration = Duration::from_secs(10);
/// When no connection can be taken (no descriptors are left), it is tried again after this time.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

const SDP: &str = "application/sdp";
const WHEP: &str = "/whep";
/// The page loads its own files and speaks with us, and nothing else; nobody puts it into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Who lets viewers in.
pub(super) struct Door {
    /// What they must know.
    pub(super) token: Option<Secret>,
    /// The Session's clock.
    pub(super) clock: SessionClock,
    /// How it stands.
    pub(super) standing: watch::Receiver<Standing>,
    /// How many watch.
    pub(super) viewers: watch::Receiver<usize>,
    /// To the hall.
    pub(super) requests: mpsc::Sender<hall::Request>,
}

/// What `/state` says.
#[derive(Serialize)]
struct State<'a> {
    /// Session time now.
    now_ms: u64,
    viewers: usize,
    #[serde(flatten)]
    standing: &'a Standing,
}

type Answer = Response<Full<Bytes>>;

/// A request that is not served: the status, a word for programs, and a sentence for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    error: &'static str,
    sentence: String,
    /// What a program should know beside the status.
    #[serde(skip)]
    hint: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, sentence: impl ToString) -> Self {
        let hint = match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, "5")),
            _ => None,
        };
        Self { status, error, sentence: sentence.to_string(), hint }
    }
}

impl Door {
    /// Lets viewers in for ever.
    pub(super) async fn open(self, listener: TcpListener) -> io::Result<()> {
        let door = Arc::new(self);
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            // Whoever comes then waits in the queue of the system.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let (stream, local) = match accept(&listener).await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection was not taken");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let door = Arc::clone(&door);
            tokio::spawn(async move {
                let serve = service_fn(|request| {
                    let door = Arc::clone(&door);
                    async move { Ok::<_, Infallible>(door.answer(request, local).await) }
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MOST_BODY_BYTES);
                if let Err(error) = http.serve_connection(TokioIo::new(stream), serve).await {
                    tracing::debug!(%error, "a connection ended");
                }
                drop(place);
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>, local: SocketAddr) -> Answer {
        let answered = self.serve(request, local).await;
        let mut answer = answered.unwrap_or_else(|refusal| {
            let body = serde_json::to_vec(&refusal).unwrap_or_default();
            let mut answer = reply(refusal.status, "application/json", body);
            if let Some((name, value)) = refusal.hint {
                answer.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            answer
        });
        let always = [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        always.into_iter().for_each(|(name, value)| _ = answer.headers_mut().insert(name, HeaderValue::from_static(value)));
        answer
    }

    async fn serve(&self, request: Request<Incoming>, local: SocketAddr) -> Result<Answer, Refusal> {
        self.is_meant(request.headers())?;
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let files = [("/monitor.js", "text/javascript", page::SCRIPT), ("/monitor.css", "text/css", page::STYLE)];
        let is_read = method == Method::GET || method == Method::HEAD;
        if path == "/" {
            let accepted = text_of(request.headers(), &header::ACCEPT_LANGUAGE);
            return only(is_read, "GET, HEAD").map(|()| reply(StatusCode::OK, "text/html; charset=utf-8", page::html(accepted)));
        }
        if let Some((_, kind, text)) = files.iter().find(|(name, ..)| *name == path) {
            return only(is_read, "GET, HEAD").map(|()| reply(StatusCode::OK, &format!("{kind}; charset=utf-8"), *text));
        }
        // The page itself says nothing; everything else does.
        self.knows_token(request.headers())?;
        if path == "/state" {
            return only(is_read, "GET, HEAD").map(|()| self.state());
        }
        if path == WHEP {
            only(method == Method::POST, "POST")?;
            return self.join(request, local).await;
        }
        match path.strip_prefix(WHEP).and_then(|rest| rest.strip_prefix('/')) {
            // All addresses are in the answer, so there is nothing to PATCH.
            Some(id) => {
                only(method == Method::DELETE, "DELETE")?;
                self.leave(id).await
            }
            None => Err(nothing_here()),
        }
    }

    /// A page of another site may have its name point to this machine; only requests under our own name are meant for us.
    fn is_meant(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        // Where a token is needed no other page knows it, and a proxy may have a name of its own.
        if self.token.is_some() {
            return Ok(());
        }
        let host = text_of(headers, &header::HOST);
        let name =
            host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
        let is_local = matches!(name, "localhost" | "[::1]") || name.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback());
        if !is_local {
            let sentence = "this monitor is reached as localhost or 127.0.0.1 only";
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", sentence));
        }
        let origin = text_of(headers, &header::ORIGIN);
        if !origin.is_empty() && origin.split_once("://").is_none_or(|(_, from)| from != host) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "other_site", "pages of other sites cannot use this monitor"));
        }
        Ok(())
    }

    fn knows_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = text_of(headers, &header::AUTHORIZATION);
        let given = given
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, given)| given.trim());
        let sum = |text: &str| digest(&SHA256, text.as_bytes());
        verify_slices_are_equal(sum(given).as_ref(), sum(token.expose()).as_ref()).map_err(|_| {
            Refusal::new(StatusCode::UNAUTHORIZED, "wrong_token", "this monitor needs its token: Authorization: Bearer …")
        })
    }

    fn state(&self) -> Answer {
        let standing = self.standing.borrow();
        let now_ms = self.clock.now().as_nanos() / 1_000_000;
        let state = State { now_ms, viewers: *self.viewers.borrow(), standing: &standing };
        match serde_json::to_vec(&state) {
            Ok(json) => reply(StatusCode::OK, "application/json", json),
            Err(_) => reply(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{}"),
        }
    }

    async fn join(&self, request: Request<Incoming>, local: SocketAddr) -> Result<Answer, Refusal> {
        let kind = text_of(request.headers(), &header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case(SDP) {
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_sdp", "the body must be application/sdp"));
        }
        let offer = Offer::parse(&body(request).await?).map_err(|error| {
            let status = if error.is_malformed() { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
            Refusal::new(status, "bad_offer", error)
        })?;
        let (reply_to, answer) = oneshot::channel();
        let request = hall::Request::Join { offer: Box::new(offer), address: local.ip().to_canonical(), reply: reply_to };
        let joined = match self.requests.send(request).await {
            Ok(()) => answer.await.unwrap_or(Err(JoinError::Unable)),
            Err(_) => Err(JoinError::Unable),
        };
        let (id, answer) = joined.map_err(|error| match error {
            JoinError::Refused => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_offer", error),
            JoinError::Full => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "full", error),
            JoinError::Unable => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unable", error),
        })?;
        let mut created = reply(StatusCode::CREATED, SDP, answer);
        if let Ok(place) = HeaderValue::from_str(&format!("{WHEP}/{id:032x}")) {
            created.headers_mut().insert(header::LOCATION, place);
        }
        Ok(created)
    }

    async fn leave(&self, id: &str) -> Result<Answer, Refusal> {
        let id = ViewerId::from_str_radix(id, 16).map_err(|_| nothing_here())?;
        let (reply_to, was_there) = oneshot::channel();
        let told = self.requests.send(hall::Request::Leave { id, reply: reply_to }).await.is_ok();
        if told && was_there.await.unwrap_or(false) { Ok(reply(StatusCode::OK, "text/plain", "")) } else { Err(nothing_here()) }
    }
}

/// The stream, and the address that it came to.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    Ok((stream, local))
}

async fn body(request: Request<Incoming>) -> Result<String, Refusal> {
    let collected = timeout(PATIENCE, Limited::new(request.into_body(), MOST_BODY_BYTES).collect()).await;
    let not_text = || Refusal::new(StatusCode::BAD_REQUEST, "bad_offer", "this is not an SDP offer");
    match collected {
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the offer did not come in time")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let sentence = format!("an offer has at most {MOST_BODY_BYTES} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", sentence))
        }
        Ok(Err(_)) => Err(not_text()),
        Ok(Ok(body)) => String::from_utf8(body.to_bytes().into()).map_err(|_| not_text()),
    }
}

fn only(is_allowed: bool, allowed: &'static str) -> Result<(), Refusal> {
    if is_allowed {
        return Ok(());
    }
    let sentence = format!("only {allowed} is understood here");
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", sentence);
    Err(Refusal { hint: Some((header::ALLOW, allowed)), ..refusal })
}

fn nothing_here() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn reply(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    if let Ok(kind) = HeaderValue::from_str(kind) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    answer
}
