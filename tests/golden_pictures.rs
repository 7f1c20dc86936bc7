//! What people see: layouts, names, badges, avatars, strips and slates as pictures in `tests/golden`, drawn by the mixer itself.
//!
//! `ROOMCAST_WRITE_GOLDEN=1 cargo test --test golden_pictures` writes them anew; look at them before they are committed. A picture that differs leaves what was
//! drawn, what was expected and the difference side by side in the folder of the test's own files, and the failure names it.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests stop a test as the tests themselves do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb as Pixel, RgbImage, RgbaImage};
use recorder_core::conference::Role;
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::layout::{Dress, Language, Layout, Seating, Setting, Strip};
use recorder_core::scene::{CanvasSize, LabelStyle, Rgb, Scene};
use recorder_core::secret::Pii;
use recorder_core::slate::{Slate, SlateKind};
use recorder_core::stage::{Part, Seat, Stage};
use recorder_core::time::SessionTime;
use roomcast::mixer::picture::Picture;
use roomcast::mixer::still::{Still, StillLimits};
use roomcast::mixer::video::VideoMixer;
use roomcast::mixer::wall::WallClock;

const CANVAS: CanvasSize = CanvasSize { width_px: 960, height_px: 540 };
const UPRIGHT: CanvasSize = CanvasSize { width_px: 540, height_px: 960 };
const AT: SessionTime = SessionTime::from_millis(1000);
/// Mean of the squared differences of all channels that is allowed: other versions of the fonts and of the scaler round differently.
const ALLOWED: f64 = 6.0;

/// Somebody with a camera.
fn person(name: &str, arrival: u64) -> Seat {
    Seat::new(ParticipantId::new(format!("p{arrival}")), Pii::new(name), Part::Person, arrival).with_video()
}

/// A shared screen of somebody.
fn screen(owner: &Seat) -> Seat {
    let video = Some(TrackId::new(owner.participant.clone(), TrackKind::Screen));
    Seat { video, part: Part::Screen, arrival: 1000 + owner.arrival, muted: false, speaking: false, hand: None, ..owner.clone() }
}

const NAMES: [&str; 9] = [
    "Ada Lovelace",
    "Björn Åström",
    "Chiamaka Obi",
    "Dương Văn An",
    "Émilie Rousseau",
    "Fatma Yılmaz",
    "Giulia Bianchi",
    "Hannah Groß",
    "Íris Jónsdóttir",
];

fn people(count: usize) -> Vec<Seat> {
    (0..count).map(|n| person(NAMES[n % NAMES.len()], n as u64)).collect()
}

fn arranged(layout: &str, seats: Vec<Seat>, canvas: CanvasSize, dress: &Dress) -> Scene {
    let setting = Setting { canvas, dress, title: Some(&Pii::new("Weekly meeting")) };
    let stage = Stage { seats, audible: Vec::new() };
    Layout::built_in(layout).unwrap().arrange_calmly(&stage, &setting, &mut Seating::default(), AT)
}

fn plain(layout: &str, seats: Vec<Seat>) -> Scene {
    arranged(layout, seats, CANVAS, &Dress::default())
}

/// What a camera or a screen shows: somebody in front of a wall, or lines of text.
fn picture(track: &TrackId) -> Picture {
    let seed = track.participant.as_str().bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let seed = seed.wrapping_mul(2_654_435_761) >> 8;
    let (width, height) = if track.kind == TrackKind::Screen { (1280_u32, 720_u32) } else { (640, 360) };
    let luma = |x: u32, y: u32| -> u8 {
        if track.kind == TrackKind::Screen {
            let (row, column) = (y / 40, x.saturating_sub(80));
            let is_text = y % 40 > 14 && y % 40 < 26 && x > 80 && column < 500 + (row * 197 % 600) && (column / 9) % 7 != 0;
            return if y < 60 {
                90
            } else if is_text {
                70
            } else {
                225
            };
        }
        let (fx, fy) = (f64::from(x) / 640.0, f64::from(y) / 360.0);
        let is_head = ((fx - 0.5) / 0.11).hypot((fy - 0.42) / 0.24) < 1.0;
        let is_body = ((fx - 0.5) / 0.27).hypot((fy - 1.05) / 0.42) < 1.0;
        if is_head {
            170
        } else if is_body {
            60 + (seed % 90) as u8
        } else {
            (215.0 - 90.0 * fy) as u8
        }
    };
    let chroma = |base: u32, x: u32, y: u32| -> u8 {
        if track.kind == TrackKind::Screen {
            return 128;
        }
        let is_body = ((f64::from(x) / 320.0 - 0.5) / 0.27).hypot((f64::from(y) / 180.0 - 1.05) / 0.42) < 1.0;
        if is_body { (88 + (seed / base) % 80) as u8 } else { (118 + base % 24) as u8 }
    };
    let mut data: Vec<u8> = (0..height).flat_map(|y| (0..width).map(move |x| luma(x, y))).collect();
    for base in [3, 11] {
        data.extend((0..height / 2).flat_map(|y| (0..width / 2).map(move |x| chroma(base, x, y))));
    }
    Picture::new(width, height, data.into()).unwrap()
}

