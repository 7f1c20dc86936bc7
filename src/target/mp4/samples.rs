//! Real packets for tests: H.264 and AAC as ffmpeg encodes them, and made-up ones for sizes and times.

use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use recorder_core::time::SessionTime;

use crate::programme::packet::{CodecHeaders, Packet, Stream};

/// Seconds of a real programme.
pub(crate) const SECONDS: u32 = 4;
/// The tone begins here, counted from the first picture.
pub(crate) const TONE_AT: f64 = 1.0;

/// A real programme that begins at session time zero; the first AAC frame lies 1024 samples before it.
pub(crate) struct Real {
    pub(crate) headers: CodecHeaders,
    pub(crate) video: Vec<(bool, Arc<[u8]>)>,
    pub(crate) sound: Vec<Arc<[u8]>>,
}

fn ffmpeg(args: &[&str]) -> Vec<u8> {
    let out = Command::new("ffmpeg").args(["-v", "error"]).args(args).stderr(Stdio::inherit()).output().expect("ffmpeg runs");
    assert!(out.status.success());
    out.stdout
}

pub(crate) fn real(fps: u32) -> &'static Real {
    static AT_25: OnceLock<Real> = OnceLock::new();
    static AT_30: OnceLock<Real> = OnceLock::new();
    match fps {
        25 => AT_25.get_or_init(|| encode(25)),
        30 => AT_30.get_or_init(|| encode(30)),
        _ => panic!("only 25 and 30 are encoded"),
    }
}

fn encode(fps: u32) -> Real {
    let picture = format!("testsrc2=size=160x90:rate={fps}:duration={SECONDS}");
    let gop = (fps * 2).to_string();
    let h264 = ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        &picture,
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-tune",
        "zerolatency",
        "-pix_fmt",
        "yuv420p",
        "-threads",
        "1",
        "-g",
        &gop,
        "-sc_threshold",
        "0",
        "-x264-params",
        "aud=1:repeat-headers=1",
        "-f",
        "h264",
        "-",
    ]);
    let tone =
        format!("aevalsrc='if(gte(t,{TONE_AT}),0.8*sin(2*PI*1000*t),0)':s=48000:d={SECONDS}:c=mono,pan=stereo|c0=c0|c1=c0");
    let adts = ffmpeg(&["-f", "lavfi", "-i", &tone, "-c:a", "aac", "-b:a", "128k", "-f", "adts", "-"]);
    let (mut sps, mut pps) = (Vec::new(), Vec::new());
    let mut video: Vec<(bool, Vec<u8>)> = Vec::new();
    for nal in nals(&h264) {
        match nal[0] & 31 {
            9 => video.push((false, Vec::new())),
            7 => sps = nal.to_vec(),
            8 => pps = nal.to_vec(),
            kind => {
                let (key, unit) = video.last_mut().expect("an access unit delimiter comes first");
                *key |= kind == 5;
                unit.extend_from_slice(&(nal.len() as u32).to_be_bytes());
                unit.extend_from_slice(nal);
            }
        }
    }
    let mut avc = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    avc.extend_from_slice(&(sps.len() as u16).to_be_bytes());
    avc.extend_from_slice(&sps);
    avc.push(1);
    avc.extend_from_slice(&(pps.len() as u16).to_be_bytes());
    avc.extend_from_slice(&pps);
    if sps[1] == 100 {
        avc.extend_from_slice(&[0xfd, 0xf8, 0xf8, 0]);
    }
    let mut sound = Vec::new();
    let mut at = 0;
    while at + 7 <= adts.len() {
        let len = usize::from(adts[at + 3] & 3) << 11 | usize::from(adts[at + 4]) << 3 | usize::from(adts[at + 5] >> 5);
        sound.push(adts[at + 7..at + len].into());
        at += len;
    }
    assert_eq!(video.len() as u32, fps * SECONDS);
    Real {
        headers: CodecHeaders { avc_config: avc.into(), width_px: 160, height_px: 90, ..made_up_headers(fps) },
        video: video.into_iter().map(|(key, data)| (key, data.into())).collect(),
        sound,
    }
}

fn nals(stream: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..stream.len() - 3).filter(|&i| stream[i..i + 3] == [0, 0, 1]).map(|i| i + 3).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([stream.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&from, to)| {
            let nal = &stream[from..to];
            &nal[..nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)]
        })
        .collect()
}

