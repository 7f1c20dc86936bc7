//! The worker: one process for one Session. Joins, receives, mixes, encodes, and feeds the Targets.
//!
//! In: a [`Job`] and commands over the private socket. Out: status, and packets on disk. One task owns the Session and obeys its actions; media has
//! threads of its own. It decides nothing: that is the Session's part. When the supervisor is gone, it ends its Takes and exits.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use recorder_core::books::Note;
use recorder_core::conference::{ConferenceCommand, ConferenceEvent, EndReason};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::TargetId;
use recorder_core::layout::{Layout, LayoutError};
use recorder_core::live::LiveState;
use recorder_core::overload::Overload;
use recorder_core::session::{Input, Outcome, Phase, Session, SessionSettings};
use recorder_core::stage::Loudness;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::claims::{self, ClaimError, ClaimShare};
use super::deliveries::{Deliveries, DeliveryReport, Outlet};
use super::job::{FromWorker, Job, MonitorFeed, ResumedTarget, TargetJob, ToWorker};
use super::link::{LinkError, WorkerLink};
use super::rate::RateMeter;
use super::renditions::{self, RenditionError};
use crate::avatar::Avatars;
use crate::clock::SessionClock;
use crate::conference::ConferenceHandle;
use crate::conference::opentalk::controller::AddressError;
use crate::conference::opentalk::ticket_source::{TicketRequest, TicketSource};
use crate::livekit::token_source::{TokenDesk, TokenRequest, TokenSource};
use crate::media::{self, MediaSink};
use crate::programme::maker::{Programme, ProgrammeError, ProgrammeEvent};
use crate::programme::ring::Ring;
use crate::target::monitor::feeder::Feeder;
use crate::target::recording::RecordingReport;
use crate::target::rtmp::LiveReport;
use crate::trust::TrustError;

mod enter;
mod notes;
mod obey;
mod status;
mod targets;

use enter::enter;

/// How long the last messages may take to reach the supervisor.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a worker could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The socket to the supervisor.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The first message was not a job.
    #[error("the supervisor sent no job")]
    NoJob,
    /// A layout or slate, although the supervisor has checked it.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The Renditions, although the supervisor has checked them.
    #[error(transparent)]
    Renditions(#[from] RenditionError),
    /// The controller's address, although the supervisor has checked it.
    #[error(transparent)]
    Controller(#[from] AddressError),
    /// The file with certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Somebody else has the Session by now.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The programme cannot be made.
    #[error(transparent)]
    Programme(#[from] ProgrammeError),
    /// No runtime.
    #[error("no runtime for the worker")]
    Runtime(#[source] std::io::Error),
    /// The programme broke; a replacement may do better.
    #[error("the programme broke: {0}")]
    Broken(Fault),
}

/// Runs the worker role on the inherited socket; returns when the Session is over.
///
/// # Errors
/// The worker cannot go on; another one may.
pub fn run(stream: std::os::unix::net::UnixStream) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WorkerError::Runtime);
    runtime
        .and_then(|runtime| {
            let served = runtime.block_on(serve(stream));
            // A programme that does not end must not keep the process.
            runtime.shutdown_background();
            served
        })
        .map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the worker cannot go on");
            Fault { scope: Scope::Process, blame: Blame::Us, retry: Retry::After(Duration::ZERO), sentence: format!("{error}.") }
        })
}

async fn serve(stream: std::os::unix::net::UnixStream) -> Result<(), WorkerError> {
    let mut link = WorkerLink::open(stream)?;
    let Some(ToWorker::Job(job)) = link.incoming.next().await? else { return Err(WorkerError::NoJob) };
    let span = tracing::info_span!("session", session.id = %job.course.session);
    let worker = span.in_scope(|| Worker::start(*job, link))?;
    worker.work().instrument(span).await
}

