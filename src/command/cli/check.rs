//! `roomcast check`: each line ok, or a sentence that says what to do.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::session::session_name;
use super::targets::{self, Live};
use super::{Failure, KeyArgs};
use crate::check::{Finding, RECEIVE_BUFFER};
use crate::config::{CONTROLLER, Config, PROGRAMME};
use crate::graph::EncoderWish;
use crate::service::job::Rendition;
use crate::storage::outbox::UploadTarget;
use crate::target::claim::{Claim, Claims};
use crate::target::rtmp::{LiveEnvironment, ProbeDepth, probe};

/// What is to be checked.
#[derive(clap::Args)]
pub(super) struct CheckArgs {
    /// Also check this Target, any number of times; as for record. Without any, all live destinations of the configuration are checked
    #[arg(long, value_name = "TARGET")]
    to: Vec<String>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Begin each stream with its key, and end it again without having sent anything
    #[arg(long)]
    publish: bool,
    /// Check only what an image for containers holds, and not the machine that it is made on
    #[arg(long, conflicts_with_all = ["to", "publish"])]
    image: bool,
}

/// Looks at what a Session needs; see [`super::Roles::check`].
type Media = fn(&[Rendition], EncoderWish) -> Vec<Finding>;

/// Checks, and says what was found. Fails when something must be done.
pub(super) fn check(args: &CheckArgs, config: &Config, media: Media) -> Result<(), Failure> {
    let mut wanted = super::wanted(&args.to, &args.keys, config)?;
    let mut lines = Lines::default();
    let is_asked_for = |finding: &Finding| !args.image || finding.what != RECEIVE_BUFFER;
    let all = [PROGRAMME].into_iter().chain(config.renditions.keys().map(String::as_str));
    let choices = all.map(|name| config.rendition(name)).collect::<Result<Vec<_>, _>>().map_err(Failure::operator)?;
    let renditions = choices.into_iter().map(|choice| super::look::rendition(choice, config)).collect::<Result<Vec<_>, _>>()?;
    let encoder = super::look::encoder(config.programme.encoder);
    media(&renditions, encoder).into_iter().filter(is_asked_for).for_each(|finding| lines.say(&finding));
    if args.to.is_empty() && !args.image {
        for (name, one) in &config.destinations {
            match targets::rendition_of(name, one, config).and_then(|choice| targets::of_name(name, one, &choice)) {
                Ok(live) => wanted.lives.push(live),
                // The others are looked at all the same.
                Err(failure) => lines.say(&Finding::new(name, Err(failure.sentence))),
            }
        }
    }
    for file in wanted.recordings.iter().filter_map(|recorded| recorded.file.as_deref()) {
        lines.say(&Finding::new(format!("{}", file.display()), writable(file)));
    }
    for object in wanted.objects() {
        lines.say(&Finding::new(format!("s3://{}/{}", object.bucket, object.key), stored(config, object)?));
    }
    if !args.image {
        service(config).iter().for_each(|finding| lines.say(finding));
    }
    super::orders::findings(config)?.iter().for_each(|finding| lines.say(finding));
    if args.publish && !wanted.lives.is_empty() {
        println_out(
            "      --publish tests the stream keys themselves: each stream is begun and ended, and people may see that it was",
        );
    }
    let rules = targets::live_rules(config);
    let environment = LiveEnvironment::new(rules.policy, rules.ca_file.as_deref())
        .map_err(|error| Failure::operator(format_args!("live.ca_file: {error}")))?;
    for live in &wanted.lives {
        lines.say(&Finding::new(live.name.clone(), taken(&environment, live, args.publish)?));
    }
    match lines.bad {
        0 => Ok(()),
        1 => Err(Failure::operator("one thing must be done before this works")),
        bad => Err(Failure::operator(format_args!("{bad} things must be done before this works"))),
    }
}

/// What was said.
#[derive(Default)]
struct Lines {
    bad: u32,
}

