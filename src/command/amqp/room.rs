//! Which room a start command means.

use std::fmt;

use serde::Deserialize;

/// Longer messages are no start commands.
const LONGEST: usize = 4 << 10;

/// A room, or a breakout room in it. The same room is always written in the same way.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Room {
    /// UUID of the room.
    pub room: String,
    /// UUID of the breakout room, if it is for one.
    pub breakout: Option<String>,
}

/// Why a message is no start command. Its text is not repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCommand {
    /// Too long.
    #[error("it is longer than {} KiB", LONGEST >> 10)]
    TooLong,
    /// Not an object of JSON with the wanted fields.
    #[error("it is no JSON object with the fields room and breakout")]
    Form,
    /// Not a UUID.
    #[error("its field {0} is no UUID")]
    NoUuid(&'static str),
}

impl Room {
    /// Reads a message: `{"room":"…","breakout":null}`. Other fields are left alone.
    ///
    /// # Errors
    /// See [`BadCommand`].
    pub fn read(message: &[u8]) -> Result<Self, BadCommand> {
        #[derive(Deserialize)]
        struct Command {
            room: String,
            #[serde(default)]
            breakout: Option<String>,
        }
        if message.len() > LONGEST {
            return Err(BadCommand::TooLong);
        }
        let Command { room, breakout } = serde_json::from_slice(message).map_err(|_| BadCommand::Form)?;
        Self::new(&room, breakout.as_deref())
    }

    /// The room of these UUIDs.
    ///
    /// # Errors
    /// [`BadCommand::NoUuid`].
    pub fn new(room: &str, breakout: Option<&str>) -> Result<Self, BadCommand> {
        let room = uuid(room).ok_or(BadCommand::NoUuid("room"))?;
        let breakout = breakout.map(|breakout| uuid(breakout).ok_or(BadCommand::NoUuid("breakout"))).transpose()?;
        Ok(Self { room, breakout })
    }

    /// The same as a message.
    pub(super) fn message(&self) -> Vec<u8> {
        serde_json::json!({"room": self.room, "breakout": self.breakout}).to_string().into_bytes()
    }

    /// Name of the queue that whoever records the room has for itself.
    pub(super) fn mailbox(&self) -> String {
        match &self.breakout {
            None => format!("roomcast.room.{}", self.room),
            Some(breakout) => format!("roomcast.room.{}.{breakout}", self.room),
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.breakout {
            None => f.write_str(&self.room),
            Some(breakout) => write!(f, "{} (breakout room {breakout})", self.room),
        }
    }
}

/// A UUID in small letters.
fn uuid(text: &str) -> Option<String> {
    let is_right = |(at, byte): (usize, u8)| if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    (text.len() == 36 && text.bytes().enumerate().all(is_right)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: &str = "0192d8a5-8c2f-7c3e-9b1a-2f4e6d8c0a1b";

    #[test]
    fn commands_are_read_in_all_their_shapes() {
        let main = Room { room: ROOM.into(), breakout: None };
        for text in [
            format!(r#"{{"room":"{ROOM}","breakout":null}}"#),
            format!(r#"{{"room":"{ROOM}"}}"#),
            format!(" {{ \"breakout\" : null,\n\"later\": {{}}, \"room\" : \"{}\" }} ", ROOM.to_uppercase()),
        ] {
            assert_eq!(Room::read(text.as_bytes()), Ok(main.clone()), "{text}");
        }
        let breakout = Room { room: ROOM.into(), breakout: Some(ROOM.into()) };
        assert_eq!(Room::read(&breakout.message()), Ok(breakout.clone()));
        assert_eq!(Room::read(&main.message()), Ok(main.clone()));
        assert_ne!(main.mailbox(), breakout.mailbox());
    }

    #[test]
    fn other_messages_are_refused_with_their_reason() {
        let long = format!(r#"{{"room":"{ROOM}","x":"{}"}}"#, "y".repeat(5000));
        for (text, reason) in [
            ("", BadCommand::Form),
            ("null", BadCommand::Form),
            ("{}", BadCommand::Form),
            (r#"{"room":7}"#, BadCommand::Form),
            ("\u{0}\u{1}", BadCommand::Form),
            (r#"{"room":"standup"}"#, BadCommand::NoUuid("room")),
            (r#"{"room":"0192d8a5-8c2f-7c3e-9b1a-2f4e6d8c0a1g"}"#, BadCommand::NoUuid("room")),
            (r#"{"room":"0192d8a58c2f-7c3e-9b1a-2f4e6d8c0a1b--"}"#, BadCommand::NoUuid("room")),
            (r#"{"room":"0192d8a5-8c2f-7c3e-9b1a-2f4e6d8c0a1b","breakout":"2"}"#, BadCommand::NoUuid("breakout")),
            (&long, BadCommand::TooLong),
        ] {
            assert_eq!(Room::read(text.as_bytes()), Err(reason), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_message_is_more_than_refused(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(room) = Room::read(&message) {
                prop_assert_eq!(Room::read(&room.message()), Ok(room));
            }
        }
    }
}
