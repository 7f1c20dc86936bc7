//! Roomcast: joins a conference as a participant, mixes everyone into one Programme, and delivers it.
//! The modules stand in the order in which a frame passes them; `docs/ARCHITECTURE.md` walks through.

pub mod clock;
pub(crate) mod span;
pub mod config;
pub mod trust;
pub mod exchange;
pub mod identity;
pub mod media;

pub mod conference;
pub mod decode;
pub mod graph;
pub mod ingest;
pub mod livekit;
pub mod mixer;
pub mod programme;
pub mod target;
pub mod avatar;
pub mod storage;

pub mod rehearsal;
pub mod check;
pub mod command;
pub mod service;

#[doc(hidden)]
pub mod fuzzing;
