//! Recognises the tiny pictures that an SFU sends when a Track ends, so that they are not shown.
//!
//! In: whole encoded frames. Out: the size in a keyframe's header. Pure; runs on the reception thread.
//! It reads headers only, and takes whatever it cannot read for an ordinary frame: the decoder will judge.

use crate::media::Codec;

/// LiveKit's blank frames are 8x8 (VP8) and 2x2 or 16x16 coded (H.264); no camera is this narrow.
const BLANK_WIDTH_PX: u32 = 16;

/// Whether this keyframe is a blank frame of the SFU.
pub fn is_blank(codec: Codec, keyframe: &[u8]) -> bool {
    let size = match codec {
        Codec::Vp8 => vp8_size(keyframe),
        Codec::H264 => h264_size(keyframe),
        Codec::Vp9 | Codec::Opus => None,
    };
    size.is_some_and(|(width, _)| width <= BLANK_WIDTH_PX)
}

/// Width and height in a VP8 keyframe's header (RFC 6386 §9.1), or `None` for anything else.
pub fn vp8_size(frame: &[u8]) -> Option<(u32, u32)> {
    let header: &[u8; 10] = frame.first_chunk()?;
    let is_keyframe = header[0] & 1 == 0;
    if !is_keyframe || header[3..6] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some((side(header[6], header[7]), side(header[8], header[9])))
}

/// Width and height in the first sequence parameter set of an Annex B access unit (H.264 §7.3.2.1.1), cropping applied.
pub fn h264_size(access_unit: &[u8]) -> Option<(u32, u32)> {
    let sps = nal_units(access_unit).find(|nal| nal.first().is_some_and(|header| header & 0x1f == 7))?;
    // A parameter set is far shorter; the bound keeps garbage cheap.
    let payload = without_emulation_prevention(sps.get(1..)?.get(..256.min(sps.len() - 1))?);
    let mut bits = Bits { data: &payload, at: 0 };
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.ue()?;
    let mut chroma_format = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma_format = bits.ue()?;
        if chroma_format == 3 {
            bits.take(1)?;
        }
        bits.ue()?;
        bits.ue()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            let lists = if chroma_format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if bits.take(1)? == 1 {
                    bits.skip_scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.ue()?;
    match bits.ue()? {
        0 => _ = bits.ue()?,
        1 => {
            bits.take(1)?;
            bits.ue()?;
            bits.ue()?;
            for _ in 0..bits.ue()?.min(256) {
                bits.ue()?;
            }
        }
        _ => {}
    }
    bits.ue()?;
    bits.take(1)?;
    let width_mbs = bits.ue()?.checked_add(1)?;
    let height_units = bits.ue()?.checked_add(1)?;
    let frame_mbs_only = bits.take(1)?;
    if frame_mbs_only == 0 {
        bits.take(1)?;
    }
    bits.take(1)?;
    let width = width_mbs.checked_mul(16)?;
    let height = height_units.checked_mul(16)?.checked_mul(2 - frame_mbs_only)?;
    if bits.take(1)? == 0 {
        return Some((width, height));
    }
    let (unit_x, unit_y) = match chroma_format {
        0 | 3 => (1, 2 - frame_mbs_only),
        2 => (2, 2 - frame_mbs_only),
        _ => (2, 2 * (2 - frame_mbs_only)),
    };
    let (left, right, top, bottom) = (bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?);
    let crop_x = left.checked_add(right)?.checked_mul(unit_x)?;
    let crop_y = top.checked_add(bottom)?.checked_mul(unit_y)?;
    Some((width.checked_sub(crop_x)?, height.checked_sub(crop_y)?))
}

/// The NAL units between Annex B start codes.
fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let from = rest?;
        let next = find_start_code(from);
        let unit = &from[..next.unwrap_or(from.len())];
        rest = next.and_then(|at| after_start_code(&from[at..]));
        Some(unit)
    })
}

fn find_start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|w| w == [0, 0, 1])
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    data.get(find_start_code(data)? + 3..)
}

