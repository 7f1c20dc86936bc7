//! Whether this machine can do what a Session needs: `roomcast check`, the part that touches media.
//!
//! In: size, rate and quality of each Rendition. Out: [`Finding`]s, each ok or with a sentence that says what to do. Blocks for a second or two. It starts the real
//! encoders on made-up pictures; it never opens a connection.

use std::net::UdpSocket;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use recorder_core::effort::Effort;
use recorder_core::scene::CanvasSize;

use crate::graph::{
    self, EncodedPacket, EncoderKind, EncoderWish, GraphError, Hardware, ProofError, SoundEncoder, VideoSettings,
};
use crate::ingest::{WANTED_RECEIVE_BUFFER, effective_receive_buffer};
use crate::mixer::label::{Gap, TextArtist};
use crate::service::job::Rendition;

/// What was looked at, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// What was seen, or what is wrong and what to do.
    pub result: Result<String, String>,
    /// What would be better, although a Session works without it.
    pub advice: Option<String>,
}

impl Finding {
    /// Something that was looked at.
    pub fn new(what: impl Into<String>, result: Result<String, String>) -> Self {
        Self { what: what.into(), result, advice: None }
    }
}

/// The finding that is about the machine, and not about what is installed on it.
pub const RECEIVE_BUFFER: &str = "UDP receive buffer";

/// The encoder may take so long for them.
const ENCODE_LIMIT: Duration = Duration::from_secs(20);

/// Looks at everything but what is elsewhere.
pub fn media(renditions: &[Rendition], encoder: EncoderWish) -> Vec<Finding> {
    let mut rates: Vec<u32> = renditions.iter().map(|rendition| rendition.sound_kbps).collect();
    rates.sort_unstable();
    rates.dedup();
    let mut findings = vec![elements(), monitor()];
    findings.extend(renditions.iter().map(pictures));
    findings.extend(encoder.candidates().iter().map(|candidate| hardware(*candidate, renditions)));
    findings.extend(rates.into_iter().map(sound));
    findings.extend([fonts(), receive_buffer()]);
    findings
}

fn elements() -> Finding {
    let mut missing = Vec::new();
    let templates = graph::templates();
    for template in &templates {
        match template.missing() {
            Ok(names) => missing.extend(names),
            Err(error) => return Finding::new("GStreamer", Err(format!("{error}: install {}", graph::PACKAGE))),
        }
    }
    missing.sort_unstable();
    missing.dedup();
    let result = if missing.is_empty() {
        Ok(format!("all elements of {} graphs are there", templates.len()))
    } else {
        Err(advice(&missing))
    };
    Finding::new("GStreamer", result)
}

fn monitor() -> Finding {
    let result = match graph::missing_for_monitor() {
        Err(error) => Err(format!("{error}: install {}", graph::PACKAGE)),
        Ok(missing) if missing.is_empty() => Ok("all elements are there".into()),
        Ok(missing) => Err(advice(&missing)),
    };
    Finding::new("programme monitor", result)
}

/// What to install.
fn advice(missing: &[&str]) -> String {
    let each: Vec<String> =
        missing.iter().map(|element| format!("{element} is missing: install {}", graph::package_of(element))).collect();
    each.join("; ")
}

fn pictures(rendition: &Rendition) -> Finding {
    let what = format!("H.264 encoder, {}x{} at {}", rendition.width_px, rendition.height_px, rendition.fps);
    Finding::new(what, encode_pictures(rendition, EncoderKind::X264))
}

fn encode_pictures(rendition: &Rendition, by: EncoderKind) -> Result<String, String> {
    let canvas = CanvasSize::new(rendition.width_px, rendition.height_px).map_err(|error| error.to_string())?;
    let settings =
        VideoSettings { canvas, fps: rendition.fps, kbps: rendition.video_kbps, gop_seconds: 2, effort: Effort::Full, by };
    let needed = rendition.fps;
    match graph::prove(settings) {
        Ok(speed) => Ok(format!("{speed:.0} pictures a second on one core, and {needed} are needed")),
        Err(error @ ProofError::Slow { .. }) => Err(format!("{error}: choose a smaller size or rate, or a faster machine")),
        Err(ProofError::Graph(error)) if by == EncoderKind::X264 => {
            Err(format!("{error}: install {}, or choose another size", graph::package_of("x264enc")))
        }
        Err(ProofError::Graph(error)) => {
            let package = graph::package_of("vah264enc");
            Err(format!("{error}: install {package} and the driver, or set [programme] encoder"))
        }
        Err(error) => Err(format!("{error}: look at the installation of GStreamer")),
    }
}

/// Whether the wanted hardware can be used.
fn hardware(hardware: Hardware, renditions: &[Rendition]) -> Finding {
    let by = EncoderKind::Hardware(hardware);
    let each: Result<Vec<_>, _> = renditions.iter().map(|rendition| encode_pictures(rendition, by)).collect();
    let (said, advice) = match each {
        Ok(_) => ("encodes what it should", None),
        Err(error) => ("x264 encodes instead", Some(error)),
    };
    Finding { advice, ..Finding::new(format!("H.264 encoder {}", hardware.name()), Ok(said.into())) }
}

/// Waits for the last packet.
fn all(made: &std::sync::mpsc::Receiver<Option<EncodedPacket>>) -> Result<Vec<EncodedPacket>, String> {
    let mut packets = Vec::new();
    loop {
        match made.recv_timeout(ENCODE_LIMIT) {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return Ok(packets),
            Err(RecvTimeoutError::Timeout) => return Err(format!("the encoder made nothing for {} s", ENCODE_LIMIT.as_secs())),
            Err(RecvTimeoutError::Disconnected) => return Err("the encoder ended without its last packet".into()),
        }
    }
}

