//! Several rooms at once on this machine: what they cost together, and what is missing when it is not enough.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::room::{FRESH_WANTED, record_at_once};
use super::world::crowd::Crowd;
use super::world::film::TileRect;
use super::world::livekit::LiveKit;

/// So many at once.
const MANY: usize = 3;

/// What was measured.
pub(crate) struct Rooms {
    name: String,
    /// Cores of all our processes.
    cores: f64,
    /// Cores of one of them alone.
    alone: f64,
    /// Cores of the media server and the senders, who in a meeting are elsewhere.
    others: f64,
    /// Cores of this machine.
    there: f64,
    /// New pictures a second in the tile that has fewest, in all films.
    fresh: f64,
    repeated: u64,
    load: String,
}

impl Rooms {
    /// Records at once what took `alone` cores. All receive the same people: it costs the senders of one room.
    pub(crate) fn measure(
        (server, crowd): (&LiveKit, &Crowd),
        name: &str,
        size: (u32, u32),
        tiles: &[TileRect],
        seconds: u32,
        alone: f64,
    ) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let folders: Vec<PathBuf> = (1..=MANY).map(|number| folder.path().join(format!("{number}"))).collect();
        folders.iter().for_each(|folder| std::fs::create_dir(folder).expect("folder"));
        let all = record_at_once(server, size, tiles, seconds, &folders, &[server.pid(), crowd.pid()]);
        Self {
            name: name.into(),
            cores: all.ours.iter().map(|ours| ours.cores).sum(),
            alone,
            others: all.others,
            there: std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64),
            fresh: all.ours.iter().flat_map(|ours| ours.fresh.iter().copied()).fold(f64::INFINITY, f64::min),
            repeated: all.ours.iter().map(|ours| ours.repeated).sum(),
            load: all.ours.first().map(|ours| ours.load.clone()).unwrap_or_default(),
        }
    }

    /// The cores that are wanted and not there.
    fn missing(&self) -> f64 {
        (self.alone * MANY as f64 + self.others - self.there).max(0.0)
    }

    /// For people. Pictures that were repeated where cores were missing are explained, not excused.
    pub(crate) fn lines(&self) -> String {
        let Self { name, cores, alone, others, there, fresh, repeated, load } = self;
        let mut text = format!(
            "{MANY} rooms at once, {name} each: ours {cores:.2} cores, media server and senders {others:.2}, of {there:.0}; \
             {fresh:.2} new pictures, {repeated} repeated; load {load}\n"
        );
        if !self.is_kept() {
            let wanted = alone * MANY as f64;
            text += &format!(
                "  MISSED: {MANY} x {alone:.2} = {wanted:.2} cores are wanted beside {others:.2} of the others: {:.2} are missing here\n",
                self.missing()
            );
        }
        text
    }

    /// Whether nothing was repeated.
    pub(crate) fn is_kept(&self) -> bool {
        self.repeated == 0 && self.fresh >= FRESH_WANTED
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "rooms": MANY, "case": self.name, "ours_cores": self.cores, "alone_cores": self.alone, "others_cores": self.others,
            "missing_cores": self.missing(), "new_pictures_per_s": self.fresh, "repeated": self.repeated, "load": self.load,
        })
    }
}
