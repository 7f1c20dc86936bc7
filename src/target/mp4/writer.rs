//! Packets into fragments.
//!
//! In: Takes and their packets, in the order of the programme ring. Out: whole fragments, the first one with the file's head. Pure;
//! keeps one fragment of at most [`MAX_FRAGMENT`] a stream and nothing that grows. Refuses to write what lies outside of the Take.
//!
//! Time: every Take has an origin in the file, a whole number of pictures after the longer of the two streams before it. A packet's
//! file time is that origin plus its distance from the Take's start, so both streams of a Take are moved by the same amount. A picture
//! lies on the grid of pictures; an AAC frame follows the one before without a seam while its instant agrees within
//! [`SOUND_TOLERANCE_SAMPLES`]. Each fragment says its own time (`tfdt`), and all its samples have the default duration, so a hole
//! always lies between two fragments.

use std::time::Duration;

use mp4_atom::{Encode, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry};
use recorder_core::time::SessionTime;

use super::head::{self, FLAGS_DEPENDENT, FLAGS_SYNC};
use super::{AAC_FRAME_SAMPLES, Mp4Error, PICTURE_TICKS, SOUND_TRACK, Scanner, Source, TrackEnds, VIDEO_TRACK};
use crate::programme::packet::{CodecHeaders, Packet, Stream};

/// Longest stretch of one stream in one fragment.
pub const MAX_FRAGMENT: Duration = Duration::from_millis(500);
/// An AAC frame whose instant differs by less than this (1 ms at 48 kHz) from the end of the frame before follows it without a seam.
const SOUND_TOLERANCE_SAMPLES: i64 = 48;

/// A piece of the file, to be appended as it is.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The bytes; those of the first fragment begin with the file's head.
    pub bytes: Vec<u8>,
    /// With these bytes, the file holds the programme of this Take before this instant, pictures and sound.
    pub until: SessionTime,
}

/// Writes one file.
pub struct Writer {
    headers: CodecHeaders,
    head: HeadState,
    sequence: u32,
    take: Option<Take>,
    video: Lane,
    sound: Lane,
}

/// Whether the head is in the file. It waits for the first fragment, because only then the sound's lead is known.
enum HeadState {
    Pending { sound_lead: Option<u64> },
    Written { sound_lead: u64 },
}

struct Take {
    start: SessionTime,
    /// Number of pictures in the file before this Take.
    origin_pictures: u64,
    /// Nothing at or after this instant is kept.
    end: Option<SessionTime>,
}

/// One stream: where its time stands, and what waits for the next fragment.
#[derive(Default)]
struct Lane {
    /// Media time after the last sample, in ticks of the stream.
    end: u64,
    /// The Take's programme instant up to which samples were taken.
    until: Option<SessionTime>,
    /// Media time of the first waiting sample.
    begin: u64,
    /// The waiting samples begin with one that can be decoded alone.
    begins_with_keyframe: bool,
    samples: Vec<(u32, SessionTime)>,
    data: Vec<u8>,
}

impl Writer {
    /// A writer for a new file.
    ///
    /// # Errors
    /// [`Mp4Error::BadHeaders`] names the field that cannot be written.
    pub fn new(headers: CodecHeaders) -> Result<Self, Mp4Error> {
        // Made once here so that a bad field is known before the first packet.
        head::growing_moov(&headers, 0)?;
        Ok(Self {
            headers,
            head: HeadState::Pending { sound_lead: None },
            sequence: 0,
            take: None,
            video: Lane::default(),
            sound: Lane::default(),
        })
    }

    /// A writer that appends to a file of an earlier writer. Returns with it the length to which the file must be cut first: a torn
    /// fragment at its end is not kept.
    ///
    /// # Errors
    /// [`Mp4Error::HeadersDiffer`] when the file was begun with other codec headers; what [`Scanner`] returns.
    pub fn append<S: Source + ?Sized>(headers: CodecHeaders, file: &S) -> Result<(Self, u64), Mp4Error> {
        let mut writer = Self::new(headers)?;
        let mut scanner = Scanner::open(file)?;
        let sound_lead = scanner.head().sound_lead();
        // As bytes: what is read from a file also holds what follows from other fields.
        let (mut there, mut here) = (Vec::new(), Vec::new());
        scanner.head().moov.encode(&mut there)?;
        head::growing_moov(&writer.headers, sound_lead)?.encode(&mut here)?;
        if there != here {
            return Err(Mp4Error::HeadersDiffer);
        }
        let TrackEnds { video, sound, fragments } = scanner.ends()?;
        writer.head = HeadState::Written { sound_lead };
        writer.video.end = video;
        writer.sound.end = sound;
        writer.sequence = fragments;
        Ok((writer, scanner.whole_len()))
    }

