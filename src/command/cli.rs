//! The command line.
//!
//! In: arguments, environment, standard input. Out: an exit code: 0 done, 1 the Session failed, 2 the operator must change something.
//! Everything is checked before anything starts. Runs on the main thread. Refuses secrets as plain arguments, because every user of
//! the machine can read the arguments of every process.

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::secret::Secret;

use crate::check::Finding;
use crate::config::{self, Config, PictureSize, Span};
use crate::graph::EncoderWish;
use crate::service::job::Rendition;
use crate::service::process::leave_no_core_dump;
use crate::service::progress::SyncFigure;
use crate::service::{link, logging};

mod actors;
mod check;
mod import;
mod inputs;
mod look;
mod monitor;
mod operate;
mod orders;
mod recovery;
mod serve;
mod session;
mod targets;

/// What other parts of Roomcast do when a process has a role of its own.
#[derive(Clone, Copy)]
pub struct Roles {
    /// Runs one Session over the private socket, until it is ended or the socket closes.
    pub worker: fn(UnixStream) -> Result<(), Fault>,
    /// Lets people see what goes out, until the private socket closes.
    pub monitor: fn(UnixStream, TcpListener) -> Result<(), Fault>,
    /// Plays the simulated meeting until it is ended by a signal.
    pub actors: fn(&ActorsOrder) -> Result<(), Fault>,
    /// Measures a file that a rehearsal made.
    pub inspect: fn(&Path) -> Result<Inspection, Fault>,
    /// Looks whether this machine can do what a Session needs.
    pub check: fn(&[Rendition], EncoderWish) -> Vec<Finding>,
    /// Makes an access token: API key, its secret, room, identity, lifetime.
    pub mint: fn(&str, &Secret, &str, &str, Duration) -> Result<Secret, Fault>,
}

/// What the actors of a simulated meeting are told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ActorsOrder {
    /// Path of the private socket to listen on
    #[arg(long)]
    pub socket: PathBuf,
}

/// What was read from a rehearsal's file.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Inspection {
    /// Findings for people, several lines.
    pub findings: String,
    /// A/V offset, when there were flashes and beeps to measure.
    pub sync: Option<SyncFigure>,
}

/// A sentence for the operator, and the exit code.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    sentence: String,
    code: u8,
}

impl Failure {
    fn operator(sentence: impl std::fmt::Display) -> Self {
        Self { sentence: sentence.to_string(), code: 2 }
    }
}

impl Failure {
    /// What operators are shown of it.
    fn fault(&self) -> Fault {
        let blame = if self.code == 2 { Blame::Operator } else { Blame::Us };
        Fault { scope: Scope::Session, blame, retry: Retry::Never, sentence: self.sentence.clone() }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { code: if fault.blame == Blame::Operator { 2 } else { 1 }, sentence: fault.sentence }
    }
}

