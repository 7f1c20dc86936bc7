//! Loops of the test card in codecs that the product's own rehearsal does not send: VP9 and H.264, encoded by ffmpeg once, into the cache.
//!
//! The same pictures as in the VP8 loops, at 640x360, with a keyframe each second; the sound is the loops' own. Files are named as the
//! publisher looks for them: `NAME_360_vp9.ivf`, and `NAME_360.h264` with access unit delimiters.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use roomcast::rehearsal::card::{self, PEOPLE};
use roomcast::rehearsal::loops;
use roomcast::rehearsal::picture::card_picture;

use super::crowd::who;

/// A video codec of these loops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rare {
    Vp9,
    H264,
}

impl Rare {
    /// As the publisher calls it.
    pub fn name(self) -> &'static str {
        match self {
            Rare::Vp9 => "vp9",
            Rare::H264 => "h264",
        }
    }

    fn file_name(self, person: usize) -> String {
        match self {
            Rare::Vp9 => format!("{}_360_vp9.ivf", who(person)),
            Rare::H264 => format!("{}_360.h264", who(person)),
        }
    }

    /// What a browser's encoder for a call does: no picture waits for a later one.
    fn encoder(self) -> &'static [&'static str] {
        match self {
            Rare::Vp9 => &[
                "-c:v",
                "libvpx-vp9",
                "-deadline",
                "realtime",
                "-cpu-used",
                "8",
                "-lag-in-frames",
                "0",
                "-auto-alt-ref",
                "0",
                "-b:v",
                "600k",
                "-f",
                "ivf",
            ],
            Rare::H264 => &[
                "-c:v",
                "libx264",
                "-profile:v",
                "baseline",
                "-level",
                "3.1",
                "-preset",
                "veryfast",
                "-tune",
                "zerolatency",
                "-sc_threshold",
                "0",
                "-x264-params",
                "aud=1:repeat-headers=1:sliced-threads=0",
                "-b:v",
                "600k",
                "-f",
                "h264",
            ],
        }
    }
}

/// Makes the loop of a person where it is missing.
pub fn ensure(codec: Rare, person: usize) {
    let folder = loops::cache_folder().expect("a cache folder");
    std::fs::create_dir_all(&folder).expect("the cache folder is made");
    let lock = File::create(folder.join("lock")).expect("lock");
    lock.lock().expect("one works, the others wait");
    let path = folder.join(codec.file_name(person));
    if !path.exists() {
        make(codec, person, &path);
    }
}

fn make(codec: Rare, person: usize, path: &Path) {
    let part = path.with_extension("part");
    let (fps, second) = (card::FPS.to_string(), card::FPS.to_string());
    let mut encoder = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "640x360", "-r", &fps, "-i"])
        .args(["pipe:0", "-threads", "1", "-g", &second, "-keyint_min", &second])
        .args(codec.encoder())
        .arg(&part)
        .stdin(Stdio::piped())
        .spawn()
        .expect("ffmpeg starts");
    let mut pipe = BufWriter::new(encoder.stdin.take().expect("piped"));
    for number in 0..card::LOOP_FRAMES {
        let picture = card_picture(&PEOPLE[person], number, 640, 360).expect("a usual size");
        let (y, cb, cr) = picture.planes();
        [y, cb, cr].into_iter().for_each(|plane| pipe.write_all(plane).expect("ffmpeg reads"));
    }
    drop(pipe);
    assert!(encoder.wait().expect("ffmpeg ends").success(), "ffmpeg encodes {codec:?}");
    // A reader sees the whole file or none.
    std::fs::rename(&part, path).expect("the loop is kept");
}
