//! What makes a growing file an ordinary MP4.
//!
//! In: a [`Scanner`] at the beginning of a file. Out: an [`Ending`]: where to cut, what to append, what to overwrite. Pure but for the
//! scanner's reads. Needs about 12 bytes of memory a sample, and only while a file is ended.

use mp4_atom::{Co64, Encode, Moov, StscEntry, Stss, Stsz, StszSamples, Stts, SttsEntry};

use super::head::{edit, edts, mvhd};
use super::{Chunk, Mp4Error, SPARE_LEN, Scanner, Source, Track};

/// How a growing file is ended. Do the steps in the order of the fields, each synced before the next.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Cut the file to this length: what lies behind it is no whole fragment.
    pub keep_len: u64,
    /// Append this `moov`.
    pub moov: Vec<u8>,
    /// Then overwrite the spare bytes, which begin here…
    pub spare_at: u64,
    /// …with this header of the `mdat` that holds everything up to the new `moov`.
    pub mdat_header: [u8; SPARE_LEN as usize],
    /// Pictures in the file.
    pub pictures: u64,
    /// Length of the ordinary file in bytes.
    pub len: u64,
}

impl Ending {
    /// Plans the ending of a file.
    ///
    /// # Errors
    /// [`Mp4Error::Empty`] when there is no whole fragment, [`Mp4Error::Read`], [`Mp4Error::TooLarge`].
    pub fn plan<S: Source + ?Sized>(mut scanner: Scanner<'_, S>) -> Result<Self, Mp4Error> {
        let mut video = Table::default();
        let mut sound = Table::default();
        while let Some(fragment) = scanner.next_fragment()? {
            for chunk in &fragment.chunks {
                match chunk.track {
                    Track::Video => video.add(chunk)?,
                    Track::Sound => sound.add(chunk)?,
                }
            }
        }
        if video.sizes.is_empty() && sound.sizes.is_empty() {
            return Err(Mp4Error::Empty);
        }
        let head = scanner.head();
        let keep_len = scanner.whole_len();
        let pictures = video.sizes.len() as u64;
        let mut moov = Vec::with_capacity(4096 + 4 * (video.sizes.len() + sound.sizes.len()));
        ordinary_moov(head.moov.clone(), head.sound_lead(), video, sound)?.encode(&mut moov)?;
        let mut mdat_header = [0; SPARE_LEN as usize];
        mdat_header[3] = 1;
        mdat_header[4..8].copy_from_slice(b"mdat");
        mdat_header[8..].copy_from_slice(&(keep_len - head.spare_at).to_be_bytes());
        Ok(Self { keep_len, len: keep_len + moov.len() as u64, moov, spare_at: head.spare_at, mdat_header, pictures })
    }

    /// Bytes that the `moov` of a file with this many samples and fragments may need at most.
    pub fn moov_bound(samples: u64, fragments: u64) -> u64 {
        // A size, possibly an stss entry for each sample; for each fragment two chunk offsets, two stsc and two times two stts entries.
        8192 + samples * 8 + fragments * (2 * 8 + 2 * 12 + 4 * 8)
    }
}

/// The sample table of one track while it grows.
#[derive(Default)]
struct Table {
    /// Media time of the first sample; the table's own time begins there.
    first: u64,
    /// Media time after the last sample.
    end: u64,
    sizes: Vec<u32>,
    keyframes: Vec<u32>,
    chunks: Vec<u64>,
    stsc: Vec<StscEntry>,
    stts: Vec<SttsEntry>,
}

