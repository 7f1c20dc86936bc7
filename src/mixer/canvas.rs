//! The canvas that stays from tick to tick, and where a picture lies in its tile.
//!
//! In: rectangles, pictures, overlays. Out: one contiguous I420 picture. Runs on whichever thread draws. It keeps what was painted and decides
//! nothing about when to paint.

use recorder_core::scene::{CanvasSize, Fit, Rect};

use super::overlay::Overlay;
use super::picture::Picture;
use super::yuv::{Planes, PlanesMut, Ycc, scale};

/// Where a picture comes from and goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Placement {
    /// Left and top edge (even), width and height of the part of the source that is shown.
    pub(crate) part: (usize, usize, usize, usize),
    /// Where it is shown.
    pub(crate) inner: Rect,
}

/// Places a picture of `width`x`height` pixels in a tile.
pub(crate) fn place(fit: Fit, (width, height): (u32, u32), tile: Rect) -> Placement {
    let (sw, sh) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (tw, th) = (u64::from(tile.width), u64::from(tile.height));
    let rounded = |a: u64, b: u64| (a + b / 2) / b.max(1);
    match fit {
        Fit::Cover => {
            // Even sides, because an odd one would move the colours by half a pixel.
            let even = |side: u64, whole: u64| side.max(1).next_multiple_of(2).min(whole);
            let (pw, ph) =
                if sw * th > tw * sh { (even(rounded(sh * tw, th), sw), sh) } else { (sw, even(rounded(sw * th, tw), sh)) };
            let middle = |part: u64, whole: u64| (((whole - part) / 2) & !1) as usize;
            Placement { part: (middle(pw, sw), middle(ph, sh), pw as usize, ph as usize), inner: tile }
        }
        Fit::Contain => {
            let even = |side: u64, whole: u64| (side & !1).clamp(2, whole.max(2)) as u32;
            let (iw, ih) = if sw * th > tw * sh {
                (tile.width, even(rounded(sh * tw, sw), th))
            } else {
                (even(rounded(sw * th, sh), tw), tile.height)
            };
            let inner = Rect {
                x: tile.x + (((tile.width - iw) / 2) & !1),
                y: tile.y + (((tile.height - ih) / 2) & !1),
                width: iw,
                height: ih,
            };
            Placement { part: (0, 0, sw as usize, sh as usize), inner }
        }
    }
}

/// A rectangle of a Scene on a canvas that may have another size: scaled, made even, cut at the edges; `None` if nothing is left.
pub(crate) fn on_canvas(rect: Rect, scene: CanvasSize, canvas: CanvasSize) -> Option<Rect> {
    let span = |from: u32, length: u32, scene_px: u32, canvas_px: u32| {
        let at = |edge: u64| {
            let scaled = if scene_px == canvas_px { edge } else { edge * u64::from(canvas_px) / u64::from(scene_px.max(1)) };
            (scaled & !1).min(u64::from(canvas_px)) as u32
        };
        let (start, end) = (at(u64::from(from)), at(u64::from(from) + u64::from(length)));
        (start, end - start)
    };
    let (x, width) = span(rect.x, rect.width, scene.width_px, canvas.width_px);
    let (y, height) = span(rect.y, rect.height, scene.height_px, canvas.height_px);
    (width > 0 && height > 0).then_some(Rect { x, y, width, height })
}

/// Whether two rectangles share a pixel.
pub(crate) fn overlap(a: Rect, b: Rect) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

/// An I420 picture with even sides.
pub(crate) struct Canvas {
    size: CanvasSize,
    data: Box<[u8]>,
}

impl Canvas {
    /// A black canvas; the sides must be even.
    pub(crate) fn new(size: CanvasSize) -> Self {
        let luma = size.width_px as usize * size.height_px as usize;
        let mut canvas = Self { size, data: vec![0; luma + luma / 2].into_boxed_slice() };
        canvas.fill(canvas.whole(), Ycc(16, 128, 128));
        canvas
    }

    /// Width and height.
    pub(crate) fn size(&self) -> CanvasSize {
        self.size
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Rect {
        Rect { x: 0, y: 0, width: self.size.width_px, height: self.size.height_px }
    }

    /// Y, U and V, packed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The planes within an even rectangle, cut at the edges.
    fn view(&mut self, rect: Rect) -> PlanesMut<'_> {
        let (width, height) = (self.size.width_px as usize, self.size.height_px as usize);
        let (x, y) = ((rect.x as usize & !1).min(width), (rect.y as usize & !1).min(height));
        let (luma, chroma) = self.data.split_at_mut(width * height);
        let (u, v) = chroma.split_at_mut(width * height / 4);
        let (y_from, c_from) = (y * width + x, y / 2 * (width / 2) + x / 2);
        PlanesMut {
            y: luma.get_mut(y_from..).unwrap_or_default(),
            u: u.get_mut(c_from..).unwrap_or_default(),
            v: v.get_mut(c_from..).unwrap_or_default(),
            y_stride: width,
            c_stride: width / 2,
            width: (rect.width as usize).min(width - x),
            height: (rect.height as usize).min(height - y),
        }
    }

    /// Paints a rectangle in one colour.
    pub(crate) fn fill(&mut self, rect: Rect, colour: Ycc) {
        self.view(rect).fill(colour);
    }

    /// Paints a picture into a tile, and bars where it does not reach.
    pub(crate) fn paint(&mut self, picture: &Picture, tile: Rect, fit: Fit, bars: Ycc) {
        let Placement { part: (x, y, width, height), inner } = place(fit, (picture.width(), picture.height()), tile);
        let (right, bottom) = (inner.x + inner.width, inner.y + inner.height);
        let around = [
            Rect { height: inner.y - tile.y, ..tile },
            Rect { y: bottom, height: tile.y + tile.height - bottom, ..tile },
            Rect { width: inner.x - tile.x, ..tile },
            Rect { x: right, width: tile.x + tile.width - right, ..tile },
        ];
        for bar in around.into_iter().filter(|bar| bar.width > 0 && bar.height > 0) {
            self.fill(bar, bars);
        }
        if let Err(error) = scale(Planes::of(picture).part(x, y, width, height), &mut self.view(inner)) {
            tracing::error!(%error, ?picture, ?inner, "picture could not be painted");
        }
    }

    /// Paints a frame of this thickness (even, in pixels) just inside a tile.
    pub(crate) fn border(&mut self, tile: Rect, thickness: u32, colour: Ycc) {
        let (across, down) = (thickness.min(tile.width), thickness.min(tile.height));
        let sides = [
            Rect { height: down, ..tile },
            Rect { y: tile.y + tile.height - down, height: down, ..tile },
            Rect { width: across, ..tile },
            Rect { x: tile.x + tile.width - across, width: across, ..tile },
        ];
        sides.into_iter().for_each(|side| self.fill(side, colour));
    }

    /// Lays an overlay on the canvas with its upper left corner at an even position.
    pub(crate) fn lay(&mut self, overlay: &Overlay, x: u32, y: u32) {
        let rect = Rect { x, y, width: overlay.width() as u32, height: overlay.height() as u32 };
        overlay.lay_over(&mut self.view(rect));
    }
}
