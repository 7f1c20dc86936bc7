//! Whether one more Session can begin here.
//!
//! In: what the machine has and uses, what each Session costs, when one begins and ends, and the time. Out: what there is too little of, or nothing. Pure: it
//! measures nothing and reads no clock. It ends nothing: what a full disk means for Sessions that run is up to whoever asks.
//!
//! A Session that has just begun costs less than it will: for [`YOUNG`] it counts at least at its reserved cost. The disk is promised for [`AHEAD`] of each
//! Session's time, so that two Sessions are not promised the same space. Descriptors are counted before they run out, because a process without any could not even
//! say so. The first Session is never refused for its processor time: a small machine
//! leaves pictures out, and says so, but it works.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::SessionId;
use crate::time::SessionTime;

/// So long a Session counts at its reserved cost.
pub const YOUNG: Duration = Duration::from_secs(15);
/// So much of a Session's time the disk must have room for when it begins.
pub const AHEAD: Duration = Duration::from_secs(2 * 3600);
/// So many bytes of the disk are promised to nobody.
pub const DISK_RESERVE: u64 = 1 << 30;
/// So many descriptors must be left for a Session: its worker's socket, its files, its uploads, and the way to the controller.
pub const FILES: u64 = 64;
/// A disk that was full is one no longer when so many percent more are free.
const RECOVERED_BY: u64 = 1;

/// What is looked at, and what is reserved.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// How much of all processors may be used, as a part of one; `None`: not looked at.
    pub cpu_share: Option<f64>,
    /// What a Session is expected to cost.
    pub session: Cost,
    /// Whether memory is looked at.
    pub memory: bool,
    /// What a Session writes; `None`: the disk is not looked at.
    pub disk_bytes_per_s: Option<u64>,
    /// With so many percent of the disk free, or less, recordings end.
    pub low_disk_percent: u64,
    /// Whether descriptors are looked at.
    pub files: bool,
}

/// What a Session costs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Cost {
    /// Processors in use: 1.0 is one of them.
    pub cpu: f64,
    /// Bytes.
    pub memory: u64,
}

/// What the machine, or the part of it that we are allowed to use, has and uses.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Machine {
    /// Processors that we may use.
    pub cpus: f64,
    /// Of these, in use now, by whomever.
    pub cpu_used: f64,
    /// Memory that we may still take, in bytes.
    pub memory_free: u64,
    /// Bytes free in the spool.
    pub disk_free: u64,
    /// Bytes of the disk that the spool is on.
    pub disk_size: u64,
    /// Descriptors that this process may still open.
    pub files_free: u64,
}

/// What there is too little of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shortage {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Space for recordings.
    Disk,
    /// Descriptors.
    Files,
}

impl Shortage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Disk, Self::Files];

    /// One word for operators and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Files => "files",
        }
    }

    /// What a moderator reads whose Order is refused.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Cpu => {
                "All recorders are at work: their machines have no processor time left. Try again when another meeting is over."
            }
            Self::Memory => {
                "All recorders are at work: their machines have no memory left. Try again when another meeting is over."
            }
            Self::Disk => "The recorder has too little space for another recording. Its operator can make room.",
            Self::Files => "The recorder may not open enough files for another recording. Its operator can allow it more.",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Running {
    since: SessionTime,
    measured: Cost,
}

/// Decides about Orders. `now` is any clock that goes on.
#[derive(Clone, Debug)]
pub struct Admission {
    limits: Limits,
    machine: Option<Machine>,
    sessions: BTreeMap<SessionId, Running>,
    disk_is_low: bool,
}

