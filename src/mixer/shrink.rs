//! One plane made up to twice smaller, as most tiles ask for: a layer of 640x360 in a tile of 426x240.
//!
//! In: rows of bytes. Out: fewer and shorter ones, each pixel blended from the four around its centre. Runs on whichever thread draws. libyuv does the
//! same, but makes two pixels of a row at a time; here one shuffle makes sixteen, by a pattern that is the same in every row (decision 0036).
//! Needs AVX2, which servers have had since 2013; on others libyuv goes on.

use std::arch::x86_64::{
    _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_storeu_si128, _mm256_castsi256_si128, _mm256_loadu_si256,
    _mm256_maddubs_epi16, _mm256_mulhrs_epi16, _mm256_packus_epi16, _mm256_permute4x64_epi64, _mm256_set_m128i,
    _mm256_set1_epi16, _mm256_shuffle_epi8, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};

/// Rows of a plane, read only.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Rows of a plane to write to.
pub(crate) struct RowsMut<'a> {
    pub(crate) bytes: &'a mut [u8],
    pub(crate) stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Weights are parts of this, so that two of them and two bytes stay within 16 bits with a sign.
const WHOLE: u16 = 64;
/// Multiplied with this, and the upper 17 of 32 bits taken with rounding, a sum of weighted bytes becomes a byte: 2^15 / [`WHOLE`].
const TO_BYTE: i16 = 512;
/// Pixels that one shuffle makes, and half of them, whose bytes one half of the shuffle reads: eight pixels less than two apart, and their neighbours.
const AT_ONCE: usize = 16;
const HALF: usize = 8;
const READ: usize = 16;
/// Bytes of two rows that are blended at once.
const BLENDED: usize = 32;
/// Rows ahead that are fetched: a decoder wrote them long ago, so they are in no cache.
const AHEAD: usize = 4;

/// Whether a picture of this size is made smaller here: less than twice in each direction, not in one of libyuv's own fast ratios, and not tiny.
pub(crate) fn takes((from_width, from_height): (usize, usize), (width, height): (usize, usize)) -> bool {
    let is_shrunk = |from: usize, to: usize| to <= from && from < 2 * to;
    let is_three_quarters = 4 * width == 3 * from_width && 4 * height == 3 * from_height;
    is_shrunk(from_width, width)
        && is_shrunk(from_height, height)
        && from_width != width
        && !is_three_quarters
        // Its colours have half the size.
        && from_width >= 2 * BLENDED
        && width >= 2 * AT_ONCE
        && std::is_x86_feature_detected!("avx2")
}

/// Where a pixel lies between two neighbours of the source: the first one, and the second one's weight.
fn between(index: usize, from: usize, to: usize) -> (usize, u16) {
    // 16 binary digits behind the point; the centres of the first and the last pixels lie as far from the edges in source and target.
    let step = (from << 16) / to;
    let at = (index * step + step / 2).saturating_sub(1 << 15).min((from - 1) << 16);
    (at >> 16, ((at & 0xffff) >> 10) as u16)
}

/// How sixteen pixels next to each other come out of a row.
struct Group {
    /// Where they begin in the target, and where the bytes of each half begin in the row.
    to: usize,
    from: [usize; 2],
    pick: [u8; 2 * AT_ONCE],
    weights: [u8; 2 * AT_ONCE],
}

impl Group {
    fn new(to: usize, from_width: usize, to_width: usize) -> Self {
        let from = [to, to + HALF].map(|first| between(first, from_width, to_width).0);
        let mut group = Self { to, from, pick: [0; 2 * AT_ONCE], weights: [0; 2 * AT_ONCE] };
        let pairs = group.pick.as_chunks_mut::<2>().0.iter_mut().zip(group.weights.as_chunks_mut::<2>().0);
        for (index, (pick, weights)) in pairs.enumerate() {
            let (at, weight) = between(to + index, from_width, to_width);
            let beside = (at - from[index / HALF]) as u8;
            *pick = [beside, beside + 1];
            *weights = [(WHOLE - weight) as u8, weight as u8];
        }
        group
    }
}

