//! The service is killed at any instant of its meetings' recordings, while it joins, records, pauses, finalises or uploads: none is lost.

#![allow(clippy::expect_used, clippy::print_stdout)]

use roomcast_world as world;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use world::controller::{Controller, Kind, Person, RoomPlan};
use world::dice::Dice;
use world::family::{Family, Role, runs, send};
use world::film::Film;
use world::opentalk::Installation;
use world::product::Product;
use world::recording::{name, one_room_at_a_time};
use world::s3::S3Server;
use world::until;

/// Nothing takes longer.
const LONG: Duration = Duration::from_secs(40);
/// A worker that has lost its supervisor is gone by then: usually within a second, and after a minute whatever its Targets wait for.
const GONE: Duration = Duration::from_secs(70);
/// What a kill may cost: what was captured and not yet mixed, and the newest fragment.
const LOST_S: f64 = 1.5;
/// What rounding to pictures of a tenth of a second may hide, twice a Take.
const ROUNDED_S: f64 = 0.2;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Supervisor,
    Workers,
    Everything,
}

/// What a meeting is about when the kill comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A moderator has just pressed record.
    Joins,
    Records,
    /// A moderator has just pressed pause.
    Pauses,
    /// A moderator has just pressed stop: the film is finalised and uploaded.
    Ends,
}

const PHASES: [Phase; 4] = [Phase::Joins, Phase::Records, Phase::Pauses, Phase::Ends];
/// The last clicks before the kill come in this time.
const LAST_CLICKS: Duration = Duration::from_millis(1_500);

/// How many rounds of four meetings: `ROOMCAST_SERVICE_KILLS`, for scripts/campaign.
fn rounds() -> usize {
    std::env::var("ROOMCAST_SERVICE_KILLS").ok().map_or(3, |text| text.parse().expect("a number"))
}

/// Lets time pass in which nothing is awaited.
fn pass(time: Duration) {
    let begin = Instant::now();
    until(LONG, "time passes", || (begin.elapsed() >= time).then_some(()));
}

