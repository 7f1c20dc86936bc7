//! Pictures of one colour tell whose they are, and ramps tell where they lie.

use recorder_core::ids::TrackKind;
use recorder_core::scene::{Align, Content, Fit, Label, LabelStyle, Ornament, Plate, Rgb, Tile};
use recorder_core::secret::Pii;

use super::*;

const SIZE: CanvasSize = CanvasSize { width_px: 640, height_px: 360 };
const BACKGROUND: Rgb = Rgb(0, 0, 0);

fn mixer() -> VideoMixer {
    VideoMixer::new(SIZE, 30).unwrap()
}

fn tick(n: u64) -> SessionTime {
    SessionTime::from_nanos(1_000_000_000 + n * 33_333_333)
}

/// Pictures of a Track that may wait for their instants.
const ROOM: usize = HELD_PICTURES - 1;

fn track(name: &str) -> TrackId {
    TrackId::new(ParticipantId::new(name), TrackKind::Camera)
}

fn flat(width: u32, height: u32, (y, u, v): (u8, u8, u8)) -> Picture {
    let (luma, chroma) = ((width * height) as usize, (width.div_ceil(2) * height.div_ceil(2)) as usize);
    let mut data = vec![y; luma];
    data.resize(luma + chroma, u);
    data.resize(luma + 2 * chroma, v);
    Picture::new(width, height, data.into()).unwrap()
}

/// A tile without text or border, so that its pixels are those of the picture.
fn tile(name: &str, x: u32, y: u32, width: u32, height: u32) -> Tile {
    let rect = Rect { x, y, width, height };
    Tile { participant: ParticipantId::new(name), video: Some(track(name)), rect, fit: Fit::Cover, label: None, speaking: false }
}

fn scene(from: SessionTime, tiles: Vec<Tile>) -> Arc<Scene> {
    Arc::new(Scene { tiles, ..Scene::empty(from, SIZE, BACKGROUND) })
}

fn named(mut tile: Tile, name: &str) -> Tile {
    tile.label = Some(Label { name: Pii::new(name), muted: false, hand: false, style: LabelStyle::Plate });
    tile
}

/// Y, Cb, Cr at a canvas position.
fn at(i420: &[u8], x: u32, y: u32) -> (u8, u8, u8) {
    let (w, h) = (SIZE.width_px as usize, SIZE.height_px as usize);
    let (x, y) = (x as usize, y as usize);
    let chroma = y / 2 * (w / 2) + x / 2;
    (i420[y * w + x], i420[w * h + chroma], i420[w * h * 5 / 4 + chroma])
}

#[test]
fn sizes_and_rates_that_cannot_be_are_refused() {
    for (width_px, height_px) in [(0, 0), (641, 360), (640, 361), (8194, 2), (2, 0)] {
        let error = VideoMixer::new(CanvasSize { width_px, height_px }, 30).err();
        assert_eq!(error, Some(VideoMixerError::Canvas(width_px, height_px)));
    }
    assert_eq!(VideoMixer::new(SIZE, 0).err(), Some(VideoMixerError::Rate(0)));
}

#[test]
fn a_picture_fills_its_tile_and_nothing_else() {
    let mut mixer = mixer();
    mixer.show(scene(tick(0), vec![tile("a", 20, 40, 100, 60)]));
    assert_eq!(mixer.offer(&track("a"), tick(0), flat(64, 48, (200, 30, 220))), Offered::Taken);
    let drawn = mixer.draw(tick(0));
    assert_eq!(drawn.change, Change::Changed);
    assert_eq!(drawn.i420.len(), 640 * 360 * 3 / 2);
    for y in 0..360 {
        for x in 0..640 {
            let inside = (20..120).contains(&x) && (40..100).contains(&y);
            let wanted = if inside { (200, 30, 220) } else { (16, 128, 128) };
            assert_eq!(at(drawn.i420, x, y), wanted, "{x},{y}");
        }
    }
}

