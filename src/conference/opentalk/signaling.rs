//! What a recorder does in an OpenTalk room: the conversation with the controller, without its socket and without a clock.
//!
//! In: what the controller says ([`super::b_words`]), how its connection fares, the media server's events, reports of the Session, and the time. Out:
//! [`Action`]s. Pure: call an input, drain [`Signaling::poll_action`], wait until [`Signaling::poll_wake`].
//!
//! One connection at a time: any that ends, even one that was never let in, makes the controller show all Targets as inactive. Each is a new participant with
//! a new ticket. People, their consent and the Targets come from here alone; the media server only says which Tracks there are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use recorder_core::conference::{ConferenceEvent, EndReason, Standing};
use recorder_core::fault::{Fault, Retry};
use recorder_core::ids::{ParticipantId, TargetId};
use recorder_core::secret::{Pii, Secret};

use super::FormerWorker;
use super::b_words::{self, Arrival, Credentials, Heard, Hindrance, Unreadable};
use super::pace::Pace;
use super::people::{Change, People};
use super::refusal::{Refusal, lost};
use super::targets::{Entrance, Outcome, Targets};
use super::tracks::Tracks;

/// The controller pings every 15 s: whoever has not heard anything for so long hears nothing any more.
const SILENCE_LIMIT: Duration = Duration::from_secs(35);
/// How long the controller may take to let us in.
const JOIN_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to give new credentials for the media server.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(5);
/// A room without a place is tried again after this; each attempt costs everybody a change of what they are shown.
const FULL_PAUSE: Duration = Duration::from_secs(5);
/// Tickets that are refused before the first join; nobody waits for the room any longer by then.
const FIRST_FAILURES: u32 = 5;

/// What has to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Get a ticket and connect.
    Connect,
    /// Drop the connection, whatever state it is in.
    HangUp,
    /// Say this to the controller.
    Say(String),
    /// Tell the Session.
    Tell(ConferenceEvent),
    /// Enter the media server; leave the one before, if there is one.
    EnterMedia(Credentials),
    /// Answer the media server's adapter, which has asked for a new token.
    GiveToken(Option<Secret>),
    /// Finish media, close the connection properly, and end.
    End(EndReason),
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// By a close frame with this code.
    Closed(Option<u16>),
    /// Without a word.
    Cut,
}

/// The code of a close frame by which the controller means it.
const NORMAL_CLOSURE: u16 = 1000;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    /// No connection; the next attempt is made then.
    Away { at: Instant },
    /// On the way to one.
    Connecting,
    /// Connected, and not yet let in.
    Joining { by: Instant },
    /// In the room.
    Inside,
    /// Nothing follows.
    Over,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Media {
    /// Not entered.
    Out,
    /// Entered, or on the way.
    In,
    /// Lost for good; credentials will be asked for then.
    Waiting { at: Instant },
    /// They were asked for.
    Asking { by: Instant },
}

/// See the module.
pub(super) struct Signaling {
    display_name: String,
    phase: Phase,
    media: Media,
    entrance: Entrance,
    /// When anything was heard last.
    heard_at: Instant,
    /// Attempts that failed before the first join.
    failures: u32,
    /// The Session knows of a loss that is not over.
    is_lost: bool,
    /// The media server's adapter waits for a token.
    token_wanted: bool,
    pace: Pace,
    media_pace: Pace,
    title: Option<Pii>,
    people: People,
    targets: Targets,
    tracks: Tracks,
    /// Messages that could not be read.
    unreadable: u64,
    actions: VecDeque<Action>,
}

impl Signaling {
    /// Begins to connect; `former` when the Session goes on after another worker.
    pub(super) fn new(display_name: String, former: Option<FormerWorker>, jitter: u8, now: Instant) -> Self {
        let entrance = if former.is_some() { Entrance::Again } else { Entrance::First };
        Self {
            display_name,
            phase: Phase::Connecting,
            media: Media::Out,
            entrance,
            heard_at: now,
            failures: 0,
            is_lost: false,
            token_wanted: false,
            pace: Pace::new(0, jitter),
            // Whoever is thrown out of the room hears of it a moment later than the media server lets go.
            media_pace: Pace::new(1, jitter),
            title: None,
            people: People::default(),
            targets: Targets::of(former),
            tracks: Tracks::default(),
            unreadable: 0,
            actions: VecDeque::from([Action::Connect]),
        }
    }