/// The emulation prevention byte: a 3 after two zeros is not part of the payload (H.264 §7.4.1).
fn without_emulation_prevention(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.data.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// Exp-Golomb (H.264 §9.1), at most 32 bits.
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.take(zeros)?;
        ((1_u32 << zeros) - 1).checked_add(rest)
    }

    fn skip_scaling_list(&mut self, entries: u32) -> Option<()> {
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..entries {
            if next != 0 {
                let code = i64::from(self.ue()?);
                let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
                next = (last + delta).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vp8_keyframe(width: u16, height: u16) -> Vec<u8> {
        let mut frame = vec![0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a];
        frame.extend(width.to_le_bytes());
        frame.extend(height.to_le_bytes());
        frame.extend([0; 20]);
        frame
    }

    /// Constrained baseline, 1280x720, with an emulation prevention byte in its VUI.
    const SPS_720_BASELINE: &[u8] =
        &[0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10];

    /// A baseline parameter set by hand: 16x16 coded, cropped to 2x2.
    fn sps_2x2() -> Vec<u8> {
        let mut bits = String::new();
        bits += "1"; // seq_parameter_set_id 0
        bits += "1"; // log2_max_frame_num 0
        bits += "011"; // pic_order_cnt_type 2
        bits += "1"; // max_num_ref_frames 0
        bits += "0"; // gaps
        bits += "1"; // one macroblock wide
        bits += "1"; // one high
        bits += "1"; // frame_mbs_only
        bits += "1"; // direct_8x8
        bits += "1"; // cropping
        bits += "1"; // left 0
        bits += "0001000"; // right 7 units of 2
        bits += "1"; // top 0
        bits += "0001000"; // bottom 7
        bits += "0"; // vui
        bits += "1"; // stop bit
        let mut sps = vec![0, 0, 0, 1, 0x67, 66, 0xe0, 0x1f];
        for chunk in bits.as_bytes().chunks(8) {
            let mut byte = 0;
            for (i, bit) in chunk.iter().enumerate() {
                byte |= (bit - b'0') << (7 - i);
            }
            sps.push(byte);
        }
        sps.extend([0, 0, 0, 1, 0x65, 0x88]);
        sps
    }

    #[test]
    fn blank_keyframes_are_recognised_and_small_cameras_are_not() {
        assert!(is_blank(Codec::Vp8, &vp8_keyframe(8, 8)));
        assert!(is_blank(Codec::Vp8, &vp8_keyframe(16, 16)));
        assert!(!is_blank(Codec::Vp8, &vp8_keyframe(160, 90)));
        assert_eq!(vp8_size(&vp8_keyframe(0x4000 | 320, 0x8000 | 180)), Some((320, 180)), "the upper two bits are scaling hints");
        assert_eq!(h264_size(&sps_2x2()), Some((2, 2)));
        assert!(is_blank(Codec::H264, &sps_2x2()));
        let mut large = vec![0, 0, 1];
        large.extend(SPS_720_BASELINE);
        assert_eq!(h264_size(&large), Some((1280, 720)));
        assert!(!is_blank(Codec::H264, &large));
    }

    #[test]
    fn what_cannot_be_read_is_an_ordinary_frame() {
        assert!(!is_blank(Codec::Vp8, &[]));
        assert!(!is_blank(Codec::Vp8, &[0x11, 0, 0, 0x9d, 1, 0x2a, 8, 0, 8, 0]), "an interframe has no size");
        assert!(!is_blank(Codec::H264, &[0, 0, 1, 0x67]));
        assert!(!is_blank(Codec::H264, &[0, 0, 1, 0x65, 1, 2, 3]));
        assert!(!is_blank(Codec::Opus, &vp8_keyframe(8, 8)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..40usize) {
            _ = vp8_size(&bytes);
            _ = h264_size(&bytes);
            let mut unit = vec![0, 0, 0, 1, 0x67, 100];
            unit.extend(&bytes);
            _ = h264_size(&unit);
            let mut damaged = sps_2x2();
            let len = damaged.len();
            damaged.truncate(at.min(len));
            _ = h264_size(&damaged);
        }
    }
}
