//! Draws the pictures of the test card, and reads them back.
//!
//! In: a person, the number of a picture, a size. Out: an I420 picture. Pure: no clock, no thread, no GStreamer.
//! Refuses nothing but sizes that a [`Picture`] refuses; odd sizes are drawn too.

use std::f32::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

use super::card::{self, Person};
use crate::mixer::picture::{Picture, PictureError};

const WHITE: u8 = 235;
const BLACK: u8 = 16;
const NEUTRAL: u8 = 128;
/// Luma above this reads as white.
const MIDDLE: u32 = 126;
/// The two reference cells must differ by at least this much luma to be believed.
const CONTRAST: u32 = 60;

/// What lies behind the marks of the card.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Surface {
    /// The person's colour and nothing else: small to keep, and cheap to decode.
    Plain,
    /// What a camera sees in a meeting: a room that stands still, somebody in the middle who never does, and noise that is new in each
    /// picture, so that encoding and decoding cost what they cost with a camera. The mean over a few pixels is still the person's colour.
    Textured,
}

/// Height of the coarse waves, of the fine ones, and of the waves of colour, in steps of 8-bit values.
const COARSE: f32 = 9.0;
const FINE: f32 = 7.0;
const TINT: f32 = 4.0;
/// Noise reaches so far up and down: the sensor of a laptop in a lit room.
const NOISE: i16 = 2;
/// Half the width and height of the person in the middle, and how far they sway, as fractions of the picture.
const BODY: (f32, f32) = (0.22, 0.42);
const SWAY: f32 = 0.03;

/// Picture `number` (modulo the loop) of `person`, at any size, on a plain surface.
///
/// # Errors
/// The size is one that a [`Picture`] refuses.
pub fn card_picture(person: &Person, number: u32, width_px: u32, height_px: u32) -> Result<Picture, PictureError> {
    card_picture_on(Surface::Plain, person, number, width_px, height_px)
}

/// Picture `number` (modulo the loop) of `person`, at any size.
///
/// # Errors
/// The size is one that a [`Picture`] refuses.
pub fn card_picture_on(
    surface: Surface,
    person: &Person,
    number: u32,
    width_px: u32,
    height_px: u32,
) -> Result<Picture, PictureError> {
    let (width, height) = (width_px as usize, height_px as usize);
    let luma = width * height;
    let chroma = width.div_ceil(2) * height.div_ceil(2);
    let (y, cb, cr) = person.ycbcr;
    if width_px > 8192 || height_px > 8192 {
        return Err(PictureError::Size(width_px, height_px));
    }
    let mut data = vec![y; luma + 2 * chroma];
    data[luma..luma + chroma].fill(cb);
    data[luma + chroma..].fill(cr);

    let number = number % card::LOOP_FRAMES;
    if surface == Surface::Textured {
        weave(&mut data, width, height, person, number);
    }
    let mut pen = Pen { data: &mut data, width, height };
    let bar = bar_left(number);
    pen.paint((bar, bar + card::BAR_WIDTH), card::BAR_Y, WHITE);
    for cell in 0..card::CELLS {
        pen.paint(cell_x(cell), card::STRIP_Y, if cell_is_white(cell, number) { WHITE } else { BLACK });
    }
    let flash = number % card::FPS < card::FLASH_FRAMES;
    pen.paint(card::FLASH_X, card::FLASH_Y, if flash { WHITE } else { BLACK });
    Picture::new(width_px, height_px, Arc::from(data))
}

