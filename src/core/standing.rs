//! What a Conference is told about one Target: the projection of the Target's one state onto what the Conference can show, and when.
//!
//! In: the Target's state, what moderators want, what the Conference shows, and the time. Out: a [`Standing`] that is to be told now. Pure.
//! It decides nothing about the Target.
//!
//! The table, for Conferences that know inactive, starting, active, paused and error (OpenTalk: `recording_service` `stream_updated`):
//!
//! | Target | told |
//! |---|---|
//! | no Take, or stopped by a moderator | inactive |
//! | begun, and nothing seen yet | starting |
//! | something is safe on disk, or a destination takes the stream | active |
//! | a destination that was live is lost, until the grace is over | active |
//! | paused, or about to be | paused |
//! | failed, also after the stop: what was recorded could not be stored | error |
//!
//! When: at most one change in [`CALM`], except that what follows from a moderator's own action, or ends `starting`, is told at once. Some controllers reset a Target silently
//! five seconds after the click unless something is active by then, so whatever else holds is told again at [`RENEWED_AFTER`]. When the
//! Conference shows something else than it was told, it is told again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::conference::{Light, Standing};
use crate::fault::Blame;
use crate::target::{Target, TargetState};
use crate::time::SessionTime;

#[cfg(test)]
mod tests;

/// Changes that no moderator caused are told at most once in this time.
pub(crate) const CALM: Duration = Duration::from_secs(10);
/// What is told so long after a click is not reset any more.
pub(crate) const RENEWED_AFTER: Duration = Duration::from_millis(5100);
/// A Conference that contradicts is told again at most so often.
const CONTRADICTED_AT_MOST: Duration = Duration::from_secs(1);
/// Reports whose echo may be awaited.
const MAX_ECHOES: usize = 16;

/// What a Target's state looks like from the Conference.
pub(crate) fn standing(target: &Target) -> Standing {
    match &target.state {
        // The delivery before is being closed.
        _ if target.is_wanted_again() => Standing::Starting,
        TargetState::Failed { fault, .. } => Standing::Error { code: code(fault.blame), message: fault.sentence.clone() },
        _ if target.undelivered().is_some() => Standing::Error {
            code: "delivery_failed",
            message: target.undelivered().map(|fault| fault.sentence.clone()).unwrap_or_default(),
        },
        TargetState::Idle | TargetState::Finishing { .. } | TargetState::Ended => Standing::Inactive,
        TargetState::Starting { .. } => Standing::Starting,
        TargetState::Live { .. } => Standing::Active,
        TargetState::Pausing { .. } | TargetState::Paused => Standing::Paused,
    }
}

fn code(blame: Blame) -> &'static str {
    match blame {
        Blame::Destination => "destination_failed",
        Blame::Conference => "conference_failed",
        Blame::Operator => "not_configured",
        Blame::Us => "internal",
    }
}

/// Remembers what was told about one Target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reporter {
    told: Option<Standing>,
    told_at: Option<SessionTime>,
    /// A moderator acted, and the outcome was not told yet.
    acted: bool,
    /// Tell again then, whatever holds.
    renew_at: Option<SessionTime>,
    /// A contradiction is to be answered then.
    contradicted_at: Option<SessionTime>,
    /// What was told, and did not come back yet, oldest first.
    echoes: VecDeque<Light>,
    /// A change waits for its turn.
    waits: bool,
}

impl Reporter {
    /// A moderator did something about the Target, at this time.
    pub(crate) fn acted(&mut self, clicked: SessionTime) {
        self.acted = true;
        self.renew_at = Some(clicked + RENEWED_AFTER);
    }

    /// The Conference is new, and knows nothing of what it was told.
    pub(crate) fn forgotten(&mut self) {
        self.told = None;
        self.echoes.clear();
        self.contradicted_at = None;
    }

    /// The Conference shows this.
    pub(crate) fn shown(&mut self, light: Light, now: SessionTime) {
        if let Some(echo) = self.echoes.iter().position(|told| *told == light) {
            self.echoes.drain(..=echo);
        } else if self.told.as_ref().is_some_and(|told| told.light() != light) {
            let soonest = self.told_at.map_or(now, |at| at + CONTRADICTED_AT_MOST);
            self.contradicted_at.get_or_insert(soonest.max(now));
        }
    }

    /// What is to be told now, given how the Target stands.
    pub(crate) fn look(&mut self, standing: &Standing, now: SessionTime) -> Option<Standing> {
        let light = standing.light();
        // What a reset would not change need not be said again.
        let renewed = take_due(&mut self.renew_at, now) && !matches!(light, Light::Active | Light::Inactive);
        let contradicted = take_due(&mut self.contradicted_at, now);
        let changed = match &self.told {
            // Of what never began there is nothing to say.
            None => light != Light::Inactive,
            Some(told) => told != standing,
        };
        // A moderator who wants what is so already is answered all the same.
        let answered = self.acted && is_outcome(light) && self.told.is_some();
        // Whoever sees "starting" waits for what comes of it, also after another worker has taken over.
        let is_awaited = self.told.as_ref().is_none_or(|told| told.light() == Light::Starting);
        let calm = is_awaited || self.told_at.is_none_or(|at| at + CALM <= now);
        self.waits = changed && !self.acted && !calm;
        if !(changed && !self.waits || renewed || contradicted || answered) {
            return None;
        }
        if is_outcome(light) {
            self.acted = false;
        }
        if light == Light::Active {
            // With something active nothing is reset.
            self.renew_at = None;
        }
        self.told = Some(standing.clone());
        self.told_at = Some(now);
        self.waits = false;
        if self.echoes.len() == MAX_ECHOES {
            self.echoes.pop_front();
        }
        self.echoes.push_back(light);
        Some(standing.clone())
    }

    /// When [`Self::look`] may answer although nothing happened.
    pub(crate) fn wake(&self) -> Option<SessionTime> {
        let calm = self.told_at.filter(|_| self.waits).map(|at| at + CALM);
        [self.renew_at, self.contradicted_at, calm].into_iter().flatten().min()
    }
}

/// Whether the time has come; then it is not to come again.
fn take_due(at: &mut Option<SessionTime>, now: SessionTime) -> bool {
    at.take_if(|at| *at <= now).is_some()
}

/// Whether a moderator who acted has their answer with this.
fn is_outcome(light: Light) -> bool {
    light != Light::Starting
}