/// Makes a plane smaller, of a picture that [`takes`] has allowed; every row must lie within its memory.
pub(crate) fn shrink(from: Rows<'_>, to: &mut RowsMut<'_>) {
    // The last group begins earlier where they do not fill the row.
    let firsts = (0..to.width).step_by(AT_ONCE).map(|first| first.min(to.width - AT_ONCE));
    let groups: Vec<Group> = firsts.map(|first| Group::new(first, from.width, to.width)).collect();
    // One row blended from two, and what the last shuffle reads beyond it, which has no weight.
    let mut row = vec![0; from.width + READ];
    for (index, target) in to.bytes.chunks_mut(to.stride).take(to.height).enumerate() {
        let (above, weight) = between(index, from.height, to.height);
        let line = |index: usize| &from.bytes[index.min(from.height - 1) * from.stride..][..from.width];
        // SAFETY: `takes` has found AVX2.
        unsafe {
            blend([line(above), line(above + 1)], line(above + AHEAD), weight, &mut row[..from.width]);
            squeeze(&row, &groups, &mut target[..to.width]);
        }
    }
}

/// A row between two rows, while a later one is fetched.
#[target_feature(enable = "avx2")]
fn blend(lines: [&[u8]; 2], ahead: &[u8], weight: u16, row: &mut [u8]) {
    let width = row.len();
    assert!(width >= BLENDED && lines.iter().all(|line| line.len() == width) && ahead.len() == width, "rows of one length");
    let weights = _mm256_set1_epi16(((WHOLE - weight) | weight << 8) as i16);
    let to_byte = _mm256_set1_epi16(TO_BYTE);
    let ([above, below], ahead, row) = (lines.map(<[u8]>::as_ptr), ahead.as_ptr(), row.as_mut_ptr());
    let mut at = 0;
    loop {
        // SAFETY: `at + BLENDED` is never above `width`, the length of all four.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(ahead.add(at).cast());
            let (above, below) = (_mm256_loadu_si256(above.add(at).cast()), _mm256_loadu_si256(below.add(at).cast()));
            let low = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(above, below), weights);
            let high = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(above, below), weights);
            let bytes = _mm256_packus_epi16(_mm256_mulhrs_epi16(low, to_byte), _mm256_mulhrs_epi16(high, to_byte));
            _mm256_storeu_si256(row.add(at).cast(), bytes);
        }
        if at + BLENDED >= width {
            break;
        }
        at = (at + BLENDED).min(width - BLENDED);
    }
}

