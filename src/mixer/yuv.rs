//! I420 planes in memory, and the scaler.
//!
//! In: views of planes. Out: copied, scaled, filled planes. Runs on whichever thread draws. The only place that calls libyuv (Debian package
//! libyuv-dev); each call is checked against the lengths of the slices first, and refused if they are too short.

use std::ffi::c_int;

use recorder_core::scene::Rgb;

use super::picture::Picture;
#[cfg(target_arch = "x86_64")]
use super::shrink::{self, Rows, RowsMut};

/// A colour as 8-bit limited-range BT.601 Y, Cb, Cr.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ycc(pub(crate) u8, pub(crate) u8, pub(crate) u8);

impl From<Rgb> for Ycc {
    /// ITU-R BT.601 §2.5, limited range: the matrix that browsers use for camera pictures.
    fn from(Rgb(r, g, b): Rgb) -> Self {
        let (r, g, b) = (f32::from(r), f32::from(g), f32::from(b));
        let y = 16.0 + (65.481 * r + 128.553 * g + 24.966 * b) / 255.0;
        let cb = 128.0 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255.0;
        let cr = 128.0 + (112.0 * r - 93.786 * g - 18.214 * b) / 255.0;
        Self(y.round() as u8, cb.round() as u8, cr.round() as u8)
    }
}

/// Read-only planes. Chroma planes have half the size, rounded up.
#[derive(Clone, Copy)]
pub(crate) struct Planes<'a> {
    y: &'a [u8],
    u: &'a [u8],
    v: &'a [u8],
    y_stride: usize,
    c_stride: usize,
    width: usize,
    height: usize,
}

/// Planes to write to.
pub(crate) struct PlanesMut<'a> {
    pub(crate) y: &'a mut [u8],
    pub(crate) u: &'a mut [u8],
    pub(crate) v: &'a mut [u8],
    pub(crate) y_stride: usize,
    pub(crate) c_stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Why planes could not be scaled; a mistake of the caller, never of the picture.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ScaleError {
    /// A view reaches beyond its memory, or is empty.
    #[error("the planes are shorter than their size says")]
    Short,
    /// libyuv refused.
    #[error("libyuv refused to scale, code {0}")]
    Refused(i32),
}

/// Whether `rows` rows of `row` bytes, `stride` apart, lie within `len` bytes.
fn holds(len: usize, stride: usize, row: usize, rows: usize) -> bool {
    row > 0 && rows > 0 && row <= stride && len >= stride * (rows - 1) + row
}

impl<'a> Planes<'a> {
    /// A whole picture.
    pub(crate) fn of(picture: &'a Picture) -> Self {
        let (y, u, v) = picture.planes();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let (y_stride, c_stride) = picture.strides();
        Self { y, u, v, y_stride, c_stride, width, height }
    }

    /// The part that begins at the even position (`x`, `y`), cut to what there is.
    pub(crate) fn part(self, x: usize, y: usize, width: usize, height: usize) -> Self {
        let (x, y) = ((x & !1).min((self.width - 1) & !1), (y & !1).min((self.height - 1) & !1));
        let chroma = y / 2 * self.c_stride + x / 2;
        Self {
            y: &self.y[y * self.y_stride + x..],
            u: &self.u[chroma..],
            v: &self.v[chroma..],
            width: width.clamp(1, self.width - x),
            height: height.clamp(1, self.height - y),
            ..self
        }
    }

    fn sound(&self) -> bool {
        let (cw, ch) = (self.width.div_ceil(2), self.height.div_ceil(2));
        holds(self.y.len(), self.y_stride, self.width, self.height)
            && holds(self.u.len(), self.c_stride, cw, ch)
            && holds(self.v.len(), self.c_stride, cw, ch)
    }
}

impl PlanesMut<'_> {
    fn sound(&self) -> bool {
        let (cw, ch) = (self.width.div_ceil(2), self.height.div_ceil(2));
        holds(self.y.len(), self.y_stride, self.width, self.height)
            && holds(self.u.len(), self.c_stride, cw, ch)
            && holds(self.v.len(), self.c_stride, cw, ch)
    }

    /// Makes everything one colour.
    pub(crate) fn fill(&mut self, colour: Ycc) {
        let (cw, ch) = (self.width.div_ceil(2), self.height.div_ceil(2));
        fill_rows(self.y, self.y_stride, self.width, self.height, colour.0);
        fill_rows(self.u, self.c_stride, cw, ch, colour.1);
        fill_rows(self.v, self.c_stride, cw, ch, colour.2);
    }
}

fn fill_rows(plane: &mut [u8], stride: usize, row: usize, rows: usize, value: u8) {
    if row > 0 {
        plane.chunks_mut(stride.max(1)).take(rows).for_each(|line| line[..row].fill(value));
    }
}

