//! A small picture with transparency, prepared so that laying it over I420 costs one multiplication a byte.
//!
//! In: a rectangle of RGBA, drawn once. Out: factors and summands for the three planes. Pure memory; nothing here knows text.

use recorder_core::scene::Rgb;

use super::yuv::{PlanesMut, Ycc};

/// How much a halo covers where it is full.
const HALO_ALPHA: f32 = 0.8;

/// RGBA with straight colour and alpha as fractions of 1, to draw into.
pub(crate) struct Sheet {
    width: usize,
    height: usize,
    /// Premultiplied red, green, blue, and alpha, 0 to 255.
    pixels: Vec<[f32; 4]>,
}

impl Sheet {
    /// A transparent sheet; sides are rounded up to even.
    pub(crate) fn new(width_px: usize, height_px: usize) -> Self {
        let (width, height) = (width_px.max(1).next_multiple_of(2), height_px.max(1).next_multiple_of(2));
        Self { width, height, pixels: vec![[0.0; 4]; width * height] }
    }

    /// Width in pixels.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// Lays a colour over one pixel, covering `alpha` (0 to 1) of it. Outside is ignored.
    pub(crate) fn paint(&mut self, x: i32, y: i32, Rgb(r, g, b): Rgb, alpha: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width || y >= self.height {
            return;
        }
        let pixel = &mut self.pixels[y * self.width + x];
        for (channel, value) in pixel.iter_mut().zip([r, g, b, 255]) {
            *channel = *channel * (1.0 - alpha) + f32::from(value) * alpha;
        }
    }

    /// Lays a colour over the whole sheet wherever `distance` (pixels from a pixel's middle to a shape's edge, negative inside) says so, with a soft edge.
    pub(crate) fn shape(&mut self, colour: Rgb, alpha: f32, distance: impl Fn(f32, f32) -> f32) {
        for y in 0..self.height {
            for x in 0..self.width {
                let covered = (0.5 - distance(x as f32 + 0.5, y as f32 + 0.5)).clamp(0.0, 1.0);
                if covered > 0.0 {
                    self.paint(x as i32, y as i32, colour, covered * alpha);
                }
            }
        }
    }

    /// Lays a colour around everything that `letters`, a sheet of the same size, covers: full up to half of `reach` pixels away, then fading.
    pub(crate) fn halo(&mut self, letters: &Self, reach: f32, colour: Rgb) {
        let steps = reach.ceil() as i32;
        let near: Vec<(i32, i32, f32)> = (-steps..=steps)
            .flat_map(|dy| (-steps..=steps).map(move |dx| (dx, dy)))
            .map(|(dx, dy)| (dx, dy, (2.0 - 2.0 * (dx as f32).hypot(dy as f32) / reach.max(1.0)).clamp(0.0, 1.0)))
            .filter(|(.., weight)| *weight > 0.0)
            .collect();
        let covered = |x: i32, y: i32| {
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return 0.0 };
            if x < letters.width && y < letters.height { letters.pixels[y * letters.width + x][3] / 255.0 } else { 0.0 }
        };
        for y in 0..self.height as i32 {
            for x in 0..self.width as i32 {
                let alpha = near.iter().map(|(dx, dy, weight)| covered(x + dx, y + dy) * weight).fold(0.0, f32::max);
                if alpha > 0.0 {
                    self.paint(x, y, colour, alpha * HALO_ALPHA);
                }
            }
        }
    }

    /// The sheet as it will be laid over planes.
    pub(crate) fn into_overlay(self) -> Overlay {
        let (cw, ch) = (self.width / 2, self.height / 2);
        let mut overlay = Overlay {
            width: self.width,
            height: self.height,
            luma: Vec::with_capacity(self.width * self.height),
            chroma: Vec::with_capacity(cw * ch),
        };
        for pixel in &self.pixels {
            let (keep, [y, ..]) = terms(*pixel);
            overlay.luma.push(Term { keep, add: y });
        }
        for y in 0..ch {
            for x in 0..cw {
                let at = 2 * y * self.width + 2 * x;
                let mut mean = [0.0; 4];
                for pixel in [at, at + 1, at + self.width, at + self.width + 1].map(|i| self.pixels[i]) {
                    mean.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value / 4.0);
                }
                let (keep, [_, u, v]) = terms(mean);
                overlay.chroma.push(ChromaTerm { keep, add_u: u, add_v: v });
            }
        }
        overlay
    }
}

