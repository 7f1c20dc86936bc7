//! Supervisor and worker: the processes around the media way.

pub mod board;
mod deliveries;
pub mod http;
pub mod job;
pub mod layouts;
pub mod link;
pub mod worker;
pub mod logging;
pub mod order;
pub mod process;
pub mod progress;
mod rate;
pub mod supervisor;
pub mod usage;