fn still(draw: impl Fn(u32, u32) -> [u8; 4], width: u32, height: u32) -> Still {
    let mut file = std::io::Cursor::new(Vec::new());
    RgbaImage::from_fn(width, height, |x, y| image::Rgba(draw(x, y))).write_to(&mut file, image::ImageFormat::Png).unwrap();
    Still::decode(file.get_ref(), CanvasSize { width_px: 1280, height_px: 720 }, StillLimits::FILE).unwrap()
}

/// A ring on a transparent ground.
fn logo() -> Still {
    let ring = |x: u32, y: u32| {
        let distance = (f64::from(x) - 59.5).hypot(f64::from(y) - 59.5);
        if (32.0..58.0).contains(&distance) { [255, 170, 40, 255] } else { [0, 0, 0, 0] }
    };
    still(ring, 120, 120)
}

/// Somebody's picture: a face on blue.
fn face() -> Still {
    let face = |x: u32, y: u32| {
        let (x, y) = (f64::from(x) - 100.0, f64::from(y) - 100.0);
        let is_eye = (x.abs() - 26.0).hypot(y + 16.0) < 8.0;
        let is_mouth = (x.hypot(y - 8.0) - 34.0).abs() < 4.0 && y > 16.0;
        if is_eye || is_mouth {
            [40, 30, 30, 255]
        } else if x.hypot(y) < 72.0 {
            [245, 200, 150, 255]
        } else {
            [60, 110, 190, 255]
        }
    };
    still(face, 200, 200)
}

/// Draws a Scene after all cameras have shown something.
fn drawn(scene: &Scene, prepare: impl Fn(&mut VideoMixer)) -> RgbImage {
    let mut mixer = VideoMixer::new(scene.canvas, 30).unwrap();
    mixer.set_wall_clock(WallClock::new("2026-11-21T14:04:59Z".parse().unwrap(), jiff::tz::TimeZone::UTC));
    mixer.show(Arc::new(scene.clone()));
    for track in scene.tiles.iter().filter_map(|tile| tile.video.as_ref()) {
        mixer.offer(track, AT, picture(track));
    }
    prepare(&mut mixer);
    rgb(mixer.draw(AT).i420, scene.canvas)
}

/// BT.601, limited range.
fn rgb(i420: &[u8], canvas: CanvasSize) -> RgbImage {
    let (width, height) = (canvas.width_px as usize, canvas.height_px as usize);
    RgbImage::from_fn(canvas.width_px, canvas.height_px, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let chroma = width * height + y / 2 * (width / 2) + x / 2;
        let luma = 1.164 * (f64::from(i420[y * width + x]) - 16.0);
        let (u, v) = (f64::from(i420[chroma]) - 128.0, f64::from(i420[chroma + width * height / 4]) - 128.0);
        let channels = [luma + 1.596 * v, luma - 0.392 * u - 0.813 * v, luma + 2.017 * u];
        Pixel(channels.map(|value| value.round().clamp(0.0, 255.0) as u8))
    })
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.png"))
}

fn mean_square(a: &RgbImage, b: &RgbImage) -> f64 {
    let squares = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    squares.sum::<f64>() / a.as_raw().len() as f64
}

/// What was drawn, what was expected, and how much they differ.
fn side_by_side(actual: &RgbImage, expected: &RgbImage) -> RgbImage {
    let (width, height) = actual.dimensions();
    RgbImage::from_fn(3 * width, height, |x, y| match (x / width, expected.get_pixel_checked(x % width, y)) {
        (0, _) => *actual.get_pixel(x, y),
        (_, None) => Pixel([255, 0, 255]),
        (1, Some(pixel)) => *pixel,
        (_, Some(pixel)) => {
            let own = actual.get_pixel(x % width, y);
            Pixel([0, 1, 2].map(|channel: usize| own.0[channel].abs_diff(pixel.0[channel]).saturating_mul(4)))
        }
    })
}

#[track_caller]
fn compare(name: &str, actual: &RgbImage) {
    let path = golden(name);
    if std::env::var_os("ROOMCAST_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        // Small, because the manual shows them.
        let encoder = PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive);
        actual.write_with_encoder(encoder).unwrap();
        return;
    }
    let expected = image::open(&path).unwrap().into_rgb8();
    let difference = if expected.dimensions() == actual.dimensions() { mean_square(actual, &expected) } else { f64::INFINITY };
    if difference > ALLOWED {
        let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-actual-expected-difference.png"));
        side_by_side(actual, &expected).save(&left).unwrap();
        panic!("{name} differs by {difference:.2}, {ALLOWED} is allowed: look at {}", left.display());
    }
}

