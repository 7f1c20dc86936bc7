//! Checks what `record` was given: address, token or key, output file.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recorder_core::fault::Fault;
use recorder_core::secret::Secret;

use super::{Failure, RecordArgs};
use crate::config::{self, Config};
use crate::service::supervisor::{Room, Tokens};
use crate::trust::Trust;

/// Makes an access token; see [`super::Roles::mint`].
type Mint = fn(&str, &Secret, &str, &str, Duration) -> Result<Secret, Fault>;

/// Life of a minted token. Only joining needs it; LiveKit refreshes it afterwards.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// Tokens are below 8 KiB; more than this is another file.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// Where and how to join.
pub(super) fn livekit_room(args: &RecordArgs, config: &Config, mint: Mint) -> Result<Room, Failure> {
    let url = args.livekit.as_ref().or(config.livekit.url.as_ref());
    let url = url.ok_or_else(|| Failure::operator("give the address of the LiveKit server with --livekit URL"))?.clone();
    if let Some(wrong) = config::bad_server_url(&url) {
        return Err(Failure::operator(format_args!("--livekit: {wrong}")));
    }
    let mut tokens: Box<dyn Tokens> = match (&args.token_file, &args.room) {
        (Some(file), _) => Box::new(FromFile { file: file.clone(), last: None }),
        (None, Some(room)) => Box::new(minted(args, config, room, mint)?),
        (None, None) => {
            return Err(Failure::operator(
                "give --token-file FILE with an access token, or --room NAME with an API key and its secret",
            ));
        }
    };
    let token = match &args.token_file {
        Some(file) => read_token(file)?,
        None => tokens.fresh().ok_or_else(|| Failure::operator("no access token can be made with this API key and secret"))?,
    };
    if let Some(file) = &args.token_file {
        tokens = Box::new(FromFile { file: file.clone(), last: Some(token.clone()) });
    }
    let ca_file = config.livekit.ca_file.clone();
    Trust::load(ca_file.as_deref()).map_err(|error| Failure::operator(format_args!("livekit.ca_file: {error}")))?;
    Ok(Room::LiveKit { url, token, tokens, ca_file })
}

fn minted(args: &RecordArgs, config: &Config, room: &str, mint: Mint) -> Result<Minted, Failure> {
    let mut livekit = config.livekit.clone();
    if let Some(file) = &args.api_secret_file {
        // The argument has precedence over both places of the configuration.
        (livekit.api_secret, livekit.api_secret_file) = (None, Some(file.clone()));
    }
    let key = args.api_key.clone().or(livekit.api_key.clone());
    let key =
        key.ok_or_else(|| Failure::operator("--room needs an API key: give --api-key KEY or set ROOMCAST_LIVEKIT__API_KEY"))?;
    let secret = livekit.secret().map_err(Failure::operator)?.ok_or_else(|| {
        Failure::operator(
            "--room needs the secret of the API key: give --api-secret-file FILE or set ROOMCAST_LIVEKIT__API_SECRET",
        )
    })?;
    if room.is_empty() || key.is_empty() {
        return Err(Failure::operator("--room and --api-key must not be empty"));
    }
    // One identity for the Session: a replacement worker takes the place of the one that died.
    let identity = format!("roomcast-{}", super::session::session_name());
    Ok(Minted { key, secret, room: room.to_owned(), identity, mint })
}

/// Tokens by our own API key.
struct Minted {
    key: String,
    secret: Secret,
    room: String,
    identity: String,
    mint: Mint,
}

impl Tokens for Minted {
    fn fresh(&mut self) -> Option<Secret> {
        (self.mint)(&self.key, &self.secret, &self.room, &self.identity, TOKEN_LIFE)
            .inspect_err(|fault| tracing::error!(%fault, "no token can be made"))
            .ok()
    }
}

/// The operator's token file: fresh when somebody put another token into it.
struct FromFile {
    file: PathBuf,
    last: Option<Secret>,
}

impl Tokens for FromFile {
    fn fresh(&mut self) -> Option<Secret> {
        if self.file == Path::new("-") {
            return None;
        }
        let token = read_token(&self.file).ok().filter(|token| Some(token) != self.last.as_ref())?;
        self.last = Some(token.clone());
        Some(token)
    }
}

/// A secret from a file, or from standard input.
pub(super) fn secret_of(file: &Path, what: &str) -> Result<Secret, Failure> {
    let (name, text) = read_secret(file, what)?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(Failure::operator(format_args!("{name} holds no {what}")));
    }
    Ok(Secret::new(secret))
}

/// What the file is called, and its text.
fn read_secret(file: &Path, what: &str) -> Result<(String, String), Failure> {
    let stdin = file == Path::new("-");
    let name = if stdin { "standard input".into() } else { file.display().to_string() };
    let mut text = String::new();
    let read = match stdin {
        true => std::io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|f| f.take(MAX_TOKEN_BYTES).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::operator(format_args!("cannot read the {what} from {name}: {}", config::reason(&error))))?;
    Ok((name, text))
}

fn read_token(file: &Path) -> Result<Secret, Failure> {
    let (name, text) = read_secret(file, "token")?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::operator(format_args!("{name} holds no token")));
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) || token.split('.').count() != 3 {
        return Err(Failure::operator(format_args!("{name} does not hold an access token (three parts with dots between)")));
    }
    Ok(Secret::new(token))
}

/// Refuses an output that cannot become an MP4 file.
pub(super) fn check_output(to: &Path) -> Result<(), Failure> {
    if to.is_dir() {
        return Err(Failure::operator(format_args!("--to {} is a folder; give the name of the file to make", to.display())));
    }
    if to.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("mp4")) {
        return Err(Failure::operator(format_args!("--to {} must end in .mp4", to.display())));
    }
    Ok(())
}
