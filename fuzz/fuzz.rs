//! One parser under libFuzzer: the one of `roomcast::fuzzing` that the variable PARSER names.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use roomcast::fuzzing::{PARSERS, Parser};

static CHOSEN: OnceLock<Parser> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let parser = CHOSEN.get_or_init(|| {
        let name = std::env::var("PARSER").unwrap_or_default();
        let chosen = PARSERS.into_iter().find(|(known, _)| *known == name);
        chosen.map(|(_, parser)| parser).unwrap_or_else(|| panic!("PARSER is one of {:?}", PARSERS.map(|(known, _)| known)))
    });
    parser(bytes);
});
