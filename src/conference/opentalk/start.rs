//! Asks the controller for a ticket to a room.
//!
//! In: an access token of the service client, and which room. Out: a ticket, or why there is none. One request over a connection of its own. Runs on the
//! task that calls it, and holds it for at most [`LIMIT`]. The token travels in a header marked as sensitive; what the controller answers is
//! never passed on, because it may repeat what it was sent.

use std::time::Duration;

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::secret::Secret;

use super::controller::Controller;
use crate::exchange::{Exchange, ExchangeError};

/// From the first question to the last byte. People wait for five seconds in all.
pub const LIMIT: Duration = Duration::from_secs(4);
/// Answers are longer only when something else answers.
const LARGEST_ANSWER: usize = 64 << 10;

/// Which room.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct StartRoom {
    /// Its UUID.
    #[serde(rename = "room_id")]
    pub room: String,
    /// UUID of the breakout room in it, if it is for one.
    #[serde(rename = "breakout_room", skip_serializing_if = "Option::is_none")]
    pub breakout: Option<String>,
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The controller does not accept the access token: expired, damaged, or of another realm. Another token may help.
    #[error("the OpenTalk controller does not accept the access token")]
    TokenRefused,
    /// The token is a good one, of a client without the recorder's role.
    #[error("the access token lacks the recorder's role")]
    RoleMissing,
    /// The controller failed. Unknown rooms, owners whose storage is full, and its own trouble all look like this before version 0.32.
    #[error("the OpenTalk controller gives no ticket for this room")]
    Failed,
    /// The owner of the room has used up the storage that is allowed.
    #[error("the storage of the room's owner is full")]
    StorageFull,
    /// What was asked is no room.
    #[error("the OpenTalk controller does not understand which room is meant")]
    BadRoom,
    /// Nothing starts recordings there: not a controller, or one without a queue for recordings.
    #[error("the OpenTalk controller does not start recordings")]
    NotHere,
    /// Another refusal.
    #[error("the OpenTalk controller answers {0}")]
    Refused(u16),
    /// It is overloaded, restarts, or is away behind its proxy.
    #[error("the OpenTalk controller is not ready")]
    NotReady,
    /// No connection, or one that ended too early.
    #[error("the OpenTalk controller cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// Its certificate is not accepted, or it speaks no TLS.
    #[error("no secure connection to the OpenTalk controller is possible")]
    NotSecure(#[source] std::io::Error),
    /// No answer in time.
    #[error("the OpenTalk controller did not answer within {} seconds", LIMIT.as_secs())]
    TooSlow,
    /// It does not keep to HTTP, or the answer holds no ticket.
    #[error("the OpenTalk controller's answer is not understood")]
    NotUnderstood,
    /// The access token contains characters that no token has.
    #[error("the access token is not a token")]
    TokenText,
}

impl StartError {
    /// The same for the Session. A refused token is worth another one at once, which is up to whoever keeps tokens.
    pub fn fault(&self) -> Fault {
        let (blame, retry) = match self {
            Self::TokenRefused => (Blame::Operator, Retry::After(Duration::ZERO)),
            Self::RoleMissing | Self::NotHere | Self::TokenText | Self::StorageFull => (Blame::Operator, Retry::Never),
            Self::BadRoom | Self::Refused(_) => (Blame::Conference, Retry::Never),
            Self::NotSecure(_) => (Blame::Operator, Retry::After(Duration::from_secs(5))),
            Self::Failed | Self::NotReady | Self::Unreachable(_) | Self::TooSlow | Self::NotUnderstood => {
                (Blame::Conference, Retry::After(Duration::from_secs(1)))
            }
        };
        Fault { scope: Scope::Session, blame, retry, sentence: super::sentence(self) }
    }
}

impl Controller {
    /// Asks for a ticket: good for one connection, within 30 s.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, token: &Secret, room: &StartRoom) -> Result<Secret, StartError> {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", token.expose().trim())).map_err(|_| StartError::TokenText)?;
        bearer.set_sensitive(true);
        let body = serde_json::to_vec(room).map_err(|_| StartError::BadRoom)?;
        let request = Request::post(self.service("v1/services/recording/start").as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, bearer)
            .body(body)
            .map_err(|_| StartError::NotHere)?;
        read(&Exchange::new(self.trust.clone(), LIMIT).ask(request).await?)
    }
}

impl From<ExchangeError> for StartError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Address => Self::NotHere,
            ExchangeError::Unreachable(source) => Self::Unreachable(source),
            ExchangeError::NotSecure(source) => Self::NotSecure(source),
            ExchangeError::TooSlow => Self::TooSlow,
            ExchangeError::Protocol | ExchangeError::TooLarge(_) => Self::NotUnderstood,
        }
    }
}

/// What the head of the answer says; `None` for a ticket.
fn verdict(response: &Response<Vec<u8>>) -> Option<StartError> {
    match response.status().as_u16() {
        200..=299 => None,
        // Only a token that is not believed is answered with the header; one without the role is not.
        401 if response.headers().contains_key(WWW_AUTHENTICATE) => Some(StartError::TokenRefused),
        401 | 403 => Some(StartError::RoleMissing),
        400 | 422 => Some(StartError::BadRoom),
        404 | 405 => Some(StartError::NotHere),
        500 => Some(StartError::Failed),
        408 | 429 | 502..=504 => Some(StartError::NotReady),
        other => Some(StartError::Refused(other)),
    }
}

/// Reads an answer in each of its fates, and throws it away: for fuzzing.
pub(crate) fn answered(body: &[u8]) {
    for status in [200, 400, 403, 500] {
        if let Ok(response) = Response::builder().status(status).body(body.to_vec()) {
            drop(read(&response));
        }
    }
}

fn read(response: &Response<Vec<u8>>) -> Result<Secret, StartError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        ticket: String,
    }
    #[derive(serde::Deserialize)]
    struct Refusal {
        code: String,
    }
    let (verdict, bytes) = (verdict(response), response.body());
    if bytes.len() > LARGEST_ANSWER {
        return Err(verdict.unwrap_or(StartError::NotUnderstood));
    }
    let Some(verdict) = verdict else {
        let answer: Answer = serde_json::from_slice(bytes).map_err(|_| StartError::NotUnderstood)?;
        return Ok(Secret::new(answer.ticket));
    };
    // From 0.32 on, a full storage is a refusal of its own; its code is not told in any document, but names what is full.
    let code = serde_json::from_slice::<Refusal>(bytes).map(|refusal| refusal.code).unwrap_or_default();
    let is_refusal = matches!(verdict, StartError::Refused(_) | StartError::RoleMissing | StartError::BadRoom);
    if is_refusal && (code.contains("storage") || code.contains("quota")) { Err(StartError::StorageFull) } else { Err(verdict) }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
