//! The thread of one Take.
//!
//! In: packets and the Take's borders. Out: fragments on disk, and reports. Waits for packets and for the disk, and for nothing else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use recorder_core::time::SessionTime;

use super::file::{GrowingFile, note_begin, note_end};
use super::{Control, Next, PacketSource, RecordingReport, RecordingSettings, gap_fault};
use crate::programme::packet::{Packet, Stream};
use crate::storage::disk::Disk;
use crate::storage::{Spool, StorageError};
use crate::target::mp4::{Fragment, Mp4Error, Writer};

/// How long one wait for a packet is; also how soon an order is seen.
const WAIT: Duration = Duration::from_millis(100);
/// After so many waits without a packet, what waits is written.
const IDLE_WAITS: u32 = 5;
/// After so many, a Take whose end is known ends without having reached it.
const LOST_WAITS: u32 = 100;
/// Sound kept while the first picture has not come: 4 s.
const HELD_PACKETS: usize = 188;

/// Runs the Take until its end; the last report is `Ended`.
pub(super) fn run<S, R>(disk: &dyn Disk, settings: &RecordingSettings, source: S, mut reports: R, control: &Control)
where
    S: PacketSource,
    R: FnMut(RecordingReport),
{
    let _span = tracing::info_span!("target", target.id = %settings.id, take = settings.take.0).entered();
    let mut until = None;
    let mut bytes = 0;
    let report = |report: RecordingReport| {
        match &report {
            RecordingReport::Began { at, .. } => until = Some(*at),
            RecordingReport::Written { until: written, bytes: len } => (until, bytes) = (Some(*written), *len),
            _ => {}
        }
        reports(report);
    };
    let mut take = Take { disk, settings, source, report, control, held: VecDeque::new(), open: None, needs_keyframe: false };
    let result = take.record();
    drop(take);
    if let Err(error) = result {
        tracing::error!(error = &error as &dyn std::error::Error, "the recording has failed");
        reports(RecordingReport::Failed(error.to_fault()));
    }
    reports(RecordingReport::Ended { until, bytes });
}

struct Take<'a, S, R> {
    disk: &'a dyn Disk,
    settings: &'a RecordingSettings,
    source: S,
    report: R,
    control: &'a Control,
    /// Sound that came before the first picture.
    held: VecDeque<Arc<Packet>>,
    /// Set from the first picture on.
    open: Option<Open>,
    needs_keyframe: bool,
}

struct Open {
    spool: Spool,
    file: GrowingFile,
    writer: Writer,
    until: SessionTime,
    /// Samples given to the writer and not yet in a fragment; an upper bound is enough.
    samples: u64,
    video_ended: bool,
    sound_ended: bool,
    limit: Option<SessionTime>,
}

impl<S: PacketSource, R: FnMut(RecordingReport)> Take<'_, S, R> {
    fn record(&mut self) -> Result<(), StorageError> {
        let _lock = Spool::lock(&self.settings.folder)?;
        let spool = Spool::open(&self.settings.folder)?;
        let mut spool = Some(spool);
        let mut idle_waits = 0;
        loop {
            if self.control.at_once.load(Ordering::Acquire) {
                break;
            }
            let end = self.control.end();
            if self.is_over(end) || (end.is_some() && idle_waits >= LOST_WAITS) {
                break;
            }
            match self.source.next(WAIT) {
                Next::Packet(packet) => {
                    idle_waits = 0;
                    self.take_packet(packet, &mut spool)?;
                }
                Next::Nothing => {
                    idle_waits += 1;
                    if idle_waits == IDLE_WAITS {
                        self.flush()?;
                    }
                }
                Next::Gap { missed } => {
                    tracing::warn!(missed, "the disk was too slow for the recording");
                    self.flush()?;
                    self.needs_keyframe = true;
                    (self.report)(RecordingReport::Gap { missed, fault: gap_fault(missed) });
                }
                Next::Closed => break,
            }
        }
        self.flush()?;
        match &mut self.open {
            Some(open) => note_end(self.disk, &mut open.spool, open.until),
            None => Ok(()),
        }
    }

    /// Whether the programme has reached the Take's end.
    fn is_over(&mut self, end: Option<SessionTime>) -> bool {
        let Some(end) = end else { return false };
        match &mut self.open {
            None => end <= self.settings.start,
            Some(open) => {
                if open.limit != Some(end) {
                    open.limit = Some(end);
                    open.writer.limit_take(end);
                    if open.until > end {
                        tracing::warn!("the end of the Take came after it had been written");
                    }
                }
                open.video_ended && open.sound_ended
            }
        }
    }

    fn take_packet(&mut self, packet: Arc<Packet>, spool: &mut Option<Spool>) -> Result<(), StorageError> {
        if self.open.is_none() {
            if packet.stream == Stream::Sound {
                if self.held.len() == HELD_PACKETS {
                    self.held.pop_front();
                }
                self.held.push_back(packet);
                return Ok(());
            }
            if !packet.keyframe || packet.pts < self.settings.start {
                return Ok(());
            }
            self.begin(packet.pts, spool)?;
            // They may reach before the start; the writer knows how much of that is needed.
            for sound in std::mem::take(&mut self.held) {
                self.push(&sound)?;
            }
        }
        if packet.stream == Stream::Video && self.needs_keyframe {
            if !packet.keyframe {
                return Ok(());
            }
            self.needs_keyframe = false;
        }
        self.push(&packet)
    }

    fn begin(&mut self, at: SessionTime, spool: &mut Option<Spool>) -> Result<(), StorageError> {
        // The ring knows the headers before it holds a packet.
        let Some(headers) = self.source.headers() else { return Ok(()) };
        let Some(mut spool) = spool.take() else { return Ok(()) };
        let (file, mut writer) = GrowingFile::open(self.disk, &mut spool, &headers)?;
        if at > self.settings.start {
            tracing::warn!(late_ms = at.since(self.settings.start).as_millis(), "the Take begins late");
        }
        writer.begin_take(at).map_err(|source| unusable(&file, source))?;
        let film = writer.take_file_time();
        let file_time_ns = u64::try_from(film.as_nanos()).unwrap_or(u64::MAX);
        note_begin(self.disk, &mut spool, self.settings.take, at, file_time_ns)?;
        (self.report)(RecordingReport::Began { at, file: file.path().to_path_buf(), film });
        self.open =
            Some(Open { spool, file, writer, until: at, samples: 0, video_ended: false, sound_ended: false, limit: None });
        Ok(())
    }

    fn push(&mut self, packet: &Packet) -> Result<(), StorageError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Some(limit) = open.limit {
            match packet.stream {
                Stream::Video => open.video_ended |= packet.pts + packet.duration >= limit,
                Stream::Sound => open.sound_ended |= packet.pts + packet.duration >= limit,
            }
        }
        let fragment = open.writer.push(packet).map_err(|source| unusable(&open.file, source))?;
        if let Some(fragment) = fragment {
            self.write(&fragment)?;
        }
        if let Some(open) = &mut self.open {
            open.samples += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match open.writer.flush().map_err(|source| unusable(&open.file, source))? {
            Some(fragment) => self.write(&fragment),
            None => Ok(()),
        }
    }

    fn write(&mut self, fragment: &Fragment) -> Result<(), StorageError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.write(fragment, std::mem::take(&mut open.samples))?;
        open.until = open.until.max(fragment.until);
        (self.report)(RecordingReport::Written { until: open.until, bytes: open.file.bytes() });
        Ok(())
    }
}

fn unusable(file: &GrowingFile, source: Mp4Error) -> StorageError {
    StorageError::Unusable { file: file.path().to_path_buf(), source }
}
