//! How a tile goes from one place to another.
//!
//! In: where it was, where it is to be, when, and for how long. Out: the rectangle at an instant, with even edges. Pure arithmetic.

use std::time::Duration;

use recorder_core::scene::Rect;
use recorder_core::time::SessionTime;

/// A move that has begun. The end is where the Scene wants the tile; it is not kept here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Motion {
    pub(crate) from: Rect,
    pub(crate) began: SessionTime,
    pub(crate) lasts: Duration,
}

impl Motion {
    /// Where a tile on its way to `to` is at `at`; `None` when it has arrived.
    pub(crate) fn at(self, to: Rect, at: SessionTime) -> Option<Rect> {
        let passed = at.since(self.began);
        if passed >= self.lasts {
            return None;
        }
        let share = passed.as_secs_f64() / self.lasts.as_secs_f64();
        // Begins and ends slowly.
        let eased = share * share * (3.0 - 2.0 * share);
        let edge = |from: u32, to: u32| {
            let between = f64::from(from) + (f64::from(to) - f64::from(from)) * eased;
            2 * (between / 2.0).round() as u32
        };
        let (x, y) = (edge(self.from.x, to.x), edge(self.from.y, to.y));
        let right = edge(self.from.x + self.from.width, to.x + to.width);
        let bottom = edge(self.from.y + self.from.height, to.y + to.height);
        Some(Rect { x, y, width: right.saturating_sub(x).max(2), height: bottom.saturating_sub(y).max(2) })
    }
}

/// Where a tile begins that was not there before: in its middle, at half its size.
pub(crate) fn seed(rect: Rect) -> Rect {
    let quarter = |side: u32| (side / 4) & !1;
    let (dx, dy) = (quarter(rect.width), quarter(rect.height));
    Rect { x: rect.x + dx, y: rect.y + dy, width: rect.width - 2 * dx, height: rect.height - 2 * dy }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Rect = Rect { x: 0, y: 0, width: 640, height: 360 };
    const TO: Rect = Rect { x: 640, y: 540, width: 320, height: 180 };

    #[test]
    fn it_leaves_where_it_was_arrives_where_it_should_be_and_is_even_between() {
        let motion = Motion { from: FROM, began: SessionTime::from_millis(100), lasts: Duration::from_millis(200) };
        assert_eq!(motion.at(TO, SessionTime::from_millis(100)), Some(FROM));
        assert_eq!(motion.at(TO, SessionTime::from_millis(200)), Some(Rect { x: 320, y: 270, width: 480, height: 270 }));
        assert_eq!(motion.at(TO, SessionTime::from_millis(300)), None);
        let way: Vec<Rect> = (100..300).filter_map(|ms| motion.at(TO, SessionTime::from_millis(ms))).collect();
        assert!(way.iter().flat_map(|r| [r.x, r.y, r.width, r.height]).all(|px| px % 2 == 0));
        assert!(way.windows(2).all(|pair| pair[0].x <= pair[1].x && pair[0].x + pair[0].width <= pair[1].x + pair[1].width));
    }

    #[test]
    fn a_new_tile_begins_in_its_middle() {
        assert_eq!(seed(TO), Rect { x: 720, y: 584, width: 160, height: 92 });
        assert_eq!(seed(Rect { x: 2, y: 4, width: 2, height: 6 }), Rect { x: 2, y: 4, width: 2, height: 6 });
    }
}
