//! What a refusal or a farewell of the server means for us.
//!
//! In: HTTP status and text of a refused connection, `LeaveRequest`s. Out: what to do. Pure.
//! The server's own text is never passed on: it may repeat the token.

use std::time::Duration;

use livekit_protocol::{DisconnectReason, LeaveRequest, leave_request};
use recorder_core::conference::EndReason;
use recorder_core::fault::{Blame, Fault, Retry, Scope};

/// Why the server did not let us in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The token's life is over.
    ExpiredToken,
    /// The token is wrong: other key, damaged, or for something else.
    BadToken,
    /// There is no such room, and the server does not make one.
    NoRoom,
    /// Too many participants, tracks or connections.
    Full,
    /// Something that passes: overload, restart, a proxy without its server.
    Busy,
    /// The address leads to something that is no LiveKit server, or one that speaks another protocol.
    NoLiveKit,
}

impl Refusal {
    /// Judges an HTTP answer to the WebSocket request.
    pub fn of_http(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(body)).to_ascii_lowercase();
        match status {
            401 | 403 if text.contains("expired") => Self::ExpiredToken,
            401 | 403 => Self::BadToken,
            // A proxy or another web server answers 404 too, but says nothing of a room.
            404 if text.contains("room") => Self::NoRoom,
            429 => Self::Full,
            400 if text.contains("limit") => Self::Full,
            500..=599 | 408 => Self::Busy,
            _ => Self::NoLiveKit,
        }
    }

    /// The fault that a moderator is told.
    pub fn fault(self) -> Fault {
        let (blame, retry, sentence) = match self {
            Self::ExpiredToken => (Blame::Operator, Retry::Never, "The access token for the LiveKit room has expired."),
            Self::BadToken => (Blame::Operator, Retry::Never, "The LiveKit server does not accept the access token."),
            Self::NoRoom => (Blame::Operator, Retry::Never, "The room does not exist on the LiveKit server."),
            Self::Full => (
                Blame::Conference,
                Retry::After(Duration::from_secs(5)),
                "The LiveKit server has no room for another participant.",
            ),
            Self::Busy => (Blame::Conference, Retry::After(Duration::from_secs(2)), "The LiveKit server is not ready."),
            Self::NoLiveKit => (Blame::Operator, Retry::Never, "There is no LiveKit server at this address."),
        };
        Fault { scope: Scope::Session, blame, retry, sentence: sentence.into() }
    }
}

/// What to do after the server's `LeaveRequest`.
#[derive(Clone, PartialEq, Debug)]
pub enum Farewell {
    /// It is over.
    End(EndReason),
    /// Connect again to the same session.
    Resume,
    /// Join again.
    Rejoin,
}

impl Farewell {
    /// Judges a `LeaveRequest`.
    pub fn of(leave: &LeaveRequest) -> Self {
        match leave.reason() {
            DisconnectReason::DuplicateIdentity | DisconnectReason::ParticipantRemoved => return Self::End(EndReason::Removed),
            DisconnectReason::RoomDeleted | DisconnectReason::RoomClosed => return Self::End(EndReason::RoomClosed),
            _ => {}
        }
        match leave.action() {
            leave_request::Action::Resume => Self::Resume,
            leave_request::Action::Reconnect => Self::Rejoin,
            leave_request::Action::Disconnect => match leave.reason() {
                DisconnectReason::ClientInitiated => Self::End(EndReason::Left),
                DisconnectReason::UserUnavailable | DisconnectReason::UserRejected => Self::End(EndReason::Removed),
                // A server that shuts down or has lost our state sends us away, but would take us again.
                _ => Self::Rejoin,
            },
        }
    }
}

/// The connection is lost, and is being made again.
pub(crate) fn lost(sentence: &str) -> Fault {
    Fault {
        scope: Scope::Session,
        blame: Blame::Conference,
        retry: Retry::After(Duration::from_secs(1)),
        sentence: sentence.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_answers_are_judged() {
        // The first five are livekit-server 1.13.5's own words, to an upgrade of /rtc with auto_create off.
        for (status, body, refusal) in [
            (401, "invalid token: abc, error: token has invalid claims: token is expired", Refusal::ExpiredToken),
            (401, "invalid token: abc, error: token signature is invalid: signature is invalid", Refusal::BadToken),
            (401, "invalid API key: otherkey", Refusal::BadToken),
            (401, "invalid authorization token", Refusal::BadToken),
            (404, "requested room does not exist", Refusal::NoRoom),
            (404, "<html>nothing here</html>", Refusal::NoLiveKit),
            (503, "", Refusal::Busy),
            (200, "OK", Refusal::NoLiveKit),
        ] {
            assert_eq!(Refusal::of_http(status, body.as_bytes()), refusal, "{status} {body}");
        }
        assert!(!Refusal::of_http(401, b"invalid token: abc").fault().sentence.contains("abc"));
    }

    #[test]
    fn farewells_are_judged() {
        let leave = |reason: DisconnectReason, action: leave_request::Action| {
            Farewell::of(&LeaveRequest { reason: reason.into(), action: action.into(), ..Default::default() })
        };
        use leave_request::Action::{Disconnect, Reconnect, Resume};
        assert_eq!(leave(DisconnectReason::DuplicateIdentity, Disconnect), Farewell::End(EndReason::Removed));
        assert_eq!(leave(DisconnectReason::RoomDeleted, Disconnect), Farewell::End(EndReason::RoomClosed));
        assert_eq!(leave(DisconnectReason::StateMismatch, Reconnect), Farewell::Rejoin);
        assert_eq!(leave(DisconnectReason::ServerShutdown, Disconnect), Farewell::Rejoin);
        assert_eq!(leave(DisconnectReason::UnknownReason, Resume), Farewell::Resume);
    }
}
