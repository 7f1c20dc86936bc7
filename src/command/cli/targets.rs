//! Sorts out what `--to` said: files, objects of a storage, live destinations, and which Rendition each of them gets.
//!
//! In: the arguments and the configuration. Out: [`Wanted`], in which everything is checked that can be without the network, or a sentence. Refuses stream
//! keys as arguments, and never repeats the text of a live address: keys are easily pasted into it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recorder_core::ids::TargetId;
use recorder_core::secret::Secret;

use super::{Failure, inputs};
use crate::config::{self, Config, PROGRAMME, Preset, RenditionChoice};
use crate::service::job::{LiveJob, LiveRules};
use crate::storage::outbox::UploadTarget;
use crate::storage::recording_uploads::Stores;
use crate::storage::s3::{Addressing, Checksums, S3Settings, S3Store};
use crate::target::claim::{Claim, Claims};
use crate::target::rtmp::Destination;

/// Where the programme shall go.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The Renditions that are used, each once.
    pub(super) renditions: Vec<RenditionChoice>,
    /// What is recorded: of each Rendition one recording at most.
    pub(super) recordings: Vec<Recorded>,
    /// The live destinations.
    pub(super) lives: Vec<Live>,
}

/// A recording, and where it shall lie.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Which of the Renditions.
    pub(super) rendition: usize,
    /// The file to make.
    pub(super) file: Option<PathBuf>,
    /// The objects to make.
    pub(super) objects: Vec<UploadTarget>,
}

impl Wanted {
    /// The place of this Rendition among those that are used.
    fn use_rendition(&mut self, choice: RenditionChoice) -> usize {
        let known = self.renditions.iter().position(|used| used.name == choice.name);
        known.unwrap_or_else(|| {
            self.renditions.push(choice);
            self.renditions.len() - 1
        })
    }

    /// The recording of a Rendition.
    fn recording(&mut self, choice: RenditionChoice) -> &mut Recorded {
        let rendition = self.use_rendition(choice);
        let known = self.recordings.iter().position(|recorded| recorded.rendition == rendition);
        let index = known.unwrap_or_else(|| {
            self.recordings.push(Recorded { rendition, ..Recorded::default() });
            self.recordings.len() - 1
        });
        &mut self.recordings[index]
    }

    /// The objects of all recordings.
    pub(super) fn objects(&self) -> impl Iterator<Item = &UploadTarget> {
        self.recordings.iter().flat_map(|recorded| &recorded.objects)
    }
}

/// A live destination that was checked.
#[derive(Debug)]
pub(super) struct Live {
    /// Which of the Renditions it gets.
    pub(super) rendition: usize,
    /// What it is called: the name in the configuration, or its address without anything secret.
    pub(super) name: String,
    /// Its address, as configured.
    pub(super) address: String,
    /// Address and key.
    pub(super) destination: Destination,
    /// The stream key.
    key: Secret,
}

impl Live {
    pub(super) fn job(&self) -> LiveJob {
        let Self { rendition, address, key, .. } = self;
        LiveJob { id: TargetId::new(self.name.as_str()), rendition: *rendition, address: address.clone(), key: key.clone() }
    }
}

/// Names of the storages of one recording: `s3`, `s3-2`… All are the one of the configuration, each with its bucket.
const STORAGE: &str = "s3";

/// What holds for all live destinations.
pub(super) fn live_rules(config: &Config) -> LiveRules {
    LiveRules { policy: config.live.policy(), ca_file: config.live.ca_file.clone() }
}

