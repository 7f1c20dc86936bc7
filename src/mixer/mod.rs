//! The mixer: a function of (Scene, frames, samples, T) that tests can call without a clock.

pub mod cadence;
mod canvas;
mod decor;
mod gallery;
mod icons;
pub mod label;
mod motion;
mod overlay;
pub mod picture;
mod places;
mod scripts;
#[cfg(target_arch = "x86_64")]
mod shrink;
pub mod sound;
pub mod still;
mod text;
mod tracks;
pub mod video;
pub mod wall;
mod yuv;