/// Records and streams video conferences
#[derive(Parser)]
#[command(name = "roomcast", version, arg_required_else_help = true)]
struct Cli {
    /// Configuration file (TOML)
    #[arg(long, global = true, env = "ROOMCAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Record a LiveKit room into an MP4 file
    Record(RecordArgs),
    /// Record a simulated meeting, and measure the result
    Rehearse(RehearseArgs),
    /// Record and stream the rooms of an OpenTalk installation, as its moderators want
    Serve,
    /// Make ordinary MP4 files of what killed recordings left, and go on with their uploads
    Recover {
        /// A spool folder, or a folder that holds some
        folder: PathBuf,
    },
    /// Look whether everything is there that a Session needs, and whether its Targets would take it
    Check(check::CheckArgs),
    /// List what is kept on this machine, and why
    Spool {
        /// A spool folder, or a folder that holds some; by default spool.dir of the configuration
        folder: Option<PathBuf>,
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Print a configuration made of that of OpenTalk's recorder
    ImportConfig(import::ImportArgs),
    /// Say whether the Roomcast of this machine lives, for health checks
    Health(operate::HealthArgs),
    /// Show the Sessions of a running Roomcast, and their Targets
    Status(operate::StatusArgs),
    /// Show people of a running Session in another layout
    Layout(operate::LayoutArgs),
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        link: RawFd,
    },
    #[command(hide = true)]
    Monitor {
        #[arg(long)]
        listen: RawFd,
        #[arg(long)]
        link: RawFd,
    },
    #[command(hide = true)]
    RehearsalActors(ActorsOrder),
    #[command(hide = true)]
    Inspect {
        file: PathBuf,
        #[arg(long)]
        json: bool,
    },
    #[command(hide = true)]
    Generate {
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
}

#[derive(Args)]
struct RecordArgs {
    /// Address of the LiveKit server: wss://…
    #[arg(long, value_name = "URL")]
    livekit: Option<String>,
    /// File with an access token; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["room", "api_key", "api_secret_file"])]
    token_file: Option<PathBuf>,
    /// Name of the room, with an API key instead of a token
    #[arg(long)]
    room: Option<String>,
    /// API key; its secret comes from a file or from ROOMCAST_LIVEKIT__API_SECRET
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// File with the secret of the API key
    #[arg(long, value_name = "FILE")]
    api_secret_file: Option<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    token: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    api_secret: Option<String>,
    /// Where the programme goes, any number of times: FILE.mp4, s3://bucket/key.mp4, rtmp://host/app (with --key-file), or the name of a
    /// live destination in the configuration. NAME= before it gives it that
    /// rendition of the configuration
    #[arg(long, value_name = "TARGET", required = true)]
    to: Vec<String>,
    /// End by itself after this time, for example 60s or 2h
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    #[command(flatten)]
    programme: ProgrammeArgs,
}

#[derive(Args)]
struct RehearseArgs {
    /// How long the recording is
    #[arg(long, value_name = "TIME", default_value = "20s")]
    duration: Span,
    /// Where the programme goes, any number of times: FILE.mp4, s3://bucket/key.mp4, rtmp://host/app (with --key-file), or the name of a
    /// live destination in the configuration. NAME= before it gives it that
    /// rendition of the configuration; by default recordings/rehearsal.mp4
    #[arg(long, value_name = "TARGET", default_value = "recordings/rehearsal.mp4", hide_default_value = true)]
    to: Vec<String>,
    #[command(flatten)]
    programme: ProgrammeArgs,
}

// What a recording and a rehearsal have in common. Not a comment for clap, which would take it for what the command does.
#[derive(Args)]
struct ProgrammeArgs {
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    picture: PictureArgs,
    #[command(flatten)]
    monitor: monitor::MonitorArgs,
    #[command(flatten)]
    desk: DeskArgs,
}

impl ProgrammeArgs {
    /// Takes them into the configuration, and checks the whole Session.
    fn plan(&self, to: &[String], duration: Option<Duration>, config: &mut Config) -> Result<session::Plan, Failure> {
        apply(&self.picture, config);
        self.monitor.apply(config);
        let wanted = wanted(to, &self.keys, config)?;
        session::plan(config, wanted, duration)
    }
}

#[derive(Args)]
struct DeskArgs {
    /// Listen for operators here while it runs, for example 127.0.0.1:11411; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
}

#[derive(Args)]
struct KeyArgs {
    /// File with the stream key of an rtmp:// address; - reads standard input. One for each address, in the same order
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    key: Option<String>,
}

#[derive(Args)]
struct PictureArgs {
    /// A built-in layout (auto, grid, speaker, screen, stage, interview, single, portrait, audio) or a layout file
    #[arg(long, value_name = "NAME or FILE.toml")]
    layout: Option<String>,
    /// Width and height of the picture, for example 1280x720
    #[arg(long)]
    size: Option<PictureSize>,
    /// Pictures a second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60))]
    fps: Option<u32>,
}

/// Does what the arguments say.
pub fn main(roles: Roles) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli, roles) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.code;
            complain(Some(failure));
            ExitCode::from(code)
        }
    }
}

