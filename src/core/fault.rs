//! What went wrong, in the one form in which it crosses the border of the Session.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much is affected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One Target; the others do not notice.
    Target,
    /// The whole Session.
    Session,
    /// The worker or supervisor process.
    Process,
}

/// Who can mend it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The live platform or the storage.
    Destination,
    /// The conference system.
    Conference,
    /// Whoever configured or started us.
    Operator,
    /// A defect of Roomcast.
    Us,
}

/// Whether another attempt can help.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// After this time.
    After(Duration),
    /// Not by itself.
    Never,
}

/// What went wrong. The values decide what happens next; the sentence is for people, and never contains a secret or a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// How much is affected.
    pub scope: Scope,
    /// Who can mend it.
    pub blame: Blame,
    /// Whether another attempt can help.
    pub retry: Retry,
    /// One sentence that a moderator or operator understands.
    pub sentence: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Fault {}