    /// The next thing to do.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Signaling::woken`] at the latest.
    pub(super) fn poll_wake(&self) -> Option<Instant> {
        let media = match self.media {
            Media::Waiting { at } => Some(at),
            Media::Asking { by } => Some(by),
            Media::Out | Media::In => None,
        };
        match self.phase {
            Phase::Away { at } => Some(at),
            Phase::Joining { by } => Some(by),
            Phase::Inside => {
                let silent_at = self.heard_at + SILENCE_LIMIT;
                Some(media.map_or(silent_at, |at| at.min(silent_at)))
            }
            Phase::Connecting | Phase::Over => None,
        }
    }

    /// The time that was asked for has come.
    pub(super) fn woken(&mut self, now: Instant) {
        match self.phase {
            Phase::Away { at } if now >= at => {
                self.phase = Phase::Connecting;
                self.actions.push_back(Action::Connect);
            }
            Phase::Joining { by } if now >= by => self.abandon(lost("The OpenTalk controller does not let us in."), now),
            Phase::Inside if now >= self.heard_at + SILENCE_LIMIT => {
                self.abandon(lost("The OpenTalk controller has fallen silent."), now);
            }
            Phase::Inside => self.look_after_media(now),
            Phase::Away { .. } | Phase::Joining { .. } | Phase::Connecting | Phase::Over => {}
        }
    }

    /// Connected.
    pub(super) fn opened(&mut self, now: Instant) {
        if self.phase == Phase::Connecting {
            self.heard_at = now;
            self.phase = Phase::Joining { by: now + JOIN_LIMIT };
            self.actions.push_back(Action::Say(b_words::join(&self.display_name)));
        }
    }

    /// There is no connection.
    pub(super) fn refused(&mut self, refusal: &Refusal, now: Instant) {
        if self.phase != Phase::Connecting {
            return;
        }
        let fault = refusal.fault();
        let is_first = !self.has_been_inside();
        let counts = matches!(refusal, Refusal::Ticket | Refusal::Source(_));
        self.failures += u32::from(is_first && counts);
        // A proxy answers strangely while its server restarts; whoever gives tickets means what it says.
        let is_final = fault.retry == Retry::Never && (is_first || matches!(refusal, Refusal::Source(_)));
        if is_final || self.failures >= FIRST_FAILURES {
            self.end(EndReason::Refused(fault));
        } else {
            self.lose(fault, now);
        }
    }

    /// The connection ended.
    pub(super) fn broken(&mut self, how: Broken, now: Instant) {
        match (self.phase, how) {
            // It lets go of nobody without a reason, and tells most of them.
            (Phase::Inside, Broken::Closed(Some(NORMAL_CLOSURE))) => self.end(EndReason::Removed),
            (Phase::Inside | Phase::Joining { .. }, _) => {
                self.lose(lost("The connection to the OpenTalk controller is lost."), now);
            }
            (Phase::Away { .. } | Phase::Connecting | Phase::Over, _) => {}
        }
    }

