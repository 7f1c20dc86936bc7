//! Reads what a growing file holds.
//!
//! In: a [`Source`] of bytes, however damaged. Out: the head and one fragment after the other, up to the first that is not whole.
//! Runs on the caller's thread. Reads box headers and `moof` only, never the media; refuses boxes larger than [`MAX_BOX_LEN`], so
//! neither time nor memory depends on what a damaged length field says.

use std::io;

use mp4_atom::{Decode, Moof, Moov};

use super::head::FLAGS_SYNC;
use super::{Mp4Error, SOUND_TRACK, SPARE_LEN, VIDEO_TRACK};

/// No `moov` or `moof` of ours comes near this.
const MAX_BOX_LEN: u64 = 1 << 20;
/// Read at once: holds the `moof` of an ordinary fragment together with its neighbours' headers.
const READ_LEN: usize = 4096;

/// Something that can be read at any place.
pub trait Source {
    /// Reads into `buf` from byte `at` on; returns how much, zero at the end.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn size(&self) -> io::Result<u64>;
}

impl Source for std::fs::File {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, at)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Source for [u8] {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// What stands before the first fragment.
#[derive(Clone, Debug)]
pub struct Head {
    /// The tracks, without samples.
    pub moov: Moov,
    /// Where the 16 spare bytes begin.
    pub spare_at: u64,
}

impl Head {
    /// How much sound lies before the first picture, in samples.
    pub fn sound_lead(&self) -> u64 {
        self.moov
            .trak
            .get(SOUND_TRACK as usize - 1)
            .and_then(|trak| trak.edts.as_ref()?.elst.as_ref()?.entries.first()?.media_time)
            .unwrap_or(0)
    }
}

/// Which track a chunk belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Track {
    /// The pictures.
    Video,
    /// The sound.
    Sound,
}

/// Samples of one track that lie side by side.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Of which track.
    pub track: Track,
    /// Media time of the first sample, in ticks of the track.
    pub time: u64,
    /// Ticks that each sample lasts.
    pub sample_ticks: u32,
    /// Where the first sample begins in the file.
    pub data_at: u64,
    /// Bytes of each sample.
    pub sizes: Vec<u32>,
    /// The first sample can be decoded alone.
    pub begins_with_keyframe: bool,
}

impl Chunk {
    /// Media time after the last sample.
    pub fn end(&self) -> u64 {
        self.time.saturating_add(self.sizes.len() as u64 * u64::from(self.sample_ticks))
    }
}

/// One whole fragment.
#[derive(Clone, Debug)]
pub struct FragmentAt {
    /// Where it begins in the file.
    pub at: u64,
    /// At most one of each track.
    pub chunks: Vec<Chunk>,
}

/// Where both tracks end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrackEnds {
    /// Media time after the last picture.
    pub video: u64,
    /// Media time after the last AAC frame.
    pub sound: u64,
    /// Number of fragments.
    pub fragments: u32,
}

