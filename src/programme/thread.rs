//! What the picture thread and the sound thread have in common: they receive until something is due, obey, and do it.
//!
//! In: frames off a lane, and orders of the handle. Out: nothing of its own; a failure is told as the last thing. Runs on the thread that it is for,
//! which ends when the handle is dropped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use recorder_core::ids::ParticipantId;
use recorder_core::scene::Scene;
use recorder_core::time::SessionTime;
use tokio::sync::mpsc;

use super::assemble::Assembler;
use super::grid::Grid;
use super::intake::receive_until;
use super::maker::{Counts, ProgrammeEvent, ProgrammeSettings, encoder_fault, report_failure};
use crate::clock::SessionClock;
use crate::graph::GraphError;
use crate::media::MediaFrame;
use crate::mixer::picture::Picture;
use crate::mixer::still::Still;

/// How often a thread looks for orders while no programme is made.
pub(super) const IDLE: Duration = Duration::from_millis(5);

/// What a thread is told.
pub(super) enum ThreadOrder {
    Show(Arc<Scene>),
    Begin(Grid, Assembler),
    End(SessionTime),
    Hang(Hanging),
}

/// A still picture, and what it is for.
pub(super) enum Hanging {
    Avatar(ParticipantId, Option<Still>),
    Image(Arc<str>, Still),
    Backdrop(Arc<str>, Picture),
}

/// What a thread knows, and whom it tells.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) settings: ProgrammeSettings,
    pub(super) clock: SessionClock,
    pub(super) events: mpsc::Sender<ProgrammeEvent>,
    pub(super) counts: Arc<Counts>,
}

/// One medium of the programme.
pub(super) trait Half {
    /// Received media of this kind.
    fn accept(&mut self, frame: MediaFrame);
    /// A whole Scene, true from its time on.
    fn show(&mut self, scene: Arc<Scene>);
    /// Begins the programme.
    fn begin(&mut self, grid: Grid, assembler: Assembler) -> Result<(), GraphError>;
    /// Nothing from this instant on belongs to the programme.
    fn end(&mut self, at: SessionTime);
    /// A still picture; nothing to somebody who makes sound.
    fn hang(&mut self, hanging: Hanging);
    /// When [`Half::tick`] has something to make; `None` while no programme is made.
    fn due(&self) -> Option<SessionTime>;
    /// Makes what is due.
    fn tick(&mut self) -> Result<(), GraphError>;
}

/// Works until the handle is dropped or the half fails.
pub(super) fn work(mut half: impl Half, post: &Post, frames: &Receiver<MediaFrame>, orders: &Receiver<ThreadOrder>) {
    loop {
        let due = half.due().unwrap_or_else(|| post.clock.now() + IDLE);
        receive_until(due, post.clock, frames, |frame| half.accept(frame));
        if !obey(&mut half, post, orders) {
            return;
        }
        if let Err(error) = half.tick() {
            // What an encoder still holds is lost; whoever waits for its end must not wait for us.
            drop(half);
            return report_failure(&post.events, encoder_fault(&error));
        }
    }
}

/// Follows the orders that have come. False: the handle is gone.
fn obey(half: &mut impl Half, post: &Post, orders: &Receiver<ThreadOrder>) -> bool {
    loop {
        match orders.try_recv() {
            Ok(ThreadOrder::Show(scene)) => half.show(scene),
            Ok(ThreadOrder::Begin(grid, assembler)) => {
                if let Err(error) = half.begin(grid, assembler) {
                    report_failure(&post.events, encoder_fault(&error));
                }
            }
            Ok(ThreadOrder::End(at)) => half.end(at),
            Ok(ThreadOrder::Hang(hanging)) => half.hang(hanging),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}
