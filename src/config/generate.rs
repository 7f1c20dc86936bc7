//! `docs/config.md` and `samples/config.toml`, made from the doc comments and the defaults of [`Config`].
//!
//! `cargo run -- generate` writes both into the current folder; a test fails when they differ from what is here.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::Config;

/// Makes the text of one file.
pub type Maker = fn() -> String;

/// Where the two files stand, and what makes them.
pub const FILES: [(&str, Maker); 2] = [("docs/config.md", reference), ("samples/config.toml", sample)];

/// Writes both files under `root`.
///
/// # Errors
/// A folder or file cannot be written.
pub fn write(root: &Path) -> std::io::Result<()> {
    for (path, text) in FILES {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text())?;
    }
    Ok(())
}

struct Field {
    name: String,
    kind: String,
    meaning: String,
    /// As TOML; `None` when the field may be absent and is by default.
    default: Option<String>,
    example: String,
}

struct Section {
    name: String,
    /// It holds sections with names of the operator's choice, each with these fields.
    of_named: bool,
    meaning: String,
    fields: Vec<Field>,
}

/// The reference, one table a section.
fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Made from the source by `cargo run -- generate`; do not edit.\n\n\
         One TOML file, given with `--config FILE` or the variable `ROOMCAST_CONFIG`. Each value can be set by an environment variable\n\
         instead, which has precedence: `ROOMCAST_`, the section, two underscores, the field. Command-line options have precedence over\n\
         both. Lengths of time are written `500ms`, `60s`, `2m` or `12h`. An unknown field or a value out of range is an error.\n",
    );
    for section in sections() {
        let (title, infix) =
            if section.of_named { (format!("{}.NAME", section.name), "__NAME") } else { (section.name.clone(), "") };
        let _ = write!(page, "\n## [{title}]\n\n{}\n\n", section.meaning);
        page.push_str("| field | type | default | variable | meaning |\n| --- | --- | --- | --- | --- |\n");
        for Field { name, kind, meaning, default, .. } in section.fields {
            let default = default.map_or("none".into(), |d| format!("`{d}`"));
            let variable = format!("ROOMCAST_{}{infix}__{name}", section.name).to_uppercase();
            let _ = writeln!(page, "| `{name}` | {kind} | {default} | `{variable}` | {meaning} |");
        }
    }
    page
}

/// All defaults as TOML; fields that are absent by default stand as comments.
fn sample() -> String {
    let mut text = String::from(
        "# Every setting of Roomcast with its default. Made from the source by `cargo run -- generate`; docs/config.md says more.\n",
    );
    for section in sections() {
        let _ = write!(text, "\n{}[{}]\n", comment(&section.meaning), section.name);
        for Field { name, meaning, default, example, .. } in section.fields {
            text.push_str(&comment(&meaning));
            let name = if section.of_named { format!("name.{name}") } else { name };
            let _ = match default {
                Some(default) => writeln!(text, "{name} = {default}"),
                None => writeln!(text, "# {name} = {example}"),
            };
        }
    }
    text
}

/// `text` as comment lines of at most 110 characters.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= 110) {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        lines.push(format!("# {word}"));
    }
    lines.join("\n") + "\n"
}

fn sections() -> Vec<Section> {
    let schema = schemars::schema_for!(Config).to_value();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let properties = |of: &Value| of["properties"].as_object().cloned().unwrap_or_default();
    let section = |(name, place): (String, Value)| {
        let shape = resolve(&schema, &place);
        let of_named = shape["additionalProperties"].is_object();
        let shape = if of_named { resolve(&schema, &shape["additionalProperties"]) } else { shape };
        let fields = properties(shape).into_iter().map(|(field, about)| {
            let default = defaults[&name].get(&field).map(Value::to_string);
            describe(&schema, field, &about, default)
        });
        Section { meaning: text_of(&place["description"]), fields: fields.collect(), of_named, name }
    };
    properties(&schema).into_iter().map(section).collect()
}

/// Where a `$ref` points; a schema without one is itself.
fn resolve<'a>(schema: &'a Value, place: &'a Value) -> &'a Value {
    let target = place["$ref"].as_str().and_then(|path| schema.pointer(path.trim_start_matches('#')));
    target.unwrap_or(place)
}

fn describe(schema: &Value, name: String, about: &Value, default: Option<String>) -> Field {
    let shape = resolve(schema, about);
    let words: Vec<String> =
        shape["oneOf"].as_array().into_iter().flatten().map(|one| format!("`{}`", text_of(&one["const"]))).collect();
    let kind = match (shape["format"].as_str(), shape["type"].as_str()) {
        _ if !words.is_empty() => words.join(" or "),
        (Some(format @ ("length of time" | "size")), _) => format.into(),
        (_, Some("integer")) => "number".into(),
        (_, Some("array")) => "list of texts".into(),
        (_, Some("boolean")) => "`true` or `false`".into(),
        _ => "text".into(),
    };
    let example = about["examples"].get(0).map(Value::to_string).unwrap_or_default();
    Field { name, kind, meaning: text_of(&about["description"]), default, example }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
