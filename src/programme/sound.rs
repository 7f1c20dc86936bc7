//! The sound thread: decodes what it receives, mixes block after block, feeds the sound encoder.
//!
//! A block is one AAC frame of samples, so that packets and blocks have the same times. It runs before everything else on a full machine: sound is never
//! dropped; a block that is mixed late is only counted.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use recorder_core::scene::Scenes;
use recorder_core::time::SessionTime;

use super::assemble::{AAC_FRAME_SAMPLES, Assembler, CHANNELS};
use super::grid::Grid;
use super::maker::ProgrammeEvent;
use super::thread::{Beginning, Half, Hanging, Post, Where};
use crate::graph::{GraphError, SoundEncoder};
use crate::media::MediaFrame;
use crate::mixer::sound::{SoundMixer, SoundSettings};

/// Blocks between two reports of levels: about a tenth of a second.
const LEVELS_EVERY: u64 = 5;
/// A block that is mixed so late is counted.
const LATE: Duration = Duration::from_millis(100);

pub(super) struct SoundThread {
    post: Post,
    mixer: SoundMixer,
    making: Option<Making>,
}

struct Making {
    grid: Grid,
    /// One for each rate.
    encoders: Vec<SoundEncoder>,
    /// Samples handed to the encoder.
    done: u64,
    /// Samples of the whole programme, once its end is known.
    end: Option<u64>,
    finished: bool,
    block: Vec<f32>,
}

impl SoundThread {
    pub(super) fn new(post: Post) -> Self {
        let settings = SoundSettings { level: post.settings.level, ..SoundSettings::default() };
        Self { post, mixer: SoundMixer::new(settings), making: None }
    }
}

impl Half for SoundThread {
    fn accept(&mut self, frame: MediaFrame) {
        self.mixer.offer(frame);
    }

    /// All Renditions sound the same.
    fn show(&mut self, scenes: Scenes) {
        if let Some(scene) = scenes.first() {
            self.mixer.show(scene.clone());
        }
    }

    fn begin(&mut self, beginnings: Vec<Beginning>) -> Result<(), GraphError> {
        let Some(grid) = beginnings.first().map(|first| first.grid) else { return Ok(()) };
        let mut by_rate: BTreeMap<u32, Vec<Assembler>> = BTreeMap::new();
        for (settings, Beginning { assembler, .. }) in self.post.settings.renditions.iter().zip(beginnings) {
            by_rate.entry(settings.sound_kbps).or_default().push(assembler);
        }
        let encoder = |(kbps, assemblers): (u32, Vec<Assembler>)| {
            SoundEncoder::start(CHANNELS, kbps, move |packet| {
                assemblers.iter().for_each(|assembler| assembler.sound(packet.clone()));
            })
        };
        let encoders = by_rate.into_iter().map(encoder).collect::<Result<_, _>>()?;
        let block = vec![0.0; AAC_FRAME_SAMPLES as usize * usize::from(CHANNELS)];
        self.making = Some(Making { grid, encoders, done: 0, end: None, finished: false, block });
        Ok(())
    }

    fn end(&mut self, at: SessionTime) {
        if let Some(making) = &mut self.making {
            making.end = Some(making.grid.samples_before(at));
        }
    }

    fn keyframe(&mut self, _: SessionTime) {}

    /// Sound goes on: with nobody to hear it costs next to nothing, AAC stays on its grid, and streams that show the slate count time by it.
    fn rest(&mut self, _: SessionTime) {}

    fn hang(&mut self, _: Where, _: Hanging) {}

    fn due(&self) -> Option<SessionTime> {
        let making = self.making.as_ref().filter(|making| !making.finished)?;
        Some(making.grid.sample(making.done as i64) + self.post.settings.delay)
    }

    fn tick(&mut self) -> Result<(), GraphError> {
        let Some(making) = &mut self.making else { return Ok(()) };
        let at = making.grid.sample(making.done as i64);
        let now = self.post.clock.now();
        if making.finished || at + self.post.settings.delay > now {
            return Ok(());
        }
        if making.end.is_some_and(|end| making.done >= end) {
            making.encoders.iter().for_each(SoundEncoder::finish);
            // The graph is kept until the thread ends, so that the encoder can hand out what it has.
            making.finished = true;
            return Ok(());
        }
        if now.since(at + self.post.settings.delay) > LATE {
            self.post.counts.late_sound.fetch_add(1, Ordering::Relaxed);
        }
        self.mixer.mix(at, &mut making.block);
        for encoder in &making.encoders {
            encoder.push(&making.block, making.done, CHANNELS)?;
        }
        making.done += AAC_FRAME_SAMPLES;
        if (making.done / AAC_FRAME_SAMPLES).is_multiple_of(LEVELS_EVERY) {
            let _ = self.post.events.try_send(ProgrammeEvent::Levels(self.mixer.levels()));
        }
        match making.encoders.iter().find_map(SoundEncoder::poll_fault) {
            Some(fault) => {
                tracing::error!(element = fault.element, message = fault.message, "the sound encoder broke");
                Err(GraphError::Flow(fault.graph))
            }
            None => Ok(()),
        }
    }
}
