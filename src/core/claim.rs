//! What of a Session outlives its supervisor: the content of its claim, and what to do about one that is found.
//!
//! In: a claim that an earlier process left, and the time. Out: a [`Verdict`]. Pure: it reads no file and no clock. It refuses to hold a secret: where a stream
//! goes is asked of the Conference again.
//!
//! A Session that was gone for a short time goes on: in the same recordings, with the next Takes, on the same session clock. One that was gone for longer is
//! over: everybody in the room has seen for a while that nothing is recorded, and only a new click may change that. Session time is counted by a clock
//! that begins anew when the machine does, so a claim names the machine's life (`boot`) and keeps the time of day beside it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, TakeId, TargetId};
use crate::time::SessionTime;

/// The form that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// More Targets than any room has.
const MAX_TARGETS: usize = 256;

/// What is known of a Session that runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// [`VERSION`].
    pub version: u32,
    /// Which Session.
    pub session: SessionId,
    /// UUID of its room.
    pub room: String,
    /// UUID of the breakout room, if it is for one.
    pub breakout: Option<String>,
    /// CLOCK_MONOTONIC at session time zero, in nanoseconds; below zero when it is above the half of the range.
    pub epoch_ns: u64,
    /// The newest sign of life.
    pub alive: Alive,
    /// What is delivered; `None` until anything was wanted.
    pub targets: Option<Vec<ClaimedTarget>>,
}

/// When a Session was seen alive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alive {
    /// On its own clock.
    pub at: SessionTime,
    /// In which life of the machine.
    pub boot: String,
    /// Time of day, in seconds since 1970.
    pub unix_s: u64,
}

/// A Target that delivers, is about to, or is paused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedTarget {
    /// Which.
    pub target: TargetId,
    /// Which of its deliveries, counted from 1.
    pub run: u32,
    /// The Take that comes next.
    pub next: TakeId,
    /// A moderator has paused it.
    pub paused: bool,
    /// What it is.
    pub what: Claimed,
}

/// What a Target is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Claimed {
    /// A recording.
    Recording {
        /// Name of its folder in the spool, once it has one.
        folder: Option<String>,
    },
    /// A live destination; the Conference knows where it is.
    Live,
}

/// Why a claim is not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadClaim {
    /// Of another version of the program.
    #[error("it is of version {0}, and only version {VERSION} is understood")]
    Version(u32),
    /// A Session's name becomes part of paths.
    #[error("its Session has a name that cannot be a file's")]
    Session,
    /// A folder that may lie elsewhere.
    #[error("the folder of the target {0} is not a name in the spool")]
    Folder(TargetId),
    /// One name twice.
    #[error("the target {0} is in it twice")]
    Twice(TargetId),
    /// Takes and deliveries are counted from 1.
    #[error("the target {0} has a number that is zero")]
    Zero(TargetId),
    /// Too many.
    #[error("it has more than {MAX_TARGETS} targets")]
    TooMany,
}

/// The present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Present {
    /// The machine's life.
    pub boot: String,
    /// CLOCK_MONOTONIC in nanoseconds.
    pub monotonic_ns: u64,
    /// Time of day, in seconds since 1970.
    pub unix_s: u64,
}

/// What is to be done about a Session that an earlier process left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on, if its room is still to be had.
    GoOn {
        /// CLOCK_MONOTONIC at its session time zero, as in [`Claim::epoch_ns`].
        epoch_ns: u64,
    },
    /// What it has recorded is finished and stored; nothing more is recorded.
    Finish,
}

impl Claim {
    /// Whether everything in it can be believed.
    ///
    /// # Errors
    /// See [`BadClaim`].
    pub fn check(&self) -> Result<(), BadClaim> {
        if self.version != VERSION {
            return Err(BadClaim::Version(self.version));
        }
        if !is_file_name(self.session.as_str()) {
            return Err(BadClaim::Session);
        }
        let targets = self.targets.as_deref().unwrap_or_default();
        if targets.len() > MAX_TARGETS {
            return Err(BadClaim::TooMany);
        }
        for (index, target) in targets.iter().enumerate() {
            let name = || target.target.clone();
            if let Claimed::Recording { folder: Some(folder) } = &target.what
                && !is_file_name(folder)
            {
                return Err(BadClaim::Folder(name()));
            }
            if target.run == 0 || target.next.0 == 0 {
                return Err(BadClaim::Zero(name()));
            }
            if targets[..index].iter().any(|earlier| earlier.target == target.target) {
                return Err(BadClaim::Twice(name()));
            }
        }
        Ok(())
    }

    /// What is to be done about it. A Session goes on that was gone for less than `grace`, and to which something is left to do.
    pub fn verdict(&self, now: &Present, grace: Duration) -> Verdict {
        if self.targets.as_ref().is_some_and(Vec::is_empty) {
            return Verdict::Finish;
        }
        let alive = &self.alive;
        let (gone, epoch_ns) = if alive.boot == now.boot {
            let session_now = now.monotonic_ns.wrapping_sub(self.epoch_ns);
            (Some(Duration::from_nanos(session_now.saturating_sub(alive.at.as_nanos()))), self.epoch_ns)
        } else {
            // A clock that was put back says nothing about how long it was.
            let gone = now.unix_s.checked_sub(alive.unix_s).map(Duration::from_secs);
            let session_now = alive.at + gone.unwrap_or_default();
            (gone, now.monotonic_ns.wrapping_sub(session_now.as_nanos()))
        };
        match gone {
            Some(gone) if gone < grace => Verdict::GoOn { epoch_ns },
            _ => Verdict::Finish,
        }
    }

