//! One signaling connection.
//!
//! In and out: `SignalResponse` and `SignalRequest`, one protobuf message a binary WebSocket frame. Runs on the task that calls it.
//! The token travels in the Authorization header, and appears in no error: errors of the WebSocket library are kept only where they cannot
//! carry our request.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use livekit_protocol::{SignalRequest, SignalResponse, signal_request, signal_response};
use prost::Message as _;
use recorder_core::secret::Secret;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use url::Url;

use super::verdict::Refusal;
use crate::trust::Trust;

/// Largest message accepted; a join into a room of 1000 people stays below.
const MAX_MESSAGE_BYTES: usize = 2 << 20;
/// How long a connection may take, with name look-up, TLS and upgrade.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the kernel may refuse to take a message.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no signaling connection (any more).
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// The server answered the request with something else than a WebSocket.
    #[error("{}", .0.fault())]
    Refused(Refusal),
    /// The server cannot be reached.
    #[error("the LiveKit server cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// The server's certificate is not accepted, or it speaks no TLS.
    #[error(
        "no secure connection to the LiveKit server is possible: its certificate is not trusted here ([livekit] ca_file) or not for its name"
    )]
    Tls,
    /// No answer in time.
    #[error("the LiveKit server does not answer in time")]
    Timeout,
    /// The token contains characters that no token has.
    #[error("the access token is not a token")]
    TokenText,
    /// The connection ended or broke.
    #[error("the signaling connection to the LiveKit server broke")]
    Broken,
    /// The server sent something that is no signaling message.
    #[error("the LiveKit server sent a message that cannot be read")]
    Message(#[source] prost::DecodeError),
}

/// A signaling connection.
pub struct SignalLink {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl SignalLink {
    /// Connects to an [`super::address::endpoint`], whose certificate must be of these authorities.
    ///
    /// # Errors
    /// See [`SignalError`].
    pub async fn connect(endpoint: &Url, token: &Secret, trust: &Trust) -> Result<Self, SignalError> {
        let mut request = endpoint.as_str().into_client_request().map_err(|_| SignalError::Broken)?;
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", token.expose().trim())).map_err(|_| SignalError::TokenText)?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
        // Small messages of a conversation: Nagle's algorithm would hold each for a round trip.
        let trust = Connector::Rustls(trust.config.clone());
        let connecting = connect_async_tls_with_config(request, Some(config), true, Some(trust));
        match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok((socket, _))) => Ok(Self { socket }),
            Ok(Err(error)) => Err(connect_error(error)),
            Err(_) => Err(SignalError::Timeout),
        }
    }

    /// The next message. Cancel-safe. Unknown message kinds are skipped.
    ///
    /// # Errors
    /// The connection ended or broke, or carried something that cannot be read.
    pub async fn next(&mut self) -> Result<signal_response::Message, SignalError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some(message) = decode(&bytes)? {
                        return Ok(message);
                    }
                }
                // Pings are answered by the library with the next read or write.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(SignalError::Broken),
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection broke, or takes nothing for 5 s.
    pub async fn send(&mut self, message: signal_request::Message) -> Result<(), SignalError> {
        let bytes = SignalRequest { message: Some(message) }.encode_to_vec();
        match tokio::time::timeout(SEND_LIMIT, self.socket.send(Message::Binary(bytes.into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SignalError::Broken),
            Err(_) => Err(SignalError::Timeout),
        }
    }

    /// Closes the connection, waiting for at most half a second.
    pub async fn close(mut self) {
        // Whether the server hears it does not matter any more.
        _ = tokio::time::timeout(Duration::from_millis(500), self.socket.close(None)).await;
    }
}

/// Reads one message; `None` for a kind that this version does not know.
///
/// # Errors
/// Bytes that are no `SignalResponse`.
pub fn decode(bytes: &[u8]) -> Result<Option<signal_response::Message>, SignalError> {
    SignalResponse::decode(bytes).map(|response| response.message).map_err(SignalError::Message)
}

fn connect_error(error: WsError) -> SignalError {
    match error {
        WsError::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            SignalError::Refused(Refusal::of_http(response.status().as_u16(), body))
        }
        // A certificate that is not believed arrives as an error of the socket.
        WsError::Io(source) if source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => SignalError::Tls,
        WsError::Io(source) => SignalError::Unreachable(source),
        WsError::Tls(_) => SignalError::Tls,
        WsError::Protocol(_) | WsError::HttpFormat(_) | WsError::Utf8(_) | WsError::Capacity(_) => {
            SignalError::Refused(Refusal::NoLiveKit)
        }
        _ => SignalError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            _ = decode(&bytes);
        }
    }
}
