//! The programme monitor: a web page that shows by WHEP (draft-ietf-wish-whep) exactly what goes out, and how each Target stands.
//!
//! In the worker it is a [`feeder::Feeder`]: packets from a live cursor of the ring go to whoever calls on a private Unix socket. In the monitor's own process [`server::serve`] reads
//! them, makes one Opus stream of the AAC, and gives both to any number of viewers. Nothing that happens there reaches the ring or the encoder: no viewer is waited for, and a
//! viewer's wish for a keyframe is answered from what was received.

pub mod feeder;
mod follower;
mod hall;
mod http;
mod offer;
mod page;
mod payload;
pub mod server;
pub mod standing;
mod viewer;
mod wire;
