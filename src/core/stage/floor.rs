//! Who has the floor: the one person that a speaker layout shows large. Changes slowly, on purpose.

use std::time::Duration;

use crate::ids::ParticipantId;
use crate::time::SessionTime;

use super::voice::Voice;

/// How long somebody keeps the floor at least, even when they stop at once.
pub const HOLD: Duration = Duration::from_secs(2);
/// How long another must have spoken to take the floor from somebody who still makes noise ...
pub const INTERRUPT_AFTER: Duration = Duration::from_secs(3);
/// ... and how much louder, in decibels, they must be meanwhile: a fan or a keyboard does not keep the floor for ever.
pub const INTERRUPT_LOUDER_DB: f32 = 6.0;

/// Remembers who has the floor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floor {
    holder: Option<ParticipantId>,
    since: SessionTime,
}

impl Floor {
    pub(crate) fn holder(&self) -> Option<&ParticipantId> {
        self.holder.as_ref()
    }

    /// Looks at everybody who is in the room. True when the floor passed to another.
    pub(crate) fn settle<'a>(&mut self, voices: impl Iterator<Item = (&'a ParticipantId, &'a Voice)>, now: SessionTime) -> bool {
        let mut held_by: Option<&Voice> = None;
        let mut candidate: Option<(&ParticipantId, &Voice)> = None;
        for (participant, voice) in voices {
            if self.holder.as_ref() == Some(participant) {
                held_by = Some(voice);
            } else if voice.speaking() && candidate.is_none_or(|(_, best)| more_convincing(voice, best)) {
                candidate = Some((participant, voice));
            }
        }
        if held_by.is_none() && self.holder.take().is_some() && candidate.is_none() {
            return true;
        }
        let Some((participant, voice)) = candidate else { return false };
        let passes = match held_by {
            None => true,
            Some(holder) if holder.speaking() => {
                now.since(voice.loud_changed()) >= INTERRUPT_AFTER
                    && voice.slow_dbfs() >= holder.slow_dbfs() + INTERRUPT_LOUDER_DB
            }
            Some(_) => now.since(self.since) >= HOLD,
        };
        if passes {
            self.holder = Some(participant.clone());
            self.since = now;
        }
        passes
    }

    /// When the floor can be free for another without news from outside; in the past when it already is.
    pub(crate) fn free_at(&self) -> SessionTime {
        self.since + HOLD
    }
}

/// Louder wins; equally loud (no meter), who has spoken for longer.
fn more_convincing(voice: &Voice, best: &Voice) -> bool {
    voice.slow_dbfs() > best.slow_dbfs() || (voice.slow_dbfs() == best.slow_dbfs() && voice.loud_changed() < best.loud_changed())
}