/// One meeting of a round.
struct Meeting {
    phase: Phase,
    room: String,
    moderator: Person,
    target: String,
    /// What was recorded before the kill: from when it was shown on, until the moderator ended it or the kill did.
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl Meeting {
    fn plan(controller: &Controller, phase: Phase) -> Meeting {
        let room = controller.plan(RoomPlan::titled("Weekly"));
        let moderator = controller.joins(&room, Kind::Moderator, name(0));
        let target = controller.recording_target(&room);
        Meeting { phase, room, moderator, target, began: None, ended: None }
    }

    fn target(&self) -> &[String] {
        std::slice::from_ref(&self.target)
    }

    /// Recorded before the kill, in seconds.
    fn before_s(&self, killed: Instant) -> f64 {
        let until = self.ended.unwrap_or(killed);
        self.began.map_or(0.0, |began| until.saturating_duration_since(began).as_secs_f64())
    }

    /// Nobody records any more. A stop that nobody lived to hear is clicked again, as a moderator would who sees that it goes on.
    fn ends(&self, controller: &Controller) {
        let mut is_clicked = false;
        until(LONG, "the recorder leaves", || {
            if !is_clicked && controller.what_everybody_sees(&self.room, &self.target) != "inactive" {
                controller.click_stop(&self.moderator, self.target());
                is_clicked = true;
            }
            controller.recorders(&self.room).is_empty().then_some(())
        });
    }

    /// What was last reported to everybody behind the first `heard` reports.
    fn told_since(&self, controller: &Controller, heard: usize) -> Option<String> {
        controller.told_everybody(&self.moderator, &self.target).get(heard..)?.last().cloned()
    }
}

/// Brings four meetings to their phases, each at an instant of its own. Gives the meetings at the instant of the kill.
fn gather(controller: &Controller, dice: &mut Dice) -> Vec<Meeting> {
    let mut meetings = PHASES.map(|phase| Meeting::plan(controller, phase)).into_iter().collect::<Vec<_>>();
    for meeting in meetings.iter().filter(|meeting| meeting.phase != Phase::Joins) {
        controller.click_start(&meeting.moderator, meeting.target());
    }
    for meeting in meetings.iter_mut().filter(|meeting| meeting.phase != Phase::Joins) {
        controller.shows(&meeting.room, &meeting.target, "active");
        meeting.began = Some(Instant::now());
    }
    pass(Duration::from_secs(2));
    let mut clicks: Vec<(Duration, usize)> = (0..meetings.len()).map(|index| (dice.below(LAST_CLICKS), index)).collect();
    clicks.sort_unstable();
    let begin = Instant::now();
    for (at, index) in clicks {
        until(LONG, "the instant of a click", || (begin.elapsed() >= at).then_some(()));
        let meeting = &mut meetings[index];
        match meeting.phase {
            Phase::Joins => controller.click_start(&meeting.moderator, meeting.target()),
            Phase::Records => {}
            Phase::Pauses => controller.click_pause(&meeting.moderator, meeting.target()),
            Phase::Ends => controller.click_stop(&meeting.moderator, meeting.target()),
        }
        if matches!(meeting.phase, Phase::Pauses | Phase::Ends) {
            meeting.ended = Some(Instant::now());
        }
    }
    until(LONG, "the instant of the kill", || (begin.elapsed() >= LAST_CLICKS).then_some(()));
    meetings
}

/// Kills, and waits until nobody of the victims is left and the controller has seen it.
fn kill(controller: &Controller, service: &Product, victim: Victim, meetings: &[Meeting]) {
    let family = Family::of(service.pid());
    let workers: Vec<u32> = family.members.iter().filter(|(_, role)| *role == Role::Worker).map(|(pid, _)| *pid).collect();
    let before: Vec<_> = meetings.iter().map(|meeting| controller.recorders(&meeting.room)).collect();
    match victim {
        Victim::Supervisor => service.signal(Signal::SIGKILL),
        Victim::Workers => workers.iter().for_each(|pid| send(*pid, Signal::SIGKILL)),
        Victim::Everything => family.kill(),
    }
    let killed = Instant::now();
    until(GONE, "no worker is left", || (!workers.iter().any(|pid| runs(*pid))).then_some(()));
    println!("  the last worker was gone after {:.1} s", killed.elapsed().as_secs_f64());
    for (meeting, recorders) in meetings.iter().zip(before) {
        until(LONG, "the recorder before is gone", || {
            let now = controller.recorders(&meeting.room);
            (!recorders.iter().any(|recorder| now.contains(recorder))).then_some(())
        });
    }
}

/// Seconds of this Target that were told as written, over all Takes in these logs.
fn written_s(logs: &[String], target: &str) -> f64 {
    let field = |line: &str, field: &str| -> Option<f64> {
        line.split_whitespace().find_map(|word| word.strip_prefix(field)?.strip_suffix('s')?.parse().ok())
    };
    let mut takes: Vec<(f64, f64)> = Vec::new();
    let of_target = format!("target.id={target} ");
    for line in logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains(&of_target)) {
        if line.contains(" take=") && line.contains(" recording ") {
            takes.extend(field(line, "at=").map(|at| (at, at)));
        } else if let (true, Some(until), Some(take)) = (line.contains(" written "), field(line, "until="), takes.last_mut()) {
            take.1 = until;
        }
    }
    takes.iter().map(|(at, until)| until - at).sum()
}

/// The one object of this meeting, whole, with everything in it that there must be.
fn has_its_film(storage: &S3Server, meeting: &Meeting, logs: &[String], least_s: f64) {
    let keys = until(LONG, "the recording is stored", || {
        let keys: Vec<String> = storage.keys().into_iter().filter(|key| key.starts_with(&meeting.room)).collect();
        keys.iter().any(|key| key.ends_with(".mp4")).then_some(keys)
    });
    let films: Vec<&String> = keys.iter().filter(|key| key.ends_with(".mp4")).collect();
    assert_eq!(films.len(), 1, "{:?}: {films:?}", meeting.phase);
    let film = Film::watch(&storage.object_file(films[0]), &[]);
    assert_eq!(film.complaints, "", "{:?}", meeting.phase);
    let written = written_s(logs, &meeting.target);
    let seen = format!(
        "{:?}: {:.2} s, {written:.2} s were told as written, at least {least_s:.2} s were recorded",
        meeting.phase, film.duration_s
    );
    println!("  {seen}");
    assert!(film.duration_s >= written - ROUNDED_S && film.duration_s >= least_s, "{seen}");
}

