//! The Targets: where encoded packets go.
//!
//! In: packets from the programme ring, each Target through its own cursor. Out: files and connections. No Target sees another.

pub mod claim;
pub mod monitor;
pub mod mp4;
pub mod recording;
pub mod rtmp;
