//! Every file of `fuzz/corpus` through its parser: what once broke one is in there, and stays mended.

#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use roomcast::fuzzing::PARSERS;

/// Far above what any of them takes on a busy machine; a parser that hangs takes longer.
const LONGEST: Duration = Duration::from_secs(20);

#[test]
fn every_file_of_the_corpus_is_read_or_refused_in_time() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).expect("folder").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let known: BTreeSet<String> = PARSERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus), known);
    for (name, parser) in PARSERS {
        let files = names(&corpus.join(name));
        assert!(!files.is_empty(), "{name} has a corpus");
        for file in files {
            let bytes = fs::read(corpus.join(name).join(&file)).expect("a file of the corpus");
            let (done, ended) = channel();
            let reader = std::thread::spawn(move || {
                parser(&bytes);
                done.send(()).expect("somebody waits");
            });
            ended.recv_timeout(LONGEST).unwrap_or_else(|_| panic!("{name}/{file} breaks its parser, or it hangs"));
            reader.join().expect("it has ended");
        }
    }
}
