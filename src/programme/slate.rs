//! The slate of one Rendition, encoded once: what a live destination is sent while it is paused.
//!
//! In: the Scene to draw and the settings of the Rendition. Out: pictures of one whole group, which begins with a keyframe and is repeated for as long as a pause
//! lasts, and one frame of silence. Made on a thread of its own the first time that it is wanted, with the settings of the programme's own
//! encoders, so that the codec headers are the same and no decoder notices. Refuses to move: a clock on it would stand.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use recorder_core::scene::Scene;
use recorder_core::time::SessionTime;

use super::assemble::{AAC_FRAME_SAMPLES, CHANNELS};
use super::maker::{ProgrammeError, RenditionSettings};
use super::rendition::{GOP_SECONDS, video_settings};
use super::stills;
use super::thread::ChosenEncoder;
use crate::graph::{EncodedPacket, EncoderKind, GraphError, SoundEncoder, VideoEncoder, lower_this_thread};
use crate::mixer::video::VideoMixer;
use crate::span::carried;

/// How much lower (in nice values) the thread stands than sound.
const BELOW_SOUND: i32 = 5;
/// Frames of silence that are encoded, of which the last whole one is kept: by then the encoder has nothing of its beginning left.
const SILENT_FRAMES: u64 = 8;
/// An encoder that takes longer has broken.
const LONGEST: Duration = Duration::from_secs(30);

/// An encoded slate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slate {
    /// H.264 pictures of one whole group; the first is a keyframe.
    pub pictures: Vec<Arc<[u8]>>,
    /// One AAC frame of silence.
    pub silence: Arc<[u8]>,
    /// AVCDecoderConfigurationRecord of the pictures.
    pub avc_config: Arc<[u8]>,
    /// AudioSpecificConfig of the silence.
    pub aac_config: Arc<[u8]>,
}

/// Why there is no slate.
#[derive(Debug, thiserror::Error)]
enum SlateError {
    #[error(transparent)]
    Programme(#[from] ProgrammeError),
    #[error("the encoder gives nothing")]
    Nothing,
}

impl From<GraphError> for SlateError {
    fn from(error: GraphError) -> Self {
        Self::Programme(error.into())
    }
}

impl Slate {
    /// Draws and encodes a Scene. Takes some tenths of a second.
    fn encode(settings: RenditionSettings, fps: u32, by: EncoderKind, scene: Scene) -> Result<Self, SlateError> {
        let canvas = draw(settings, scene)?;
        let (told, pictures) = channel();
        let encoder = VideoEncoder::start(video_settings(settings, fps, by), move |packet| drop(told.send(packet)))?;
        for n in 0..u64::from(fps * GOP_SECONDS) {
            encoder.push(&canvas, n * 1_000_000_000 / u64::from(fps))?;
        }
        encoder.finish();
        let pictures = all(&pictures)?;
        let (told, sounds) = channel();
        let encoder = SoundEncoder::start(CHANNELS, settings.sound_kbps, move |packet| drop(told.send(packet)))?;
        let block = vec![0.0; AAC_FRAME_SAMPLES as usize * usize::from(CHANNELS)];
        for n in 0..SILENT_FRAMES {
            encoder.push(&block, n * AAC_FRAME_SAMPLES, CHANNELS)?;
        }
        encoder.finish();
        let sounds = all(&sounds)?;
        let config =
            |packets: &[EncodedPacket]| packets.first().and_then(|first| first.config.clone()).ok_or(SlateError::Nothing);
        let silence = sounds.get(SILENT_FRAMES as usize - 1).ok_or(SlateError::Nothing)?;
        Ok(Self {
            avc_config: config(&pictures)?,
            aac_config: config(&sounds)?,
            silence: silence.data.clone(),
            pictures: pictures.into_iter().map(|packet| packet.data).collect(),
        })
    }
}

fn draw(settings: RenditionSettings, scene: Scene) -> Result<Arc<[u8]>, SlateError> {
    let mut mixer = VideoMixer::new(settings.canvas, 1).map_err(ProgrammeError::from)?;
    let scene = Arc::new(Scene { from: SessionTime::ZERO, ..scene });
    mixer.show(scene.clone());
    // Pictures that a Scene names are kept once it is drawn.
    mixer.draw(SessionTime::ZERO);
    stills::hang_all(&scene, settings.canvas, &mut mixer);
    Ok(mixer.draw(SessionTime::from_millis(1)).i420.into())
}

/// Everything that an encoder makes.
fn all(packets: &Receiver<Option<EncodedPacket>>) -> Result<Vec<EncodedPacket>, SlateError> {
    let deadline = Instant::now() + LONGEST;
    let mut all = Vec::new();
    loop {
        match packets.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Some(packet)) => all.push(packet),
            Ok(None) => return Ok(all),
            Err(_) => return Err(SlateError::Nothing),
        }
    }
}