#[test]
fn any_source_size_in_any_fit() {
    let mut mixer = mixer();
    let sizes = [
        (1, 1),
        (2, 1),
        (1, 9),
        (8, 8),
        (3, 5),
        (17, 31),
        (101, 60),
        (99, 4096),
        (4096, 4096),
        (4096, 1),
        (640, 359),
        (1281, 721),
    ];
    let mut n = 0;
    for fit in [Fit::Cover, Fit::Contain] {
        for (tile_w, tile_h) in [(2, 2), (100, 56), (426, 240), (60, 300)] {
            let shown = Tile { fit, ..tile("a", 40, 40, tile_w, tile_h) };
            mixer.show(scene(tick(n), vec![shown.clone()]));
            for (w, h) in sizes {
                mixer.offer(&track("a"), tick(n), flat(w, h, (180, 40, 210)));
                let drawn = mixer.draw(tick(n));
                n += 1;
                let (cx, cy) = (40 + tile_w / 2 - 1, 40 + tile_h / 2 - 1);
                let near = |(y, u, v): (u8, u8, u8)| y.abs_diff(180) <= 2 && u.abs_diff(40) <= 2 && v.abs_diff(210) <= 2;
                assert!(near(at(drawn.i420, cx, cy)), "{w}x{h} {fit:?} in {tile_w}x{tile_h}");
                for (x, y) in [(39, cy), (40 + tile_w, cy), (cx, 39), (cx, 40 + tile_h)] {
                    assert_eq!(at(drawn.i420, x, y), (16, 128, 128), "beside {w}x{h} {fit:?} in {tile_w}x{tile_h}");
                }
                let corner = at(drawn.i420, 40, 40);
                let bars = fit == Fit::Contain && corner == (16, 128, 128);
                assert!(bars || near(corner), "{corner:?}");
            }
        }
    }
}

/// Luma rises from left to right by one a pixel (100 to 227), and chroma from top to bottom.
fn ramp(width: u32, height: u32) -> Picture {
    let (cw, ch) = (width.div_ceil(2), height.div_ceil(2));
    let mut data: Vec<u8> = (0..height).flat_map(|_| (0..width).map(|x| (100 + x) as u8)).collect();
    data.extend((0..ch).flat_map(|y| (0..cw).map(move |_| (60 + 2 * y) as u8)));
    data.extend((0..ch).flat_map(|y| (0..cw).map(move |_| (200 - 2 * y) as u8)));
    Picture::new(width, height, data.into()).unwrap()
}

#[test]
fn cover_cuts_both_sides_alike_and_contain_shows_all() {
    let mut mixer = mixer();
    mixer.show(scene(tick(0), vec![tile("a", 0, 0, 64, 64)]));
    mixer.offer(&track("a"), tick(0), ramp(128, 64));
    let drawn = mixer.draw(tick(0));
    // The middle 64 of 128 columns, pixel for pixel.
    assert_eq!((at(drawn.i420, 0, 0).0, at(drawn.i420, 63, 0).0), (132, 195));
    assert_eq!((at(drawn.i420, 0, 0).1, at(drawn.i420, 0, 63).1), (60, 122));
    mixer.show(scene(tick(1), vec![Tile { fit: Fit::Contain, ..tile("a", 0, 0, 64, 64) }]));
    let drawn = mixer.draw(tick(1));
    assert_eq!(at(drawn.i420, 5, 15), (16, 128, 128));
    assert_eq!(at(drawn.i420, 5, 48), (16, 128, 128));
    assert!((100..=102).contains(&at(drawn.i420, 0, 30).0) && (225..=227).contains(&at(drawn.i420, 63, 30).0));
}

#[test]
fn a_scene_waits_for_its_instant_and_the_newest_word_counts() {
    let mut mixer = mixer();
    let (a, b) = (tile("a", 0, 0, 64, 64), tile("b", 0, 0, 64, 64));
    assert_eq!(mixer.room(&track("a")), 0, "nobody asked for it");
    assert_eq!(mixer.offer(&track("a"), tick(0), flat(8, 8, (99, 99, 99))), Offered::Refused);
    mixer.show(scene(tick(0), vec![a.clone()]));
    mixer.show(scene(tick(3), vec![b.clone()]));
    assert_eq!((mixer.room(&track("a")), mixer.room(&track("b"))), (ROOM, ROOM));
    mixer.offer(&track("a"), tick(0), flat(8, 8, (50, 50, 50)));
    mixer.offer(&track("b"), tick(2), flat(8, 8, (90, 90, 90)));
    assert_eq!(at(mixer.draw(tick(0)).i420, 9, 9).0, 50);
    assert_eq!(mixer.draw(tick(2)).change, Change::Same);
    assert_eq!(at(mixer.draw(tick(3)).i420, 9, 9).0, 90, "the picture was there before the tile");
    assert_eq!(mixer.room(&track("a")), 0, "gone with its Scene");
    // What was to come from tick 9 on is overruled by a word for tick 8.
    mixer.show(scene(tick(9), vec![a.clone()]));
    mixer.show(scene(tick(8), vec![b, tile("c", 100, 100, 64, 64)]));
    assert_eq!(mixer.room(&track("a")), 0, "what was to come is not wanted any more");
    mixer.offer(&track("c"), tick(8), flat(8, 8, (70, 70, 70)));
    assert_eq!(at(mixer.draw(tick(8)).i420, 110, 110).0, 70);
    assert_eq!(mixer.draw(tick(10)).change, Change::Same);
    assert_eq!((mixer.room(&track("a")), mixer.room(&track("c"))), (0, ROOM));
}

