//! The encoded loops of the test card: made once, kept in a cache folder, read into memory by whoever sends them.
//!
//! In: a folder, who and which layers. Out: files, and a [`LoopSet`]. Blocks the calling thread for some seconds on the first run.
//! Files, for each person (`ada`, `bjoern`, …): `NAME_720.ivf`, `NAME_360.ivf`, `NAME_180.ivf` with a keyframe each second, the twins
//! `NAME_720_key.ivf` … in which every picture is a keyframe, and `NAME.opuspackets`: 500 times a little-endian u16 length and a packet.
//! A sender answers a keyframe request at picture n with picture n of the twin, and goes on with the main chain.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::card::{self, Person};
use super::encode::{EncodeError, LOOP_PACKETS, encode_pictures, encode_sound};
use super::picture::Surface;
use crate::graph::LoopChain;

/// Changes when the content of the files does.
const VERSION: u32 = 2;

/// The same for the textured ones.
const TEXTURED_VERSION: u32 = 3;

/// One simulcast layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Layer {
    /// 320x180, 150 kbit/s.
    L180,
    /// 640x360, 450 kbit/s.
    L360,
    /// 1280x720, 1500 kbit/s.
    L720,
}

impl Layer {
    /// All layers, smallest first.
    pub const ALL: [Self; 3] = [Self::L180, Self::L360, Self::L720];

    /// Width and height in pixels.
    pub fn size_px(self) -> (u32, u32) {
        match self {
            Self::L180 => (320, 180),
            Self::L360 => (640, 360),
            Self::L720 => (1280, 720),
        }
    }

    /// Average rate that the encoder aims at, bit/s.
    pub fn rate_bps(self) -> u32 {
        match self {
            Self::L180 => 150_000,
            Self::L360 => 450_000,
            Self::L720 => 1_500_000,
        }
    }

    /// The smallest of `layers` that is not smaller than a tile, else the largest; `None` if there is none.
    pub fn fitting(layers: impl IntoIterator<Item = Self>, width_px: u32, height_px: u32) -> Option<Self> {
        let mut layers: Vec<Self> = layers.into_iter().collect();
        layers.sort();
        let fits = |layer: &&Self| layer.size_px().0 >= width_px && layer.size_px().1 >= height_px;
        layers.iter().find(fits).or(layers.last()).copied()
    }
}

/// One layer of one person.
pub struct LayerLoop {
    /// Which.
    pub layer: Layer,
    /// The pictures, a keyframe each second.
    pub main: Vec<Arc<[u8]>>,
    /// The same pictures, each a keyframe.
    pub twin: Vec<Arc<[u8]>>,
}

/// All loops of one person.
pub struct PersonLoops {
    /// Who.
    pub person: &'static Person,
    /// The layers asked for, in that order.
    pub layers: Vec<LayerLoop>,
    /// Opus packets of 20 ms.
    pub sound: Vec<Arc<[u8]>>,
}

/// The loops of the first people of [`card::PEOPLE`], in memory.
pub struct LoopSet {
    /// In the order of [`card::PEOPLE`].
    pub people: Vec<PersonLoops>,
}

/// Why there are no loops.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// Nothing says where caches are.
    #[error("there is no cache folder: set ROOMCAST_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    /// A file or folder cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what we wrote.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// Encoding failed.
    #[error("the loops of the test card cannot be encoded")]
    Encode(#[from] EncodeError),
}

/// The folder for this version of the loops: `loops-vN` in ROOMCAST_CACHE, else in `roomcast` of XDG_CACHE_HOME or of `.cache` of HOME.
/// Not created yet.
///
/// # Errors
/// None of these variables is set.
pub fn cache_folder() -> Result<PathBuf, LoopError> {
    cache_folder_of(Surface::Plain)
}

