//! Fetches one file from wherever somebody says, within limits.
//!
//! In: an address that a participant chose. Out: its bytes, or why not. Only GET, without cookies, credentials or a body. Each host that a name or a redirect
//! leads to is checked before it is connected to, and the connection goes to the very address that was checked. It writes no address into an error or a log.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use recorder_core::address::AddressPolicy;
use recorder_core::secret::Pii;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::AvatarRules;
use crate::mixer::still::StillError;
use crate::trust::{Trust, TrustError};

/// Larger files are refused.
pub(super) const LARGEST: usize = 2 << 20;
/// From the first question to the last byte, redirects included.
const LIMIT: Duration = Duration::from_secs(10);
/// Each address of a name gets so long to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 3;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 3;
/// What we can decode.
const TYPES: [&str; 3] = ["image/png", "image/jpeg", "image/webp"];

/// Why somebody's picture is not shown.
#[derive(Debug, thiserror::Error)]
pub enum AvatarError {
    /// Not an address that may be asked.
    #[error("its address is not one of an https server")]
    Address,
    /// The host, or the one that a redirect leads to, is not public.
    #[error("its host is not public, and not among the allowed addresses")]
    Forbidden,
    /// Nobody knows the host, or it does not answer.
    #[error("its host cannot be reached")]
    Unreachable,
    /// The server's certificate, or TLS.
    #[error("there is no secure connection to its host")]
    NotSecure,
    /// The server does not keep to HTTP.
    #[error("its host does not answer as a web server should")]
    Protocol,
    /// Another status than 200.
    #[error("its host answers {0}")]
    Status(u16),
    /// Redirects without end.
    #[error("it is redirected too often")]
    Redirects,
    /// Another type.
    #[error("it is said to be something else than a PNG, JPEG or WebP picture")]
    Type,
    /// Too many bytes.
    #[error("it is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    /// Too slow.
    #[error("it took longer than {} seconds", LIMIT.as_secs())]
    TooSlow,
    /// Not a picture, or too many pixels.
    #[error(transparent)]
    Still(#[from] StillError),
    /// Our own fault.
    #[error("the decoder broke")]
    Decoder,
}

/// Fetches files by HTTP.
pub struct Fetcher {
    tls: TlsConnector,
    policy: AddressPolicy,
    allow_http: bool,
    limit: Duration,
}

/// What an answer is.
enum Answer {
    File(Vec<u8>),
    Elsewhere(Url),
}

impl Fetcher {
    /// Within these rules.
    ///
    /// # Errors
    /// The operator's certificates cannot be used.
    pub fn new(rules: &AvatarRules) -> Result<Self, TrustError> {
        let tls = TlsConnector::from(Trust::load(rules.ca_file.as_deref())?.config);
        Ok(Self { tls, policy: rules.policy.clone(), allow_http: rules.allow_http, limit: LIMIT })
    }

    /// With another limit of time.
    #[cfg(test)]
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The file at `address`.
    ///
    /// # Errors
    /// See [`AvatarError`].
    pub async fn fetch(&self, address: &Pii) -> Result<Vec<u8>, AvatarError> {
        let fetched = async {
            let mut url = Url::parse(address.expose()).map_err(|_| AvatarError::Address)?;
            for _ in 0..=MAX_REDIRECTS {
                match self.ask(&url).await? {
                    Answer::File(bytes) => return Ok(bytes),
                    Answer::Elsewhere(next) => url = next,
                }
            }
            Err(AvatarError::Redirects)
        };
        tokio::time::timeout(self.limit, fetched).await.unwrap_or(Err(AvatarError::TooSlow))
    }

    async fn ask(&self, url: &Url) -> Result<Answer, AvatarError> {
        let is_secure = url.scheme() == "https";
        let is_allowed = is_secure || (url.scheme() == "http" && self.allow_http);
        if !is_allowed || !url.username().is_empty() || url.password().is_some() {
            return Err(AvatarError::Address);
        }
        let host = url.host().ok_or(AvatarError::Address)?;
        let port = url.port_or_known_default().ok_or(AvatarError::Address)?;
        let stream = self.connect(&host, port).await?;
        if is_secure {
            let name = match &host {
                Host::Domain(name) => ServerName::try_from((*name).to_owned()).map_err(|_| AvatarError::Address)?,
                Host::Ipv4(address) => ServerName::from(IpAddr::from(*address)),
                Host::Ipv6(address) => ServerName::from(IpAddr::from(*address)),
            };
            let stream = self.tls.connect(name, stream).await.map_err(|_| AvatarError::NotSecure)?;
            exchange(stream, url).await
        } else {
            exchange(stream, url).await
        }
    }

    /// Connects to an address that was checked.
    async fn connect(&self, host: &Host<&str>, port: u16) -> Result<TcpStream, AvatarError> {
        let addresses: Vec<SocketAddr> = match host {
            Host::Ipv4(address) => vec![(*address, port).into()],
            Host::Ipv6(address) => vec![(*address, port).into()],
            Host::Domain(name) => tokio::net::lookup_host((*name, port)).await.map_err(|_| AvatarError::Unreachable)?.collect(),
        };
        let allowed: Vec<SocketAddr> =
            addresses.into_iter().filter(|address| self.policy.check(address.ip()).is_ok()).take(MAX_ADDRESSES).collect();
        if allowed.is_empty() {
            return Err(AvatarError::Forbidden);
        }
        for address in allowed {
            if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                return Ok(stream);
            }
        }
        Err(AvatarError::Unreachable)
    }
}

/// Asks for the file over a connection of its own.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &Url) -> Result<Answer, AvatarError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| AvatarError::Protocol)?;
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let request = Request::get(target)
        .header(HOST, host)
        .header(USER_AGENT, concat!("roomcast/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, TYPES.join(", "))
        .body(Empty::<Bytes>::new())
        .map_err(|_| AvatarError::Address)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|_| AvatarError::Protocol)?;
        read(response, url).await
    };
    tokio::pin!(connection, answer);
    let mut is_open = true;
    loop {
        tokio::select! {
            result = &mut answer => return result,
            // What has come is still read after the server has closed.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

async fn read(response: Response<Incoming>, url: &Url) -> Result<Answer, AvatarError> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    match response.status() {
        StatusCode::OK => {}
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let next = header(LOCATION).and_then(|location| url.join(location).ok());
            return next.map(Answer::Elsewhere).ok_or(AvatarError::Protocol);
        }
        other => return Err(AvatarError::Status(other.as_u16())),
    }
    let kind = header(CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    if !TYPES.contains(&kind.as_str()) {
        return Err(AvatarError::Type);
    }
    if header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > LARGEST as u64) {
        return Err(AvatarError::TooLarge);
    }
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| AvatarError::Protocol)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > LARGEST {
                return Err(AvatarError::TooLarge);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(Answer::File(bytes))
}
