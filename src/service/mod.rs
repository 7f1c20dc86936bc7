//! Supervisor and worker: the processes around the media way.

pub mod admission;
pub mod board;
pub mod claims;
pub mod commanded;
mod deliveries;
mod door;
pub mod host;
mod hosted;
pub mod http;
pub mod keeping;
pub mod job;
pub mod layouts;
pub mod link;
pub mod worker;
pub mod logging;
pub mod order;
pub mod process;
pub mod progress;
mod rate;
mod renditions;
pub mod supervisor;
pub mod steward;
pub mod takeover;
pub mod usage;
