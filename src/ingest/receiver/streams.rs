//! Which RTP stream a frame or a sender report belongs to, and so its place in time.
//!
//! In: frames of [`super::packets`] and reports as str0m gives them, and the m-lines of [`Receiver`]. Out: [`MediaFrame`]s with a capture time. Runs where the
//! receiver runs. It refuses what is not mapped to a Track, blank pictures, and the reports of a stream that has ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

use recorder_core::ids::TrackId;
use str0m::media::Mid;

use super::{Out, Receiver};
use crate::ingest::blank::is_blank;
use crate::ingest::reorder::Frame;
use crate::ingest::speech;
use crate::media::{Codec, MediaFrame};

/// The RTP stream that a Track has at the moment, and how many it has had. Survives a restart.
pub(super) struct Stream {
    number: u32,
    is: StreamIdentity,
    last_rtp_time: Option<u64>,
    /// A sender report that came before the first frame.
    early_report: Option<Report>,
    /// When a packet came last that is not digital silence.
    last_word: Option<Instant>,
}

#[derive(PartialEq, Eq, Clone)]
struct StreamIdentity {
    connection: u32,
    mid: Mid,
    ssrc: Option<u32>,
    source: String,
}

#[derive(Clone, Copy)]
pub(super) struct Report {
    pub(super) ntp_ns: i64,
    pub(super) rtp_time: u32,
    pub(super) received_at: Instant,
}

impl Receiver {
    pub(super) fn media(&mut self, mid: Mid, frame: Frame) {
        let Frame { codec, time: rtp_time, keyframe, .. } = frame;
        let Some(line) = self.lines.get_mut(&mid) else { return };
        if codec != Codec::Opus && keyframe {
            line.blank = is_blank(codec, &frame.data);
        }
        if line.blank {
            if !keyframe {
                // Real pictures are back, but their keyframe was lost.
                self.keyframes.want(&line.track);
            }
            return;
        }
        let track = line.track.clone();
        let is = StreamIdentity { connection: self.connection, mid, ssrc: line.ssrc, source: line.source.clone() };
        let clock_hz = clock_hz(&track);
        let arrival = self.clock.at(frame.arrival);

        let stream = current_stream(&mut self.streams, &track, is, self.first_stream);
        let first = stream.last_rtp_time.is_none();
        stream.last_rtp_time = Some(rtp_time);
        let number = stream.number;
        if let Some(report) = stream.early_report.take() {
            let at = self.clock.at(report.received_at);
            self.capture.sender_report(&track, number, clock_hz, report.ntp_ns, extend(rtp_time, report.rtp_time), at);
        }
        let made_up = codec == Codec::Opus
            && speech::is_made_up(&frame.data)
            && stream.last_word.is_some_and(|word| frame.arrival.saturating_duration_since(word) < speech::MADE_UP_FOR);
        if codec == Codec::Opus && !speech::is_made_up(&frame.data) {
            stream.last_word = Some(frame.arrival);
        }
        let capture = if codec != Codec::Opus {
            self.capture.arrived(&track, number, clock_hz, rtp_time, arrival)
        } else if !made_up {
            // Else a sender's sound would count as later than it is, by the length of a packet, and its picture not.
            let sent_at_most_then = arrival - speech::duration(&frame.data);
            self.capture.arrived(&track, number, clock_hz, rtp_time, sent_at_most_then)
        } else {
            // The server needs not wait for samples: its silence would pull the sender's clock to where nobody's sound can be.
            match self.capture.made_up(&track, number, rtp_time, arrival) {
                Some(capture) => capture,
                None => return,
            }
        };
        // Of a stream that begins nothing is missing yet; of one that is mapped again something may be.
        let contiguous = frame.contiguous || first;
        if codec != Codec::Opus {
            if keyframe {
                self.keyframes.satisfied(&track);
            } else if first || !contiguous {
                self.keyframes.want(&track);
            }
        }
        let data = frame.data;
        self.out.push_back(Out::Frame(MediaFrame {
            track,
            codec,
            rtp_time,
            stream: number,
            capture,
            arrival,
            contiguous,
            keyframe,
            data,
        }));
    }

    pub(super) fn report(&mut self, mid: Mid, ssrc: u32, report: Report) {
        let Some(line) = self.lines.get(&mid) else { return };
        if line.ssrc.is_some_and(|expected| expected != ssrc) {
            return;
        }
        let is = StreamIdentity { connection: self.connection, mid, ssrc: line.ssrc, source: line.source.clone() };
        let stream = current_stream(&mut self.streams, &line.track, is, self.first_stream);
        let Some(last) = stream.last_rtp_time else {
            stream.early_report = Some(report);
            return;
        };
        let at = self.clock.at(report.received_at);
        let clock_hz = clock_hz(&line.track);
        self.capture.sender_report(&line.track, stream.number, clock_hz, report.ntp_ns, extend(last, report.rtp_time), at);
    }
}

/// Of RTP times: all codecs that are received have the same (RFC 7741, 9628, 6184 and 7587).
fn clock_hz(track: &TrackId) -> u32 {
    if track.kind.is_video() { 90_000 } else { 48_000 }
}

/// The stream of `track`, counted on from `first` when another than before carries it.
fn current_stream<'a>(
    streams: &'a mut BTreeMap<TrackId, Stream>,
    track: &TrackId,
    is: StreamIdentity,
    first: u32,
) -> &'a mut Stream {
    let stream = streams.entry(track.clone()).or_insert_with(|| Stream {
        number: first,
        is: is.clone(),
        last_rtp_time: None,
        early_report: None,
        last_word: None,
    });
    if stream.is != is {
        *stream = Stream { number: stream.number.wrapping_add(1), is, last_rtp_time: None, early_report: None, last_word: None };
    }
    stream
}

/// The 64-bit time nearest to `near` whose lower 32 bits are `wire` (RFC 3550 times wrap).
pub(super) fn extend(near: u64, wire: u32) -> u64 {
    let ahead = wire.wrapping_sub(near as u32) as i32;
    // A report from before the wire's zero lies below the first frame's time; differences are taken wrapping, too.
    near.wrapping_add_signed(i64::from(ahead))
}

pub(super) fn nanos_since_1970(time: std::time::SystemTime) -> i64 {
    let signed = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => signed(after),
        // A sender whose clock counts from its boot.
        Err(before) => -signed(before.duration()),
    }
}
