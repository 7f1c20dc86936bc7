//! What the picture half of the mixer costs: milliseconds a canvas, with new pictures in each tick and with none.
//!
//! `cargo run --release --example picture_cost`. The mean of all ticks is the thread's CPU time; the copy into an encoder's buffer is not contained.

use std::io::Write;
use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::scene::{CanvasSize, Fit, Label, LabelStyle, Rect, Rgb, Scene, Tile};
use recorder_core::secret::Pii;
use recorder_core::time::SessionTime;
use roomcast::mixer::picture::Picture;
use roomcast::mixer::video::VideoMixer;

/// People, columns of the grid, size of their pictures, size of the canvas.
type Case = (u32, u32, (u32, u32), (u32, u32));
const CASES: [Case; 5] = [
    (9, 3, (640, 360), (1280, 720)),
    (25, 5, (320, 180), (1280, 720)),
    (25, 5, (640, 360), (1280, 720)),
    (9, 3, (640, 360), (1920, 1080)),
    (4, 2, (640, 360), (1280, 720)),
];
const TICKS: u64 = 300;

fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let before = cpu_ms()?;
    drop(VideoMixer::new(CanvasSize { width_px: 1280, height_px: 720 }, 30)?);
    writeln!(out, "start: {:.1} ms", cpu_ms()? - before)?;
    writeln!(out, "people  pictures  canvas     first ms  moving ms  still ms")?;
    for (people, columns, (width, height), (width_px, height_px)) in CASES {
        let canvas = CanvasSize { width_px, height_px };
        let mut mixer = VideoMixer::new(canvas, 30)?;
        let scene = grid(people, columns, canvas);
        let ids: Vec<TrackId> = scene.tiles.iter().filter_map(|tile| tile.video.clone()).collect();
        mixer.show(Arc::new(scene));
        let pictures = (0..8).map(|n| noise(width, height, n)).collect::<Result<Vec<_>, _>>()?;
        let mut tick = 0;
        let mut first = 0.0;
        let mut run = |moving: bool| -> anyhow::Result<f64> {
            let mut spent = 0.0;
            for _ in 0..TICKS {
                let at = SessionTime::from_nanos(1_000_000_000 + tick * 33_333_333);
                for id in ids.iter().filter(|_| moving) {
                    mixer.offer(id, at, pictures[tick as usize % pictures.len()].clone());
                }
                let before = cpu_ms()?;
                std::hint::black_box(mixer.draw(at).i420);
                let cost = cpu_ms()? - before;
                if tick == 0 {
                    first = cost
                } else {
                    spent += cost
                }
                tick += 1;
            }
            Ok(spent / TICKS as f64)
        };
        let (moving, still) = (run(true)?, run(false)?);
        writeln!(out, "{people:>6}  {width}x{height}   {width_px:>4}x{height_px:<5}  {first:>8.2}  {moving:>9.3}  {still:>8.4}")?;
    }
    Ok(())
}

fn grid(people: u32, columns: u32, canvas: CanvasSize) -> Scene {
    let (width, height) = ((canvas.width_px / columns) & !1, (canvas.height_px / columns) & !1);
    let tiles = (0..people).map(|n| {
        let participant = ParticipantId::new(format!("person {n}"));
        Tile {
            video: Some(TrackId::new(participant.clone(), TrackKind::Camera)),
            participant,
            rect: Rect { x: n % columns * width, y: n / columns * height, width, height },
            fit: Fit::Cover,
            label: Some(Label {
                name: Pii::new(format!("Person Number {n}")),
                muted: n % 2 == 0,
                hand: false,
                style: LabelStyle::Plate,
            }),
            speaking: n == 1,
        }
    });
    Scene { tiles: tiles.collect(), ..Scene::empty(SessionTime::ZERO, canvas, Rgb(0, 0, 0)) }
}

fn noise(width: u32, height: u32, seed: u32) -> Result<Picture, roomcast::mixer::picture::PictureError> {
    let bytes = width as usize * height as usize * 3 / 2;
    let mut state = seed.wrapping_mul(2_654_435_761) + 1;
    let data = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    Picture::new(width, height, data.take(bytes).collect())
}

fn cpu_ms() -> Result<f64, nix::errno::Errno> {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(now.tv_sec() as f64 * 1e3 + now.tv_nsec() as f64 / 1e6)
}
