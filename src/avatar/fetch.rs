//! Fetches one file from wherever somebody says, within limits.
//!
//! In: an address that a participant chose. Out: its bytes, or why not. Only GET, without cookies, credentials or a body. Each host that a name or a redirect
//! leads to is checked before it is connected to, and the connection goes to the very address that was checked. It writes no address into an error or a log.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use hyper::{Request, Response, StatusCode};
use recorder_core::address::AddressPolicy;
use recorder_core::secret::Pii;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::AvatarRules;
use crate::exchange::{self, ExchangeError};
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

impl From<ExchangeError> for AvatarError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Address => Self::Address,
            ExchangeError::NotSecure(_) => Self::NotSecure,
            // The connection was there, and ended in the middle.
            ExchangeError::Unreachable(_) | ExchangeError::Protocol => Self::Protocol,
            ExchangeError::TooSlow => Self::TooSlow,
            ExchangeError::TooLarge(_) => Self::TooLarge,
        }
    }
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
        let is_allowed = url.scheme() == "https" || (url.scheme() == "http" && self.allow_http);
        if !is_allowed || !url.username().is_empty() || url.password().is_some() {
            return Err(AvatarError::Address);
        }
        let host = url.host().ok_or(AvatarError::Address)?;
        let port = url.port_or_known_default().ok_or(AvatarError::Address)?;
        let stream = self.connect(&host, port).await?;
        let request = Request::builder().header(ACCEPT, TYPES.join(", ")).body(Full::default());
        let request = request.map_err(|_| AvatarError::Address)?;
        exchange::ask_over(stream, &self.tls, url, request, |response| read(response, url)).await
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
    Ok(Answer::File(exchange::whole(response, LARGEST).await?.into_body()))
}