    /// Begins a Take at the instant of its first picture. What still waits from the Take before is returned.
    ///
    /// # Errors
    /// [`Mp4Error::TooLarge`].
    pub fn begin_take(&mut self, start: SessionTime) -> Result<Option<Fragment>, Mp4Error> {
        let rest = self.flush()?;
        let video_pictures = self.video.end.div_ceil(u64::from(PICTURE_TICKS));
        let sound_pictures = (u128::from(self.sound.end.saturating_sub(self.sound_lead())) * u128::from(self.headers.fps))
            .div_ceil(u128::from(self.headers.sample_rate_hz));
        let origin_pictures = video_pictures.max(u64::try_from(sound_pictures).map_err(|_| Mp4Error::TooLarge)?);
        self.take = Some(Take { start, origin_pictures, end: None });
        self.video.until = None;
        self.sound.until = None;
        Ok(rest)
    }

    /// File time at which the current Take begins.
    pub fn take_file_time(&self) -> Duration {
        let pictures = self.take.as_ref().map_or(0, |take| take.origin_pictures);
        let nanos = u128::from(pictures) * 1_000_000_000 / u128::from(self.headers.fps);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Nothing at or after `end` is kept from now on: pictures that begin there, and AAC frames that reach beyond it.
    /// Waiting samples are cut too; what was returned in a fragment is the caller's.
    pub fn limit_take(&mut self, end: SessionTime) {
        let Some(take) = &mut self.take else { return };
        take.end = Some(end);
        let frame = sound_frame(&self.headers);
        self.video.keep_while(PICTURE_TICKS, |pts| pts < end);
        self.sound.keep_while(AAC_FRAME_SAMPLES, |pts| sound_ends_by(pts, frame, end));
    }

    /// Takes one packet. Returns a fragment when one is full: before a keyframe, before a hole in time, and every [`MAX_FRAGMENT`].
    ///
    /// # Errors
    /// [`Mp4Error::NoTake`], [`Mp4Error::TooLarge`].
    pub fn push(&mut self, packet: &Packet) -> Result<Option<Fragment>, Mp4Error> {
        let take = self.take.as_ref().ok_or(Mp4Error::NoTake)?;
        let Some(time) = (match packet.stream {
            Stream::Video => self.video_time(take, packet),
            Stream::Sound => self.sound_time(take, packet),
        }) else {
            return Ok(None);
        };
        if let (Stream::Sound, HeadState::Pending { sound_lead: lead @ None }) = (packet.stream, &mut self.head) {
            *lead = Some(samples_between(packet.pts, take.start, self.headers.sample_rate_hz).max(0) as u64);
        }
        let starts_gop = packet.stream == Stream::Video && packet.keyframe;
        let lane = self.lane(packet.stream);
        let full = match lane.samples.first() {
            None => false,
            Some(&(_, first)) => {
                time != lane.end || starts_gop || (packet.pts + packet.duration).since(first) > MAX_FRAGMENT + ROUNDING
            }
        };
        let fragment = if full { self.flush()? } else { None };
        self.lane(packet.stream).add(packet, time);
        Ok(fragment)
    }

    /// A fragment of everything that waits; `None` when nothing does.
    ///
    /// # Errors
    /// [`Mp4Error::TooLarge`].
    pub fn flush(&mut self) -> Result<Option<Fragment>, Mp4Error> {
        if self.video.samples.is_empty() && self.sound.samples.is_empty() {
            return Ok(None);
        }
        let mut bytes = match self.head {
            HeadState::Written { .. } => Vec::with_capacity(self.video.data.len() + self.sound.data.len() + 1024),
            HeadState::Pending { sound_lead } => {
                let sound_lead = sound_lead.unwrap_or(0);
                self.head = HeadState::Written { sound_lead };
                head::head_bytes(&self.headers, sound_lead)?
            }
        };
        self.sequence = self.sequence.saturating_add(1);
        // The offset of the data depends on the length of the box, which does not depend on the offset.
        let mut moof = Vec::new();
        self.moof(0)?.encode(&mut moof)?;
        let data_at = moof.len() + MDAT_HEADER_LEN;
        let mdat_len = MDAT_HEADER_LEN + self.video.data.len() + self.sound.data.len();
        self.moof(i32::try_from(data_at).map_err(|_| Mp4Error::TooLarge)?)?.encode(&mut bytes)?;
        bytes.extend_from_slice(&u32::try_from(mdat_len).map_err(|_| Mp4Error::TooLarge)?.to_be_bytes());
        bytes.extend_from_slice(b"mdat");
        bytes.extend_from_slice(&self.video.data);
        bytes.extend_from_slice(&self.sound.data);
        self.video.clear();
        self.sound.clear();
        let start = self.take.as_ref().map_or(SessionTime::ZERO, |take| take.start);
        let reached = |lane: &Lane| lane.until.unwrap_or(start).max(start);
        Ok(Some(Fragment { bytes, until: reached(&self.video).min(reached(&self.sound)) }))
    }

    fn moof(&self, data_at: i32) -> Result<Moof, Mp4Error> {
        let sound_at = i32::try_from(self.video.data.len()).ok().and_then(|len| data_at.checked_add(len));
        let mut traf = Vec::with_capacity(2);
        if !self.video.samples.is_empty() {
            traf.push(self.video.traf(VIDEO_TRACK, PICTURE_TICKS, FLAGS_DEPENDENT, data_at));
        }
        if !self.sound.samples.is_empty() {
            traf.push(self.sound.traf(SOUND_TRACK, AAC_FRAME_SAMPLES, FLAGS_SYNC, sound_at.ok_or(Mp4Error::TooLarge)?));
        }
        Ok(Moof { mfhd: Mfhd { sequence_number: self.sequence }, traf })
    }

    /// Media time of a picture, or `None` if the Take does not hold it.
    fn video_time(&self, take: &Take, packet: &Packet) -> Option<u64> {
        if packet.pts < take.start || take.end.is_some_and(|end| packet.pts >= end) {
            return None;
        }
        let since_start = packet.pts.since(take.start).as_nanos();
        let index = (since_start * u128::from(self.headers.fps) + 500_000_000) / 1_000_000_000;
        let pictures = take.origin_pictures.checked_add(u64::try_from(index).ok()?)?;
        // Later pictures need this one, so it is kept even if another one is on its place.
        Some(pictures.checked_mul(u64::from(PICTURE_TICKS))?.max(self.video.end))
    }

    /// Media time of an AAC frame, or `None` if the Take does not hold it.
    fn sound_time(&self, take: &Take, packet: &Packet) -> Option<u64> {
        let rate = self.headers.sample_rate_hz;
        let frame = sound_frame(&self.headers);
        if take.end.is_some_and(|end| !sound_ends_by(packet.pts, frame, end)) {
            return None;
        }
        let since_start = -samples_between(packet.pts, take.start, rate);
        let (lead, first) = match self.head {
            // The file begins with the frame that the encoder primes with, or that covers the first picture; the edit list hides what
            // lies before the picture.
            HeadState::Pending { sound_lead: None } => {
                if since_start + i64::from(AAC_FRAME_SAMPLES) < 0 {
                    return None;
                }
                ((-since_start).max(0), true)
            }
            HeadState::Pending { sound_lead: Some(lead) } => (i64::try_from(lead).ok()?, false),
            HeadState::Written { sound_lead } => {
                // No edit list can hide it here.
                if since_start < 0 {
                    return None;
                }
                (i64::try_from(sound_lead).ok()?, self.sound.until.is_none())
            }
        };
        let origin = u128::from(take.origin_pictures) * u128::from(rate) / u128::from(self.headers.fps);
        let exact = i64::try_from(origin).ok()?.checked_add(lead)?.checked_add(since_start)?;
        let expected = i64::try_from(self.sound.end).ok()?;
        let ahead = exact - expected;
        if first || ahead > SOUND_TOLERANCE_SAMPLES {
            return u64::try_from(exact.max(expected)).ok();
        }
        // A second frame for time that is filled already.
        (ahead > -i64::from(AAC_FRAME_SAMPLES / 2)).then_some(self.sound.end)
    }

    fn sound_lead(&self) -> u64 {
        match self.head {
            HeadState::Pending { sound_lead } => sound_lead.unwrap_or(0),
            HeadState::Written { sound_lead } => sound_lead,
        }
    }

    /// Bytes that wait for the next fragment.
    pub fn waiting_bytes(&self) -> usize {
        self.video.data.len() + self.sound.data.len()
    }

    fn lane(&mut self, stream: Stream) -> &mut Lane {
        match stream {
            Stream::Video => &mut self.video,
            Stream::Sound => &mut self.sound,
        }
    }

    /// At most so many samples and so many fragments are in the file.
    pub fn written(&self) -> (u64, u64) {
        let samples = self.video.end / u64::from(PICTURE_TICKS) + self.sound.end / u64::from(AAC_FRAME_SAMPLES) + 1;
        (samples, u64::from(self.sequence))
    }
}

/// Instants are whole nanoseconds, so a sum of picture times may exceed the limit by some of them.
const ROUNDING: Duration = Duration::from_micros(10);
const MDAT_HEADER_LEN: usize = 8;

impl Lane {
    fn add(&mut self, packet: &Packet, time: u64) {
        let ticks = match packet.stream {
            Stream::Video => PICTURE_TICKS,
            Stream::Sound => AAC_FRAME_SAMPLES,
        };
        if self.samples.is_empty() {
            self.begin = time;
            self.begins_with_keyframe = packet.keyframe;
        }
        // A sample of 4 GiB cannot come from an encoder; flush() refuses the fragment by its total.
        self.samples.push((u32::try_from(packet.data.len()).unwrap_or(u32::MAX), packet.pts));
        self.data.extend_from_slice(&packet.data);
        self.end = time + u64::from(ticks);
        self.until = Some(packet.pts + packet.duration);
    }

