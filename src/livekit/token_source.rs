//! Where a fresh access token comes from when a rejoin needs one.
//!
//! In: the need. Out: a token, or that there is none. The other end is held by whoever may ask the supervisor; it never blocks the room's task
//! for longer than five seconds.

use std::time::Duration;

use recorder_core::secret::Secret;
use tokio::sync::{mpsc, oneshot};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One question for a token; answer with `None` when there is none to be had. Dropping it means the same.
pub type TokenRequest = oneshot::Sender<Option<Secret>>;

/// The asking end.
#[derive(Clone)]
pub struct TokenSource(Option<mpsc::Sender<TokenRequest>>);

impl TokenSource {
    /// A source, and the end at which it is asked.
    pub fn new() -> (Self, mpsc::Receiver<TokenRequest>) {
        let (ask, asked) = mpsc::channel(1);
        (Self(Some(ask)), asked)
    }

    /// A source that has no token.
    pub fn none() -> Self {
        Self(None)
    }

    /// Asks for a fresh token.
    pub async fn fresh(&self) -> Option<Secret> {
        let ask = self.0.as_ref()?;
        let (answer, answered) = oneshot::channel();
        let asking = async {
            ask.send(answer).await.ok()?;
            answered.await.ok()?
        };
        tokio::time::timeout(ANSWER_LIMIT, asking).await.ok()?
    }
}
