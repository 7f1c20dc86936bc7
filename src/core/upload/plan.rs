//! Cuts a file into the parts of a multipart upload.
//!
//! In: the number of a part, or the length of an ended file. Out: where parts begin and how long they are. Pure. The cut depends on
//! nothing but the number, so that a part can be sent long before the length of the file is known, and after a crash is the same.

/// Length of the first part: the smallest that the protocol allows. It holds the file's head, which changes when the file is ended, and
/// so it is sent last; the smaller it is, the sooner the object is whole.
pub const HEAD_LEN: u64 = 5 << 20;
/// Length of the next parts.
pub const PART_LEN: u64 = 8 << 20;
/// After so many parts they become twice as long.
const DOUBLE_EVERY: u32 = 1000;
/// An upload has at most so many parts.
pub const MAX_PARTS: u32 = 10_000;
/// An object has at most so many bytes.
pub const MAX_OBJECT: u64 = 5 << 40;
/// A file up to this length is stored by one request, because it is ended before its first part is full.
pub const SINGLE_MAX: u64 = HEAD_LEN + PART_LEN;

/// Number of the part with the file's head.
pub const HEAD: u32 = 1;

/// A stretch of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Number of the part, from 1.
    pub number: u32,
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

impl Piece {
    /// Where the next one begins.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// The full part of this number; `None` beyond [`MAX_PARTS`].
pub fn full_piece(number: u32) -> Option<Piece> {
    if !(HEAD..=MAX_PARTS).contains(&number) {
        return None;
    }
    if number == HEAD {
        return Some(Piece { number, offset: 0, len: HEAD_LEN });
    }
    // Parts after the head that lie before this one.
    let mut before = number - HEAD - 1;
    let mut offset = HEAD_LEN;
    let mut len = PART_LEN;
    while before >= DOUBLE_EVERY {
        offset += len * u64::from(DOUBLE_EVERY);
        len *= 2;
        before -= DOUBLE_EVERY;
    }
    Some(Piece { number, offset: offset + len * u64::from(before), len })
}

/// The part of this number of an ended file; the last one is as long as what is left.
pub fn piece_of(file_len: u64, number: u32) -> Option<Piece> {
    let full = full_piece(number).filter(|piece| piece.offset < file_len)?;
    Some(Piece { len: full.len.min(file_len - full.offset), ..full })
}

/// The parts of an ended file, in order.
pub fn pieces(file_len: u64) -> impl Iterator<Item = Piece> {
    (HEAD..=MAX_PARTS).map_while(move |number| piece_of(file_len, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_hold_the_largest_object() {
        let mut at = 0;
        for number in HEAD..=MAX_PARTS {
            let piece = full_piece(number).unwrap();
            assert_eq!((piece.number, piece.offset), (number, at));
            assert!((5 << 20..=5 << 30).contains(&piece.len), "{piece:?}");
            at = piece.end();
        }
        assert!(at >= MAX_OBJECT);
        assert_eq!(full_piece(0), None);
        assert_eq!(full_piece(MAX_PARTS + 1), None);
    }

    #[test]
    fn twelve_hours_leave_little_for_the_end() {
        // 4.6 Mbit/s.
        let file = 12 * 3600 * 575_000;
        let last = pieces(file).last().unwrap();
        assert_eq!(last.end(), file);
        assert!(full_piece(last.number).unwrap().len <= 16 << 20, "{last:?}");
    }

    #[test]
    fn the_parts_of_an_ended_file_are_the_full_ones_and_the_rest() {
        for len in [1, HEAD_LEN, HEAD_LEN + 1, SINGLE_MAX, SINGLE_MAX + 1, 9 << 30] {
            let all: Vec<_> = pieces(len).collect();
            assert_eq!(all.last().unwrap().end(), len);
            for piece in &all[..all.len() - 1] {
                assert_eq!(Some(*piece), full_piece(piece.number));
            }
        }
        assert_eq!(pieces(0).count(), 0);
    }
}
