//! Promises about a film, each said as what a person would see or hear.
//!
//! A [`Judge`] goes through all promises before it fails, so that one run of a room shows everything that is wrong with it.
//!
//! A machine that takes the processors away from a thread for longer than the product has in reserve leaves a flaw in the film that is nobody's
//! fault. Such a flaw, and no other, is excused here, for all tests, by what was noted in the same run ([`Stall`]): a thread that pictures pass
//! waited for a processor while just that picture was on its way. What is excused is printed. More than a few pictures are never excused.

use std::ops::Range;

use roomcast::rehearsal::card::{self, PEOPLE};

use super::ear::median;
use super::{Film, Part, Stall};

/// So long is a picture on its way at most, from its capture to its tick: the mixer's delay, and what a late tick adds.
const ON_ITS_WAY_S: f64 = 0.65;
/// Of this many pictures one may be excused.
const PICTURES_FOR_AN_EXCUSE: usize = 50;

/// How a tile's source pictures came out over a range.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Cadence {
    /// Pictures of the film in the range.
    pub pictures: usize,
    /// Pictures that show another counter than the one before.
    pub fresh: usize,
    /// Pictures that show the same counter again.
    pub repeated: usize,
    /// Source pictures that were never shown.
    pub skipped: usize,
    /// Pictures in which the counter went back.
    pub backwards: usize,
    /// Pictures whose counter cannot be read.
    pub unreadable: usize,
    /// Longest time for which the tile shows the same, or nothing that can be read.
    pub longest_still_ms: f64,
    /// When pictures came that are not the next one, in seconds.
    pub flaws_s: Vec<f64>,
    /// Where the tile shows the same, or nothing that can be read, for longer than one picture.
    pub stills: Vec<Range<f64>>,
}

/// Goes through promises and remembers the broken ones.
pub struct Judge<'a> {
    film: &'a Film,
    broken: Vec<String>,
}

impl Cadence {
    /// Follows the counter of a tile.
    pub fn of(film: &Film, tile: usize, range: &Range<f64>) -> Cadence {
        let mut cadence = Cadence::default();
        let mut last: Option<u32> = None;
        let mut changed_s = range.start;
        for picture in film.pictures.iter().filter(|picture| range.contains(&picture.at_s)) {
            cadence.pictures += 1;
            let Some(counter) = picture.tiles[tile].counter else {
                cadence.unreadable += 1;
                cadence.flaws_s.push(picture.at_s);
                continue;
            };
            let step = last.map(|last| (counter + card::LOOP_FRAMES - last) % card::LOOP_FRAMES);
            if step.is_some_and(|step| step != 1) {
                cadence.flaws_s.push(picture.at_s);
            }
            match step {
                Some(0) => {
                    cadence.repeated += 1;
                    continue;
                }
                // More than half a loop ahead is behind.
                Some(step) if step > card::LOOP_FRAMES / 2 => cadence.backwards += 1,
                Some(step) => cadence.skipped += step as usize - 1,
                None => {}
            }
            cadence.fresh += 1;
            cadence.stood(changed_s..picture.at_s);
            changed_s = picture.at_s;
            last = Some(counter);
        }
        cadence.stood(changed_s..range.end);
        cadence
    }

    fn stood(&mut self, still: Range<f64>) {
        let ms = (still.end - still.start) * 1000.0;
        self.longest_still_ms = self.longest_still_ms.max(ms);
        if ms > 1500.0 / f64::from(card::FPS) {
            self.stills.push(still);
        }
    }
}

/// Picture time minus sound time in milliseconds for each flash of a tile that has its beep: positive is a late picture.
/// Flashes and beeps without a partner are counted by the second value.
pub fn sync_offsets(film: &Film, tile: usize, person: usize, range: &Range<f64>) -> (Vec<f64>, usize) {
    // A little more sound than picture, so that a beep just outside does not make its flash lonely.
    let beeps = film.sound().beeps(&PEOPLE[person], range.start - 0.4..range.end + 0.4);
    let flashes: Vec<f64> = film
        .pictures
        .windows(2)
        .filter(|pair| range.contains(&pair[1].at_s) && !pair[0].tiles[tile].is_flash && pair[1].tiles[tile].is_flash)
        .map(|pair| pair[1].at_s)
        .collect();
    let nearest = |of: f64, among: &[f64]| {
        among.iter().map(|at| of - at).min_by(|a, b| a.abs().total_cmp(&b.abs())).filter(|d| d.abs() < 0.4)
    };
    let offsets: Vec<f64> = flashes.iter().filter_map(|flash| nearest(*flash, &beeps)).map(|offset| offset * 1000.0).collect();
    let lonely_beeps = beeps
        .iter()
        .filter(|beep| (range.start + 0.1..range.end - 0.1).contains(*beep) && nearest(**beep, &flashes).is_none())
        .count();
    let lonely_flashes = flashes.len() - offsets.len();
    (offsets, lonely_flashes + lonely_beeps)
}

