//! Where a fresh access token comes from when a rejoin needs one.
//!
//! In: the need, and the tokens that the server itself refreshes. Out: a token, or that there is none. The other end is held by whoever may ask
//! the supervisor; it never blocks the room's task for longer than five seconds. A refreshed token that nobody has taken is replaced by a newer one.

use std::time::Duration;

use recorder_core::secret::Secret;
use tokio::sync::{mpsc, oneshot, watch};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One question for a token; answer with `None` when there is none to be had. Dropping it means the same.
pub type TokenRequest = oneshot::Sender<Option<Secret>>;

/// The asking end.
#[derive(Clone)]
pub struct TokenSource(Option<Asking>);

#[derive(Clone)]
struct Asking {
    ask: mpsc::Sender<TokenRequest>,
    refreshed: watch::Sender<Option<Secret>>,
}

/// The answering end.
pub struct TokenDesk {
    /// The questions.
    pub requests: mpsc::Receiver<TokenRequest>,
    /// The newest token that the server gave by itself, to be kept for whoever comes after this process.
    pub refreshed: watch::Receiver<Option<Secret>>,
}

impl TokenSource {
    /// A source, and the end at which it is asked.
    pub fn new() -> (Self, TokenDesk) {
        let (ask, requests) = mpsc::channel(1);
        let (refreshed, newest) = watch::channel(None);
        (Self(Some(Asking { ask, refreshed })), TokenDesk { requests, refreshed: newest })
    }

    /// A source that has no token.
    pub fn none() -> Self {
        Self(None)
    }

    /// The server has given this token.
    pub fn refreshed(&self, token: &Secret) {
        if let Some(asking) = &self.0 {
            asking.refreshed.send_replace(Some(token.clone()));
        }
    }

    /// Asks for a fresh token.
    pub async fn fresh(&self) -> Option<Secret> {
        let ask = &self.0.as_ref()?.ask;
        let (answer, answered) = oneshot::channel();
        let asking = async {
            ask.send(answer).await.ok()?;
            answered.await.ok()?
        };
        tokio::time::timeout(ANSWER_LIMIT, asking).await.ok()?
    }
}
