//! What a Session is to do, and how long it waits for what.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::conference::Delivery;
use crate::fault::Fault;
use crate::ids::{TakeId, TargetId};
use crate::layout::{Dress, Layout};
use crate::scene::CanvasSize;
use crate::stage::ConsentRule;
use crate::supervision::Caution;
use crate::target::Target;

/// How one Rendition shows the people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Framing {
    /// Its size.
    pub canvas: CanvasSize,
    /// Who stands where in it, when that is not as in the others.
    pub layout: Option<Layout>,
}

/// What a Session is to do. [`SessionSettings::new`] gives the defaults of everything that need not be said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionSettings {
    /// Who stands where, in the Renditions that have no layout of their own.
    pub layout: Layout,
    /// How the programme looks beside that.
    pub dress: Dress,
    /// The Renditions: each has a Scene of its own, in this order.
    pub renditions: Vec<Framing>,
    /// What is to be delivered. With none the Session only watches, until something else ends it.
    pub targets: Vec<TargetId>,
    /// The Take to begin with: above 1 for a worker that goes on after another one.
    pub first_take: TakeId,
    /// End by itself when this worker's Take is this long. For a worker that goes on after another one: what is left.
    pub duration: Option<Duration>,
    /// End by itself at this session time, whatever happens (12 h).
    pub max_duration: Duration,
    /// End when nobody but us has been in the room for this long (60 s).
    pub room_empty_grace: Duration,
    /// Give up when we have been outside the Conference for this long, at the beginning or in the middle (60 s).
    pub conference_grace: Duration,
    /// After the end of a Take stay for this long, so that the last word arrives; the mixer's delay (500 ms).
    pub mixer_delay: Duration,
    /// Wait this long for a Target to close its Take (60 s).
    pub target_grace: Duration,
    /// Wait this long for the Conference to let us go (2 s).
    pub leave_grace: Duration,
    /// What must be left out after earlier workers died.
    pub caution: Caution,
    /// Who may be recorded.
    pub consent: ConsentRule,
    /// Where people are asked: with nobody able to withdraw, what still comes is kept for so long (3 s).
    pub signaling_grace: Duration,
    /// Set when moderators in the room command Targets.
    pub commanded: Option<Commanded>,
}

/// How a Session goes on whose Targets are commanded in the room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commanded {
    /// A live destination that was lost may come back for so long; then it has failed, until a moderator wants it again (60 s).
    pub reconnect_grace: Duration,
    /// We stay for so long to tell whether what was recorded could be stored (60 s).
    pub delivery_grace: Duration,
    /// We stay for so long after telling that something failed, because everything is shown as inactive when we leave (10 s).
    pub error_shown: Duration,
    /// What is not delivered at the beginning.
    pub withheld: Withheld,
    /// What an earlier worker of the Session was at.
    pub resumed: Vec<Resumed>,
}

impl Default for Commanded {
    fn default() -> Self {
        Self {
            reconnect_grace: Duration::from_secs(60),
            delivery_grace: Duration::from_secs(60),
            error_shown: Duration::from_secs(10),
            withheld: Withheld::Nothing,
            resumed: Vec::new(),
        }
    }
}

/// What is not delivered although moderators want it, and what they are told about it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// Everything is delivered.
    #[default]
    Nothing,
    /// No recording: there is no space for one.
    Recordings(Fault),
    /// Nothing is delivered.
    Everything(Fault),
}

impl Withheld {
    /// Why this is not delivered.
    pub(super) fn reason(&self, delivery: &Delivery) -> Option<&Fault> {
        match (self, delivery) {
            (Self::Everything(fault), _) | (Self::Recordings(fault), Delivery::Recording) => Some(fault),
            (Self::Recordings(_), Delivery::Live { .. }) | (Self::Nothing, _) => None,
        }
    }
}

/// A Target that an earlier worker of the Session served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resumed {
    /// Which.
    pub target: TargetId,
    /// What.
    pub delivery: Delivery,
    /// Which of its deliveries.
    pub run: u32,
    /// The Take that comes next.
    pub next: TakeId,
    /// A moderator has paused it.
    pub paused: bool,
}

impl Resumed {
    pub(super) fn target(&self) -> Target {
        Target::resumed(self.target.clone(), self.delivery.clone(), self.run, self.next, self.paused)
    }
}

impl SessionSettings {
    /// The defaults for these necessities.
    pub fn new(layout: Layout, renditions: Vec<Framing>, targets: Vec<TargetId>) -> Self {
        Self {
            layout,
            dress: Dress::default(),
            renditions,
            targets,
            first_take: TakeId(1),
            duration: None,
            max_duration: Duration::from_secs(12 * 3600),
            room_empty_grace: Duration::from_secs(60),
            conference_grace: Duration::from_secs(60),
            mixer_delay: Duration::from_millis(500),
            target_grace: Duration::from_secs(60),
            leave_grace: Duration::from_secs(2),
            caution: Caution::None,
            consent: ConsentRule::NotAsked,
            signaling_grace: Duration::from_secs(3),
            commanded: None,
        }
    }
}
