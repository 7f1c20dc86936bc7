//! H.264 access units as RTP payloads (RFC 6184, packetization mode 1), made once for all viewers.
//!
//! In: length-prefixed NAL units and the codec's configuration record. Out: payloads of at most [`MAX_PAYLOAD_BYTES`], and whole RTP packets of them. Pure.

use bytes::{BufMut, Bytes, BytesMut};

/// Fits into a packet of 1200 bytes, which every path takes, with the headers of RTP and SRTP.
const MAX_PAYLOAD_BYTES: usize = 1160;

const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// Bits of a NAL unit's first byte (RFC 6184 §1.3): importance, and type.
const IMPORTANCE: u8 = 0b0110_0000;
const TYPE: u8 = 0b0001_1111;

/// What an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AvcConfig {
    /// Bytes of the length before each NAL unit.
    length_bytes: usize,
    /// Sequence and picture parameter sets.
    parameter_sets: Vec<Bytes>,
}

impl AvcConfig {
    /// Reads the record; `None` when it is none.
    pub(super) fn parse(record: &Bytes) -> Option<Self> {
        let length_bytes = usize::from(record.get(4)? & 3) + 1;
        let mut parameter_sets = Vec::new();
        let mut at = 5;
        // The number of SPS has five bits, that of PPS a whole byte.
        for mask in [0x1f, 0xff] {
            let count = record.get(at)? & mask;
            at += 1;
            for _ in 0..count {
                let length = usize::from(u16::from_be_bytes([*record.get(at)?, *record.get(at + 1)?]));
                let end = at + 2 + length;
                parameter_sets.push(record.get(at + 2..end).map(|_| record.slice(at + 2..end))?);
                at = end;
            }
        }
        Some(Self { length_bytes, parameter_sets })
    }

    /// The payloads of one access unit. Those of a keyframe begin with the parameter sets, so that a viewer needs nothing of before.
    pub(super) fn payloads(&self, unit: &Bytes, keyframe: bool) -> Vec<Bytes> {
        let mut payloads = Vec::new();
        if keyframe {
            payloads.extend(together(&self.parameter_sets));
        }
        for nal in self.nals(unit) {
            match nal.first().map(|first| first & TYPE) {
                None => {}
                Some(NAL_SPS | NAL_PPS) if keyframe => {}
                Some(_) => split(&nal, &mut payloads),
            }
        }
        payloads
    }

    fn nals(&self, unit: &Bytes) -> impl Iterator<Item = Bytes> {
        let (mut at, unit, length_bytes) = (0, unit.clone(), self.length_bytes);
        std::iter::from_fn(move || {
            let length = unit.get(at..at + length_bytes)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let begin = at + length_bytes;
            at = begin + length;
            unit.get(begin..at).map(|_| unit.slice(begin..at))
        })
    }
}

/// Small NAL units in one payload (§5.7.1).
fn together(nals: &[Bytes]) -> Option<Bytes> {
    let importance = nals.iter().filter_map(|nal| nal.first()).map(|first| first & IMPORTANCE).max()?;
    let mut payload = BytesMut::new();
    payload.put_u8(importance | STAP_A);
    for nal in nals {
        payload.put_u16(nal.len() as u16);
        payload.put_slice(nal);
    }
    Some(payload.freeze())
}

/// One NAL unit as it is, or in fragments (§5.8).
fn split(nal: &Bytes, payloads: &mut Vec<Bytes>) {
    if nal.len() <= MAX_PAYLOAD_BYTES {
        payloads.push(nal.clone());
        return;
    }
    let pieces = nal[1..].chunks(MAX_PAYLOAD_BYTES - 2);
    let last = pieces.len() - 1;
    for (index, piece) in pieces.enumerate() {
        let (start, end) = (u8::from(index == 0) << 7, u8::from(index == last) << 6);
        let mut payload = BytesMut::with_capacity(2 + piece.len());
        payload.put_u8(nal[0] & IMPORTANCE | FU_A);
        payload.put_u8(start | end | nal[0] & TYPE);
        payload.put_slice(piece);
        payloads.push(payload.freeze());
    }
}

/// One stream of RTP packets to one viewer (RFC 3550 §5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RtpStream {
    /// As the viewer's offer numbers the codec.
    pub(super) payload_type: u8,
    /// Identifies the stream.
    pub(super) ssrc: u32,
    /// Of the next packet.
    pub(super) sequence: u16,
}

impl RtpStream {
    /// The next packet.
    pub(super) fn packet(&mut self, payload: &[u8], time: u32, marker: bool) -> Vec<u8> {
        let mut packet = Vec::with_capacity(12 + payload.len());
        packet.put_u8(2 << 6);
        packet.put_u8(u8::from(marker) << 7 | self.payload_type & 0x7f);
        packet.put_u16(self.sequence);
        packet.put_u32(time);
        packet.put_u32(self.ssrc);
        packet.put_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &[u8] = &[1, 100, 0, 31, 0xff, 0xe1, 0, 3, 0x67, 1, 2, 1, 0, 2, 0x68, 3];

    fn unit(nals: &[&[u8]]) -> Bytes {
        nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
    }

    #[test]
    fn a_keyframe_brings_its_parameter_sets() {
        let config = AvcConfig::parse(&Bytes::from_static(RECORD)).unwrap();
        let unit = unit(&[&[0x67, 1, 2], &[0x06, 9], &[0x65, 7, 7]]);
        let payloads = config.payloads(&unit, true);
        assert_eq!(payloads, [&[0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3][..], &[0x06, 9], &[0x65, 7, 7]]);
    }

    #[test]
    fn a_large_picture_is_sent_in_pieces_that_make_it_again() {
        let config = AvcConfig::parse(&Bytes::from_static(RECORD)).unwrap();
        let nal: Vec<u8> = std::iter::once(0x41).chain((0..5000_u32).map(|n| n as u8)).collect();
        let payloads = config.payloads(&unit(&[&nal]), false);
        assert!(payloads.len() == 5 && payloads.iter().all(|p| p.len() <= MAX_PAYLOAD_BYTES && p[0] == 0x40 | FU_A));
        let ends: Vec<u8> = payloads.iter().map(|p| p[1]).collect();
        assert_eq!(ends, [0x81, 0x01, 0x01, 0x01, 0x41]);
        let whole: Vec<u8> = payloads.iter().flat_map(|p| p[2..].to_vec()).collect();
        assert_eq!(whole, nal[1..]);
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let config = AvcConfig::parse(&Bytes::from_static(RECORD)).unwrap();
        assert_eq!(config.payloads(&Bytes::from_static(&[0, 0, 0, 9, 0x41]), false), Vec::<Bytes>::new());
        for length in 0..RECORD.len() {
            assert_eq!(AvcConfig::parse(&Bytes::from_static(&RECORD[..length])), None, "{length}");
        }
    }

    #[test]
    fn packets_count_on_over_the_end() {
        let mut stream = RtpStream { payload_type: 102, ssrc: 0x01020304, sequence: u16::MAX };
        assert_eq!(stream.packet(&[9], 5, true), [0x80, 0xe6, 0xff, 0xff, 0, 0, 0, 5, 1, 2, 3, 4, 9]);
        assert_eq!(stream.packet(&[], 5, false), [0x80, 0x66, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4]);
    }
}