/// Lays waves and noise over the surface: waves that stand, and inside the outline of a person waves that move. They make whole turns in a
/// loop, so that it has no seam.
fn weave(data: &mut [u8], width: usize, height: usize, person: &Person, number: u32) {
    let turn = number as f32 / card::LOOP_FRAMES as f32;
    let waves = |side: usize, crests: f32, turns: f32| -> Vec<f32> {
        (0..side).map(|at| (TAU * (crests * at as f32 / side as f32 + turns * turn)).sin()).collect()
    };
    let (coarse_x, coarse_y) = (waves(width, 4.0, 0.0), waves(height, 3.0, 0.0));
    let (fine_x, fine_y) = (waves(width, 31.0, 0.0), waves(height, 19.0, 0.0));
    let (body_x, body_y) = (waves(width, 17.0, -20.0), waves(height, 11.0, 15.0));
    // The person sways.
    let centre = 0.5 + SWAY * (TAU * 5.0 * turn).sin();
    let off = |at: usize, side: usize, centre: f32, reach: f32| (((at as f32 + 0.5) / side as f32 - centre) / reach).powi(2);
    let (across, down): (Vec<f32>, Vec<f32>) = (
        (0..width).map(|at| off(at, width, centre, BODY.0)).collect(),
        (0..height).map(|at| off(at, height, 0.6, BODY.1)).collect(),
    );
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9) ^ person.tone_hz;
    let (luma, chroma) = data.split_at_mut(width * height);
    for (row, line) in luma.chunks_exact_mut(width).enumerate() {
        for (column, value) in line.iter_mut().enumerate() {
            // xorshift (Marsaglia 2003): the same picture each time it is drawn.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let noise = (state >> 16) as i16 & 0x7fff;
            let is_body = across[column] + down[row] < 1.0;
            let fine = if is_body { body_x[column] * body_y[row] } else { fine_x[column] * fine_y[row] };
            let wave = COARSE * coarse_x[column] * coarse_y[row] + FINE * fine;
            *value = (i16::from(*value) + wave as i16 + noise % (2 * NOISE + 1) - NOISE).clamp(16, 235) as u8;
        }
    }
    let half = width.div_ceil(2);
    for (row, line) in chroma.chunks_exact_mut(half).enumerate() {
        let row = 2 * (row % height.div_ceil(2));
        for (column, value) in line.iter_mut().enumerate() {
            let wave = TINT * coarse_x[(2 * column).min(width - 1)] * coarse_y[row.min(height - 1)];
            *value = (i16::from(*value) + wave as i16).clamp(16, 240) as u8;
        }
    }
}

/// Left edge of the moving bar in picture `number`, as a fraction of the width.
pub fn bar_left(number: u32) -> f64 {
    let (from, to) = card::BAR_X;
    from + (to - from) * f64::from(number) / f64::from(card::LOOP_FRAMES)
}

/// Left and right edge of a cell of the strip, as fractions of the width.
pub fn cell_x(cell: u32) -> (f64, f64) {
    let (left, right) = card::STRIP_X;
    let step = (right - left) / f64::from(card::CELLS);
    (left + step * f64::from(cell), left + step * f64::from(cell + 1))
}

/// Whether a cell of the strip is white in picture `number`.
pub fn cell_is_white(cell: u32, number: u32) -> bool {
    match cell {
        0 => true,
        1 => false,
        bit => number >> (card::CELLS - 1 - bit) & 1 == 1,
    }
}

/// The counter in a whole card that fills the picture, or `None` where no strip can be read.
pub fn read_counter(picture: &Picture) -> Option<u32> {
    let size = (f64::from(picture.width()), f64::from(picture.height()));
    read_counter_in(picture, (0.0, 0.0), size)
}

/// The counter of a card that is drawn with its upper left corner at `at` and with `size` (both in pixels; the card may reach
/// beyond the picture), or `None` where no strip can be read.
pub fn read_counter_in(picture: &Picture, at: (f64, f64), size: (f64, f64)) -> Option<u32> {
    let row = (card::STRIP_Y.0 + card::STRIP_Y.1) / 2.0;
    let cell = |n: u32| {
        let (left, right) = cell_x(n);
        mean_luma(picture, at.0 + size.0 * (left + right) / 2.0, at.1 + size.1 * row, size.1 * 0.02)
    };
    let (white, black) = (cell(0)?, cell(1)?);
    if white < black + CONTRAST {
        return None;
    }
    let middle = (white + black) / 2;
    let mut number = 0;
    for n in 2..card::CELLS {
        number = number << 1 | u32::from(cell(n)? > middle);
    }
    (number < card::LOOP_FRAMES).then_some(number)
}

/// Whether the flash patch of a card at `at` with `size` is white, or `None` where the picture ends before.
pub fn read_flash_in(picture: &Picture, at: (f64, f64), size: (f64, f64)) -> Option<bool> {
    let x = at.0 + size.0 * (card::FLASH_X.0 + card::FLASH_X.1) / 2.0;
    let y = at.1 + size.1 * (card::FLASH_Y.0 + card::FLASH_Y.1) / 2.0;
    Some(mean_luma(picture, x, y, size.1 * 0.03)? > MIDDLE)
}

/// Mean luma of a small square around a point, or `None` outside of the picture.
fn mean_luma(picture: &Picture, x: f64, y: f64, radius: f64) -> Option<u32> {
    let (luma, _, _) = picture.planes();
    let columns = span((x - radius, x + radius + 1.0), picture.width())?;
    let rows = span((y - radius, y + radius + 1.0), picture.height())?;
    let count = (columns.len() * rows.len()) as u32;
    let (stride, _) = picture.strides();
    let sum: u32 = rows.map(|row| luma[row * stride..][columns.clone()].iter().map(|&v| u32::from(v)).sum::<u32>()).sum();
    Some(sum / count)
}

