//! What is written down beside recordings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A ledger of who agreed to be recorded (`NAME.ledger.jsonl`) and a log of what happened (`NAME.events.jsonl`) beside each recording `NAME.mp4`, wherever
/// it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Books {
    /// Recordings of the service have them.
    pub serve: bool,
    /// Recordings of `record` and `rehearse` have them.
    pub record: bool,
}

impl Default for Books {
    fn default() -> Self {
        Self { serve: true, record: false }
    }
}
