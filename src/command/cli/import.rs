//! `roomcast import-config`: the configuration of OpenTalk's recorder, as one of ours.
//!
//! In: a file, and the folder that secrets shall go into. Out: TOML on standard output, remarks on standard error; with `--secrets` a file for each
//! secret. Runs on the main thread. No secret is printed, and no file is overwritten.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::config::import::{Imported, KeptSecret, import};
use crate::config::{ConfigError, reason};

/// Where the configuration looks for secrets when nobody says where they are.
const USUAL_FOLDER: &str = "/run/secrets";

#[derive(Args)]
pub(super) struct ImportArgs {
    /// Configuration file of OpenTalk's recorder
    file: PathBuf,
    /// Write the secrets of the file into this folder, each into a file of its own that only you can read
    #[arg(long, value_name = "FOLDER")]
    secrets: Option<PathBuf>,
}

/// Prints our configuration, and what is to be said about it.
pub(super) fn import_config(args: &ImportArgs) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|source| Failure::operator(ConfigError::Unreadable { path: args.file.clone(), source }))?;
    let folder = args.secrets.as_deref().unwrap_or(Path::new(USUAL_FOLDER));
    let Imported { toml, remarks, secrets } =
        import(&args.file.display().to_string(), &text, folder).map_err(Failure::operator)?;
    let mut said = remarks;
    for secret in &secrets {
        let path = folder.join(&secret.file);
        let key = &secret.key;
        if args.secrets.is_some() {
            write(secret, &path)?;
            said.push(format!("{key}: its secret is in {} now.", path.display()));
        } else {
            said.push(format!("{key}: put its secret into {}, readable for Roomcast only.", path.display()));
        }
    }
    for remark in said {
        eprintln!("{remark}");
    }
    print!("{toml}");
    Ok(())
}

fn write(secret: &KeptSecret, path: &Path) -> Result<(), Failure> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path);
    made.and_then(|mut file| file.write_all(secret.secret.expose().as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::operator(format_args!("{} is there already; nothing is overwritten", path.display()))
        }
        _ => Failure::operator(format_args!("cannot write {}: {}", path.display(), reason(&error))),
    })
}
