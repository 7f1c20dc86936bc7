//! Which access tokens are believed: those of a list, or those signed by a realm's keys.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// The role without which nobody is a recorder.
const ROLE: &str = "opentalk-recorder";

/// What a token may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Roles {
    Recorder,
    None,
}

/// Which tokens are believed.
pub enum Tokens {
    /// These.
    Listed(Vec<(String, Roles)>),
    /// Whatever these keys signed, until it expires. Neither audience nor issuer is looked at, and nobody is asked whether the client still exists.
    Signed(JwkSet),
}

/// Why somebody is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// There is no token.
    Missing,
    /// It is not believed.
    Invalid,
    /// It is, but may not do this.
    Roleless,
}

#[derive(Deserialize)]
struct Claims {
    realm_access: Option<Access>,
}

#[derive(Deserialize)]
struct Access {
    roles: Vec<String>,
}

impl Tokens {
    /// Judges the value of an Authorization header.
    pub(super) fn judge(&self, authorization: Option<&str>) -> Result<(), Refused> {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Refused::Missing)?;
        let roles = match self {
            Self::Listed(list) => list.iter().find(|(known, _)| known == token).map(|(_, roles)| *roles),
            Self::Signed(keys) => signed(keys, token),
        };
        match roles {
            Some(Roles::Recorder) => Ok(()),
            Some(Roles::None) => Err(Refused::Roleless),
            None => Err(Refused::Invalid),
        }
    }
}

/// `None` for a token that is not believed; one without the claim counts as such.
fn signed(keys: &JwkSet, token: &str) -> Option<Roles> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    let key = DecodingKey::from_jwk(keys.find(&header.kid?)?).ok()?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_aud = false;
    validation.leeway = 0;
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?.claims;
    let has_role = claims.realm_access?.roles.iter().any(|role| role.eq_ignore_ascii_case(ROLE));
    Some(if has_role { Roles::Recorder } else { Roles::None })
}
