//! What the Conference tells, and what it changes.

use crate::conference::ConferenceEvent;
use crate::stage::ConsentRule;
use crate::standing::Reporter;
use crate::target::TargetState;
use crate::time::SessionTime;

use super::{Action, Connection, Leaving, Phase, Session, outcome};

impl Session {
    pub(super) fn conference(&mut self, event: ConferenceEvent, now: SessionTime) {
        match event {
            ConferenceEvent::Entered { title } => {
                self.title = title;
                self.entered(now);
            }
            ConferenceEvent::Listed => {
                // A list that nobody asked for would sweep out people who are there.
                if self.connection == Connection::Listing {
                    self.people.listed();
                    self.connection = Connection::Inside;
                    self.first_list = false;
                    // Somebody may have withdrawn meanwhile.
                    self.at_once |= self.settings.consent != ConsentRule::NotAsked;
                }
            }
            ConferenceEvent::Joined { participant, name } => self.people.joined(participant, name, now),
            ConferenceEvent::Facts { participant, facts } => self.people.told_facts(&participant, &facts),
            ConferenceEvent::Left { participant } => self.people.left(&participant),
            ConferenceEvent::TrackUp { track, muted } => self.people.track_up(&track, muted),
            ConferenceEvent::TrackDown { track } => self.people.track_down(&track),
            ConferenceEvent::Speaking { participants } => self.people.hinted(&participants, now),
            ConferenceEvent::Consent { participant, given, .. } => {
                // What was said before, and is not mixed yet, is discarded.
                self.at_once |= self.people.consents(&participant, given);
            }
            ConferenceEvent::Wish { target, wish } => self.wished(target, wish, now),
            ConferenceEvent::Shown { target, light } => {
                if let Some(reporter) = self.reporters.get_mut(&target) {
                    reporter.shown(light, now);
                }
            }
            ConferenceEvent::Lost { fault } => match &mut self.connection {
                Connection::Gone => {}
                // Still outside: the newest reason is the one to tell, but the wait began earlier.
                Connection::Outside { fault: known, .. } => *known = Some(fault),
                Connection::Listing | Connection::Inside => {
                    self.connection = Connection::Outside { since: now, fault: Some(fault) };
                    if !self.has_signaling_apart() {
                        self.people.doubt_everybody();
                    }
                }
            },
            ConferenceEvent::Ended { reason } => {
                self.connection = Connection::Gone;
                self.leaving = Leaving::Done;
                let outcome = outcome::of_conference(reason, self.phase);
                self.end(outcome, now, now);
            }
        }
        self.alone_since = match self.people.count() {
            0 => self.alone_since.or(Some(now)),
            _ => None,
        };
    }

    fn entered(&mut self, now: SessionTime) {
        if self.connection == Connection::Gone {
            return;
        }
        self.connection = Connection::Listing;
        self.people.doubt_everybody();
        self.people.set_unheard(false);
        // Whoever may be recorded is told with the list.
        self.people.forget_consents();
        self.subscribed = None;
        self.reporters.values_mut().for_each(Reporter::forgotten);
        if self.phase != Phase::Entering {
            return;
        }
        self.phase = Phase::Live;
        self.alone_since = None;
        for target in self.targets.iter_mut().filter(|target| target.state == TargetState::Idle) {
            if let Some(delivery) = &target.delivery {
                let (target, run) = (target.id.clone(), target.run);
                self.actions.push_back(Action::Open { target, run, delivery: delivery.clone() });
            }
            if let Some(take) = target.begin(now) {
                self.actions.push_back(Action::BeginTake { target: target.id.clone(), take, at: now });
            }
        }
        for target in self.targets.iter().filter(|target| target.shows_slate()) {
            self.actions.push_back(Action::ShowSlate { target: target.id.clone(), from: now });
        }
    }
}
