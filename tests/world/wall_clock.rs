//! A wall clock that can be stepped, for one product and its workers only: the machine's is left alone.
//!
//! A few lines of C are compiled here and preloaded into the product; how wrong its clock is stands in a file that it has mapped.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use super::wait;

/// A wall clock that is right, until it is stepped.
pub struct WallClock {
    folder: tempfile::TempDir,
    wrong_by: File,
}

impl WallClock {
    /// Makes one.
    pub fn make() -> WallClock {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("wall_clock.c"), include_str!("wall_clock.c")).expect("written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o", "wall_clock.so", "wall_clock.c"]).current_dir(folder.path());
        let mut compiling = compiler.spawn().expect("cc runs");
        let compiled = wait(&mut compiling, Duration::from_secs(60));
        assert!(compiled.is_some_and(|status| status.success()), "cc compiles a few lines");
        let wrong_by = File::create(folder.path().join("wrong_by")).expect("a file");
        let clock = WallClock { folder, wrong_by };
        clock.step_to(0);
        clock
    }

    /// What a product must have in its environment to go by it.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        [("LD_PRELOAD", at("wall_clock.so")), ("WALL_CLOCK_WRONG_BY", at("wrong_by"))]
    }

    /// From now on it is ahead by so many seconds, or behind.
    pub fn step_to(&self, seconds: i64) {
        self.wrong_by.write_all_at(&seconds.to_ne_bytes(), 0).expect("written");
    }
}