/// Everything that the worker's task owns.
struct Worker {
    clock: SessionClock,
    link: WorkerLink,
    session: Session,
    conference: ConferenceHandle,
    /// Commands that the conference adapter has not taken yet; the newest wish replaces older ones.
    to_conference: VecDeque<ConferenceCommand>,
    programme: Programme,
    programme_events: mpsc::Receiver<ProgrammeEvent>,
    media: MediaSink,
    avatars: Avatars,
    deliveries: Deliveries,
    reports: mpsc::Receiver<(TargetId, DeliveryReport)>,
    token_desk: TokenDesk,
    token_waiters: VecDeque<TokenRequest>,
    ticket_requests: mpsc::Receiver<TicketRequest>,
    ticket_waiters: VecDeque<TicketRequest>,
    /// Moderators command the Targets.
    commanded: bool,
    /// Deliveries that an earlier worker has opened.
    resumed: BTreeSet<(TargetId, u32)>,
    joined: bool,
    /// The books know that the Session ends.
    told_end: bool,
    overload: Overload,
    fps: RateMeter,
    outcome: Option<Outcome>,
    /// Says that this Session is not over, also when the supervisor is gone.
    _claim: Option<ClaimShare>,
    /// Feeds the programme monitor, if there is one, until the worker ends.
    _feeder: Option<Feeder>,
}

impl Worker {
    fn start(job: Job, link: WorkerLink) -> Result<Self, WorkerError> {
        let course = &job.course;
        let claim = job.commanded.as_ref().and_then(|commanded| commanded.claim.as_deref());
        let claim = claim.map(claims::share).transpose()?;
        let clock = SessionClock::with_epoch(course.epoch_ns);
        let (media, source) = media::lanes();
        let (tokens, token_desk) = TokenSource::new();
        let (tickets, ticket_requests) = TicketSource::new();
        // First, because the network takes longest.
        let conference = enter(&job, clock, media.clone(), tokens, tickets)?;
        let framings = renditions::framings(course)?;
        let settings = renditions::programme(course, &framings)?;
        let rings: Vec<Ring> = course.renditions.iter().map(|_| Ring::default()).collect();
        let (programme, programme_events) = Programme::start(settings, clock, source, rings.clone())?;
        let feeder = course.monitor.as_ref().and_then(|MonitorFeed { path, rendition }| {
            let feeder = Feeder::start(path, rings.get(*rendition)?.clone());
            feeder.inspect_err(|error| tracing::warn!(%error, "there is no programme monitor")).ok()
        });
        let (layout, dress) = course.look.check()?;
        let outlets = course.renditions.iter().zip(rings).zip(programme.slates());
        let outlets = outlets.map(|((rendition, ring), slate)| Outlet::new(rendition, ring, slate.clone())).collect();
        let (mut deliveries, reports) = Deliveries::new(&job.targets, course.live.clone(), outlets, job.first_take, clock);
        let resumed: Vec<ResumedTarget> = job.commanded.iter().flat_map(|commanded| commanded.resumed.clone()).collect();
        targets::resume(&mut deliveries, &resumed);
        let ids = job.targets.iter().map(TargetJob::id).cloned().collect();
        let session = Session::new(
            SessionSettings {
                first_take: job.first_take,
                duration: job.duration,
                max_duration: course.max_duration,
                room_empty_grace: course.room_empty_grace,
                conference_grace: course.conference_grace,
                mixer_delay: course.mixer_delay,
                caution: job.caution.clone(),
                dress,
                consent: job.consent,
                signaling_grace: job.signaling_grace,
                commanded: job.commanded.as_ref().map(targets::commanded),
                ..SessionSettings::new(layout, framings, ids)
            },
            clock.now(),
        );
        Ok(Self {
            clock,
            link,
            session,
            conference,
            to_conference: VecDeque::new(),
            programme,
            programme_events,
            media,
            avatars: Avatars::new(&course.avatars),
            deliveries,
            reports,
            token_desk,
            token_waiters: VecDeque::new(),
            ticket_requests,
            ticket_waiters: VecDeque::new(),
            commanded: job.commanded.is_some(),
            resumed: resumed.into_iter().map(|resumed| (resumed.target, resumed.run)).collect(),
            joined: false,
            told_end: false,
            overload: Overload::default(),
            fps: RateMeter::default(),
            outcome: None,
            _claim: claim,
            _feeder: feeder,
        })
    }