/// The same for loops on a surface: `textured-loops-vN`, with a version of their own, for those that cost as much as a camera's.
///
/// # Errors
/// Neither variable is set.
pub fn cache_folder_of(surface: Surface) -> Result<PathBuf, LoopError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let ours = set("ROOMCAST_CACHE").or_else(|| caches().map(|caches| caches.join("roomcast")));
    Ok(ours.ok_or(LoopError::NoCache)?.join(match surface {
        Surface::Plain => format!("loops-v{VERSION}"),
        Surface::Textured => format!("textured-loops-v{TEXTURED_VERSION}"),
    }))
}

/// The file name of a person, in ASCII and without extension.
pub fn file_stem(person: &Person) -> String {
    person.name.to_lowercase().replace('ä', "ae").replace('ö', "oe").replace('ü', "ue")
}

/// Makes what is missing in `dir` for the first `people` people of [`card::PEOPLE`], and reads it: see [`ensure_each`].
///
/// # Errors
/// Those of [`ensure_each`].
pub fn ensure(dir: &Path, people: usize, layers: &[Layer]) -> Result<LoopSet, LoopError> {
    ensure_on(Surface::Plain, dir, people, layers)
}

/// The same on a surface; each surface needs a folder of its own: see [`cache_folder_of`].
///
/// # Errors
/// Those of [`ensure_each`].
pub fn ensure_on(surface: Surface, dir: &Path, people: usize, layers: &[Layer]) -> Result<LoopSet, LoopError> {
    let orders: Vec<(&'static Person, &[Layer])> = card::PEOPLE.iter().take(people).map(|person| (person, layers)).collect();
    ensure_orders(surface, dir, &orders)
}

/// Makes what is missing in `dir` for these people, each with these layers, and reads it. Several processes may do so at the same
/// time: one works, the others wait. A damaged file is made again.
///
/// # Errors
/// The folder cannot be used, or encoding fails.
pub fn ensure_each(dir: &Path, orders: &[(&'static Person, &[Layer])]) -> Result<LoopSet, LoopError> {
    ensure_orders(Surface::Plain, dir, orders)
}

fn ensure_orders(surface: Surface, dir: &Path, orders: &[(&'static Person, &[Layer])]) -> Result<LoopSet, LoopError> {
    fs::create_dir_all(dir).map_err(file_error(dir))?;
    let lock_path = dir.join("lock");
    let lock = File::create(&lock_path).map_err(file_error(&lock_path))?;
    lock.lock().map_err(file_error(&lock_path))?;
    let wanted = parts(surface, orders);
    let missing: Vec<&Part> = wanted.iter().filter(|part| part.load(dir).is_err()).collect();
    make_all(dir, &missing)?;
    drop(lock);

    let read = |&(person, layers): &(&'static Person, &[Layer])| {
        let pictures = |layer, chain| Part { surface, person, kind: PartKind::Pictures(layer, chain) }.load(dir);
        let layer = |&layer: &Layer| {
            Ok(LayerLoop { layer, main: pictures(layer, LoopChain::Main)?, twin: pictures(layer, LoopChain::Keyframes)? })
        };
        let sound = Part { surface, person, kind: PartKind::Sound }.load(dir)?;
        Ok(PersonLoops { person, layers: layers.iter().map(layer).collect::<Result<_, LoopError>>()?, sound })
    };
    Ok(LoopSet { people: orders.iter().map(read).collect::<Result<_, LoopError>>()? })
}

/// One file.
struct Part {
    surface: Surface,
    person: &'static Person,
    kind: PartKind,
}

#[derive(Clone, Copy)]
enum PartKind {
    Pictures(Layer, LoopChain),
    Sound,
}

/// The files of these people and layers, those that take longest first, so that the threads end together.
fn parts(surface: Surface, orders: &[(&'static Person, &[Layer])]) -> Vec<Part> {
    let mut parts = Vec::new();
    for &(person, layers) in orders {
        let kinds = layers
            .iter()
            .flat_map(|&layer| [LoopChain::Main, LoopChain::Keyframes].map(|chain| PartKind::Pictures(layer, chain)));
        parts.extend(kinds.chain([PartKind::Sound]).map(|kind| Part { surface, person, kind }));
    }
    parts.sort_by_key(|part| match part.kind {
        PartKind::Pictures(layer, chain) => std::cmp::Reverse((Some(layer), chain == LoopChain::Keyframes)),
        PartKind::Sound => std::cmp::Reverse((None, false)),
    });
    parts
}

/// Encodes on all cores.
fn make_all(dir: &Path, missing: &[&Part]) -> Result<(), LoopError> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<LoopError>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(part) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = part.make(dir) {
                        if let Ok(mut failure) = failure.lock() {
                            failure.get_or_insert(error);
                        }
                        return;
                    }
                }
            });
        }
    });
    failure.into_inner().ok().flatten().map_or(Ok(()), Err)
}

