//! Conference systems. Each adapter is one task that speaks one system's signaling, owns its [`crate::ingest`], and has this handle.

use recorder_core::conference::{ConferenceCommand, ConferenceEvent};
use tokio::sync::mpsc;

pub mod rehearsal;
pub mod livekit_room;
pub mod opentalk;

/// A room that we are in, or on the way into. Dropping it closes the connection without a word; send `Leave` for a clean end.
pub struct ConferenceHandle {
    /// What happens there; ends after `Ended`. Bounded: an adapter waits while it is full.
    pub events: mpsc::Receiver<ConferenceEvent>,
    /// What it is told.
    pub commands: mpsc::Sender<ConferenceCommand>,
}
