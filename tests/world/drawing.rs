//! Draws and sounds the test card for the ruler's own tests. Made from the definition in `card`, apart from the product's own drawing,
//! so that both can be wrong only independently.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use roomcast::rehearsal::card::{self, PEOPLE};

use super::film::TileRect;
use super::film::ear::RATE;

/// A synthetic film: a grid of people in which some things can be made wrong on purpose.
#[derive(Clone)]
pub struct Synthetic {
    /// Canvas in pixels.
    pub size: (usize, usize),
    /// Indices into [`PEOPLE`] and where they are.
    pub tiles: Vec<(usize, TileRect)>,
    /// Counter shown at each picture; `None` repeats nothing and draws no card.
    pub counters: Vec<Option<u32>>,
    /// Delay of the sound in samples.
    pub sound_delay: usize,
    /// Samples that are silent.
    pub mute: std::ops::Range<usize>,
}

impl Synthetic {
    /// A perfect film.
    pub fn perfect(size: (usize, usize), tiles: Vec<(usize, TileRect)>, seconds: u32) -> Self {
        let counters = (0..seconds * card::FPS).map(|n| Some(n % card::LOOP_FRAMES)).collect();
        Synthetic { size, tiles, counters, sound_delay: 0, mute: 0..0 }
    }

    /// Encodes it by ffmpeg as H.264 and AAC.
    pub fn write(&self, path: &Path) {
        let sound_file = path.with_extension("f32");
        let bytes: Vec<u8> = self.sound().into_iter().flat_map(f32::to_le_bytes).collect();
        std::fs::write(&sound_file, bytes).expect("sound is written");
        let size = format!("{}x{}", self.size.0, self.size.1);
        let fps = card::FPS.to_string();
        let mut child = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &size, "-r", &fps, "-i", "-"])
            .args(["-f", "f32le", "-ar", "48000", "-ac", "1", "-i"])
            .arg(&sound_file)
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-c:a", "aac", "-b:a", "128k"])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("ffmpeg starts");
        let mut input = child.stdin.take().expect("piped");
        for counter in &self.counters {
            input.write_all(&self.picture(*counter)).expect("ffmpeg takes pictures");
        }
        drop(input);
        assert!(child.wait().expect("ffmpeg ends").success());
    }

    fn picture(&self, counter: Option<u32>) -> Vec<u8> {
        let (width, height) = self.size;
        let mut data = vec![16; width * height];
        data.resize(width * height * 3 / 2, 128);
        let Some(counter) = counter else { return data };
        for (person, tile) in &self.tiles {
            draw(&mut data, width, height, tile, *person, counter);
        }
        data
    }

    fn sound(&self) -> Vec<f32> {
        let length = self.counters.len() * RATE / card::FPS as usize;
        (0..length)
            .map(|index| {
                if self.mute.contains(&index) || index < self.sound_delay {
                    return 0.0;
                }
                self.tiles.iter().map(|(person, _)| heard(*person, index - self.sound_delay)).sum()
            })
            .collect()
    }
}

/// A person's sample.
pub fn heard(person: usize, index: usize) -> f32 {
    let person = &PEOPLE[person];
    let wave = |hz: u32| ((index * hz as usize % RATE) as f32 / RATE as f32 * std::f32::consts::TAU).sin();
    let is_beep = index % RATE < card::BEEP_MS as usize * RATE / 1000;
    card::TONE_AMPLITUDE * wave(person.tone_hz) + if is_beep { card::BEEP_AMPLITUDE * wave(person.beep_hz) } else { 0.0 }
}

fn draw(data: &mut [u8], width: usize, height: usize, tile: &TileRect, person: usize, counter: u32) {
    let (luma, blue, red) = PEOPLE[person].ycbcr;
    let whole = (0.0, 1.0);
    let mut fill = |x: (f64, f64), y: (f64, f64), colour: (u8, u8, u8)| {
        let edge = |start: usize, length: usize, at: f64| start + (at * length as f64).round() as usize;
        let planes = [(0, 1, colour.0), (width * height, 2, colour.1), (width * height * 5 / 4, 2, colour.2)];
        for (offset, scale, value) in planes {
            let columns = edge(tile.x, tile.width, x.0) / scale..edge(tile.x, tile.width, x.1) / scale;
            for row in edge(tile.y, tile.height, y.0) / scale..edge(tile.y, tile.height, y.1) / scale {
                data[offset + row * (width / scale)..][columns.clone()].fill(value);
            }
        }
    };
    fill(whole, whole, (luma, blue, red));
    let cell = (card::STRIP_X.1 - card::STRIP_X.0) / f64::from(card::CELLS);
    for index in 0..card::CELLS {
        let is_white = match index {
            0 => true,
            1 => false,
            _ => counter >> (card::COUNTER_BITS - 1 - (index - 2)) & 1 == 1,
        };
        let left = card::STRIP_X.0 + cell * f64::from(index);
        fill((left, left + cell), card::STRIP_Y, grey(is_white));
    }
    fill(card::FLASH_X, card::FLASH_Y, grey(counter % card::FPS < card::FLASH_FRAMES));
    let bar = card::BAR_X.0 + (card::BAR_X.1 - card::BAR_X.0) * f64::from(counter) / f64::from(card::LOOP_FRAMES);
    fill((bar, bar + card::BAR_WIDTH), card::BAR_Y, grey(true));
}

fn grey(is_white: bool) -> (u8, u8, u8) {
    (if is_white { 235 } else { 16 }, 128, 128)
}
