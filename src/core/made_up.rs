//! Times and people of which tests tell.

use crate::ids::{ParticipantId, TrackId, TrackKind};
use crate::time::SessionTime;

/// So many milliseconds after session time zero.
pub(crate) fn at(ms: u64) -> SessionTime {
    SessionTime::from_millis(ms)
}

/// Somebody of this name.
pub(crate) fn id(name: &str) -> ParticipantId {
    ParticipantId::new(name)
}

/// A Track of theirs.
pub(crate) fn track(name: &str, kind: TrackKind) -> TrackId {
    TrackId::new(id(name), kind)
}
