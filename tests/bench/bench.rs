//! What a recording costs, beside the least that the same work can cost. Run by `scripts/bench [--json FILE] [--quick] [--awake] [--only 5x720|rooms|destinations]`.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod destinations;
mod floor;
mod process;
mod quality;
mod report;
mod room;
mod rooms;
use roomcast_world as world;

use std::path::PathBuf;

use destinations::Destinations;
use floor::Pace;
use recorder_core::ids::ParticipantId;
use recorder_core::layout::Layout;
use recorder_core::scene::{CanvasSize, Scene};
use recorder_core::secret::Pii;
use recorder_core::stage::{Part, Seat, Stage};
use recorder_core::time::SessionTime;
use report::{Case, Row};
use roomcast::rehearsal::loops::{self, Layer};
use roomcast::rehearsal::picture::Surface;
use rooms::Rooms;
use world::crowd::{Crowd, Joining, card, who};
use world::film::TileRect;
use world::livekit::LiveKit;

/// People in the room, and height of the canvas.
const CASES: [(usize, u32); 5] = [(5, 720), (5, 1080), (9, 720), (9, 1080), (25, 1080)];
/// The room of which several are recorded at once.
const ROOM: (usize, u32) = (9, 720);

struct Wish {
    json: Option<PathBuf>,
    awake: bool,
    seconds: u32,
    repetitions: usize,
    only: Option<String>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == floor::CHILD) {
        println!("{}", floor::be_child(&arguments[1..]));
        return;
    }
    let wish = wish(arguments);
    println!("{}", report::EXPLANATION);
    let awake = wish.awake.then(process::Awake::keep);
    println!("load before: {}\n", process::load());
    let (mut rows, mut rooms) = (Vec::new(), None);
    let is_wished = |what: &str| wish.only.as_ref().is_none_or(|only| only == what);
    for people in [5, 9, 25] {
        let several = people == ROOM.0 && is_wished("rooms");
        let cases: Vec<u32> = CASES
            .iter()
            .filter(|(n, height)| *n == people && (is_wished(&format!("{n}x{height}")) || several && (*n, *height) == ROOM))
            .map(|(_, height)| *height)
            .collect();
        if cases.is_empty() {
            continue;
        }
        let server = LiveKit::start();
        let mut crowd = Crowd::gather_on(Surface::Textured, people);
        crowd.join_all(&server, "room", &(0..people).map(Joining::usual).collect::<Vec<_>>());
        for height in cases {
            let row = measure(&server, people, height, &wish);
            println!("{row}");
            if several && (people, height) == ROOM {
                let Canvas { size, tiles, .. } = Canvas::of(people, height);
                rooms = Some(Rooms::measure((&server, &crowd), &row.name, size, &tiles, wish.seconds, row.cores));
            }
            rows.push(row);
        }
        crowd.disperse();
    }
    println!("{}", report::table(&rows));
    if let Some(rooms) = &rooms {
        println!("{}", rooms.lines());
    }
    let destinations = is_wished("destinations").then(|| Destinations::measure(wish.repetitions, wish.seconds.min(30)));
    if let Some(destinations) = &destinations {
        println!("{}", destinations.line());
    }
    if let Some(path) = wish.json {
        std::fs::write(&path, report::json(&rows, rooms.as_ref(), destinations.as_ref())).expect("the JSON file is written");
    }
    // `exit` drops nothing.
    drop(awake);
    let crowded = rooms.is_some_and(|rooms| !rooms.is_kept());
    if rows.iter().any(|row| !row.missed().is_empty())
        || crowded
        || destinations.is_some_and(|destinations| !destinations.is_kept())
    {
        std::process::exit(1);
    }
}

fn wish(arguments: Vec<String>) -> Wish {
    let mut wish = Wish { json: None, awake: false, seconds: 60, repetitions: 3, only: None };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => (wish.seconds, wish.repetitions) = (15, 1),
            "--awake" => wish.awake = true,
            "--json" => wish.json = Some(arguments.next().expect("--json needs a file").into()),
            "--only" => wish.only = arguments.next(),
            other => {
                panic!(
                    "{other} is not known; usage: scripts/bench [--json FILE] [--quick] [--awake] [--only 5x720|rooms|destinations]"
                )
            }
        }
    }
    wish
}

/// The Scene that the product makes of so many people who all have cameras and are silent.
fn scene(people: usize, canvas: CanvasSize) -> Scene {
    let seat = |index: usize| {
        let seat = Seat::new(ParticipantId::new(who(index)), Pii::new(who(index)), Part::Person, index as u64);
        seat.with_video()
    };
    let stage = Stage { seats: (0..people).map(seat).collect(), audible: Vec::new() };
    Layout::built_in("grid").expect("layout").arrange(&stage, canvas, SessionTime::ZERO)
}

/// A canvas, and where everybody stands on it.
struct Canvas {
    /// As the product draws it.
    labelled: Scene,
    /// Without labels: they are the same for every mixer, and the reference has none.
    scene: Scene,
    size: (u32, u32),
    tiles: Vec<TileRect>,
}

impl Canvas {
    fn of(people: usize, height: u32) -> Self {
        let size = (height * 16 / 9, height);
        let labelled = scene(people, CanvasSize { width_px: size.0, height_px: size.1 });
        let mut scene = labelled.clone();
        scene.tiles.iter_mut().for_each(|tile| tile.label = None);
        let rects = scene.tiles.iter().map(|tile| tile.rect);
        let tiles =
            rects.map(|r| TileRect { x: r.x as usize, y: r.y as usize, width: r.width as usize, height: r.height as usize });
        Self { tiles: tiles.collect(), size, labelled, scene }
    }
}

fn measure(server: &LiveKit, people: usize, height: u32, wish: &Wish) -> Row {
    let Canvas { labelled, scene, size, tiles } = Canvas::of(people, height);
    let kbps = if height > 720 { 4500 } else { 3000 };
    let rects = scene.tiles.iter().map(|tile| tile.rect);
    let layers: Vec<Layer> = rects.map(|rect| Layer::fitting(Layer::ALL, rect.width, rect.height).expect("a layer")).collect();
    let loops_folder = loops::cache_folder_of(Surface::Textured).expect("cache");
    let stem = |index: usize| loops::file_stem(card(index));
    let loops: Vec<PathBuf> =
        (0..people).map(|index| loops_folder.join(format!("{}_{}.ivf", stem(index), layers[index].size_px().1))).collect();

    let folder = tempfile::tempdir().expect("folder");
    let mut case = Case::new(people, scene.canvas, layers.iter().map(|layer| layer.size_px().1).collect());
    let sized: Vec<_> = loops.iter().cloned().zip(layers.iter().map(|layer| layer.size_px())).collect();
    let drawn = folder.path().join("pictures.yuv");
    floor::draw(&labelled, &sized, &drawn);
    for _ in 0..wish.repetitions {
        case.decode.push(floor::decode(&loops, Pace::Rushed));
        let ours = room::record(server, size, &tiles, wish.seconds, folder.path());
        let encode = |pace| floor::encode(&drawn, scene.canvas, kbps, pace);
        let sound = |pace| floor::encode_film_sound(&ours.film, folder.path(), pace);
        case.pictures.push(encode(Pace::Rushed));
        case.sound.push(sound(Pace::Rushed));
        case.in_time.push(floor::decode(&loops, Pace::InTime) + encode(Pace::InTime) + sound(Pace::InTime));
        case.ours.push(ours);
    }
    let quality = quality::compare(&scene, &loops, layers[0].size_px());
    case.row(quality)
}
