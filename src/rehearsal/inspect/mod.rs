//! Reads a finished film of the simulated meeting back, and measures it.
//!
//! In: an MP4 file. Out: an [`Inspection`]: duration, who was seen, each source picture shown once or not, and the time between each
//! flash and its beep. Pulls decoded pictures on the calling thread and sound on a second one; keeps no picture. It is meant for a
//! process of its own (`roomcast inspect`), because a file may make a decoder fail.

mod beeps;
mod tally;
mod tiles;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::beeps::Ears;
use self::tally::{Reading, Tally};
use self::tiles::CardAt;
use super::card::PEOPLE;
use super::picture::{read_counter_in, read_flash_in};
use crate::graph::{FilmReader, FilmStream, FilmTime, GraphError};

/// All cards are looked for anew after this many pictures, and when one is no longer where it was.
const SEARCH_EVERY: u64 = 10;
/// A beep this far from a flash is not its.
const NOT_THE_SAME_S: f64 = 0.45;

/// What a film shows and plays.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Inspection {
    /// From the beginning to the end of the longer stream, in seconds.
    pub duration_s: f64,
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// Programme pictures.
    pub pictures: u64,
    /// Shortest and longest time from one programme picture to the next, in milliseconds.
    pub picture_interval_ms: (f64, f64),
    /// Length of the sound, in seconds.
    pub sound_s: f64,
    /// Samples that are missing between buffers of sound, in milliseconds.
    pub sound_gaps_ms: f64,
    /// Flash against beep, over all people; `None` when nobody had both.
    pub av_offset: Option<AvOffset>,
    /// Everybody of the card who was seen or heard.
    pub people: Vec<PersonSeen>,
}

/// How much later than its sound the picture is; negative: earlier.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct AvOffset {
    /// The middle one, in milliseconds.
    pub median_ms: f64,
    /// The one that is farthest from zero, in milliseconds.
    pub worst_ms: f64,
    /// How many were measured.
    pub count: usize,
}

/// What was seen and heard of one person.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PersonSeen {
    /// Name on the card.
    pub name: String,
    /// First and last time that the tile was there, in seconds.
    pub seen_s: Option<(f64, f64)>,
    /// Different source pictures shown.
    pub shown: u32,
    /// Programme pictures that repeated a source picture.
    pub repeated: u32,
    /// Source pictures left out.
    pub missed: u32,
    /// Programme pictures with a tile in which no counter could be read.
    pub unread: u32,
    /// Longest time that one source picture stood, in milliseconds.
    pub longest_still_ms: f64,
    /// Flashes seen to begin.
    pub flashes: usize,
    /// Beeps heard.
    pub beeps: usize,
    /// Flash against beep.
    pub av_offset: Option<AvOffset>,
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:.3} s, {}x{}, {} pictures", self.duration_s, self.width_px, self.height_px, self.pictures)?;
        for person in &self.people {
            let (from, until) = person.seen_s.unwrap_or_default();
            write!(f, "{:<8} {from:6.2} s to {until:6.2} s", person.name)?;
            write!(
                f,
                "  {:5} shown {:4} repeated {:4} missed {:4} unread",
                person.shown, person.repeated, person.missed, person.unread
            )?;
            match &person.av_offset {
                Some(offset) => {
                    writeln!(f, "  A/V {:+.1} ms, worst {:+.1} ms of {}", offset.median_ms, offset.worst_ms, offset.count)?
                }
                None => writeln!(f, "  A/V not measured")?,
            }
        }
        Ok(())
    }
}

