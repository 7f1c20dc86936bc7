use recorder_core::scene::LabelStyle;
use recorder_core::secret::Pii;

use super::*;
use crate::mixer::scripts::SAMPLES;
use crate::mixer::yuv::{PlanesMut, Ycc};

fn artist() -> TextArtist {
    TextArtist::with_system_fonts().unwrap()
}

const TILE: Rect = Rect { x: 0, y: 0, width: 426, height: 240 };

fn label(name: &str) -> Label {
    Label { name: Pii::new(name), muted: false, hand: false, style: LabelStyle::Plate }
}

/// Luma of an overlay over flat grey.
fn over(overlay: &Overlay, grey: u8) -> Vec<u8> {
    planes_over(overlay, grey).0
}

/// Y, Cb and Cr of an overlay over flat grey.
fn planes_over(overlay: &Overlay, grey: u8) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (width, height) = (overlay.width(), overlay.height());
    let (mut y, mut u, mut v) = (vec![grey; width * height], vec![128; width * height / 4], vec![128; width * height / 4]);
    let mut planes = PlanesMut { y: &mut y, u: &mut u, v: &mut v, y_stride: width, c_stride: width / 2, width, height };
    overlay.lay_over(&mut planes, 0, 0);
    (y, u, v)
}

#[test]
fn no_fonts_is_an_error_and_no_panic() {
    assert_eq!(TextArtist::with_fonts(Database::new()).err(), Some(FontError::Missing));
}

#[test]
fn every_script_and_any_rubbish_is_drawn_within_its_room() {
    let mut artist = artist();
    let long = "Wolfeschlegelsteinhausenbergerdorff ".repeat(40);
    let names = [
        "Ada",
        "Björn Åström",
        "Gül Çağlayan",
        "محمد العربي",
        "שלום עולם",
        "山田太郎",
        "김민수",
        "नरेन्द्र",
        "สมชาย",
        "👩‍👩‍👧 Family",
        "a\u{301}\u{301}\u{301}\u{301}\u{301}",
        "\u{202e}evil\u{202c}",
        "line\nbreak\ttab",
        "\u{0}\u{1}\u{fffd}",
        "مرحبا Ada 123",
        &long,
        "W",
        "\u{10ffff}",
        "ﷺ﷽",
    ];
    for name in names {
        for rect in [TILE, Rect { width: 1920, height: 1080, ..TILE }, Rect { width: 96, height: 54, ..TILE }] {
            let Some(plate) = artist.name(&label(name), rect) else { continue };
            assert!(plate.width() <= rect.width as usize && plate.height() <= rect.height as usize / 2, "{name}");
        }
    }
    assert!(artist.name(&label("\n \t"), TILE).is_none(), "nothing to read");
    assert!(artist.name(&label("Ada"), Rect { width: 8, height: 8, ..TILE }).is_none(), "no room");
    assert!(artist.name(&label(&long), TILE).unwrap().width() > 300, "cut at the end of the room, not earlier");
}

#[test]
fn every_script_is_written_in_its_own_letters() {
    let mut artist = artist();
    assert_eq!(artist.gaps(), [], "install the packages that are named");
    // U+10FFFF is nobody's character: its picture is the box that stands for what is missing.
    let boxes = |artist: &mut TextArtist, count: usize| {
        let plate = artist.name(&label(&"\u{10ffff}".repeat(count)), TILE).unwrap();
        (plate.width(), over(&plate, 16))
    };
    for sample in SAMPLES {
        let plate = artist.name(&label(sample.text), TILE).unwrap();
        let inked = over(&plate, 16).iter().filter(|luma| **luma > 90).count();
        assert!(inked > 20, "{} is hardly to be seen: {inked} pixels", sample.script);
        for count in 1..=12 {
            let (width, luma) = boxes(&mut artist, count);
            assert!(width != plate.width() || luma != over(&plate, 16), "{} is drawn as boxes", sample.script);
        }
    }
    let emoji = artist.name(&label("🦊"), TILE).unwrap();
    let (_, u, v) = planes_over(&emoji, 16);
    assert!(u.iter().any(|u| *u < 100) && v.iter().any(|v| *v > 150), "an emoji has colours");
}