/// Checks all `--to`, with their `--key-file`s.
pub(super) fn wanted(to: &[String], key_files: &[PathBuf], config: &Config) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    let mut keys = key_files.iter();
    let to = to.iter().map(|text| with_rendition(text, config)).collect::<Result<Vec<_>, _>>()?;
    let addresses = to.iter().filter(|(_, text)| is_live_address(text)).count();
    if addresses != key_files.len() {
        return Err(Failure::operator(format_args!(
            "give one --key-file FILE for each rtmp:// or rtmps:// address, in the same order; there are {addresses} addresses and {} files",
            key_files.len()
        )));
    }
    for (named, text) in to {
        let whole = || config.rendition(PROGRAMME).map_err(Failure::operator);
        if is_live_address(text) {
            let rendition = wanted.use_rendition(named.map_or_else(whole, Ok)?);
            wanted.lives.push(Live { rendition, ..of_address(text, keys.next())? });
        } else if let Some(rest) = text.strip_prefix("s3://") {
            let object = object(rest, wanted.objects().count() + 1)?;
            if wanted.objects().any(|other| other.bucket == object.bucket && other.key == object.key) {
                return Err(Failure::operator(format_args!("--to {text} is given twice")));
            }
            wanted.recording(named.map_or_else(whole, Ok)?).objects.push(object);
        } else if let Some(one) = config.destinations.get(text) {
            let choice = named.map_or_else(|| rendition_of(text, one, config), Ok)?;
            let live = of_name(text, one, &choice)?;
            let rendition = wanted.use_rendition(choice);
            wanted.lives.push(Live { rendition, ..live });
        } else if text.contains("://") || !(text.contains('/') || text.ends_with(".mp4") || Path::new(text).is_dir()) {
            return Err(unknown(text, config));
        } else {
            inputs::check_output(Path::new(text))?;
            let choice = named.map_or_else(whole, Ok)?;
            let name = choice.name.clone();
            if wanted.recordings.iter().filter_map(|recorded| recorded.file.as_deref()).any(|file| file == Path::new(text)) {
                return Err(Failure::operator(format_args!("--to {text} is given twice")));
            }
            if wanted.recording(choice).file.replace(text.into()).is_some() {
                return Err(Failure::operator(format_args!(
                    "only one of the --to can be a file on this machine for each rendition, and {name} has two"
                )));
            }
        }
    }
    if wanted.objects().next().is_some() {
        // Told now, not after a meeting.
        stores(config, wanted.objects())?;
    }
    distinct(&mut wanted.lives)?;
    Ok(wanted)
}

/// `NAME=TARGET`: the Rendition, and the rest. A text whose beginning cannot be the name of one has none.
fn with_rendition<'a>(text: &'a str, config: &Config) -> Result<(Option<RenditionChoice>, &'a str), Failure> {
    match text.split_once('=').filter(|(name, _)| config::is_name(name)) {
        None => Ok((None, text)),
        Some((name, target)) => {
            let choice = config.rendition(name).map_err(|error| {
                Failure::operator(format_args!("--to {name}=…: {error}. A file that is called so is written ./{name}=…"))
            })?;
            Ok((Some(choice), target))
        }
    }
}

/// The Rendition that the configuration gives a destination.
pub(super) fn rendition_of(name: &str, one: &config::Destination, config: &Config) -> Result<RenditionChoice, Failure> {
    let choice = config.rendition(one.rendition.as_deref().unwrap_or(PROGRAMME));
    choice.map_err(|error| Failure::operator(format_args!("destinations.{name}.rendition: {error}")))
}

fn is_live_address(text: &str) -> bool {
    let lower = text.trim_start().to_ascii_lowercase();
    lower.starts_with("rtmp:") || lower.starts_with("rtmps:")
}

/// A text with a scheme is not repeated: it may be a live address with its key, mistyped.
fn unknown(text: &str, config: &Config) -> Failure {
    let known: Vec<&str> = config.destinations.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none is configured".into() } else { known.join(", ") };
    let shown = if text.contains(':') { "this --to".into() } else { format!("--to {text}") };
    Failure::operator(format_args!(
        "{shown} is neither a file that ends in .mp4, nor s3://bucket/key.mp4, nor rtmp://host/app, nor a live destination of the configuration ({known})"
    ))
}

pub(super) fn object(rest: &str, number: usize) -> Result<UploadTarget, Failure> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let is_bucket = (3..=63).contains(&bucket.len()) && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !is_bucket {
        return Err(Failure::operator(format_args!("s3://{rest}: a bucket has 3 to 63 letters, digits, dots and -")));
    }
    let is_key = key.to_ascii_lowercase().ends_with(".mp4")
        && key.len() <= 1000
        && !key.starts_with('/')
        && !key.contains(char::is_control);
    if !is_key {
        return Err(Failure::operator(format_args!(
            "s3://{rest}: after the bucket comes the name of the object, which ends in .mp4"
        )));
    }
    let storage = if number == 1 { STORAGE.to_owned() } else { format!("{STORAGE}-{number}") };
    Ok(UploadTarget { storage, bucket: bucket.to_owned(), key: key.to_owned() })
}

