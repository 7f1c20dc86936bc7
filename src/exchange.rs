//! One question to an HTTP server, one answer.
//!
//! In: a request with its body. Out: status, headers and body, or why there is no answer. Each question has a connection of its own and is over within a
//! limit. Runs on the task that calls it. Refuses redirects, answers above [`LARGEST`], and to repeat anything of question or answer in an error.
//! Who has rules of their own for connecting, or for what an answer may be, has [`ask_over`] and [`talk`].

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use crate::trust::Trust;

/// Longer answers are not read.
const LARGEST: usize = 256 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Not the address of an HTTP server.
    #[error("this is not the address of a web server")]
    Address,
    /// No connection, or one that ended too early.
    #[error("the server cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// Its certificate is not accepted, or it speaks no TLS.
    #[error("no secure connection to the server is possible")]
    NotSecure(#[source] std::io::Error),
    /// No answer in time.
    #[error("the server does not answer in time")]
    TooSlow,
    /// It does not keep to HTTP.
    #[error("the server does not answer as a web server should")]
    Protocol,
    /// A longer answer than this, in bytes.
    #[error("the answer is longer than {} KiB", .0 >> 10)]
    TooLarge(usize),
}

/// Asks servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exchange {
    trust: Trust,
    limit: Duration,
}

impl Exchange {
    /// Believes these authorities, and waits so long for an answer, the connection included.
    pub fn new(trust: Trust, limit: Duration) -> Self {
        Self { trust, limit }
    }

    /// Asks. The request's address is a whole one, with `http://` or `https://`.
    ///
    /// # Errors
    /// See [`ExchangeError`]. A status of failure is an answer.
    pub async fn ask(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, ExchangeError> {
        tokio::time::timeout(self.limit, self.asked(request)).await.unwrap_or(Err(ExchangeError::TooSlow))
    }

    async fn asked(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, ExchangeError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| ExchangeError::Address)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ExchangeError::Address);
        }
        let port = url.port_or_known_default().ok_or(ExchangeError::Address)?;
        let connected = match url.host().ok_or(ExchangeError::Address)? {
            Host::Domain(name) => TcpStream::connect((name, port)).await,
            Host::Ipv4(address) => TcpStream::connect((address, port)).await,
            Host::Ipv6(address) => TcpStream::connect((address, port)).await,
        };
        let stream = connected.map_err(ExchangeError::Unreachable)?;
        let tls = TlsConnector::from(self.trust.config.clone());
        ask_over(stream, &tls, &url, request.map(Full::from), |response| whole(response, LARGEST)).await
    }
}

/// Asks for `url` over a connection to its host, by TLS unless it begins with `http://`; says there who asks whom for what. `read` makes of the answer what
/// is wanted of it.
///
/// # Errors
/// See [`ExchangeError`], and those of `read`.
pub(crate) async fn ask_over<T, E, R>(
    stream: TcpStream,
    tls: &TlsConnector,
    url: &Url,
    mut request: Request<Full<Bytes>>,
    read: impl FnOnce(Response<Incoming>) -> R,
) -> Result<T, E>
where
    R: Future<Output = Result<T, E>>,
    E: From<ExchangeError>,
{
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).map_err(|_| ExchangeError::Address)?;
    request.headers_mut().insert(HOST, host);
    let agent = HeaderValue::from_static(concat!("roomcast/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(USER_AGENT, agent);
    let target = url[Position::BeforePath..Position::AfterQuery].parse::<Uri>();
    *request.uri_mut() = target.map_err(|_| ExchangeError::Address)?;
    if url.scheme() == "http" {
        return talk(stream, request, read).await;
    }
    let name = match url.host().ok_or(ExchangeError::Address)? {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| ExchangeError::Address)?,
        Host::Ipv4(address) => ServerName::from(IpAddr::from(address)),
        Host::Ipv6(address) => ServerName::from(IpAddr::from(address)),
    };
    talk(tls.connect(name, stream).await.map_err(ExchangeError::NotSecure)?, request, read).await
}

/// Sends a request that is whole, and has the answer read while the connection is served.
///
/// # Errors
/// [`ExchangeError::Unreachable`], [`ExchangeError::Protocol`], and those of `read`.
pub(crate) async fn talk<T, E, R>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    read: impl FnOnce(Response<Incoming>) -> R,
) -> Result<T, E>
where
    R: Future<Output = Result<T, E>>,
    E: From<ExchangeError>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async { read(sender.send_request(request).await.map_err(broken)?).await };
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

/// A connection that ended in the middle may be better the next time; one that speaks something else will not.
fn broken(error: hyper::Error) -> ExchangeError {
    if error.is_parse() {
        ExchangeError::Protocol
    } else {
        ExchangeError::Unreachable(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error))
    }
}

/// The answer with its body, of at most so many bytes.
///
/// # Errors
/// [`ExchangeError::TooLarge`], [`ExchangeError::Unreachable`], [`ExchangeError::Protocol`].
pub(crate) async fn whole(response: Response<Incoming>, most: usize) -> Result<Response<Vec<u8>>, ExchangeError> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > most {
                return Err(ExchangeError::TooLarge(most));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(Response::from_parts(head, bytes))
}
