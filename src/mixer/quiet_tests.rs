//! What a picture costs in which little or nothing moves: the pixels that are touched.

use super::*;

/// Four people with names, one of them speaking, one without a camera, and a clock over it.
fn meeting(clock: bool) -> Arc<Scene> {
    let mut tiles: Vec<Tile> =
        (0..4).map(|n| named(tile(&format!("p{n}"), n % 2 * 320, n / 2 * 180, 320, 180), &format!("Person {n}"))).collect();
    tiles[1].speaking = true;
    tiles[3].video = None;
    let ornament = Ornament {
        rect: Rect { x: 480, y: 0, width: 160, height: 40 },
        align: Align::Left,
        content: Content::Clock { format: "%H:%M".into() },
        text_px: 20,
        colour: Rgb(255, 255, 255),
        plate: Some(Plate { colour: Rgb(0, 0, 0), opacity_percent: 60 }),
        lines: 1,
    };
    let ornaments = if clock { vec![ornament] } else { Vec::new() };
    Arc::new(Scene { ornaments, ..Scene::clone(&scene(tick(0), tiles)) })
}

#[test]
fn where_nothing_moves_no_pixel_is_touched() {
    let mut mixer = mixer();
    mixer.show(meeting(true));
    for n in 0..3 {
        mixer.offer(&track(&format!("p{n}")), tick(0), flat(320, 180, (90, 100, 150)));
    }
    assert_eq!(mixer.draw(tick(0)).change, Change::Changed);
    let before = mixer.stats();
    assert!(before.touched_px >= 640 * 360);
    // Half a minute: the minute that the clock shows stays.
    for n in 1..900 {
        assert_eq!(mixer.draw(tick(n)).change, Change::Same);
    }
    let after = mixer.stats();
    assert_eq!((after.touched_px, after.unchanged), (before.touched_px, before.unchanged + 899));
    // The same Scene again, as when somebody far from the picture comes or goes.
    mixer.show(Arc::new(Scene { from: tick(900), ..Scene::clone(&meeting(true)) }));
    assert_eq!(mixer.draw(tick(900)).change, Change::Same);
    assert_eq!(mixer.stats().touched_px, before.touched_px);
}

#[test]
fn where_one_person_moves_only_that_tile_is_touched() {
    let mut mixer = mixer();
    mixer.show(meeting(false));
    for n in 0..3 {
        mixer.offer(&track(&format!("p{n}")), tick(0), flat(320, 180, (90, 100, 150)));
    }
    mixer.draw(tick(0));
    let before = mixer.stats().touched_px;
    for n in 1..=100 {
        mixer.offer(&track("p0"), tick(n), flat(320, 180, (90 + n as u8, 100, 150)));
        assert_eq!(mixer.draw(tick(n)).change, Change::Changed);
    }
    let each = (mixer.stats().touched_px - before) as f64 / 100.0;
    let tile = 320.0 * 180.0;
    assert!((tile..tile * 1.15).contains(&each), "{each} pixels a picture; the tile has {tile}, and its name a little");
}