/// Why a film cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// GStreamer or one of its elements is missing.
    #[error("GStreamer cannot read films")]
    Graph(#[from] GraphError),
    /// The thread that listens has ended before its time.
    #[error("the thread that listens to the film has failed")]
    SoundThread,
    /// The file cannot be decoded to its end.
    #[error("the film cannot be decoded: {0}")]
    Decode(String),
    /// There are no pictures or no sound.
    #[error("the film has no {0}")]
    Without(&'static str),
}

/// Measures the film in `file`.
///
/// # Errors
/// It cannot be decoded without error to its end, or has no pictures or no sound.
pub fn inspect(file: &Path) -> Result<Inspection, InspectError> {
    let (reader, [pictures, sound]) = FilmReader::open(file).map_err(|error| match error {
        GraphError::State(..) => InspectError::Decode("it cannot be opened".into()),
        other => other.into(),
    })?;
    let (watched, heard) = std::thread::scope(|scope| {
        let heard = scope.spawn(|| hear(&sound));
        (watch(&pictures), heard.join())
    });
    if let Some(fault) = reader.fault() {
        return Err(InspectError::Decode(fault.message));
    }
    let heard = heard.map_err(|_| InspectError::SoundThread)?;
    Ok(judge(watched?, heard?))
}

/// What was seen.
struct Watched {
    size: (u32, u32),
    pictures: u64,
    end_s: f64,
    interval_s: (f64, f64),
    tallies: Vec<Tally>,
}

/// What was heard.
struct Heard {
    length_s: f64,
    end_s: f64,
    gaps_s: f64,
    onsets_s: Vec<Vec<f64>>,
}

fn watch(stream: &FilmStream) -> Result<Watched, InspectError> {
    let mut watched = Watched {
        size: (0, 0),
        pictures: 0,
        end_s: 0.0,
        interval_s: (f64::MAX, 0.0),
        tallies: vec![Tally::default(); PEOPLE.len()],
    };
    let mut cards: Vec<CardAt> = Vec::new();
    let mut last_s: Option<f64> = None;
    while let Some((FilmTime { at_s, length_s }, picture)) = stream.next_picture() {
        if watched.pictures.is_multiple_of(SEARCH_EVERY)
            || !cards.iter().all(|c| tiles::is_still_there(&picture, c) && read_counter_in(&picture, c.at, c.size).is_some())
        {
            cards = tiles::find(&picture);
        }
        for card in &cards {
            let counter = read_counter_in(&picture, card.at, card.size);
            let flash = read_flash_in(&picture, card.at, card.size);
            watched.tallies[card.person].take(Reading { at_s, counter, flash });
        }
        if let Some(last) = last_s.replace(at_s) {
            let (least, most) = watched.interval_s;
            watched.interval_s = (least.min(at_s - last), most.max(at_s - last));
        }
        watched.size = (picture.width(), picture.height());
        watched.pictures += 1;
        watched.end_s = at_s + length_s;
    }
    if watched.pictures == 0 { Err(InspectError::Without("pictures")) } else { Ok(watched) }
}

fn hear(stream: &FilmStream) -> Result<Heard, InspectError> {
    let mut ears = Ears::default();
    let (mut first_s, mut next_s, mut gaps_s, mut samples_heard) = (None, 0.0, 0.0, 0_usize);
    while let Some((FilmTime { at_s, .. }, samples)) = stream.next_samples() {
        if first_s.is_none() {
            first_s = Some(at_s);
        } else if at_s - next_s > 0.001 {
            // Silence in the place of what is missing, so that what follows keeps its time.
            let missing = ((at_s - next_s) * 48_000.0) as usize;
            gaps_s += at_s - next_s;
            samples_heard += missing;
            ears.hear(&vec![0.0; missing.min(48_000 * 60)]);
        }
        ears.hear(&samples);
        samples_heard += samples.len();
        next_s = first_s.unwrap_or(0.0) + samples_heard as f64 / 48_000.0;
    }
    let first_s = first_s.ok_or(InspectError::Without("sound"))?;
    let onsets_s = ears.onsets_s().into_iter().map(|all| all.into_iter().map(|at| at + first_s).collect()).collect();
    Ok(Heard { length_s: samples_heard as f64 / 48_000.0 - gaps_s, end_s: next_s, gaps_s, onsets_s })
}

fn judge(watched: Watched, heard: Heard) -> Inspection {
    let mut all = Vec::new();
    let mut people = Vec::new();
    for ((person, tally), beeps) in PEOPLE.iter().zip(watched.tallies).zip(heard.onsets_s) {
        if tally.seen_s.is_none() && beeps.is_empty() {
            continue;
        }
        let offsets: Vec<f64> = tally.flashes_s.iter().filter_map(|&flash| offset_ms(flash, &beeps)).collect();
        people.push(PersonSeen {
            name: person.name.to_owned(),
            seen_s: tally.seen_s,
            shown: tally.shown,
            repeated: tally.repeated,
            missed: tally.missed,
            unread: tally.unread,
            longest_still_ms: tally.longest_still_s * 1e3,
            flashes: tally.flashes_s.len(),
            beeps: beeps.len(),
            av_offset: av_offset(&offsets),
        });
        all.extend(offsets);
    }
    let (least, most) = watched.interval_s;
    Inspection {
        duration_s: watched.end_s.max(heard.end_s),
        width_px: watched.size.0,
        height_px: watched.size.1,
        pictures: watched.pictures,
        picture_interval_ms: if watched.pictures > 1 { (least * 1e3, most * 1e3) } else { (0.0, 0.0) },
        sound_s: heard.length_s,
        sound_gaps_ms: heard.gaps_s * 1e3,
        av_offset: av_offset(&all),
        people,
    }
}

/// A flash against the nearest beep.
fn offset_ms(flash_s: f64, beeps_s: &[f64]) -> Option<f64> {
    let offsets = beeps_s.iter().map(|beep| flash_s - beep);
    let nearest = offsets.min_by(|a, b| a.abs().total_cmp(&b.abs()))?;
    (nearest.abs() < NOT_THE_SAME_S).then_some(nearest * 1e3)
}

fn av_offset(offsets_ms: &[f64]) -> Option<AvOffset> {
    let mut sorted = offsets_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median_ms = *sorted.get(sorted.len() / 2)?;
    let worst_ms = sorted.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
    Some(AvOffset { median_ms, worst_ms, count: sorted.len() })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
