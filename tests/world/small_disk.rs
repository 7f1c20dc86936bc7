//! A disk of the product's own, whose size can be changed while it runs: one in memory, in a mount namespace that only the product is in.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::statvfs::{Statvfs, statvfs};

/// Where it is mounted in the product's folder.
pub const FOLDER: &str = "disk";
/// Words before a product and its arguments that give it such a disk, with more than enough space. What lies on it is as large as hours of a small recording,
/// so that a few percent of it are not nothing.
pub fn with_small_disk() -> Vec<&'static str> {
    let namespaces: &[&str] = if is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    [&["unshare"][..], namespaces, &["sh", "-c", SCRIPT]].concat()
}

/// Whoever is root needs no user namespace to mount something, and may be where there are none.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Less than an eighth of a percent of what lies there, and a second of a small recording.
const SLACK_BYTES: u64 = 64 << 10;
const SCRIPT: &str =
    r#"mkdir disk && mount -t tmpfs -o size=100g roomcast disk && head -c 64M /dev/zero >disk/others && exec "$0" "$@""#;

/// The disk of a product that runs.
pub struct SmallDisk {
    pid: u32,
    place: PathBuf,
}

impl SmallDisk {
    /// That of the product with this process id, in this folder.
    pub fn of(pid: u32, folder: &Path) -> SmallDisk {
        SmallDisk { pid, place: folder.join(FOLDER) }
    }

    /// Makes it so small, or so large, that so many percent of it are free.
    pub fn leave_free(&self, percent: u64) {
        let disk = self.look();
        let used = (disk.blocks() - disk.blocks_free()) * disk.fragment_size();
        // What is written meanwhile must fit: a disk cannot be made smaller than what is on it.
        let size = format!("remount,size={}", used * 100 / (100 - percent) + SLACK_BYTES);
        let mut resizing = Command::new("nsenter");
        resizing.args(["--target", &self.pid.to_string(), "--mount"]).args(if is_root() { &[][..] } else { &["--user"] });
        resizing.args(["mount", "-o", &size, "roomcast"]).arg(&self.place);
        assert!(resizing.status().expect("nsenter runs").success(), "the disk has another size");
    }

    /// As the product sees it.
    fn look(&self) -> Statvfs {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid));
        statvfs(&root.join(self.place.strip_prefix("/").expect("a whole path"))).expect("the disk is there")
    }
}
