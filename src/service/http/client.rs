//! Asks the operators' interface, for the command line.
//!
//! In: an address and a token. Out: what was answered, or a sentence. One request a connection; runs on the caller's runtime. It speaks plain HTTP, as the
//! interface does; the token is sent to no other place than the given one.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use recorder_core::secret::Secret;
use tokio::net::TcpStream;
use url::Url;

use crate::exchange::{self, ExchangeError};

/// From the first question to the last byte.
const LIMIT: Duration = Duration::from_secs(10);
/// Larger answers are not ours.
const LARGEST: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("this is not an address of Roomcast; write it like \"http://127.0.0.1:11411\"")]
    Address,
    /// Nobody listens there.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// It does not end.
    #[error("{0} does not answer within {limit} seconds", limit = LIMIT.as_secs())]
    Slow(String),
    /// Something else listens there.
    #[error("{0} does not answer as Roomcast does")]
    Protocol(String),
    /// The token cannot be sent.
    #[error("the operators' token has characters that cannot be sent")]
    Token,
}

/// One interface.
pub struct Client {
    url: Url,
    token: Option<Secret>,
}

impl Client {
    /// The one at `url`: `http://HOST:PORT`.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(url: &str, token: Option<Secret>) -> Result<Self, ClientError> {
        let url = Url::parse(url).map_err(|_| ClientError::Address)?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        let is_ours = url.scheme() == "http" && url.has_host() && is_plain;
        if is_ours { Ok(Self { url, token }) } else { Err(ClientError::Address) }
    }

    /// Asks for `path`, whose parts are not yet encoded.
    ///
    /// # Errors
    /// No answer; an answer that refuses is none of them.
    pub async fn ask(&self, method: Method, path: &[&str], body: String) -> Result<(StatusCode, Bytes), ClientError> {
        let asked = self.exchange(method, path, body);
        tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| Err(ClientError::Slow(self.place())))
    }

    async fn exchange(&self, method: Method, path: &[&str], body: String) -> Result<(StatusCode, Bytes), ClientError> {
        let mut url = self.url.clone();
        url.path_segments_mut().map_err(|()| ClientError::Address)?.pop_if_empty().extend(path);
        let mut request = Request::builder().method(method).uri(url.path()).header(HOST, self.place());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| ClientError::Token)?;
        let unreachable = |error: std::io::Error| ClientError::Unreachable(self.place(), crate::config::reason(&error));
        let stream = TcpStream::connect(self.place()).await.map_err(unreachable)?;
        let answer = exchange::talk(stream, request, |response| exchange::whole(response, LARGEST)).await;
        let (head, body) = answer.map_err(|_: ExchangeError| ClientError::Protocol(self.place()))?.into_parts();
        Ok((head.status, body.into()))
    }

    /// `HOST:PORT`.
    fn place(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap_or_default(), self.url.port_or_known_default().unwrap_or(80))
    }
}
