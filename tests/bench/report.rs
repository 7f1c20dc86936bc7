//! The table, the JSON file, and what was promised and missed.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use recorder_core::scene::CanvasSize;
use serde_json::json;

use super::destinations::Destinations;
use super::quality::Quality;
use super::room::{FRESH_WANTED, Ours};
use super::rooms::Rooms;

/// Ours over the floor, at most.
const RATIO_WANTED: f64 = 1.4;
/// Memory of all our processes, at most.
const PEAK_WANTED_MIB: f64 = 250.0;
/// SSIM that a tile may be below the compositor's.
const SSIM_WANTED: f64 = 0.01;

/// Header lines of the output.
pub(crate) const EXPLANATION: &str = "\
What a recording costs. A real media server, and people who send pre-encoded pictures that are new each time (VP8, three layers,
30 a second) and Opus; one MP4 as a grid. The unit is cores: processor seconds, user and system, for each second of programme.
Of several repetitions each figure is the median; the load of the machine is printed, because full caches and cores make all dearer.
  ours          supervisor and worker, steady state; the media server and the senders are not in it
  decode        floor: a bare decoder for the smallest layer that is not smaller than the tile, for every tile
  encode        floor: the product's picture encoder for the pictures as they are drawn
  sound         floor: the product's sound encoder for the finished sound
  ratio         ours / (decode + encode + sound); at most 1.4 is wanted
  to the least  ours / (decode + encode + sound + reception + scale): what is neither floor nor needed in any recorder; 1.15 is the aim
  in time       the floor again, but each picture comes when it is due, as in a meeting: caches are cold by then. No part of the ratio
  reception     not in the floor, part of ours: the thread that receives packets, decrypts them and puts frames together
  scale         not in the floor, part of ours: one call of a scaling library for every new picture
  mixer         part of ours, drawn without a meeting: the whole canvas. compositor: the same by GStreamer's compositor
  new pictures  a second, in the tile that has fewest, counted in the finished film; at least 29.5 are wanted
  repeated      pictures that were made twice because the machine was too slow
  memory        highest proportional set size of supervisor and worker; at most 250 MiB are wanted
  SSIM          likeness of a tile to the picture scaled with care (1 is equal), ours less the compositor's, worst tile; at least -0.01";

/// One room and canvas, being measured.
pub(crate) struct Case {
    people: usize,
    canvas: CanvasSize,
    layers: Vec<u32>,
    pub(crate) ours: Vec<Ours>,
    pub(crate) decode: Vec<f64>,
    pub(crate) pictures: Vec<f64>,
    pub(crate) sound: Vec<f64>,
    pub(crate) in_time: Vec<f64>,
}

impl Case {
    pub(crate) fn new(people: usize, canvas: CanvasSize, layers: Vec<u32>) -> Self {
        let (ours, decode, pictures, sound, in_time) = Default::default();
        Case { people, canvas, layers, ours, decode, pictures, sound, in_time }
    }

    /// Takes the medians.
    pub(crate) fn row(self, quality: Quality) -> Row {
        let cores = median(self.ours.iter().map(|ours| ours.cores));
        let (decode, pictures, sound) = (median(self.decode), median(self.pictures), median(self.sound));
        let mut threads: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, cores) in self.ours.iter().flat_map(|ours| &ours.threads) {
            threads.entry(name.clone()).or_default().push(*cores);
        }
        let threads: BTreeMap<String, f64> = threads.into_iter().map(|(name, cores)| (name, median(cores))).collect();
        let same_layers = self.ours.iter().all(|ours| ours.layers == self.layers.iter().copied().collect());
        let lowest = |ours: &Ours| ours.fresh.iter().copied().fold(f64::INFINITY, f64::min);
        Row {
            name: format!("{} people, {}x{}", self.people, self.canvas.width_px, self.canvas.height_px),
            cores,
            decode,
            pictures,
            sound,
            ratio: cores / (decode + pictures + sound),
            in_time: median(self.in_time),
            reception: threads.get("ingest").copied().unwrap_or(0.0),
            fresh: median(self.ours.iter().map(lowest)),
            repeated: self.ours.iter().map(|ours| ours.repeated).sum(),
            peak_mib: self.ours.iter().map(|ours| ours.peak_mib).fold(0.0, f64::max),
            ssim_less: quality.ssim.iter().map(|(reference, own)| own - reference).fold(f64::INFINITY, f64::min),
            layers: self.ours.iter().map(|ours| format!("{:?}", ours.layers)).collect(),
            same_layers,
            load: self.ours.iter().map(|ours| ours.load.clone()).collect(),
            quality,
            threads,
        }
    }
}

