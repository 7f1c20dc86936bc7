//! Hands the finished films of one recording to the controller whose room it was.
//!
//! In: a spool folder whose files are ended, with a plan ([`super::controller_outbox`]); connections of a [`Courier`]. Out: uploads, their notes in the plan,
//! and how they stand. One future, on the tokio task that polls it; the disk is waited for on tokio's blocking threads. Films go one after the other, and of
//! each one part at a time is in memory. What to do is decided by [`recorder_core::controller_upload`]. Dropping the future stops as a crash does.
//! It refuses to call anything confirmed: the controller never says what it has stored.

use std::mem::{Discriminant, discriminant};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use recorder_core::controller_upload::{Action, ControllerUpload, End, Input, Part, Record, Refusal, State, Status, Step};
use recorder_core::time::SessionTime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::StorageError;
use super::controller_outbox::{Film, Plan};
use super::disk::Disk;
use super::outbox::{Fortune, fortune, unix_now};

/// A plan that cannot be saved is tried again after this time.
const SAVE_AGAIN: Duration = Duration::from_secs(5);
/// What films are; the controller puts it behind their names.
pub const EXTENSION: &str = "mp4";

/// Who connects to a controller.
pub trait Courier: Send + Sync + 'static {
    /// Opens a connection for one film, within limits of time of its own. `began_at` is in seconds since 1970.
    fn open(&self, room: String, began_at: u64) -> BoxFuture<'static, Result<Box<dyn Passage>, Refusal>>;
}

/// A connection for one film. It is dropped to end it.
pub trait Passage: Send {
    /// Hands one frame to the network, and answers the controller's pings meanwhile.
    fn send(&mut self, frame: Vec<u8>) -> BoxFuture<'_, Result<(), End>>;
    /// Says goodbye, and waits for the end.
    fn goodbye(&mut self) -> BoxFuture<'_, End>;
    /// Waits for an end that the controller makes, and answers its pings meanwhile. Cancel-safe.
    fn ended(&mut self) -> BoxFuture<'_, End>;
}

/// How one film stands.
#[derive(Clone, Debug, PartialEq)]
pub struct FilmStand {
    /// The end of what the controller calls it; it puts the title of the room's event before it.
    pub name: String,
    /// How it stands.
    pub status: Status,
}

/// Who hands over.
#[derive(Clone)]
pub struct HandOver {
    /// Who connects.
    pub courier: Arc<dyn Courier>,
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Bytes a second of each recording at most.
    pub rate: u64,
}

impl HandOver {
    /// Hands over everything that is ended and not delivered, and says how it stands. Returns when nothing is left to do for this process, which may be long
    /// after people have stopped to wait.
    ///
    /// # Errors
    /// The plan cannot be read.
    pub async fn run(&self, spool: PathBuf, tell: watch::Sender<Vec<FilmStand>>) -> Result<(), StorageError> {
        let (disk, folder) = (self.disk.clone(), spool.clone());
        let looked = tokio::task::spawn_blocking(move || ended_films(&*disk, &folder)).await;
        let (plan, films) = looked.unwrap_or_else(|_| Err(StorageError::Nothing { folder: spool.clone() }))?;
        let Some(plan) = plan else { return Ok(()) };
        let stand = |(film, len): &(Film, u64)| FilmStand {
            name: told_name(plan.told_beginning(film, film.note.record.left_behind)),
            status: Status { state: State::Waiting, sent: 0, len: *len },
        };
        tell.send_replace(films.iter().map(stand).collect());
        let (tell, mut plan) = (Arc::new(tell), plan);
        for (index, (film, len)) in films.into_iter().enumerate() {
            let tell = tell.clone();
            let say = move |stand: FilmStand| {
                tell.send_modify(|all| all.get_mut(index).into_iter().for_each(|one| one.clone_from(&stand)));
            };
            plan = OneFilm { of: self, spool: &spool, plan, film, passage: None, said: None }.run(len, say).await;
        }
        Ok(())
    }
}

/// What was planned, and each film with its length.
type Ended = (Option<Plan>, Vec<(Film, u64)>);

/// The plan, and those of its films that are ordinary files and not delivered, with their lengths.
fn ended_films(disk: &dyn Disk, spool: &Path) -> Result<Ended, StorageError> {
    let Some(plan) = Plan::read(spool)? else { return Ok((None, Vec::new())) };
    let mut films = Vec::new();
    for film in plan.films(spool).into_iter().filter(|film| !film.is_delivered()) {
        if let Fortune::Ended(len) = fortune(disk, &film.file)? {
            films.push((film, len));
        }
    }
    Ok((Some(plan), films))
}

/// What the controller calls a film that began then, but for the title of the room's event.
fn told_name(began_at: u64) -> String {
    let began = i64::try_from(began_at).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or_default();
    format!("recording_{}.{EXTENSION}", began.strftime("%Y-%m-%d_%H-%M-%S-UTC"))
}

/// One film, while it is handed over.
struct OneFilm<'a> {
    of: &'a HandOver,
    spool: &'a Path,
    plan: Plan,
    film: Film,
    passage: Option<Box<dyn Passage>>,
    /// What was logged last.
    said: Option<Discriminant<State>>,
}

/// What takes time, and ends with an input.
enum Doing {
    Open(u32),
    Send(Part),
    Goodbye,
    Listen,
}

