//! The mixer: a function of (Scene, frames, samples, T) that tests can call without a clock.

pub mod cadence;
mod canvas;
pub mod label;
mod overlay;
pub mod picture;
mod tracks;
pub mod video;
mod yuv;
pub mod sound;