    fn keep_while(&mut self, ticks: u32, keep: impl Fn(SessionTime) -> bool) {
        let kept = self.samples.iter().take_while(|&&(_, pts)| keep(pts)).count();
        let cut = self.samples.len() - kept;
        if cut == 0 {
            return;
        }
        self.until = Some(self.samples[kept].1);
        self.samples.truncate(kept);
        self.data.truncate(self.samples.iter().map(|&(size, _)| size as usize).sum());
        self.end = self.end.saturating_sub(cut as u64 * u64::from(ticks));
    }

    fn clear(&mut self) {
        self.samples.clear();
        self.data.clear();
    }

    fn traf(&self, track_id: u32, ticks: u32, default_flags: u32, data_at: i32) -> Traf {
        let first_flags = (default_flags != FLAGS_SYNC && self.begins_with_keyframe).then_some(FLAGS_SYNC);
        let entries = self.samples.iter().enumerate().map(|(i, &(size, _))| TrunEntry {
            size: Some(size),
            flags: if i == 0 { first_flags } else { None },
            ..TrunEntry::default()
        });
        Traf {
            tfhd: Tfhd {
                track_id,
                default_sample_duration: Some(ticks),
                default_sample_flags: Some(default_flags),
                default_base_is_moof: true,
                ..Tfhd::default()
            },
            tfdt: Some(Tfdt { base_media_decode_time: self.begin }),
            trun: vec![Trun { data_offset: Some(data_at), samples: entries.collect::<Vec<_>>().into() }],
            ..Traf::default()
        }
    }
}

/// Length of one AAC frame.
fn sound_frame(headers: &CodecHeaders) -> Duration {
    Duration::from_nanos(u64::from(AAC_FRAME_SAMPLES) * 1_000_000_000 / u64::from(headers.sample_rate_hz.max(1)))
}

fn sound_ends_by(pts: SessionTime, frame: Duration, end: SessionTime) -> bool {
    pts + frame <= end + ROUNDING
}

/// Samples from `from` to `to`, rounded to the nearest; negative if `to` is earlier.
fn samples_between(from: SessionTime, to: SessionTime, rate_hz: u32) -> i64 {
    let scaled = i128::from(to.signed_since(from)) * i128::from(rate_hz);
    let half = if scaled < 0 { -500_000_000 } else { 500_000_000 };
    i64::try_from((scaled + half) / 1_000_000_000).unwrap_or(i64::MAX)
}
