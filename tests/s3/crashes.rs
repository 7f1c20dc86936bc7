//! The uploading process dies before or after any request, and another one goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use recorder_core::keep::Keep;
use recorder_core::upload::{Answer, Request, Trouble};
use roomcast::storage::RecordingUploads;
use roomcast::storage::disk::SystemDisk;
use roomcast::storage::inventory::{inventory, sweep};
use roomcast::storage::s3::S3Store;
use roomcast::storage::uploader::ObjectStore;
use tokio::sync::Notify;

use super::{DAY, Dice, MIB, PICTURE};
use crate::world::bad_http::{BadHttp, Fate};
use crate::world::s3::{S3Server, settings};
use crate::world::spool::{Take, headers};
use crate::world::uploads::{Local, Session};
use crate::world::{signal, wait};

/// When it dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// What goes before is saved; the request is not made.
    Before,
    /// The storage did it; nobody heard, and nothing was saved of it.
    After,
}

/// A storage whose n-th request is the process's last.
struct Deadly {
    store: S3Store,
    left: AtomicU64,
    when: When,
    died: Arc<Notify>,
}

impl ObjectStore for Deadly {
    fn perform(&self, request: Request, file: Arc<Path>) -> BoxFuture<'static, Result<Answer, Trouble>> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return self.store.perform(request, file);
        }
        let done = match self.when {
            When::Before => None,
            When::After => Some(self.store.perform(request, file)),
        };
        let died = self.died.clone();
        async move {
            if let Some(done) = done {
                let _ = done.await;
            }
            died.notify_one();
            std::future::pending().await
        }
        .boxed()
    }
}

/// Starts a process that dies at its n-th request.
fn start_deadly(session: &mut Session, server: &S3Server, requests: u64, when: When) -> Arc<Notify> {
    let died = Arc::new(Notify::new());
    let store = S3Store::new(&server.settings()).expect("a client");
    let store = Deadly { store, left: requests.into(), when, died: died.clone() };
    session.start_with(Arc::new(store));
    died
}

/// Until it died, or has nothing left to do.
fn until_dead(session: &Session, died: &Notify) -> bool {
    let mut status = session.uploads().status();
    session.runtime.block_on(async {
        let over = status.wait_for(|uploads| uploads.over);
        tokio::time::timeout(Duration::from_secs(30), async {
            tokio::select! { () = died.notified() => true, _ = over => false }
        })
        .await
        .expect("it neither dies nor ends")
    })
}

#[test]
fn killed_between_any_two_steps_fifty_times() {
    let mut deaths = 0;
    let begin = Instant::now();
    for seed in 0..50 {
        let mut dice = Dice(seed);
        // A storage for some of them, so that each begins with an empty one.
        let server = S3Server::start();
        let mut session = Session::new(if seed % 2 == 0 { Local::Wanted } else { Local::StorageOnly });
        let len = [2 * MIB, 14 * MIB, 22 * MIB, 30 * MIB][dice.below(4) as usize];
        let when = |dice: &mut Dice| if dice.below(2) == 0 { When::Before } else { When::After };
        let first = (dice.below(8), when(&mut dice));
        let mut died = start_deadly(&mut session, &server, first.0, first.1);
        let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
        session.record(&mut take, len / 2);
        if dice.below(2) == 0 {
            // While it records: the new process hears of the file as it is now.
            deaths += 1;
            died = start_deadly(&mut session, &server, dice.below(6), when(&mut dice));
            session.uploads().written(&take.file, take.bytes);
        }
        session.record(&mut take, len);
        take.end();
        session.finalise();
        for _ in 0..1 + dice.below(4) {
            if !until_dead(&session, &died) {
                break;
            }
            deaths += 1;
            assert!(session.kept_file().exists());
            assert_eq!(sweep(&SystemDisk, session.base.path(), Keep::both(Duration::ZERO)).expect("swept").len(), 0);
            died = start_deadly(&mut session, &server, dice.below(6), when(&mut dice));
            session.uploads().finalised();
        }
        session.go_on(&server.settings());
        session.is_stored_within(Duration::from_secs(30), &server);
    }
    println!("{deaths} deaths in 50 recordings, {:?}", begin.elapsed());
    assert!(deaths > 80, "{deaths}");
}

/// What a child process uploads; see [`a_process_is_killed_while_it_uploads`].
const CHILD: &str = "ROOMCAST_TEST_UPLOAD";

/// Not a test by itself: the process that is killed.
#[test]
fn child_process_that_uploads() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let (url, folder) = text.split_once(' ').expect("an address and a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let store = S3Store::new(&settings(url)).expect("a client");
    let stores = BTreeMap::from([("archive".to_owned(), Arc::new(store) as Arc<_>)]);
    runtime.block_on(async {
        let mut uploads = RecordingUploads::start(stores, Arc::new(SystemDisk), folder.into()).expect("nobody else uploads");
        uploads.finalised();
        uploads.over().await;
    });
}

#[test]
fn a_process_is_killed_while_it_uploads() {
    let server = S3Server::start();
    let requests = Arc::new(AtomicU64::new(0));
    let kill_at = Arc::new(AtomicU64::new(0));
    // A process is killed while its n-th request is under way: the proxy tells, and keeps the answer back.
    let (tell, told) = channel();
    let proxy = BadHttp::before(server.port, {
        let (requests, kill_at) = (requests.clone(), kill_at.clone());
        move |asked| {
            if requests.fetch_add(1, Ordering::SeqCst) == kill_at.load(Ordering::SeqCst) {
                let _ = tell.send(());
                return if asked.is_part() { Fate::CutAfter(2 * MIB) } else { Fate::LoseAnswer };
            }
            Fate::Pass
        }
    });
    // Uploads that never get anywhere, so that the file is left for the processes.
    let mut session = Session::started(Local::Wanted, &settings("http://127.0.0.1:1"));
    session.recorded(40 * MIB);
    session.uploads = None;
    let child = || {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "crashes::child_process_that_uploads"])
            .env(CHILD, format!("{} {}", proxy.url(), session.folder.display()))
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs")
    };
    let mut dice = Dice(9);
    for round in 0..10 {
        requests.store(0, Ordering::SeqCst);
        kill_at.store(dice.below(5), Ordering::SeqCst);
        let mut child = child();
        let deadline = Instant::now() + Duration::from_secs(20);
        let has_ended = loop {
            match told.recv_timeout(Duration::from_millis(50)) {
                Ok(()) => break false,
                // What was left needed fewer requests.
                Err(_) if child.try_wait().expect("a child").is_some() => break true,
                Err(_) => assert!(Instant::now() < deadline, "round {round}: it asks nothing and does not end"),
            }
        };
        if !has_ended {
            signal(&child, Signal::SIGKILL);
            let _ = child.wait();
        }
        let is_confirmed =
            inventory(&SystemDisk, session.base.path(), DAY).expect("a list")[0].storages[0].confirmed_at.is_some();
        assert!(is_confirmed || !has_ended, "round {round}: it ended, and nothing is confirmed");
        if is_confirmed {
            println!("confirmed after {round} rounds");
            break;
        }
    }
    kill_at.store(u64::MAX, Ordering::SeqCst);
    let mut last = child();
    let ended = wait(&mut last, Duration::from_secs(60));
    if ended.is_none() {
        let _ = last.kill();
    }
    assert!(ended.expect("it ends").success());
    session.assert_stored(&server, "team/standup.mp4");
}