/// A shorter row.
#[target_feature(enable = "avx2")]
fn squeeze(row: &[u8], groups: &[Group], target: &mut [u8]) {
    let to_byte = _mm256_set1_epi16(TO_BYTE);
    for group in groups {
        let [left, right] = group.from;
        assert!(left.max(right) + READ <= row.len() && group.to + AT_ONCE <= target.len(), "a group within its rows");
        // SAFETY: just asserted; pattern and weights are arrays of the size that is read.
        unsafe {
            let half = |from: usize| _mm_loadu_si128(row.as_ptr().add(from).cast());
            let source = _mm256_set_m128i(half(right), half(left));
            let pairs = _mm256_shuffle_epi8(source, _mm256_loadu_si256(group.pick.as_ptr().cast()));
            let sums = _mm256_maddubs_epi16(pairs, _mm256_loadu_si256(group.weights.as_ptr().cast()));
            let values = _mm256_mulhrs_epi16(sums, to_byte);
            // Each half of the register packs its own eight pixels, twice.
            let pixels = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi16(values, values));
            _mm_storeu_si128(target.as_mut_ptr().add(group.to).cast(), _mm256_castsi256_si128(pixels));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without any order.
    fn noise(length: usize) -> Vec<u8> {
        (1..=length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
    }

    /// What the pixel should be, one by one and without shuffles.
    fn plain(from: Rows<'_>, (x, y): (usize, usize), (width, height): (usize, usize)) -> u8 {
        let ((left, across), (above, down)) = (between(x, from.width, width), between(y, from.height, height));
        let blend = |a: u8, b: u8, weight: u16| ((u16::from(a) * (64 - weight) + u16::from(b) * weight + 32) / 64) as u8;
        let column = |x: usize| {
            let at = |y: usize| from.bytes[y.min(from.height - 1) * from.stride + x.min(from.width - 1)];
            blend(at(above), at(above + 1), down)
        };
        blend(column(left), column(left + 1), across)
    }

    #[test]
    fn every_pixel_is_blended_from_the_four_around_its_centre_and_nothing_else_is_written() {
        for (from_width, from_height) in (32_usize..=100).step_by(3).flat_map(|width| [(width, 5_usize), (width, 18)]) {
            for width in from_width.div_ceil(2)..=from_width {
                let height = from_height.div_ceil(2) + width % (from_height / 2 + 1);
                let (stride, target_stride) = (from_width + 3, width + 5);
                let bytes = noise(stride * from_height);
                let from = Rows { bytes: &bytes, stride, width: from_width, height: from_height };
                let mut made = vec![7; target_stride * height];
                shrink(from, &mut RowsMut { bytes: &mut made, stride: target_stride, width, height });
                for (y, row) in made.chunks(target_stride).enumerate() {
                    let wanted: Vec<u8> = (0..width).map(|x| plain(from, (x, y), (width, height))).collect();
                    assert_eq!(row[..width], wanted, "row {y}, {from_width}x{from_height} to {width}x{height}");
                    assert!(row[width..].iter().all(|byte| *byte == 7), "written beyond the row");
                }
            }
        }
    }

    #[test]
    fn what_is_bright_stays_as_bright_and_edges_stay_where_they_are() {
        // White on the right of the middle.
        let bytes: Vec<u8> = (0..640 * 360).map(|at| if at % 640 < 320 { 16 } else { 235 }).collect();
        let mut made = vec![0; 426 * 240];
        let from = Rows { bytes: &bytes, stride: 640, width: 640, height: 360 };
        shrink(from, &mut RowsMut { bytes: &mut made, stride: 426, width: 426, height: 240 });
        for row in made.chunks(426) {
            assert!(row[..212].iter().all(|byte| *byte == 16) && row[214..].iter().all(|byte| *byte == 235), "{row:?}");
        }
    }

    #[test]
    fn nothing_moves_by_a_part_of_a_pixel() {
        // Ramps that rise by seven with each pixel.
        let bytes: Vec<u8> = (0..640 * 360).map(|at| (at % 640 % 32 * 7) as u8).collect();
        let mut made = vec![0; 426 * 240];
        let from = Rows { bytes: &bytes, stride: 640, width: 640, height: 360 };
        shrink(from, &mut RowsMut { bytes: &mut made, stride: 426, width: 426, height: 240 });
        for (x, pixel) in made[..426].iter().enumerate() {
            let on_ramp = ((x as f64 + 0.5) * 640.0 / 426.0 - 0.5) % 32.0;
            let off = f64::from(*pixel) - on_ramp * 7.0;
            assert!(on_ramp > 31.0 || off.abs() < 1.2, "{x}: {off:+.2}");
        }
    }

    #[test]
    fn only_less_than_twice_is_taken() {
        assert!(
            takes((640, 360), (426, 240))
                && takes((640, 360), (384, 216))
                && takes((320, 180), (212, 180))
                && takes((64, 64), (33, 33))
        );
        for (from, to) in [
            ((640, 360), (640, 360)),
            ((640, 360), (640, 200)),
            ((640, 360), (320, 180)),
            ((640, 360), (480, 270)),
            ((640, 360), (426, 400)),
            ((640, 360), (300, 240)),
            ((62, 40), (40, 30)),
            ((64, 40), (64, 30)),
        ] {
            assert!(!takes(from, to), "{from:?} to {to:?}");
        }
    }
}
