//! Reads the picture files that Scenes name: logos and backdrops.
//!
//! In: Scenes. Out: pictures in the size of the canvas at most, as orders to the picture thread. Decoding takes as long as a picture of the programme or longer, so it has a
//! thread of its own, which begins with the first file. A file that cannot be used is told once, and left out.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};

use recorder_core::scene::{CanvasSize, Content, Rgb, Scene};

use super::thread::{Hanging, ThreadOrder, Where};
use crate::graph::lower_this_thread;
use crate::mixer::picture::PictureError;
use crate::mixer::still::{Still, StillError, StillLimits};
use crate::mixer::video::VideoMixer;
use crate::span::carried;

/// Files that may wait to be read.
const WAITING: usize = 64;
/// Larger files are refused.
const LARGEST_FILE: u64 = 32 << 20;
/// How much lower (in nice values) the thread stands than sound.
const BELOW_SOUND: i32 = 5;

/// A file that a Scene names, and what for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wanted {
    Image(Arc<str>),
    /// On a ground of this colour.
    Backdrop(Arc<str>, (u8, u8, u8)),
}

/// Why a file is not shown.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("it cannot be read")]
    Unreadable(#[from] std::io::Error),
    #[error("it is larger than {} MiB", LARGEST_FILE >> 20)]
    TooLarge,
    #[error(transparent)]
    Still(#[from] StillError),
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// Knows which files are wanted. The thread ends when it is dropped.
pub(super) struct StillLoader {
    canvas: CanvasSize,
    place: Where,
    pictures: Sender<ThreadOrder>,
    /// What the newest Scene names: the mixer keeps at least that.
    named: BTreeSet<Wanted>,
    queue: Option<SyncSender<Wanted>>,
}

impl StillLoader {
    pub(super) fn new(canvas: CanvasSize, place: Where, pictures: Sender<ThreadOrder>) -> Self {
        Self { canvas, place, pictures, named: BTreeSet::new(), queue: None }
    }

    /// Has the files read that this Scene names and the one before did not. The picture thread must know the Scene already.
    pub(super) fn show(&mut self, scene: &Scene) {
        let named = named(scene);
        for wanted in named.difference(&self.named) {
            if self.queue.is_none() {
                self.queue = start(self.canvas, self.place, self.pictures.clone());
            }
            let taken = self.queue.as_ref().is_some_and(|queue| queue.try_send(wanted.clone()).is_ok());
            if !taken {
                tracing::warn!(file = wanted.path(), "a picture file is not shown: it cannot be read now");
            }
        }
        self.named = named;
    }
}

/// The files that a Scene names.
fn named(scene: &Scene) -> BTreeSet<Wanted> {
    let Rgb(r, g, b) = scene.background;
    let images = scene.ornaments.iter().filter_map(|ornament| match &ornament.content {
        Content::Image { path } => Some(Wanted::Image(path.clone())),
        Content::Plain | Content::Text(_) | Content::Clock { .. } => None,
    });
    let backdrop = scene.backdrop.iter().map(|path| Wanted::Backdrop(path.clone(), (r, g, b)));
    images.chain(backdrop).collect()
}

/// Reads all files that a Scene names, on this thread, and hangs them; the mixer must have drawn the Scene already.
pub(super) fn hang_all(scene: &Scene, canvas: CanvasSize, mixer: &mut VideoMixer) {
    for wanted in named(scene) {
        match read_or_tell(&wanted, canvas) {
            Some(Hanging::Image(path, still)) => mixer.set_image(&path, still),
            Some(Hanging::Backdrop(path, picture)) => mixer.set_backdrop(&path, picture),
            Some(Hanging::Avatar(..)) | None => {}
        }
    }
}

fn start(canvas: CanvasSize, place: Where, pictures: Sender<ThreadOrder>) -> Option<SyncSender<Wanted>> {
    let (queue, files) = sync_channel(WAITING);
    let thread =
        std::thread::Builder::new().name("stills".into()).spawn(carried(move || read_all(canvas, place, &files, &pictures)));
    thread.is_ok().then_some(queue)
}

fn read_all(canvas: CanvasSize, place: Where, files: &Receiver<Wanted>, pictures: &Sender<ThreadOrder>) {
    lower_this_thread(BELOW_SOUND);
    while let Ok(wanted) = files.recv() {
        let Some(hanging) = read_or_tell(&wanted, canvas) else { continue };
        if pictures.send(ThreadOrder::Hang(place, hanging)).is_err() {
            return;
        }
    }
}

fn read_or_tell(wanted: &Wanted, canvas: CanvasSize) -> Option<Hanging> {
    let tell = |error: &FileError| {
        tracing::warn!(file = wanted.path(), error = error as &dyn std::error::Error, "a picture file is not shown");
    };
    read(wanted, canvas).inspect_err(tell).ok()
}

fn read(wanted: &Wanted, canvas: CanvasSize) -> Result<Hanging, FileError> {
    let mut bytes = Vec::new();
    File::open(wanted.path())?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(FileError::TooLarge);
    }
    let still = Still::decode(&bytes, canvas, StillLimits::FILE)?;
    Ok(match wanted {
        Wanted::Image(path) => Hanging::Image(path.clone(), still),
        Wanted::Backdrop(path, (r, g, b)) => Hanging::Backdrop(path.clone(), still.covering(canvas, Rgb(*r, *g, *b))?),
    })
}

impl Wanted {
    fn path(&self) -> &str {
        match self {
            Self::Image(path) | Self::Backdrop(path, _) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use recorder_core::scene::{Align, Ornament, Rect};
    use recorder_core::time::SessionTime;

    use super::*;

    const CANVAS: CanvasSize = CanvasSize { width_px: 64, height_px: 36 };

    fn logo(path: &str) -> Ornament {
        Ornament {
            rect: Rect { x: 0, y: 0, width: 16, height: 16 },
            align: Align::Center,
            content: Content::Image { path: path.into() },
            text_px: 16,
            colour: Rgb(0, 0, 0),
            plate: None,
            lines: 1,
        }
    }

    #[test]
    fn a_file_is_read_when_a_scene_names_it_and_again_when_it_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        image::RgbImage::from_pixel(640, 640, image::Rgb([9, 99, 9])).save(path("wall.png")).unwrap();
        image::RgbImage::from_pixel(32, 16, image::Rgb([9, 99, 9])).save(path("logo.png")).unwrap();
        std::fs::write(path("broken.png"), "no picture").unwrap();
        let (pictures, orders) = channel();
        let mut loader = StillLoader::new(CANVAS, Where::Everywhere, pictures);
        let next = || match orders.recv_timeout(Duration::from_secs(20)) {
            Ok(ThreadOrder::Hang(_, Hanging::Image(path, still))) => (path.to_string(), (still.width(), still.height())),
            Ok(ThreadOrder::Hang(_, Hanging::Backdrop(path, picture))) => (path.to_string(), (picture.width(), picture.height())),
            _ => panic!("no picture comes"),
        };
        let bare = Scene::empty(SessionTime::ZERO, CANVAS, Rgb(0, 0, 0));
        let ornaments = [path("broken.png"), path("missing.png"), path("logo.png")].map(|path| logo(&path)).to_vec();
        let rich = Scene { ornaments, backdrop: Some(path("wall.png").into()), ..bare.clone() };
        loader.show(&rich);
        let (first, second) = (next(), next());
        assert_eq!((first, second), ((path("logo.png"), (32, 16)), (path("wall.png"), (64, 36))));
        // The same again is not read again; what comes back is.
        loader.show(&rich);
        loader.show(&bare);
        loader.show(&Scene { ornaments: Vec::new(), ..rich });
        assert_eq!(next().0, path("wall.png"));
        drop(loader);
        assert!(orders.recv().is_err(), "the thread ends, and nothing else was read");
    }
}