#[test]
fn eleven_pictures_are_held_and_no_more() {
    let mut mixer = mixer();
    mixer.show(scene(tick(0), vec![tile("a", 0, 0, 64, 64)]));
    for n in 0..13 {
        let room = mixer.room(&track("a"));
        let offered = mixer.offer(&track("a"), tick(n), flat(8, 8, (50, 50, 50)));
        assert_eq!(offered == Offered::Taken, room > 0);
    }
    assert_eq!(mixer.stats().pictures_held, HELD_PICTURES - 1);
    mixer.draw(tick(0));
    assert_eq!((mixer.room(&track("a")), mixer.stats().refused), (1, 3));
    mixer.offer(&track("a"), tick(10), flat(8, 8, (50, 50, 50)));
    assert_eq!(mixer.stats().pictures_held, HELD_PICTURES);
}

#[test]
fn forgetting_takes_the_picture_off_the_canvas_at_once() {
    let mut mixer = mixer();
    mixer.show(scene(tick(0), vec![named(tile("a", 0, 0, 320, 180), "Ada")]));
    mixer.offer(&track("a"), tick(0), flat(8, 8, (222, 90, 90)));
    mixer.offer(&track("a"), tick(1), flat(8, 8, (222, 90, 90)));
    assert_eq!(at(mixer.draw(tick(0)).i420, 3, 3), (222, 90, 90));
    mixer.forget(&track("a"));
    let drawn = mixer.draw(tick(1));
    assert_eq!(drawn.change, Change::Changed);
    assert!(!drawn.i420.contains(&222));
    assert_eq!(mixer.stats().pictures_held, 0);
    assert_eq!(mixer.room(&track("a")), ROOM, "it may come back");
}

#[test]
fn what_does_not_move_is_not_painted_and_the_counts_tell() {
    let mut mixer = mixer();
    mixer.show(scene(tick(0), vec![tile("a", 0, 0, 64, 64), tile("b", 64, 0, 64, 64)]));
    for n in [0u64, 1, 2, 6] {
        mixer.offer(&track("a"), tick(n), flat(8, 8, (50 + n as u8, 50, 50)));
    }
    let changes: Vec<bool> = (0..3).map(|n| mixer.draw(tick(n)).change == Change::Changed).collect();
    assert_eq!(changes, [true, true, true]);
    assert_eq!(mixer.draw(tick(3)).change, Change::Same, "not due");
    mixer.offer(&track("a"), tick(7), flat(8, 8, (57, 50, 50)));
    let drawn = mixer.draw(tick(7));
    assert_eq!(at(drawn.i420, 2, 2).0, 57);
    let counts: HashMap<_, _> = drawn.counts().collect();
    assert_eq!(counts[&track("a")], TrackCounts { shown: 4, skipped: 1, repeated: 1, starved: 0 });
    assert_eq!(counts[&track("b")], TrackCounts::default());
    mixer.draw(tick(8));
    assert_eq!(mixer.stats().pictures.starved, 1);
}