/// What remains of the picture below (of 256), and what is added to Y, Cb, Cr (times 256), for one premultiplied pixel.
fn terms([r, g, b, a]: [f32; 4]) -> (u16, [u16; 3]) {
    let alpha = (a / 255.0).clamp(0.0, 1.0);
    let keep = (256.0 * (1.0 - alpha)).round();
    let whole = if alpha > 0.0 { [r, g, b].map(|c| (c / alpha).round().clamp(0.0, 255.0) as u8) } else { [0; 3] };
    let Ycc(y, u, v) = Rgb(whole[0], whole[1], whole[2]).into();
    (keep as u16, [y, u, v].map(|c| (f32::from(c) * (256.0 - keep)).round() as u16))
}

#[derive(Clone, Copy)]
struct Term {
    keep: u16,
    add: u16,
}

#[derive(Clone, Copy)]
struct ChromaTerm {
    keep: u16,
    add_u: u16,
    add_v: u16,
}

/// A prepared picture with transparency.
pub(crate) struct Overlay {
    width: usize,
    height: usize,
    luma: Vec<Term>,
    chroma: Vec<ChromaTerm>,
}

impl Overlay {
    /// Width in pixels, even.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels, even.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        std::mem::size_of_val(self.luma.as_slice()) + std::mem::size_of_val(self.chroma.as_slice())
    }

    /// Lays the part of it that begins at the even position (`x`, `y`) over the planes; what hangs over on either side is left out.
    pub(crate) fn lay_over(&self, below: &mut PlanesMut<'_>, x: usize, y: usize) {
        if x >= self.width || y >= self.height {
            return;
        }
        let width = (self.width - x).min(below.width);
        let lines = below.y.chunks_mut(below.y_stride).take(below.height);
        for (terms, line) in self.luma.chunks(self.width).skip(y).zip(lines) {
            for (term, value) in terms[x..].iter().zip(&mut line[..width]) {
                *value = blend(*value, term.keep, term.add);
            }
        }
        let (cw, ch) = (width.div_ceil(2), below.height.div_ceil(2));
        let lines = below.u.chunks_mut(below.c_stride).zip(below.v.chunks_mut(below.c_stride)).take(ch);
        for (terms, (u, v)) in self.chroma.chunks(self.width / 2).skip(y / 2).zip(lines) {
            for ((term, u), v) in terms[x / 2..].iter().zip(&mut u[..cw]).zip(&mut v[..cw]) {
                *u = blend(*u, term.keep, term.add_u);
                *v = blend(*v, term.keep, term.add_v);
            }
        }
    }
}

/// One colour with transparency, to be laid over any number of pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tint {
    keep: u16,
    add: [u16; 3],
}

impl Tint {
    /// A colour that covers `alpha` (0 to 1) of what is below.
    pub(crate) fn new(Rgb(r, g, b): Rgb, alpha: f32) -> Self {
        let (keep, add) = terms([r, g, b, 255].map(|channel| f32::from(channel) * alpha));
        Self { keep, add }
    }

    /// Lays it over all of the planes.
    pub(crate) fn lay_over(self, below: &mut PlanesMut<'_>) {
        let (width, height) = (below.width, below.height);
        let tint = |plane: &mut [u8], stride: usize, row: usize, rows: usize, add: u16| {
            for line in plane.chunks_mut(stride).take(rows) {
                line[..row].iter_mut().for_each(|value| *value = blend(*value, self.keep, add));
            }
        };
        tint(below.y, below.y_stride, width, height, self.add[0]);
        tint(below.u, below.c_stride, width.div_ceil(2), height.div_ceil(2), self.add[1]);
        tint(below.v, below.c_stride, width.div_ceil(2), height.div_ceil(2), self.add[2]);
    }
}

/// At most 255: `keep` of 256 parts of the old value, and the rest in `add`.
fn blend(old: u8, keep: u16, add: u16) -> u8 {
    ((u32::from(old) * u32::from(keep) + u32::from(add) + 128) >> 8) as u8
}
