//! The end of a Session, as its supervisor sees it.

use recorder_core::fault::Fault;
use recorder_core::time::SessionTime;

use super::{Outcome, Session};
use crate::service::commanded::Commanded;
use crate::storage::books::Closing;

impl Session<'_> {
    /// Nothing more is done for it but what goes on by itself.
    pub(super) async fn finish(mut self, fault: Option<Fault>) -> Outcome {
        let now = (self.clock)();
        let books = &mut self.books;
        self.commanded.take().into_iter().for_each(|commanded: Commanded| commanded.over(books, now));
        // Of recordings that were ordered: whoever ends their files finds the books complete.
        let closing = books.close_all(now);
        let closed = tokio::task::spawn_blocking(move || closing.into_iter().for_each(Closing::wait));
        if tokio::time::timeout(self.patience.exit, closed).await.is_err() {
            tracing::warn!("the books of the recordings are not on the disk yet; going on without them");
        }
        self.outcome.fault = fault;
        self.outcome.peak_memory_bytes = self.memory.bytes();
        self.outcome.recorded = self.recorded();
        self.outcome.last.recorded = self.outcome.recorded;
        self.outcome.last.cpu = self.outcome.cpu;
        self.outcome.last.elapsed = (self.clock)().since(SessionTime::ZERO);
        self.entry.ended(&self.outcome);
        self.outcome
    }
}