#[test]
fn a_card_stands_in_the_middle_and_a_label_over_each_new_picture() {
    let mut mixer = mixer();
    let notice = Ornament {
        rect: Rect { x: 0, y: 0, width: SIZE.width_px, height: SIZE.height_px },
        align: Align::Center,
        content: Content::Text(Pii::new("Nobody is here")),
        text_px: 20,
        colour: Rgb(255, 255, 255),
        plate: None,
        lines: 2,
    };
    mixer.show(Arc::new(Scene { ornaments: vec![notice], ..Scene::clone(&scene(tick(0), Vec::new())) }));
    let drawn = mixer.draw(tick(0));
    let bright = |i420: &[u8], rect: Rect| {
        (rect.y..rect.y + rect.height)
            .flat_map(|y| (rect.x..rect.x + rect.width).map(move |x| (x, y)))
            .filter(|(x, y)| at(i420, *x, *y).0 > 180)
            .count()
    };
    assert!(bright(drawn.i420, Rect { x: 160, y: 150, width: 320, height: 60 }) > 100);
    assert_eq!(bright(drawn.i420, Rect { x: 0, y: 0, width: 640, height: 140 }), 0);
    mixer.show(scene(tick(1), vec![named(tile("a", 0, 0, 640, 360), "Åsa Çelik")]));
    let corner = Rect { x: 0, y: 300, width: 200, height: 60 };
    let counts = [tick(1), tick(2)].map(|t| {
        mixer.offer(&track("a"), t, flat(8, 8, (100, 128, 128)));
        let drawn = mixer.draw(t);
        assert_eq!(drawn.change, Change::Changed);
        bright(drawn.i420, corner)
    });
    assert!(counts[0] > 50 && counts[0] == counts[1], "{counts:?}");
}

#[test]
fn a_scene_for_another_canvas_size_is_scaled() {
    let mut mixer = mixer();
    let big = CanvasSize { width_px: 1280, height_px: 720 };
    let from_big = Scene { canvas: big, ..Scene::clone(&scene(tick(0), vec![tile("a", 640, 360, 640, 360)])) };
    mixer.show(Arc::new(from_big));
    mixer.offer(&track("a"), tick(0), flat(8, 8, (180, 50, 50)));
    let drawn = mixer.draw(tick(0));
    assert_eq!((at(drawn.i420, 320, 180).0, at(drawn.i420, 318, 178).0, at(drawn.i420, 639, 359).0), (180, 16, 180));
    // Rectangles that reach beyond the canvas, and sizes of nothing, are cut and left out.
    let wild = vec![tile("a", 600, 300, u32::MAX, u32::MAX), tile("b", 5000, 5000, 10, 10), tile("c", 0, 0, 0, 9)];
    mixer.show(scene(tick(1), wild));
    assert_eq!(at(mixer.draw(tick(1)).i420, 639, 359).0, 180);
}

/// A small picture of one colour, half transparent.
fn still(grey: u8) -> Still {
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbaImage::from_pixel(8, 8, image::Rgba([grey, grey, grey, 128]))
        .write_to(&mut file, image::ImageFormat::Png)
        .unwrap();
    Still::decode(file.get_ref(), SIZE, crate::mixer::still::StillLimits::FILE).unwrap()
}

/// Of each content one, over two tiles each.
fn ornament(kind: u8) -> Ornament {
    let (content, rect) = match kind {
        0 => (Content::Plain, Rect { x: 100, y: 100, width: 300, height: 80 }),
        1 => (Content::Text(Pii::new("Weekly meeting")), Rect { x: 260, y: 20, width: 200, height: 40 }),
        2 => (Content::Clock { format: "%H:%M:%S".into() }, Rect { x: 240, y: 40, width: 160, height: 30 }),
        _ => (Content::Image { path: "logo.png".into() }, Rect { x: 280, y: 80, width: 120, height: 120 }),
    };
    let plate = (kind != 1).then_some(Plate { colour: Rgb(90, 20, 20), opacity_percent: 40 });
    Ornament { rect, align: Align::Center, content, text_px: 20, colour: Rgb(255, 255, 255), plate, lines: 1 }
}

