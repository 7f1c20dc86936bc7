//! What is painted of any meeting, against the same canvas painted anew.

use proptest::prelude::*;

use super::*;

/// The canvas painted anew from what the mixer knows.
fn painted_anew(mixer: &mut VideoMixer) -> Vec<u8> {
    mixer.damage.push(mixer.canvas.whole());
    assert!(mixer.paint());
    mixer.canvas.bytes().to_vec()
}

/// A backdrop that is another colour everywhere.
fn slope() -> Picture {
    let mut data: Vec<u8> = (0..640 * 360).map(|i| (16 + (i / 640 + i % 640) % 200) as u8).collect();
    data.extend((0..2 * 320 * 180).map(|i| (60 + (i / 320 + i % 320) % 120) as u8));
    Picture::new(640, 360, data.into()).unwrap()
}

/// Who, with a camera, speaking, in which place.
type Shown = (u8, bool, bool, u8);

#[derive(Clone, Debug)]
enum Step {
    Scene(Vec<Shown>, Vec<u8>, bool, bool),
    Picture(u8, u8),
    Forget(u8),
    Avatar(u8, bool),
    Still(bool),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let shown = (0..4u8, any::<bool>(), any::<bool>(), 0..6u8);
    let scene = (prop::collection::vec(shown, 0..5), prop::collection::vec(0..4u8, 0..4), any::<bool>(), any::<bool>());
    prop_oneof![
        1 => scene.prop_map(|(tiles, ornaments, backdrop, smooth)| Step::Scene(tiles, ornaments, backdrop, smooth)),
        6 => (0..4u8, 16..235u8).prop_map(|(who, luma)| Step::Picture(who, luma)),
        1 => (0..4u8).prop_map(Step::Forget),
        1 => (0..4u8, any::<bool>()).prop_map(|(who, known)| Step::Avatar(who, known)),
        1 => any::<bool>().prop_map(Step::Still),
        6 => Just(Step::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Painting only what changed gives the same canvas as painting everything, also where tiles and ornaments overlap, and while tiles move.
    #[test]
    fn painting_what_changed_is_enough(steps in prop::collection::vec(step(), 1..80)) {
        let names = ["a", "b", "c", "d"];
        let rects = [(0, 0, 320, 180), (320, 0, 320, 180), (200, 100, 160, 90), (0, 0, 640, 360), (220, 120, 60, 60), (0, 180, 100, 100)];
        let (mut mixer, mut n) = (mixer(), 0u64);
        let mut before: Vec<u8> = mixer.canvas.bytes().to_vec();
        for step in steps {
            match step {
                Step::Scene(tiles, ornaments, backdrop, smooth) => {
                    let tiles = tiles.into_iter().map(|(who, video, speaking, place)| {
                        let (x, y, w, h) = rects[place as usize];
                        let name = names[who as usize];
                        let tile = named(tile(name, x, y, w, h), name);
                        Tile { video: tile.video.clone().filter(|_| video), speaking, ..tile }
                    });
                    mixer.show(Arc::new(Scene {
                        ornaments: ornaments.into_iter().map(ornament).collect(),
                        backdrop: backdrop.then(|| "wall.jpg".into()),
                        transition: Duration::from_millis(if smooth { 200 } else { 0 }),
                        ..Scene::clone(&scene(tick(n + 1), tiles.collect()))
                    }));
                }
                Step::Picture(who, luma) => { mixer.offer(&track(names[who as usize]), tick(n + 1), flat(8, 8, (luma, 99, 150))); }
                Step::Forget(who) => mixer.forget(&track(names[who as usize])),
                Step::Avatar(who, known) => mixer.set_avatar(&ParticipantId::new(names[who as usize]), known.then(|| still(200))),
                Step::Still(true) => mixer.set_backdrop("wall.jpg", slope()),
                Step::Still(false) => mixer.set_image("logo.png", still(90)),
                Step::Tick => {
                    n += 7;
                    let drawn = mixer.draw(tick(n));
                    let (change, after) = (drawn.change, drawn.i420.to_vec());
                    prop_assert!(change == Change::Changed || after == before, "said to be the same");
                    prop_assert!(painted_anew(&mut mixer) == after, "differs from painting everything");
                    before = after;
                }
            }
        }
    }
}
