//! What a participant's attributes say about them.
//!
//! In: a participant as the server tells of them. Out: [`Facts`]. Pure. The attributes are `roomcast.role` (`presenter`, `moderator` or
//! `interpreter`), `roomcast.hand` (anything but `false`, `no`, `down`, `0` and nothing; a number is since when, in seconds or milliseconds since
//! 1970) and `avatar` (an address). What is not there is looked for under the same names in the metadata, if those are a JSON object.
//! People may write all of this themselves: whatever cannot be is as if it were not there, and nothing but the picture depends on it.

use livekit_protocol::{ParticipantInfo, participant_info};
use recorder_core::conference::{Facts, Hand, Role};
use recorder_core::secret::Pii;
use serde_json::Value;

const ROLE: &str = "roomcast.role";
const HAND: &str = "roomcast.hand";
const AVATAR: &str = "avatar";

/// Longer values are not read.
const LONGEST_VALUE: usize = 2048;
/// Larger metadata are not read.
const LARGEST_METADATA: usize = 16 << 10;
/// A smaller number counts seconds: as milliseconds it would be before 1974.
const SMALLEST_MS: u64 = 100_000_000_000;

/// What is known about a participant beside a name.
pub(super) fn of(info: &ParticipantInfo) -> Facts {
    let metadata = Some(&info.metadata).filter(|text| text.starts_with('{') && text.len() <= LARGEST_METADATA);
    let metadata: Option<Value> = metadata.and_then(|text| serde_json::from_str(text).ok());
    let text = |key: &str| {
        let told = info.attributes.get(key).cloned().or_else(|| match metadata.as_ref()?.get(key)? {
            Value::String(text) => Some(text.clone()),
            other @ (Value::Bool(_) | Value::Number(_)) => Some(other.to_string()),
            _ => None,
        });
        told.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty() && text.len() <= LONGEST_VALUE)
    };
    Facts {
        role: text(ROLE).map(|role| role_of(&role)).unwrap_or_default(),
        hand: text(HAND).map(|hand| hand_of(&hand)).unwrap_or_default(),
        avatar: text(AVATAR).filter(|address| is_web_address(address)).map(Pii::new),
        call_in: info.kind() == participant_info::Kind::Sip,
    }
}

fn role_of(text: &str) -> Role {
    match text.to_ascii_lowercase().as_str() {
        "presenter" => Role::Presenter,
        "moderator" => Role::Moderator,
        "interpreter" => Role::Interpreter,
        _ => Role::Attendee,
    }
}

fn hand_of(text: &str) -> Hand {
    match (text.to_ascii_lowercase().as_str(), text.parse::<u64>()) {
        ("false" | "no" | "down" | "0", _) => Hand::Down,
        // 1 is a way of saying yes.
        (_, Ok(since)) if since > 1 => Hand::Raised { unix_ms: Some(if since < SMALLEST_MS { since * 1000 } else { since }) },
        _ => Hand::Raised { unix_ms: None },
    }
}

fn is_web_address(text: &str) -> bool {
    (text.starts_with("https://") || text.starts_with("http://")) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(attributes: &[(&str, &str)], metadata: &str) -> Facts {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        of(&ParticipantInfo { attributes, metadata: metadata.to_owned(), ..Default::default() })
    }

    #[test]
    fn attributes_say_role_hand_and_avatar() {
        let facts = told(&[(ROLE, " Moderator"), (HAND, "true"), (AVATAR, "https://example.org/a.png")], "");
        let avatar = Some(Pii::new("https://example.org/a.png"));
        assert_eq!(facts, Facts { role: Role::Moderator, hand: Hand::Raised { unix_ms: None }, avatar, call_in: false });
        assert_eq!(told(&[], ""), Facts::default());
    }

    #[test]
    fn a_hand_is_raised_by_many_words_and_lowered_by_few() {
        for down in ["", "false", "No", "down", "0"] {
            assert_eq!(told(&[(HAND, down)], "").hand, Hand::Down, "{down:?}");
        }
        for (up, unix_ms) in
            [("1", None), ("raised", None), ("1790000000", Some(1_790_000_000_000)), ("1790000000123", Some(1_790_000_000_123))]
        {
            assert_eq!(told(&[(HAND, up)], "").hand, Hand::Raised { unix_ms }, "{up:?}");
        }
    }

    #[test]
    fn metadata_fill_what_attributes_leave_open() {
        let metadata = r#"{"roomcast.role": "presenter", "roomcast.hand": true, "avatar": 3}"#;
        let facts = told(&[], metadata);
        assert_eq!(facts, Facts { role: Role::Presenter, hand: Hand::Raised { unix_ms: None }, avatar: None, call_in: false });
        assert_eq!(told(&[(ROLE, "interpreter")], metadata).role, Role::Interpreter);
    }

    #[test]
    fn what_cannot_be_is_as_if_it_were_not_there() {
        let large = format!("{{\"roomcast.role\": \"presenter\", \"x\": \"{}\"}}", "x".repeat(LARGEST_METADATA));
        for metadata in ["[1]", "{", "presenter", &large] {
            assert_eq!(told(&[], metadata), Facts::default());
        }
        let long = format!("https://example.org/{}", "x".repeat(LONGEST_VALUE));
        for avatar in ["file:///etc/passwd", "https://example.org/a b", &long] {
            assert_eq!(told(&[(AVATAR, avatar), (ROLE, "king")], ""), Facts::default());
        }
    }
}
