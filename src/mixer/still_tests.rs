use std::io::Cursor;

use image::{DynamicImage, ExtendedColorType, ImageEncoder, RgbImage, Rgba};

use super::*;

const MOST: CanvasSize = CanvasSize { width_px: 64, height_px: 48 };

fn file(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let picture =
        RgbImage::from_fn(
            width,
            height,
            |x, _| if x < width / 2 { image::Rgb([230, 20, 20]) } else { image::Rgb([20, 20, 230]) },
        );
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decode(bytes: &[u8]) -> Result<Still, StillError> {
    Still::decode(bytes, MOST, StillLimits::AVATAR)
}

#[test]
fn three_formats_are_read_and_scaled_to_what_is_needed() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let still = decode(&file(format, 640, 320)).unwrap();
        assert_eq!((still.width(), still.height()), (96, 48), "{format:?}");
        let left = still.pixels.get_pixel(10, 20).0;
        assert!(left[0] > 200 && left[2] < 60 && left[3] == 255, "{format:?}: {left:?}");
    }
    let small = decode(&file(ImageFormat::Png, 20, 10)).unwrap();
    assert_eq!((small.width(), small.height()), (20, 10), "nothing is scaled up");
}

#[test]
fn what_is_no_picture_or_a_damaged_or_a_too_large_one_is_refused() {
    let whole = file(ImageFormat::Jpeg, 64, 64);
    assert_eq!(decode(b""), Err(StillError::Format));
    assert_eq!(decode(b"<html>not found</html>"), Err(StillError::Format));
    assert_eq!(decode(b"GIF89a\x01\0\x01\0\0\0\0"), Err(StillError::Format));
    assert_eq!(decode(&file(ImageFormat::Png, 64, 64)[..60]), Err(StillError::Damaged));
    assert!(decode(&whole[..20]).is_err());
    let limits = StillLimits { pixels: 64 * 64 - 1, ..StillLimits::AVATAR };
    assert_eq!(Still::decode(&whole, MOST, limits), Err(StillError::TooLarge));
}

/// A PNG header that promises 60000x60000 pixels, in a few bytes.
#[test]
fn a_picture_that_would_fill_the_memory_is_refused_by_its_header() {
    let mut bomb = file(ImageFormat::Png, 8, 8);
    bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let sum = crc(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(decode(&bomb), Err(StillError::TooLarge));
}

/// CRC-32 as in PNG.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

#[test]
fn a_picture_of_a_telephone_is_turned_upright() {
    let picture = RgbImage::from_fn(40, 20, |x, _| if x < 20 { image::Rgb([230, 20, 20]) } else { image::Rgb([20, 20, 230]) });
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
    // EXIF, little endian, one entry: orientation 6, turned a quarter to the right.
    let exif = [&b"II*\0\x08\0\0\0\x01\0"[..], &[0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0], &[0; 4]].concat();
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&picture, 40, 20, ExtendedColorType::Rgb8).unwrap();
    let still = decode(&bytes).unwrap();
    assert_eq!((still.width(), still.height()), (20, 40));
    assert!(still.pixels.get_pixel(10, 5).0[0] > 200 && still.pixels.get_pixel(10, 35).0[2] > 200);
}

#[test]
fn a_backdrop_covers_the_canvas_and_what_is_transparent_shows_the_ground() {
    let still = decode(&file(ImageFormat::Png, 300, 100)).unwrap();
    let canvas = CanvasSize { width_px: 40, height_px: 40 };
    let picture = still.covering(canvas, Rgb(0, 0, 0)).unwrap();
    let (y, u, v) = picture.planes();
    let (red, blue) = (Ycc::from(Rgb(230, 20, 20)), Ycc::from(Rgb(20, 20, 230)));
    assert_eq!((y[0], u[0], v[0]), (red.0, red.1, red.2));
    assert_eq!((y[1599], u[399], v[399]), (blue.0, blue.1, blue.2));
    let clear = Still { pixels: Arc::new(RgbaImage::from_pixel(4, 4, Rgba([255, 255, 255, 0]))) };
    let picture = clear.covering(canvas, Rgb(0, 0, 0)).unwrap();
    assert!(picture.planes().0.iter().all(|luma| *luma == 16));
}

#[test]
fn it_fits_a_rectangle_with_its_own_proportions() {
    let still = decode(&file(ImageFormat::Png, 60, 20)).unwrap();
    assert_eq!((still.within(120, 120), still.within(30, 200), still.within(1000, 2)), ((120, 40), (30, 10), (6, 2)));
}
