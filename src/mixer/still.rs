//! Still pictures: avatars, logos, backdrops.
//!
//! In: the bytes of a PNG, JPEG or WebP file, which may come from anybody, and limits. Out: pixels, upright and scaled, or why not. Decoding takes
//! milliseconds to tenths of a second, so it never runs on the thread that draws. It opens no file and no connection.

use std::io::Cursor;
use std::sync::Arc;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbaImage};
use recorder_core::scene::{CanvasSize, Fit, Rect, Rgb};

use super::canvas::place;
use super::overlay::Sheet;
use super::picture::{Picture, PictureError};
use super::yuv::Ycc;

/// What a picture may ask of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StillLimits {
    /// Width times height at most.
    pub pixels: u64,
    /// Memory for decoding at most, in bytes.
    pub memory: u64,
}

impl StillLimits {
    /// For files that the operator has chosen: up to 8192x8192.
    pub const FILE: Self = Self { pixels: 8192 * 8192, memory: 512 << 20 };
    /// For pictures that participants have chosen: up to 4096x4096.
    pub const AVATAR: Self = Self { pixels: 4096 * 4096, memory: 96 << 20 };
}

/// Why bytes are not a still picture.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StillError {
    /// Another format, or none.
    #[error("it is not a PNG, JPEG or WebP picture")]
    Format,
    /// More pixels or memory than the limits allow.
    #[error("it is too large")]
    TooLarge,
    /// The decoder gives up.
    #[error("it is damaged")]
    Damaged,
}

/// Pixels with transparency. Cheap to clone.
#[derive(Clone)]
pub struct Still {
    pixels: Arc<RgbaImage>,
}

