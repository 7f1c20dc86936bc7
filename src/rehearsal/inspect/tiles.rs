//! Finds the cards in a programme picture.
//!
//! In: a picture. Out: whose card is where. Pure. A person is recognised by the background colour, the card's exact place by the strip
//! of the frame counter, so labels, borders, crops and bars do not matter as long as the strip is visible.

use crate::mixer::picture::Picture;
use crate::rehearsal::card::{self, PEOPLE, Person};

/// Pixels between looked-at points of the search; even.
const STEP_PX: usize = 4;
/// How far luma and chroma may be off after two lossy encodings.
const LUMA_TOLERANCE: u8 = 20;
const CHROMA_TOLERANCE: u8 = 10;
/// Points that a card must have in a row or column to count there, as a share of the fullest one.
const SHARE_OF_FULLEST: usize = 8;
/// A point of the background near the strip, where a crop that leaves the strip leaves it, too.
const BESIDE_STRIP_X: f64 = 0.17;
/// A card narrower than this cannot be read.
const LEAST_WIDTH_PX: f64 = 60.0;

/// One card, as drawn: the whole card, also what a crop hides.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct CardAt {
    /// Index in [`PEOPLE`].
    pub(super) person: usize,
    /// Upper left corner in pixels; may be outside of the picture.
    pub(super) at: (f64, f64),
    /// Width and height in pixels.
    pub(super) size: (f64, f64),
}

/// All cards in a picture.
pub(super) fn find(picture: &Picture) -> Vec<CardAt> {
    let boxes = coloured_boxes(picture);
    (0..PEOPLE.len()).filter_map(|person| card_in(picture, person, boxes[person]?)).collect()
}

/// Whether a card's background is still where it was.
pub(super) fn is_still_there(picture: &Picture, card: &CardAt) -> bool {
    let x = card.at.0 + card.size.0 * BESIDE_STRIP_X;
    let y = card.at.1 + card.size.1 * card::COLOUR_AT.1;
    x >= 0.0 && y >= 0.0 && has_colour(picture, &PEOPLE[card.person], x as usize, y as usize)
}

/// Left, right, top, bottom in pixels, the ends not included.
type Bounds = (usize, usize, usize, usize);

/// For each person, the box around the points of their colour.
fn coloured_boxes(picture: &Picture) -> [Option<Bounds>; PEOPLE.len()] {
    let (columns, rows) = (picture.width() as usize / STEP_PX, picture.height() as usize / STEP_PX);
    let mut by_column = vec![[0_usize; PEOPLE.len()]; columns];
    let mut by_row = vec![[0_usize; PEOPLE.len()]; rows];
    for (row, in_row) in by_row.iter_mut().enumerate() {
        for (column, in_column) in by_column.iter_mut().enumerate() {
            let whose = PEOPLE.iter().position(|person| has_colour(picture, person, column * STEP_PX, row * STEP_PX));
            if let Some(person) = whose {
                in_column[person] += 1;
                in_row[person] += 1;
            }
        }
    }
    std::array::from_fn(|person| {
        let (left, right) = extent(by_column.iter().map(|counts| counts[person]))?;
        let (top, bottom) = extent(by_row.iter().map(|counts| counts[person]))?;
        Some((left * STEP_PX, right * STEP_PX, top * STEP_PX, bottom * STEP_PX))
    })
}

/// First and behind last place that has a fair share of the fullest.
fn extent(counts: impl Iterator<Item = usize> + Clone) -> Option<(usize, usize)> {
    let fullest = counts.clone().max().filter(|&most| most > 3)?;
    let mut fair = counts.enumerate().filter(|(_, count)| count * SHARE_OF_FULLEST >= fullest).map(|(place, _)| place);
    let first = fair.next()?;
    Some((first, fair.last().unwrap_or(first) + 1))
}

fn has_colour(picture: &Picture, person: &Person, x: usize, y: usize) -> bool {
    let (luma, cb, cr) = picture.planes();
    let (luma_stride, chroma_stride) = picture.strides();
    if x >= picture.width() as usize || y >= picture.height() as usize {
        return false;
    }
    let chroma = y / 2 * chroma_stride + x / 2;
    let (want_y, want_cb, want_cr) = person.ycbcr;
    luma[y * luma_stride + x].abs_diff(want_y) <= LUMA_TOLERANCE
        && cb[chroma].abs_diff(want_cb) <= CHROMA_TOLERANCE
        && cr[chroma].abs_diff(want_cr) <= CHROMA_TOLERANCE
}

