//! What ffprobe knows about a film: sizes, times, where the sound begins after the edit list.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

pub(super) struct Facts {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) duration_s: f64,
    pub(super) picture_times_s: Vec<f64>,
    pub(super) sound_start_s: Option<f64>,
}

pub(super) fn probe(path: &Path) -> Facts {
    let about = ffprobe(path, &["-show_streams", "-show_format"]);
    let streams = about["streams"].as_array().cloned().unwrap_or_default();
    let of_kind = |kind: &str| streams.iter().find(|stream| stream["codec_type"] == kind);
    let (width, height) = of_kind("video").map_or((0, 0), |stream| (size(&stream["width"]), size(&stream["height"])));
    let mut picture_times_s = match of_kind("video") {
        Some(_) => times(&ffprobe(path, &["-select_streams", "v:0", "-show_entries", "packet=pts_time"])["packets"]),
        None => Vec::new(),
    };
    picture_times_s.sort_by(f64::total_cmp);
    // The first decoded frame's time is that of its first sample that is kept, so priming is taken off.
    let sound_start_s = of_kind("audio").and_then(|_| {
        let frames = ffprobe(path, &["-select_streams", "a:0", "-read_intervals", "%+0.5", "-show_entries", "frame=pts_time"]);
        times(&frames["frames"]).first().copied()
    });
    Facts { width, height, duration_s: seconds(&about["format"]["duration"]).unwrap_or(0.0), picture_times_s, sound_start_s }
}

fn ffprobe(path: &Path, arguments: &[&str]) -> Value {
    let output =
        Command::new("ffprobe").args(["-v", "error", "-of", "json"]).args(arguments).arg(path).output().expect("ffprobe starts");
    assert!(output.status.success(), "{} cannot be opened: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("ffprobe answers JSON")
}

fn size(value: &Value) -> usize {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
}

fn seconds(value: &Value) -> Option<f64> {
    value.as_str().and_then(|text| text.parse().ok())
}

fn times(list: &Value) -> Vec<f64> {
    list.as_array().map(|items| items.iter().filter_map(|item| seconds(&item["pts_time"])).collect()).unwrap_or_default()
}
