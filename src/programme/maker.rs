//! Makes the Programme: starts the picture and the sound thread, and speaks to both.
//!
//! In: received media, Scenes, the instants at which to begin and to end. Out: packets in the ring, and [`ProgrammeEvent`]s.
//! The handle belongs to the worker's task; nothing here blocks it. The threads end when the handle is dropped.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::{ParticipantId, TrackId};
use recorder_core::scene::{CanvasSize, Scenes};
use recorder_core::time::SessionTime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::assemble::{Assembled, Assembler, SILENT};
use super::grid::Grid;
use super::packet::Stream;
use super::ring::Ring;
use super::stills::StillLoader;
use super::thread::{Beginning, Hanging, Post, ThreadOrder, Where, work};
use super::{pictures, sound};
use crate::clock::SessionClock;
use crate::graph::{self, EncoderWish, GraphError};
use crate::media::MediaSource;
use crate::mixer::sound::LevelSettings;
use crate::mixer::still::Still;
use crate::mixer::video::VideoMixerError;
use crate::span::carried;

/// Size and quality of one encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenditionSettings {
    /// Size of the canvas.
    pub canvas: CanvasSize,
    /// H.264 rate, kbit/s.
    pub video_kbps: u32,
    /// AAC rate of the sound beside them, kbit/s. It is encoded once for all Renditions of the same rate.
    pub sound_kbps: u32,
}

/// Renditions, rate, loudness of the sound, and delay of a Programme.
#[derive(Clone, Debug)]
pub struct ProgrammeSettings {
    /// The encodings, in the order of [`Scenes`]: at least one.
    pub renditions: Arc<[RenditionSettings]>,
    /// Pictures a second, in all of them.
    pub fps: u32,
    /// Who encodes the pictures.
    pub encoder: EncoderWish,
    /// What is made at time T shows the instant T − delay.
    pub delay: Duration,
    /// How loud everybody is made.
    pub level: LevelSettings,
}

/// What the threads tell the Session.
#[derive(Debug)]
pub enum ProgrammeEvent {
    /// A decoder waits for a keyframe of this Track.
    KeyframeWanted(TrackId),
    /// How loud each person is, in dBov; ten times a second.
    Levels(Vec<(ParticipantId, f32)>),
    /// The Tracks whose decoders run, whenever that changes.
    Decoding(Vec<TrackId>),
    /// Every packet up to the end is in the ring, and the ring is closed.
    Ended,
    /// The Programme cannot go on.
    Failed(Fault),
}

