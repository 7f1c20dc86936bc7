//! Reads the books beside a recording, as anybody can who has read `docs/books.md`.

use std::time::{Duration, SystemTime};

use serde_json::Value;

/// One book.
#[derive(Clone, Debug)]
pub struct Book(pub Vec<Value>);

impl Book {
    /// Of its text; every line is an object.
    pub fn read(text: &[u8]) -> Book {
        let text = std::str::from_utf8(text).expect("UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {text}");
        Book(text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect())
    }

    /// The lines about this, where `field` is `entry` or `event`.
    pub fn lines<'a>(&'a self, field: &'a str, about: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |line| line[field] == about)
    }

    /// What people were shown of a Target, in its order.
    pub fn told(&self, target: &str) -> Vec<String> {
        let told = self.lines("event", "told").filter(|line| line["target"] == target);
        told.filter_map(|line| line["shown"].as_str().map(str::to_owned)).collect()
    }

    /// Whether it has its last line.
    pub fn is_closed(&self, field: &str) -> bool {
        self.0.last().is_some_and(|line| line[field] == "closed")
    }
}

/// Time from an instant of this test to a line, negative when the line was before; by the clock on the wall.
pub fn seconds_after(since: SystemTime, line: &Value) -> f64 {
    let at: jiff::Timestamp = line["at"].as_str().and_then(|at| at.parse().ok()).expect("a time of day");
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    at.as_millisecond() as f64 / 1000.0 - since
}
