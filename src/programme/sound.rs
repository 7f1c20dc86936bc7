//! The sound thread: decodes what it receives, mixes block after block, feeds the sound encoder.
//!
//! A block is one AAC frame of samples, so that packets and blocks have the same times. It runs before everything else on a full machine: sound is never
//! dropped; a block that is mixed late is only counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::assemble::{AAC_FRAME_SAMPLES, CHANNELS};
use super::grid::Grid;
use super::intake::receive_until;
use super::maker::{Counts, ProgrammeEvent, ProgrammeSettings, ThreadOrder, encoder_fault, report_failure};
use crate::clock::SessionClock;
use crate::graph::{GraphError, SoundEncoder};
use crate::media::MediaFrame;
use crate::mixer::sound::{SoundMixer, SoundSettings};

/// How often it looks for orders while no programme is made.
const IDLE: Duration = Duration::from_millis(5);
/// Blocks between two reports of levels: about a tenth of a second.
const LEVELS_EVERY: u64 = 5;
/// A block that is mixed so late is counted.
const LATE: Duration = Duration::from_millis(100);

pub(super) struct SoundThread {
    settings: ProgrammeSettings,
    clock: SessionClock,
    frames: Receiver<MediaFrame>,
    orders: Receiver<ThreadOrder>,
    events: mpsc::Sender<ProgrammeEvent>,
    counts: Arc<Counts>,
    mixer: SoundMixer,
    making: Option<Making>,
}

struct Making {
    grid: Grid,
    encoder: SoundEncoder,
    /// Samples handed to the encoder.
    done: u64,
    /// Samples of the whole programme, once its end is known.
    end: Option<u64>,
    finished: bool,
    block: Vec<f32>,
}

impl SoundThread {
    pub(super) fn new(
        settings: ProgrammeSettings,
        clock: SessionClock,
        frames: Receiver<MediaFrame>,
        orders: Receiver<ThreadOrder>,
        events: mpsc::Sender<ProgrammeEvent>,
        counts: Arc<Counts>,
    ) -> Self {
        let mixer = SoundMixer::new(SoundSettings::default());
        Self { settings, clock, frames, orders, events, counts, mixer, making: None }
    }

    pub(super) fn run(mut self) {
        loop {
            self.receive_until_due();
            if !self.obey() {
                return;
            }
            if let Err(error) = self.mix_if_due() {
                self.making = None;
                report_failure(&self.events, encoder_fault(&error));
                return;
            }
        }
    }

    fn receive_until_due(&mut self) {
        let now = self.clock.now();
        let due = match &self.making {
            Some(making) if !making.finished => making.grid.sample(making.done as i64) + self.settings.delay,
            _ => now + IDLE,
        };
        receive_until(due, self.clock, &self.frames, |frame| self.mixer.offer(frame));
    }

    fn obey(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(ThreadOrder::Show(scene)) => self.mixer.show(scene),
                Ok(ThreadOrder::Begin(grid, assembler)) => {
                    match SoundEncoder::start(CHANNELS, self.settings.sound_kbps, move |packet| assembler.sound(packet)) {
                        Ok(encoder) => {
                            let block = vec![0.0; AAC_FRAME_SAMPLES as usize * usize::from(CHANNELS)];
                            self.making = Some(Making { grid, encoder, done: 0, end: None, finished: false, block });
                        }
                        Err(error) => {
                            report_failure(&self.events, encoder_fault(&error));
                        }
                    }
                }
                Ok(ThreadOrder::End(at)) => {
                    if let Some(making) = &mut self.making {
                        making.end = Some(making.grid.samples_before(at));
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn mix_if_due(&mut self) -> Result<(), GraphError> {
        let Some(making) = &mut self.making else { return Ok(()) };
        let at = making.grid.sample(making.done as i64);
        let now = self.clock.now();
        if making.finished || at + self.settings.delay > now {
            return Ok(());
        }
        if making.end.is_some_and(|end| making.done >= end) {
            making.encoder.finish();
            // The graph is kept until the thread ends, so that the encoder can hand out what it has.
            making.finished = true;
            return Ok(());
        }
        if now.since(at + self.settings.delay) > LATE {
            self.counts.late_sound.fetch_add(1, Ordering::Relaxed);
        }
        self.mixer.mix(at, &mut making.block);
        making.encoder.push(&making.block, making.done, CHANNELS)?;
        making.done += AAC_FRAME_SAMPLES;
        if (making.done / AAC_FRAME_SAMPLES).is_multiple_of(LEVELS_EVERY) {
            let _ = self.events.try_send(ProgrammeEvent::Levels(self.mixer.levels()));
        }
        match making.encoder.poll_fault() {
            Some(fault) => {
                tracing::error!(element = fault.element, message = fault.message, "the sound encoder broke");
                Err(GraphError::Flow(fault.graph))
            }
            None => Ok(()),
        }
    }
}
