//! What a worker tells about itself once a second.

use std::sync::atomic::Ordering;
use std::time::Instant;

use recorder_core::overload::Load;
use recorder_core::session::Phase;

use super::Worker;
use crate::service::job::{FromWorker, Status};

impl Worker {
    /// Tells how it goes.
    pub(super) fn say_status(&mut self) {
        let counts = self.programme.counts();
        let pictures = counts.pictures.load(Ordering::Relaxed);
        let status = Status {
            at: self.clock.now(),
            people: self.session.people() as u32,
            tiles: self.session.scenes().iter().map(|scene| scene.tiles.len()).max().unwrap_or(0) as u32,
            pictures,
            repeated: counts.repeated.load(Ordering::Relaxed),
            fps: self.fps.per_second(pictures, Instant::now()),
            encoder_lag: self.programme.encoder_lag(),
            dropped: self.media.dropped(),
            encoded_bytes: self.programme.encoded_bytes(),
        };
        self.say(FromWorker::Status(status));
    }

    /// Tells when the machine becomes too slow, and when it keeps up again. At the end of the Takes the programme stands still by itself.
    pub(super) fn look_at_load(&mut self) {
        if self.session.phase() != Phase::Live {
            return;
        }
        let counts = self.programme.counts();
        let load = Load {
            due: counts.pictures.load(Ordering::Relaxed),
            left_out: counts.repeated.load(Ordering::Relaxed),
            lag: self.programme.encoder_lag(),
        };
        if let Some(fault) = self.overload.look(load, self.clock.now()) {
            self.say(FromWorker::Fault(fault));
        }
    }
}