    async fn work(mut self) -> Result<(), WorkerError> {
        match self.run().await {
            Ok(()) => {
                self.finish().await;
                Ok(())
            }
            Err(error) => {
                self.break_off().await;
                Err(error)
            }
        }
    }

    async fn run(&mut self) -> Result<(), WorkerError> {
        let mut status = tokio::time::interval(Duration::from_secs(1));
        status.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut supervised = true;
        let mut in_conference = true;
        let commands = self.conference.commands.clone();
        while self.outcome.is_none() {
            self.obey();
            let wake = self.session.poll_wake().map(|(at, _)| Instant::now() + at.since(self.clock.now()));
            let to_tell = !self.to_conference.is_empty();
            tokio::select! {
                message = self.link.incoming.next(), if supervised => match message {
                    Ok(Some(message)) => self.supervisor_says(message),
                    Ok(None) | Err(_) => {
                        // Without a supervisor nobody would finish the recording or replace us: end in order, the next supervisor goes on.
                        tracing::warn!("the supervisor is gone; ending the takes");
                        supervised = false;
                        self.tell(Input::Stop);
                    }
                },
                event = self.conference.events.recv(), if in_conference => match event {
                    Some(event) => self.conference_says(event),
                    None => {
                        // Every adapter says how it ended; one that does not has broken.
                        in_conference = false;
                        self.tell(Input::Conference(ConferenceEvent::Ended { reason: EndReason::Left }));
                    }
                },
                permit = commands.reserve(), if to_tell && in_conference => {
                    if let (Ok(permit), Some(command)) = (permit, self.to_conference.pop_front()) {
                        permit.send(command);
                    } else {
                        self.to_conference.clear();
                    }
                }
                Some(event) = self.programme_events.recv() => self.programme_says(event)?,
                Some((target, report)) = self.reports.recv() => self.target_says(target, report),
                Some(reply) = self.token_desk.requests.recv() => {
                    self.token_waiters.push_back(reply);
                    self.say(FromWorker::NeedToken);
                }
                Some(reply) = self.ticket_requests.recv() => {
                    self.ticket_waiters.push_back(reply);
                    self.say(FromWorker::NeedTicket);
                }
                Ok(()) = self.token_desk.refreshed.changed() => {
                    let newest = self.token_desk.refreshed.borrow_and_update().clone();
                    if let Some(token) = newest {
                        self.say(FromWorker::TokenRefreshed { token });
                    }
                }
                () = self.avatars.fetched() => self.hang_avatars(),
                () = sleep_until(wake), if wake.is_some() => self.tell(Input::Woken),
                _ = status.tick() => {
                    self.say_status();
                    self.look_at_load();
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, input: Input) {
        let now = self.clock.now();
        self.session.handle(input, now);
        if !self.joined && self.session.phase() == Phase::Live {
            self.joined = true;
            self.say(FromWorker::Joined { at: now });
        }
    }

    fn conference_says(&mut self, event: ConferenceEvent) {
        match &event {
            ConferenceEvent::Facts { participant, facts } => self.avatars.lies_at(participant, facts.avatar.as_ref()),
            ConferenceEvent::Left { participant } => self.avatars.left(participant),
            _ => {}
        }
        self.note(Note::of_event(&event));
        self.tell(Input::Conference(event));
        self.hang_avatars();
    }

    /// Tells the picture who is to be shown by which picture now.
    fn hang_avatars(&mut self) {
        for (participant, still) in self.avatars.changes() {
            self.programme.set_avatar(&participant, still);
        }
    }

    fn supervisor_says(&mut self, message: ToWorker) {
        match message {
            ToWorker::Job(_) => tracing::warn!("a second job was ignored"),
            ToWorker::Stop => self.tell(Input::Stop),
            ToWorker::Ticket { ticket, fault } => {
                if let Some(waiter) = self.ticket_waiters.pop_front() {
                    // The adapter may have given up waiting.
                    let _ = waiter.send(ticket.ok_or_else(|| fault.unwrap_or_else(targets::no_ticket)));
                }
            }
            ToWorker::Permit { target, folder } => self.deliveries.permit(&target, folder),
            ToWorker::Forbid { target, fault } => self.deliveries.cannot(&target, fault),
            ToWorker::Delivered { target, run, fault } => self.tell(Input::Delivered { target, run, fault }),
            ToWorker::OrderedAgain => self.tell(Input::OrderedAgain),
            ToWorker::Withhold(withheld) => self.tell(Input::Withhold(withheld)),
            ToWorker::Token { token } => {
                if let Some(waiter) = self.token_waiters.pop_front() {
                    // The adapter may have given up waiting.
                    let _ = waiter.send(token);
                }
            }
            ToWorker::Layout(text) => match Layout::parse(&text.name, &text.text) {
                Ok(layout) => self.tell(Input::Layout(layout)),
                Err(error) => tracing::warn!(%error, "the picture stays as it is"),
            },
        }
    }

    fn programme_says(&mut self, event: ProgrammeEvent) -> Result<(), WorkerError> {
        match event {
            ProgrammeEvent::KeyframeWanted(track) => {
                let wish = ConferenceCommand::RequestKeyframe(track);
                if !self.to_conference.contains(&wish) {
                    self.queue(wish);
                }
            }
            ProgrammeEvent::Levels(levels) => {
                let heard = levels.into_iter().map(|(participant, dbfs)| Loudness { participant, dbfs }).collect();
                self.tell(Input::Heard(heard));
            }
            ProgrammeEvent::Decoding(tracks) => self.say(FromWorker::Decoding { tracks }),
            ProgrammeEvent::Ended => tracing::debug!("the programme is complete"),
            ProgrammeEvent::Failed(fault) if fault.retry == Retry::Never => {
                // The rest of the Takes will never come: they end with what they have.
                self.deliveries.end_at_once();
                self.tell(Input::ProgrammeFailed(fault));
            }
            ProgrammeEvent::Failed(fault) => {
                self.say(FromWorker::Fault(fault.clone()));
                return Err(WorkerError::Broken(fault));
            }
        }
        Ok(())
    }

    fn say(&self, message: FromWorker) {
        if self.link.outgoing.send(message).is_err() {
            tracing::debug!("nobody hears this worker");
        }
    }

    /// The writers have reported their end, or their time is over; what they have synced is safe either way. That is told first: should
    /// the programme not end, the Session is over all the same, and nobody replaces this worker.
    async fn finish(mut self) {
        self.say_status();
        let Self { link, programme, programme_events, outcome, .. } = self;
        if let Some(outcome) = outcome {
            let ended = FromWorker::Ended { reason: outcome.why.to_string(), fault: outcome.fault };
            if link.outgoing.send(ended).is_err() || tokio::time::timeout(LAST_WORDS, link.outgoing.flush()).await.is_err() {
                tracing::debug!("nobody heard the last words");
            }
        }
        // A thread that has something to tell must not wait for us while we wait for it.
        drop(programme_events);
        if tokio::time::timeout(LAST_WORDS, tokio::task::spawn_blocking(move || programme.stop())).await.is_err() {
            tracing::warn!("the programme does not end; leaving without it");
        }
    }

    /// This worker cannot go on: what recordings have received is still written, and everything said is still told.
    async fn break_off(&mut self) {
        let mut open = self.deliveries.end_at_once();
        let rest = async {
            while open > 0
                && let Some((target, report)) = self.reports.recv().await
            {
                let is_last = matches!(
                    report,
                    DeliveryReport::Recording(RecordingReport::Ended { .. })
                        | DeliveryReport::Live(LiveReport::State(LiveState::Ended))
                );
                open -= usize::from(is_last);
                self.target_says(target, report);
            }
            self.link.outgoing.flush().await
        };
        if !matches!(tokio::time::timeout(LAST_WORDS, rest).await, Ok(Ok(()))) {
            tracing::debug!("the Targets did not end in time, or nobody heard of it");
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