/// Goes through a growing file, fragment by fragment.
pub struct Scanner<'a, S: ?Sized> {
    source: &'a S,
    size: u64,
    head: Head,
    whole_len: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a, S: Source + ?Sized> Scanner<'a, S> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`Mp4Error::Ordinary`] when the file is ended already, [`Mp4Error::NotOurs`] when its head is not whole, [`Mp4Error::Read`].
    pub fn open(source: &'a S) -> Result<Self, Mp4Error> {
        Self::open_with(source, false)
    }

    /// Like [`Scanner::open`], but whatever the 16 spare bytes hold: for a file whose ending was interrupted, as its journal says.
    ///
    /// # Errors
    /// As [`Scanner::open`], but never [`Mp4Error::Ordinary`].
    pub fn open_interrupted(source: &'a S) -> Result<Self, Mp4Error> {
        Self::open_with(source, true)
    }

    fn open_with(source: &'a S, any_spare: bool) -> Result<Self, Mp4Error> {
        let size = source.size()?;
        let moov = Moov::default();
        let mut scanner = Self { source, size, head: Head { moov, spare_at: 0 }, whole_len: 0, window: Vec::new(), window_at: 0 };
        let (kind, len) = scanner.box_at(0)?.ok_or(Mp4Error::NotOurs { missing: "ftyp" })?;
        if kind != *b"ftyp" || len > MAX_BOX_LEN {
            return Err(Mp4Error::NotOurs { missing: "ftyp" });
        }
        let spare_at = len;
        if !any_spare {
            match scanner.box_at(spare_at)? {
                Some((kind, SPARE_LEN)) if kind == *b"free" => {}
                Some((kind, _)) if kind == *b"mdat" => return Err(Mp4Error::Ordinary),
                _ => return Err(Mp4Error::NotOurs { missing: "free" }),
            }
        }
        let moov_at = spare_at + SPARE_LEN;
        let (kind, len) = scanner.box_at(moov_at)?.ok_or(Mp4Error::NotOurs { missing: "moov" })?;
        let missing_moov = Mp4Error::NotOurs { missing: "moov" };
        if kind != *b"moov" || len > MAX_BOX_LEN {
            return Err(missing_moov);
        }
        let Some(mut bytes) = scanner.bytes(moov_at, len as usize)? else { return Err(missing_moov) };
        let moov = Moov::decode(&mut bytes)?;
        if moov.trak.len() != 2 || moov.trak[0].tkhd.track_id != VIDEO_TRACK || moov.trak[1].tkhd.track_id != SOUND_TRACK {
            return Err(Mp4Error::NotOurs { missing: "the tracks" });
        }
        if moov.trak.iter().any(|trak| trak.mdia.mdhd.timescale == 0) || moov.mvhd.timescale == 0 {
            return Err(Mp4Error::NotOurs { missing: "a timescale" });
        }
        scanner.head = Head { moov, spare_at };
        scanner.whole_len = moov_at + len;
        Ok(scanner)
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Bytes up to the end of the last whole fragment that was returned.
    pub fn whole_len(&self) -> u64 {
        self.whole_len
    }

    /// The next whole fragment; `None` when there is no further one, also when what follows is torn or foreign.
    ///
    /// # Errors
    /// [`Mp4Error::Read`].
    pub fn next_fragment(&mut self) -> Result<Option<FragmentAt>, Mp4Error> {
        let at = self.whole_len;
        let Some((kind, moof_len)) = self.box_at(at)? else { return Ok(None) };
        if kind != *b"moof" || moof_len > MAX_BOX_LEN {
            return Ok(None);
        }
        let Some(mut bytes) = self.bytes(at, moof_len as usize)? else { return Ok(None) };
        let Ok(moof) = Moof::decode(&mut bytes) else { return Ok(None) };
        let mdat_at = at + moof_len;
        let Some((kind, mdat_len)) = self.box_at(mdat_at)? else { return Ok(None) };
        let end = mdat_at.saturating_add(mdat_len);
        if kind != *b"mdat" || end > self.size {
            return Ok(None);
        }
        let Some(chunks) = chunks(&moof, at, mdat_at + 8, end) else { return Ok(None) };
        self.whole_len = end;
        Ok(Some(FragmentAt { at, chunks }))
    }

    /// Goes to the end and says where the tracks end.
    ///
    /// # Errors
    /// [`Mp4Error::Read`].
    pub fn ends(&mut self) -> Result<TrackEnds, Mp4Error> {
        let mut ends = TrackEnds { video: 0, sound: 0, fragments: 0 };
        while let Some(fragment) = self.next_fragment()? {
            ends.fragments = ends.fragments.saturating_add(1);
            for chunk in &fragment.chunks {
                match chunk.track {
                    Track::Video => ends.video = ends.video.max(chunk.end()),
                    Track::Sound => ends.sound = ends.sound.max(chunk.end()),
                }
            }
        }
        Ok(ends)
    }

    /// Kind and length of the box at `at`; `None` when there is no whole header, or its length cannot be.
    fn box_at(&mut self, at: u64) -> Result<Option<([u8; 4], u64)>, Mp4Error> {
        let Some(bytes) = self.bytes(at, 8)? else { return Ok(None) };
        let len = u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let kind = [bytes[4], bytes[5], bytes[6], bytes[7]];
        // 1 announces a 64-bit length: only the ended file's mdat has one, and its length is not asked for.
        Ok(match len {
            1 if kind == *b"mdat" => Some((kind, u64::MAX)),
            0..8 => None,
            len => Some((kind, len)),
        })
    }

    /// `len` bytes from `at` on; `None` when the file is shorter.
    fn bytes(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>, Mp4Error> {
        if at.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Ok(None);
        }
        let inside = |at: u64, window_at: u64, window: &[u8]| {
            let offset = usize::try_from(at.checked_sub(window_at)?).ok()?;
            (offset.checked_add(len)? <= window.len()).then_some(offset)
        };
        if inside(at, self.window_at, &self.window).is_none() {
            self.window.resize(len.max(READ_LEN), 0);
            self.window_at = at;
            let mut filled = 0;
            while filled < len {
                match self.source.read_at(&mut self.window[filled..], at + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.window.truncate(filled);
        }
        Ok(inside(at, self.window_at, &self.window).map(|offset| &self.window[offset..offset + len]))
    }
}

/// The chunks that a `moof` at `moof_at` describes, if all lie within the data from `data_from` to `data_to`.
fn chunks(moof: &Moof, moof_at: u64, data_from: u64, data_to: u64) -> Option<Vec<Chunk>> {
    let mut chunks: Vec<Chunk> = Vec::with_capacity(2);
    for traf in &moof.traf {
        let track = match traf.tfhd.track_id {
            VIDEO_TRACK => Track::Video,
            SOUND_TRACK => Track::Sound,
            _ => return None,
        };
        let [run] = traf.trun.as_slice() else { return None };
        let sizes = run.samples.iter().map(|sample| sample.size).collect::<Option<Vec<u32>>>()?;
        let data_at = moof_at.checked_add_signed(i64::from(run.data_offset?))?;
        let data_end = data_at.checked_add(sizes.iter().map(|&size| u64::from(size)).sum())?;
        let sample_ticks = traf.tfhd.default_sample_duration.filter(|&ticks| ticks > 0)?;
        let time = traf.tfdt.as_ref()?.base_media_decode_time;
        // Half of the range, so that sums of times cannot overflow.
        if data_at < data_from || data_end > data_to || time > u64::MAX / 2 || sizes.is_empty() {
            return None;
        }
        if chunks.iter().any(|chunk| chunk.track == track) {
            return None;
        }
        let first_flags = run.samples.get(0)?.flags.or(traf.tfhd.default_sample_flags)?;
        chunks.push(Chunk { track, time, sample_ticks, data_at, sizes, begins_with_keyframe: first_flags == FLAGS_SYNC });
    }
    (!chunks.is_empty()).then_some(chunks)
}
