use recorder_core::scene::LabelStyle;
use recorder_core::secret::Pii;

use super::*;
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
    overlay.lay_over(&mut planes);
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
            let Some(plate) = artist.plate(&label(name), rect) else { continue };
            assert!(plate.width() <= rect.width as usize && plate.height() <= rect.height as usize / 2, "{name}");
        }
    }
    assert!(artist.plate(&label("\n \t"), TILE).is_none(), "nothing to read");
    assert!(artist.plate(&label("Ada"), Rect { width: 8, height: 8, ..TILE }).is_none(), "no room");
    assert!(artist.plate(&label(&long), TILE).unwrap().width() > 300, "cut at the end of the room, not earlier");
}

#[test]
fn letters_are_readable_over_black_and_over_white() {
    let mut artist = artist();
    for name in ["Ada", "محمد", "Ωμέγα", "Жанна"] {
        let plate = artist.plate(&label(name), TILE).unwrap();
        for grey in [16, 235] {
            let luma = over(&plate, grey);
            let (width, height) = (plate.width(), plate.height());
            // The middle row's ends are plate without letters.
            let ground = luma[height / 2 * width + 2];
            let bright = luma.iter().filter(|y| **y > 200).count();
            let inside = luma.iter().filter(|y| **y > 200 || **y <= ground.saturating_add(8)).count();
            assert!(ground < 110, "{name} over {grey}: ground {ground}");
            assert!(bright > 30 && inside > luma.len() / 2, "{name} over {grey}: {bright} bright of {}", luma.len());
        }
    }
}

#[test]
fn mute_is_seen() {
    let mut artist = artist();
    let open = artist.plate(&label("Ada"), TILE).unwrap();
    let muted = artist.plate(&Label { muted: true, ..label("Ada") }, TILE).unwrap();
    assert!(muted.width() > open.width() + 8);
    assert!(artist.plate(&Label { muted: true, ..label("") }, TILE).is_some());
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
    let first = artist.plate(&label("Ada"), TILE).unwrap();
    assert!(Arc::ptr_eq(&first, &artist.plate(&label("Ada"), TILE).unwrap()));
    for n in 0..CACHED_OVERLAYS + 40 {
        artist.plate(&label(&format!("P{n}")), TILE);
        artist.plate(&label("Ada"), TILE);
    }
    assert_eq!(artist.cached().0, CACHED_OVERLAYS);
    assert!(Arc::ptr_eq(&first, &artist.plate(&label("Ada"), TILE).unwrap()), "what is in use stays");
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