fn copy_rows(from: &[u8], from_stride: usize, to: &mut [u8], to_stride: usize, row: usize, rows: usize) {
    for (source, target) in from.chunks(from_stride).zip(to.chunks_mut(to_stride)).take(rows) {
        target[..row].copy_from_slice(&source[..row]);
    }
}

/// Fills `to` with `from`: a plain copy when they have the same size, else scaled, averaging over areas when it gets much smaller.
///
/// # Errors
/// A view that is empty or reaches beyond its memory.
pub(crate) fn scale(from: Planes<'_>, to: &mut PlanesMut<'_>) -> Result<(), ScaleError> {
    if !from.sound() || !to.sound() {
        return Err(ScaleError::Short);
    }
    if (from.width, from.height) == (to.width, to.height) {
        let (cw, ch) = (from.width.div_ceil(2), from.height.div_ceil(2));
        copy_rows(from.y, from.y_stride, to.y, to.y_stride, from.width, from.height);
        copy_rows(from.u, from.c_stride, to.u, to.c_stride, cw, ch);
        copy_rows(from.v, from.c_stride, to.v, to.c_stride, cw, ch);
        return Ok(());
    }
    #[cfg(target_arch = "x86_64")]
    if shrink::takes((from.width, from.height), (to.width, to.height)) {
        shrink_planes(from, to);
        return Ok(());
    }
    // libyuv divides a sum by the area in 16-bit fractions: too coarse for large areas, which would come out dark. So they are taken in steps.
    if from.width * from.height > STEP_AREA * to.width * to.height {
        let (width, height) = ((8 * to.width).min(from.width), (8 * to.height).min(from.height));
        let (luma, chroma) = (width * height, width.div_ceil(2) * height.div_ceil(2));
        let mut memory = vec![0; luma + 2 * chroma];
        let (y, rest) = memory.split_at_mut(luma);
        let (u, v) = rest.split_at_mut(chroma);
        scale(from, &mut PlanesMut { y, u, v, y_stride: width, c_stride: width.div_ceil(2), width, height })?;
        return scale(Planes { y, u, v, y_stride: width, c_stride: width.div_ceil(2), width, height }, to);
    }
    // SAFETY: `sound` has shown that every row of every plane lies within its slice, for source and target; libyuv reads and writes only
    // within the given sizes and strides, keeps no pointer, and the sizes (at most 8192) fit a C int.
    let code = unsafe {
        I420Scale(
            from.y.as_ptr(),
            from.y_stride as c_int,
            from.u.as_ptr(),
            from.c_stride as c_int,
            from.v.as_ptr(),
            from.c_stride as c_int,
            from.width as c_int,
            from.height as c_int,
            to.y.as_mut_ptr(),
            to.y_stride as c_int,
            to.u.as_mut_ptr(),
            to.c_stride as c_int,
            to.v.as_mut_ptr(),
            to.c_stride as c_int,
            to.width as c_int,
            to.height as c_int,
            FILTER_BOX,
        )
    };
    if code == 0 { Ok(()) } else { Err(ScaleError::Refused(code)) }
}

/// All three planes, up to twice smaller.
#[cfg(target_arch = "x86_64")]
fn shrink_planes(from: Planes<'_>, to: &mut PlanesMut<'_>) {
    let (from_width, from_height) = (from.width.div_ceil(2), from.height.div_ceil(2));
    let (width, height) = (to.width.div_ceil(2), to.height.div_ceil(2));
    let luma = Rows { bytes: from.y, stride: from.y_stride, width: from.width, height: from.height };
    shrink::shrink(luma, &mut RowsMut { bytes: to.y, stride: to.y_stride, width: to.width, height: to.height });
    for (bytes, target) in [(from.u, &mut *to.u), (from.v, &mut *to.v)] {
        let chroma = Rows { bytes, stride: from.c_stride, width: from_width, height: from_height };
        shrink::shrink(chroma, &mut RowsMut { bytes: target, stride: to.c_stride, width, height });
    }
}

/// Source pixels a target pixel that one step may average.
const STEP_AREA: usize = 256;

/// libyuv `kFilterBox`: area average below half size, bilinear otherwise.
const FILTER_BOX: c_int = 3;

#[link(name = "yuv")]
unsafe extern "C" {
    // libyuv/scale.h. The result is 0 on success.
    fn I420Scale(
        src_y: *const u8,
        src_stride_y: c_int,
        src_u: *const u8,
        src_stride_u: c_int,
        src_v: *const u8,
        src_stride_v: c_int,
        src_width: c_int,
        src_height: c_int,
        dst_y: *mut u8,
        dst_stride_y: c_int,
        dst_u: *mut u8,
        dst_stride_u: c_int,
        dst_v: *mut u8,
        dst_stride_v: c_int,
        dst_width: c_int,
        dst_height: c_int,
        filtering: c_int,
    ) -> c_int;
}
