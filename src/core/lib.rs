//! What Roomcast decides, without doing any of it.
//!
//! In: orders, conference events, reports of targets, and the time. Out: actions.
//! Nothing here performs I/O, reads a clock, starts a thread or knows GStreamer, tokio, HTTP or AMQP; Cargo keeps it so.
//! Every decision maker has the same shape: `handle(input, now)`, then drain `poll_action()`, then sleep until `poll_wake()`.

pub mod address;
pub mod admission;
pub mod books;
pub mod claim;
pub mod clock_model;
pub mod conference;
pub mod controller_upload;
mod dice;
pub mod effort;
pub mod fault;
pub mod identity;
pub mod ids;
pub mod intake;
pub mod keep;
pub mod layout;
pub mod live;
#[cfg(test)]
mod made_up;
pub mod overload;
pub mod scene;
pub mod secret;
pub mod session;
pub mod slate;
pub mod stage;
pub(crate) mod standing;
pub mod subscription;
pub mod supervision;
pub mod target;
pub mod time;
pub mod upload;