impl OneFilm<'_> {
    /// Returns the plan as it is then.
    async fn run(mut self, len: u64, say: impl Fn(FilmStand)) -> Plan {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &self.film.file);
        let mut upload = ControllerUpload::begin(self.film.note.record, len, self.of.rate, seed);
        let mut name = self.name(self.film.note.record.left_behind);
        let epoch = Instant::now();
        loop {
            let mut doing = Doing::Listen;
            while let Some(action) = upload.poll_action() {
                match action {
                    Action::Save(record) => self.save(record).await,
                    Action::Drop => self.passage = None,
                    Action::LeftBehind { number } => self.warn(number),
                    Action::Tell(status) => say(self.noted(&name, status)),
                    Action::Open { number } => (doing, name) = (Doing::Open(number), self.name(number)),
                    Action::Send(part) => doing = Doing::Send(part),
                    Action::Goodbye => doing = Doing::Goodbye,
                }
            }
            if upload.is_over() {
                return self.plan;
            }
            let wake = upload.poll_wake().map(|time| epoch + time.since(SessionTime::ZERO));
            let input = tokio::select! {
                input = self.act(doing) => input,
                () = sleep_until(wake.unwrap_or(epoch)), if wake.is_some() => Input::Woken,
            };
            upload.handle(input, SessionTime::ZERO + epoch.elapsed());
        }
    }

    fn name(&self, connection: u32) -> String {
        told_name(self.plan.told_beginning(&self.film, connection))
    }

    async fn act(&mut self, doing: Doing) -> Input {
        if let Doing::Open(number) = doing {
            let began_at = self.plan.told_beginning(&self.film, number);
            return match self.of.courier.open(self.plan.room.clone(), began_at).await {
                Ok(passage) => {
                    self.passage = Some(passage);
                    Input::Opened
                }
                Err(refusal) => Input::Refused(refusal),
            };
        }
        let Some(passage) = &mut self.passage else { return std::future::pending().await };
        match doing {
            Doing::Send(part) => match read(self.of.disk.clone(), self.film.file.clone(), part).await {
                Ok(frame) => passage.send(frame).await.map_or_else(Input::Ended, |()| Input::Sent),
                Err(reason) => Input::Unreadable(reason),
            },
            Doing::Goodbye => Input::Ended(passage.goodbye().await),
            Doing::Open(_) | Doing::Listen => Input::Ended(passage.ended().await),
        }
    }

    /// Returns when the plan is on the disk: what comes after it must not happen before.
    async fn save(&mut self, record: Record) {
        self.film.note.record = record;
        if record.step == Step::Delivered {
            self.film.note.delivered_at = Some(unix_now());
        }
        self.plan.films.insert(self.film.name.clone(), self.film.note);
        loop {
            let (disk, plan, spool) = (self.of.disk.clone(), self.plan.clone(), self.spool.to_owned());
            match tokio::task::spawn_blocking(move || plan.save(&*disk, &spool)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::error!(reason = %error.to_fault(), "the notes of an upload to the controller cannot be saved; it waits");
                }
                Err(_) => tracing::error!("the notes of an upload to the controller cannot be saved; it waits"),
            }
            tokio::time::sleep(SAVE_AGAIN).await;
        }
    }

    fn warn(&self, number: u32) {
        tracing::warn!(
            name = self.name(number),
            room = self.plan.room,
            "the controller may list a shortened recording now, whose name ends so; only the room's owner can delete it"
        );
    }

    fn noted(&mut self, name: &str, status: Status) -> FilmStand {
        let is_news = self.said.replace(discriminant(&status.state)) != Some(discriminant(&status.state));
        match &status.state {
            _ if !is_news => {}
            State::Waiting => {}
            State::Sending => tracing::debug!(sent_bytes = status.sent, "uploading to the controller"),
            State::Retrying(fault) => tracing::warn!(reason = %fault, "the upload to the controller is tried again"),
            State::Refused(fault) => tracing::error!(reason = %fault, "the controller refuses the upload"),
            State::GivenUp(fault) => {
                tracing::error!(reason = %fault, file = %self.film.file.display(), "the upload to the controller is given up until the next start");
            }
            State::Delivered => tracing::info!(
                bytes = status.sent,
                name,
                "the recording is delivered to the controller, which does not confirm it"
            ),
        }
        FilmStand { name: name.to_owned(), status }
    }
}

/// The frame of a part.
async fn read(disk: Arc<dyn Disk>, file: PathBuf, part: Part) -> Result<Vec<u8>, String> {
    let reading = move || -> std::io::Result<Vec<u8>> {
        let open = disk.open(&file)?;
        let head = part.head();
        let mut frame = vec![0; head.len() + usize::try_from(part.len).map_err(|_| std::io::ErrorKind::FileTooLarge)?];
        frame[..head.len()].copy_from_slice(&head);
        let mut filled = head.len();
        while filled < frame.len() {
            let at = part.at + (filled - head.len()) as u64;
            match open.read_at(&mut frame[filled..], at)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(frame)
    };
    match tokio::task::spawn_blocking(reading).await {
        Ok(read) => read.map_err(|error| error.kind().to_string()),
        Err(_) => Err("a defect of Roomcast".to_owned()),
    }
}
