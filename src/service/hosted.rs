//! One Session of a service, from its claim on disk to its end.
//!
//! In: what the host knows of it. Out: how it ended. One task a Session. The order of things is that of the claims: the room is ours at the broker, then the
//! claim is on disk, then the command is acknowledged; so a command is lost by no crash. A Session without a claim delivers nothing: it only says why.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recorder_core::claim::{Claim, VERSION};
use recorder_core::fault::Fault;
use recorder_core::ids::SessionId;
use recorder_core::session::Withheld;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::board::SessionEntry;
use super::claims::{self, ClaimError, ClaimFile, ClaimTask, Claims, Noting};
use super::commanded::{CommandedOrder, Former, Word};
use super::door::cannot_note;
use super::host::Terms;
use super::order::{Outcome, Patience, SessionOrder, Snapshot, View};
use super::process::OwnProgram;
use super::steward::RoomSteward;
use super::supervisor;
use crate::clock::SessionClock;
use crate::command::amqp::{self, Ack};

/// A Session that ends so soon after its room was commanded again has perhaps not heard of it.
const UNHEARD: Duration = Duration::from_secs(10);

/// Where it comes from.
pub(super) enum Origin {
    /// A command, which is acknowledged once the Session is claimed; `None`: it is to be served, otherwise it is told this.
    Command(Ack, Option<Fault>),
    /// A process before this one.
    Takeover(ClaimFile, Box<Claim>, Former),
}

/// A Session that is to run.
pub(super) struct Hosted {
    pub(super) origin: Origin,
    pub(super) room: amqp::Claim,
    /// All but its Targets.
    pub(super) order: SessionOrder,
    pub(super) terms: Terms,
    pub(super) withheld: Withheld,
    /// All but where to note.
    pub(super) steward: RoomSteward,
    pub(super) words: mpsc::Receiver<Word>,
    /// For words of its own.
    pub(super) again: mpsc::Sender<Word>,
    pub(super) stops: mpsc::Receiver<()>,
    pub(super) clock: SessionClock,
    pub(super) claims: Claims,
    pub(super) worker: Vec<String>,
    pub(super) entry: SessionEntry,
}

/// The claim of a Session, if it has one, and what follows from it.
struct Claimed {
    noted: Option<(Noting, ClaimTask)>,
    folder: Option<PathBuf>,
    withheld: Withheld,
    former: Former,
}

impl Hosted {
    /// Runs it to its end.
    pub(super) async fn run(self) -> Outcome {
        let Self {
            origin,
            mut room,
            mut order,
            terms,
            withheld,
            mut steward,
            words,
            again,
            mut stops,
            clock,
            claims,
            worker,
            mut entry,
        } = self;
        let claimed = claim(origin, room.room().clone(), order.course.session.clone(), withheld, clock, claims).await;
        if let Some((noting, task)) = claimed.noted {
            steward.noting = Some(noting);
            let busy = steward.busy.clone();
            // Ends with the Session's noting, and not with this task.
            let keeping = async move {
                task.run().await;
                drop(busy);
            };
            tokio::spawn(keeping.in_current_span());
        }
        order.commanded = Some(CommandedOrder {
            consent: terms.consent,
            signaling_grace: terms.signaling_grace,
            reconnect_grace: terms.reconnect_grace,
            delivery_grace: terms.delivery_grace,
            withheld: claimed.withheld,
            former: claimed.former,
            claim: claimed.folder,
            steward: Box::new(steward),
            words,
        });
        let (mut launcher, mut view) = (OwnProgram { arguments: worker }, Log);
        let now: super::order::Clock = Arc::new(move || clock.now());
        let session = supervisor::run(order, &mut launcher, &mut stops, &mut view, &mut entry, now, Patience::default());
        tokio::pin!(session);
        let mut commanded_again: Option<Instant> = None;
        loop {
            tokio::select! {
                outcome = &mut session => {
                    // The worker may have been on its way out when it was told. Whoever gets the command in vain joins, sees that nothing is wanted, and leaves.
                    if commanded_again.is_some_and(|at| at.elapsed() < UNHEARD) {
                        room.leave_command();
                    }
                    return outcome;
                }
                () = room.commanded_again() => {
                    commanded_again = Some(Instant::now());
                    // One that is not heard yet says the same.
                    drop(again.try_send(Word::OrderedAgain));
                }
            }
        }
    }
}

async fn claim(
    origin: Origin,
    room: amqp::Room,
    session: SessionId,
    withheld: Withheld,
    clock: SessionClock,
    claims: Claims,
) -> Claimed {
    let (file, claim, former) = match origin {
        Origin::Takeover(file, claim, former) => (file, *claim, former),
        Origin::Command(ack, Some(why)) => {
            ack.taken();
            return Claimed { noted: None, folder: None, withheld: Withheld::Everything(why), former: Former::default() };
        }
        Origin::Command(ack, None) => {
            let claim = Claim {
                version: VERSION,
                session: session.clone(),
                room: room.room,
                breakout: room.breakout,
                epoch_ns: clock.epoch_ns(),
                alive: claims::alive(clock),
                targets: None,
            };
            let made = make(claims, claim).await;
            // Also one that cannot be noted is answered here: other services would find the room taken by us.
            ack.taken();
            match made {
                Ok((file, claim)) => (file, claim, Former::default()),
                Err(error) => {
                    tracing::error!(session.id = %session, %error, "an order is refused, because it cannot be noted");
                    let withheld = Withheld::Everything(cannot_note());
                    return Claimed { noted: None, folder: None, withheld, former: Former::default() };
                }
            }
        }
    };
    let folder = Some(file.folder().to_owned());
    Claimed { noted: Some(Noting::new(file, claim, clock)), folder, withheld, former }
}

async fn make(claims: Claims, claim: Claim) -> Result<(ClaimFile, Claim), ClaimError> {
    let making = tokio::task::spawn_blocking(move || claims.make(&claim).map(|file| (file, claim))).await;
    making.unwrap_or_else(|broken| Err(ClaimError::Broken(broken)))
}

/// Tells the log.
struct Log;

impl View for Log {
    fn progress(&mut self, _: &Snapshot) {}

    fn tell(&mut self, fault: &Fault) {
        tracing::warn!(reason = %fault, "trouble in a session");
    }

    fn live(&mut self, _: &recorder_core::ids::TargetId, _: &recorder_core::live::LiveState) {}
}
