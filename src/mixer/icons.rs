//! Badges, drawn from a few shapes: no font is sure to have them.
//!
//! In: a sheet, a place and a size in pixels. Out: the badge on the sheet. Pure arithmetic.

use recorder_core::scene::Rgb;

use super::overlay::Sheet;

const MUTED: Rgb = Rgb(255, 138, 128);
const HAND: Rgb = Rgb(255, 205, 86);

/// Distance to a box with round corners.
pub(super) fn rounded_box(cx: f32, cy: f32, half_w: f32, half_h: f32, radius: f32) -> impl Fn(f32, f32) -> f32 {
    let radius = radius.min(half_w).min(half_h);
    move |x, y| {
        let (dx, dy) = ((x - cx).abs() - half_w + radius, (y - cy).abs() - half_h + radius);
        dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - radius
    }
}

/// Distance to a disc.
pub(super) fn disc(cx: f32, cy: f32, radius: f32) -> impl Fn(f32, f32) -> f32 {
    move |x, y| (x - cx).hypot(y - cy) - radius
}

/// Distance to a stroke with round ends.
fn stroke((ax, ay): (f32, f32), (bx, by): (f32, f32), half: f32) -> impl Fn(f32, f32) -> f32 {
    let (dx, dy) = (bx - ax, by - ay);
    let length = (dx * dx + dy * dy).max(f32::EPSILON);
    move |x, y| {
        let along = (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0);
        (x - ax - along * dx).hypot(y - ay - along * dy) - half
    }
}

/// A microphone that is struck through, `size` pixels high, around (`cx`, `cy`); `ground` keeps the stroke apart from what it crosses.
pub(super) fn muted(sheet: &mut Sheet, cx: f32, cy: f32, size: f32, ground: Rgb) {
    let line = (size * 0.09).max(1.0);
    let capsule = rounded_box(cx, cy - size * 0.16, size * 0.15, size * 0.30, size * 0.15);
    sheet.shape(MUTED, 1.0, capsule);
    let cradle =
        move |x: f32, y: f32| if y < cy { f32::INFINITY } else { ((x - cx).hypot(y - cy) - size * 0.28).abs() - line / 2.0 };
    sheet.shape(MUTED, 1.0, cradle);
    sheet.shape(MUTED, 1.0, rounded_box(cx, cy + size * 0.37, line / 2.0, size * 0.09, 0.0));
    let reach = size * 0.42;
    let slash = |half: f32| stroke((cx - reach, cy - reach), (cx + reach, cy + reach), half);
    sheet.shape(ground, 1.0, slash(line * 1.3));
    sheet.shape(MUTED, 1.0, slash(line * 0.6));
}

/// A raised hand, `size` pixels high, around (`cx`, `cy`).
pub(super) fn hand(sheet: &mut Sheet, cx: f32, cy: f32, size: f32) {
    let at = |x: f32, y: f32| (cx + x * size, cy + y * size);
    let finger = size * 0.062;
    // Little finger to index, each from the palm to its tip.
    let fingers = [(-0.21, -0.20), (-0.075, -0.36), (0.06, -0.40), (0.195, -0.30)];
    for (x, tip) in fingers {
        sheet.shape(HAND, 1.0, stroke(at(x, 0.12), at(x, tip), finger));
    }
    sheet.shape(HAND, 1.0, stroke(at(0.20, 0.24), at(0.36, -0.02), finger * 1.1));
    let (px, py) = at(-0.008, 0.22);
    sheet.shape(HAND, 1.0, rounded_box(px, py, size * 0.265, size * 0.22, size * 0.17));
}

/// Head and shoulders for a disc of `radius` pixels around (`r`, `r`): somebody of whom not even a letter is known.
pub(super) fn person(sheet: &mut Sheet, radius: f32, colour: Rgb) {
    sheet.shape(colour, 1.0, disc(radius, radius * 0.78, radius * 0.3));
    let (shoulders, rim) =
        (rounded_box(radius, radius * 1.75, radius * 0.56, radius * 0.56, radius * 0.5), disc(radius, radius, radius));
    sheet.shape(colour, 1.0, move |x, y| shoulders(x, y).max(rim(x, y)));
}
