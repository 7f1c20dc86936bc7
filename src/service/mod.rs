//! Supervisor and worker: the processes around the media way.

pub mod board;
mod books;
pub mod commanded;
pub mod courier;
mod deliveries;
pub mod host;
pub mod http;
pub mod keeping;
pub mod job;
pub mod layouts;
pub mod link;
pub mod worker;
pub mod logging;
pub mod monitor;
pub mod monitor_keeper;
pub mod order;
pub mod process;
pub mod progress;
mod rate;
mod renditions;
pub mod supervisor;
pub mod steward;
pub mod usage;