impl Lines {
    fn say(&mut self, finding: &Finding) {
        self.bad += u32::from(finding.result.is_err());
        let (word, text) = match &finding.result {
            Ok(seen) => ("ok", seen),
            Err(advice) => ("FAIL", advice),
        };
        println_out(&format!("{word:<5} {}: {text}", finding.what));
        if let Some(advice) = &finding.advice {
            println_out(&format!("{:<5} {}: {advice}", "warn", finding.what));
        }
    }
}

fn println_out(line: &str) {
    // Whoever closed the pipe does not want to read it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn writable(file: &Path) -> Result<String, String> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The nearest one that is there: the others are made.
    let there: PathBuf = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new(".")).into();
    let there = if there.as_os_str().is_empty() { PathBuf::from(".") } else { there };
    match nix::unistd::access(&there, nix::unistd::AccessFlags::W_OK) {
        Ok(()) => Ok("can be written".into()),
        Err(errno) => {
            Err(format!("the folder {} cannot be written ({}): choose another, or allow it", there.display(), errno.desc()))
        }
    }
}

/// What `serve` needs on this machine and of the storage, where it is configured.
fn service(config: &Config) -> Vec<Finding> {
    if config.rabbitmq.url.is_none() {
        return Vec::new();
    }
    let there = |_| "can be read".to_owned();
    let look = super::look::look(config, true).map(there).map_err(|failure| failure.sentence);
    // A file that is not there yet, in the folder that is meant.
    let spool = config.spool.folder().join("spool");
    let mut findings = vec![Finding::new("layout and slates", look), Finding::new("spool", writable(&spool))];
    for place in config.serve.recordings.iter().filter(|place| *place != CONTROLLER) {
        // Words in braces are replaced when a recording begins.
        let name = place.replace(['{', '}'], "");
        let result = match name.strip_prefix("s3://") {
            Some(rest) => targets::object(rest, 1).and_then(|object| stored(config, &object)),
            None => Ok(writable(Path::new(&name))),
        };
        findings.push(Finding::new(format!("recordings to {place}"), result.unwrap_or_else(|failure| Err(failure.sentence))));
    }
    findings
}

/// Writes and deletes a small object beside the wanted one.
fn stored(config: &Config, object: &UploadTarget) -> Result<Result<String, String>, Failure> {
    let store = targets::store(config, &object.bucket)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::operator)?;
    let key = format!("{}.roomcast-check-{}", object.key, session_name());
    let began = SystemTime::now();
    let result = runtime.block_on(store.try_out(&key));
    let took = began.elapsed().unwrap_or(Duration::ZERO);
    Ok(match result {
        Ok(()) => Ok(format!("written and deleted in {} ms", took.as_millis())),
        Err(trouble) => Err(format!("{}; see [storage] in docs/config.md", trouble.words())),
    })
}

fn taken(environment: &LiveEnvironment, live: &Live, publish: bool) -> Result<Result<String, String>, Failure> {
    let mut depth = ProbeDepth::Connect;
    let _claim: Option<Claim>;
    if publish {
        let claims = Claims::open()
            .map_err(|error| Failure { sentence: format!("cannot keep note of the live destinations: {error}"), code: 1 })?;
        match claims.take(&live.destination) {
            Ok(Some(claim)) => _claim = Some(claim),
            Ok(None) => {
                return Ok(Err("a Session streams there now with this key, so the key is not tried: wait for its end".into()));
            }
            Err(error) => {
                return Err(Failure { sentence: format!("cannot keep note of the live destinations: {error}"), code: 1 });
            }
        }
        depth = ProbeDepth::Publish;
    }
    Ok(match probe(environment, &live.destination, depth) {
        Ok(answer) => {
            let what = if publish { "takes the stream" } else { "can be reached; the key was not tried (--publish)" };
            Ok(format!("{what}; round trip {} ms", answer.round_trip.as_millis()))
        }
        Err(reason) => Err(reason.sentence().trim_end_matches('.').to_owned()),
    })
}