fn of_address(text: &str, key_file: Option<&PathBuf>) -> Result<Live, Failure> {
    let key_file = key_file.ok_or_else(|| Failure::operator("give the stream key with --key-file FILE"))?;
    let holds_more = url::Url::parse(text.trim()).is_ok_and(|url| {
        let segments = url.path().split('/').filter(|segment| !segment.is_empty()).count();
        segments > 1
            || url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
    });
    if holds_more {
        return Err(Failure::operator(
            "a stream key is not taken as an argument, because other users of this machine can read it there; give the address as \
             rtmp://HOST/APP, and the key with --key-file FILE. An application with a slash in its name is configured as a destination",
        ));
    }
    let key = inputs::secret_of(key_file, "stream key")?;
    let destination = Destination::new(text, key.clone()).map_err(Failure::operator)?;
    Ok(Live { rendition: 0, name: destination.to_string(), address: text.trim().to_owned(), destination, key })
}

/// A destination of the configuration, for the Rendition that it is to get.
pub(super) fn of_name(name: &str, one: &config::Destination, choice: &RenditionChoice) -> Result<Live, Failure> {
    let preset = Preset::find(one.preset.as_deref().unwrap_or("custom"))
        .map_err(|error| Failure::operator(format_args!("destinations.{name}.preset: {error}")))?;
    if let Some(too_much) = preset.too_much(choice) {
        return Err(Failure::operator(format_args!("--to {name}: {too_much}")));
    }
    let address = one.address.as_ref().or(preset.address.as_ref());
    let address =
        address.ok_or_else(|| Failure::operator(format_args!("destinations.{name} has no address: write rtmp://host/app")))?;
    let key = one.secret(name).map_err(Failure::operator)?.ok_or_else(|| {
        let variable = format!("ROOMCAST_DESTINATIONS__{name}__KEY").to_uppercase();
        Failure::operator(format_args!("destinations.{name} has no stream key: write key_file = \"FILE\", or set {variable}"))
    })?;
    let destination = Destination::new(address, key.clone())
        .map_err(|error| Failure::operator(format_args!("destinations.{name}: {error}")))?;
    Ok(Live { rendition: 0, name: name.to_owned(), address: address.clone(), destination, key })
}

/// No stream twice, and no name twice.
fn distinct(lives: &mut [Live]) -> Result<(), Failure> {
    for index in 1..lives.len() {
        let (before, rest) = lives.split_at_mut(index);
        let Some(one) = rest.first_mut() else { continue };
        if let Some(same) = before.iter().find(|other| other.destination.is_same_stream(&one.destination)) {
            return Err(Failure::operator(format_args!(
                "{} and {} are the same stream; a server takes a stream from one sender at a time",
                same.name, one.name
            )));
        }
        let wished = one.name.clone();
        for number in 2.. {
            if before.iter().all(|other| other.name != one.name) {
                break;
            }
            one.name = format!("{wished} ({number})");
        }
    }
    Ok(())
}

/// Takes every stream for this process.
pub(super) fn claim(lives: &[Live]) -> Result<Vec<Claim>, Failure> {
    if lives.is_empty() {
        return Ok(Vec::new());
    }
    let claims = Claims::open()
        .map_err(|error| Failure { sentence: format!("cannot keep note of the live destinations: {error}"), code: 1 })?;
    lives
        .iter()
        .map(|live| match claims.take(&live.destination) {
            Ok(Some(claim)) => Ok(claim),
            Ok(None) => Err(Failure::operator(format_args!(
                "{} is in use: another Session on this machine streams to this address with this key",
                live.name
            ))),
            Err(error) => Err(Failure { sentence: format!("cannot keep note of the live destinations: {error}"), code: 1 }),
        })
        .collect()
}

/// The storages of these objects, by their names.
pub(super) fn stores<'a>(config: &Config, objects: impl IntoIterator<Item = &'a UploadTarget>) -> Result<Stores, Failure> {
    objects.into_iter().map(|object| Ok((object.storage.clone(), Arc::new(store(config, &object.bucket)?) as _))).collect()
}

