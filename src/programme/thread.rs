//! What the picture thread and the sound thread have in common: they receive until something is due, obey, and do it.
//!
//! In: frames off a lane, and orders of the handle. Out: nothing of its own; a failure is told as the last thing. Runs on the thread that it is for,
//! which ends when the handle is dropped.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use recorder_core::ids::ParticipantId;
use recorder_core::scene::Scenes;
use recorder_core::time::SessionTime;
use tokio::sync::mpsc;

use super::assemble::Assembler;
use super::grid::Grid;
use super::intake::receive_until;
use super::maker::{Counts, ProgrammeEvent, ProgrammeSettings, encoder_fault, report_failure};
use crate::clock::SessionClock;
use crate::graph::{EncoderKind, GraphError};
use crate::media::MediaFrame;
use crate::mixer::picture::Picture;
use crate::mixer::still::Still;

/// How often a thread looks for orders while no programme is made.
pub(super) const IDLE: Duration = Duration::from_millis(5);

/// What a thread is told.
pub(super) enum ThreadOrder {
    Show(Scenes),
    Begin(Vec<Beginning>),
    /// The first picture at or after this instant is a keyframe.
    Keyframe(SessionTime),
    /// Nothing is wanted from this instant on, until the next keyframe.
    Rest(SessionTime),
    End(SessionTime),
    Hang(Where, Hanging),
}

/// For which Renditions something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Where {
    Everywhere,
    /// Counted from zero.
    Rendition(usize),
}

/// A still picture, and what it is for.
#[derive(Clone)]
pub(super) enum Hanging {
    Avatar(ParticipantId, Option<Still>),
    Image(Arc<str>, Still),
    Backdrop(Arc<str>, Picture),
}

/// Where a Rendition begins, and who takes what its encoders make.
#[derive(Clone)]
pub(super) struct Beginning {
    pub(super) grid: Grid,
    pub(super) assembler: Assembler,
}

/// What a thread knows, and whom it tells.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) settings: ProgrammeSettings,
    pub(super) clock: SessionClock,
    pub(super) events: mpsc::Sender<ProgrammeEvent>,
    pub(super) counts: Arc<Counts>,
    pub(super) encoder: ChosenEncoder,
}

/// Who encodes the pictures: known as soon as the picture thread has seen that it can.
pub(super) type ChosenEncoder = Arc<OnceLock<EncoderKind>>;

/// One medium of the programme.
pub(super) trait Half {
    /// Received media of this kind.
    fn accept(&mut self, frame: MediaFrame);
    /// Whole Scenes, one for each Rendition, all true from the same time on.
    fn show(&mut self, scenes: Scenes);
    /// Begins the programme in each Rendition, all at the same instant and rate.
    fn begin(&mut self, beginnings: Vec<Beginning>) -> Result<(), GraphError>;
    /// The first picture at or after this instant is a keyframe; nothing to somebody who makes sound.
    fn keyframe(&mut self, at: SessionTime);
    /// Nobody wants anything of this instant or later, until the next keyframe.
    fn rest(&mut self, at: SessionTime);
    /// Nothing from this instant on belongs to the programme.
    fn end(&mut self, at: SessionTime);
    /// A still picture; nothing to somebody who makes sound.
    fn hang(&mut self, place: Where, hanging: Hanging);
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
            Ok(ThreadOrder::Show(scenes)) => half.show(scenes),
            Ok(ThreadOrder::Begin(beginnings)) => {
                if let Err(error) = half.begin(beginnings) {
                    report_failure(&post.events, encoder_fault(&error));
                }
            }
            Ok(ThreadOrder::Keyframe(at)) => half.keyframe(at),
            Ok(ThreadOrder::Rest(at)) => half.rest(at),
            Ok(ThreadOrder::End(at)) => half.end(at),
            Ok(ThreadOrder::Hang(place, hanging)) => half.hang(place, hanging),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}
