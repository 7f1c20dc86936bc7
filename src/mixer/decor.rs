//! Ornaments on the canvas: bars, words, clocks, images.
//!
//! In: the ornaments of a Scene, still pictures, wall-clock time. Out: what is laid over the tiles, and where. Prepared once; laying it is blending.

use std::sync::Arc;

use recorder_core::scene::{Align, CanvasSize, Content, Ornament, Rect};
use recorder_core::time::SessionTime;

use super::canvas::{Canvas, on_canvas, shared};
use super::gallery::Gallery;
use super::label::{TextArtist, Words};
use super::overlay::{Overlay, Tint};
use super::text::line_height;
use super::wall::WallClock;

/// What preparing an ornament needs.
pub(super) struct Workshop<'a> {
    pub(super) artist: &'a mut TextArtist,
    pub(super) gallery: &'a Gallery,
    pub(super) wall: &'a WallClock,
    /// The instant that is drawn.
    pub(super) at: SessionTime,
}

/// An ornament, ready to be laid.
pub(super) struct Decor {
    ornament: Ornament,
    rect: Rect,
    text_px: u32,
    plate: Option<Tint>,
    content: Option<(Arc<Overlay>, Rect)>,
    /// What a clock shows.
    time: Option<String>,
}

impl Decor {
    /// An ornament of a Scene for `scene` pixels on a canvas that may have another size; `None` if nothing of it lies on the canvas.
    pub(super) fn new(ornament: &Ornament, scene: CanvasSize, canvas: CanvasSize, workshop: &mut Workshop<'_>) -> Option<Self> {
        let rect = on_canvas(ornament.rect, scene, canvas)?;
        let text_px = u64::from(ornament.text_px) * u64::from(canvas.height_px) / u64::from(scene.height_px.max(1));
        let text_px = u32::try_from(text_px).unwrap_or(u32::MAX).min(canvas.height_px);
        let plate = ornament.plate.filter(|plate| plate.opacity_percent > 0);
        let plate = plate.map(|plate| Tint::new(plate.colour, f32::from(plate.opacity_percent.min(100)) / 100.0));
        let mut decor = Self { ornament: ornament.clone(), rect, text_px, plate, content: None, time: None };
        decor.prepare(workshop);
        Some(decor)
    }

    /// The ornament that it was made of.
    pub(super) fn ornament(&self) -> &Ornament {
        &self.ornament
    }

    /// Whether it shows the time.
    pub(super) fn is_clock(&self) -> bool {
        matches!(self.ornament.content, Content::Clock { .. })
    }

    /// All pixels that it may change.
    pub(super) fn bounds(&self) -> Rect {
        let Some((_, content)) = self.content.as_ref() else { return self.rect };
        let (x, y) = (self.rect.x.min(content.x), self.rect.y.min(content.y));
        let right = (self.rect.x + self.rect.width).max(content.x + content.width);
        let bottom = (self.rect.y + self.rect.height).max(content.y + content.height);
        Rect { x, y, width: right - x, height: bottom - y }
    }

    /// Sets a clock to `at`. True if its text is another one now.
    pub(super) fn tell_time(&mut self, workshop: &mut Workshop<'_>) -> bool {
        let Content::Clock { format } = &self.ornament.content else { return false };
        let time = workshop.wall.text(format, workshop.at);
        let changes = time != self.time;
        if changes {
            self.prepare(workshop);
        }
        changes
    }

    /// Shows the picture of a file, if this is what it shows. True if it is.
    pub(super) fn hang(&mut self, path: &str, workshop: &mut Workshop<'_>) -> bool {
        let shows = matches!(&self.ornament.content, Content::Image { path: shown } if **shown == *path);
        if shows {
            self.prepare(workshop);
        }
        shows
    }

    fn prepare(&mut self, workshop: &mut Workshop<'_>) {
        let overlay = match &self.ornament.content {
            Content::Plain => None,
            Content::Text(words) => workshop.artist.words(self.words(words.expose().to_owned())),
            Content::Clock { format } => {
                self.time = workshop.wall.text(format, workshop.at);
                self.time.clone().and_then(|time| workshop.artist.passing_words(self.words(time)))
            }
            Content::Image { path } => workshop.gallery.image(path).map(|still| {
                let size = still.within(self.rect.width, self.rect.height);
                workshop.artist.image(still, size)
            }),
        };
        self.content = overlay.map(|overlay| {
            let place = self.place(overlay.width() as u32, overlay.height() as u32);
            (overlay, place)
        });
    }

    fn words(&self, text: String) -> Words {
        let Ornament { align, colour, lines, plate, .. } = self.ornament;
        // Lines that have no room would lie over what is below the ornament.
        let most = (self.rect.height / (line_height(self.text_px as f32) as u32).max(1)).max(1);
        Words {
            text,
            text_px: self.text_px,
            colour,
            align,
            lines: lines.clamp(1, most),
            width_px: self.rect.width.saturating_sub(2 * self.padding()),
            has_halo: Words::need_halo(plate.map(|plate| plate.opacity_percent)),
        }
    }

    /// Between the ends of a plate and the words on it.
    fn padding(&self) -> u32 {
        if self.plate.is_some() { self.text_px / 2 } else { 0 }
    }

    /// Where a content of this size stands; even.
    fn place(&self, width: u32, height: u32) -> Rect {
        let padding = if matches!(self.ornament.content, Content::Image { .. }) { 0 } else { self.padding() };
        let (left, right) = (self.rect.x + padding, (self.rect.x + self.rect.width).saturating_sub(padding + width));
        let x = match self.ornament.align {
            Align::Left => left,
            Align::Center => u32::midpoint(left, right.max(left)),
            Align::Right => right.max(left),
        };
        // A text may be higher than its rectangle by the space for accents.
        let middle = self.rect.y + self.rect.height / 2;
        Rect { x: x & !1, y: middle.saturating_sub(height / 2) & !1, width, height }
    }

    /// Lays it over the part of the canvas within `clip`.
    pub(super) fn lay(&self, canvas: &mut Canvas, clip: Rect) {
        if let (Some(tint), Some(part)) = (self.plate, shared(self.rect, clip)) {
            canvas.tint(part, tint);
        }
        if let Some((overlay, place)) = &self.content
            && shared(*place, clip).is_some()
        {
            canvas.lay(overlay, (place.x as i32, place.y as i32), clip);
        }
    }
}