fn span((from, to): (f64, f64), end: u32) -> Option<Range<usize>> {
    if from < -0.5 || to > f64::from(end) + 1.5 {
        return None;
    }
    let from = from.max(0.0) as usize;
    let to = (to as usize).min(end as usize);
    (from < to).then_some(from..to)
}

struct Pen<'a> {
    data: &'a mut [u8],
    width: usize,
    height: usize,
}

impl Pen<'_> {
    /// Paints a rectangle (fractions of the picture) in a grey of luma `y`.
    fn paint(&mut self, x: (f64, f64), rows: (f64, f64), y: u8) {
        let luma = self.width * self.height;
        let (half_width, half_height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let chroma = half_width * half_height;
        let (planes_y, planes_c) = self.data.split_at_mut(luma);
        fill(planes_y, self.width, self.height, x, rows, y);
        let (cb, cr) = planes_c.split_at_mut(chroma);
        fill(cb, half_width, half_height, x, rows, NEUTRAL);
        fill(cr, half_width, half_height, x, rows, NEUTRAL);
    }
}

fn fill(plane: &mut [u8], width: usize, height: usize, x: (f64, f64), rows: (f64, f64), value: u8) {
    let edge = |fraction: f64, side: usize| ((fraction * side as f64).round() as usize).min(side);
    let (left, right) = (edge(x.0, width), edge(x.1, width));
    for row in edge(rows.0, height)..edge(rows.1, height) {
        plane[row * width + left..row * width + right].fill(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_reads_back_at_every_size_of_a_layer_and_at_odd_sizes() {
        for (width, height) in [(1280, 720), (640, 360), (320, 180), (426, 240), (213, 121)] {
            for number in [0, 1, 2, 3, 29, 30, 127, 128, 255, 256, 298, 299] {
                let picture = card_picture(&card::PEOPLE[0], number, width, height).unwrap();
                assert_eq!(read_counter(&picture), Some(number), "{width}x{height}");
            }
        }
    }

    #[test]
    fn a_textured_card_reads_as_a_plain_one_and_never_repeats() {
        let size = (640.0, 360.0);
        let draw = |n| card_picture_on(Surface::Textured, &card::PEOPLE[2], n, 640, 360).unwrap();
        for number in [0, 1, 127, 128, 299] {
            let picture = draw(number);
            assert_eq!(read_counter(&picture), Some(number));
            assert_eq!(read_flash_in(&picture, (0.0, 0.0), size), Some(number % 30 < 3));
            let differing = picture.planes().0.iter().zip(draw(number + 1).planes().0).filter(|(a, b)| a != b).count();
            assert!(differing > 640 * 360 / 2, "{differing} pixels differ from the next picture");
        }
        assert_eq!(draw(5), draw(5 + card::LOOP_FRAMES));
    }

    #[test]
    fn flash_is_white_for_the_first_three_pictures_of_a_second() {
        let size = (640.0, 360.0);
        let flashes: Vec<u32> = (0..card::LOOP_FRAMES)
            .filter(|&n| read_flash_in(&card_picture(&card::PEOPLE[1], n, 640, 360).unwrap(), (0.0, 0.0), size) == Some(true))
            .collect();
        let expected: Vec<u32> = (0..10).flat_map(|second| [second * 30, second * 30 + 1, second * 30 + 2]).collect();
        assert_eq!(flashes, expected);
    }

    #[test]
    fn no_two_neighbours_are_equal_and_the_background_is_the_persons() {
        for person in &card::PEOPLE {
            let mut before = None;
            for number in 0..card::LOOP_FRAMES {
                let picture = card_picture(person, number, 320, 180).unwrap();
                let at = |fraction: f64, side: u32| (fraction * f64::from(side)) as usize;
                let (y, cb, cr) = picture.planes();
                let (x, row) = (at(card::COLOUR_AT.0, 320), at(card::COLOUR_AT.1, 180));
                assert_eq!((y[row * 320 + x], cb[row / 2 * 160 + x / 2], cr[row / 2 * 160 + x / 2]), person.ycbcr);
                assert_ne!(before.as_ref(), Some(&picture));
                before = Some(picture);
            }
        }
    }

    #[test]
    fn a_picture_without_a_strip_has_no_counter() {
        let grey = Picture::new(640, 360, Arc::from(vec![90_u8; 640 * 360 * 3 / 2])).unwrap();
        assert_eq!(read_counter(&grey), None);
        assert_eq!(read_counter_in(&grey, (-400.0, 0.0), (640.0, 360.0)), None);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert_eq!(card_picture(&card::PEOPLE[0], 0, 0, 0), Err(PictureError::Size(0, 0)));
        assert_eq!(card_picture(&card::PEOPLE[0], 0, 9000, 16), Err(PictureError::Size(9000, 16)));
    }
}
