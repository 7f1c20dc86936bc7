//! Reads test cards out of raw pictures, at the places that `card` names.

use roomcast::rehearsal::card::{self, PEOPLE};

/// Where a tile lies on the canvas, in pixels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TileRect {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

impl TileRect {
    /// Tile `index` of a grid of equal tiles, row by row.
    pub fn in_grid(index: usize, columns: usize, width: usize, height: usize) -> Self {
        TileRect { x: index % columns * width, y: index / columns * height, width, height }
    }
}

/// What is seen in a tile of one picture.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sight {
    /// Index in [`PEOPLE`] of whoever has this colour.
    pub person: Option<usize>,
    /// The picture counter.
    pub counter: Option<u32>,
    /// Whether the flash is on.
    pub is_flash: bool,
}

/// A raw I420 picture.
pub struct Raw<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
}

/// Summed distance of Y, Cb and Cr at which a colour is still taken for a person's.
const COLOUR_TOLERANCE: i32 = 36;
/// Smallest distance of white and black in a strip that is readable.
const READABLE_CONTRAST: f64 = 70.0;

impl<'a> Raw<'a> {
    /// A tightly packed I420 picture.
    pub fn new(data: &'a [u8], width: usize, height: usize) -> Self {
        Raw { data, width, height }
    }

    fn luma(&self, tile: &TileRect, x: (f64, f64), y: (f64, f64)) -> f64 {
        self.mean(0, self.width, self.height, tile, x, y, 1)
    }

    fn colour(&self, tile: &TileRect, x: (f64, f64), y: (f64, f64)) -> (i32, i32, i32) {
        let luma_size = self.width * self.height;
        let (chroma_width, chroma_height) = (self.width / 2, self.height / 2);
        let chroma_size = chroma_width * chroma_height;
        let of_plane = |offset, width, height, scale| self.mean(offset, width, height, tile, x, y, scale).round() as i32;
        (
            of_plane(0, self.width, self.height, 1),
            of_plane(luma_size, chroma_width, chroma_height, 2),
            of_plane(luma_size + chroma_size, chroma_width, chroma_height, 2),
        )
    }

    /// Mean of a rectangle given in fractions of the tile; at least one pixel.
    #[allow(clippy::too_many_arguments)]
    fn mean(
        &self,
        offset: usize,
        width: usize,
        height: usize,
        tile: &TileRect,
        x: (f64, f64),
        y: (f64, f64),
        scale: usize,
    ) -> f64 {
        let place = |start: usize, length: usize, at: f64| (start as f64 + at * length as f64) / scale as f64;
        let span = |from: f64, to: f64, limit: usize| {
            let first = (from.round() as usize).min(limit - 1);
            first..(to.round() as usize).clamp(first + 1, limit)
        };
        let columns = span(place(tile.x, tile.width, x.0), place(tile.x, tile.width, x.1), width);
        let rows = span(place(tile.y, tile.height, y.0), place(tile.y, tile.height, y.1), height);
        let (mut sum, mut count) = (0_u64, 0_u64);
        for row in rows {
            for value in &self.data[offset + row * width..][columns.clone()] {
                sum += u64::from(*value);
                count += 1;
            }
        }
        sum as f64 / count as f64
    }
}

/// Reads one tile.
pub fn look(picture: &Raw<'_>, tile: &TileRect) -> Sight {
    let (x, y) = card::COLOUR_AT;
    let colour = picture.colour(tile, (x - 0.02, x + 0.02), (y - 0.03, y + 0.03));
    Sight { person: nearest(colour), counter: counter(picture, tile), is_flash: flash(picture, tile) }
}

fn nearest(colour: (i32, i32, i32)) -> Option<usize> {
    let distance = |person: &card::Person| {
        let (luma, blue, red) = person.ycbcr;
        (colour.0 - i32::from(luma)).abs() + (colour.1 - i32::from(blue)).abs() + (colour.2 - i32::from(red)).abs()
    };
    let (index, best) = PEOPLE.iter().map(distance).enumerate().min_by_key(|(_, distance)| *distance)?;
    (best <= COLOUR_TOLERANCE).then_some(index)
}

fn counter(picture: &Raw<'_>, tile: &TileRect) -> Option<u32> {
    let width = (card::STRIP_X.1 - card::STRIP_X.0) / f64::from(card::CELLS);
    let height = card::STRIP_Y.1 - card::STRIP_Y.0;
    let cell = |index: u32| {
        let left = card::STRIP_X.0 + width * f64::from(index);
        let (top, bottom) = (card::STRIP_Y.0 + height * 0.3, card::STRIP_Y.1 - height * 0.3);
        picture.luma(tile, (left + width * 0.3, left + width * 0.7), (top, bottom))
    };
    let (white, black) = (cell(0), cell(1));
    if white - black < READABLE_CONTRAST {
        return None;
    }
    let mut value = 0;
    for bit in 0..card::COUNTER_BITS {
        let level = (cell(2 + bit) - black) / (white - black);
        if (0.3..0.7).contains(&level) {
            return None;
        }
        value = value << 1 | u32::from(level >= 0.7);
    }
    (value < card::LOOP_FRAMES).then_some(value)
}

fn flash(picture: &Raw<'_>, tile: &TileRect) -> bool {
    let inner = |(from, to): (f64, f64)| (from + (to - from) * 0.25, to - (to - from) * 0.25);
    picture.luma(tile, inner(card::FLASH_X), inner(card::FLASH_Y)) > 126.0
}
