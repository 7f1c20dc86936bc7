//! The books as they lie on the disk; among them the story that `docs/books.md` tells.

use std::path::Path;

use recorder_core::books::Note;
use recorder_core::conference::Light;
use recorder_core::fault::{Blame, Retry, Scope};
use recorder_core::ids::{ParticipantId, TakeId};
use recorder_core::secret::Pii;

use super::*;

fn at(s: f64) -> SessionTime {
    SessionTime::from_millis((s * 1000.0) as u64)
}

fn books(on: bool) -> Books {
    let noon: Timestamp = "2026-11-22T12:00:02.5Z".parse().unwrap();
    let rule = ConsentRule::Asked { call_in_included: false };
    Books::new(on, SessionId::new("1795348800-17-1"), rule, "auto", (noon, at(2.5)))
}

fn file() -> TargetId {
    TargetId::new("26bbe290-2935-447a-80ab-6ab7ffaf4d73")
}

fn read(folder: &Path, book: Book) -> String {
    std::fs::read_to_string(folder.join(book.file_name())).unwrap()
}

/// The n-th block of this language in a page.
fn block(page: &str, n: usize) -> &str {
    page.split("```jsonl\n").nth(n).unwrap().split("```").next().unwrap()
}

fn joins(books: &mut Books, s: f64, who: &str, name: &str) {
    books.note(at(s), Note::Joined { participant: ParticipantId::new(who), name: Pii::new(name) });
}

fn consents(books: &mut Books, s: f64, who: &str, given: bool, by: &str) {
    books.note(at(s), Note::Consent { participant: ParticipantId::new(who), given, by: by.into() });
}

#[test]
fn the_page_about_books_shows_them_as_they_are() {
    let page = include_str!("../../docs/books.md");
    let folder = tempfile::tempdir().unwrap();
    let mut books = books(true);
    books.note(at(0.4), Note::Entered);
    joins(&mut books, 0.4, "4f1d", "Ada");
    consents(&mut books, 0.4, "4f1d", true, "control join_success");
    joins(&mut books, 0.4, "9c02", "Björn");
    books.note(at(0.4), Note::Listed);
    books.begin(&file(), 1, at(0.41));
    books.wanted(&file(), What::Recording, at(0.41));
    books.note(at(0.42), Note::TakeBegins { target: file(), take: TakeId(1), from: at(0.4) });
    // The folder is made meanwhile.
    books.place(&file(), 1, folder.path().into());
    let told = |shown| Note::Told { target: file(), shown, code: None, message: None };
    books.note(at(0.42), told(Light::Starting));
    books.note(at(1.2), told(Light::Active));
    consents(&mut books, 60.4, "9c02", true, "control update");
    books.layout("speaker", at(100.4));
    consents(&mut books, 120.4, "4f1d", false, "control update");
    let sentence = "A live platform refuses the stream key.".to_owned();
    let fault = Fault { scope: Scope::Target, blame: Blame::Destination, retry: Retry::Never, sentence };
    books.fault(Some(&TargetId::new("77ac")), &fault, at(150.4));
    books.note(at(180.4), Note::Left { participant: ParticipantId::new("4f1d") });
    books.note(at(200.4), Note::TakeEnds { target: file(), until: at(200.4), pauses: false });
    books.note(at(200.4), told(Light::Inactive));
    books.close(&file(), 1, at(201.0)).unwrap().wait();
    assert_eq!(read(folder.path(), Book::Ledger), block(page, 1));
    assert_eq!(read(folder.path(), Book::Events), block(page, 2));
}

#[test]
fn each_recording_has_books_of_its_own_and_where_they_are_off_there_are_none() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut books = books(true);
    joins(&mut books, 1.0, "a", "Ada");
    for (run, folder) in (1..).zip(&folders) {
        books.begin(&file(), run, at(2.0));
        books.place(&file(), run, folder.path().into());
        books.note(at(3.0), Note::TakeBegins { target: file(), take: TakeId(1), from: at(3.0) });
        books.note(at(4.0), Note::TakeEnds { target: file(), until: at(4.0), pauses: false });
        assert!(books.close(&file(), run + 1, at(5.0)).is_none(), "another one");
        books.close(&file(), run, at(5.0)).unwrap().wait();
    }
    let [first, second] = folders.each_ref().map(|folder| read(folder.path(), Book::Events));
    assert_eq!(first, second);
    assert!(first.lines().nth(2).unwrap().ends_with(r#""event":"joined","who":"person-1"}"#), "{first}");
    let mut books = self::books(false);
    books.begin(&file(), 1, at(2.0));
    books.place(&file(), 1, folders[0].path().into());
    assert!(books.close(&file(), 1, at(5.0)).is_none());
}

#[test]
fn a_film_goes_on_where_a_worker_that_died_left_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut books = books(true);
    books.begin(&file(), 1, at(0.0));
    books.place(&file(), 1, folder.path().into());
    books.note(at(1.0), Note::TakeBegins { target: file(), take: TakeId(1), from: at(1.0) });
    books.worker_died(|_| Some(at(3.5)));
    books.note(at(5.0), Note::TakeBegins { target: file(), take: TakeId(2), from: at(5.0) });
    joins(&mut books, 6.0, "a", "Ada");
    // The file has a little more than was told before the worker died.
    books.take_lies(&file(), at(5.1), Duration::from_secs(3));
    joins(&mut books, 6.1, "b", "Björn");
    books.close_all(at(7.0)).into_iter().for_each(Closing::wait);
    let events = read(folder.path(), Book::Events);
    let position = |event: &str| {
        let line = events.lines().find(|line| line.contains(event)).unwrap();
        serde_json::from_str::<serde_json::Value>(line).unwrap()["film_s"].as_f64()
    };
    assert_eq!(
        (position("crashed"), position(r#""take":2"#), position("person-1")),
        (Some(2.5), Some(2.5), Some(3.5)),
        "{events}"
    );
    assert_eq!(position("person-2"), Some(4.0), "{events}");
}

#[test]
fn a_film_that_an_earlier_supervisor_began_has_positions_when_its_writer_has_told_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut books = books(true);
    books.go_on(&file(), 1, folder.path().into(), at(0.0));
    books.note(at(1.0), Note::TakeBegins { target: file(), take: TakeId(2), from: at(1.0) });
    joins(&mut books, 1.1, "a", "Ada");
    books.take_lies(&file(), at(1.0), Duration::from_secs(300));
    joins(&mut books, 2.0, "b", "Björn");
    books.close_all(at(7.0)).into_iter().for_each(Closing::wait);
    let events = read(folder.path(), Book::Events);
    let line = |event: &str| serde_json::from_str(events.lines().find(|line| line.contains(event)).unwrap()).unwrap();
    let [took, first, second]: [serde_json::Value; 3] = [r#""take":2"#, "person-1", "person-2"].map(line);
    assert_eq!([&took["film_s"], &first["film_s"]], [&serde_json::Value::Null; 2], "{events}");
    assert_eq!(second["film_s"].as_f64(), Some(301.0), "{events}");
}
