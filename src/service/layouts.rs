//! Finds layouts by the names that operators give, reads layout and slate files, and checks them before a Session sees them.
//!
//! In: names and paths. Out: texts that are known to be valid, or a sentence about what is not. Reads small files, and so may wait for a disk: not for a
//! task that others wait for. Who asks over the network names a layout; a path is refused.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recorder_core::layout::{Layout, LayoutError, NamedText};

use crate::config;

/// Layouts and slates are a few KiB; more than this is another file.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Longest name of a layout file.
const MAX_NAME: usize = 64;

/// Why a layout or slate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// None of that name.
    #[error("there is no layout \"{name}\"; there are: {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read the {kind} {name}: {why}")]
    Unreadable {
        /// "layout" or "slate".
        kind: &'static str,
        /// Its path.
        name: String,
        /// Why.
        why: String,
    },
    /// A picture that a file names cannot be read.
    #[error("cannot read the picture {path} that {named_by} names: {why}")]
    Picture {
        /// Path of the picture.
        path: String,
        /// Which file names it.
        named_by: String,
        /// Why.
        why: String,
    },
    /// The text is no layout, or no slate.
    #[error(transparent)]
    Text(#[from] LayoutError),
}

/// The layouts that can be named: those that are part of the program, and the files of the operator's folder.
#[derive(Clone, Debug, Default)]
pub struct Layouts {
    folder: Option<PathBuf>,
}

impl Layouts {
    /// With the files `NAME.toml` of this folder.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The layout of this name, checked; the names of the program have precedence.
    ///
    /// # Errors
    /// See [`LookError`].
    pub fn find(&self, name: &str) -> Result<NamedText, LookError> {
        let found = match (Layout::built_in_text(name), self.path(name)) {
            (Some(text), _) => NamedText { name: name.to_owned(), text: text.to_owned() },
            (None, Some(path)) => read("layout", &path.to_string_lossy())?,
            (None, None) => return Err(LookError::Unknown { name: name.to_owned(), known: self.names().join(", ") }),
        };
        check(&found)?;
        Ok(found)
    }

    /// The file of this name, if it is a name and there is one.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.as_deref().filter(|_| is_name(name))?.join(format!("{name}.toml"));
        path.is_file().then_some(path)
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        let entries = self.folder.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        let mut own: Vec<String> = entries
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
            .filter(|name| is_name(name) && Layout::built_in_text(name).is_none())
            .collect();
        own.sort();
        Layout::built_in_names().map(str::to_owned).chain(own).collect()
    }
}

/// A name cannot lead out of its folder.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Refuses a layout that is none, or whose pictures are not there.
///
/// # Errors
/// [`LookError::Text`], [`LookError::Picture`].
pub fn check(layout: &NamedText) -> Result<(), LookError> {
    let parsed = Layout::parse(&layout.name, &layout.text)?;
    parsed.pictures().try_for_each(|path| there(&layout.name, path))
}

/// The text of a layout or slate file.
///
/// # Errors
/// [`LookError::Unreadable`].
pub fn read(kind: &'static str, name: &str) -> Result<NamedText, LookError> {
    let refuse = |why: String| LookError::Unreadable { kind, name: name.to_owned(), why };
    let file = std::fs::File::open(name).map_err(|e| refuse(config::reason(&e)))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| refuse(config::reason(&e)))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse("it is larger than 64 KiB".into()));
    }
    Ok(NamedText { name: name.to_owned(), text })
}

/// Refuses a picture that would be left out later, when nobody looks.
///
/// # Errors
/// [`LookError::Picture`].
pub fn there(named_by: &str, path: &Arc<str>) -> Result<(), LookError> {
    let refuse = |why: String| LookError::Picture { path: path.to_string(), named_by: named_by.to_owned(), why };
    match std::fs::metadata(Path::new(&**path)) {
        Ok(about) if about.is_file() => std::fs::File::open(&**path).map(drop).map_err(|e| refuse(config::reason(&e))),
        Ok(_) => Err(refuse("it is not a file".into())),
        Err(e) => Err(refuse(config::reason(&e))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_the_program_and_to_one_folder_only() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("layouts");
        std::fs::create_dir(&folder).unwrap();
        let good = "[[arrangement]]\nuse = \"grid\"\n";
        std::fs::write(folder.join("own.toml"), good).unwrap();
        std::fs::write(folder.join("grid.toml"), "not read").unwrap();
        std::fs::write(folder.join("broken.toml"), "[[arrangement]]\nuse = \"nothing\"\n").unwrap();
        std::fs::write(folder.join("wall.toml"), format!("backdrop = \"none.png\"\n{good}")).unwrap();
        std::fs::write(folder.join("large.toml"), "#".repeat(70_000)).unwrap();
        std::fs::write(base.path().join("secret.toml"), good).unwrap();
        let layouts = Layouts::new(Some(folder.clone()));
        assert_eq!(layouts.find("own").unwrap().text, good);
        assert_eq!(layouts.find("grid").unwrap().text, Layout::built_in_text("grid").unwrap());
        assert!(layouts.names().ends_with(&["broken".into(), "large".into(), "own".into(), "wall".into()]));
        let outside = base.path().join("secret");
        for name in ["../secret", "secret", outside.to_str().unwrap(), "own.toml", "", "ow\0n", &"x".repeat(65)] {
            let refused = layouts.find(name).unwrap_err();
            assert!(matches!(refused, LookError::Unknown { .. }), "{name}: {refused}");
        }
        for (name, sentence) in [
            ("broken", "layout \"{}/broken.toml\""),
            ("wall", "cannot read the picture {}/none.png that {}/wall.toml names: no such file or directory"),
            ("large", "cannot read the layout {}/large.toml: it is larger than 64 KiB"),
        ] {
            let expected = sentence.replace("{}", folder.to_str().unwrap());
            let refused = layouts.find(name).unwrap_err().to_string();
            assert!(refused.starts_with(&expected), "{refused}");
        }
        let none = Layouts::default().find("own").unwrap_err().to_string();
        assert!(none.starts_with("there is no layout \"own\"; there are: auto, "), "{none}");
    }
}