fn run(cli: Cli, roles: Roles) -> Result<(), Failure> {
    // First of all: while nothing else is open, a wrong descriptor is seen as such.
    let (socket, listener) = match &cli.role {
        Role::Worker { link } => (Some(link::inherited(*link)), None),
        Role::Monitor { listen, link } => (Some(link::inherited(*link)), Some(link::inherited_listener(*listen))),
        _ => (None, None),
    };
    let socket = socket.transpose().map_err(Failure::operator)?;
    let listener = listener.transpose().map_err(Failure::operator)?;
    let config = read_config(cli.config.as_deref())?;
    logging::start(&config.log);
    if !config.log.core_dumps
        && let Err(error) = leave_no_core_dump()
    {
        tracing::warn!(%error, "core dumps cannot be kept away; they would hold stream keys and tokens");
    }
    match (cli.role, socket, listener) {
        (Role::Worker { .. }, Some(socket), None) => Ok((roles.worker)(socket)?),
        (Role::Monitor { .. }, Some(socket), Some(listener)) => Ok((roles.monitor)(socket, listener)?),
        (Role::Worker { .. } | Role::Monitor { .. }, ..) => {
            Err(Failure::operator("workers and monitors are started by the supervisor"))
        }
        (Role::Record(args), ..) => record(args, config, roles, cli.config),
        (Role::Rehearse(args), ..) => rehearse(args, config, cli.config),
        (Role::Serve, ..) => serve::serve(&config, cli.config),
        (Role::Recover { folder }, ..) => recovery::recover(&folder, &config),
        (Role::Check(args), ..) => check::check(&args, &config, roles.check),
        (Role::Spool { folder, json }, ..) => recovery::list(folder.as_deref(), &config, json),
        (Role::ImportConfig(args), ..) => import::import_config(&args),
        (Role::Health(args), ..) => operate::health(&args, &config),
        (Role::Status(args), ..) => operate::status(&args, &config),
        (Role::Layout(args), ..) => operate::layout(&args, &config),
        (Role::RehearsalActors(order), ..) => Ok((roles.actors)(&order)?),
        (Role::Inspect { file, json }, ..) => inspect(&(roles.inspect)(&file)?, json),
        (Role::Generate { folder }, ..) => config::generate::write(&folder)
            .and_then(|()| operate::write_metrics(&folder))
            .map_err(|e| Failure::operator(format_args!("cannot write into {}: {e}", folder.display()))),
    }
}

fn read_config(file: Option<&Path>) -> Result<Config, Failure> {
    // A variable that is not text cannot be one of ours.
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    config::load(file, variables).map_err(Failure::operator)
}

fn record(args: RecordArgs, mut config: Config, roles: Roles, config_file: Option<PathBuf>) -> Result<(), Failure> {
    if args.token.is_some() {
        return Err(Failure::operator(
            "a token is not taken as an argument, because other users of this machine can read it there; \
             put it into a file and give --token-file FILE, or - for standard input",
        ));
    }
    if args.api_secret.is_some() {
        return Err(Failure::operator(
            "a secret is not taken as an argument, because other users of this machine can read it there; \
             give --api-secret-file FILE or set ROOMCAST_LIVEKIT__API_SECRET",
        ));
    }
    let plan = args.programme.plan(&args.to, args.duration.map(Span::duration), &mut config)?;
    let room = inputs::livekit_room(&args, &config, roles.mint)?;
    let listening = session::Listening::start()?;
    let desk = operate::Desk::open(args.programme.desk.http, 1, &config, &listening)?;
    session::run(plan, room, config_file, listening, desk, None)
}

fn rehearse(args: RehearseArgs, mut config: Config, config_file: Option<PathBuf>) -> Result<(), Failure> {
    let plan = args.programme.plan(&args.to, Some(args.duration.duration()), &mut config)?;
    let mut listening = session::Listening::start()?;
    let desk = operate::Desk::open(args.programme.desk.http, 1, &config, &listening)?;
    let actors = actors::Actors::start(config_file.as_deref(), &mut listening)?;
    let room = actors.room();
    session::run(plan, room, config_file, listening, desk, Some(actors))
}

fn wanted(to: &[String], keys: &KeyArgs, config: &Config) -> Result<targets::Wanted, Failure> {
    if keys.key.is_some() {
        return Err(Failure::operator(
            "a stream key is not taken as an argument, because other users of this machine can read it there; \
             put it into a file and give --key-file FILE, or - for standard input",
        ));
    }
    targets::wanted(to, &keys.key_file, config)
}

fn apply(args: &PictureArgs, config: &mut Config) {
    if let Some(layout) = &args.layout {
        config.layout.default.clone_from(layout);
    }
    config.programme.size = args.size.unwrap_or(config.programme.size);
    config.programme.fps = args.fps.unwrap_or(config.programme.fps);
}

/// Says what went wrong, if anything did.
fn complain(failure: Option<Failure>) {
    if let Some(Failure { sentence, .. }) = failure {
        let _ = writeln!(std::io::stderr(), "error: {sentence}");
    }
}

fn inspect(inspection: &Inspection, json: bool) -> Result<(), Failure> {
    let text = match json {
        true => serde_json::to_string(inspection).map_err(Failure::operator)?,
        false => inspection.findings.trim_end().to_owned(),
    };
    writeln!(std::io::stdout(), "{text}").map_err(Failure::operator)
}

/// How progress is shown here.
fn screen() -> crate::service::progress::Screen {
    use crate::service::progress::Screen;
    if std::io::stderr().is_terminal() { Screen::Terminal } else { Screen::Plain }
}
