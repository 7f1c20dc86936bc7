//! The operators' interface of a process that runs Sessions, and the commands that ask one: `health`, `status`, `layout`.
//!
//! In: the configuration and arguments. Out: a [`Desk`]; or lines for people. Refuses the token as a plain argument.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::{Method, StatusCode};
use recorder_core::secret::Secret;
use serde::de::DeserializeOwned;

use super::session::Listening;
use super::{Failure, look};
use crate::config::Config;
use crate::service::board::Board;
use crate::service::http::client::Client;
use crate::service::http::status::{Health, LayoutChoice, SessionStatus, Status, TargetStatus};
use crate::service::http::{Operators, Server, Token};
use crate::service::progress::{clock, size};

/// The board of this process, and its interface while that is wanted.
pub(super) struct Desk {
    pub(super) board: Board,
    _server: Option<Server>,
}

impl Desk {
    /// A board for so many Sessions; with an interface when there is an address for it.
    pub(super) fn open(
        listen: Option<SocketAddr>,
        sessions: usize,
        config: &Config,
        listening: &Listening,
    ) -> Result<Self, Failure> {
        let board = Board::new(sessions);
        let Some(listen) = listen else { return Ok(Self { board, _server: None }) };
        let token = config.http.secret().map_err(Failure::operator)?.as_ref().map(Token::new);
        let operators = Operators { board: board.clone(), layouts: look::layouts(config), token };
        let started = listening.block_on(Server::start(listen, operators));
        let server = started.map_err(|error| {
            Failure::operator(format_args!("cannot listen on {listen} for operators: {}", crate::config::reason(&error)))
        })?;
        Ok(Self { board, _server: Some(server) })
    }
}

/// Which interface is asked, and how.
#[derive(clap::Args)]
pub(super) struct AskArgs {
    /// Address of the interface; by default http.listen of the configuration
    #[arg(long, value_name = "http://HOST:PORT")]
    url: Option<String>,
    /// File with the operators' token; by default the token of the configuration
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    token: Option<String>,
}

/// `roomcast health`
#[derive(clap::Args)]
pub(super) struct HealthArgs {
    /// Address of the interface; by default http.listen of the configuration
    #[arg(long, value_name = "http://HOST:PORT")]
    url: Option<String>,
    /// Fail also when it lives, but can take no Orders
    #[arg(long)]
    ready: bool,
}

/// `roomcast status`
#[derive(clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// `roomcast layout`
#[derive(clap::Args)]
pub(super) struct LayoutArgs {
    /// Name of the Session, as status shows it
    session: String,
    /// Show people in this layout from now on; without it, say which one it is
    layout: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

/// Says whether the process lives, and fails when it does not.
pub(super) fn health(args: &HealthArgs, config: &Config) -> Result<(), Failure> {
    let asking = Asking::new(args.url.as_deref(), None, config)?;
    let health: Health = asking.ask(Method::GET, &["health"], String::new())?;
    let why = match &health.not_ready {
        Some(why) => format!("not ready: {why}"),
        None => "ready".into(),
    };
    let capacity = &health.capacity;
    let too_little = capacity.machine.as_ref().and_then(|machine| machine.too_little.as_deref());
    let full = too_little.map_or(String::new(), |what| format!("; too little {what} for another"));
    say(&format!("live, {why}; {} of {} Sessions run{full}\n", capacity.running, capacity.most))?;
    match health.not_ready {
        Some(why) if args.ready => Err(Failure { sentence: why, code: 1 }),
        _ => Ok(()),
    }
}

/// Shows all Sessions and their Targets.
pub(super) fn status(args: &StatusArgs, config: &Config) -> Result<(), Failure> {
    let asking = Asking::with(&args.ask, config)?;
    if args.json {
        let text: serde_json::Value = asking.ask(Method::GET, &["status"], String::new())?;
        return say(&format!("{text:#}\n"));
    }
    let status: Status = asking.ask(Method::GET, &["status"], String::new())?;
    if status.sessions.is_empty() {
        say("no Session runs\n")?;
    }
    status.sessions.iter().chain(&status.over).try_for_each(|session| say(&lines(session)))?;
    status
        .deliveries
        .iter()
        .try_for_each(|delivery| say(&format!("{}  after its end\n{}", delivery.recording, targets(&delivery.targets))))
}

/// Says or changes the layout of a Session.
pub(super) fn layout(args: &LayoutArgs, config: &Config) -> Result<(), Failure> {
    let asking = Asking::with(&args.ask, config)?;
    let path = ["sessions", &args.session, "layout"];
    let choice: LayoutChoice = match &args.layout {
        Some(layout) => asking.ask(Method::PUT, &path, serde_json::json!({ "layout": layout }).to_string())?,
        None => asking.ask(Method::GET, &path, String::new())?,
    };
    say(&format!("{}\n", choice.layout))
}

/// An interface, and what waits for its answers.
struct Asking {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Asking {
    fn with(args: &AskArgs, config: &Config) -> Result<Self, Failure> {
        if args.token.is_some() {
            return Err(Failure::operator(
                "a token is not taken as an argument, because other users of this machine can read it there; \
                 give --token-file FILE or set ROOMCAST_HTTP__TOKEN",
            ));
        }
        let token = match args.token_file.as_deref() {
            Some(file) => Some(super::inputs::secret_of(file, "token")?),
            None => config.http.secret().map_err(Failure::operator)?,
        };
        Self::new(args.url.as_deref(), token, config)
    }

