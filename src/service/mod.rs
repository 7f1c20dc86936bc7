//! Supervisor and worker: the processes around the media way.

pub mod job;
pub mod link;
pub mod worker;
pub mod logging;
pub mod order;
pub mod process;
pub mod progress;
pub mod supervisor;
pub mod usage;
