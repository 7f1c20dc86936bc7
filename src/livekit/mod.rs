//! LiveKit's signaling, as a subscriber needs it: protocol 16, two peer connections (of which we use the server's), protobuf over WebSocket.
//!
//! In: the server's `SignalResponse`s. Out: `SignalRequest`s and, for the Conference adapter, plain values: who is there ([`roster`]), what to
//! subscribe ([`wish`]), what a refusal or a farewell means ([`verdict`]). Everything but [`signal`] is pure.
//! It refuses to publish, and to put a token anywhere but into the Authorization header.

pub mod address;
pub mod backoff;
mod facts;
pub mod roster;
pub mod signal;
pub mod token;
pub mod token_source;
pub mod verdict;
pub mod wish;