    fn new(url: Option<&str>, token: Option<Secret>, config: &Config) -> Result<Self, Failure> {
        let client = Client::new(&url.map_or_else(|| config.http.url(), str::to_owned), token).map_err(Failure::operator)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::operator)?;
        Ok(Self { client, runtime })
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &[&str], body: String) -> Result<T, Failure> {
        let failed = |sentence: String| Failure { sentence, code: 1 };
        let asked = self.runtime.block_on(self.client.ask(method, path, body));
        let (status, body) = asked.map_err(|error| failed(error.to_string()))?;
        if status != StatusCode::OK {
            let answer: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
            let sentence = answer.as_ref().and_then(|answer| answer["error"]["sentence"].as_str());
            return Err(failed(sentence.map_or_else(|| format!("it answers {status}"), str::to_owned)));
        }
        serde_json::from_slice(&body).map_err(|_| failed("it does not answer as Roomcast does".into()))
    }
}

/// `1732240000-4711  live  00:01:05  speaker  4 people  30.0 fps  lag 3 ms`, and a line for each Target.
fn lines(session: &SessionStatus) -> String {
    let SessionStatus { id, state, layout, people, fps, encoder_lag_ms, .. } = session;
    let elapsed = clock(Duration::try_from_secs_f64(session.elapsed_s).unwrap_or_default());
    let mut text = format!("{id}  {state:<9}  {elapsed}  {layout}  {people} people  {fps:.1} fps  lag {encoder_lag_ms} ms\n");
    if let Some(reason) = session.reason.as_ref().filter(|reason| !reason.is_empty()) {
        let _ = writeln!(text, "  {reason}");
    }
    if let Some(fault) = &session.fault {
        let _ = writeln!(text, "  {}", fault.sentence);
    }
    text + &targets(&session.targets)
}

fn targets(targets: &[TargetStatus]) -> String {
    let mut text = String::new();
    for TargetStatus { id, state, bytes, bytes_wanted, fault, .. } in targets {
        let of = bytes_wanted.map_or(String::new(), |wanted| format!(" of {}", size(wanted)));
        let _ = write!(text, "  {id:<29} {state:<13}{}{of}", size(*bytes));
        let _ = match fault {
            Some(fault) => writeln!(text, "   {}", fault.sentence),
            None => writeln!(text),
        };
    }
    text
}

fn say(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::operator)
}

/// Writes the page about metrics under `root`.
pub(super) fn write_metrics(root: &Path) -> std::io::Result<()> {
    std::fs::write(root.join("docs/metrics.md"), crate::service::http::metrics::reference())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_target_stands_apart_from_its_state_however_long_it_is() {
        let named = |id: &str| TargetStatus {
            id: id.into(),
            kind: "live".into(),
            state: "live".into(),
            bytes: 0,
            bytes_wanted: None,
            left_out: None,
            retries: None,
            fault: None,
        };
        let said = targets(&[named("tube"), named("5a557162-161e-412f-a99c-a819f0f0fdd1")]);
        let columns =
            "  tube                          live         0.0 kB\n  5a557162-161e-412f-a99c-a819f0f0fdd1 live         0.0 kB\n";
        assert_eq!(said, columns);
    }
}