#[test]
fn names_in_every_script() {
    let names = [
        "Jürgen Weiß-Ödön",
        "محمد العربي",
        "שלום עולם",
        "नरेन्द्र शर्मा",
        "สมชาย ใจดี",
        "山田 太郎",
        "김민수",
        "Ada 👩‍💻🦊",
        "Wolfeschlegelsteinhausenbergerdorff, the Third of His Name",
    ];
    let seats = (0..).zip(names).map(|(n, name)| person(name, n)).collect();
    compare("names", &drawn(&plain("grid", seats), |_| {}));
}

#[test]
fn badges_and_the_border_of_a_speaker() {
    let mut seats = people(4);
    seats[0].muted = true;
    seats[1].hand = Some(0);
    (seats[2].muted, seats[2].hand) = (true, Some(1));
    seats[3].speaking = true;
    compare("badges", &drawn(&plain("grid", seats), |_| {}));
}

#[test]
fn people_without_a_camera() {
    let names = ["Ada Lovelace", "Björn Åström", "山田 太郎", "🦊"];
    let seats: Vec<Seat> = (0..).zip(names).map(|(n, name)| Seat { video: None, muted: n > 1, ..person(name, n) }).collect();
    let scene = plain("grid", seats);
    compare("avatars", &drawn(&scene, |mixer| mixer.set_avatar(&ParticipantId::new("p1"), Some(face()))));
}

#[test]
fn a_strip_with_title_clock_and_logo() {
    let strip = Strip { title: None, clock: Some("%d %b %Y  %H:%M:%S".into()), logo: Some("logo.png".into()) };
    let dress = Dress { strip: Some(strip), ..Dress::default() };
    let mut seats = people(6);
    (seats[0].speaking, seats[0].floor) = (true, true);
    compare("strip", &drawn(&arranged("speaker", seats, CANVAS, &dress), |mixer| mixer.set_image("logo.png", logo())));
}

#[test]
fn a_shared_screen_and_more_people_than_tiles() {
    let mut seats = people(12);
    seats.insert(0, screen(&seats[2]));
    compare("screen", &drawn(&plain("screen", seats), |_| {}));
}

#[test]
fn more_people_than_a_grid_holds() {
    compare("more", &drawn(&plain("grid", people(30)), |_| {}));
}

#[test]
fn a_stage_and_an_interview() {
    let mut seats = people(7);
    (seats[0].role, seats[1].role) = (Role::Presenter, Role::Presenter);
    compare("stage", &drawn(&plain("stage", seats), |_| {}));
    let scene = plain("interview", people(2));
    assert!(scene.tiles.iter().flat_map(|tile| &tile.label).any(|label| label.style == LabelStyle::LowerThird));
    compare("interview", &drawn(&scene, |_| {}));
}

#[test]
fn an_upright_canvas() {
    compare("portrait", &drawn(&arranged("portrait", people(3), UPRIGHT, &Dress::default()), |_| {}));
}

fn slate(kind: SlateKind) -> Slate {
    Slate::parse(kind.name(), kind.built_in_text()).unwrap()
}

#[test]
fn slates_in_two_languages() {
    let mut scene = Scene::empty(AT, CANVAS, Rgb(0, 0, 0));
    slate(SlateKind::Nobody).over(&mut scene, Language::De, None);
    compare("nobody", &drawn(&scene, |_| {}));
    let without_cameras = people(4).into_iter().map(|seat| Seat { video: None, ..seat }).collect();
    let mut scene = plain("grid", without_cameras);
    slate(SlateKind::Lost).over(&mut scene, Language::En, None);
    compare("lost", &drawn(&scene, |_| {}));
}

#[test]
fn words_over_a_backdrop_without_a_plate() {
    let mut scene = Scene::empty(AT, CANVAS, Rgb(0, 0, 0));
    slate(SlateKind::BeforeStart).over(&mut scene, Language::En, None);
    scene.backdrop = Some("wall.jpg".into());
    let stripes = |x: u32, y: u32| if ((x + y) / 60).is_multiple_of(2) { [235, 235, 235, 255] } else { [150, 40, 60, 255] };
    let wall = still(stripes, 1280, 720).covering(CANVAS, Rgb(0, 0, 0)).unwrap();
    compare("backdrop", &drawn(&scene, |mixer| mixer.set_backdrop("wall.jpg", wall.clone())));
}

#[test]
fn the_comparison_sees_what_it_should() {
    let (seats, mut other) = (people(4), people(4));
    other[2].muted = true;
    let (a, b) = (drawn(&plain("grid", seats), |_| {}), drawn(&plain("grid", other), |_| {}));
    assert!(mean_square(&a, &b) > ALLOWED, "{}", mean_square(&a, &b));
    assert_eq!(side_by_side(&a, &b).dimensions(), (3 * CANVAS.width_px, CANVAS.height_px));
}
