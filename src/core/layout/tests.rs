use proptest::prelude::*;

use crate::ids::{ParticipantId, TrackId, TrackKind};
use crate::secret::Pii;

use crate::scene::{Label, LabelStyle, Rect};
use crate::stage::{Part, Seat};

use super::*;

/// What must hold for every Scene: inside the canvas, even, not tiny, and no tile over another.
pub(crate) fn assert_valid(scene: &Scene) {
    for ornament in &scene.ornaments {
        let Rect { x, y, width, height } = ornament.rect;
        assert!([x, y, width, height].iter().all(|px| px % 2 == 0), "odd: {ornament:?}");
        assert!(width > 0 && height > 0 && ornament.lines > 0 && ornament.text_px >= 8, "nothing: {ornament:?}");
        assert!(x + width <= scene.canvas.width_px && y + height <= scene.canvas.height_px, "outside: {ornament:?}");
    }
    for (index, tile) in scene.tiles.iter().enumerate() {
        let Rect { x, y, width, height } = tile.rect;
        assert!([x, y, width, height].iter().all(|px| px % 2 == 0), "odd: {:?}", tile.rect);
        assert!(width >= SMALLEST_TILE_PX && height >= SMALLEST_TILE_PX, "tiny: {:?}", tile.rect);
        assert!(x + width <= scene.canvas.width_px && y + height <= scene.canvas.height_px, "outside: {:?}", tile.rect);
        for other in &scene.tiles[..index] {
            let other = other.rect;
            let apart =
                x >= other.x + other.width || other.x >= x + width || y >= other.y + other.height || other.y >= y + height;
            assert!(apart, "{:?} overlaps {other:?}", tile.rect);
        }
    }
    assert!(scene.tiles.len() <= MOST_TILES as usize + 1);
}

pub(super) fn size(width_px: u32, height_px: u32) -> CanvasSize {
    CanvasSize::new(width_px, height_px).unwrap()
}

pub(super) fn seat(name: &str, part: Part, arrival: u64) -> Seat {
    Seat::new(ParticipantId::new(name), Pii::new(name), part, arrival).with_video()
}

pub(super) fn stage(people: u64) -> Stage {
    Stage { seats: (0..people).map(|i| seat(&format!("p{i}"), Part::Person, i)).collect(), audible: vec![] }
}

fn arrange(layout: &str, stage: &Stage, canvas: CanvasSize) -> Scene {
    Layout::built_in(layout).unwrap().arrange(stage, canvas, SessionTime::from_millis(7))
}

fn rects(scene: &Scene) -> Vec<(u32, u32, u32, u32)> {
    scene.tiles.iter().map(|t| (t.rect.x, t.rect.y, t.rect.width, t.rect.height)).collect()
}

#[test]
fn grid_has_the_sizes_of_simulcast_layers() {
    let tile = |people, canvas| {
        let scene = arrange("grid", &stage(people), canvas);
        assert_eq!(scene.tiles.len() as u64, people);
        let sizes: Vec<_> = scene.tiles.iter().map(|t| (t.rect.width, t.rect.height)).collect();
        assert!(sizes.windows(2).all(|pair| pair[0] == pair[1]), "{sizes:?}");
        sizes[0]
    };
    let hd = size(1280, 720);
    let expected = [
        (1, (1280, 720)),
        (2, (640, 360)),
        (4, (640, 360)),
        (5, (426, 240)),
        (9, (426, 240)),
        (16, (320, 180)),
        (25, (256, 144)),
    ];
    for (people, tile_size) in expected {
        assert_eq!(tile(people, hd), tile_size, "{people} people");
    }
    let full_hd = size(1920, 1080);
    for (people, tile_size) in [(1, (1920, 1080)), (4, (960, 540)), (9, (640, 360)), (16, (480, 270)), (25, (384, 216))] {
        assert_eq!(tile(people, full_hd), tile_size, "{people} people");
    }
}

#[test]
fn grid_places_row_by_row_and_centres_the_last_row() {
    let hd = size(1280, 720);
    assert_eq!(
        rects(&arrange("grid", &stage(4), hd)),
        [(0, 0, 640, 360), (640, 0, 640, 360), (0, 360, 640, 360), (640, 360, 640, 360)]
    );
    assert_eq!(
        rects(&arrange("grid", &stage(5), hd)),
        [(0, 120, 426, 240), (426, 120, 426, 240), (852, 120, 426, 240), (214, 360, 426, 240), (640, 360, 426, 240)]
    );
    assert_eq!(rects(&arrange("grid", &stage(2), hd)), [(0, 180, 640, 360), (640, 180, 640, 360)]);
}