#[test]
fn tiles_move_to_their_new_places_and_then_rest() {
    let mut mixer = mixer();
    let smooth = |from, tiles| Arc::new(Scene { transition: Duration::from_millis(200), ..Scene::clone(&scene(from, tiles)) });
    mixer.show(smooth(tick(0), vec![tile("a", 0, 0, 320, 180)]));
    mixer.offer(&track("a"), tick(0), flat(8, 8, (200, 99, 150)));
    // Nothing was there before: it does not grow out of nothing.
    assert_eq!(at(mixer.draw(tick(0)).i420, 1, 1).0, 200);
    mixer.show(smooth(tick(1), vec![tile("a", 320, 180, 320, 180), tile("b", 0, 0, 320, 180)]));
    let left: Vec<u32> = (1..=7)
        .map(|n| {
            mixer.offer(&track("a"), tick(n), flat(8, 8, (200 + n as u8, 99, 150)));
            let drawn = mixer.draw(tick(n));
            assert_eq!(drawn.change, Change::Changed);
            let middle = (0..180).find(|y| at(drawn.i420, 2 * y + 160, y + 90).0 == 200 + n as u8);
            middle.unwrap_or_else(|| panic!("the newest picture is shown at {n}"))
        })
        .collect();
    assert!(left.is_sorted() && left[0] < 60 && left[6] >= 90, "{left:?}");
    let drawn = mixer.draw(tick(7));
    assert_eq!((at(drawn.i420, 320, 180).0, at(drawn.i420, 639, 359).0), (207, 207));
    assert!(at(drawn.i420, 319, 179).0 < 80, "the other one is beside it");
    assert_eq!(mixer.draw(tick(8)).change, Change::Same, "it has arrived");
    // A word about something else does not stop a tile on its way.
    mixer.show(smooth(tick(9), vec![tile("a", 0, 0, 320, 180)]));
    mixer.draw(tick(9));
    mixer.draw(tick(10));
    let on_its_way = mixer.places[0].rect;
    mixer.show(scene(tick(11), vec![Tile { speaking: true, ..tile("a", 0, 0, 320, 180) }]));
    mixer.draw(tick(11));
    assert!(mixer.places[0].motion.is_some() && mixer.places[0].rect.x < on_its_way.x && mixer.places[0].rect.x > 0);
    // A cut comes at once.
    mixer.show(scene(tick(12), vec![tile("a", 100, 100, 320, 180)]));
    mixer.draw(tick(12));
    assert_eq!((mixer.places[0].rect.x, mixer.places[0].motion), (100, None));
}

#[test]
fn a_clock_is_painted_once_a_second_and_nothing_else_with_it() {
    let mut mixer = mixer();
    let clock = |format: &str| Ornament { content: Content::Clock { format: format.into() }, ..ornament(2) };
    let ornaments = vec![
        clock("%H:%M:%S"),
        clock("%d.%m.%Y"),
        Ornament { rect: Rect { x: 0, y: 200, width: 300, height: 40 }, ..clock("%é") },
    ];
    let tiles = vec![named(tile("a", 0, 0, 320, 180), "Ada")];
    mixer.set_wall_clock(WallClock::new("2026-11-21T23:59:57.5Z".parse().unwrap(), jiff::tz::TimeZone::UTC));
    mixer.show(Arc::new(Scene { ornaments, ..Scene::clone(&scene(tick(0), tiles)) }));
    let changed: Vec<u64> = (0..75).filter(|n| mixer.draw(tick(*n)).change == Change::Changed).collect();
    // Ticks begin at one second, a picture every thirtieth; half a second later the clock turns to midnight.
    assert_eq!(changed, [0, 16, 46]);
}

#[test]
fn still_pictures_are_kept_while_a_scene_names_them() {
    let mut mixer = mixer();
    let person = Tile { video: None, ..tile("a", 0, 0, 320, 180) };
    let rich =
        Scene { ornaments: vec![ornament(3)], backdrop: Some("wall.jpg".into()), ..Scene::clone(&scene(tick(0), vec![person])) };
    mixer.set_avatar(&ParticipantId::new("a"), Some(still(200)));
    assert_eq!(mixer.stats().stills_held, 0, "nobody asked for it");
    mixer.show(Arc::new(rich.clone()));
    mixer.set_avatar(&ParticipantId::new("a"), Some(still(200)));
    mixer.set_image("logo.png", still(90));
    mixer.set_image("other.png", still(90));
    mixer.set_backdrop("wall.jpg", flat(640, 360, (77, 128, 128)));
    assert_eq!(mixer.stats().stills_held, 3);
    assert_eq!(at(mixer.draw(tick(0)).i420, 600, 300).0, 77);
    let with_avatar = mixer.draw(tick(1)).i420.to_vec();
    mixer.set_avatar(&ParticipantId::new("a"), None);
    let drawn = mixer.draw(tick(2));
    assert!(drawn.change == Change::Changed && drawn.i420 != with_avatar);
    mixer.set_backdrop("wall.jpg", flat(320, 180, (99, 128, 128)));
    assert_eq!(at(mixer.draw(tick(3)).i420, 600, 300).0, 16, "one of another size is not shown");
    mixer.show(scene(tick(4), Vec::new()));
    mixer.draw(tick(4));
    assert_eq!(mixer.stats().stills_held, 0);
}