impl Table {
    fn add(&mut self, chunk: &Chunk) -> Result<(), Mp4Error> {
        let count = u32::try_from(chunk.sizes.len()).map_err(|_| Mp4Error::TooLarge)?;
        if self.sizes.is_empty() {
            self.first = chunk.time;
        } else if chunk.time > self.end {
            self.stretch_last(chunk.time - self.end)?;
        }
        // A chunk that says an earlier time is put behind the others: an ordinary table cannot go back.
        self.end = self.end.max(chunk.time) + u64::from(count) * u64::from(chunk.sample_ticks);
        let first_sample = u32::try_from(self.sizes.len() + 1).map_err(|_| Mp4Error::TooLarge)?;
        if chunk.begins_with_keyframe {
            self.keyframes.push(first_sample);
        }
        self.sizes.extend_from_slice(&chunk.sizes);
        self.chunks.push(chunk.data_at);
        self.add_times(count, chunk.sample_ticks);
        if self.stsc.last().is_none_or(|last| last.samples_per_chunk != count) {
            let first_chunk = u32::try_from(self.chunks.len()).map_err(|_| Mp4Error::TooLarge)?;
            self.stsc.push(StscEntry { first_chunk, samples_per_chunk: count, sample_description_index: 1 });
        }
        Ok(())
    }

    fn add_times(&mut self, sample_count: u32, sample_delta: u32) {
        match self.stts.last_mut() {
            Some(last) if last.sample_delta == sample_delta => last.sample_count += sample_count,
            _ => self.stts.push(SttsEntry { sample_count, sample_delta }),
        }
    }

    /// Lets the last sample last over a hole, so that what follows keeps its time.
    fn stretch_last(&mut self, ticks: u64) -> Result<(), Mp4Error> {
        let Some(last) = self.stts.last_mut() else { return Ok(()) };
        let delta = last.sample_delta.checked_add(u32::try_from(ticks).map_err(|_| Mp4Error::TooLarge)?);
        let delta = delta.ok_or(Mp4Error::TooLarge)?;
        last.sample_count -= 1;
        if last.sample_count == 0 {
            self.stts.pop();
        }
        self.add_times(1, delta);
        Ok(())
    }

    /// Duration of the media.
    fn duration(&self) -> u64 {
        self.end - self.first
    }
}

fn ordinary_moov(mut moov: Moov, sound_lead: u64, video: Table, sound: Table) -> Result<Moov, Mp4Error> {
    let movie_scale = moov.mvhd.timescale;
    moov.mvex = None;
    let mut movie_duration = 0;
    let mut traks = Vec::with_capacity(2);
    for (mut trak, table, lead, all_sync) in moov
        .trak
        .into_iter()
        .zip([(video, 0, false), (sound, sound_lead, true)])
        .map(|(trak, (table, lead, all_sync))| (trak, table, lead, all_sync))
    {
        if table.sizes.is_empty() {
            continue;
        }
        let scale = trak.mdia.mdhd.timescale;
        let in_movie = |ticks: u64| u64::try_from(u128::from(ticks) * u128::from(movie_scale) / u128::from(scale)).ok();
        // The tracks' own time begins with their first sample; when that is after the file's beginning, nothing is shown until then.
        let wait = table.first.saturating_sub(lead);
        let skip = lead.saturating_sub(table.first);
        let wait = in_movie(wait).ok_or(Mp4Error::TooLarge)?;
        let shown = in_movie(table.duration().saturating_sub(skip)).ok_or(Mp4Error::TooLarge)?;
        let mut edits = Vec::with_capacity(2);
        if wait > 0 {
            edits.push(edit(wait, None));
        }
        edits.push(edit(shown, Some(skip)));
        trak.edts = edts(edits);
        trak.tkhd.duration = wait + shown;
        movie_duration = movie_duration.max(wait + shown);
        trak.mdia.mdhd.duration = table.duration();
        let stbl = &mut trak.mdia.minf.stbl;
        stbl.stco = None;
        stbl.co64 = Some(Co64 { entries: table.chunks });
        stbl.stsc.entries = table.stsc;
        stbl.stts = Stts { entries: table.stts };
        stbl.stsz = Stsz { samples: StszSamples::Different { sizes: table.sizes } };
        stbl.stss = (!all_sync).then_some(Stss { entries: table.keyframes });
        traks.push(trak);
    }
    moov.trak = traks;
    let next_track_id = moov.mvhd.next_track_id;
    moov.mvhd = mp4_atom::Mvhd { next_track_id, ..mvhd(movie_scale, movie_duration) };
    Ok(moov)
}
