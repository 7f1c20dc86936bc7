//! A storage on virtual time, and a world that drives an upload against it: answers come late, get lost before or after they had their
//! effect, and the uploading process dies at any action.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use md5::{Digest, Md5};

use super::record::to_hex;
use super::trouble::{Reach, Refusal};
use super::*;

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Done,
    /// It is done, but nobody hears of it.
    AnswerLost,
    /// It never arrives.
    Lost,
    Unavailable,
    /// The storage does it, but says 503.
    DoneButUnavailable,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) identity: String,
    /// Stretches of the file, and whether the file was ended when they were read.
    pub(super) content: Vec<(Piece, bool)>,
}

/// Key and identity of an unfinished upload, and its parts: each with whether the file was ended when it was read.
pub(super) type Unfinished = (String, String, BTreeMap<u32, (Piece, bool, SentPart)>);

/// Told what happens to a request; the number is how many came before.
pub(super) type Fates = Box<dyn FnMut(u32, &Request) -> Fate>;

#[derive(Default)]
pub(super) struct FakeStorage {
    pub(super) uploads: BTreeMap<String, Unfinished>,
    pub(super) objects: BTreeMap<String, Stored>,
    pub(super) refuses: Option<Refusal>,
    /// Only these kinds of requests are refused; empty: all.
    pub(super) refuses_only: BTreeSet<&'static str>,
    pub(super) keeps_identities: bool,
    pub(super) shows_wrong_length: bool,
    /// So many requests of each kind.
    pub(super) asked: BTreeMap<&'static str, u32>,
    uploads_made: u32,
}

pub(super) fn kind(request: &Request) -> &'static str {
    match request {
        Request::FindUploads { .. } => "FindUploads",
        Request::Look { .. } => "Look",
        Request::Create { .. } => "Create",
        Request::ListParts { .. } => "ListParts",
        Request::SendPart { .. } => "SendPart",
        Request::Complete { .. } => "Complete",
        Request::Abort { .. } => "Abort",
        Request::Put { .. } => "Put",
    }
}

impl FakeStorage {
    pub(super) fn new() -> Self {
        Self { keeps_identities: true, ..Self::default() }
    }

    /// Does what is asked; the file is as it is now.
    fn perform(&mut self, request: &Request, ended: bool) -> Result<Answer, Trouble> {
        if let Some(refusal) = &self.refuses
            && (self.refuses_only.is_empty() || self.refuses_only.contains(kind(request)))
        {
            return Err(Trouble::Refused(refusal.clone()));
        }
        match request {
            Request::FindUploads { key } => Ok(Answer::Uploads(
                self.uploads.iter().filter(|(_, upload)| upload.0 == *key).map(|(id, _)| id.clone()).collect(),
            )),
            Request::Look { key } => Ok(Answer::Object(self.objects.get(key).map(|stored| Object {
                len: stored.content.iter().map(|(piece, _)| piece.len).sum::<u64>() - u64::from(self.shows_wrong_length),
                identity: self.keeps_identities.then(|| stored.identity.clone()),
                etag: Some(etag(stored)),
            }))),
            Request::Create { key, identity } => {
                self.uploads_made += 1;
                let id = format!("upload-{}", self.uploads_made);
                self.uploads.insert(id.clone(), (key.clone(), identity.clone(), BTreeMap::new()));
                Ok(Answer::Created(id))
            }
            Request::ListParts { upload_id, .. } => {
                let upload = self.uploads.get(upload_id).ok_or(Trouble::NoSuchUpload)?;
                Ok(Answer::Parts(upload.2.iter().map(|(&n, (piece, _, part))| (n, part.etag.clone(), piece.len)).collect()))
            }
            Request::SendPart { upload_id, piece, .. } => {
                let upload = self.uploads.get_mut(upload_id).ok_or(Trouble::NoSuchUpload)?;
                let part = sent(*piece, ended);
                upload.2.insert(piece.number, (*piece, ended, part.clone()));
                Ok(Answer::Sent(part))
            }
            Request::Complete { upload_id, parts, .. } => {
                let (key, identity, there) = self.uploads.get(upload_id).ok_or(Trouble::NoSuchUpload)?;
                let mut content = Vec::new();
                for (number, etag) in parts {
                    match there.get(number) {
                        Some((piece, ended, part)) if part.etag == *etag => content.push((*piece, *ended)),
                        _ => return Err(Trouble::BadParts),
                    }
                }
                assert!(content[..content.len() - 1].iter().all(|(piece, _)| piece.len >= 5 << 20), "too small: {content:?}");
                self.objects.insert(key.clone(), Stored { identity: identity.clone(), content });
                self.uploads.remove(upload_id);
                Ok(Answer::Done)
            }
            Request::Abort { upload_id, .. } => self.uploads.remove(upload_id).map(|_| Answer::Done).ok_or(Trouble::NoSuchUpload),
            Request::Put { key, identity, len } => {
                let piece = Piece { number: 1, offset: 0, len: *len };
                self.objects.insert(key.clone(), Stored { identity: identity.clone(), content: vec![(piece, ended)] });
                Ok(Answer::Sent(sent(piece, ended)))
            }
        }
    }
}

