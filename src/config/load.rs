//! File and environment to [`Config`].
//!
//! Each value is first tried alone on top of the defaults, so that an error can name the line or the variable that it came from.

use std::ops::Range;
use std::path::{Path, PathBuf};

use recorder_core::secret::Secret;
use toml::de::DeTable;
use toml::{Table, Value};

use super::Config;

/// What is wrong with the configuration, in one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {}", path.display(), reason(.source))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A secret's file is empty.
    #[error("{} is empty; it must hold the secret", .0.display())]
    EmptySecret(PathBuf),
    /// The operators' token can be guessed; it needs so many characters.
    #[error("http.token has fewer than {0} characters; make one with: openssl rand -hex 32")]
    ShortToken(usize),
    /// Not TOML. The line itself is not repeated: it may hold a secret.
    #[error("{file}, line {line}: {message}")]
    Syntax {
        /// Name of the file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A value in the file.
    #[error("{file}, line {line}: {field}: {message}")]
    Field {
        /// Name of the file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// `section.field`.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A value in the environment.
    #[error("environment variable {variable}: {message}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong.
        message: String,
    },
    /// Both ways of giving one secret.
    #[error("{field} and {field}_file are both given; keep one of them")]
    TwoSecrets {
        /// The one that is not a file.
        field: String,
    },
}

/// The reason of an I/O error in plain words, without the number of the operating system.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or_default();
    let mut chars = plain.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// Prefix of all variables; section and field are separated by two underscores: `ROOMCAST_MIXER__DELAY=800ms`.
const PREFIX: &str = "ROOMCAST_";

/// Reads `file` if one is given, then the environment `variables`.
///
/// # Errors
/// The first thing that is wrong.
pub fn load(file: Option<&Path>, variables: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?,
        None => String::new(),
    };
    let name = file.map(|path| path.display().to_string()).unwrap_or_default();
    parse(&name, &text, variables)
}

/// As [`load`], with the text of the file; `name` is what errors call it.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(name: &str, text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let mut table = from_file(name, text)?;
    let mut variables: Vec<_> = variables.into_iter().filter(|(variable, _)| variable.starts_with(PREFIX)).collect();
    variables.sort();
    for (variable, value) in variables {
        from_variable(&mut table, variable, &value)?;
    }
    let whole = |message| ConfigError::Field { file: name.into(), line: 1, field: "configuration".into(), message };
    let config = Config::deserialize_table(table).map_err(|(field, message)| whole(format!("{field}: {message}")))?;
    config.two_secrets().map_or(Ok(config), |field| Err(ConfigError::TwoSecrets { field }))
}

/// The secret that a file holds.
///
/// # Errors
/// It cannot be read, or holds nothing.
pub(super) fn secret_file(path: &Path) -> Result<Secret, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    let text = text.trim();
    if text.is_empty() { Err(ConfigError::EmptySecret(path.into())) } else { Ok(Secret::new(text)) }
}

impl Config {
    /// The first secret that is given in two ways.
    fn two_secrets(&self) -> Option<String> {
        let Self { livekit, storage, http, keycloak, rabbitmq, destinations, .. } = self;
        let fixed = [
            ("livekit.api_secret", livekit.api_secret.is_some() && livekit.api_secret_file.is_some()),
            ("http.token", http.token.is_some() && http.token_file.is_some()),
            ("storage.secret_key", storage.secret_key.is_some() && storage.secret_key_file.is_some()),
            ("keycloak.client_secret", keycloak.client_secret.is_some() && keycloak.client_secret_file.is_some()),
            ("rabbitmq.password", rabbitmq.password.is_some() && rabbitmq.password_file.is_some()),
        ];
        let named = destinations.iter().find(|(_, one)| one.key.is_some() && one.key_file.is_some());
        let fixed = fixed.into_iter().find(|(_, both)| *both).map(|(field, _)| field.to_owned());
        fixed.or_else(|| named.map(|(name, _)| format!("destinations.{name}.key")))
    }

    /// The defaults with `table` on top, or a field (may be empty) and what is wrong with it.
    fn deserialize_table(table: Table) -> Result<Self, (&'static str, String)> {
        let config: Self = table.try_into().map_err(|e: toml::de::Error| ("", first_line(e.message())))?;
        match config.out_of_range() {
            Some(wrong) => Err(wrong),
            None => Ok(config),
        }
    }
}

pub(super) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or("not understood");
    line.replace("expected u32", "expected a whole number").replace("expected i32", "expected a whole number")
}

