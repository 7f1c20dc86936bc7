//! A disk for tests that stops at any byte, and may lose what was not synced.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, DiskFile, SystemDisk};
use crate::target::mp4::Source;

/// What else happens when it stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The process is killed: what was written stays.
    Kill,
    /// The power fails: every second write that was not synced is lost, whatever the file is called by now; the newest is.
    PowerCut,
    /// The power fails, and the newest write was lucky: every second one before it is lost.
    PowerCutButNewest,
}

/// Whether folders lie on different file systems.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Folders {
    Together,
    Apart,
}

struct Unsynced {
    path: PathBuf,
    at: u64,
    before: Vec<u8>,
}

struct State {
    left: u64,
    stop: Stop,
    full: bool,
    unsynced: Vec<Unsynced>,
}

/// Each operation costs one unit, each written byte another; when none is left, nothing more happens.
#[derive(Clone)]
pub(crate) struct TornDisk {
    state: Arc<Mutex<State>>,
    folders: Folders,
}

struct TornFile {
    disk: TornDisk,
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl TornDisk {
    pub(crate) fn new(units: u64, stop: Stop, folders: Folders) -> Self {
        let state = State { left: units, stop, full: false, unsynced: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), folders }
    }

    /// A disk that takes so many units and then is full.
    pub(crate) fn full_after(units: u64) -> Self {
        let disk = Self::new(units, Stop::Kill, Folders::Together);
        disk.state.lock().unwrap().full = true;
        disk
    }

    /// Spends up to `units`; returns how many there were.
    fn spend(&self, units: u64) -> (u64, io::Result<()>) {
        let mut state = self.state.lock().unwrap();
        if state.left >= units {
            state.left -= units;
            return (units, Ok(()));
        }
        let had = std::mem::take(&mut state.left);
        if state.full {
            return (had, Err(io::ErrorKind::StorageFull.into()));
        }
        (had, Err(io::Error::other("stopped")))
    }

    fn one(&self) -> io::Result<()> {
        // A full disk still cuts, renames and removes.
        if self.state.lock().unwrap().full { Ok(()) } else { self.spend(1).1 }
    }

    /// The content goes with the name, and so does what of it is not on the disk yet.
    fn renamed(&self, from: &Path, to: &Path) {
        let mut state = self.state.lock().unwrap();
        state.unsynced.retain(|write| write.path != to);
        for write in state.unsynced.iter_mut().filter(|write| write.path == from) {
            write.path = to.to_path_buf();
        }
    }

    /// After the stop, before the next attempt.
    pub(crate) fn lose_unsynced(&self) {
        let mut state = self.state.lock().unwrap();
        let lucky = match state.stop {
            Stop::Kill => return,
            Stop::PowerCut => 0,
            Stop::PowerCutButNewest => 1,
        };
        for lost in state.unsynced.drain(..).rev().skip(lucky).step_by(2) {
            if let Ok(file) = SystemDisk.open(&lost.path) {
                file.write_all_at(&lost.before, lost.at).unwrap();
            }
        }
    }
}

impl Source for TornFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

impl DiskFile for TornFile {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let (had, result) = self.disk.spend(bytes.len() as u64);
        let bytes = &bytes[..had as usize];
        let mut before = vec![0; bytes.len()];
        self.file.read_at(&mut before, at)?;
        self.disk.state.lock().unwrap().unsynced.push(Unsynced { path: self.path.clone(), at, before });
        self.file.write_all_at(bytes, at)?;
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.one()?;
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.one()?;
        self.disk.state.lock().unwrap().unsynced.retain(|write| write.path != self.path);
        Ok(())
    }

    fn reserve(&self, _len: u64) -> io::Result<()> {
        self.disk.one()
    }
}

impl Disk for TornDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.one()?;
        Ok(Box::new(TornFile { disk: self.clone(), path: path.to_path_buf(), file: SystemDisk.open(path)? }))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.one()?;
        Ok(Box::new(TornFile { disk: self.clone(), path: path.to_path_buf(), file: SystemDisk.open_or_create(path)? }))
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.one()?;
        SystemDisk.replace(from, to)?;
        self.renamed(from, to);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.one()?;
        if self.folders == Folders::Apart && from.parent() != to.parent() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        SystemDisk.rename_new(from, to)?;
        self.renamed(from, to);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.one()?;
        SystemDisk.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.one()?;
        SystemDisk.remove(path)?;
        self.state.lock().unwrap().unsynced.retain(|write| write.path != path);
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.one()?;
        SystemDisk.remove_folder(path)
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        self.one()
    }
}
