//! What a Session in an OpenTalk room needs from outside: tickets by the service's identity, places for recordings, streams that nobody else uses.
//!
//! In: wishes of the supervisor's Sessions. Out: answers, later. Runs as tasks on the supervisor's runtime. It decides nothing about the Session.

use jiff::Timestamp;
use recorder_core::claim::ClaimedTarget;
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::SessionId;
use recorder_core::secret::Secret;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use super::claims::Noting;
use super::commanded::{Admitted, Kept, Later, Steward, Wanted};
use super::job::WantedTarget;
use super::keeping::{Keeping, Naming};
use crate::conference::opentalk::controller::Controller;
use crate::conference::opentalk::start::{StartError, StartRoom};
use crate::identity::{Identity, Refusal};
use crate::storage::books::Closing;
use crate::target::claim::Claims;
use crate::target::rtmp::Destination;

/// Says that somebody still works, for as long as it is held.
pub type Busy = mpsc::Sender<()>;

/// The Steward of one OpenTalk room.
pub struct RoomSteward {
    /// Who we are.
    pub identity: Identity,
    /// Where the room is.
    pub controller: Controller,
    /// Which room.
    pub room: StartRoom,
    /// Where recordings go.
    pub keeping: Keeping,
    /// Held by everything that must be done before the process ends.
    pub busy: Busy,
    /// Where it is noted what the Session is at; none for one at which there is nothing to note.
    pub noting: Option<Noting>,
}

impl Steward for RoomSteward {
    fn ticket(&mut self) -> Later<Result<Secret, Fault>> {
        let (identity, controller, room) = (self.identity.clone(), self.controller.clone(), self.room.clone());
        Box::pin(async move {
            let token = identity.token().await?;
            match controller.start(&token, &room).await {
                Err(StartError::TokenRefused) => match identity.refused(&token).await {
                    Refusal::Final(fault) => Err(fault),
                    Refusal::TryAnother => {
                        let token = identity.token().await?;
                        controller.start(&token, &room).await.map_err(|error| error.fault())
                    }
                },
                answer => answer.map_err(|error| error.fault()),
            }
        })
    }

    fn admit(&mut self, wanted: Wanted) -> Later<Result<Admitted, Fault>> {
        match wanted.what {
            WantedTarget::Recording => {
                let keeping = self.keeping.clone();
                // Each recording of a Session has a folder of its own.
                let session = match wanted.run {
                    1 => wanted.session,
                    run => SessionId::new(format!("{}-{run}", wanted.session)),
                };
                let naming = Naming { session, room: self.room.room.clone(), start: Timestamp::now() };
                Box::pin(async move { keeping.open(naming).await.map(Admitted::Recording) })
            }
            WantedTarget::Live { location } => Box::pin(async move {
                let claimed = tokio::task::spawn_blocking(move || claim(&location)).await;
                claimed.unwrap_or_else(|_| Err(fault(Blame::Us, "The stream cannot begin, because of a defect of Roomcast.")))
            }),
        }
    }

    fn deliver(&mut self, recording: Kept, books: Option<Closing>) -> Later<Option<Fault>> {
        let (news, told) = oneshot::channel();
        let (keeping, busy) = (self.keeping.clone(), self.busy.clone());
        // Begun now, and done whoever waits for it.
        let delivering = async move {
            keeping.deliver(recording, books, news).await;
            drop(busy);
        };
        tokio::spawn(delivering.in_current_span());
        Box::pin(async move { told.await.unwrap_or(None) })
    }

    fn note(&mut self, targets: Vec<ClaimedTarget>) {
        if let Some(noting) = &self.noting {
            noting.note(targets);
        }
    }
}

fn claim(location: &Secret) -> Result<Admitted, Fault> {
    let destination =
        Destination::at(location).map_err(|error| fault(Blame::Destination, &format!("The stream cannot begin: {error}.")))?;
    let claims = Claims::open().map_err(|_| fault(Blame::Operator, "The service cannot keep note of the streams in use."))?;
    match claims.take(&destination) {
        Ok(Some(claim)) => Ok(Admitted::Live(claim)),
        Ok(None) => Err(fault(Blame::Destination, "Another meeting streams to this address with this key at the moment.")),
        Err(_) => Err(fault(Blame::Operator, "The service cannot keep note of the streams in use.")),
    }
}

fn fault(blame: Blame, sentence: &str) -> Fault {
    Fault { scope: Scope::Target, blame, retry: Retry::Never, sentence: sentence.to_owned() }
}

/// Counts what must be done before the process ends.
#[derive(Debug)]
pub struct Business {
    busy: Busy,
    over: mpsc::Receiver<()>,
}

impl Business {
    /// Nobody works yet.
    pub fn new() -> Self {
        let (busy, over) = mpsc::channel(1);
        Self { busy, over }
    }

    /// One more who works.
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// Waits until nobody works any more.
    pub async fn over(self) {
        let Self { busy, mut over } = self;
        drop(busy);
        // Nothing is ever sent: this ends when the last sender is gone.
        let _: Option<()> = over.recv().await;
    }
}

impl Default for Business {
    fn default() -> Self {
        Self::new()
    }
}