/// `value` in its place, and nothing else.
fn alone(section: &str, field: Option<&str>, value: Value) -> Table {
    let inner = match field {
        Some(field) => Value::Table(Table::from_iter([(field.to_owned(), value)])),
        None => value,
    };
    Table::from_iter([(section.to_owned(), inner)])
}

pub(super) fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    1 + before.matches('\n').count()
}

fn from_file(name: &str, text: &str) -> Result<Table, ConfigError> {
    let syntax = |e: toml::de::Error| ConfigError::Syntax {
        file: name.into(),
        line: line_of(text, e.span()),
        message: first_line(e.message()),
    };
    let places = DeTable::parse(text).map_err(syntax)?;
    let table: Table = text.parse().map_err(syntax)?;
    for (section, section_place) in places.get_ref() {
        let Some(value) = table.get(section.get_ref().as_ref()) else { continue };
        let refuse = |span: Range<usize>, field: String, message| {
            Err(ConfigError::Field { file: name.into(), line: line_of(text, Some(span)), field, message })
        };
        let section_name = section.get_ref().as_ref();
        let (Some(fields), Value::Table(values)) = (section_place.get_ref().as_table(), value) else {
            let Err((_, message)) = Config::deserialize_table(alone(section_name, None, value.clone())) else { continue };
            return refuse(section.span(), section_name.into(), message);
        };
        // A section without fields is tried as it is, so that its name is checked.
        if let (true, Err((_, message))) =
            (values.is_empty(), Config::deserialize_table(alone(section_name, None, value.clone())))
        {
            return refuse(section.span(), section_name.into(), message);
        }
        let mut places: Vec<_> = fields.keys().collect();
        places.sort_by_key(|key| key.span().start);
        for key in places {
            let field = key.get_ref().as_ref();
            let Some(value) = values.get(field) else { continue };
            if let Err((_, message)) = Config::deserialize_table(alone(section_name, Some(field), value.clone())) {
                return refuse(key.span(), format!("{section_name}.{field}"), message);
            }
        }
    }
    Ok(table)
}

/// How serde begins when a value is of another type.
const WRONG_TYPE: &str = "invalid type";

/// Puts the value of one variable into `table`. Text is tried first, then whatever TOML it is (numbers, true and false).
fn from_variable(table: &mut Table, variable: String, text: &str) -> Result<(), ConfigError> {
    let name = variable[PREFIX.len()..].to_ascii_lowercase();
    let Some((section, path)) = name.split_once("__") else { return near_miss(variable, &name) };
    // `destinations__NAME__FIELD`: one level deeper.
    let (field, inner) = path.split_once("__").map_or((path, None), |(field, inner)| (field, Some(inner)));
    let placed = |value: Value| match inner {
        Some(inner) => Value::Table(Table::from_iter([(inner.to_owned(), value)])),
        None => value,
    };
    let as_text = Value::String(text.to_owned());
    let as_toml = format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    let mut wrong = None;
    for value in [Some(as_text), as_toml].into_iter().flatten() {
        match Config::deserialize_table(alone(section, Some(field), placed(value.clone()))) {
            Ok(_) => {
                put(table, [Some(section), Some(field), inner].into_iter().flatten(), value);
                return Ok(());
            }
            // What the text means matters more than that it is text.
            Err((_, message)) if wrong.is_none() || !message.starts_with(WRONG_TYPE) => wrong = Some(message),
            Err(_) => {}
        }
    }
    Err(ConfigError::Variable { variable, message: wrong.unwrap_or_default() })
}

/// Puts a value where its path leads, making the tables on the way.
fn put<'a>(table: &mut Table, mut path: impl Iterator<Item = &'a str>, value: Value) {
    let Some(first) = path.next() else { return };
    let mut path = path.peekable();
    if path.peek().is_none() {
        table.insert(first.to_owned(), value);
    } else if let Value::Table(inner) = table.entry(first).or_insert_with(|| Value::Table(Table::new())) {
        put(inner, path.collect::<Vec<_>>().into_iter(), value);
    }
}

/// A variable that begins like a section but has one underscore only would be ignored in silence.
fn near_miss(variable: String, name: &str) -> Result<(), ConfigError> {
    let Ok(defaults) = Table::try_from(Config::default()) else { return Ok(()) };
    let missed = defaults.keys().find_map(|section| Some((section, name.strip_prefix(section.as_str())?.strip_prefix('_')?)));
    match missed {
        Some((section, field)) => {
            let right = format!("{PREFIX}{section}__{field}").to_ascii_uppercase();
            let message = format!("section and field are separated by two underscores; write {right}");
            Err(ConfigError::Variable { variable, message })
        }
        None => Ok(()),
    }
}