    /// The controller is alive.
    pub(super) fn beat(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// The controller said something.
    pub(super) fn heard(&mut self, text: &str, now: Instant) {
        self.heard_at = now;
        let heard = match b_words::read(text) {
            Ok(heard) => heard,
            Err(Unreadable) => {
                self.unreadable += 1;
                tracing::debug!(bytes = text.len(), count = self.unreadable, "a message of the controller cannot be read");
                return;
            }
        };
        match (self.phase, heard) {
            (Phase::Joining { .. }, Heard::Joined(arrival)) => self.arrive(*arrival, now),
            (Phase::Joining { .. }, Heard::Full) => self.turned_away(now),
            (Phase::Joining { .. }, Heard::BadName) => self.end(EndReason::Refused(Refusal::Name.fault())),
            (Phase::Joining { .. } | Phase::Inside, Heard::Outside) => self.end(EndReason::Refused(Refusal::WaitingRoom.fault())),
            (Phase::Joining { .. } | Phase::Inside, Heard::Over(reason)) => self.end(reason),
            (Phase::Inside, heard) => self.learn(heard, now),
            (Phase::Joining { .. } | Phase::Away { .. } | Phase::Connecting | Phase::Over, _) => {}
        }
    }

    /// The media server's adapter said something.
    pub(super) fn media(&mut self, event: ConferenceEvent, now: Instant) {
        match event {
            ConferenceEvent::Entered { .. } => self.tracks.entered(),
            ConferenceEvent::Listed => {
                self.tracks.listed();
                self.media_pace.came(now);
            }
            ConferenceEvent::TrackUp { track, muted } => self.tracks.up(track, muted),
            ConferenceEvent::TrackDown { track } => self.tracks.down(&track),
            ConferenceEvent::Speaking { participants } if self.phase == Phase::Inside => {
                let event = self.tracks.speaking(participants, &self.people);
                self.actions.push_back(Action::Tell(event));
            }
            ConferenceEvent::Lost { fault } => {
                tracing::warn!(%fault, "the media server is lost");
                self.tracks.lose();
            }
            ConferenceEvent::Ended { reason } => {
                tracing::info!(?reason, "the media server lets go of us");
                self.tracks.lose();
                self.media = Media::Waiting { at: self.media_pace.next(now) };
            }
            // Who is there, and what they are called, is not its business.
            _ => {}
        }
        self.tell_tracks();
    }

    /// The media server's adapter wants a token.
    pub(super) fn token_asked(&mut self) {
        if self.phase == Phase::Inside {
            self.token_wanted = true;
            self.actions.push_back(Action::Say(b_words::ask_for_credentials()));
        } else {
            self.actions.push_back(Action::GiveToken(None));
        }
    }

    /// How a Target stands. Said while we are away, it is lost: what everybody is shown is told again when we are back.
    pub(super) fn report(&mut self, target: &TargetId, standing: &Standing) {
        match self.targets.name_of(target) {
            Some(name) if self.phase == Phase::Inside => self.actions.push_back(Action::Say(b_words::report(name, standing))),
            _ => tracing::debug!(target.id = %target, "nobody can be told how a Target stands"),
        }
    }

    /// The Session wants to leave.
    pub(super) fn leave(&mut self) {
        self.end(EndReason::Left);
    }

    fn arrive(&mut self, arrival: Arrival, now: Instant) {
        let Arrival { own, title, credentials, people, streams, hindrance } = arrival;
        if let Some(hindrance) = hindrance {
            let refusal = match hindrance {
                Hindrance::EndToEnd => Refusal::EndToEnd,
                Hindrance::Breakout => Refusal::Breakout,
            };
            return self.end(EndReason::Refused(refusal.fault()));
        }
        let Some(credentials) = credentials else { return self.end(EndReason::Refused(Refusal::NoMedia.fault())) };
        self.phase = Phase::Inside;
        self.is_lost = false;
        self.pace.came(now);
        self.title = title;
        self.people.arrive(own, people);
        self.tell(ConferenceEvent::Entered { title: self.title.clone() });
        let people: Vec<ConferenceEvent> = self.people.listing().collect();
        people.into_iter().for_each(|event| self.tell(event));
        self.tracks.retell(&self.people).into_iter().for_each(|event| self.tell(event));
        let outcome = self.targets.arrive(streams, std::mem::replace(&mut self.entrance, Entrance::Again));
        self.follow(outcome);
        self.tell(ConferenceEvent::Listed);
        self.enter_media(credentials);
    }

    fn learn(&mut self, heard: Heard, now: Instant) {
        match heard {
            Heard::Person(person) => {
                let id = person.id.clone();
                match self.people.told(person) {
                    Change::Here(events) => {
                        events.into_iter().for_each(|event| self.tell(event));
                        self.tell_tracks();
                    }
                    Change::Gone => self.gone(id),
                    Change::Nothing => {}
                }
            }
            Heard::Left(id) => {
                if let Change::Gone = self.people.left(&id) {
                    self.gone(id);
                }
            }
            Heard::Start(names) => {
                let outcome = self.targets.started(&names);
                self.follow(outcome);
            }
            Heard::Pause(names) => {
                let outcome = self.targets.paused(&names);
                self.follow(outcome);
            }
            Heard::Stop(names) => {
                let outcome = self.targets.stopped(&names);
                self.follow(outcome);
            }
            Heard::Shown { stream, light } => {
                if let Some(event) = self.targets.shown(&stream, light) {
                    self.tell(event);
                }
            }
            Heard::Credentials(credentials) => {
                if std::mem::take(&mut self.token_wanted) {
                    self.actions.push_back(Action::GiveToken(Some(credentials.token.clone())));
                }
                if matches!(self.media, Media::Asking { .. }) {
                    self.enter_media(credentials);
                }
            }
            Heard::Joined(_) | Heard::Full | Heard::BadName | Heard::Outside | Heard::Over(_) | Heard::Nothing => {}
        }
        self.look_after_media(now);
    }

    fn gone(&mut self, id: ParticipantId) {
        self.tell_tracks();
        self.tell(ConferenceEvent::Left { participant: id });
    }

    fn follow(&mut self, outcome: Outcome) {
        outcome.events.into_iter().for_each(|event| self.tell(event));
        for (name, standing) in outcome.reports {
            self.actions.push_back(Action::Say(b_words::report(&name, &standing)));
        }
    }

    fn enter_media(&mut self, credentials: Credentials) {
        self.media = Media::In;
        self.actions.push_back(Action::EnterMedia(credentials));
    }

    fn look_after_media(&mut self, now: Instant) {
        match self.media {
            Media::Waiting { at } if now >= at => {
                self.media = Media::Asking { by: now + CREDENTIALS_LIMIT };
                self.actions.push_back(Action::Say(b_words::ask_for_credentials()));
            }
            Media::Asking { by } if now >= by => self.media = Media::Waiting { at: self.media_pace.next(now) },
            Media::Waiting { .. } | Media::Asking { .. } | Media::Out | Media::In => {}
        }
    }

    /// Tells what changed of the Tracks. While we are away nothing did: what there is will be told again.
    fn tell_tracks(&mut self) {
        if self.phase == Phase::Inside {
            self.tracks.reconcile(&self.people).into_iter().for_each(|event| self.tell(event));
        }
    }

    /// No place in the room.
    fn turned_away(&mut self, now: Instant) {
        let fault = Refusal::Full.fault();
        if !self.has_been_inside() {
            return self.end(EndReason::Refused(fault));
        }
        self.abandon(fault, now);
        self.phase = Phase::Away { at: now + FULL_PAUSE };
    }

    fn abandon(&mut self, fault: Fault, now: Instant) {
        self.actions.push_back(Action::HangUp);
        self.lose(fault, now);
    }

    fn lose(&mut self, fault: Fault, now: Instant) {
        self.phase = Phase::Away { at: self.pace.next(now) };
        if std::mem::take(&mut self.token_wanted) {
            self.actions.push_back(Action::GiveToken(None));
        }
        if !std::mem::replace(&mut self.is_lost, true) {
            tracing::warn!(%fault, "the OpenTalk room is lost");
            self.tell(ConferenceEvent::Lost { fault });
        }
    }

    fn end(&mut self, reason: EndReason) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            tracing::info!(unreadable = self.unreadable, reason = %in_words(&reason), "the OpenTalk room is left");
            self.actions.push_back(Action::End(reason));
        }
    }

    fn tell(&mut self, event: ConferenceEvent) {
        self.actions.push_back(Action::Tell(event));
    }

    fn has_been_inside(&self) -> bool {
        self.entrance == Entrance::Again
    }
}

fn in_words(reason: &EndReason) -> &str {
    match reason {
        EndReason::RoomClosed => "The room was closed.",
        EndReason::Left => "The Session left.",
        EndReason::Removed => "The recorder was removed.",
        EndReason::Refused(fault) => &fault.sentence,
    }
}

#[cfg(test)]
#[path = "signaling_tests.rs"]
mod tests;