#[test]
fn fonts_that_are_missing_are_named_with_their_package() {
    let mut database = Database::new();
    database.load_fonts_dir("/usr/share/fonts/truetype/dejavu");
    let gaps = TextArtist::with_fonts(database).unwrap().gaps();
    let package = |script: &str| gaps.iter().find(|gap| gap.script == script).map(|gap| gap.package);
    assert_eq!(package("Japanese"), Some("fonts-noto-cjk"));
    assert_eq!(package("Thai"), Some("fonts-noto-core"));
    assert_eq!(package("emoji"), Some("fonts-noto-color-emoji"));
    assert_eq!((package("Greek"), package("Latin with diacritics")), (None, None));
}

#[test]
fn a_long_name_ends_with_an_ellipsis_between_graphemes() {
    let mut artist = artist();
    let family = "👩‍👩‍👧";
    let one = artist.setter.set(family, 20.0, Room::Endless);
    let dots = artist.setter.set("…", 20.0, Room::Endless);
    let (one, dots) = (extent(&one).1, extent(&dots).1);
    // Room for two and a half: two are shown, and none is torn apart.
    let room = (2.6 * one + dots) as u32;
    let set = artist.setter.set(&family.repeat(5), 20.0, Room::Line(room));
    assert!((extent(&set).1 - 2.0 * one - dots).abs() < 1.0, "{} of {one} and {dots}", extent(&set).1);
    // Right to left the dots are at the left end.
    let set = artist.setter.set(&"محمد ".repeat(40), 20.0, Room::Line(300));
    let glyphs: Vec<_> = set.layout_runs().flat_map(|run| run.glyphs).collect();
    let first = glyphs.iter().min_by(|a, b| a.x.total_cmp(&b.x)).unwrap();
    let last_byte = set.lines[0].text().len();
    assert_eq!(first.end, last_byte, "the leftmost glyph is the end of the text");
    assert!(set.lines[0].text().ends_with('…') && extent(&set).1 <= 300.0);
    // Lines: as many as there is room for.
    let room = Room::Lines { width_px: 200, lines: 2, align: Align::Center };
    let set = artist.setter.set(&"many words ".repeat(20), 20.0, room);
    assert!(set.layout_runs().count() == 2 && set.lines[0].text().ends_with('…'));
}