/// The storage of the configuration, with this bucket.
pub(super) fn store(config: &Config, bucket: &str) -> Result<S3Store, Failure> {
    let storage = &config.storage;
    let missing = |what: &str, field: &str| {
        let variable = format!("ROOMCAST_STORAGE__{field}").to_uppercase();
        Failure::operator(format_args!("s3:// needs {what}: write storage.{field} into the configuration, or set {variable}"))
    };
    let access_key = storage.access_key.clone().ok_or_else(|| missing("an access key", "access_key"))?;
    let secret_key = storage.secret().map_err(Failure::operator)?;
    let secret_key = secret_key.ok_or_else(|| missing("the secret of its access key", "secret_key"))?;
    let settings = S3Settings {
        // It was checked when the configuration was read.
        endpoint: storage.endpoint.as_deref().and_then(|text| url::Url::parse(text).ok()),
        region: storage.region.clone(),
        bucket: bucket.to_owned(),
        addressing: match storage.addressing {
            config::Addressing::Path => Addressing::Path,
            config::Addressing::Host => Addressing::Host,
        },
        checksums: match storage.checksums {
            config::Checksums::WhenRequired => Checksums::WhenRequired,
            config::Checksums::WhenSupported => Checksums::WhenSupported,
        },
        ca_file: storage.ca_file.clone(),
        access_key: Secret::new(access_key),
        secret_key,
        session_token: None,
    };
    S3Store::new(&settings).map_err(|error| Failure::operator(format_args!("storage: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "[storage]\nendpoint = \"http://127.0.0.1:9\"\naccess_key = \"a\"\nsecret_key = \"canary-s\"\n\
                    [destinations.tube]\npreset = \"youtube\"\nkey = \"canary-1\"\n\
                    [destinations.own]\npreset = \"owncast\"\naddress = \"rtmp://own.example.org/live\"\nkey = \"canary-2\"\n\
                    [destinations.keyless]\npreset = \"twitch\"\n[destinations.nowhere]\nkey = \"canary-3\"\n\
                    [destinations.gaming]\npreset = \"twitch\"\nkey = \"canary-4\"\n[destinations.lost]\nrendition = \"sideways\"\n\
                    [renditions.upright]\nsize = \"720x1280\"\n[renditions.huge]\nvideo_kbps = 50000\n";
        config::parse("", text, []).unwrap()
    }

    fn sorted(to: &[&str], keys: &[&Path]) -> Result<Wanted, Failure> {
        let to: Vec<String> = to.iter().map(|text| (*text).to_owned()).collect();
        let keys: Vec<PathBuf> = keys.iter().map(|path| path.to_path_buf()).collect();
        wanted(&to, &keys, &config())
    }

    #[test]
    fn any_number_of_targets_is_sorted_out() {
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), " canary-4\n").unwrap();
        let other = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(other.path(), "canary-5").unwrap();
        let to = [
            "a/standup.mp4",
            "s3://team/2026/standup.mp4",
            "rtmp://live.example.org/app",
            "tube",
            "s3://archive/standup.mp4",
            "rtmp://live.example.org:1935/app",
            "own",
        ];
        let wanted = sorted(&to, &[key.path(), other.path()]).unwrap();
        let [recorded] = wanted.recordings.as_slice() else { panic!("{wanted:?}") };
        assert_eq!((recorded.rendition, recorded.file.as_deref()), (0, Some(Path::new("a/standup.mp4"))));
        assert_eq!(wanted.renditions.iter().map(|used| used.name.as_str()).collect::<Vec<_>>(), [PROGRAMME]);
        let objects: Vec<_> = wanted.objects().map(|o| (o.storage.as_str(), o.bucket.as_str(), o.key.as_str())).collect();
        assert_eq!(objects, [("s3", "team", "2026/standup.mp4"), ("s3-2", "archive", "standup.mp4")]);
        let names: Vec<_> = wanted.lives.iter().map(|live| live.name.as_str()).collect();
        assert_eq!(names, ["rtmp://live.example.org/app", "tube", "rtmp://live.example.org/app (2)", "own"]);
        assert_eq!(wanted.lives[0].key.expose(), "canary-4");
        assert_eq!(wanted.lives[1].address, "rtmps://a.rtmps.youtube.com/live2");
        assert!(!format!("{wanted:?}").contains("canary"));
    }

    #[test]
    fn each_target_gets_its_rendition_and_only_those_are_made() {
        let mut config = config();
        config.destinations.get_mut("own").unwrap().rendition = Some("upright".into());
        let of = |to: &[&str]| wanted(&to.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), &[], &config).unwrap();
        let all = of(&["a.mp4", "upright=b.mp4", "upright=s3://team/b.mp4", "own", "programme=tube"]);
        assert_eq!(all.renditions.iter().map(|used| used.name.as_str()).collect::<Vec<_>>(), ["programme", "upright"]);
        let recorded: Vec<_> = all.recordings.iter().map(|r| (r.rendition, r.file.clone(), r.objects.len())).collect();
        assert_eq!(recorded, [(0, Some("a.mp4".into()), 0), (1, Some("b.mp4".into()), 1)]);
        assert_eq!(all.lives.iter().map(|l| (l.name.as_str(), l.rendition)).collect::<Vec<_>>(), [("own", 1), ("tube", 0)]);
        // Nobody uses what [programme] describes.
        let one = of(&["own"]);
        assert_eq!(one.renditions.iter().map(|used| used.name.as_str()).collect::<Vec<_>>(), ["upright"]);
        assert_eq!(of(&["./c=d.mp4"]).recordings[0].file.as_deref(), Some(Path::new("./c=d.mp4")));
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_a_key() {
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), "canary-1").unwrap();
        let empty = tempfile::NamedTempFile::new().unwrap();
        let inside = "a stream key is not taken as an argument";
        let table: [(&[&str], &[&Path], &str); 23] = [
            (&["rtmp://h/app/canary"], &[key.path()], inside),
            (&["rtmp://h/app?key=canary"], &[key.path()], inside),
            (&["rtmps://u:canary@h/app"], &[key.path()], inside),
            (&["RTMP://h/app/canary"], &[key.path()], inside),
            (&["rtmp://h/app"], &[], "give one --key-file FILE for each"),
            (&["a.mp4"], &[key.path()], "give one --key-file FILE for each"),
            (&["rtmp://h/app"], &[empty.path()], "holds no stream key"),
            (&["rtmp://h/app"], &[Path::new("/nothing")], "cannot read the stream key from /nothing"),
            (&["rtmp://h"], &[key.path()], "the live address names no application"),
            (&["https://h/canary"], &[], "this --to is neither a file that ends in .mp4"),
            (
                &["twich"],
                &[],
                "--to twich is neither a file that ends in .mp4, nor s3://bucket/key.mp4, nor rtmp://host/app, nor a live destination of the configuration (gaming, keyless, lost, nowhere, own, tube)",
            ),
            (&["a.mp4", "b.mp4"], &[], "only one of the --to can be a file"),
            (&["s3://x/a.mp4"], &[], "a bucket has 3 to 63"),
            (&["s3://bucket/a.mkv"], &[], "which ends in .mp4"),
            (&["s3://bucket/a.mp4", "s3://bucket/a.mp4"], &[], "is given twice"),
            (
                &["keyless"],
                &[],
                "destinations.keyless has no stream key: write key_file = \"FILE\", or set ROOMCAST_DESTINATIONS__KEYLESS__KEY",
            ),
            (&["nowhere"], &[], "destinations.nowhere has no address"),
            (
                &["smal=a.mp4"],
                &[],
                "--to smal=…: there is no rendition \"smal\"; configured are huge, upright. A file that is called so is written ./smal=…",
            ),
            (&["upright=a.mp4", "upright=b.mp4"], &[], "a file on this machine for each rendition, and upright has two"),
            (&["a.mp4", "upright=a.mp4"], &[], "--to a.mp4 is given twice"),
            (&["upright=rtmp://h/app/canary"], &[key.path()], inside),
            (
                &["huge=gaming"],
                &[],
                "--to gaming: Twitch takes at most 6000 kbit/s of picture, and renditions.huge.video_kbps is 50000",
            ),
            (&["lost"], &[], "destinations.lost.rendition: there is no rendition \"sideways\"; configured are huge, upright"),
        ];
        for (to, keys, expected) in table {
            let failure = sorted(to, keys).unwrap_err();
            assert!(failure.sentence.contains(expected), "{to:?}: {}", failure.sentence);
            assert!(!failure.sentence.contains("canary"), "{}", failure.sentence);
            assert_eq!(failure.code, 2);
        }
        let twice = sorted(&["tube", "rtmps://a.rtmps.youtube.com/live2"], &[key.path()]).unwrap_err();
        assert_eq!(
            twice.sentence,
            "tube and rtmps://a.rtmps.youtube.com/live2 are the same stream; a server takes a stream from one sender at a time"
        );
        let mut config = config();
        config.programme.video_kbps = Some(60_000);
        let much = wanted(&["tube".into()], &[], &config).unwrap_err();
        assert_eq!(much.sentence, "--to tube: YouTube takes at most 51000 kbit/s of picture, and programme.video_kbps is 60000");
    }

    #[test]
    fn a_storage_without_keys_is_said_before_anything_begins() {
        let failure = wanted(&["s3://team/a.mp4".into()], &[], &Config::default()).unwrap_err();
        assert_eq!(
            failure.sentence,
            "s3:// needs an access key: write storage.access_key into the configuration, or set ROOMCAST_STORAGE__ACCESS_KEY"
        );
    }
}
