//! Supervisor and worker: the processes around the media way.

mod deliveries;
pub mod job;
pub mod link;
pub mod worker;
pub mod logging;
pub mod monitor;
pub mod monitor_keeper;
pub mod order;
pub mod process;
pub mod progress;
mod rate;
pub mod supervisor;
pub mod usage;