/// The content of a stretch is told by where it is, and, for the head, by when it was read.
fn sent(piece: Piece, ended: bool) -> SentPart {
    let md5 = to_hex(&sum(&(piece, ended)));
    SentPart { len: piece.len, etag: md5.clone(), md5 }
}

fn sum((piece, ended): &(Piece, bool)) -> Vec<u8> {
    Md5::digest(format!("{}+{} {}", piece.offset, piece.len, piece.offset == 0 && *ended)).to_vec()
}

fn etag(stored: &Stored) -> String {
    match &stored.content[..] {
        [whole] if whole.0.len <= plan::SINGLE_MAX => to_hex(&sum(whole)),
        parts => format!("{}-{}", to_hex(&Md5::digest(parts.iter().flat_map(sum).collect::<Vec<u8>>())), parts.len()),
    }
}

/// A process that uploads, a storage, and time.
pub(super) struct World {
    pub(super) storage: FakeStorage,
    pub(super) upload: Upload,
    pub(super) now: SessionTime,
    /// What a crash leaves.
    pub(super) saved: Record,
    /// Every state that was told, without repetitions.
    pub(super) told: Vec<State>,
    pub(super) grown: u64,
    pub(super) ended: Option<u64>,
    /// Actions until the process dies.
    pub(super) actions_left: Option<u32>,
    pub(super) actions_done: u32,
    pub(super) crashes: u32,
    pub(super) fate: Fates,
    requests: u32,
    /// Steps since time went on.
    idle: u32,
    /// Requests under way: when they arrive at the storage, when the answer is here, and of which process.
    under_way: Vec<(SessionTime, u32, RequestId, Request, Fate)>,
    answers: Vec<(SessionTime, u32, RequestId, Result<Answer, Trouble>)>,
    most_under_way: HashMap<&'static str, usize>,
}

/// One way takes this long; a byte takes a tenth of a microsecond.
const WAY: Duration = Duration::from_millis(30);
/// An answer that does not come is not waited for any longer.
const TIMEOUT: Duration = Duration::from_secs(30);

impl World {
    pub(super) fn new() -> Self {
        let record = Record::new("a/standup.mp4", "me");
        Self {
            storage: FakeStorage::new(),
            upload: Upload::begin(record.clone(), 1, SessionTime::ZERO),
            now: SessionTime::ZERO,
            saved: record,
            told: Vec::new(),
            grown: 0,
            ended: None,
            actions_left: None,
            actions_done: 0,
            crashes: 0,
            fate: Box::new(|_, _| Fate::Done),
            requests: 0,
            idle: 0,
            under_way: Vec::new(),
            answers: Vec::new(),
            most_under_way: HashMap::new(),
        }
    }

    pub(super) fn grow_to(&mut self, bytes: u64) {
        self.grown = bytes;
        self.upload.handle(Input::Grown { bytes }, self.now);
        self.act();
    }

    pub(super) fn end_at(&mut self, bytes: u64) {
        self.grown = bytes;
        self.ended = Some(bytes);
        self.upload.handle(Input::Ended { bytes }, self.now);
        self.act();
    }

    pub(super) fn abandon(&mut self) {
        self.upload.handle(Input::Abandon, self.now);
        self.act();
    }