#[test]
fn grid_keeps_everybody_in_place_whoever_is_important() {
    let mut seats = stage(6).seats;
    let before = arrange("grid", &Stage { seats: seats.clone(), audible: vec![] }, size(1280, 720));
    seats.reverse();
    let after = arrange("grid", &Stage { seats, audible: vec![] }, size(1280, 720));
    assert_eq!(before, after);
}

#[test]
fn a_grid_that_is_full_shows_the_most_important() {
    let mut seats = stage(30).seats;
    seats.reverse();
    let scene = arrange("grid", &Stage { seats, audible: vec![] }, size(1280, 720));
    let shown: Vec<&str> = scene.tiles.iter().map(|tile| tile.participant.as_str()).collect();
    let expected: Vec<String> = (5..30).map(|i| format!("p{i}")).collect();
    assert_eq!(shown, expected);
}

#[test]
fn a_screen_is_shown_whole_and_comes_before_cameras() {
    let mut seats = stage(3).seats;
    seats.push(seat("p1", Part::Screen, 9));
    let scene = arrange("grid", &Stage { seats, audible: vec![] }, size(1280, 720));
    let first = &scene.tiles[0];
    assert_eq!((first.video.clone(), first.fit), (Some(TrackId::new(ParticipantId::new("p1"), TrackKind::Screen)), Fit::Contain));
    assert!(scene.tiles[1..].iter().all(|tile| tile.fit == Fit::Cover));
    assert_eq!(scene.tiles.len(), 4);
}

#[test]
fn speaker_has_one_large_tile_and_a_strip() {
    let hd = size(1280, 720);
    assert_eq!(rects(&arrange("speaker", &stage(1), hd)), [(0, 0, 1280, 720)]);
    let three = arrange("speaker", &stage(3), hd);
    assert_eq!(rects(&three), [(128, 0, 1024, 576), (384, 576, 256, 144), (640, 576, 256, 144)]);
    let ten = arrange("speaker", &stage(10), hd);
    assert_eq!(ten.tiles.len(), 6);
    assert_eq!(rects(&ten)[1], (0, 576, 256, 144));
    // The large tile goes to the most important, the strip keeps the order of arrival.
    let mut seats = stage(4).seats;
    seats.rotate_right(1);
    let shown = arrange("speaker", &Stage { seats, audible: vec![] }, hd);
    let order: Vec<_> = shown.tiles.iter().map(|tile| tile.participant.as_str()).collect();
    assert_eq!(order, ["p3", "p0", "p1", "p2"]);
}

#[test]
fn labels_and_borders_follow_the_layout() {
    let mut people = stage(2);
    people.seats[0].speaking = true;
    people.seats[1].muted = true;
    let grid = arrange("grid", &people, size(1280, 720));
    assert!(grid.tiles[0].speaking && !grid.tiles[1].speaking);
    assert_eq!(grid.tiles[1].label, Some(Label { name: Pii::new("p1"), muted: true, hand: false, style: LabelStyle::Plate }));
    assert!(!arrange("speaker", &people, size(1280, 720)).tiles[0].speaking);
    let bare = "[[arrangement]]\n[[arrangement.region]]\nlabels='none'\nat_most=2\narea={left=0,top=0,width=100,height=100}";
    let bare = Layout::parse("bare", bare).unwrap().arrange(&people, size(1280, 720), SessionTime::ZERO);
    assert_eq!(bare.tiles[1].label, None);
}

#[test]
fn gaps_and_margins_are_for_720_lines_and_scale() {
    let text = "background='#ff8000'\n[[arrangement]]\n[[arrangement.region]]\nat_most=4\ntile_shape='free'\ngap_px=8\nmargin_px=16\n\
                area={left=0,top=0,width=100,height=100}";
    let layout = Layout::parse("gaps", text).unwrap();
    let scene = layout.arrange(&stage(4), size(1280, 720), SessionTime::ZERO);
    assert_eq!(scene.background, Rgb(0xff, 0x80, 0));
    assert_eq!(rects(&scene), [(16, 16, 620, 340), (644, 16, 620, 340), (16, 364, 620, 340), (644, 364, 620, 340)]);
    let large = layout.arrange(&stage(4), size(2560, 1440), SessionTime::ZERO);
    assert_eq!(rects(&large)[0], (32, 32, 1240, 680));
}

