//! The configuration file of OpenTalk's recorder, made into ours.
//!
//! In: the text of a `recorder.toml`, of versions 0.1 to 0.18. Out: a configuration of ours as text, a sentence for each key that has no place in it or wants
//! something done, and the secrets, which are not in the text. Pure; runs on the main thread. It refuses keys that no version had, and values that we
//! could not use, with the line and the key of the old file; no error repeats a secret.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use recorder_core::layout::bad_clock;
use recorder_core::secret::Secret;
use toml::de::{DeTable, DeValue};

use self::keys::{Fate, KEYS, Look, NO_WINDOW, SINK_KEYS};
use super::ConfigError;
use super::load::{first_line, line_of, parse};

mod keys;

/// What an old file becomes.
#[derive(Debug)]
pub struct Imported {
    /// Our configuration.
    pub toml: String,
    /// `key: sentence`, in the order of the old file.
    pub remarks: Vec<String>,
    /// What the configuration wants to find in files.
    pub secrets: Vec<KeptSecret>,
}

/// A secret of the old file.
#[derive(Debug)]
pub struct KeptSecret {
    /// Key of the old file.
    pub key: String,
    /// Name of the file in the folder of secrets.
    pub file: String,
    /// What is to stand in it.
    pub secret: Secret,
}

/// Our sections in the order in which they are written; others follow.
const SECTIONS: [&str; 7] = ["controller", "keycloak", "rabbitmq", "livekit", "serve", "strip", "http"];

/// A key of the old file.
#[derive(Clone)]
struct Origin {
    key: String,
    line: usize,
}

/// A key with its value.
struct Place<'a> {
    from: Origin,
    value: &'a DeValue<'a>,
}

/// TOML for a field of ours.
struct Field {
    value: String,
    from: Origin,
}

#[derive(Default)]
struct Import<'a> {
    name: &'a str,
    text: &'a str,
    secrets_folder: &'a str,
    /// By section and field.
    fields: BTreeMap<(String, String), Field>,
    remarks: Vec<(String, String)>,
    secrets: Vec<KeptSecret>,
    scheme: Scheme,
    domain: Option<(String, Origin)>,
    monitoring: Option<Monitoring>,
    sinks: usize,
}

/// How the old file wants the controller to be spoken to.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Scheme {
    #[default]
    Https,
    Http,
}

/// Where the old recorder could be asked whether it lives.
struct Monitoring {
    address: IpAddr,
    port: u16,
    from: Origin,
}

/// Makes a configuration of ours of the text of an old file. `name` is what errors call the file; `secrets` is the folder in which our configuration
/// looks for secrets, each in a file of its own.
///
/// # Errors
/// [`ConfigError::Syntax`] and [`ConfigError::Field`], the first thing that is wrong.
pub fn import(name: &str, text: &str, secrets: &Path) -> Result<Imported, ConfigError> {
    let old = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        file: name.into(),
        line: line_of(text, error.span()),
        message: first_line(error.message()),
    })?;
    let secrets_folder = secrets.to_string_lossy();
    let mut import = Import { name, text, secrets_folder: secrets_folder.trim_end_matches('/'), ..Import::default() };
    import.table("", old.get_ref())?;
    import.finish()
}

