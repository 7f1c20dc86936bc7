//! Why the identity provider gives no token.

use crate::fault::{Blame, Fault, Retry, Scope};

/// What is said about a token without the role.
pub(super) const MISSING_ROLE: &str = "The access token lacks the role opentalk-recorder: give the realm role to the service account of the client \
                                       that [keycloak] client_id names.";

/// Why there is no token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No connection, or one that ended too early.
    Unreachable,
    /// Its certificate is not accepted, or it speaks no TLS.
    NotSecure,
    /// No answer in time.
    TooSlow,
    /// It is not ready, overloaded, or away behind its proxy.
    Unavailable {
        /// The status of its answer.
        status: u16,
    },
    /// There is no such realm.
    NoRealm,
    /// It calls itself something else than the configuration does.
    OtherIssuer {
        /// What it calls itself.
        issuer: String,
    },
    /// The client is not known or switched off, or its secret is wrong; it does not say which.
    WrongClient,
    /// The client has no service account.
    NoServiceAccount,
    /// Another refusal.
    Refused {
        /// The status of its answer.
        status: u16,
    },
    /// What it answers is no OpenID Connect.
    NotUnderstood,
}

impl Trouble {
    /// Whether somebody must mend it.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Unreachable | Self::TooSlow | Self::Unavailable { .. })
    }

    /// The same for people. What was found is quoted only where it is an address.
    pub fn fault(&self) -> Fault {
        let sentence = match self {
            Self::Unreachable => "The identity provider cannot be reached.".into(),
            Self::NotSecure => {
                "No secure connection to the identity provider is possible: its certificate is not trusted here ([keycloak] ca_file) or not for its name."
                    .into()
            }
            Self::TooSlow => "The identity provider does not answer in time.".into(),
            Self::Unavailable { status } => format!("The identity provider is not ready: it answers {status}."),
            Self::NoRealm => "The identity provider knows no such realm: correct [keycloak] issuer.".into(),
            Self::OtherIssuer { issuer } => format!(
                "The identity provider calls itself {issuer}: write this into [keycloak] issuer, or, when it has another name from here, set \
                 [keycloak] token_endpoint."
            ),
            Self::WrongClient => {
                "The identity provider does not let our client in: correct [keycloak] client_id and client_secret, and see that the client is enabled there.".into()
            }
            Self::NoServiceAccount => {
                "The client has no service account: switch on \"Service accounts roles\" for the client that [keycloak] client_id names.".into()
            }
            Self::Refused { status } => format!("The identity provider gives no access token: it answers {status}."),
            Self::NotUnderstood => {
                "What answers at the address of the identity provider is none: correct [keycloak] issuer or token_endpoint.".into()
            }
        };
        let blame = if self.is_refusal() { Blame::Operator } else { Blame::Conference };
        Fault { scope: Scope::Process, blame, retry: Retry::Never, sentence }
    }
}
