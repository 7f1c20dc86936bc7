//! The simulated meeting: people whose pictures and sound can be measured.

pub mod actors;
pub mod card;
pub mod encode;
pub mod inspect;
pub mod loops;
pub mod picture;
pub mod script;
pub mod sender;
pub mod stage;
pub mod talk;