/// What came of waiting for a slate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// This.
    Here(Arc<Slate>),
    /// It is being made, or nobody has wanted it.
    NotYet,
    /// There will be none.
    Impossible,
}

/// Where the slate of a Rendition is to be had. Cheap to clone.
#[derive(Clone, Default)]
pub struct SlateSource {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The only lock; held for a few instructions at a time.
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Unwanted,
    Making,
    Made(Arc<Slate>),
    /// It cannot be made; that was logged.
    Impossible,
}

impl SlateSource {
    /// One that is there already.
    #[cfg(test)]
    pub(crate) fn of(slate: Slate) -> Self {
        let source = Self::default();
        source.put(slate);
        source
    }

    /// It is there now.
    #[cfg(test)]
    pub(crate) fn put(&self, slate: Slate) {
        self.shared.put(State::Made(Arc::new(slate)));
    }

    /// Has the slate made, the first time that this is called, by the encoder of the programme. Does not wait.
    pub(super) fn prepare(
        &self,
        settings: RenditionSettings,
        fps: u32,
        by: &ChosenEncoder,
        scene: impl FnOnce() -> Option<Scene>,
    ) {
        {
            let mut state = self.shared.lock();
            if !matches!(*state, State::Unwanted) {
                return;
            }
            *state = State::Making;
        }
        let Some(scene) = scene() else { return self.shared.put(State::Impossible) };
        let (shared, by) = (self.shared.clone(), by.clone());
        let work = carried(move || {
            lower_this_thread(BELOW_SOUND);
            let by = *by.wait();
            let began = Instant::now();
            match Slate::encode(settings, fps, by, scene) {
                Ok(slate) => {
                    tracing::debug!(
                        took_ms = began.elapsed().as_millis(),
                        pictures = slate.pictures.len(),
                        "the slate is encoded"
                    );
                    shared.put(State::Made(Arc::new(slate)));
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "there is no slate: a paused stream gets nothing");
                    shared.put(State::Impossible);
                }
            }
        });
        if let Err(error) = std::thread::Builder::new().name("slate".into()).spawn(work) {
            tracing::error!(%error, "there is no slate: a paused stream gets nothing");
            self.shared.put(State::Impossible);
        }
    }

    /// The slate, waiting for it at most for `wait`.
    pub fn wait(&self, wait: Duration) -> Awaited {
        let is_missing = |state: &mut State| matches!(state, State::Unwanted | State::Making);
        let state = self.shared.lock();
        let state = self.shared.news.wait_timeout_while(state, wait, is_missing);
        match &*state.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state) {
            State::Made(slate) => Awaited::Here(slate.clone()),
            State::Unwanted | State::Making => Awaited::NotYet,
            State::Impossible => Awaited::Impossible,
        }
    }
}

impl Shared {
    fn put(&self, state: State) {
        *self.lock() = state;
        self.news.notify_all();
    }

    /// The state is whole after every statement, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "slate_tests.rs"]
mod tests;
