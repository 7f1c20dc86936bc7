//! The canvas that stays from tick to tick, and where a picture lies in its tile.
//!
//! In: rectangles, pictures, overlays. Out: one contiguous I420 picture. Runs on whichever thread draws. It keeps what was painted and decides
//! nothing about when to paint.

use recorder_core::scene::{CanvasSize, Fit, Rect};

use super::overlay::{Overlay, Tint};
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
    shared(a, b).is_some()
}

/// The pixels that two rectangles share.
pub(crate) fn shared(a: Rect, b: Rect) -> Option<Rect> {
    let (x, y) = (a.x.max(b.x), a.y.max(b.y));
    let (right, bottom) = ((a.x + a.width).min(b.x + b.width), (a.y + a.height).min(b.y + b.height));
    (x < right && y < bottom).then(|| Rect { x, y, width: right - x, height: bottom - y })
}

/// Adds a rectangle to `known`, whose rectangles share no pixel, so that they still share none.
pub(crate) fn add_disjoint(known: &mut Vec<Rect>, new: Rect) {
    let mut pieces = vec![new];
    for other in known.iter() {
        pieces = pieces.into_iter().flat_map(|piece| without(piece, *other)).collect();
    }
    known.append(&mut pieces);
}

/// What is left of `rect` beside `hole`: above, below, left and right of it.
fn without(rect: Rect, hole: Rect) -> impl Iterator<Item = Rect> {
    let inner = shared(rect, hole);
    let around = inner.map_or([rect; 4], |inner| {
        let (right, bottom) = (inner.x + inner.width, inner.y + inner.height);
        [
            Rect { height: inner.y - rect.y, ..rect },
            Rect { y: bottom, height: rect.y + rect.height - bottom, ..rect },
            Rect { x: rect.x, y: inner.y, width: inner.x - rect.x, height: inner.height },
            Rect { x: right, y: inner.y, width: rect.x + rect.width - right, height: inner.height },
        ]
    });
    let pieces = if inner.is_some() { 4 } else { 1 };
    around.into_iter().take(pieces).filter(|piece| piece.width > 0 && piece.height > 0)
}

/// An I420 picture with even sides.
pub(crate) struct Canvas {
    size: CanvasSize,
    data: Box<[u8]>,
    /// Pixels that somebody was given to write.
    touched_px: u64,
}

impl Canvas {
    /// A black canvas; the sides must be even.
    pub(crate) fn new(size: CanvasSize) -> Self {
        let luma = size.width_px as usize * size.height_px as usize;
        let mut canvas = Self { size, data: vec![0; luma + luma / 2].into_boxed_slice(), touched_px: 0 };
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

    /// Pixels written since the beginning; one that was written twice counts twice.
    pub(crate) fn touched_px(&self) -> u64 {
        self.touched_px
    }

    /// The planes within an even rectangle, cut at the edges: everything that is written goes through here.
    fn view(&mut self, rect: Rect) -> PlanesMut<'_> {
        let (width, height) = (self.size.width_px as usize, self.size.height_px as usize);
        let (x, y) = ((rect.x as usize & !1).min(width), (rect.y as usize & !1).min(height));
        let (luma, chroma) = self.data.split_at_mut(width * height);
        let (u, v) = chroma.split_at_mut(width * height / 4);
        let (y_from, c_from) = (y * width + x, y / 2 * (width / 2) + x / 2);
        let (view_width, view_height) = ((rect.width as usize).min(width - x), (rect.height as usize).min(height - y));
        self.touched_px += (view_width * view_height) as u64;
        PlanesMut {
            y: luma.get_mut(y_from..).unwrap_or_default(),
            u: u.get_mut(c_from..).unwrap_or_default(),
            v: v.get_mut(c_from..).unwrap_or_default(),
            y_stride: width,
            c_stride: width / 2,
            width: view_width,
            height: view_height,
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

    /// Paints a rectangle with the same part of a picture that has the size of the canvas.
    pub(crate) fn copy(&mut self, picture: &Picture, rect: Rect) {
        let (x, y, width, height) = (rect.x as usize, rect.y as usize, rect.width as usize, rect.height as usize);
        if let Err(error) = scale(Planes::of(picture).part(x, y, width, height), &mut self.view(rect)) {
            tracing::error!(%error, ?picture, ?rect, "the backdrop could not be painted");
        }
    }

    /// Lays the part of an overlay that lies within `clip` (even) on the canvas, with the overlay's upper left corner at an even position,
    /// which may lie outside of `clip`, also to the left of the canvas or above it.
    pub(crate) fn lay(&mut self, overlay: &Overlay, (x, y): (i32, i32), clip: Rect) {
        let hidden = |from: i32, edge: u32| i32::try_from(edge).map_or(0, |edge| (edge - from).max(0));
        let (left, top) = (hidden(x, clip.x), hidden(y, clip.y));
        let (Ok(from_x), Ok(from_y)) = (u32::try_from(x + left), u32::try_from(y + top)) else { return };
        let part = |length: usize, hidden: i32| (length as u32).saturating_sub(hidden.unsigned_abs());
        let rect = Rect {
            x: from_x,
            y: from_y,
            width: part(overlay.width(), left).min((clip.x + clip.width).saturating_sub(from_x)),
            height: part(overlay.height(), top).min((clip.y + clip.height).saturating_sub(from_y)),
        };
        if rect.width > 0 && rect.height > 0 {
            overlay.lay_over(&mut self.view(rect), left.unsigned_abs() as usize, top.unsigned_abs() as usize);
        }
    }

    /// Lays a colour over a rectangle.
    pub(crate) fn tint(&mut self, rect: Rect, tint: Tint) {
        tint.lay_over(&mut self.view(rect));
    }
}