impl Admission {
    /// Nothing runs, and nothing is measured yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, machine: None, sessions: BTreeMap::new(), disk_is_low: false }
    }

    /// A Session begins.
    pub fn began(&mut self, session: SessionId, now: SessionTime) {
        self.sessions.insert(session, Running { since: now, measured: Cost::default() });
    }

    /// A Session is over.
    pub fn ended(&mut self, session: &SessionId) {
        self.sessions.remove(session);
    }

    /// How the machine stands, and what the Sessions cost now. One that is not told of costs what it did.
    pub fn measured(&mut self, machine: Machine, costs: impl IntoIterator<Item = (SessionId, Cost)>) {
        for (session, cost) in costs {
            if let Some(running) = self.sessions.get_mut(&session) {
                running.measured = cost;
            }
        }
        let percent = self.limits.low_disk_percent + if self.disk_is_low { RECOVERED_BY } else { 0 };
        let has_disk = self.limits.disk_bytes_per_s.is_some() && machine.disk_size > 0;
        self.disk_is_low = has_disk && machine.disk_free <= machine.disk_size / 100 * percent;
        self.machine = Some(machine);
    }

    /// So little of the disk is left that recordings must end.
    pub fn disk_is_low(&self) -> bool {
        self.disk_is_low
    }

    /// What was measured last.
    pub fn machine(&self) -> Option<Machine> {
        self.machine
    }

    /// What another Session would have too little of. As long as nothing is measured nothing is refused.
    pub fn shortage(&self, now: SessionTime) -> Option<Shortage> {
        let machine = self.machine?;
        let Limits { session, .. } = self.limits;
        // What young ones are going to take, and have not taken yet.
        let young = || self.sessions.values().filter(|running| now.since(running.since) < YOUNG);
        if let Some(share) = self.limits.cpu_share
            && !self.sessions.is_empty()
        {
            let to_come: f64 = young().map(|running| (session.cpu - running.measured.cpu).max(0.0)).sum();
            if machine.cpu_used + to_come + session.cpu > machine.cpus * share {
                return Some(Shortage::Cpu);
            }
        }
        if self.limits.memory {
            let to_come = young().map(|running| session.memory.saturating_sub(running.measured.memory));
            if machine.memory_free < to_come.fold(session.memory, u64::saturating_add) {
                return Some(Shortage::Memory);
            }
        }
        if let Some(bytes_per_s) = self.limits.disk_bytes_per_s {
            let ahead = |since: SessionTime| AHEAD.saturating_sub(now.since(since)).as_secs().saturating_mul(bytes_per_s);
            let own = AHEAD.as_secs().saturating_mul(bytes_per_s).saturating_add(DISK_RESERVE);
            let promised = self.sessions.values().map(|running| ahead(running.since)).fold(own, u64::saturating_add);
            if self.disk_is_low || machine.disk_free < promised {
                return Some(Shortage::Disk);
            }
        }
        let to_come = young().fold(FILES, |files, _| files + FILES);
        (self.limits.files && machine.files_free < to_come).then_some(Shortage::Files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    /// 3 Mbit/s: 2.7 GB in two hours.
    const RATE: u64 = 375_000;

    fn limits() -> Limits {
        let session = Cost { cpu: 0.8, memory: 300 * MIB };
        Limits { cpu_share: Some(0.8), session, memory: true, disk_bytes_per_s: Some(RATE), low_disk_percent: 5, files: true }
    }

    /// Four idle processors, and much of everything.
    fn idle() -> Machine {
        Machine { cpus: 4.0, cpu_used: 0.0, memory_free: 8 * GIB, disk_free: 60 * GIB, disk_size: 100 * GIB, files_free: 1000 }
    }

    fn id(n: u32) -> SessionId {
        SessionId::new(format!("s{n}"))
    }

    fn at(s: u64) -> SessionTime {
        SessionTime::from_millis(s * 1000)
    }

    /// With so many Sessions that began at the time zero, each measured at this.
    fn running(count: u32, machine: Machine, cost: Cost) -> Admission {
        let mut admission = Admission::new(limits());
        (0..count).for_each(|n| admission.began(id(n), at(0)));
        admission.measured(machine, (0..count).map(|n| (id(n), cost)));
        admission
    }

    #[test]
    fn each_thing_that_there_is_too_little_of_refuses() {
        let cost = Cost { cpu: 0.5, memory: 200 * MIB };
        let two_hours = 7200 * RATE;
        let table = [
            (0, idle(), None),
            // 0.8 of four processors is 3.2: two that cost half a one each leave room, whatever others do below that.
            (2, Machine { cpu_used: 1.0, ..idle() }, None),
            (2, Machine { cpu_used: 2.4, ..idle() }, None),
            (2, Machine { cpu_used: 2.41, ..idle() }, Some(Shortage::Cpu)),
            // The first one is never refused for it.
            (0, Machine { cpu_used: 4.0, ..idle() }, None),
            (0, Machine { cpus: 0.5, ..idle() }, None),
            (0, Machine { memory_free: 300 * MIB, ..idle() }, None),
            (0, Machine { memory_free: 300 * MIB - 1, ..idle() }, Some(Shortage::Memory)),
            (0, Machine { disk_free: two_hours + GIB, disk_size: 20 * GIB, ..idle() }, None),
            (0, Machine { disk_free: two_hours + GIB - 1, disk_size: 20 * GIB, ..idle() }, Some(Shortage::Disk)),
            // Five percent, however much that is.
            (0, Machine { disk_free: 50 * GIB, disk_size: 1000 * GIB, ..idle() }, Some(Shortage::Disk)),
            (3, Machine { files_free: 64, ..idle() }, None),
            (3, Machine { files_free: 63, ..idle() }, Some(Shortage::Files)),
            // All at once: what there is too little of first.
            (1, Machine { cpu_used: 4.0, memory_free: 0, disk_free: 0, ..idle() }, Some(Shortage::Cpu)),
        ];
        for (count, machine, wanted) in table {
            assert_eq!(running(count, machine, cost).shortage(at(3600)), wanted, "{count} Sessions, {machine:?}");
        }
        assert_eq!(Admission::new(limits()).shortage(at(0)), None, "nothing is known yet");
    }

    #[test]
    fn what_has_just_begun_counts_at_what_it_is_going_to_cost() {
        // Three cost 2.4; a fourth would cost 3.2, which is just allowed.
        let small = Cost { cpu: 0.1, memory: 50 * MIB };
        let mut admission = running(3, Machine { cpu_used: 0.3, ..idle() }, small);
        assert_eq!(admission.shortage(at(14)), None);
        admission.began(id(3), at(14));
        assert_eq!(admission.shortage(at(14)), Some(Shortage::Cpu));
        // The first three turn out to be small.
        assert_eq!(admission.shortage(at(15)), None);
        // One that costs more than was reserved counts as it is.
        let large = Cost { cpu: 2.0, memory: 50 * MIB };
        let machine = Machine { cpu_used: 2.0, ..idle() };
        let mut admission = running(1, machine, large);
        assert_eq!(admission.shortage(at(1)), None);
        admission.measured(Machine { cpu_used: 2.5, ..machine }, []);
        assert_eq!(admission.shortage(at(1)), Some(Shortage::Cpu));
        admission.ended(&id(0));
        assert_eq!(admission.shortage(at(1)), None, "nothing runs");

        let tight = Machine { memory_free: 550 * MIB, ..idle() };
        let admission = running(1, tight, small);
        assert_eq!(admission.shortage(at(1)), None, "250 MiB are still to come, and 300 are wanted");
        assert_eq!(running(2, tight, small).shortage(at(1)), Some(Shortage::Memory));
        assert_eq!(running(2, tight, small).shortage(at(15)), None);

        let tight = Machine { files_free: 191, ..idle() };
        assert_eq!(running(1, tight, small).shortage(at(1)), None);
        assert_eq!(running(2, tight, small).shortage(at(1)), Some(Shortage::Files), "128 are still to come, and 64 are wanted");
        assert_eq!(running(2, tight, small).shortage(at(15)), None);
    }

    #[test]
    fn space_is_promised_once() {
        // Room for three times two hours.
        let machine = Machine { disk_free: 3 * 7200 * RATE + GIB, disk_size: 20 * GIB, ..idle() };
        assert_eq!(running(2, machine, Cost::default()).shortage(at(0)), None);
        assert_eq!(running(3, machine, Cost::default()).shortage(at(0)), Some(Shortage::Disk));
        // What was written meanwhile is in what is free, and not promised any more.
        let later = Machine { disk_free: machine.disk_free - 3 * 3600 * RATE, ..machine };
        assert_eq!(running(3, later, Cost::default()).shortage(at(3600)), Some(Shortage::Disk));
        assert_eq!(running(2, later, Cost::default()).shortage(at(7200)), None);
    }

    #[test]
    fn a_full_disk_is_one_until_it_has_recovered() {
        let mut admission = running(1, idle(), Cost::default());
        let mut seen = |percent: u64| {
            admission.measured(Machine { disk_free: percent * GIB, ..idle() }, []);
            admission.disk_is_low()
        };
        assert!(!seen(6));
        assert!(seen(5));
        assert!(seen(6), "it does not tremble");
        assert!(!seen(7));
        assert!(!seen(6));
    }

    #[test]
    fn each_limit_can_be_switched_off() {
        let nothing = Machine { cpus: 1.0, cpu_used: 1.0, memory_free: 0, disk_free: 0, disk_size: GIB, files_free: 0 };
        let refused = |limits: Limits| {
            let mut admission = Admission::new(limits);
            admission.began(id(0), at(0));
            admission.measured(nothing, []);
            (admission.shortage(at(0)), admission.disk_is_low())
        };
        assert_eq!(refused(limits()), (Some(Shortage::Cpu), true));
        let limits = Limits { cpu_share: None, ..limits() };
        assert_eq!(refused(limits), (Some(Shortage::Memory), true));
        let limits = Limits { memory: false, ..limits };
        assert_eq!(refused(limits), (Some(Shortage::Disk), true));
        let limits = Limits { disk_bytes_per_s: None, ..limits };
        assert_eq!(refused(limits), (Some(Shortage::Files), false));
        assert_eq!(refused(Limits { files: false, ..limits }), (None, false));
    }
}
