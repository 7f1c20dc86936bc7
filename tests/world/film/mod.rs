//! The ruler: reads a finished film back and says what a person would see and hear.
//!
//! In: an MP4 file and the rectangles of its tiles. Out: for each picture and tile the person, the picture counter and the flash; for the
//! sound the tone and the beeps of each person. Everything is decoded by ffmpeg, so that no code of the product judges itself.
//! It refuses to guess: what cannot be read is `None`.

pub mod ear;
pub mod eye;
pub mod judge;
mod probe;

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use ear::Sound;
pub use eye::{Sight, TileRect};

/// One picture of the film.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Presentation time in seconds.
    pub at_s: f64,
    /// What is in each of the tiles that were asked for.
    pub tiles: Vec<Sight>,
}

/// A film, read once.
pub struct Film {
    /// The file.
    pub path: PathBuf,
    /// Size in pixels.
    pub width: usize,
    /// Size in pixels.
    pub height: usize,
    /// All pictures in order of presentation.
    pub pictures: Vec<Picture>,
    /// The sound; `None` if the film has no sound track.
    pub sound: Option<Sound>,
    /// Length in seconds, by the container.
    pub duration_s: f64,
    /// What the decoder complained about; empty for a clean film.
    pub complaints: String,
    /// When threads stood while it was made, as far as that was watched.
    pub stalls: Vec<Stall>,
}

/// A thread that pictures pass waited for a processor.
#[derive(Clone, Debug)]
pub struct Stall {
    /// In which time of the film, in seconds.
    pub during_s: Range<f64>,
    /// Program and thread.
    pub who: String,
    /// What it does for the pictures.
    pub part: Part,
    /// How long it waited.
    pub waited_ms: f64,
}

/// What a thread does for the pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// It sends, forwards, receives, decodes or draws them.
    Way,
    /// It encodes the film.
    Encoder,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.during_s;
        write!(f, "{start:.2} to {end:.2} s: {} waited {:.0} ms for a processor", self.who, self.waited_ms)
    }
}

impl Film {
    /// Reads the whole film. Panics, with what ffmpeg said, if the file cannot be opened at all.
    pub fn watch(path: &Path, tiles: &[TileRect]) -> Film {
        Self::watch_from(path, tiles, 0.0)
    }

    /// The same from this second of the film on, which must not be the very time of a picture; what was before is not looked at.
    pub fn watch_from(path: &Path, tiles: &[TileRect], from_s: f64) -> Film {
        let mut facts = probe::probe(path);
        facts.picture_times_s.retain(|at_s| *at_s >= from_s);
        facts.sound_start_s = facts.sound_start_s.map(|start_s| start_s.max(from_s));
        let mut complaints = String::new();
        let pictures = watch_pictures(path, &facts, tiles, from_s, &mut complaints);
        let sound = facts.sound_start_s.map(|start_s| Sound::new(start_s, hear(path, from_s, &mut complaints)));
        let film = Film {
            path: path.to_owned(),
            width: facts.width,
            height: facts.height,
            pictures,
            sound,
            duration_s: facts.duration_s,
            complaints,
            stalls: Vec::new(),
        };
        assert_eq!(
            film.pictures.len(),
            facts.picture_times_s.len(),
            "pictures decoded and pictures in the container of {}",
            path.display()
        );
        film
    }

    /// Adds a tile that is wherever this person is seen among `tiles`, the first that fits; gives its number. For people who are moved.
    pub fn follow(&mut self, person: usize, tiles: &[usize]) -> usize {
        for picture in &mut self.pictures {
            let is_them = |sight: &&Sight| sight.person == Some(person) && sight.counter.is_some();
            let found = tiles.iter().map(|tile| &picture.tiles[*tile]).find(is_them).copied();
            picture.tiles.push(found.unwrap_or(Sight { person: None, counter: None, is_flash: false }));
        }
        self.pictures.first().map_or(0, |picture| picture.tiles.len() - 1)
    }

    /// The longest stall of one of these parts that touches this time.
    pub fn stall(&self, parts: &[Part], during_s: Range<f64>) -> Option<&Stall> {
        let touches = |stall: &&Stall| stall.during_s.start < during_s.end && stall.during_s.end > during_s.start;
        let touching = self.stalls.iter().filter(|stall| parts.contains(&stall.part)).filter(touches);
        touching.max_by(|a, b| a.waited_ms.total_cmp(&b.waited_ms))
    }

    /// The sound; panics if there is none.
    pub fn sound(&self) -> &Sound {
        self.sound.as_ref().unwrap_or_else(|| panic!("{} has no sound", self.path.display()))
    }
}

fn ffmpeg(path: &Path, from_s: f64, output: &[&str]) -> std::process::Child {
    // From the very beginning nothing is sought: an edit list must be followed as it stands.
    let seek = if from_s > 0.0 { vec!["-ss".to_owned(), from_s.to_string()] } else { Vec::new() };
    Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-threads", "2"])
        .args(seek)
        .arg("-i")
        .arg(path)
        .args(output)
        .arg("-")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg starts")
}

/// Reads standard output through `take` while a thread collects what ffmpeg complains about.
fn drain(mut child: std::process::Child, complaints: &mut String, mut take: impl FnMut(&mut dyn Read)) {
    let mut errors = child.stderr.take().expect("piped");
    let listener = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    take(&mut child.stdout.take().expect("piped"));
    let status = child.wait().expect("ffmpeg ends");
    complaints.push_str(&listener.join().expect("listener"));
    if !status.success() {
        complaints.push_str(&format!("ffmpeg: {status}\n"));
    }
}

fn watch_pictures(path: &Path, facts: &probe::Facts, tiles: &[TileRect], from_s: f64, complaints: &mut String) -> Vec<Picture> {
    if facts.width == 0 {
        return Vec::new();
    }
    let mut pictures = Vec::new();
    let mut buffer = vec![0; facts.width * facts.height * 3 / 2];
    let child = ffmpeg(path, from_s, &["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p"]);
    drain(child, complaints, |out| {
        while out.read_exact(&mut buffer).is_ok() {
            let picture = eye::Raw::new(&buffer, facts.width, facts.height);
            let at_s = facts.picture_times_s.get(pictures.len()).copied().unwrap_or(f64::NAN);
            pictures.push(Picture { at_s, tiles: tiles.iter().map(|tile| eye::look(&picture, tile)).collect() });
        }
    });
    pictures
}

fn hear(path: &Path, from_s: f64, complaints: &mut String) -> Vec<f32> {
    let mut bytes = Vec::new();
    let child = ffmpeg(path, from_s, &["-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "f32le"]);
    drain(child, complaints, |out| {
        out.read_to_end(&mut bytes).expect("sound is read");
    });
    bytes.as_chunks::<4>().0.iter().map(|sample| f32::from_le_bytes(*sample)).collect()
}