/// WCAG 2 contrast of two luma values, as greys.
fn contrast(a: u8, b: u8) -> f64 {
    let light = |luma: u8| {
        let value = ((f64::from(luma) - 16.0) / 219.0).clamp(0.0, 1.0);
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let (a, b) = (light(a), light(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn names_have_contrast_on_any_picture() {
    let mut artist = artist();
    for style in [LabelStyle::Plate, LabelStyle::LowerThird] {
        for name in ["Ada", "محمد", "Ωμέγα", "Жанна", "山田"] {
            let plate = artist.name(&Label { style, ..label(name) }, TILE).unwrap();
            for grey in [16, 126, 235] {
                let luma = over(&plate, grey);
                let (width, height) = (plate.width(), plate.height());
                // The middle row ends with plate without letters.
                let ground = luma[height / 2 * width + width - 3];
                let letters = luma.iter().filter(|y| contrast(**y, ground) >= 4.5).count();
                assert!(contrast(235, ground) >= 4.5, "{name} over {grey}: {:.2}", contrast(235, ground));
                assert!(letters > 30, "{name} over {grey}: {letters} pixels have contrast");
            }
        }
    }
}

#[test]
fn badges_have_contrast_on_any_picture() {
    let mut artist = artist();
    let plate = artist.name(&Label { muted: true, hand: true, ..label("") }, TILE).unwrap();
    for grey in [16, 126, 235] {
        let luma = over(&plate, grey);
        let ground = luma[plate.height() / 2 * plate.width() + 2];
        // 3 is what WCAG 2 asks of symbols.
        let clear = luma.iter().filter(|y| contrast(**y, ground) >= 3.0).count();
        assert!(clear > 120, "over {grey}: {clear} pixels");
    }
}

#[test]
fn words_without_a_plate_bring_their_own_ground() {
    let mut artist = artist();
    for colour in [Rgb(255, 255, 255), Rgb(20, 20, 20)] {
        let words = Words {
            text: "Nobody is here".to_owned(),
            text_px: 40,
            colour,
            align: Align::Center,
            lines: 1,
            width_px: 600,
            has_halo: true,
        };
        let overlay = artist.words(words).unwrap();
        let own = Ycc::from(colour).0;
        let (black, white) = (over(&overlay, 16), over(&overlay, 235));
        let (width, height) = (overlay.width(), overlay.height());
        // What looks the same over everything is a letter.
        let letters: Vec<usize> =
            (0..black.len()).filter(|i| black[*i].abs_diff(own) < 6 && white[*i].abs_diff(own) < 6).collect();
        for grey in [16, 126, 235] {
            let luma = over(&overlay, grey);
            let near =
                |i: usize| (0..11).flat_map(move |dy| (0..11).map(move |dx| (i + dy * width + dx).checked_sub(5 * width + 5)));
            let clear = letters
                .iter()
                .filter(|i| near(**i).flatten().filter(|at| *at < width * height).any(|at| contrast(luma[at], own) >= 4.5));
            let clear = clear.count();
            assert!(
                letters.len() > 500 && clear * 100 > letters.len() * 97,
                "{colour:?} over {grey}: {clear} of {}",
                letters.len()
            );
        }
    }
    assert!(Words::need_halo(None) && Words::need_halo(Some(40)) && !Words::need_halo(Some(80)));
}

#[test]
fn mute_is_seen() {
    let mut artist = artist();
    let open = artist.name(&label("Ada"), TILE).unwrap();
    let muted = artist.name(&Label { muted: true, ..label("Ada") }, TILE).unwrap();
    assert!(muted.width() > open.width() + 8);
    assert!(artist.name(&Label { muted: true, ..label("") }, TILE).is_some());
    let hand = artist.name(&Label { muted: true, hand: true, ..label("Ada") }, TILE).unwrap();
    assert!(hand.width() > muted.width() + 8);
}

#[test]
fn initials_of_names() {
    for (name, wanted) in [
        ("Ada Lovelace", "AL"),
        ("ada", "A"),
        ("Juan de la Cruz", "JC"),
        ("  ", ""),
        ("(guest) 42", "G4"),
        ("ßen", "S"),
        ("山田 太郎", "山太"),
        ("👍", ""),
        ("élan vital", "ÉV"),
    ] {
        assert_eq!(initials(name), wanted, "{name}");
    }
}

#[test]
fn a_text_is_drawn_once_and_the_cache_is_bounded() {
    let mut artist = artist();
    let first = artist.name(&label("Ada"), TILE).unwrap();
    assert!(Arc::ptr_eq(&first, &artist.name(&label("Ada"), TILE).unwrap()));
    for n in 0..CACHED_OVERLAYS + 40 {
        artist.name(&label(&format!("P{n}")), TILE);
        artist.name(&label("Ada"), TILE);
    }
    assert_eq!(artist.cached().0, CACHED_OVERLAYS);
    assert!(Arc::ptr_eq(&first, &artist.name(&label("Ada"), TILE).unwrap()), "what is in use stays");
    let bytes: usize = artist.kept.values().map(|kept| kept.overlay.bytes()).sum();
    assert_eq!(artist.cached().1, bytes);
}

#[test]
fn where_nothing_is_drawn_nothing_changes() {
    let sheet = Sheet::new(10, 10);
    assert!(over(&sheet.into_overlay(), 77).iter().all(|y| *y == 77));
    let mut sheet = Sheet::new(10, 10);
    sheet.shape(Rgb(255, 255, 255), 1.0, |_, _| -5.0);
    assert!(over(&sheet.into_overlay(), 77).iter().all(|y| *y == 235));
    // Opaque red but for one row, which chroma shares with the row above it.
    let mut sheet = Sheet::new(4, 4);
    sheet.shape(Rgb(255, 0, 0), 1.0, |_, y| if y < 3.0 { -5.0 } else { 5.0 });
    let (y, u, v) = planes_over(&sheet.into_overlay(), 77);
    assert_eq!((y, u, v), ([vec![81; 12], vec![77; 4]].concat(), vec![90, 90, 109, 109], vec![240, 240, 184, 184]));
    assert_eq!(Ycc::from(Rgb(0, 0, 0)), Ycc(16, 128, 128));
    assert_eq!(Ycc::from(Rgb(255, 0, 0)), Ycc(81, 90, 240));
}