impl<'a> Judge<'a> {
    /// A judge of a film, without complaints so far.
    pub fn new(film: &'a Film) -> Self {
        Judge { film, broken: Vec::new() }
    }

    /// One promise of the caller's own.
    pub fn promise(&mut self, holds: bool, seen: impl Into<String>) -> &mut Self {
        let seen = seen.into();
        println!("{} {seen}", if holds { "  ok " } else { "  NOT" });
        if !holds {
            self.broken.push(seen);
        }
        self
    }

    /// A promise that holds but for these times of the film, of so many pictures; at each of them one of these parts may have stood.
    fn promise_or_excuse(
        &mut self,
        holds: bool,
        seen: String,
        parts: &[Part],
        flaws: &[Range<f64>],
        pictures: usize,
    ) -> &mut Self {
        let film = self.film;
        let excuse = |flaw: &Range<f64>| film.stall(parts, flaw.start..flaw.end + ON_ITS_WAY_S);
        let excuses: Vec<&Stall> = flaws.iter().filter_map(excuse).collect();
        let is_excused = !flaws.is_empty() && excuses.len() == flaws.len() && flaws.len() <= pictures / PICTURES_FOR_AN_EXCUSE;
        if holds || !is_excused {
            return self.promise(holds, seen);
        }
        println!("  EXCUSED {seen}");
        excuses.iter().for_each(|stall| println!("          {stall}"));
        self
    }

    /// Fails the test if a promise was broken.
    pub fn finish(&self) {
        assert!(self.broken.is_empty(), "{}:\n  {}", self.film.path.display(), self.broken.join("\n  "));
    }

    /// The decoder finds nothing wrong.
    pub fn decodes_clean(&mut self) -> &mut Self {
        let complaints = self.film.complaints.trim();
        self.promise(
            complaints.is_empty(),
            format!("the decoder says: {}", if complaints.is_empty() { "nothing" } else { complaints }),
        )
    }

    /// Size of the canvas and length of the film, within 0.1 s; picture and sound end together within 0.1 s.
    pub fn is_of(&mut self, width: usize, height: usize, seconds: f64) -> &mut Self {
        let film = self.film;
        let frame_s = 1.0 / f64::from(card::FPS);
        let picture_end = film.pictures.last().map_or(0.0, |picture| picture.at_s) + frame_s;
        let sound_end = film.sound.as_ref().map_or(0.0, super::Sound::end_s);
        self.promise((film.width, film.height) == (width, height), format!("the canvas is {}x{}", film.width, film.height));
        self.promise((film.duration_s - seconds).abs() <= 0.1, format!("it lasts {:.3} s of {seconds} s", film.duration_s));
        self.promise(
            (picture_end - sound_end).abs() <= 0.1,
            format!("pictures end at {picture_end:.3} s, sound at {sound_end:.3} s"),
        )
    }

    /// Pictures follow each other at the same distance, to a millisecond, from 0 on.
    pub fn has_constant_rate(&mut self, fps: f64) -> &mut Self {
        let times: Vec<f64> = self.film.pictures.iter().map(|picture| picture.at_s).collect();
        let worst = times.windows(2).map(|pair| (pair[1] - pair[0] - 1.0 / fps).abs() * 1000.0).fold(0.0, f64::max);
        let first = times.first().copied().unwrap_or(f64::NAN);
        self.promise(first.abs() < 0.001, format!("the first picture is at {first:.4} s"));
        let is_gap = |pair: &&[f64]| (pair[1] - pair[0] - 1.0 / fps).abs() * 1000.0 >= 1.0;
        let gaps: Vec<_> = times.windows(2).filter(is_gap).map(|pair| pair[0]..pair[1]).collect();
        let at: Vec<String> = gaps.iter().map(|gap| format!("{:.2} s", gap.start)).collect();
        let at = if at.is_empty() { String::new() } else { format!(", at {}", at.join(", ")) };
        let seen = format!("pictures are at most {worst:.3} ms from {fps} a second{at}");
        self.promise_or_excuse(gaps.is_empty(), seen, &[Part::Way, Part::Encoder], &gaps, times.len())
    }

