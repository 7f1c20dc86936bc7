//! What becomes of recordings of a service after their end, posted beside its Sessions: their uploads may last longer than those, or begin before the first.
//!
//! In: how the uploads of one recording stand. Out: copies. Passive, as the [`Board`] is.

use std::collections::BTreeMap;

use recorder_core::controller_upload::State as FilmState;
use recorder_core::upload::State;

use super::Board;
use crate::storage::controller_upload::FilmStand;
use crate::storage::recording_uploads::Uploads;

/// Deliveries that came to nothing and are still shown.
const FAILED_SHOWN: usize = 20;

/// How the delivery of one recording stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// What its spool folder is called: the Session, and which of its recordings.
    pub name: String,
    /// Uploads to S3 storages.
    pub uploads: Uploads,
    /// Uploads to the controller of the room.
    pub films: Vec<FilmStand>,
}

impl Delivery {
    fn has_failed(&self) -> bool {
        self.uploads.each.iter().any(|upload| upload.status.state == State::Abandoned)
            || self.films.iter().any(|film| matches!(film.status.state, FilmState::GivenUp(_)))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    running: BTreeMap<u64, Delivery>,
    /// Of those that are over, by their age.
    failed: BTreeMap<u64, Delivery>,
    serial: u64,
}

/// The place of one delivery. It is over when this is dropped; one that came to nothing stays to be looked at.
#[derive(Debug)]
pub struct DeliveryEntry {
    board: Board,
    serial: u64,
}

impl Board {
    /// A place for a delivery that begins.
    pub fn delivery(&self, name: String) -> DeliveryEntry {
        let mut shared = self.shared();
        let all = &mut shared.deliveries;
        all.serial += 1;
        let serial = all.serial;
        all.running.insert(serial, Delivery { name, ..Delivery::default() });
        drop(shared);
        DeliveryEntry { board: self.clone(), serial }
    }

    /// Those that run, and the last ones that came to nothing, the oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let shared = self.shared();
        let Deliveries { running, failed, .. } = &shared.deliveries;
        failed.values().chain(running.values()).cloned().collect()
    }
}

impl DeliveryEntry {
    /// Posts how it goes.
    pub fn update(&self, change: impl FnOnce(&mut Delivery)) {
        if let Some(delivery) = self.board.shared().deliveries.running.get_mut(&self.serial) {
            change(delivery);
        }
    }
}

impl Drop for DeliveryEntry {
    fn drop(&mut self) {
        let mut shared = self.board.shared();
        let Deliveries { running, failed, .. } = &mut shared.deliveries;
        if let Some(delivery) = running.remove(&self.serial).filter(Delivery::has_failed) {
            failed.insert(self.serial, delivery);
        }
        while failed.len() > FAILED_SHOWN {
            failed.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use recorder_core::controller_upload::Status;
    use recorder_core::fault::{Blame, Fault, Retry, Scope};

    use super::*;

    fn film(state: FilmState) -> FilmStand {
        FilmStand { name: "recording.mp4".into(), status: Status { state, sent: 1, len: 2 } }
    }

    #[test]
    fn a_delivery_is_shown_while_it_runs_and_longer_when_it_came_to_nothing() {
        let board = Board::new(1);
        let fault = Fault { scope: Scope::Target, blame: Blame::Conference, retry: Retry::Never, sentence: "No.".into() };
        for n in 0..FAILED_SHOWN + 3 {
            let good = board.delivery(format!("good-{n}"));
            let bad = board.delivery(format!("bad-{n}"));
            assert_eq!(board.deliveries().len(), n.min(FAILED_SHOWN) + 2);
            good.update(|delivery| delivery.films = vec![film(FilmState::Delivered)]);
            bad.update(|delivery| delivery.films = vec![film(FilmState::GivenUp(fault.clone()))]);
        }
        let names: Vec<String> = board.deliveries().into_iter().map(|delivery| delivery.name).collect();
        let expected: Vec<String> = (3..FAILED_SHOWN + 3).map(|n| format!("bad-{n}")).collect();
        assert_eq!(names, expected);
    }
}
