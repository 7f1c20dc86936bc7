//! What stands in an access token, read without believing it: only to explain why somebody refuses it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use recorder_core::secret::Secret;
use serde::Deserialize;

/// The realm role that a controller demands of a recorder.
const ROLE: &str = "opentalk-recorder";

/// The claims that matter. Holds neither names nor the token.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Claims {
    /// Realm roles, in small letters; `None` when the token cannot be read. Tokens without any have no such claim, which is an empty list here.
    roles: Option<Vec<String>>,
    audience: Vec<String>,
}

impl Claims {
    /// Reads them; a token of another kind has none.
    pub fn read(token: &Secret) -> Self {
        Self::parse(token.expose()).unwrap_or_default()
    }

    fn parse(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        let raw: Raw = serde_json::from_slice(&bytes).ok()?;
        let roles = raw.realm_access.roles.into_iter().map(|role| role.to_lowercase()).collect();
        let audience = match raw.aud {
            Audience::None => Vec::new(),
            Audience::One(one) => vec![one],
            Audience::Many(many) => many,
        };
        Some(Self { roles: Some(roles), audience })
    }

    /// Whether it says that we are a recorder; `None` when it cannot be read.
    pub fn has_role(&self) -> Option<bool> {
        Some(self.roles.as_ref()?.iter().any(|role| role == ROLE))
    }

    /// Whom it is meant for, as it says.
    pub fn audience(&self) -> &[String] {
        &self.audience
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    realm_access: RealmAccess,
    #[serde(default)]
    aud: Audience,
}

#[derive(Deserialize, Default)]
struct RealmAccess {
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Audience {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Claims {
        Claims::read(&Secret::new(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(json))))
    }

    #[test]
    fn roles_and_audiences_are_read_in_all_their_shapes() {
        let none = claims(r#"{"azp":"Nobody"}"#);
        assert_eq!((none.has_role(), none.audience()), (Some(false), &[][..]));
        assert_eq!(claims(r#"{"realm_access":{}}"#).has_role(), Some(false));
        assert_eq!(claims(r#"{"realm_access":{"roles":["opentalk-call-in"]}}"#).has_role(), Some(false));
        let one = claims(r#"{"realm_access":{"roles":["x","OpenTalk-Recorder"]},"aud":"account"}"#);
        assert_eq!((one.has_role(), one.audience()), (Some(true), &["account".to_owned()][..]));
        assert_eq!(claims(r#"{"aud":["a","b"]}"#).audience(), ["a", "b"]);
    }

    #[test]
    fn what_is_no_such_token_says_nothing() {
        for text in ["", "opaque", "a.b", "a.%.c", "a.e30", "a.bm90IGpzb24.c"] {
            assert_eq!(Claims::read(&Secret::new(text)).has_role(), None, "{text}");
        }
        assert_eq!(claims(r#"{"realm_access":3}"#).has_role(), None);
    }
}