/// The card of `person` from the strip within their box.
fn card_in(picture: &Picture, person: usize, (left, right, top, bottom): Bounds) -> Option<CardAt> {
    let who = &PEOPLE[person];
    let least = (right - left) * 2 / 5;
    // Rows of the strip: the topmost group with one long run that is not background.
    let run_of =
        |row: usize| longest_run(left, right, |x| !has_colour(picture, who, x, row)).filter(|(from, to)| to - from >= least);
    let mut group: Vec<(usize, (usize, usize))> = Vec::new();
    for row in top..bottom {
        match run_of(row) {
            Some(run) => group.push((row, run)),
            None if group.len() * 25 >= bottom - top => break,
            None => group.clear(),
        }
    }
    let (&(first, _), &(last, _)) = (group.first()?, group.last()?);
    let mut starts: Vec<usize> = group.iter().map(|(_, run)| run.0).collect();
    let mut ends: Vec<usize> = group.iter().map(|(_, run)| run.1).collect();
    starts.sort_unstable();
    ends.sort_unstable();
    let (from, to) = (starts[starts.len() / 2] as f64, ends[ends.len() / 2] as f64);

    let width = (to - from) / (card::STRIP_X.1 - card::STRIP_X.0);
    let height = (last + 1 - first) as f64 / (card::STRIP_Y.1 - card::STRIP_Y.0);
    if width < LEAST_WIDTH_PX || !(0.8..1.25).contains(&(width / height * 9.0 / 16.0)) {
        return None;
    }
    let at = (from - width * card::STRIP_X.0, first as f64 - height * card::STRIP_Y.0);
    Some(CardAt { person, at, size: (width, height) })
}

fn longest_run(left: usize, right: usize, is_in: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
    let mut longest = None;
    let mut start = None;
    for x in left..=right {
        if x < right && is_in(x) {
            start.get_or_insert(x);
        } else if let Some(from) = start.take()
            && longest.is_none_or(|(a, b)| x - from > b - a)
        {
            longest = Some((from, x));
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rehearsal::picture::{card_picture, read_counter_in};

    /// A grey canvas with cards of 320x180 at even places, of which `crop` pixels are cut at each side.
    fn canvas(cards: &[(usize, u32, usize, usize, usize)]) -> Picture {
        let (width, height) = (1280_usize, 720_usize);
        let mut planes = [vec![30_u8; width * height], vec![128; width * height / 4], vec![128; width * height / 4]];
        for &(person, number, left, top, crop) in cards {
            let card = card_picture(&PEOPLE[person], number, 320, 180).unwrap();
            let (y, cb, cr) = card.planes();
            for (plane, (from, half)) in planes.iter_mut().zip([(y, 1), (cb, 2), (cr, 2)]) {
                for row in 0..180 / half {
                    let source = &from[row * 320 / half + crop / half..(row + 1) * 320 / half - crop / half];
                    let start = (top / half + row) * width / half + (left + crop) / half;
                    plane[start..start + source.len()].copy_from_slice(source);
                }
            }
        }
        Picture::new(1280, 720, Arc::from(planes.concat())).unwrap()
    }

    #[test]
    fn every_person_is_found_where_they_are() {
        let cards: Vec<(usize, u32, usize, usize, usize)> =
            (0..9).map(|person| (person, 33 * person as u32, 100 + person % 3 * 360, 40 + person / 3 * 220, 0)).collect();
        let picture = canvas(&cards);
        let found = find(&picture);
        assert_eq!(found.len(), 9);
        for (card, (person, number, left, top, _)) in found.iter().zip(cards) {
            assert_eq!(card.person, person);
            assert!((card.at.0 - left as f64).abs() < 4.0 && (card.at.1 - top as f64).abs() < 4.0, "{card:?}");
            assert_eq!(read_counter_in(&picture, card.at, card.size), Some(number), "{card:?}");
            assert!(is_still_there(&picture, card));
        }
    }

    #[test]
    fn a_crop_at_the_sides_and_neighbours_without_a_gap_do_not_matter() {
        let cards = [(0, 299, 0, 0, 40), (1, 170, 240, 0, 40), (2, 5, 0, 180, 40), (8, 100, 240, 180, 40)];
        let picture = canvas(&cards);
        let found = find(&picture);
        let read: Vec<Option<u32>> = found.iter().map(|card| read_counter_in(&picture, card.at, card.size)).collect();
        assert_eq!(read, [Some(299), Some(170), Some(5), Some(100)]);
        assert!(found.iter().all(|card| is_still_there(&picture, card)), "the colour is read inside of the crop");
        let other = canvas(&cards[1..]);
        assert!(!is_still_there(&other, &found[0]));
    }

    #[test]
    fn an_empty_canvas_has_nobody() {
        assert!(find(&canvas(&[])).is_empty());
        let speck = Picture::new(2, 2, Arc::from([90_u8, 90, 90, 90, 90, 200])).unwrap();
        assert!(find(&speck).is_empty());
    }
}
