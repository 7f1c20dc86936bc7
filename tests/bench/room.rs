//! Recordings of a room, one or several at once, and what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use roomcast::rehearsal::card::FPS;
use roomcast::service::usage::PeakMemory;

use super::process::{Spent, family, load};
use super::world::film::judge::Cadence;
use super::world::film::{Film, TileRect};
use super::world::livekit::{Grant, LiveKit, token};
use super::world::product::Product;

/// Joining, the first pictures and the first sound are over.
const STEADY_AFTER: Duration = Duration::from_secs(5);
/// Room after the window, so that the end is not measured.
const AFTER: Duration = Duration::from_secs(2);

/// What was measured of ours in one recording.
pub(crate) struct Ours {
    /// Cores of supervisor and worker.
    pub(crate) cores: f64,
    /// The same by name of the thread.
    pub(crate) threads: BTreeMap<String, f64>,
    /// Highest proportional memory of both.
    pub(crate) peak_mib: f64,
    /// New pictures a second of each tile, read from the film.
    pub(crate) fresh: Vec<f64>,
    /// Pictures that were made twice, because the machine was too slow.
    pub(crate) repeated: u64,
    /// Heights of the layers that were decoded.
    pub(crate) layers: BTreeSet<u32>,
    /// Load of the machine at the end.
    pub(crate) load: String,
    /// The film.
    pub(crate) film: PathBuf,
}

/// Recordings of the same time, and what else was measured.
pub(crate) struct AtOnce {
    /// One for each.
    pub(crate) ours: Vec<Ours>,
    /// Cores of the other processes that were named.
    pub(crate) others: f64,
}

/// Records a room for `seconds` of steady state into `folder`.
pub(crate) fn record(server: &LiveKit, size: (u32, u32), tiles: &[TileRect], seconds: u32, folder: &Path) -> Ours {
    let AtOnce { mut ours, .. } = record_at_once(server, size, tiles, seconds, &[folder.to_owned()], &[]);
    ours.pop().expect("one recording")
}

/// The same by several Sessions at the same time, each into a folder of its own. They share nothing, so for us they are several rooms.
pub(crate) fn record_at_once(
    server: &LiveKit,
    size: (u32, u32),
    tiles: &[TileRect],
    seconds: u32,
    folders: &[PathBuf],
    others: &[u32],
) -> AtOnce {
    let products: Vec<Product> = folders.iter().map(|folder| start(server, size, seconds, folder)).collect();
    let mut peaks = vec![PeakMemory::default(); products.len()];
    let age = || products.iter().map(Product::age).min().unwrap_or_default();
    let mut watch = |until: Duration| {
        while age() < until {
            for (peak, product) in peaks.iter_mut().zip(&products) {
                peak.sample(family(product.pid()));
            }
            std::thread::sleep((until - age().min(until)).min(Duration::from_secs(1)));
        }
    };
    watch(STEADY_AFTER);
    let families: Vec<Vec<u32>> = products.iter().map(|product| family(product.pid())).collect();
    let look = || (families.iter().map(|pids| Spent::so_far(pids)).collect::<Vec<_>>(), Spent::so_far(others));
    let ((before, others_before), begin) = (look(), Instant::now());
    watch(STEADY_AFTER + Duration::from_secs(u64::from(seconds)));
    let ((after, others_after), window) = (look(), begin.elapsed());
    for (pids, product) in families.iter().zip(&products) {
        assert_eq!(*pids, family(product.pid()), "no process of ours came or went");
    }
    let load = load();
    let spent = before.iter().zip(&after).map(|(before, after)| after.cores_since(before, window)).collect::<Vec<_>>();
    let ended = products.into_iter().zip(folders).zip(peaks).zip(spent);
    let ours = ended.map(|(((product, folder), peak), (cores, threads))| {
        let outcome = product.finish(Duration::from_secs(90));
        outcome.is_well();
        let film = folder.join("out.mp4");
        let seen = Film::watch(&film, tiles);
        let range = 2.0..2.0 + f64::from(seconds);
        let fresh = |tile| Cadence::of(&seen, tile, &range).fresh as f64 / f64::from(seconds);
        let repeated = outcome.said.lines().find_map(|line| line.trim().strip_prefix("frames repeated")?.trim().parse().ok());
        Ours {
            cores,
            threads,
            peak_mib: peak.bytes() as f64 / f64::from(1 << 20),
            fresh: (0..tiles.len()).map(fresh).collect(),
            repeated: repeated.expect("the table says what was repeated"),
            layers: layers(&outcome.log),
            load: load.clone(),
            film,
        }
    });
    AtOnce { ours: ours.collect(), others: others_after.cores_since(&others_before, window).0 }
}

fn start(server: &LiveKit, size: (u32, u32), seconds: u32, folder: &Path) -> Product {
    let token_file = folder.join("token");
    std::fs::write(&token_file, token("room", &identity(folder), "", Grant::Recorder)).expect("token");
    let whole = STEADY_AFTER + Duration::from_secs(u64::from(seconds)) + AFTER;
    let (url, size, duration) = (server.url(), format!("{}x{}", size.0, size.1), format!("{}s", whole.as_secs()));
    let token_file = token_file.to_string_lossy();
    let _ = std::fs::remove_file(folder.join("out.mp4"));
    let mut arguments = vec!["record", "--livekit", &url, "--token-file", &token_file, "--to", "out.mp4", "--layout", "grid"];
    arguments.extend(["--size", &size, "--fps", "30", "--duration", &duration]);
    Product::start(folder, &arguments, &[("RUST_LOG", "info,roomcast::graph=debug")], "")
}

/// The server lets nobody in twice.
fn identity(folder: &Path) -> String {
    format!("roomcast-{}", folder.file_name().unwrap_or_default().to_string_lossy())
}

/// The heights that decoders told; the very first pictures may come from another layer, so only the last word of each decoder counts.
fn layers(log: &str) -> BTreeSet<u32> {
    let mut last = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("decodes pictures of another size")) {
        let field = |name: &str| {
            let text = line.split_once(&format!("{name}="))?.1;
            text.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()
        };
        if let (Some(decoder), Some(height)) = (field("decoder"), field("height")) {
            last.insert(decoder, height);
        }
    }
    last.into_values().collect()
}

/// Pictures a second that must be new in every tile.
pub(crate) const FRESH_WANTED: f64 = FPS as f64 - 0.5;