/// Why no Programme can be made.
#[derive(Debug, thiserror::Error)]
pub enum ProgrammeError {
    /// The machine lacks elements.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The canvas or the fonts.
    #[error(transparent)]
    Mixer(#[from] VideoMixerError),
    /// The machine refuses a thread.
    #[error("the machine refuses another thread")]
    Thread(#[source] std::io::Error),
}

/// Numbers that the threads count up; read for the status.
#[derive(Debug, Default)]
pub struct Counts {
    /// Pictures handed to the encoder.
    pub pictures: AtomicU64,
    /// Of these, repeated because the machine was too slow.
    pub repeated: AtomicU64,
    /// How far the newest encoded picture is behind its time now, in nanoseconds: the picture thread's own lateness, and what waits for the encoder.
    pub lag_ns: AtomicU64,
    /// Source pictures that were received and decoded but never shown, because a newer one was due.
    pub skipped: AtomicU64,
    /// Sound blocks whose mixing was late.
    pub late_sound: AtomicU64,
}

/// A Programme in the making.
pub struct Programme {
    settings: ProgrammeSettings,
    rings: Vec<Ring>,
    pictures: Sender<ThreadOrder>,
    sound: Sender<ThreadOrder>,
    events: mpsc::Sender<ProgrammeEvent>,
    counts: Arc<Counts>,
    beginnings: OnceLock<Vec<Beginning>>,
    /// One for each Rendition.
    stills: Vec<StillLoader>,
    threads: Vec<JoinHandle<()>>,
}

impl Programme {
    /// Starts both threads; nothing is made before [`Programme::begin`]. Each Rendition has a ring of its own, in the same order.
    ///
    /// # Errors
    /// No more threads. A canvas, fonts or elements that cannot be used are told by [`ProgrammeEvent::Failed`].
    pub fn start(
        settings: ProgrammeSettings,
        clock: SessionClock,
        media: MediaSource,
        rings: Vec<Ring>,
    ) -> Result<(Self, mpsc::Receiver<ProgrammeEvent>), ProgrammeError> {
        let (events, receiver) = mpsc::channel(256);
        let counts = Arc::new(Counts::default());
        let (pictures, picture_orders) = channel();
        let (sound, sound_orders) = channel();
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        // Fonts and GStreamer are loaded on the thread that needs them, while the worker is on its way into the room.
        let post = Post { settings: settings.clone(), clock, events: events.clone(), counts: counts.clone() };
        let of_sound = post.clone();
        let picture_thread = thread("pictures").spawn(carried(move || {
            guarded("pictures", &post.events, || {
                let started = graph::check_all(&graph::templates())
                    .map_err(ProgrammeError::from)
                    .and_then(|()| pictures::PictureThread::new(post.clone()));
                match started {
                    Ok(half) => work(half, &post, &media.video, &picture_orders),
                    Err(error) => report_failure(&post.events, start_fault(&error)),
                }
            });
        }));
        let post = of_sound;
        let sound_thread = thread("sound").spawn(carried(move || {
            guarded("sound", &post.events, || {
                work(sound::SoundThread::new(post.clone()), &post, &media.sound, &sound_orders);
            });
        }));
        let threads = vec![picture_thread.map_err(ProgrammeError::Thread)?, sound_thread.map_err(ProgrammeError::Thread)?];
        let canvases = settings.renditions.iter().map(|rendition| rendition.canvas);
        let stills = canvases
            .enumerate()
            .map(|(index, canvas)| StillLoader::new(canvas, Where::Rendition(index), pictures.clone()))
            .collect();
        let programme = Self { settings, rings, pictures, sound, events, counts, beginnings: OnceLock::new(), stills, threads };
        Ok((programme, receiver))
    }

    /// Whole Scenes, true from their time on. The picture files that they name are read by threads of their own, and shown when they are there.
    pub fn show(&mut self, scenes: &Scenes) {
        self.order(|| ThreadOrder::Show(scenes.clone()));
        self.stills.iter_mut().zip(scenes.iter()).for_each(|(stills, scene)| stills.show(scene));
    }

    /// Shows a person by this picture while there is no camera. Said again whenever a Scene shows somebody who was not in the one before.
    pub fn set_avatar(&self, participant: &ParticipantId, still: Option<Still>) {
        // A thread that has ended has reported why.
        let _ = self.pictures.send(ThreadOrder::Hang(Where::Everywhere, Hanging::Avatar(participant.clone(), still)));
    }

    /// Begins with a picture and a sample at exactly `at`. Once it has begun: the first picture at or after `at` is a keyframe, with which another Take
    /// can begin. It must not be mixed yet.
    pub fn begin(&self, at: SessionTime) {
        let mut began = false;
        let beginnings = self.beginnings.get_or_init(|| {
            began = true;
            let open = Arc::new(AtomicUsize::new(self.rings.len()));
            let renditions = self.settings.renditions.iter().zip(&self.rings);
            renditions.map(|(settings, ring)| self.beginning(settings.canvas, ring.clone(), at, open.clone())).collect()
        });
        if began {
            self.order(|| ThreadOrder::Begin(beginnings.clone()));
        } else {
            self.order(|| ThreadOrder::Keyframe(at));
        }
    }

    /// The end of the last open Rendition is the end of the Programme.
    fn beginning(&self, canvas: CanvasSize, ring: Ring, at: SessionTime, open: Arc<AtomicUsize>) -> Beginning {
        let grid = Grid { canvas, fps: self.settings.fps, first: at };
        let events = self.events.clone();
        let assembler = Assembler::new(ring, grid, move |said| {
            let event = match said {
                Assembled::Ended if open.fetch_sub(1, Ordering::AcqRel) > 1 => return true,
                Assembled::Ended => ProgrammeEvent::Ended,
                Assembled::Silent(stream) => ProgrammeEvent::Failed(silent_fault(stream)),
            };
            // The receiver may be gone, then nobody waits for it.
            !matches!(events.try_send(event), Err(TrySendError::Full(_)))
        });
        Beginning { grid, assembler }
    }

    /// Ends with the last picture before `at`; [`ProgrammeEvent::Ended`] follows when everything is in the ring, about one delay later.
    pub fn end(&self, at: SessionTime) {
        self.order(|| ThreadOrder::End(at));
    }

    /// Numbers for the status.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Bytes that the encoders have made.
    pub fn encoded_bytes(&self) -> u64 {
        self.beginnings.get().map_or(0, |renditions| renditions.iter().map(|rendition| rendition.assembler.made().1).sum())
    }

    /// How far the pictures are behind their time.
    pub fn encoder_lag(&self) -> Duration {
        Duration::from_nanos(self.counts.lag_ns.load(Ordering::Relaxed))
    }

    /// Ends both threads and waits for them; what is not yet encoded is lost.
    pub fn stop(self) {
        let Self { pictures, sound, stills, threads, .. } = self;
        drop((pictures, sound, stills));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a programme thread panicked");
            }
        }
    }