impl Part {
    fn file_name(&self) -> String {
        let stem = file_stem(self.person);
        match self.kind {
            PartKind::Pictures(layer, LoopChain::Main) => format!("{stem}_{}.ivf", layer.size_px().1),
            PartKind::Pictures(layer, LoopChain::Keyframes) => format!("{stem}_{}_key.ivf", layer.size_px().1),
            PartKind::Sound => format!("{stem}.opuspackets"),
        }
    }

    fn make(&self, dir: &Path) -> Result<(), LoopError> {
        let bytes = match self.kind {
            PartKind::Pictures(layer, chain) => {
                let (width, height) = layer.size_px();
                ivf(
                    width as u16,
                    height as u16,
                    &encode_pictures(self.surface, self.person, width, height, layer.rate_bps(), chain)?,
                )
            }
            PartKind::Sound => packet_file(&encode_sound(self.person)?),
        };
        write_whole(&dir.join(self.file_name()), &bytes)
    }

    fn load(&self, dir: &Path) -> Result<Vec<Arc<[u8]>>, LoopError> {
        let path = dir.join(self.file_name());
        let bytes = fs::read(&path).map_err(file_error(&path))?;
        let (read, count) = match self.kind {
            PartKind::Pictures(..) => (read_ivf(&bytes), card::LOOP_FRAMES),
            PartKind::Sound => (read_packet_file(&bytes), LOOP_PACKETS),
        };
        read.filter(|frames| frames.len() == count as usize).ok_or(LoopError::Damaged { path })
    }
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> LoopError {
    move |source| LoopError::File { path: path.to_owned(), source }
}

/// A reader sees the whole file or none.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LoopError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let part = PathBuf::from(name);
    let written = File::create(&part).and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&part, path));
    written.map_err(|source| {
        // The first error matters; a leftover is only untidy.
        let _ = fs::remove_file(&part);
        LoopError::File { path: path.to_owned(), source }
    })
}

/// An IVF file: 32 bytes of header, then for each picture its length, its number and its bytes.
fn ivf(width: u16, height: u16, pictures: &[Arc<[u8]>]) -> Vec<u8> {
    let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend(card::FPS.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend((pictures.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    for (number, picture) in (0_u64..).zip(pictures) {
        file.extend((picture.len() as u32).to_le_bytes());
        file.extend(number.to_le_bytes());
        file.extend(&picture[..]);
    }
    file
}

fn read_ivf(bytes: &[u8]) -> Option<Vec<Arc<[u8]>>> {
    if !bytes.starts_with(b"DKIF") {
        return None;
    }
    let mut rest = bytes.get(32..)?;
    let mut pictures = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        pictures.push(Arc::from(rest.get(12..)?.get(..length)?));
        rest = rest.get(12 + length..)?;
    }
    Some(pictures)
}

fn packet_file(packets: &[Arc<[u8]>]) -> Vec<u8> {
    packets.iter().flat_map(|packet| [&(packet.len() as u16).to_le_bytes(), &packet[..]].concat()).collect()
}

fn read_packet_file(bytes: &[u8]) -> Option<Vec<Arc<[u8]>>> {
    let mut rest = bytes;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?));
        packets.push(Arc::from(rest.get(2..)?.get(..length)?));
        rest = rest.get(2 + length..)?;
    }
    Some(packets)
}

#[cfg(test)]
#[path = "loops_tests.rs"]
mod tests;