impl<'a> Import<'a> {
    /// Goes through a section in the order of the file.
    fn table(&mut self, path: &str, table: &'a DeTable<'a>) -> Result<(), ConfigError> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let full = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            let from = Origin { key: full, line: line_of(self.text, Some(key.span())) };
            let place = Place { from, value: value.get_ref() };
            self.look(&place)?;
        }
        Ok(())
    }

    fn look(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let key = place.from.key.as_str();
        let of_sink = key.strip_prefix("recorder.sinks.");
        let known = match of_sink {
            Some(inner) => SINK_KEYS.iter().find(|(known, _)| *known == inner),
            None => KEYS.iter().find(|(known, _)| *known == key),
        };
        if let Some((_, fate)) = known {
            return self.decide(place, fate);
        }
        let is_section = KEYS.iter().any(|(known, _)| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
        match place.value.as_table() {
            Some(inner) if is_section => self.table(key, inner),
            _ if is_section => Err(self.refuse(place, "must be a section")),
            _ => Err(self.refuse(place, "no version of OpenTalk's recorder has such a key; take it out, or correct its name")),
        }
    }

    fn decide(&mut self, place: &Place<'a>, fate: &Fate) -> Result<(), ConfigError> {
        match fate {
            Fate::Text(field) => {
                let value = self.words(place)?;
                self.put(field, quoted(value), &place.from);
            }
            Fate::Secret(field, file) => {
                let secret = Secret::new(self.words(place)?);
                self.keep(&place.from, field, file, secret);
            }
            Fate::Remark(sentence) => self.remark(&place.from, *sentence),
            Fate::Looked(look) => match look {
                Look::Domain => self.domain(place)?,
                Look::Insecure => self.insecure(place)?,
                Look::Broker => self.broker(place)?,
                Look::LiveKit => self.livekit(place)?,
                Look::MonitoringAddress => self.monitoring_address(place)?,
                Look::MonitoringPort => self.monitoring_port(place)?,
                Look::Clock => self.clock(place)?,
                Look::Sinks => self.sinks(place)?,
                Look::SinkKind => self.kind(place)?,
                Look::SinkPlace => self.location(place)?,
                Look::Stream => self.stream(place)?,
            },
        }
        Ok(())
    }

    fn refuse(&self, place: &Place<'_>, message: impl Into<String>) -> ConfigError {
        ConfigError::Field {
            file: self.name.into(),
            line: place.from.line,
            field: place.from.key.clone(),
            message: message.into(),
        }
    }

    fn words(&self, place: &Place<'a>) -> Result<&'a str, ConfigError> {
        let words = place.value.as_str().filter(|words| !words.trim().is_empty());
        words.ok_or_else(|| self.refuse(place, "must be text in quotes, and not empty"))
    }

    fn remark(&mut self, from: &Origin, sentence: impl Into<String>) {
        self.remarks.push((from.key.clone(), sentence.into()));
    }

    /// Puts TOML into `section.field`.
    fn put(&mut self, field: &str, value: String, from: &Origin) {
        let (section, name) = field.rsplit_once('.').unwrap_or(("", field));
        self.fields.insert((section.to_owned(), name.to_owned()), Field { value, from: from.clone() });
    }

    fn keep(&mut self, from: &Origin, field: &str, file: &str, secret: Secret) {
        let path = format!("{}/{file}", self.secrets_folder);
        self.put(field, quoted(&path), from);
        self.secrets.push(KeptSecret { key: from.key.clone(), file: file.to_owned(), secret });
    }

    fn domain(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        self.domain = Some((self.words(place)?.to_owned(), place.from.clone()));
        Ok(())
    }

    fn insecure(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let is_insecure = place.value.as_bool().ok_or_else(|| self.refuse(place, "must be true or false"))?;
        self.scheme = if is_insecure { Scheme::Http } else { Scheme::Https };
        Ok(())
    }

    /// `amqp://user:password@host/vhost`, in one.
    fn broker(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let bad = || self.refuse(place, "must be an address of a broker, like \"amqps://user:password@rabbitmq.example.org\"");
        let mut url = url::Url::parse(self.words(place)?).map_err(|_| bad())?;
        let (user, password) = (plain(url.username()).ok_or_else(bad)?, url.password().map(plain));
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(bad());
        }
        let password = password.map(|password| password.ok_or_else(bad)).transpose()?;
        let options = url.query().map(str::to_owned);
        url.set_query(None);
        self.put("rabbitmq.url", quoted(url.as_str()), &place.from);
        if !user.is_empty() {
            self.put("rabbitmq.user", quoted(&user), &place.from);
        }
        if options.is_some() {
            self.remark(&place.from, "what stands behind its question mark is left out: Roomcast chooses these itself.");
        }
        // Who is not named is `guest` at the old recorder, too, with that as a password.
        let secret = Secret::new(password.filter(|password| !password.is_empty()).unwrap_or_else(|| "guest".into()));
        self.keep(&place.from, "rabbitmq.password_file", "rabbitmq", secret);
        Ok(())
    }

    fn livekit(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let address = self.words(place)?;
        if address.contains("://") {
            self.put("livekit.url", quoted(address), &place.from);
        } else {
            self.put("livekit.url", quoted(&format!("ws://{address}")), &place.from);
            self.remark(
                &place.from,
                "it says not how to speak to the server; ws:// is taken, and wss:// is better where the server has it.",
            );
        }
        Ok(())
    }

    fn monitoring(&mut self, from: &Origin) -> &mut Monitoring {
        // What the old recorder listens on, when nothing else is said.
        let usual = || Monitoring { address: IpAddr::from([0, 0, 0, 0]), port: 11411, from: from.clone() };
        self.monitoring.get_or_insert_with(usual)
    }

    fn monitoring_address(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let address = self.words(place)?.parse().map_err(|_| self.refuse(place, "must be an IP address"))?;
        self.monitoring(&place.from).address = address;
        Ok(())
    }

    fn monitoring_port(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let digits = place.value.as_integer().map(|number| number.as_str()).or(place.value.as_str());
        let port =
            digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.refuse(place, "must be a port, 0 to 65535"))?;
        self.monitoring(&place.from).port = port;
        Ok(())
    }

    fn clock(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let format = self.words(place)?;
        match bad_clock(format) {
            None => self.put("strip.clock", quoted(format), &place.from),
            Some(reason) => self.remark(&place.from, format!("the clock is left as Roomcast has it, because this one {reason}.")),
        }
        Ok(())
    }

    fn sinks(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let wrong = || self.refuse(place, "must be a list of sections");
        let sinks = place.value.as_array().ok_or_else(wrong)?;
        let sinks: Option<Vec<_>> = sinks.iter().map(|sink| sink.get_ref().as_table()).collect();
        for sink in sinks.ok_or_else(wrong)? {
            self.table(&place.from.key, sink)?;
        }
        Ok(())
    }

    fn kind(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        match self.words(place)? {
            "display" => self.remark(&place.from, NO_WINDOW),
            "rtmp" => {}
            "webm" | "mp4" | "matroska" => self.remark(
                &place.from,
                "not needed: recordings are MP4, and serve.recordings says where they go, with \"controller\" among it to their meeting.",
            ),
            _ => return Err(self.refuse(place, "must be \"webm\", \"mp4\", \"matroska\", \"rtmp\" or \"display\"")),
        }
        Ok(())
    }

    /// An address of a stream, or the path of a file.
    fn location(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let location = self.words(place)?;
        if location.contains("://") {
            return self.stream(place);
        }
        let folder = Path::new(location).parent().unwrap_or(Path::new("")).join("{start}-{room}.mp4");
        self.put("serve.recordings", format!("[{}]", quoted(&folder.to_string_lossy())), &place.from);
        self.remark(&place.from, "recordings are MP4, and each has a name of its own in the same folder.");
        Ok(())
    }

    /// `rtmp://host/app/key live=1`: the key is a secret, and words behind the address are options of a library.
    fn stream(&mut self, place: &Place<'a>) -> Result<(), ConfigError> {
        let words = self.words(place)?;
        let address = words.split_whitespace().next().unwrap_or_default();
        let (address, key) =
            address.rsplit_once('/').filter(|(address, _)| address.matches('/').count() >= 3).unwrap_or((address, ""));
        if !address.starts_with("rtmp://") && !address.starts_with("rtmps://") {
            return Err(self.refuse(place, "must be an address like \"rtmp://live.example.org/app/key\""));
        }
        if words.contains("$room") {
            self.remark(
                &place.from,
                "not taken over: a stream for each room is set up in the room, as a streaming target of OpenTalk.",
            );
            return Ok(());
        }
        self.sinks += 1;
        let name = if self.sinks == 1 { "stream".to_owned() } else { format!("stream-{}", self.sinks) };
        self.put(&format!("destinations.{name}.address"), quoted(address), &place.from);
        if !key.is_empty() {
            self.keep(&place.from, &format!("destinations.{name}.key_file"), &format!("key-{name}"), Secret::new(key));
        }
        self.remark(
            &place.from,
            format!("`--to {name}` streams there; in rooms of OpenTalk the moderators choose where streams go."),
        );
        Ok(())
    }

    fn finish(mut self) -> Result<Imported, ConfigError> {
        if let Some((domain, from)) = self.domain.take() {
            let scheme = if self.scheme == Scheme::Http { "http" } else { "https" };
            self.put("controller.url", quoted(&format!("{scheme}://{domain}")), &from);
        }
        self.recordings_as_before();
        if let Some(Monitoring { address, port, from }) = self.monitoring.take() {
            self.put("http.listen", quoted(&SocketAddr::new(address, port).to_string()), &from);
            self.remark(
                &from,
                "health is answered there; status and metrics need a token of operators as well, see http.token_file.",
            );
        }
        let toml = self.written();
        match parse(self.name, &toml, []) {
            Ok(_) => {}
            Err(ConfigError::Field { field, message, .. }) => return Err(self.blame(&field, message)),
            Err(other) => return Err(other),
        }
        Ok(Imported { toml, remarks: self.told(), secrets: self.secrets })
    }

    /// Without a file of its own the old recorder hands its recordings to the controller.
    fn recordings_as_before(&mut self) {
        let has = |section: &str, name: &str| self.fields.contains_key(&(section.to_owned(), name.to_owned()));
        let is_file = has("serve", "recordings");
        let url = self.fields.get(&("controller".to_owned(), "url".to_owned())).map(|field| field.from.clone());
        if let (false, Some(from)) = (is_file, url) {
            self.put("serve.recordings", "[\"controller\"]".to_owned(), &from);
            self.remark(
                &from,
                "recordings go to the controller, as they did; a place beside it in serve.recordings keeps another copy.",
            );
        }
    }

    fn written(&self) -> String {
        let mut toml =
            String::from("# Made by `roomcast import-config`. What is not said here has its default: see docs/config.md.\n");
        let of = |section: &str| SECTIONS.iter().position(|known| *known == section).unwrap_or(SECTIONS.len());
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|((section, _), _)| of(section));
        let mut before = "";
        for ((section, name), field) in fields {
            if section != before {
                let _ = write!(toml, "\n[{section}]\n");
                before = section;
            }
            let _ = writeln!(toml, "{name} = {}", field.value);
        }
        toml
    }

    /// The error of our field as one of the key that it came from.
    fn blame(&self, field: &str, message: String) -> ConfigError {
        let ours = self.fields.iter().find(|((section, name), _)| format!("{section}.{name}").starts_with(field));
        let (key, line) = ours.map_or((field, 1), |(_, Field { from, .. })| (from.key.as_str(), from.line));
        ConfigError::Field { file: self.name.into(), line, field: key.to_owned(), message }
    }

    /// Keys with the same remark in one line.
    fn told(&self) -> Vec<String> {
        let mut told: Vec<(Vec<&str>, &str)> = Vec::new();
        for (key, sentence) in &self.remarks {
            match told.iter_mut().find(|(_, known)| known == sentence) {
                Some((keys, _)) if keys.contains(&key.as_str()) => {}
                Some((keys, _)) => keys.push(key),
                None => told.push((vec![key], sentence)),
            }
        }
        told.into_iter().map(|(keys, sentence)| format!("{}: {sentence}", keys.join(", "))).collect()
    }
}

/// As TOML writes a text.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What stands behind the `%` of a part of an address.
fn plain(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit()? << 4 | digit()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