#[test]
fn twelve_hours_need_no_more_memory_than_one_minute() {
    let mut mixer = VideoMixer::new(CanvasSize { width_px: 48, height_px: 48 }, 30).unwrap();
    let canvas = CanvasSize { width_px: 48, height_px: 48 };
    let pictures: Vec<Picture> = (0..8).map(|n| flat(48, 48, (40 + 20 * n, 99, 150))).collect();
    let ids: Vec<TrackId> = (0..5).map(|n| track(&format!("p{n}"))).collect();
    let mut most = VideoStats::default();
    for n in 0..12 * 3600 * 30u64 {
        if n % 150 == 0 {
            // Every 5 s somebody else, by a new name.
            let who = (n / 150) as usize;
            let tile = {
                let id = &ids[who % ids.len()];
                named(Tile { video: Some(id.clone()), ..tile(id.participant.as_str(), 0, 0, 48, 48) }, &format!("N{}", n / 1800))
            };
            mixer.show(Arc::new(Scene { canvas, ..Scene::clone(&scene(tick(n + 15), vec![tile])) }));
        }
        for id in &ids {
            if mixer.room(id) > 0 {
                mixer.offer(id, tick(n + 2), pictures[n as usize % 8].clone());
            }
        }
        mixer.draw(tick(n));
        if n % 97 > 0 {
            continue;
        }
        let now = mixer.stats();
        most.pictures_held = most.pictures_held.max(now.pictures_held);
        most.tracks = most.tracks.max(now.tracks);
        most.scenes_pending = most.scenes_pending.max(now.scenes_pending);
        most.texts_kept = most.texts_kept.max(now.texts_kept);
    }
    let stats = mixer.stats();
    assert_eq!(stats.drawn, 12 * 3600 * 30);
    assert!(most.pictures_held <= 2 * HELD_PICTURES && most.tracks <= 2 && most.scenes_pending <= 1, "{most:?}");
    assert!(
        most.texts_kept <= crate::mixer::label::CACHED_OVERLAYS && stats.text_bytes <= crate::mixer::label::CACHED_BYTES,
        "{most:?}"
    );
    assert!(most.texts_kept >= 100, "the test must fill the cache to mean anything: {most:?}");
    assert!(stats.pictures.shown > 12 * 3600 * 29, "{stats:?}");
    assert!(stats.pictures.repeated + stats.pictures.skipped < 12 * 3600, "{stats:?}");
}

#[test]
fn pending_scenes_are_bounded() {
    let mut mixer = mixer();
    for n in 0..500 {
        mixer.show(scene(tick(n), vec![tile(&format!("p{n}"), 0, 0, 64, 64)]));
    }
    let stats = mixer.stats();
    assert_eq!((stats.scenes_pending, stats.tracks), (PENDING_SCENES, PENDING_SCENES));
    assert!(mixer.room(&track("p499")) > 0, "the last word is heard");
}

#[test]
fn between_draws_that_are_far_apart_tracks_move_on() {
    // One draw in thirty looks; a Track holds seven pictures.
    let mut mixer = mixer();
    mixer.show(scene(tick(0), vec![tile("a", 0, 0, 64, 48)]));
    for n in 0..=30 {
        assert_eq!(mixer.offer(&track("a"), tick(n), flat(64, 48, (100 + n as u8, 128, 128))), Offered::Taken, "picture {n}");
        if n % 30 > 0 {
            mixer.pass(tick(n));
            continue;
        }
        let drawn = mixer.draw(tick(n));
        assert_eq!(at(drawn.i420, 10, 10).0, 100 + n as u8);
    }
    assert_eq!(mixer.stats().pictures.shown, 2);
}

#[path = "quiet_tests.rs"]
mod quiet;
#[path = "repaint_tests.rs"]
mod repaint;
