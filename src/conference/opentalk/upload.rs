//! One upload connection of the controller's recording service.
//!
//! In: an access token, which room, and when its recording began; frames. Out: that the network has taken them, and how the connection ended. Runs on the
//! task that calls it. The token travels in a header marked as sensitive, and what the controller answers is never passed on.
//! The controller says nothing in an upload but pings, which are answered at any time, and close frames. It never ends the TCP connection itself, and stores
//! what came once that is ended: so both say goodbye, and then the link is dropped.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use recorder_core::controller_upload::{End, Refusal};
use recorder_core::secret::Secret;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use tokio_tungstenite::tungstenite::http::{Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::controller::Controller;

/// How long a connection may take, with name look-up, TLS and upgrade.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Nothing but pings and close frames is expected.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What is uploaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UploadOf<'a> {
    /// The room's UUID.
    pub room: &'a str,
    /// What the film is: up to ten letters and digits, without a dot.
    pub extension: &'a str,
    /// When it began; the controller makes its name of it.
    pub began: Timestamp,
}

/// An upload connection.
pub struct UploadLink {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
}

impl Controller {
    /// Opens an upload connection. For a room that does not exist the controller opens one, too, and says so after the first frame; without a frame
    /// nothing is left of that.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn open_upload(&self, token: &Secret, what: UploadOf<'_>) -> Result<UploadLink, Refusal> {
        let mut address = self.socket("v1/services/recording/upload");
        address
            .query_pairs_mut()
            .append_pair("room_id", what.room)
            .append_pair("file_extension", what.extension)
            .append_pair("timestamp", &what.began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let mut request = address.as_str().into_client_request().map_err(|_| Refusal::NotHere)?;
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", token.expose().trim())).map_err(|_| Refusal::TokenRefused)?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
        let trust = Connector::Rustls(self.trust.config.clone());
        let connecting = connect_async_tls_with_config(request, Some(config), true, Some(trust));
        match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok((socket, _))) => {
                let (sink, stream) = socket.split();
                Ok(UploadLink { sink, stream })
            }
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => Err(Refusal::TooSlow),
        }
    }
}

impl UploadLink {
    /// Hands one frame to the network.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn send(&mut self, frame: Vec<u8>) -> Result<(), End> {
        self.say(Message::Binary(frame.into())).await
    }

    /// Says goodbye, and waits for the end.
    pub async fn goodbye(&mut self) -> End {
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        match self.say(Message::Close(Some(goodbye))).await {
            Ok(()) => self.ended().await,
            Err(end) => end,
        }
    }

    /// Waits for the end. Cancel-safe.
    pub async fn ended(&mut self) -> End {
        end_of(&mut self.stream).await
    }

    /// The controller's pings are read, and so answered, while a large frame is on its way.
    async fn say(&mut self, message: Message) -> Result<(), End> {
        let Self { sink, stream } = self;
        tokio::select! {
            sent = sink.send(message) => sent.map_err(|_| End::Gone),
            end = end_of(stream) => Err(end),
        }
    }
}

async fn end_of(stream: &mut SplitStream<Socket>) -> End {
    loop {
        match stream.next().await {
            Some(Ok(Message::Close(frame))) => return End::Closed(frame.map(|frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return End::Gone,
        }
    }
}

fn refusal(error: &WsError) -> Refusal {
    match error {
        WsError::Http(response) => judge(response),
        // Untrusted certificates come as errors of the stream.
        WsError::Io(source) if source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => Refusal::NotSecure,
        WsError::Tls(_) => Refusal::NotSecure,
        WsError::Protocol(_) | WsError::HttpFormat(_) | WsError::Utf8(_) | WsError::Capacity(_) | WsError::Url(_) => {
            Refusal::NotHere
        }
        _ => Refusal::Unreachable,
    }
}

/// What an answer to the upgrade means that is none.
fn judge(response: &Response<Option<Vec<u8>>>) -> Refusal {
    #[derive(serde::Deserialize)]
    struct Words {
        code: String,
    }
    let body = response.body().as_deref().unwrap_or_default();
    // As at the start of a room from 0.32 on: the code names what is full.
    let code = serde_json::from_slice::<Words>(body).map(|words| words.code).unwrap_or_default();
    match response.status() {
        status if status.is_client_error() && (code.contains("storage") || code.contains("quota")) => Refusal::StorageFull,
        // Only a token that is not believed is answered with the header; one without the role is not.
        StatusCode::UNAUTHORIZED if response.headers().contains_key(WWW_AUTHENTICATE) => Refusal::TokenRefused,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::RoleMissing,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Refusal::NotUnderstood,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Refusal::NotReady,
        status if status.is_server_error() => Refusal::NotReady,
        _ => Refusal::NotHere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_upgrades_are_told_apart() {
        let answered = |status: u16, header: bool, body: &str| {
            let mut response = Response::builder().status(status);
            if header {
                response = response.header(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"");
            }
            judge(&response.body(Some(body.into())).unwrap())
        };
        for (status, header, body, refusal) in [
            (401, true, r#"{"code":"unauthorized"}"#, Refusal::TokenRefused),
            (401, false, r#"{"code":"unauthorized"}"#, Refusal::RoleMissing),
            (403, false, "", Refusal::RoleMissing),
            (403, false, r#"{"code":"storage_exceeded"}"#, Refusal::StorageFull),
            (400, false, "Query deserialize error: missing field `timestamp`", Refusal::NotUnderstood),
            (404, false, "", Refusal::NotHere),
            (301, false, "", Refusal::NotHere),
            (200, false, "storage", Refusal::NotHere),
            (429, false, "", Refusal::NotReady),
            (500, false, r#"{"code":"internal_server_error"}"#, Refusal::NotReady),
            (502, false, "<html>", Refusal::NotReady),
        ] {
            assert_eq!(answered(status, header, body), refusal, "{status} {body}");
        }
    }
}
