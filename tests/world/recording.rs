//! `roomcast record` of a room in a grid of 1280x720 at 30 pictures a second.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roomcast::rehearsal::card::PEOPLE;

use super::crowd::Crowd;
use super::film::{Film, TileRect};
use super::livekit::{API_SECRET, Grant, token};
use super::product::{Outcome, Product};
use super::stalls::Watch;
use super::until;

/// Rooms play in real time: two at once would measure each other.
static ONE_ROOM: Mutex<()> = Mutex::new(());

/// Whoever has this is the only one that plays a room.
pub fn one_room_at_a_time() -> MutexGuard<'static, ()> {
    // A room that failed is over all the same.
    ONE_ROOM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A recording in progress, and what belongs to it.
pub struct Recording {
    /// The process.
    pub product: Product,
    begun: Instant,
    watch: Watch,
    folder: tempfile::TempDir,
    /// The token is in a folder of its own, so that it can be looked for in the other.
    _keys: tempfile::TempDir,
    token: String,
}

/// Begins to record; `duration` as the command line takes it, or nothing for a recording that ends otherwise.
pub fn record(url: &str, room: &str, duration: Option<&str>) -> Recording {
    let (folder, keys) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let token = token(room, "roomcast", "", Grant::Recorder);
    let token_file = keys.path().join("token");
    std::fs::write(&token_file, &token).expect("token file");
    let token_path = token_file.to_string_lossy().into_owned();
    let mut arguments = vec!["record", "--livekit", url, "--token-file", &token_path, "--to", "out.mp4", "--layout", "grid"];
    arguments.extend(["--size", "1280x720", "--fps", "30"]);
    if let Some(duration) = duration {
        arguments.extend(["--duration", duration]);
    }
    let (watch, begun) = (Watch::begin(), Instant::now());
    let product = Product::start(folder.path(), &arguments, &[], "");
    Recording { product, begun, watch, folder, _keys: keys, token }
}

impl Recording {
    /// Waits until so much time has passed since the product was started, as a user with a watch would.
    pub fn is_under_way(&self, at_least: Duration) {
        let left = at_least.saturating_sub(self.product.age());
        until(left + Duration::from_secs(5), "the recording goes on", || (self.product.age() >= at_least).then_some(()));
    }

    /// Waits for the end, checks that all was well and secrets kept, and gives the film.
    pub fn film(self, longest: Duration, tiles: &[TileRect]) -> (Film, Outcome) {
        self.film_from(longest, tiles, 0.0)
    }

    /// The same, looked at from this second of the film on, see [`Film::watch_from`].
    pub fn film_from(self, longest: Duration, tiles: &[TileRect], from_s: f64) -> (Film, Outcome) {
        let outcome = self.product.finish(longest);
        outcome.is_well().keeps_secret(self.folder.path(), &[API_SECRET, &self.token]);
        let path: PathBuf = self.folder.path().join("out.mp4");
        keep_if_asked(&path, &outcome);
        let mut film = Film::watch_from(&path, tiles, from_s);
        let begin = self.begun + session_time_of_recording(&outcome.log);
        film.stalls = self.watch.end(begin);
        (film, outcome)
    }
}

/// When the first picture was captured, by the product's log: on the session clock, which begins when the product does.
pub fn session_time_of_recording(log: &str) -> Duration {
    let line = log.lines().find(|line| line.contains(" recording ") && line.contains(" take=")).expect("the recording begins");
    let at = line.split(" at=").nth(1).and_then(|rest| rest.split('s').next()).expect("a time");
    Duration::from_secs_f64(at.parse().expect("a number of seconds"))
}

/// With ROOMCAST_KEEP=FOLDER films are copied there, to be looked at.
fn keep_if_asked(path: &Path, outcome: &Outcome) {
    if let Some(folder) = std::env::var_os("ROOMCAST_KEEP") {
        let name = std::thread::current().name().unwrap_or("film").replace("::", "-");
        let folder = PathBuf::from(folder);
        std::fs::copy(path, folder.join(format!("{name}.mp4"))).expect("the film is kept");
        std::fs::write(folder.join(format!("{name}.log")), format!("{}\n{}", outcome.said, outcome.log))
            .expect("the log is kept");
    }
}

/// When the first sample and picture of the film were captured, on this process's clock: read from the picture counter of a person
/// whose media clock is that of the crowd. The counter repeats each ten seconds; of the possible instants the first after `began` is meant.
pub fn film_begins(film: &Film, tile: usize, crowd: &Crowd, began: Instant) -> Instant {
    let picture = film.pictures.iter().find(|picture| picture.tiles[tile].counter.is_some()).expect("a picture of this person");
    let media_s = f64::from(picture.tiles[tile].counter.unwrap_or(0)) / 30.0 - picture.at_s;
    let elapsed_s = began.saturating_duration_since(crowd.media_zero()).as_secs_f64();
    // A little tolerance: the pipe that tells when the crowd began is not instant.
    let loops = ((elapsed_s - 0.02 - media_s) / 10.0).ceil();
    crowd.media_zero() + Duration::from_secs_f64((media_s + loops * 10.0).max(0.0))
}

/// Two rows of two tiles of 640x360, in the order of joining.
pub fn four_tiles() -> Vec<TileRect> {
    (0..4).map(|index| TileRect::in_grid(index, 2, 640, 360)).collect()
}

/// All tiles in which a grid of 1280x720 can show the first, second, third and fourth of up to five people.
pub fn tiles_of_up_to_four() -> Vec<TileRect> {
    let rect = |x, y, width, height| TileRect { x, y, width, height };
    let mut all = four_tiles();
    all.push(rect(320, 360, 640, 360)); // the third of three
    all.push(rect(0, 180, 640, 360)); // the first of two
    all.push(rect(640, 180, 640, 360)); // the second of two
    all.push(rect(0, 0, 1280, 720)); // alone
    all
}

/// The person's name, for messages.
pub fn name(person: usize) -> &'static str {
    PEOPLE[person].name
}
