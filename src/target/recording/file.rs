//! The growing file of a recording and the space kept free for its end.
//!
//! In: fragments. Out: bytes that the disk has confirmed. Blocking, on the Take's thread.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use recorder_core::ids::TakeId;
use recorder_core::time::SessionTime;

use crate::programme::packet::CodecHeaders;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::spool::{Encoding, Part, RESERVE, TakeNote, part_name};
use crate::storage::{Spool, StorageError};
use crate::target::mp4::{Ending, Fragment, Mp4Error, Writer};

/// Space is kept in steps of this many bytes.
const RESERVE_STEP: u64 = 1 << 20;
/// Journal and notes besides the tables.
const NOTES_BOUND: u64 = 64 << 10;

/// The file that a Take is written to.
pub(super) struct GrowingFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    len: u64,
    samples: u64,
    fragments: u64,
    reserve: Box<dyn DiskFile>,
    reserve_path: PathBuf,
    reserved: u64,
}

impl GrowingFile {
    /// Opens the part that the next Take belongs to, and a writer for it: the last part when it was encoded alike, else a new one.
    pub(super) fn open(disk: &dyn Disk, spool: &mut Spool, headers: &CodecHeaders) -> Result<(Self, Writer), StorageError> {
        let encoding = encoding(headers);
        let last = spool.notes().parts.last().filter(|part| part.encoding == encoding && part.delivered.is_none());
        if let Some(part) = last {
            let path = spool.folder().join(&part.file);
            let file = disk.open_or_create(&path).map_err(|source| StorageError::file(&path, "opened", source))?;
            match Self::append(disk, spool.folder(), path.clone(), file, headers) {
                Ok(opened) => return Ok(opened),
                Err(StorageError::Unusable { source, .. }) if !matches!(source, Mp4Error::BadHeaders { .. }) => {
                    tracing::warn!(reason = %source, "the recording goes on in a new file");
                }
                Err(other) => return Err(other),
            }
        }
        let name = part_name(u32::try_from(spool.notes().parts.len() + 1).unwrap_or(u32::MAX));
        let path = spool.folder().join(&name);
        let unusable = |source| StorageError::Unusable { file: path.clone(), source };
        let writer = Writer::new(headers.clone()).map_err(unusable)?;
        let file = disk.open_or_create(&path).map_err(|source| StorageError::file(&path, "made", source))?;
        spool.notes_mut().parts.push(Part { file: name, encoding, takes: Vec::new(), delivered: None });
        spool.save(disk)?;
        Ok((Self::new(disk, spool.folder(), path, file, 0, 0, 0)?, writer))
    }

    fn append(
        disk: &dyn Disk,
        folder: &Path,
        path: PathBuf,
        file: Box<dyn DiskFile>,
        headers: &CodecHeaders,
    ) -> Result<(Self, Writer), StorageError> {
        let unusable = |source| match source {
            Mp4Error::Read(source) => StorageError::file(&path, "read", source),
            source => StorageError::Unusable { file: path.clone(), source },
        };
        if file.size().map_err(|source| StorageError::file(&path, "read", source))? == 0 {
            let writer = Writer::new(headers.clone()).map_err(unusable)?;
            return Ok((Self::new(disk, folder, path, file, 0, 0, 0)?, writer));
        }
        let (writer, len) = Writer::append(headers.clone(), &*file).map_err(unusable)?;
        file.set_len(len).map_err(|source| StorageError::file(&path, "cut", source))?;
        let (samples, fragments) = writer.written();
        Ok((Self::new(disk, folder, path, file, len, samples, fragments)?, writer))
    }

    fn new(
        disk: &dyn Disk,
        folder: &Path,
        path: PathBuf,
        file: Box<dyn DiskFile>,
        len: u64,
        samples: u64,
        fragments: u64,
    ) -> Result<Self, StorageError> {
        let reserve_path = folder.join(RESERVE);
        let reserve = disk.open_or_create(&reserve_path).map_err(|source| StorageError::folder(folder, "written", source))?;
        let mut this = Self { path, file, len, samples, fragments, reserve, reserve_path, reserved: 0 };
        this.keep_space(0, 0)?;
        disk.sync_folder(folder).map_err(|source| StorageError::folder(folder, "written", source))?;
        Ok(this)
    }

    /// Appends a fragment and waits for the disk. When this fails, the file is as it was before.
    pub(super) fn write(&mut self, fragment: &Fragment, samples: u64) -> Result<(), StorageError> {
        self.keep_space(samples, 1)?;
        if let Err(source) = self.file.write_all_at(&fragment.bytes, self.len).and_then(|()| self.file.sync()) {
            // What was written of it is no use; if cutting fails as well, finalising cuts it.
            let _ = self.file.set_len(self.len);
            return Err(StorageError::file(&self.path, "written", source));
        }
        self.len += fragment.bytes.len() as u64;
        self.samples += samples;
        self.fragments += 1;
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the disk has confirmed.
    pub(super) fn bytes(&self) -> u64 {
        self.len
    }

    /// Makes sure that the final tables fit, with so much more in the file.
    fn keep_space(&mut self, samples: u64, fragments: u64) -> Result<(), StorageError> {
        let need = Ending::moov_bound(self.samples + samples, self.fragments + fragments) + NOTES_BOUND;
        if need <= self.reserved {
            return Ok(());
        }
        let len = need.next_multiple_of(RESERVE_STEP);
        let kept = match self.reserve.reserve(len) {
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported) => write_zeros(&*self.reserve, self.reserved, len),
            other => other,
        };
        kept.map_err(|source| StorageError::file(&self.reserve_path, "made large enough", source))?;
        self.reserved = len;
        Ok(())
    }
}

fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; 64 << 10];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..len], at)?;
        at += len as u64;
    }
    file.sync()
}

/// Notes that a Take begins.
pub(super) fn note_begin(
    disk: &dyn Disk,
    spool: &mut Spool,
    take: TakeId,
    at: SessionTime,
    file_time_ns: u64,
) -> Result<(), StorageError> {
    if let Some(part) = spool.notes_mut().parts.last_mut() {
        part.takes.push(TakeNote { take, began: at, file_began_ns: file_time_ns, ended: None });
    }
    spool.save(disk)
}

/// Notes that the last Take has ended.
pub(super) fn note_end(disk: &dyn Disk, spool: &mut Spool, until: SessionTime) -> Result<(), StorageError> {
    if let Some(take) = spool.notes_mut().parts.last_mut().and_then(|part| part.takes.last_mut()) {
        take.ended = Some(until);
    }
    spool.save(disk)
}

fn encoding(headers: &CodecHeaders) -> Encoding {
    Encoding {
        avc_config: STANDARD.encode(&headers.avc_config),
        aac_config: STANDARD.encode(&headers.aac_config),
        width_px: headers.width_px,
        height_px: headers.height_px,
        fps: headers.fps,
        sample_rate_hz: headers.sample_rate_hz,
        channels: headers.channels,
    }
}
