//! A room that belongs to this service, and what comes for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::Room;

/// This service has the room, and no other one takes commands for it. Dropping it gives the room up.
#[derive(Debug)]
pub struct Claim {
    room: Room,
    again: mpsc::Receiver<()>,
    left: Arc<AtomicBool>,
}

impl Claim {
    /// Which room.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Waits until the room is commanded again, here or at another service. Several commands that nobody has waited for are one. Can be
    /// dropped and called again without losing any.
    pub async fn commanded_again(&mut self) {
        if self.again.recv().await.is_none() {
            // Nobody takes commands any more.
            std::future::pending().await
        }
    }

    /// What was commanded last is for whoever has the room next.
    pub fn leave_command(&mut self) {
        self.left.store(true, Ordering::Release);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Nothing comes in after this; what nobody has waited for is for whoever has the room next.
        self.again.close();
        if self.again.try_recv().is_ok() {
            self.left.store(true, Ordering::Release);
        }
    }
}

/// The other end of a [`Claim`].
#[derive(Clone, Debug)]
pub(super) struct Holding {
    again: mpsc::Sender<()>,
    left: Arc<AtomicBool>,
}

impl Holding {
    pub(super) fn new(room: Room) -> (Self, Claim) {
        let (again, commands) = mpsc::channel(1);
        let left = Arc::new(AtomicBool::new(false));
        (Self { again, left: left.clone() }, Claim { room, again: commands, left })
    }

    /// Tells the owner; `false` when the room was given up.
    pub(super) fn tell(&self) -> bool {
        match self.again.try_send(()) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(())) => true,
            Err(mpsc::error::TrySendError::Closed(())) => false,
        }
    }

    /// Whether the owner gave the room up without having heard of a command.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Whether the owner still has the room.
    pub(super) fn is_held(&self) -> bool {
        !self.again.is_closed()
    }

    /// Returns once the room is given up.
    pub(super) async fn given_up(&self) {
        self.again.closed().await;
    }
}

/// The command itself, which the broker keeps until somebody has taken it.
#[derive(Debug)]
pub struct Ack(oneshot::Sender<()>);

impl Ack {
    pub(super) fn new() -> (Self, oneshot::Receiver<()>) {
        let (ack, taken) = oneshot::channel();
        (Self(ack), taken)
    }

    /// The Order is safe with us: the broker may forget the command. Dropping it instead gives the command back to the queue.
    pub fn taken(self) {
        // The connection may be gone: then the command comes again, and finds the room claimed.
        _ = self.0.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room { room: "0192d8a5-8c2f-7c3e-9b1a-2f4e6d8c0a1b".into(), breakout: None }
    }

    #[tokio::test]
    async fn commands_that_nobody_waited_for_are_one_and_are_left_behind() {
        let (holding, mut claim) = Holding::new(room());
        assert!(holding.tell() && holding.tell());
        claim.commanded_again().await;
        assert!(tokio::time::timeout(std::time::Duration::ZERO, claim.commanded_again()).await.is_err());
        assert!(holding.tell());
        drop(claim);
        holding.given_up().await;
        assert!(holding.has_left());
        assert!(!holding.tell());
    }

    #[tokio::test]
    async fn a_command_that_came_too_late_is_left_behind() {
        let (holding, mut claim) = Holding::new(room());
        assert!(holding.tell());
        claim.commanded_again().await;
        claim.leave_command();
        drop(claim);
        holding.given_up().await;
        assert!(holding.has_left());
    }

    #[tokio::test]
    async fn a_claim_without_commands_leaves_nothing() {
        let (holding, claim) = Holding::new(room());
        drop(claim);
        holding.given_up().await;
        assert!(!holding.has_left());
    }
}