    /// Names of the folders in the spool that it writes to.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().flatten().filter_map(|target| match &target.what {
            Claimed::Recording { folder } => folder.as_deref(),
            Claimed::Live => None,
        })
    }
}

/// Whether this names a file in a folder, and nothing elsewhere.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);
    const SECOND: u64 = 1_000_000_000;

    fn target(name: &str, what: Claimed) -> ClaimedTarget {
        ClaimedTarget { target: TargetId::new(name), run: 1, next: TakeId(2), paused: false, what }
    }

    /// Began 1000 s after the machine did, and was seen alive 60 s later, at 50,000 s since 1970.
    fn claim() -> Claim {
        Claim {
            version: VERSION,
            session: SessionId::new("1732240000-7-1"),
            room: "0192d8a5-8c2f-7c3e-9b1a-2f4e6d8c0a1b".into(),
            breakout: None,
            epoch_ns: 1000 * SECOND,
            alive: Alive { at: SessionTime::from_millis(60_000), boot: "first".into(), unix_s: 50_000 },
            targets: Some(vec![
                target("recording", Claimed::Recording { folder: Some("1732240000-7-1.roomcast".into()) }),
                target("stream", Claimed::Live),
            ]),
        }
    }

    fn present(boot: &str, monotonic_s: u64, unix_s: u64) -> Present {
        Present { boot: boot.into(), monotonic_ns: monotonic_s * SECOND, unix_s }
    }

    #[test]
    fn whoever_was_gone_for_a_moment_goes_on_in_the_same_time() {
        let goes_on = Verdict::GoOn { epoch_ns: 1000 * SECOND };
        for (now, wanted) in [
            (present("first", 1060, 50_000), goes_on),
            (present("first", 1089, 50_029), goes_on),
            (present("first", 1090, 50_030), Verdict::Finish),
            (present("first", 9000, 58_000), Verdict::Finish),
            // The clock on the wall means nothing as long as the machine lives.
            (present("first", 1061, 53_600), goes_on),
            (present("first", 1061, 46_400), goes_on),
            // A sign of life from a moment that is still to come.
            (present("first", 1059, 50_000), goes_on),
        ] {
            assert_eq!(claim().verdict(&now, GRACE), wanted, "{now:?}");
        }
        assert_eq!(claim().verdict(&present("first", 1060, 50_000), Duration::ZERO), Verdict::Finish, "switched off");
    }

    #[test]
    fn after_a_new_start_of_the_machine_the_session_clock_goes_on_by_the_time_of_day() {
        let Verdict::GoOn { epoch_ns } = claim().verdict(&present("second", 12, 50_025), GRACE) else { panic!("it goes on") };
        // Session time was 60 s, and 25 s have passed.
        assert_eq!((12 * SECOND).wrapping_sub(epoch_ns), 85 * SECOND);
        let Verdict::GoOn { epoch_ns } = claim().verdict(&present("second", 500, 50_001), GRACE) else { panic!("it goes on") };
        assert_eq!((500 * SECOND).wrapping_sub(epoch_ns), 61 * SECOND);
        for now in [present("second", 12, 50_030), present("second", 12, 90_000), present("second", 12, 49_999)] {
            assert_eq!(claim().verdict(&now, GRACE), Verdict::Finish, "{now:?}");
        }
    }

    #[test]
    fn a_session_to_which_nothing_is_left_does_not_go_on_and_one_that_was_never_in_does() {
        let now = present("first", 1061, 50_001);
        assert_eq!(Claim { targets: Some(vec![]), ..claim() }.verdict(&now, GRACE), Verdict::Finish);
        assert!(matches!(Claim { targets: None, ..claim() }.verdict(&now, GRACE), Verdict::GoOn { .. }));
    }

    #[test]
    fn what_cannot_be_believed_is_named() {
        let of = |targets: Vec<ClaimedTarget>| Claim { targets: Some(targets), ..claim() };
        let folder = |folder: &str| target("recording", Claimed::Recording { folder: Some(folder.into()) });
        let id = || TargetId::new("recording");
        assert_eq!(claim().check(), Ok(()));
        assert_eq!(Claim { targets: None, ..claim() }.check(), Ok(()));
        assert_eq!(Claim { version: 2, ..claim() }.check(), Err(BadClaim::Version(2)));
        for name in ["", ".", "..", "a/b", "/a", "a\0"] {
            assert_eq!(of(vec![folder(name)]).check(), Err(BadClaim::Folder(id())), "{name:?}");
            assert_eq!(Claim { session: SessionId::new(name), ..claim() }.check(), Err(BadClaim::Session), "{name:?}");
        }
        assert_eq!(of(vec![folder("a"), folder("b")]).check(), Err(BadClaim::Twice(id())));
        assert_eq!(of(vec![ClaimedTarget { run: 0, ..folder("a") }]).check(), Err(BadClaim::Zero(id())));
        assert_eq!(of(vec![ClaimedTarget { next: TakeId(0), ..folder("a") }]).check(), Err(BadClaim::Zero(id())));
        let many = (0..=MAX_TARGETS).map(|n| target(&n.to_string(), Claimed::Live)).collect();
        assert_eq!(of(many).check(), Err(BadClaim::TooMany));
        assert_eq!(claim().folders().collect::<Vec<_>>(), ["1732240000-7-1.roomcast"]);
    }
}