impl Still {
    /// Decodes a picture, turns it upright as its EXIF data says, and scales it down until it needs no more than to cover `most`.
    ///
    /// # Errors
    /// Another format, more than the limits allow, or damage.
    pub fn decode(bytes: &[u8], most: CanvasSize, limits: StillLimits) -> Result<Self, StillError> {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| StillError::Format)?;
        if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) {
            return Err(StillError::Format);
        }
        let mut decoder = reader.into_decoder().map_err(|error| reason(&error))?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > limits.pixels || width == 0 || height == 0 {
            return Err(StillError::TooLarge);
        }
        let mut memory = Limits::default();
        memory.max_alloc = Some(limits.memory);
        decoder.set_limits(memory).map_err(|error| reason(&error))?;
        if decoder.total_bytes() > limits.memory {
            return Err(StillError::TooLarge);
        }
        // A picture that does not say how it stands stands as it is.
        let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| reason(&error))?;
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width(), picture.height());
        let share = (f64::from(most.width_px) / f64::from(width)).max(f64::from(most.height_px) / f64::from(height));
        if share < 1.0 {
            let scaled = |side: u32| (f64::from(side) * share).ceil().max(1.0) as u32;
            picture = picture.resize_exact(scaled(width), scaled(height), FilterType::Triangle);
        }
        Ok(Self { pixels: Arc::new(picture.into_rgba8()) })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.pixels.width()
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.pixels.height()
    }

    /// As a picture that fills the whole canvas, cut where it hangs over, on `ground` where it is transparent.
    ///
    /// # Errors
    /// A canvas with a side of zero or above 8192.
    pub fn covering(&self, canvas: CanvasSize, ground: Rgb) -> Result<Picture, PictureError> {
        let (width, height) = (canvas.width_px.max(2), canvas.height_px.max(2));
        let tile = Rect { x: 0, y: 0, width, height };
        let (x, y, part_width, part_height) = place(Fit::Cover, self.pixels.dimensions(), tile).part;
        let part = imageops::crop_imm(&*self.pixels, x as u32, y as u32, part_width as u32, part_height as u32);
        let scaled = imageops::resize(&*part, width, height, FilterType::Triangle);
        let colour = |x: u32, y: u32| -> Ycc {
            let [r, g, b, a] = scaled.get_pixel(x.min(width - 1), y.min(height - 1)).0;
            let over = |new: u8, old: u8| {
                let alpha = u16::from(a);
                ((u16::from(new) * alpha + u16::from(old) * (255 - alpha) + 127) / 255) as u8
            };
            Rgb(over(r, ground.0), over(g, ground.1), over(b, ground.2)).into()
        };
        let luma = width as usize * height as usize;
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let mut data = Vec::with_capacity(luma * 3 / 2);
        data.extend((0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| colour(x, y).0));
        let mut red_difference = Vec::with_capacity(luma / 4);
        for (x, y) in (0..half_height).flat_map(|y| (0..half_width).map(move |x| (2 * x, 2 * y))) {
            let four = [colour(x, y), colour(x + 1, y), colour(x, y + 1), colour(x + 1, y + 1)];
            let mean = |channel: fn(&Ycc) -> u8| ((four.iter().map(|c| u16::from(channel(c))).sum::<u16>() + 2) / 4) as u8;
            data.push(mean(|c| c.1));
            red_difference.push(mean(|c| c.2));
        }
        data.append(&mut red_difference);
        Picture::new(width, height, data.into())
    }

    /// The largest even size with its proportions that lies within `width`x`height` pixels.
    pub(crate) fn within(&self, width: u32, height: u32) -> (u32, u32) {
        let share = (f64::from(width) / f64::from(self.width())).min(f64::from(height) / f64::from(self.height()));
        let side = |px: u32, most: u32| ((f64::from(px) * share).round() as u32).clamp(2, most.max(2)) & !1;
        (side(self.width(), width), side(self.height(), height))
    }

    /// Scaled to exactly this size, to be laid over something.
    pub(crate) fn sheet(&self, width: u32, height: u32) -> Sheet {
        let scaled = imageops::resize(&*self.pixels, width, height, FilterType::Triangle);
        let mut sheet = Sheet::new(width as usize, height as usize);
        for (x, y, pixel) in scaled.enumerate_pixels() {
            let [r, g, b, a] = pixel.0;
            sheet.paint(x as i32, y as i32, Rgb(r, g, b), f32::from(a) / 255.0);
        }
        sheet
    }

    /// Its middle as a disc of `diameter` pixels, on `ground` where it is transparent.
    pub(crate) fn round(&self, diameter: u32, ground: Rgb) -> Sheet {
        let side = self.width().min(self.height());
        let (left, top) = ((self.width() - side) / 2, (self.height() - side) / 2);
        let scaled = imageops::resize(
            &*imageops::crop_imm(&*self.pixels, left, top, side, side),
            diameter,
            diameter,
            FilterType::Triangle,
        );
        let radius = diameter as f32 / 2.0;
        let mut sheet = Sheet::new(diameter as usize, diameter as usize);
        for (x, y, pixel) in scaled.enumerate_pixels() {
            let covered = (0.5 + radius - (x as f32 + 0.5 - radius).hypot(y as f32 + 0.5 - radius)).clamp(0.0, 1.0);
            if covered > 0.0 {
                let [r, g, b, a] = pixel.0.map(f32::from);
                let over = |new: f32, old: u8| (new * a / 255.0 + f32::from(old) * (1.0 - a / 255.0)).round() as u8;
                sheet.paint(x as i32, y as i32, Rgb(over(r, ground.0), over(g, ground.1), over(b, ground.2)), covered);
            }
        }
        sheet
    }
}

/// Stills are the same when they are one picture, not when they look alike.
impl PartialEq for Still {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pixels, &other.pixels)
    }
}

impl Eq for Still {}

impl std::hash::Hash for Still {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.pixels).hash(state);
    }
}

impl std::fmt::Debug for Still {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Still({}x{})", self.width(), self.height())
    }
}

fn reason(error: &image::ImageError) -> StillError {
    match error {
        image::ImageError::Limits(_) => StillError::TooLarge,
        image::ImageError::Unsupported(_) => StillError::Format,
        _ => StillError::Damaged,
    }
}

#[cfg(test)]
#[path = "still_tests.rs"]
mod tests;
