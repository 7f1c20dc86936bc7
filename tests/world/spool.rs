//! A recording of made-up packets, as fast as the disk takes it: the product's own ring, recording Target, spool and ending, without a room.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use recorder_core::ids::{TakeId, TargetId};
use recorder_core::time::SessionTime;
use roomcast::programme::packet::{CodecHeaders, Packet, Stream};
use roomcast::programme::ring::{Ring, RingLimits};
use roomcast::target::recording::{RecordingReport, RecordingSettings, RecordingTarget};

const FPS: u64 = 30;
/// What is written is not kept in memory for long: the pictures are large.
const KEEP: Duration = Duration::from_secs(1);

/// One Take that runs.
pub struct Take {
    target: RecordingTarget,
    ring: Ring,
    reports: Receiver<RecordingReport>,
    pictures: u64,
    picture_len: usize,
    dice: u64,
    /// The file that grows.
    pub file: PathBuf,
    /// Bytes of it that the disk has confirmed.
    pub bytes: u64,
}

/// Headers of a picture of this height; other headers are another file.
pub fn headers(height_px: u32) -> CodecHeaders {
    CodecHeaders {
        avc_config: [
            1, 66, 192, 30, 255, 225, 0, 10, 0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 1, 0, 4, 0x68, 0xce,
            0x3c, 0x80,
        ][..]
            .into(),
        aac_config: [0x11, 0x90][..].into(),
        width_px: 640,
        height_px,
        fps: FPS as u32,
        sample_rate_hz: 48_000,
        channels: 2,
    }
}

impl Take {
    /// Begins a Take in a spool folder; its pictures have so many bytes each.
    pub fn begin(folder: &Path, number: u32, headers: CodecHeaders, picture_len: usize) -> Self {
        let ring = Ring::new(RingLimits { keep: KEEP, ..RingLimits::default() });
        ring.set_headers(headers);
        let (sender, reports) = channel();
        let settings = RecordingSettings {
            folder: folder.to_path_buf(),
            id: TargetId::new("recording"),
            take: TakeId(number),
            start: SessionTime::ZERO,
        };
        let target = RecordingTarget::start(settings, ring.record_from(SessionTime::ZERO), move |report| {
            let _ = sender.send(report);
        })
        .expect("a thread");
        Self { target, ring, reports, pictures: 0, picture_len, dice: u64::from(number), file: PathBuf::new(), bytes: 0 }
    }

    /// Until the disk has confirmed so many bytes. Never runs far ahead of the disk, or the file would be larger than was asked for.
    pub fn grow_to(&mut self, bytes: u64) {
        while self.bytes < bytes {
            // Of one fragment, and one picture that ends it.
            for _ in 0..FPS / 2 + 1 {
                let packet = self.picture();
                self.ring.publish(packet);
            }
            let limit = Duration::from_secs(10);
            let before = self.bytes;
            while self.bytes == before {
                let report = self.reports.recv_timeout(limit).expect("the disk confirms");
                self.note(report);
            }
        }
    }

    /// Ends the Take; returns how much the disk has confirmed.
    pub fn end(self) -> u64 {
        let Self { target, ring, reports, .. } = self;
        ring.close();
        target.join();
        let last = reports.into_iter().last();
        let Some(RecordingReport::Ended { bytes, .. }) = last else { panic!("{last:?}") };
        bytes
    }

    fn note(&mut self, report: RecordingReport) {
        match report {
            RecordingReport::Began { file, .. } => self.file = file,
            RecordingReport::Written { bytes, .. } => self.bytes = bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Bytes that are nowhere the same, so that no part is like another.
    fn picture(&mut self) -> Packet {
        let at = |n: u64| SessionTime::from_nanos(n * 1_000_000_000 / FPS);
        let n = self.pictures;
        self.pictures += 1;
        let data = (0..self.picture_len / 8).flat_map(|_| {
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.dice.to_le_bytes()
        });
        let data: Vec<u8> = data.collect();
        Packet {
            stream: Stream::Video,
            pts: at(n),
            duration: at(n + 1).since(at(n)),
            keyframe: n.is_multiple_of(FPS),
            data: data.into(),
        }
    }
}