/// Nothing of a Session is left in the spool.
fn spool_is_empty(folder: &Path) {
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let (spool, claims) = (folder.join("spool"), folder.join("spool/claims"));
    until(LONG, "an empty spool", || {
        (names(&spool).iter().all(|name| name == "claims") && names(&claims).is_empty()).then_some(())
    });
}

/// Whoever is killed whenever: each recording that a moderator asked for ends as one object that plays, without more than the newest moments missing.
#[test]
fn a_service_that_is_killed_at_any_instant_loses_no_recording() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, .. } = &installation;
    let (storage, folder) = (S3Server::start(), tempfile::tempdir().expect("folder"));
    let more = format!(
        "[programme]\nsize = \"320x180\"\nfps = 10\n[session]\nroom_empty_grace = \"5m\"\n[spool]\nkeep = \"0s\"\n[admission]\nlimits = []\n\
         [storage]\nendpoint = \"{}\"\naccess_key = \"{}\"\n\
         [serve]\nslots = 8\nconsent = \"not_asked\"\nrecordings = [\"s3://recordings/{{room}}/{{start}}.mp4\"]\n",
        storage.url(),
        world::s3::ACCESS_KEY,
    );
    let environment =
        [("ROOMCAST_STORAGE__SECRET_KEY", world::s3::SECRET_KEY), ("RUST_LOG", "info,roomcast::service::supervisor=debug")];
    let serve = || installation.serve(folder.path(), &more, &environment);
    let (mut dice, mut service) = (Dice::new("kills of the service"), serve());
    let victims = [Victim::Supervisor, Victim::Workers, Victim::Everything];
    let (mut logs, mut longest) = (Vec::new(), Duration::ZERO);
    for (round, victim) in (1..=rounds()).zip(victims.into_iter().cycle()) {
        println!("round {round}: {victim:?}");
        let meetings = gather(controller, &mut dice);
        kill(controller, &service, victim, &meetings);
        let killed = Instant::now();
        let heard: Vec<usize> =
            meetings.iter().map(|meeting| controller.told_everybody(&meeting.moderator, &meeting.target).len()).collect();
        if !matches!(victim, Victim::Workers) {
            let outcome = service.finish(LONG);
            outcome.errors_only(&[]);
            logs.push(outcome.log);
            service = serve();
        }
        // Whoever had not pressed stop sees that it goes on.
        for (meeting, heard) in meetings.iter().zip(&heard).filter(|(meeting, _)| meeting.phase != Phase::Ends) {
            let told = until(LONG, "it goes on", || {
                meeting.told_since(controller, *heard).filter(|told| told == "active" || told == "paused")
            });
            assert!(told == "active" || meeting.phase == Phase::Pauses, "{:?} is {told}", meeting.phase);
        }
        longest = longest.max(killed.elapsed());
        let again = Instant::now();
        pass(Duration::from_millis(1_500));
        let second_s = again.elapsed().as_secs_f64();
        meetings.iter().for_each(|meeting| meeting.ends(controller));
        let now: Vec<String> = logs.iter().cloned().chain([service.log()]).collect();
        for meeting in &meetings {
            let after_s = if matches!(meeting.phase, Phase::Joins | Phase::Records) { second_s } else { 0.0 };
            has_its_film(&storage, meeting, &now, meeting.before_s(killed) + after_s - LOST_S);
            // Where nothing is active five seconds after a click, because its recorder has just died, the controller says so.
            let told = controller.moderator_was_told(&meeting.moderator);
            assert!(told.iter().all(|told| told == "timeout"), "{:?}: {told:?}", meeting.phase);
        }
        logs.drain(..logs.len().saturating_sub(1));
    }
    println!("{} recordings met a kill, none was lost; all went on after {:.1} s at most", 4 * rounds(), longest.as_secs_f64());
    spool_is_empty(folder.path());
    service.signal(Signal::SIGTERM);
    service.finish(LONG).is_well();
}
