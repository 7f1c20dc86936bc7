//! Makes the encoded loops of the test card: `make_loops DIR PEOPLE [textured]`. Existing files are kept.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use roomcast::rehearsal::card::PEOPLE;
use roomcast::rehearsal::loops::{self, Layer};
use roomcast::rehearsal::picture::Surface;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let surface = match arguments.get(2).map(String::as_str) {
        None => Surface::Plain,
        Some("textured") => Surface::Textured,
        Some(other) => bail!("the surface {other} is not known"),
    };
    ensure!((2..=3).contains(&arguments.len()), "usage: make_loops DIR PEOPLE [textured]");
    let people: usize = arguments[1].parse().context("PEOPLE is not a number")?;
    ensure!((1..=PEOPLE.len()).contains(&people), "PEOPLE is from 1 to {}", PEOPLE.len());
    loops::ensure_on(surface, Path::new(&arguments[0]), people, &Layer::ALL)?;
    Ok(())
}
