//! Which streams are in use on this machine: one address and key is used by one Session at a time.
//!
//! In: live destinations. Out: a [`Claim`] for each, which lasts as long as it is held, and ends with its process however that ends: it is a lock on a
//! file. The file's name is a keyed sum of server, application and key, so that nothing of the key can be read from it; the secret of the sum is
//! made on the machine, and only this user can read it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::rtmp::Destination;

const SECRET: &str = "secret";
const SECRET_BYTES: usize = 32;

/// Where claims are noted.
pub struct Claims {
    folder: PathBuf,
    secret: [u8; SECRET_BYTES],
}

/// A stream that is ours until this is dropped.
#[derive(Debug)]
pub struct Claim(#[allow(dead_code, reason = "held for its lock")] Flock<File>);

impl Claims {
    /// The notes of this user: in the runtime folder of the login or service, or in the folder for temporary files.
    ///
    /// # Errors
    /// The folder cannot be made or written, or belongs to somebody else.
    pub fn open() -> io::Result<Self> {
        let runtime = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"].into_iter().filter_map(std::env::var_os);
        match runtime.map(PathBuf::from).find(|folder| folder.is_dir()) {
            Some(folder) => Self::open_in(&folder.join("roomcast-live")),
            None => Self::open_in(&std::env::temp_dir().join(format!("roomcast-live-{}", nix::unistd::getuid()))),
        }
    }

    /// The notes in this folder, which is made.
    ///
    /// # Errors
    /// As [`Claims::open`].
    pub fn open_in(folder: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let meta = std::fs::symlink_metadata(folder)?;
        if !meta.is_dir() || meta.uid() != nix::unistd::getuid().as_raw() || meta.mode() & 0o077 != 0 {
            return Err(io::Error::other(format!("{} must be a folder that only this user can read", folder.display())));
        }
        Ok(Self { secret: secret(folder)?, folder: folder.to_owned() })
    }

    /// Takes a stream; `None` when it is in use.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn take(&self, destination: &Destination) -> io::Result<Option<Claim>> {
        let file = self.folder.join(destination.fingerprint(&self.secret));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Claim(lock))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

/// The secret of this folder, made by whoever comes first.
fn secret(folder: &Path) -> io::Result<[u8; SECRET_BYTES]> {
    let path = folder.join(SECRET);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    // Two processes that come first at the same time must agree.
    let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    let mut secret = [0; SECRET_BYTES];
    if file.metadata()?.len() == SECRET_BYTES as u64 {
        file.read_exact(&mut secret)?;
        return Ok(secret);
    }
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("no random numbers"))?;
    file.set_len(0)?;
    file.write_all(&secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use recorder_core::secret::Secret;

    use super::*;

    #[test]
    fn a_stream_is_used_once_at_a_time_and_free_again_afterwards() {
        let base = tempfile::tempdir().unwrap();
        let (here, there) = (Claims::open_in(&base.path().join("c")).unwrap(), Claims::open_in(&base.path().join("c")).unwrap());
        let of = |address: &str, key: &str| Destination::new(address, Secret::new(key)).unwrap();
        let stream = of("rtmp://example.org/app", "canary-key");
        let claim = here.take(&stream).unwrap().expect("free");
        assert!(there.take(&stream).unwrap().is_none(), "by another process, too");
        assert!(there.take(&of("rtmps://example.org/app", "canary-key?user=a")).unwrap().is_none(), "in another form, too");
        assert!(there.take(&of("rtmp://example.org/app", "another")).unwrap().is_some());
        drop(claim);
        assert!(there.take(&stream).unwrap().is_some());
        for entry in std::fs::read_dir(base.path().join("c")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains("canary") && !name.contains("example"), "{name}");
        }
    }

    #[test]
    fn a_folder_of_somebody_else_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let open = base.path().join("open");
        DirBuilder::new().mode(0o755).create(&open).unwrap();
        let refused = Claims::open_in(&open).err().expect("everybody can read it");
        assert!(refused.to_string().ends_with("must be a folder that only this user can read"), "{refused}");
    }
}
