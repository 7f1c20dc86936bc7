//! The Programme: two ticking threads that call the mixer and feed the encoders, and the ring that all Targets read.

pub mod assemble;
pub mod grid;
mod intake;
pub mod maker;
pub mod packet;
pub mod pictures;
mod rendition;
pub mod ring;
pub mod slate;
pub mod sound;
mod stills;
mod thread;