fn sound(kbps: u32) -> Finding {
    let encode = || -> Result<String, String> {
        let say = |error: GraphError| format!("{error}: install {}", graph::package_of("avenc_aac"));
        let (packets, made) = channel();
        let encoder = SoundEncoder::start(2, kbps, move |packet| _ = packets.send(packet)).map_err(say)?;
        let block = vec![0.0; 960 * 2];
        for number in 0..50 {
            encoder.push(&block, number * 960, 2).map_err(say)?;
        }
        encoder.finish();
        let frames = all(&made)?.len();
        // One second is 46.9 frames of 1024 samples, and one more for what the encoder puts in front.
        if frames < 46 { Err(format!("the encoder made {frames} frames of one second")) } else { Ok("works".into()) }
    };
    Finding::new(format!("AAC encoder, {kbps} kbit/s"), encode())
}

fn fonts() -> Finding {
    match TextArtist::with_system_fonts() {
        Ok(mut artist) => {
            let advice = without(&artist.gaps());
            Finding { advice, ..Finding::new("fonts", Ok("names can be written".to_owned())) }
        }
        Err(error) => Finding::new("fonts", Err(error.to_string())),
    }
}

/// What to install for the scripts that cannot be written; `None` when all can.
fn without(gaps: &[Gap]) -> Option<String> {
    let mut packages: Vec<&str> = gaps.iter().map(|gap| gap.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let each = packages.into_iter().map(|package| {
        let scripts: Vec<&str> = gaps.iter().filter(|gap| gap.package == package).map(|gap| gap.script).collect();
        format!("{} cannot be written, and names are drawn as boxes: install {package}", scripts.join(", "))
    });
    (!gaps.is_empty()).then(|| each.collect::<Vec<_>>().join("; "))
}

fn receive_buffer() -> Finding {
    let wanted = WANTED_RECEIVE_BUFFER;
    let result = match UdpSocket::bind("127.0.0.1:0") {
        Err(error) => Err(format!("no UDP socket can be opened: {error}")),
        Ok(socket) => match effective_receive_buffer(&socket, wanted) {
            got if got >= wanted => Ok(format!("{} KiB", got >> 10)),
            got => Err(format!(
                "{} KiB are given and {} are wanted, so packets are lost when many people speak at once: set net.core.rmem_max to {wanted} \
                 with sysctl, or give the capability CAP_NET_ADMIN",
                got >> 10,
                wanted >> 10
            )),
        },
    };
    Finding::new(RECEIVE_BUFFER, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendition(width_px: u32, height_px: u32, fps: u32) -> Rendition {
        Rendition { name: "programme".into(), width_px, height_px, fps, video_kbps: 300, sound_kbps: 64, layout: None }
    }

    #[test]
    fn this_machine_can_encode() {
        let landscape = rendition(320, 180, 30);
        let upright = Rendition { sound_kbps: 96, ..rendition(180, 320, 30) };
        let findings = media(&[landscape.clone(), upright, landscape], EncoderWish::Software);
        for finding in findings.iter().filter(|finding| finding.what != "UDP receive buffer") {
            assert!(finding.result.is_ok(), "{finding:?}");
        }
        let encoders: Vec<&str> =
            findings.iter().map(|finding| finding.what.as_str()).filter(|what| what.contains("encoder")).collect();
        let h264 = ["H.264 encoder, 320x180 at 30", "H.264 encoder, 180x320 at 30", "H.264 encoder, 320x180 at 30"];
        assert_eq!(encoders, [&h264[..], &["AAC encoder, 64 kbit/s", "AAC encoder, 96 kbit/s"]].concat());
    }

    #[test]
    fn scripts_that_cannot_be_written_are_named_with_their_packages() {
        let gap = |script, package| Gap { script, package };
        assert_eq!(without(&[]), None);
        let gaps = [gap("Thai", "fonts-noto-core"), gap("Chinese", "fonts-noto-cjk"), gap("Korean", "fonts-noto-cjk")];
        let sentence = without(&gaps).unwrap();
        let wanted = "Chinese, Korean cannot be written, and names are drawn as boxes: install fonts-noto-cjk; \
                      Thai cannot be written, and names are drawn as boxes: install fonts-noto-core";
        assert_eq!(sentence, wanted);
    }

    #[test]
    fn hardware_that_cannot_be_used_is_an_advice() {
        let findings = media(&[rendition(320, 180, 30)], EncoderWish::Hardware(Hardware::Va));
        let found = findings.iter().find(|finding| finding.what == "H.264 encoder va").unwrap();
        // On a machine with such hardware there is nothing to advise.
        let said = (found.result.as_deref().unwrap(), found.advice.as_deref());
        let package = graph::package_of("vah264enc");
        let missing =
            format!("GStreamer elements are missing: vah264enc: install {package} and the driver, or set [programme] encoder");
        assert!(said == ("encodes what it should", None) || said == ("x264 encodes instead", Some(&*missing)), "{said:?}");
    }

    #[test]
    fn a_machine_that_is_too_slow_is_told_what_it_does() {
        let sentence = encode_pictures(&rendition(3840, 2160, 100_000), EncoderKind::X264).unwrap_err();
        assert!(sentence.ends_with("100000 are needed: choose a smaller size or rate, or a faster machine"), "{sentence}");
    }
}
