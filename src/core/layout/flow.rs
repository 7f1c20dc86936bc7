//! How tiles of one size stand in a rectangle.

use crate::scene::Rect;

use super::{Flow, SMALLEST_TILE_PX, Shape};

/// The rectangle without a margin on each side; empty when the margin leaves nothing.
pub(super) fn inside(area: Rect, margin_px: u32) -> Rect {
    Rect {
        x: area.x + margin_px,
        y: area.y + margin_px,
        width: area.width.saturating_sub(2 * margin_px),
        height: area.height.saturating_sub(2 * margin_px),
    }
}

/// Rectangles for `wanted` tiles of equal size, row by row, as one block in the middle of `area`; an incomplete last row is centred.
/// Fewer when so many have no room.
pub(super) fn rects(area: Rect, flow: Flow, shape: Shape, gap_px: u32, wanted: u32) -> Vec<Rect> {
    (1..=wanted).rev().find_map(|count| block(area, flow, shape, gap_px, count)).unwrap_or_default()
}

fn block(area: Rect, flow: Flow, shape: Shape, gap_px: u32, count: u32) -> Option<Vec<Rect>> {
    let columns = match flow {
        Flow::Row => count..=count,
        Flow::Column => 1..=1,
        Flow::Grid => 1..=count,
    };
    // The largest tiles win; among equals the fewest empty places, then the widest block.
    let (columns, width, height) = columns
        .filter_map(|columns| {
            let rows = count.div_ceil(columns);
            let (width, height) = tile_size(cell(area.width, columns, gap_px)?, cell(area.height, rows, gap_px)?, shape)?;
            Some((columns, width, height))
        })
        .max_by_key(|(columns, width, height)| {
            let empty = columns * count.div_ceil(*columns) - count;
            (u64::from(*width) * u64::from(*height), std::cmp::Reverse(empty), *columns)
        })?;
    let rows = count.div_ceil(columns);
    let top = area.y + centred(area.height, rows, height, gap_px);
    let place = |index: u32| {
        let (row, column) = (index / columns, index % columns);
        let in_row = columns.min(count - row * columns);
        let left = area.x + centred(area.width, in_row, width, gap_px);
        Rect { x: left + column * (width + gap_px), y: top + row * (height + gap_px), width, height }
    };
    Some((0..count).map(place).collect())
}

/// Even length of one of `count` equal parts of `side_px` with gaps between; `None` when too short.
fn cell(side_px: u32, count: u32, gap_px: u32) -> Option<u32> {
    let part = even(side_px.checked_sub(gap_px * (count - 1))? / count);
    (part >= SMALLEST_TILE_PX).then_some(part)
}

/// The largest tile of this shape in a cell. The shorter side is rounded to the nearest even number, not down: a third of 1280x720 is
/// 426x240 and not 426x238.
fn tile_size(cell_width: u32, cell_height: u32, shape: Shape) -> Option<(u32, u32)> {
    let Shape::Ratio(wide, high) = shape else { return Some((cell_width, cell_height)) };
    let scaled = |px: u32, by: u32, of: u32| 2 * ((px * by + of) / (2 * of));
    let (width, height) = if cell_width * high <= cell_height * wide {
        (cell_width, scaled(cell_width, high, wide).min(cell_height))
    } else {
        (scaled(cell_height, wide, high).min(cell_width), cell_height)
    };
    (width >= SMALLEST_TILE_PX && height >= SMALLEST_TILE_PX).then_some((width, height))
}

/// Even distance from the edge to the first of `count` parts that stand in the middle.
fn centred(side_px: u32, count: u32, part_px: u32, gap_px: u32) -> u32 {
    let taken = count * part_px + (count - 1) * gap_px;
    even(side_px.saturating_sub(taken) / 2)
}

fn even(px: u32) -> u32 {
    px & !1
}
