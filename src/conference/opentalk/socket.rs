//! One signaling connection.
//!
//! In and out: text frames of a WebSocket. Runs on the task that calls it.
//! The ticket travels in the list of protocols, and appears in no error: errors of the WebSocket library are kept only where they cannot carry our
//! request. The controller never ends a TCP connection after a close frame, whoever began; so we answer one, and drop it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use recorder_core::secret::Secret;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::b_words::{LARGEST_FRAME, PROTOCOL};
use super::controller::Controller;
use super::refusal::Refusal;
use super::signaling::Broken;

/// Largest message accepted: a room of a thousand people with a long chat.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// How long a connection may take, with name look-up, TLS and upgrade.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the kernel may refuse to take a message.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How long the controller may take to answer our close frame, or to take our answer to its own.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// What came.
#[derive(Debug)]
pub(super) enum Frame {
    /// A message.
    Text(String),
    /// A sign of life.
    Beat,
    /// The end. A close frame has been answered; the connection is to be dropped.
    End(Broken),
}

/// A signaling connection.
pub(super) struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Link {
    /// Connects with a ticket, which is used up by it.
    pub(super) async fn open(controller: &Controller, ticket: &Secret) -> Result<Self, Refusal> {
        let mut request = controller.signaling().as_str().into_client_request().map_err(|_| Refusal::NotHere)?;
        let mut protocols =
            HeaderValue::from_str(&format!("{PROTOCOL}, ticket#{}", ticket.expose())).map_err(|_| Refusal::Ticket)?;
        protocols.set_sensitive(true);
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols);
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
        let trust = Connector::Rustls(controller.trust.config.clone());
        // Small messages of a conversation: Nagle's algorithm would hold each for a round trip.
        let connecting = connect_async_tls_with_config(request, Some(config), true, Some(trust));
        match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok((socket, _))) => Ok(Self { socket }),
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => Err(Refusal::TooSlow),
        }
    }

    /// The next thing that comes. Cancel-safe until the end.
    pub(super) async fn next(&mut self) -> Frame {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Frame::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => match String::from_utf8(bytes.into()) {
                    Ok(text) => return Frame::Text(text),
                    Err(_) => return Frame::Beat,
                },
                // Pings are answered by the library with the next read or write.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Frame::Beat,
                Some(Ok(Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    // The answer waits in the library; whether it can be sent does not matter any more.
                    _ = tokio::time::timeout(CLOSE_LIMIT, self.socket.flush()).await;
                    return Frame::End(Broken::Closed(frame.map(|frame| frame.code.into())));
                }
                Some(Err(_)) | None => return Frame::End(Broken::Cut),
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection broke, takes nothing for 5 s, or would be broken by a message of this size.
    pub(super) async fn say(&mut self, text: String) -> Result<(), Broken> {
        if text.len() > LARGEST_FRAME {
            tracing::warn!(bytes = text.len(), "a message is too large for the controller, and is left out");
            return Ok(());
        }
        match tokio::time::timeout(SEND_LIMIT, self.socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Broken::Cut),
        }
    }

    /// Ends the connection: one close frame each, then it is dropped.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            self.socket.close(Some(frame)).await.ok()?;
            while !matches!(self.socket.next().await?.ok()?, Message::Close(_)) {}
            Some(())
        };
        // Whether the controller hears it does not matter any more: the end of the connection says the same.
        _ = tokio::time::timeout(CLOSE_LIMIT, goodbye).await;
    }
}

fn refusal(error: &WsError) -> Refusal {
    match error {
        WsError::Http(response) => Refusal::of_http(response.status().as_u16()),
        // Untrusted certificates come as errors of the stream.
        WsError::Io(source) if source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => Refusal::NotSecure,
        WsError::Io(_) => Refusal::Unreachable,
        WsError::Tls(_) => Refusal::NotSecure,
        WsError::Protocol(_) | WsError::HttpFormat(_) | WsError::Utf8(_) | WsError::Capacity(_) | WsError::Url(_) => {
            Refusal::NotHere
        }
        _ => Refusal::Unreachable,
    }
}
