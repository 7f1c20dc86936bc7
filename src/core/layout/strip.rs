//! The strip beside the people: a logo, a title and a clock. It takes its height from the canvas; tiles use the rest.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::scene::{Align, CanvasSize, Content, Ornament, Plate, Rect, Rgb};
use crate::secret::Pii;

use super::check::scaled;
use super::ornament::text_px;

/// What stands in the strip.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Strip {
    /// What the programme is called; when absent, what the room calls itself.
    pub title: Option<Pii>,
    /// The time, as a `strftime` format that [`super::bad_clock`] has nothing against.
    pub clock: Option<Arc<str>>,
    /// Path of a picture.
    pub logo: Option<Arc<str>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    #[default]
    Top,
    Bottom,
}

/// How a layout draws it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct StripStyle {
    pub(super) side: Side,
    pub(super) height_px: u32,
    pub(super) text_px: u32,
    pub(super) title: Align,
    pub(super) colour: Rgb,
    pub(super) background: Rgb,
}

impl StripStyle {
    /// The strip's ornaments, and what it leaves of `frame`.
    pub(super) fn cut(
        &self,
        strip: &Strip,
        room: Option<&Pii>,
        frame: Rect,
        canvas: CanvasSize,
    ) -> (impl Iterator<Item = Ornament>, Rect) {
        // Never more than a third: a canvas may be a narrow one.
        let height = scaled(self.height_px, canvas).min((frame.height / 3) & !1);
        let rest = Rect { height: frame.height - height, ..frame };
        let (bar, rest) = match self.side {
            Side::Top => (Rect { height, ..frame }, Rect { y: frame.y + height, ..rest }),
            Side::Bottom => (Rect { y: frame.y + rest.height, height, ..frame }, rest),
        };
        let part = |align, content, rect| Ornament {
            rect,
            align,
            content,
            text_px: text_px(self.text_px, canvas),
            colour: self.colour,
            plate: None,
            lines: 1,
        };
        // A quarter on each side, half in the middle; a little air at the edges.
        let air = scaled(12, canvas).min((bar.width / 16) & !1);
        let side_width = ((bar.width / 4) & !1).saturating_sub(air);
        let (left, right) = (bar.x + air, bar.x + bar.width - air - side_width);
        let side = |x| Rect { x, width: side_width, ..bar };
        let title_rect = match (self.title, &strip.logo) {
            // Nothing stands in its way.
            (Align::Left, None) => Rect { x: left, width: right - left, ..bar },
            _ => Rect { x: left + side_width, width: right - left - side_width, ..bar },
        };
        let ground = Ornament {
            plate: Some(Plate { colour: self.background, opacity_percent: 100 }),
            ..part(Align::Center, Content::Plain, bar)
        };
        let logo = strip.logo.as_ref().map(|path| part(Align::Left, Content::Image { path: path.clone() }, side(left)));
        let title = strip.title.as_ref().or(room).map(|title| part(self.title, Content::Text(title.clone()), title_rect));
        let clock = strip.clock.as_ref().map(|format| part(Align::Right, Content::Clock { format: format.clone() }, side(right)));
        let all = [Some(ground), logo, title, clock];
        (all.into_iter().flatten().filter(|ornament| ornament.rect.width > 0 && ornament.rect.height > 0), rest)
    }
}
