//! The supervisor's part of a Session whose recording goes into a storage.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use recorder_core::ids::SessionId;
use recorder_core::upload::State;
use roomcast::storage::disk::SystemDisk;
use roomcast::storage::outbox::{self, Fortune, UploadTarget};
use roomcast::storage::recording_uploads::Uploads;
use roomcast::storage::s3::{S3Settings, S3Store};
use roomcast::storage::uploader::ObjectStore;
use roomcast::storage::{Finished, RecordingUploads, Spool, finalise};

use super::s3::{S3Server, SECRET_KEY};
use super::spool::{Take, headers};

const MIB: u64 = 1 << 20;
/// Of a picture, so that a recording is large soon.
pub const PICTURE: usize = 300_000;

/// A supervisor's part of a Session whose recording goes into the storage `archive`.
pub struct Session {
    pub base: tempfile::TempDir,
    pub folder: PathBuf,
    pub runtime: tokio::runtime::Runtime,
    pub uploads: Option<RecordingUploads>,
}

/// Where the recording is wanted beside the storage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Local {
    Wanted,
    StorageOnly,
}

impl Session {
    pub fn new(local: Local) -> Self {
        let base = tempfile::tempdir().expect("a folder");
        let wanted = base.path().join("standup.mp4");
        let id = SessionId::new("session-1");
        let spool = match local {
            Local::Wanted => Spool::create(&SystemDisk, &wanted, &id),
            Local::StorageOnly => Spool::create_for_uploads(&SystemDisk, &base.path().join("session-1.roomcast"), &id),
        };
        let folder = spool.expect("a spool").folder().to_path_buf();
        let target = UploadTarget { storage: "archive".into(), bucket: "recordings".into(), key: "team/standup.mp4".into() };
        outbox::declare(&SystemDisk, &folder, &id, &[target]).expect("declared");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        Self { base, folder, runtime, uploads: None }
    }

    /// One whose uploads run.
    pub fn started(local: Local, settings: &S3Settings) -> Self {
        let mut session = Self::new(local);
        session.start(settings);
        session
    }

    /// Starts the uploads, or goes on with them as a new process does.
    pub fn start(&mut self, settings: &S3Settings) {
        self.start_with(Arc::new(S3Store::new(settings).expect("a client")));
    }

    /// The same, by another way to the storage.
    pub fn start_with(&mut self, store: Arc<dyn ObjectStore>) {
        let _inside = self.runtime.enter();
        let stores = BTreeMap::from([("archive".to_owned(), store)]);
        // The process before has to be gone.
        self.uploads = None;
        let uploads = RecordingUploads::start(stores, Arc::new(SystemDisk), self.folder.clone());
        self.uploads = Some(uploads.expect("nobody else uploads"));
    }

    pub fn uploads(&self) -> &RecordingUploads {
        self.uploads.as_ref().expect("started")
    }

    /// Records until the disk has so many bytes, and tells the uploads on the way.
    pub fn record(&self, take: &mut Take, bytes: u64) {
        while take.bytes < bytes {
            take.grow_to((take.bytes + MIB).min(bytes));
            self.uploads().written(&take.file, take.bytes);
        }
    }

    /// A recording of this length, ended, with uploads that run.
    pub fn recorded(&self, bytes: u64) {
        let mut take = Take::begin(&self.folder, 1, headers(360), PICTURE.min(bytes as usize / 64));
        self.record(&mut take, bytes);
        take.end();
        self.finalise();
    }

    /// Makes the ordinary files of what is recorded, and tells the uploads.
    pub fn finalise(&self) -> Vec<Finished> {
        let finalised = finalise(&SystemDisk, &self.folder).expect("finalised");
        self.uploads().finalised();
        finalised.files
    }

    /// Another process goes on with the uploads of a recording that is ended.
    pub fn go_on(&mut self, settings: &S3Settings) {
        self.start(settings);
        self.uploads().finalised();
    }

    /// Waits until the uploads stand so.
    pub fn until(&self, limit: Duration, what: &str, is_so: impl Fn(&Uploads) -> bool) -> Uploads {
        let mut status = self.uploads().status();
        let last = status.clone();
        let seen = self.runtime.block_on(async {
            tokio::time::timeout(limit, status.wait_for(|uploads| is_so(uploads)))
                .await
                .map(|seen| seen.expect("it runs").clone())
        });
        seen.unwrap_or_else(|_| panic!("not within {limit:?}: {what}; {:?}", last.borrow()))
    }

    pub fn until_over(&self, limit: Duration) -> Uploads {
        self.until(limit, "all uploads are over", |uploads| uploads.over)
    }

    pub fn until_refused(&self, words: &str) {
        let refused = |uploads: &Uploads| {
            uploads
                .each
                .iter()
                .any(|upload| matches!(&upload.status.state, State::Refused(fault) if fault.sentence.contains(words)))
        };
        self.until(Duration::from_secs(5), words, refused);
    }

    pub fn kept_file(&self) -> PathBuf {
        self.folder.join("upload/recording.mp4")
    }

    /// Waits until all uploads are over; the recording is in the storage then.
    pub fn is_stored_within(&self, limit: Duration, server: &S3Server) {
        self.until_over(limit);
        self.assert_stored(server, "team/standup.mp4");
    }

    /// Exactly one object, with the bytes of the local copy, which is kept; nothing unfinished; and nothing secret in the folder.
    pub fn assert_stored(&self, server: &S3Server, key: &str) {
        assert_eq!(server.keys(), [key]);
        assert_eq!(server.uploads(), [""; 0]);
        let kept = std::fs::read(self.kept_file()).expect("the local copy is kept");
        assert!(server.object(key) == kept, "other bytes");
        let fortune = outbox::fortune(&SystemDisk, &self.kept_file()).expect("readable");
        assert_eq!(fortune, Fortune::Ended(kept.len() as u64));
        for entry in std::fs::read_dir(self.folder.join("upload")).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let text = std::fs::read_to_string(path).expect("a journal");
                assert!(!text.contains(SECRET_KEY), "{text}");
            }
        }
    }
}