#[test]
fn arrangements_are_chosen_by_tiles_and_screens() {
    let text = "[[arrangement]]\nwhen={screens_at_least=1}\n[[arrangement.region]]\ntakes='screens'\nat_most=1\n\
                area={left=0,top=0,width=75,height=100}\n[[arrangement.region]]\ntakes='cameras'\nat_most=4\nflow='column'\n\
                area={left=75,top=0,width=25,height=100}\n\
                [[arrangement]]\n[[arrangement.region]]\nat_most=9\narea={left=0,top=0,width=100,height=100}";
    let layout = Layout::parse("side", text).unwrap();
    let mut people = stage(2);
    assert_eq!(layout.arrange(&people, size(1280, 720), SessionTime::ZERO).tiles[0].rect.width, 640);
    people.seats.push(seat("p0", Part::Screen, 5));
    people.seats.push(seat("p1", Part::Screen, 6));
    let scene = layout.arrange(&people, size(1280, 720), SessionTime::ZERO);
    assert_eq!(rects(&scene), [(0, 90, 960, 540), (960, 180, 320, 180), (960, 360, 320, 180)]);
}

proptest! {
    #[test]
    fn every_scene_is_valid(
        people in 0u64..60, screens in 0u64..4, width in 8u32..2000, height in 8u32..2000,
        layout in prop::sample::select(Layout::built_in_names().collect::<Vec<_>>()),
    ) {
        let mut everybody = stage(people);
        everybody.seats.extend((0..screens.min(people)).map(|i| seat(&format!("p{i}"), Part::Screen, 100 + i)));
        let scene = arrange(layout, &everybody, size(2 * width, 2 * height));
        assert_valid(&scene);
        prop_assert_eq!(scene.from, SessionTime::from_millis(7));
        if width >= 40 && height >= 40 {
            let expected = match layout {
                "grid" => 25,
                "speaker" => 6,
                _ => 1,
            };
            prop_assert!(scene.tiles.len() >= everybody.seats.len().min(expected));
        }
    }

    #[test]
    fn any_free_layout_is_valid(
        left in 0u32..100, top in 0u32..100, right in 0u32..100, bottom in 0u32..100, gap in 0u32..200, margin in 0u32..200,
        people in 0u64..30, width in 8u32..1000, height in 8u32..1000,
        flow in prop::sample::select(vec!["grid", "row", "column"]), shape in prop::sample::select(vec!["free", "16:9", "1:100", "100:1"]),
    ) {
        let text = format!(
            "[[arrangement]]\n[[arrangement.region]]\nat_most=25\nflow='{flow}'\ntile_shape='{shape}'\ngap_px={gap}\nmargin_px={margin}\n\
             area={{left={left},top={top},width={right},height={bottom}}}"
        );
        if let Ok(layout) = Layout::parse("any", &text) {
            assert_valid(&layout.arrange(&stage(people), size(2 * width, 2 * height), SessionTime::ZERO));
        } else {
            prop_assert!(right == 0 || bottom == 0 || left + right > 100 || top + bottom > 100);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}", cut in 0usize..2000) {
        let _ = Layout::parse("noise", &text);
        let grid = Layout::built_in_text("speaker").unwrap();
        let cut = (0..=cut.min(grid.len())).rev().find(|at| grid.is_char_boundary(*at)).unwrap();
        let _ = Layout::parse("cut", &format!("{}{text}", &grid[..cut]));
    }
}

#[test]
fn a_screen_says_whose_it_is() {
    for layout in ["auto", "grid", "speaker", "screen", "portrait"] {
        let seats = vec![seat("ada", Part::Screen, 2), seat("ada", Part::Person, 0), seat("björn", Part::Person, 1)];
        let scene = arrange(layout, &Stage { seats, audible: vec![] }, size(1280, 720));
        let labels: Vec<_> = scene.tiles.iter().filter_map(|tile| Some((tile.label.as_ref()?.name.expose(), tile.fit))).collect();
        assert_eq!(labels.iter().filter(|(name, _)| *name == "ada (screen)").count(), 1, "{layout}: {labels:?}");
        assert_eq!(labels.iter().filter(|(name, _)| *name == "ada").count(), 1, "{layout}: {labels:?}");
        assert!(labels.iter().all(|(name, fit)| name.ends_with("(screen)") == (*fit == Fit::Contain)), "{layout}: {labels:?}");
    }
}
