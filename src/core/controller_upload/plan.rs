//! How a film is cut into parts, and what a part looks like on the wire.
//!
//! In: the length of a film. Out: its parts. Pure. The controller hands each part to an S3 storage under its own number, which refuses small parts but for
//! the last, and numbers of ten thousand and more; a frame that is too large costs the connection. Nothing of it is ever said in an answer.

/// Smaller parts are refused by the controller's storage, but for the last.
pub const SMALLEST_PART: u64 = 5 << 20;
/// A film is cut into so many parts at most, well below the ten thousand at which the controller stores nothing at all.
pub const MOST_PARTS: u64 = 9000;
/// Larger frames cut the connection.
pub const LARGEST_FRAME: u64 = 100_000_000;
/// Bytes before the data of a part: its number.
const HEAD: usize = 4;

/// The film is larger than a controller takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a controller takes at most {} GB", MOST_PARTS * (LARGEST_FRAME - HEAD as u64) / 1_000_000_000)]
pub struct TooLarge;

/// How one film is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    len: u64,
    part_len: u64,
}

/// One stretch of a film, sent in one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its number, from 0.
    pub index: u32,
    /// Where it begins in the file.
    pub at: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Plan {
    /// Cuts a film of so many bytes.
    ///
    /// # Errors
    /// No cut keeps to all limits.
    pub fn of(len: u64) -> Result<Self, TooLarge> {
        let part_len = len.div_ceil(MOST_PARTS).max(SMALLEST_PART);
        if part_len + HEAD as u64 > LARGEST_FRAME { Err(TooLarge) } else { Ok(Self { len, part_len }) }
    }

    /// Length of the film.
    pub fn film_len(&self) -> u64 {
        self.len
    }

    /// The part of this number; `None` behind the last. An empty film is one empty part.
    pub fn part(&self, index: u32) -> Option<Part> {
        let at = u64::from(index) * self.part_len;
        let is_there = at < self.len || index == 0;
        is_there.then(|| Part { index, at, len: (self.len - at).min(self.part_len) })
    }
}

impl Part {
    /// What stands before its data.
    pub fn head(&self) -> [u8; HEAD] {
        self.index.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(len: u64) -> Vec<Part> {
        let plan = Plan::of(len).unwrap();
        (0..).map_while(|index| plan.part(index)).collect()
    }

    #[test]
    fn all_parts_are_the_film_and_keep_to_the_limits() {
        const GIB: u64 = 1 << 30;
        let edge = MOST_PARTS * SMALLEST_PART;
        let lens = [
            0,
            1,
            SMALLEST_PART - 1,
            SMALLEST_PART,
            SMALLEST_PART + 1,
            6 * GIB,
            edge - 1,
            edge,
            edge + 1,
            100 * GIB + 7,
            800 * GIB,
            MOST_PARTS * (LARGEST_FRAME - 4),
        ];
        for len in lens {
            let parts = parts(len);
            assert!((1..=MOST_PARTS).contains(&(parts.len() as u64)), "{len}: {}", parts.len());
            let mut at = 0;
            for (index, part) in parts.iter().enumerate() {
                assert_eq!((part.index as usize, part.at), (index, at), "{len}");
                let is_last = index + 1 == parts.len();
                assert!(part.len >= SMALLEST_PART || is_last, "{len}: {part:?}");
                assert!(part.len > 0 || len == 0, "{len}: {part:?}");
                assert!(part.len + 4 <= LARGEST_FRAME, "{len}: {part:?}");
                at += part.len;
            }
            assert_eq!(at, len);
        }
    }

    #[test]
    fn what_no_cut_can_hold_is_refused_by_its_size() {
        let too_large = MOST_PARTS * (LARGEST_FRAME - 4) + 1;
        assert_eq!(Plan::of(too_large).unwrap_err().to_string(), "a controller takes at most 899 GB");
        assert_eq!(Plan::of(u64::MAX), Err(TooLarge));
    }

    #[test]
    fn the_number_stands_in_four_bytes_the_highest_first() {
        assert_eq!(Part { index: 0x0102_0304, at: 0, len: 0 }.head(), [1, 2, 3, 4]);
    }
}
