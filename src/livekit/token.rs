//! Access tokens (JWT, HS256).
//!
//! In: an API key and its secret. Out: a token that lets Roomcast watch one room. Pure, but for reading the wall clock, which the token's
//! life is measured by. The token asks for no more than is needed: hidden, recorder, kind egress (so that the room is not kept open by us, and
//! everybody sees that it is recorded), and no right to publish.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use recorder_core::secret::Secret;
use serde::{Deserialize, Serialize};

/// Why no token could be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// One of the texts that it is made of is empty.
    #[error("an access token needs {0}")]
    Missing(&'static str),
    /// The signature failed.
    #[error("the access token cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    nbf: u64,
    exp: u64,
    kind: &'static str,
    video: Grant<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Grant<'a> {
    room: &'a str,
    room_join: bool,
    can_subscribe: bool,
    can_publish: bool,
    can_publish_data: bool,
    hidden: bool,
    recorder: bool,
}

/// Makes a token for `identity` to watch `room`, valid for `ttl` from now.
///
/// # Errors
/// See [`TokenError`].
pub fn mint(api_key: &str, api_secret: &Secret, room: &str, identity: &str, ttl: Duration) -> Result<Secret, TokenError> {
    for (text, name) in
        [(api_key, "an API key"), (api_secret.expose(), "an API secret"), (room, "the name of a room"), (identity, "an identity")]
    {
        if text.is_empty() {
            return Err(TokenError::Missing(name));
        }
    }
    let now = unix_now();
    let claims = Claims {
        iss: api_key,
        sub: identity,
        // Clocks of two machines differ by a little.
        nbf: now.saturating_sub(10),
        exp: now.saturating_add(ttl.as_secs()),
        kind: "egress",
        video: Grant {
            room,
            room_join: true,
            can_subscribe: true,
            can_publish: false,
            can_publish_data: false,
            hidden: true,
            recorder: true,
        },
    };
    let key = EncodingKey::from_secret(api_secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map(Secret::new).map_err(TokenError::Sign)
}

/// Whether the token says of itself that it has expired. A token that cannot be read is left to the server to judge.
pub fn has_expired(token: &Secret) -> bool {
    #[derive(Deserialize)]
    struct Expiry {
        exp: u64,
    }
    let expiry = token
        .expose()
        .split('.')
        .nth(1)
        .and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok())
        .and_then(|json| serde_json::from_slice::<Expiry>(&json).ok());
    expiry.is_some_and(|e| e.exp <= unix_now())
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(token: &Secret) -> serde_json::Value {
        let part = token.expose().split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_minted_token_may_watch_and_nothing_else() {
        let secret = Secret::new("s".repeat(32));
        let token = mint("key", &secret, "room", "roomcast", Duration::from_secs(600)).unwrap();
        let claims = claims(&token);
        assert_eq!(claims["iss"], "key");
        assert_eq!(claims["sub"], "roomcast");
        assert_eq!(claims["kind"], "egress");
        let expected = serde_json::json!({
            "room": "room", "roomJoin": true, "canSubscribe": true, "canPublish": false, "canPublishData": false,
            "hidden": true, "recorder": true,
        });
        assert_eq!(claims["video"], expected);
        assert!(!has_expired(&token));
        assert!(has_expired(&mint("key", &secret, "room", "r", Duration::ZERO).unwrap()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = mint("key", &Secret::new(""), "room", "r", Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "an access token needs an API secret");
        assert!(!has_expired(&Secret::new("not a token")));
    }
}