    /// The process is killed, and another one goes on.
    pub(super) fn crash(&mut self) {
        self.crashes += 1;
        self.actions_left = None;
        self.answers.clear();
        self.upload = Upload::resume(self.saved.clone(), u64::from(self.crashes), self.now);
        match self.ended {
            Some(bytes) => self.end_at(bytes),
            None => self.grow_to(self.grown),
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.upload.poll_action() {
            if let Some(left) = &mut self.actions_left {
                if *left == 0 {
                    return self.crash();
                }
                *left -= 1;
            }
            self.actions_done += 1;
            match action {
                Action::Save(record) => self.saved = *record,
                Action::Tell(status) if self.told.last() == Some(&status.state) => {}
                Action::Tell(status) => self.told.push(status.state),
                Action::Ask { id, request } => {
                    let fate = (self.fate)(self.requests, &request);
                    self.requests += 1;
                    *self.storage.asked.entry(kind(&request)).or_default() += 1;
                    let len = match &request {
                        Request::SendPart { piece, .. } => piece.len,
                        Request::Put { len, .. } => *len,
                        _ => 0,
                    };
                    self.under_way.push((self.now + WAY + Duration::from_nanos(len * 100), self.crashes, id, request, fate));
                    for (name, count) in counts(&self.under_way, self.crashes) {
                        let most = self.most_under_way.entry(name).or_default();
                        *most = (*most).max(count);
                    }
                }
            }
        }
    }

    /// To the next thing that happens; false when nothing will.
    fn step(&mut self, until: SessionTime) -> bool {
        let arrival = self.under_way.iter().map(|request| request.0);
        let answer = self.answers.iter().map(|answer| answer.0);
        let Some(next) = arrival.chain(answer).chain(self.upload.poll_wake()).min().filter(|&next| next <= until) else {
            self.now = until.max(self.now);
            return false;
        };
        self.idle = if next > self.now { 0 } else { self.idle + 1 };
        assert!(self.idle < 1000, "time stands still: {:?}", self.upload);
        self.now = next.max(self.now);
        if let Some(index) = self.under_way.iter().position(|request| request.0 <= self.now) {
            let (_, process, id, request, fate) = self.under_way.remove(index);
            let done = matches!(fate, Fate::Done | Fate::AnswerLost | Fate::DoneButUnavailable);
            let answer = done.then(|| self.storage.perform(&request, self.ended.is_some()));
            let (pause, answer) = match (fate, answer) {
                (Fate::Done, Some(answer)) => (WAY, answer),
                (Fate::Unavailable | Fate::DoneButUnavailable, _) => (WAY, Err(Trouble::Unavailable)),
                _ => (TIMEOUT, Err(Trouble::Unreachable(Reach::NoAnswer))),
            };
            self.answers.push((self.now + pause, process, id, answer));
        } else if let Some(index) = self.answers.iter().position(|answer| answer.0 <= self.now) {
            let (_, process, id, answer) = self.answers.remove(index);
            if process == self.crashes {
                self.upload.handle(Input::Answered { id, answer }, self.now);
            }
        } else {
            self.upload.handle(Input::Woken, self.now);
        }
        self.act();
        true
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Until the upload has nothing left to do, at most a day. Returns how long it took.
    pub(super) fn run_to_the_end(&mut self) -> Duration {
        let (begin, until) = (self.now, self.now + Duration::from_secs(86_400));
        while !self.upload.is_over() {
            assert!(self.step(until), "not at its end: {:?}", self.upload);
        }
        let took = self.now.since(begin);
        // What is still under way arrives.
        self.run_for(Duration::from_secs(60));
        took
    }

    /// Exactly one object, ours, with the right bytes; and no upload but those of others.
    pub(super) fn assert_whole(&self, key: &str) {
        let len = self.ended.expect("the file was ended");
        let stored = &self.storage.objects[key];
        assert_eq!(stored.identity, "me");
        let mut at = 0;
        for (piece, was_ended) in &stored.content {
            assert_eq!(piece.offset, at, "{stored:?}");
            assert!(piece.offset > 0 || *was_ended, "the head was read too early");
            at = piece.end();
        }
        assert_eq!(at, len);
        assert!(self.storage.uploads.values().all(|upload| upload.1 != "me"), "{:?}", self.storage.uploads.keys());
        assert_eq!(self.upload.status().state, State::Stored);
        assert_eq!(self.saved.step, Step::Stored);
        assert!(self.most_under_way.iter().all(|(name, &most)| most <= if *name == "SendPart" { PARTS_AT_ONCE } else { 1 }));
    }
}

fn counts(under_way: &[(SessionTime, u32, RequestId, Request, Fate)], process: u32) -> HashMap<&'static str, usize> {
    let mut counts = HashMap::new();
    for request in under_way.iter().filter(|request| request.1 == process) {
        *counts.entry(kind(&request.3)).or_default() += 1;
    }
    counts
}