    fn order(&self, order: impl Fn() -> ThreadOrder) {
        // A thread that has ended has reported why.
        let _ = self.pictures.send(order());
        let _ = self.sound.send(order());
    }
}

/// Runs a thread to its end. One that panics is told like one that failed: a Session without pictures or sound must not look alive.
fn guarded(name: &'static str, events: &mpsc::Sender<ProgrammeEvent>, run: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
        report_failure(events, encoder_fault(&GraphError::Flow(name)));
    }
}

/// Tells the last thing that a thread has to say. It may wait for a place among the events, because losing it would leave a Session that
/// records nothing.
pub(super) fn report_failure(events: &mpsc::Sender<ProgrammeEvent>, fault: Fault) {
    // Nobody listens any more: then nobody waits for it either.
    let _ = events.blocking_send(ProgrammeEvent::Failed(fault));
}

/// The Fault of a machine that lacks what the programme needs: another worker would not do better.
fn start_fault(error: &dyn std::error::Error) -> Fault {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        sentence = format!("{sentence}: {source}");
        cause = source.source();
    }
    Fault {
        scope: Scope::Session,
        blame: Blame::Operator,
        retry: Retry::Never,
        sentence: format!("No programme can be made: {sentence}."),
    }
}

/// The Fault of an encoder that broke: a defect of ours or of the machine; a new worker may do better.
pub(super) fn encoder_fault(error: &GraphError) -> Fault {
    if let GraphError::Init(_) | GraphError::Missing(_) = error {
        return start_fault(error);
    }
    Fault {
        scope: Scope::Process,
        blame: Blame::Us,
        retry: Retry::After(Duration::ZERO),
        sentence: format!("The programme cannot be encoded: {error}."),
    }
}

/// The Fault of an encoder that takes everything and gives nothing; a new worker may do better.
fn silent_fault(stream: Stream) -> Fault {
    let encoder = match stream {
        Stream::Video => "picture",
        Stream::Sound => "sound",
    };
    Fault {
        scope: Scope::Process,
        blame: Blame::Us,
        retry: Retry::After(Duration::ZERO),
        sentence: format!(
            "The programme cannot be encoded: the {encoder} encoder has made nothing for {} seconds.",
            SILENT.as_secs()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_is_told() {
        let (events, mut heard) = mpsc::channel(1);
        guarded("pictures", &events, || panic!("a defect"));
        let Ok(ProgrammeEvent::Failed(fault)) = heard.try_recv() else { panic!("nothing was told") };
        assert_eq!((fault.scope, fault.retry), (Scope::Process, Retry::After(Duration::ZERO)));
        guarded("pictures", &events, || ());
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn missing_elements_are_named_and_no_other_worker_is_tried() {
        let fault = encoder_fault(&GraphError::Missing(vec!["x264enc"]));
        assert_eq!((fault.blame, fault.retry), (Blame::Operator, Retry::Never));
        assert_eq!(fault.sentence, "No programme can be made: GStreamer elements are missing: x264enc.");
        assert_eq!(encoder_fault(&GraphError::Flow("encode-h264")).retry, Retry::After(Duration::ZERO));
    }
}
