//! The `roomcast` command: which part of Roomcast does which role, and nothing else.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::secret::Secret;
use roomcast::check;
use roomcast::command::cli::{self, ActorsOrder, Inspection, Roles};
use roomcast::livekit::token;
use roomcast::rehearsal::actors::{self, ActorSettings};
use roomcast::rehearsal::{inspect, loops};
use roomcast::service::progress::SyncFigure;
use roomcast::service::{monitor, worker};

fn main() -> ExitCode {
    cli::main(Roles { worker: worker::run, monitor: monitor::run, actors, inspect, check: check::media, mint })
}

fn actors(order: &ActorsOrder) -> Result<(), Fault> {
    let loops = loops::cache_folder().map_err(|e| operator(&e))?;
    actors::run(&ActorSettings { socket: order.socket.clone(), loops, duration: None }).map_err(|e| operator(&e))
}

fn inspect(file: &Path) -> Result<Inspection, Fault> {
    let film = inspect::inspect(file).map_err(|e| operator(&e))?;
    let sync = film.av_offset.map(|offset| SyncFigure {
        // The inspector measures how late the picture is; the table says how late the sound is.
        median_ms: -offset.median_ms,
        worst_ms: offset.worst_ms,
    });
    Ok(Inspection { findings: film.to_string(), sync })
}

fn mint(api_key: &str, api_secret: &Secret, room: &str, identity: &str, ttl: Duration) -> Result<Secret, Fault> {
    token::mint(api_key, api_secret, room, identity, ttl).map_err(|e| operator(&e))
}

/// The Fault of something that whoever started us can mend.
fn operator(error: &dyn std::error::Error) -> Fault {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        sentence = format!("{sentence}: {source}");
        cause = source.source();
    }
    Fault { scope: Scope::Session, blame: Blame::Operator, retry: Retry::Never, sentence }
}