    /// The tile shows this person and nobody else.
    pub fn shows(&mut self, tile: usize, person: usize, range: Range<f64>) -> &mut Self {
        let inside: Vec<_> = self.film.pictures.iter().filter(|picture| range.contains(&picture.at_s)).collect();
        let wrong: Vec<_> = inside.iter().filter(|picture| picture.tiles[tile].person != Some(person)).collect();
        let example = wrong.first().map_or(String::new(), |picture| {
            let seen = picture.tiles[tile].person.map_or("nobody's colour", |other| PEOPLE[other].name);
            format!(", first at {:.3} s: {seen}", picture.at_s)
        });
        let name = PEOPLE[person].name;
        self.promise(
            wrong.is_empty() && !inside.is_empty(),
            format!("tile {tile} shows {name} in {} of {} pictures{example}", inside.len() - wrong.len(), inside.len()),
        )
    }

    /// Each source picture is shown exactly once.
    pub fn shows_each_once(&mut self, tile: usize, range: Range<f64>) -> &mut Self {
        let cadence = Cadence::of(self.film, tile, &range);
        let perfect = cadence.repeated + cadence.skipped + cadence.backwards + cadence.unreadable == 0 && cadence.pictures > 0;
        // A flaw that the machine can make: a picture that was not there at its tick, and made up for at the next ones.
        let readable = cadence.backwards + cadence.unreadable == 0;
        let flaws: Vec<_> = cadence.flaws_s.iter().filter(|_| readable).map(|at_s| *at_s..*at_s).collect();
        self.promise_or_excuse(
            perfect,
            format!("tile {tile}, each picture once: {cadence:?}"),
            &[Part::Way],
            &flaws,
            cadence.pictures,
        )
    }

    /// The tile never stands still for longer.
    pub fn never_still(&mut self, tile: usize, longest_ms: f64, range: Range<f64>) -> &mut Self {
        let cadence = Cadence::of(self.film, tile, &range);
        let still = cadence.longest_still_ms;
        // Time stamps are rounded.
        let is_long = |still: &&Range<f64>| (still.end - still.start) * 1000.0 > longest_ms + 0.5;
        let flaws: Vec<_> = cadence.stills.iter().filter(is_long).cloned().collect();
        let seen = format!("tile {tile} stands still for {still:.0} ms of {longest_ms:.0} ms at most");
        self.promise_or_excuse(flaws.is_empty(), seen, &[Part::Way], &flaws, cadence.pictures)
    }

    /// The person's tone is there, without a longer gap.
    pub fn hears(&mut self, person: usize, longest_gap_ms: f64, range: Range<f64>) -> &mut Self {
        let gaps = self.film.sound().tone_gaps(&PEOPLE[person], range);
        let worst = gaps.iter().max_by(|a, b| a.length_ms.total_cmp(&b.length_ms));
        let text = worst.map_or("no gap".to_owned(), |gap| {
            format!("{} gaps, longest {:.1} ms at {:.3} s", gaps.len(), gap.length_ms, gap.at_s)
        });
        self.promise(worst.is_none_or(|gap| gap.length_ms <= longest_gap_ms), format!("{}'s tone: {text}", PEOPLE[person].name))
    }

    /// The person is not heard for 13 ms or more. (Other people's beeps begin in all frequencies, so less cannot be told apart.)
    pub fn hears_not(&mut self, person: usize, range: Range<f64>) -> &mut Self {
        let level =
            self.film.sound().tone(&PEOPLE[person], range).into_iter().map(|(_, amplitude)| amplitude).fold(0.0, f64::max);
        self.promise(
            level < f64::from(card::TONE_AMPLITUDE) * 0.4,
            format!("{}'s tone where it must not be: {level:.4}", PEOPLE[person].name),
        )
    }

    /// Flash and beep of the tile's person belong together: median and each within the limits, and none lonely.
    pub fn is_in_sync(&mut self, tile: usize, person: usize, median_ms: f64, each_ms: f64, range: Range<f64>) -> &mut Self {
        self.is_in_sync_but_for(0, tile, person, median_ms, each_ms, range)
    }

    /// The same, while so many flashes or beeps may be lonely.
    pub fn is_in_sync_but_for(
        &mut self,
        lonely_allowed: usize,
        tile: usize,
        person: usize,
        median_ms: f64,
        each_ms: f64,
        range: Range<f64>,
    ) -> &mut Self {
        let (offsets, lonely) = sync_offsets(self.film, tile, person, &range);
        let middle = median(offsets.iter().copied()).unwrap_or(f64::NAN);
        let worst =
            offsets.iter().copied().fold(0.0, |worst: f64, offset| if offset.abs() > worst.abs() { offset } else { worst });
        let enough = offsets.len() + lonely_allowed + 2 >= (range.end - range.start) as usize;
        self.promise(
            enough && lonely <= lonely_allowed && middle.abs() <= median_ms && worst.abs() <= each_ms,
            format!(
                "{}'s picture against sound: median {middle:.1} ms, worst {worst:.1} ms, {} pairs, {lonely} lonely",
                PEOPLE[person].name,
                offsets.len()
            ),
        )
    }
}
