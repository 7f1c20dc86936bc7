//! The front door: what is asked for, and by whom.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::house::Misbehaviour;
use super::token::Refused;
use super::{Shared, signaling, upload};

const PROTOCOL: &str = "opentalk-signaling-json-v1.0";
const EXPIRED: &str = "Invalid or expired ticket. Please request a new ticket from /v1/rooms/<room_id>/start";

/// A connection, with TLS or without.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The head of a request.
pub(super) struct Request {
    method: String,
    pub(super) target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Reads certificate and key.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("a pair")))
}

/// Takes connections for as long as the controller lives.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(attend(Arc::clone(&shared), stream, tls.clone()));
    }
}

async fn attend(shared: Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    let mut life = shared.life.subscribe();
    let serving = async {
        match tls {
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => serve(&shared, stream).await,
                Err(_) => None,
            },
            None => serve(&shared, stream).await,
        }
    };
    tokio::select! {
        _ = serving => {}
        // The connection is cut, and nobody is told.
        _ = life.changed() => {}
    }
}

async fn serve(shared: &Arc<Shared>, mut stream: impl Wire) -> Option<()> {
    let request = read(&mut stream).await?;
    let path = request.target.split('?').next()?.to_owned();
    match (request.method.as_str(), path.as_str()) {
        ("POST", "/v1/services/recording/start") => {
            let (status, headers, body) = start(shared, &request);
            answer(&mut stream, status, &headers, &body).await
        }
        ("GET", "/signaling") => match ticket(shared, &request) {
            Ok(seat) => {
                upgrade(&mut stream, &request, Some(PROTOCOL)).await?;
                signaling::converse(shared, stream, seat).await
            }
            Err((500, _, _)) => answer(&mut stream, 500, "", "").await,
            Err((status, code, message)) => {
                answer(&mut stream, status, "", &json!({"code": code, "message": message}).to_string()).await
            }
        },
        ("GET", "/v1/services/recording/upload") => match upload::admit(shared, &request) {
            Ok(upload) => {
                upgrade(&mut stream, &request, None).await?;
                upload::receive(shared, stream, upload).await
            }
            Err(upload::Refusal::Token(refused)) => {
                let (status, headers, body) = unauthorized(refused);
                answer(&mut stream, status, &headers, &body).await
            }
            Err(upload::Refusal::Status(status)) => answer(&mut stream, status, "", "").await,
            Err(upload::Refusal::Query(why)) => answer(&mut stream, 400, "", &format!("Query deserialize error: {why}")).await,
        },
        _ => answer(&mut stream, 404, "", "").await,
    }
}

async fn read(stream: &mut impl Wire) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let mut request = Request { method, target, headers, body: bytes[end..].to_vec() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while request.body.len() < length {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        request.body.extend_from_slice(&buffer[..count]);
    }
    Some(request)
}

async fn answer(stream: &mut impl Wire, status: u16, headers: &str, body: &str) -> Option<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

async fn upgrade(stream: &mut impl Wire, request: &Request, protocol: Option<&str>) -> Option<()> {
    let key = derive_accept_key(request.header("sec-websocket-key")?.as_bytes());
    let protocol = protocol.map(|protocol| format!("sec-websocket-protocol: {protocol}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {key}\r\n{protocol}\r\n"
    );
    stream.write_all(head.as_bytes()).await.ok()
}

/// Status, headers and body of a refusal.
fn unauthorized(refused: Refused) -> (u16, String, String) {
    let challenge =
        "www-authenticate: Bearer error=\"invalid_token\", error_description=\"The provided access token is invalid\"\r\n";
    let message = if refused == Refused::Missing { "Unable to parse access token" } else { "Authentication failed" };
    let headers = if refused == Refused::Roleless { "" } else { challenge };
    (401, headers.into(), json!({"code": "unauthorized", "message": message}).to_string())
}

fn start(shared: &Shared, request: &Request) -> (u16, String, String) {
    let refuse =
        |status: u16, code: &str, message: &str| (status, String::new(), json!({"code": code, "message": message}).to_string());
    let internal = || refuse(500, "internal_server_error", "An internal server error occurred");
    let mut house = shared.house();
    house.starts += 1;
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    house.secrets.extend(bearer);
    if let Err(refused) = house.tokens.judge(request.header("authorization")) {
        return unauthorized(refused);
    }
    if request.header("content-type") != Some("application/json") {
        return refuse(400, "invalid_content_type", "Content type error");
    }
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return refuse(400, "invalid_json", "Json deserialize error: not JSON");
    };
    let Some(room) = body["room_id"].as_str() else {
        return refuse(400, "invalid_json", "Json deserialize error: missing field `room_id` at line 1 column 2");
    };
    if !is_uuid(room) {
        return refuse(400, "invalid_json", "Json deserialize error: UUID parsing failed at line 1 column 22");
    }
    match house.misbehaviour {
        Misbehaviour::FailStart => return internal(),
        Misbehaviour::RefuseQuota => return refuse(403, "storage_quota_exceeded", "The storage is full"),
        _ => {}
    }
    match house.recorder_ticket(room, body["breakout_room"].as_str()) {
        Some(ticket) => (200, String::new(), json!({"ticket": ticket, "resumption": "r".repeat(64)}).to_string()),
        None => internal(),
    }
}

/// The seat that a request has a ticket for.
fn ticket(shared: &Shared, request: &Request) -> Result<signaling::Seat, (u16, &'static str, &'static str)> {
    let mut house = shared.house();
    let Some(protocols) = request.header("sec-websocket-protocol") else {
        return Err((400, "missing_protocol", "Missing sec-websocket-protocol header"));
    };
    let protocols: Vec<&str> = protocols.split(',').map(str::trim).collect();
    if !protocols.contains(&PROTOCOL) {
        return Err((400, "invalid_protocol", "Missing valid protocol"));
    }
    let Some(ticket) = protocols.iter().find_map(|protocol| protocol.strip_prefix("ticket#")) else {
        return Err((401, "missing_ticket", "Missing ticket. Please request a new ticket from /v1/rooms/<room_id>/start"));
    };
    if house.misbehaviour == Misbehaviour::NoBroker {
        return Err((500, "", ""));
    }
    if ticket.len() != 64 {
        return Err((401, "invalid_ticket", "Invalid ticket. Please request a new ticket from /v1/rooms/<room_id>/start"));
    }
    house.use_ticket(ticket).ok_or((401, "invalid_ticket", EXPIRED))
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.chars().enumerate().all(|(i, c)| if [8, 13, 18, 23].contains(&i) { c == '-' } else { c.is_ascii_hexdigit() })
}