impl Real {
    /// The packets in ring order, the first picture at `from`.
    pub(crate) fn packets(&self, from: SessionTime) -> Vec<Packet> {
        let fps = self.headers.fps;
        let mut packets: Vec<Packet> = self
            .video
            .iter()
            .enumerate()
            .map(|(i, (key, data))| Packet { keyframe: *key, data: data.clone(), ..picture(from, fps, i as u64, *key, 0) })
            .collect();
        packets
            .extend(self.sound.iter().enumerate().map(|(i, data)| Packet { data: data.clone(), ..frame(from, i as i64 - 1, 0) }));
        packets.sort_by_key(|packet| packet.pts + packet.duration);
        packets
    }
}

pub(crate) fn made_up_headers(fps: u32) -> CodecHeaders {
    CodecHeaders {
        // A real configuration record (Constrained Baseline), so that readers accept it.
        avc_config: [
            1, 66, 192, 30, 255, 225, 0, 10, 0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 1, 0, 4, 0x68, 0xce,
            0x3c, 0x80,
        ][..]
            .into(),
        aac_config: [0x11, 0x90][..].into(),
        width_px: 640,
        height_px: 360,
        fps,
        sample_rate_hz: 48_000,
        channels: 2,
    }
}

/// The n-th picture after `from`.
pub(crate) fn picture(from: SessionTime, fps: u32, n: u64, keyframe: bool, len: usize) -> Packet {
    let at = |n: u64| from + Duration::from_nanos(n * 1_000_000_000 / u64::from(fps));
    Packet { stream: Stream::Video, pts: at(n), duration: at(n + 1).since(at(n)), keyframe, data: vec![0x55; len].into() }
}

/// The n-th AAC frame after (or before) `from`.
pub(crate) fn frame(from: SessionTime, n: i64, len: usize) -> Packet {
    let at = |n: i64| from.offset(n * 1024 * 1_000_000_000 / 48_000);
    Packet { stream: Stream::Sound, pts: at(n), duration: at(n + 1).since(at(n)), keyframe: true, data: vec![0x21; len].into() }
}

/// What ffmpeg and ffprobe say of a file.
pub(crate) struct Seen {
    pub(crate) pictures: Vec<f64>,
    pub(crate) picture_ticks: Vec<u64>,
    pub(crate) sound_ticks: Vec<i64>,
    /// By the timestamps, from zero (`-copyts`: else ffmpeg moves both streams until no time is negative).
    pub(crate) tone_at: Option<f64>,
    /// By counting the samples that a decoder gives.
    pub(crate) tone_from_first_sample: Option<f64>,
    pub(crate) complaints: String,
}

pub(crate) fn look(file: &std::path::Path) -> Seen {
    let probe = |stream: &str, entry: &str| {
        let out = Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", stream, "-show_entries", entry, "-of", "csv=p=0"])
            .arg(file)
            .output()
            .unwrap();
        (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let numbers = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim_end_matches(',').to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let (frames, complaint) = probe("v:0", "frame=pts_time");
    let (ticks, _) = probe("v:0", "packet=pts");
    let (sound, _) = probe("a:0", "packet=pts");
    let decoded = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(["-f", "null", "-"]).output().unwrap();
    let tone = |filter: &str| {
        let args = ["-map", "0:a", "-ac", "1", "-af", filter, "-f", "s16le", "-"];
        let pcm = Command::new("ffmpeg").args(["-v", "error", "-copyts", "-i"]).arg(file).args(args).output().unwrap().stdout;
        let tone = pcm.chunks_exact(2).position(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs() > 8000);
        tone.map(|n| n as f64 / 48_000.0)
    };
    Seen {
        pictures: numbers(&frames).iter().map(|n| n.parse().unwrap()).collect(),
        picture_ticks: numbers(&ticks).iter().map(|n| n.parse().unwrap()).collect(),
        sound_ticks: numbers(&sound).iter().map(|n| n.parse().unwrap()).collect(),
        tone_at: tone("aresample=async=1:first_pts=0"),
        tone_from_first_sample: tone("anull"),
        complaints: complaint + &String::from_utf8(decoded.stderr).unwrap(),
    }
}