/// The figures of one case.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cores: f64,
    decode: f64,
    pictures: f64,
    sound: f64,
    ratio: f64,
    in_time: f64,
    reception: f64,
    fresh: f64,
    repeated: u64,
    peak_mib: f64,
    ssim_less: f64,
    layers: Vec<String>,
    same_layers: bool,
    load: Vec<String>,
    quality: Quality,
    threads: BTreeMap<String, f64>,
}

impl Row {
    /// Ours over the floor with reception and one scaling of each new picture.
    fn to_the_least(&self) -> f64 {
        self.cores / (self.decode + self.pictures + self.sound + self.reception + self.quality.scale)
    }

    /// The promises that were not kept.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut promise = |kept: bool, what: String| {
            if !kept {
                missed.push(what);
            }
        };
        promise(self.ratio <= RATIO_WANTED, format!("ratio {:.2}, at most {RATIO_WANTED} is wanted", self.ratio));
        promise(self.fresh >= FRESH_WANTED, format!("{:.2} new pictures, at least {FRESH_WANTED} are wanted", self.fresh));
        promise(self.peak_mib <= PEAK_WANTED_MIB, format!("{:.0} MiB, at most {PEAK_WANTED_MIB} are wanted", self.peak_mib));
        promise(self.ssim_less >= -SSIM_WANTED, format!("SSIM {:+.4} against the compositor", self.ssim_less));
        promise(self.same_layers, format!("other layers were decoded than the floor's: {}", self.layers.join(", ")));
        missed
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: load {}", self.name, self.load.join(" | "))?;
        let mut threads: Vec<_> = self.threads.iter().filter(|(_, cores)| **cores >= 0.0005).collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        let threads: Vec<String> = threads.iter().map(|(name, cores)| format!("{name} {cores:.3}")).collect();
        writeln!(f, "  cores by thread: {}", threads.join(", "))?;
        let ssim: Vec<String> = self.quality.ssim.iter().map(|(r, own)| format!("{own:.4} ({r:.4})")).collect();
        writeln!(f, "  SSIM by tile, ours (compositor): {}", ssim.join(" "))?;
        for missed in self.missed() {
            writeln!(f, "  MISSED: {missed}")?;
        }
        Ok(())
    }
}

/// All cases side by side.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut line = |title: &str, cell: &dyn Fn(&Row) -> String| {
        let _ = write!(text, "{title:<14}");
        for row in rows {
            let _ = write!(text, "{:>22}", cell(row));
        }
        text.push('\n');
    };
    line("", &|row| row.name.clone());
    line("ours", &|row| format!("{:.3}", row.cores));
    line("decode", &|row| format!("{:.3}", row.decode));
    line("encode", &|row| format!("{:.3}", row.pictures));
    line("sound", &|row| format!("{:.3}", row.sound));
    line("ratio", &|row| format!("{:.2}", row.ratio));
    line("to the least", &|row| format!("{:.2}", row.to_the_least()));
    line("in time", &|row| format!("{:.3}", row.in_time));
    line("reception", &|row| format!("{:.3}", row.reception));
    line("scale", &|row| format!("{:.3}", row.quality.scale));
    line("mixer", &|row| format!("{:.3}", row.quality.mixer));
    line("compositor", &|row| format!("{:.3}", row.quality.compositor));
    line("new pictures", &|row| format!("{:.2}", row.fresh));
    line("repeated", &|row| row.repeated.to_string());
    line("memory", &|row| format!("{:.0} MiB", row.peak_mib));
    line("SSIM", &|row| format!("{:+.4}", row.ssim_less));
    text
}

/// The same for machines.
pub(crate) fn json(rows: &[Row], rooms: Option<&Rooms>, destinations: Option<&Destinations>) -> String {
    let row = |row: &Row| {
        json!({
            "case": row.name, "ours_cores": row.cores, "decode_cores": row.decode, "encode_cores": row.pictures,
            "sound_cores": row.sound, "ratio": row.ratio, "ratio_to_the_least": row.to_the_least(), "floor_in_time_cores": row.in_time, "reception_cores": row.reception,
            "scale_cores": row.quality.scale, "mixer_cores": row.quality.mixer,
            "compositor_cores": row.quality.compositor, "new_pictures_per_s": row.fresh, "repeated": row.repeated,
            "peak_pss_mib": row.peak_mib, "ssim_ours_less_compositor": row.ssim_less, "threads_cores": row.threads,
            "load": row.load, "missed": row.missed(),
        })
    };
    let cases: Vec<_> = rows.iter().map(row).collect();
    let destinations = destinations
        .map(|measured| json!({ "none_cores": measured.none, "ten_cores": measured.ten, "each_cores": measured.each() }));
    json!({ "cases": cases, "rooms": rooms.map(Rooms::json), "live_destinations": destinations }).to_string()
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
