//! Who may still come in: slots, what the machine has left, and whether the service is ending.
//!
//! In: Sessions that begin and end, measurements, the wish to end. Out: how many Orders can be taken, and what moderators are told otherwise. Lives on the
//! host's task. It decides by [`recorder_core::admission`], and ends nothing itself.

use recorder_core::admission::{Admission, Shortage};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::SessionId;
use recorder_core::session::Withheld;

use super::admission::Measured;
use super::board::Load;
use crate::clock::SessionClock;

/// See the module.
pub(super) struct Door {
    slots: u32,
    taken: u32,
    admission: Admission,
    clock: SessionClock,
    is_closed: bool,
}

impl Door {
    pub(super) fn new(slots: u32, admission: Admission) -> Self {
        Self { slots, taken: 0, admission, clock: SessionClock::start(), is_closed: false }
    }

    /// So many slots are taken by what an earlier process left, until it is known what becomes of it.
    pub(super) fn reserve(&mut self, slots: u32) {
        self.taken += slots;
    }

    /// A slot is free again.
    pub(super) fn release(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }

    /// A Session begins in a slot that is taken.
    pub(super) fn began(&mut self, session: SessionId) {
        self.admission.began(session, self.clock.now());
    }

    /// A Session is over that had a slot.
    pub(super) fn ended(&mut self, session: &SessionId) {
        self.admission.ended(session);
        self.release();
    }

    /// How it stands now. Says whether the disk has become low, or has recovered.
    pub(super) fn measured(&mut self, measured: &Measured) -> bool {
        let before = self.admission.disk_is_low();
        self.admission.measured(measured.machine, measured.costs.iter().cloned());
        before != self.admission.disk_is_low()
    }

    /// Nobody comes in any more.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Orders that can be taken.
    pub(super) fn free(&self) -> u32 {
        match self.is_closed || self.shortage().is_some() {
            true => 0,
            false => self.slots.saturating_sub(self.taken),
        }
    }

    /// What another Session would have too little of.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        self.admission.shortage(self.clock.now())
    }

    /// What a moderator is told whose Order nobody takes.
    pub(super) fn refusal(&self) -> Fault {
        match self.shortage() {
            _ if self.is_closed => ending(),
            // With all slots taken this is what another recorder would mend.
            Some(shortage) if self.taken < self.slots => short_of(shortage),
            _ => fault("All recorders are busy. Try again when another meeting is over."),
        }
    }

    /// What Sessions may not deliver now.
    pub(super) fn withheld(&self) -> Withheld {
        match self.admission.disk_is_low() {
            true => Withheld::Recordings(fault(
                "The disk of the recorder is nearly full, so recordings have been finished. Its operator can make room.",
            )),
            false => Withheld::Nothing,
        }
    }

    /// The same for operators.
    pub(super) fn load(&self) -> Option<Load> {
        Some(Load { machine: self.admission.machine()?, shortage: self.shortage() })
    }
}

/// What a moderator is told when there is too little of something.
fn short_of(shortage: Shortage) -> Fault {
    fault(shortage.sentence())
}

/// What a moderator is told when the service ends.
pub(super) fn ending() -> Fault {
    fault("The recorder is being shut down. What it has recorded is kept. Start again in a moment.")
}

/// What a moderator is told when an Order cannot be noted.
pub(super) fn cannot_note() -> Fault {
    fault("The recorder cannot write to its disk. Its operator can mend that.")
}

fn fault(sentence: &str) -> Fault {
    Fault { scope: Scope::Target, blame: Blame::Operator, retry: Retry::Never, sentence: sentence.to_owned() }
}

#[cfg(test)]
mod tests {
    use recorder_core::admission::{Cost, Limits, Machine};

    use super::*;

    const GIB: u64 = 1 << 30;

    fn door(slots: u32) -> Door {
        let session = Cost { cpu: 1.0, memory: 0 };
        let limits =
            Limits { cpu_share: Some(1.0), session, memory: true, disk_bytes_per_s: Some(1), low_disk_percent: 5, files: true };
        Door::new(slots, Admission::new(limits))
    }

    fn seen(cpus: f64, disk_free: u64) -> Measured {
        let machine = Machine { cpus, cpu_used: 0.0, memory_free: GIB, disk_free, disk_size: 100 * GIB, files_free: 1000 };
        Measured { machine, costs: Vec::new() }
    }

    #[test]
    fn a_session_that_begins_closes_the_door_when_the_next_would_be_too_much() {
        let mut door = door(3);
        assert!(!door.measured(&seen(2.0, 50 * GIB)));
        for (left, name) in [(2, "a"), (0, "b")] {
            door.reserve(1);
            door.began(SessionId::new(name));
            assert_eq!(door.free(), left, "at once, and not only when it is measured");
        }
        assert!(door.refusal().sentence.contains("no processor time"), "{}", door.refusal().sentence);
        door.ended(&SessionId::new("b"));
        assert_eq!(door.free(), 2);
        door.reserve(2);
        assert!(door.refusal().sentence.contains("are busy"), "{}", door.refusal().sentence);
        door.close();
        assert_eq!(door.free(), 0);
        assert!(door.refusal().sentence.contains("shut down"));
    }

    #[test]
    fn a_disk_that_becomes_low_is_said_once_and_again_when_it_has_recovered() {
        let mut door = door(3);
        assert!(!door.measured(&seen(2.0, 50 * GIB)));
        assert_eq!(door.withheld(), Withheld::Nothing);
        assert!(door.measured(&seen(2.0, 4 * GIB)));
        assert!(matches!(door.withheld(), Withheld::Recordings(_)));
        assert_eq!(door.free(), 0);
        assert!(!door.measured(&seen(2.0, 4 * GIB)));
        assert!(door.measured(&seen(2.0, 50 * GIB)));
        assert_eq!(door.free(), 3);
    }
}
