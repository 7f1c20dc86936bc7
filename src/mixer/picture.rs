//! A decoded picture.

use std::sync::Arc;

/// The memory that a picture lies in: its own, or a decoder's buffer that goes back to the decoder when the picture is forgotten.
pub type PictureMemory = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Where the rows of Y, U and V begin in the memory, and how far apart they are, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlaneLayout {
    /// First byte of Y, U and V.
    pub offsets: [usize; 3],
    /// From one row of Y to the next.
    pub luma_stride: usize,
    /// From one row of U or V to the next.
    pub chroma_stride: usize,
}

/// An I420 picture, 8 bits, BT.601/709 limited range: Y has `height` rows of `width` bytes, U and V `ceil(height/2)` rows of `ceil(width/2)`.
/// Cheap to clone.
#[derive(Clone)]
pub struct Picture {
    width: u32,
    height: u32,
    memory: PictureMemory,
    layout: PlaneLayout,
}

/// Why bytes are not a picture.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PictureError {
    /// A side is zero or above 8192.
    #[error("a picture of {0}x{1} pixels cannot be shown")]
    Size(u32, u32),
    /// The number of bytes does not fit the size.
    #[error("an I420 picture of {width}x{height} needs {needed} bytes, not {given}")]
    Length {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes that the size asks for.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// Rows reach beyond the memory, or overlap.
    #[error("the planes of an I420 picture of {0}x{1} do not lie within its memory")]
    Planes(u32, u32),
}

impl Picture {
    /// Takes packed planes Y, U, V.
    ///
    /// # Errors
    /// A side of zero or above 8192, or a length that does not fit.
    pub fn new(width: u32, height: u32, data: Arc<[u8]>) -> Result<Self, PictureError> {
        if width == 0 || height == 0 || width > 8192 || height > 8192 {
            return Err(PictureError::Size(width, height));
        }
        let (cw, ch) = (width.div_ceil(2) as usize, height.div_ceil(2) as usize);
        let luma = width as usize * height as usize;
        let needed = luma + 2 * cw * ch;
        if data.len() != needed {
            return Err(PictureError::Length { width, height, needed, given: data.len() });
        }
        let layout = PlaneLayout { offsets: [0, luma, luma + cw * ch], luma_stride: width as usize, chroma_stride: cw };
        Ok(Self { width, height, memory: Arc::new(data), layout })
    }

    /// Takes planes where they are, without copying them.
    ///
    /// # Errors
    /// A side of zero or above 8192, or planes that do not lie within the memory.
    pub fn in_memory(width: u32, height: u32, memory: PictureMemory, layout: PlaneLayout) -> Result<Self, PictureError> {
        if width == 0 || height == 0 || width > 8192 || height > 8192 {
            return Err(PictureError::Size(width, height));
        }
        let (cw, ch) = (width.div_ceil(2) as usize, height.div_ceil(2) as usize);
        let length = (*memory).as_ref().len();
        let lies_within = |offset: usize, stride: usize, row: usize, rows: usize| {
            let end = stride.checked_mul(rows - 1).and_then(|to_last| to_last.checked_add(row)?.checked_add(offset));
            stride >= row && end.is_some_and(|end| end <= length)
        };
        let [y, u, v] = layout.offsets;
        if !lies_within(y, layout.luma_stride, width as usize, height as usize)
            || !lies_within(u, layout.chroma_stride, cw, ch)
            || !lies_within(v, layout.chroma_stride, cw, ch)
        {
            return Err(PictureError::Planes(width, height));
        }
        Ok(Self { width, height, memory, layout })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Y, U and V, each from its first byte on; rows are [`Self::strides`] apart.
    pub fn planes(&self) -> (&[u8], &[u8], &[u8]) {
        let bytes = (*self.memory).as_ref();
        let [y, u, v] = self.layout.offsets.map(|offset| bytes.get(offset..).unwrap_or_default());
        let trim = |plane: &[u8], stride: usize, row: usize, rows: usize| plane.len().min(stride * (rows - 1) + row);
        let (cw, ch) = (self.width.div_ceil(2) as usize, self.height.div_ceil(2) as usize);
        let luma = trim(y, self.layout.luma_stride, self.width as usize, self.height as usize);
        let chroma = trim(u, self.layout.chroma_stride, cw, ch);
        (&y[..luma], &u[..chroma], &v[..trim(v, self.layout.chroma_stride, cw, ch)])
    }

    /// From one row to the next in bytes: of Y, and of U and V. Of a packed picture these are the widths.
    pub fn strides(&self) -> (usize, usize) {
        (self.layout.luma_stride, self.layout.chroma_stride)
    }

    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let (y, u, v) = self.planes();
        let (luma, chroma) = self.strides();
        let (width, half) = (self.width as usize, self.width.div_ceil(2) as usize);
        let cut = |stride: usize, row: usize| move |plane| <[u8]>::chunks(plane, stride).map(move |line| &line[..row]);
        cut(luma, width)(y).chain(cut(chroma, half)(u)).chain(cut(chroma, half)(v))
    }
}

/// Pictures are equal when they look equal; where their bytes lie does not matter.
impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height) == (other.width, other.height) && self.rows().eq(other.rows())
    }
}

impl Eq for Picture {}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3x3 pixels with rows 8 and 4 bytes apart; padding is 99.
    fn padded() -> (Arc<Vec<u8>>, PlaneLayout) {
        let mut memory = vec![99; 5 + 8 * 3 + 4 * 2 * 2];
        for (row, from) in [5, 13, 21].into_iter().enumerate() {
            memory[from..from + 3].fill(row as u8);
        }
        for (row, from) in [29, 33, 37, 41].into_iter().enumerate() {
            memory[from..from + 2].fill(10 + row as u8);
        }
        (Arc::new(memory), PlaneLayout { offsets: [5, 29, 37], luma_stride: 8, chroma_stride: 4 })
    }

    #[test]
    fn padding_is_not_part_of_a_picture() {
        let (memory, layout) = padded();
        let picture = Picture::in_memory(3, 3, memory, layout).unwrap();
        let packed = [&[0; 3][..], &[1; 3], &[2; 3], &[10; 2], &[11; 2], &[12; 2], &[13; 2]].concat();
        assert!(picture == Picture::new(3, 3, packed.clone().into()).unwrap());
        let other: Vec<u8> = packed.iter().map(|value| if *value == 13 { 14 } else { *value }).collect();
        assert!(picture != Picture::new(3, 3, other.into()).unwrap());
    }

    #[test]
    fn planes_that_reach_beyond_the_memory_are_refused() {
        let (memory, layout) = padded();
        let refused = |layout, height| {
            assert_eq!(Picture::in_memory(3, height, memory.clone(), layout), Err(PictureError::Planes(3, height)));
        };
        refused(PlaneLayout { offsets: [5, 29, 40], ..layout }, 3);
        refused(PlaneLayout { luma_stride: 2, ..layout }, 3);
        refused(PlaneLayout { chroma_stride: usize::MAX, ..layout }, 3);
        refused(layout, 7);
        assert_eq!(Picture::in_memory(0, 3, memory.clone(), layout), Err(PictureError::Size(0, 3)));
    }
}
