//! Where a ticket for the controller's signaling comes from.
//!
//! In: the need for one. Out: a ticket, or the Fault that says whether asking again can help. The other end is held by whoever may ask the
//! supervisor. A ticket opens signaling once, within 30 s, and each belongs to a new participant: none is asked for before it is needed.

use std::time::Duration;

use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::secret::Secret;
use tokio::sync::{mpsc, oneshot};

/// How long an answer may take: a new access token and a start, each with their own limits.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// One question for a ticket. Dropping it means that nobody can ask at the moment.
pub type TicketRequest = oneshot::Sender<Result<Secret, Fault>>;

/// The asking end.
#[derive(Clone)]
pub struct TicketSource(mpsc::Sender<TicketRequest>);

impl TicketSource {
    /// A source, and the end at which it is asked.
    pub fn new() -> (Self, mpsc::Receiver<TicketRequest>) {
        let (ask, requests) = mpsc::channel(1);
        (Self(ask), requests)
    }

    /// Asks for a ticket.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(&self) -> Result<Secret, Fault> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.0.send(answer).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(ANSWER_LIMIT, asking).await.ok().flatten().unwrap_or_else(|| {
            let sentence = "There is no ticket for the OpenTalk room at the moment.".into();
            let retry = Retry::After(Duration::from_secs(1));
            Err(Fault { scope: Scope::Session, blame: Blame::Us, retry, sentence })
        })
    }
}
