//! What moderators in the room want of Targets, and what they are told about them.
//!
//! Only for a Session that is commanded: its Targets begin, pause and end by the room's wishes, and it leaves when nothing is wanted any more.

use std::time::Duration;

use crate::conference::{ConferenceCommand, Delivery, TargetWish};
use crate::fault::Fault;
use crate::ids::TargetId;
use crate::stage::ConsentRule;
use crate::standing::standing;
use crate::target::{Target, TargetState};
use crate::time::SessionTime;

use super::{Action, After, Commanded, Connection, Outcome, Phase, Session, Wake, WhyOver, Withheld};

/// More Targets than any room has are not begun.
const MAX_TARGETS: usize = 64;

impl Session {
    /// A moderator wants something of a Target.
    pub(super) fn wished(&mut self, id: TargetId, wish: TargetWish, now: SessionTime) {
        if self.settings.commanded.is_none() || !matches!(self.phase, Phase::Entering | Phase::Live) {
            return;
        }
        // What we were told on the way in was wanted when we were ordered.
        let clicked = if self.first_list { SessionTime::ZERO } else { now };
        self.reporters.entry(id.clone()).or_default().acted(clicked);
        match wish {
            TargetWish::Start(delivery) => self.wants(id, delivery, now),
            TargetWish::Pause => self.pause(&id, now),
            TargetWish::Stop => self.stop_target(&id, now),
        }
    }

    fn wants(&mut self, id: TargetId, delivery: Delivery, now: SessionTime) {
        if let Some(fault) = self.withheld(&delivery).cloned() {
            if let Some(target) = self.targets.iter_mut().find(|target| target.id == id) {
                target.refuse(fault, now);
            } else if self.targets.len() < MAX_TARGETS {
                self.targets.push(Target::refused(id, delivery, fault, now));
            }
            self.idle_since = None;
            return;
        }
        let Some(target) = self.targets.iter_mut().find(|target| target.id == id) else {
            if self.targets.len() < MAX_TARGETS {
                self.targets.push(Target::wished(id.clone(), delivery));
                self.begin(&id, now);
            }
            return;
        };
        target.delivery = Some(delivery);
        if target.lost_for_good_at(Duration::ZERO).is_some() {
            self.actions.push_back(Action::TryNow { target: id.clone() });
        }
        if !target.begin_when_closed() {
            self.begin(&id, now);
        }
    }

    /// From now on this is not delivered any more: what runs of it ends, and whoever wants it is told why.
    pub(super) fn withhold(&mut self, withheld: Withheld, now: SessionTime) {
        let Some(commanded) = &mut self.settings.commanded else { return };
        commanded.withheld = withheld;
        self.end_withheld(now);
    }

    /// Ends what is not to be delivered.
    pub(super) fn end_withheld(&mut self, now: SessionTime) {
        let Some(Commanded { withheld, .. }) = &self.settings.commanded else { return };
        for target in &mut self.targets {
            let Some(fault) = target.delivery.as_ref().and_then(|delivery| withheld.reason(delivery)) else { continue };
            if target.fail(fault.clone(), now) {
                self.actions.push_back(Action::EndTake { target: target.id.clone(), at: now, then: After::Stop });
                self.derived_from = None;
            }
        }
    }

    fn withheld(&self, delivery: &Delivery) -> Option<&Fault> {
        self.settings.commanded.as_ref()?.withheld.reason(delivery)
    }

    /// Begins a Take, of a new delivery when the one before is over. Nothing happens while one runs.
    pub(super) fn begin(&mut self, id: &TargetId, now: SessionTime) {
        let Some(target) = self.targets.iter_mut().find(|target| target.id == *id) else { return };
        let run = target.run;
        let Some(take) = target.begin(now) else { return };
        if let Some(delivery) = target.delivery.clone().filter(|_| target.run != run) {
            self.actions.push_back(Action::Open { target: id.clone(), run: target.run, delivery });
        }
        self.actions.push_back(Action::BeginTake { target: id.clone(), take, at: now });
        self.derived_from = None;
    }

    fn pause(&mut self, id: &TargetId, now: SessionTime) {
        let Some(target) = self.targets.iter_mut().find(|target| target.id == *id) else { return };
        if target.pause(now) {
            self.actions.push_back(Action::EndTake { target: id.clone(), at: now, then: After::Pause });
            self.await_last_word(now);
        }
    }

    fn stop_target(&mut self, id: &TargetId, now: SessionTime) {
        let Some(target) = self.targets.iter_mut().find(|target| target.id == *id) else { return };
        if target.end(now) {
            self.actions.push_back(Action::EndTake { target: id.clone(), at: now, then: After::Stop });
            self.await_last_word(now);
        }
    }

    /// A Take has ended, and what was captured before its end is still on its way: if nothing else is delivered, people are received for so long.
    fn await_last_word(&mut self, now: SessionTime) {
        self.last_word = Some(now + self.settings.mixer_delay);
        self.derived_from = None;
    }

    /// When nobody has to be received any more.
    pub(super) fn last_word_at(&self) -> Option<SessionTime> {
        self.last_word.filter(|_| !self.targets.iter().any(Target::is_open))
    }

    /// A live destination is not tried any more.
    pub(super) fn give_up_destination(&mut self, id: &TargetId, now: SessionTime) {
        let Some(target) = self.targets.iter_mut().find(|target| target.id == *id) else { return };
        if target.give_up_destination(now) {
            self.actions.push_back(Action::EndTake { target: id.clone(), at: now, then: After::Stop });
        }
    }

    /// What was recorded is stored, or cannot be.
    pub(super) fn delivered(&mut self, id: &TargetId, run: u32, fault: Option<Fault>) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.id == *id) {
            target.delivered(run, fault);
            // What people are told now they must be able to see.
            self.idle_since = None;
        }
    }

    /// We were ordered for a room that we are in. While something runs that is a repetition. Otherwise a moderator wants something that the
    /// Conference does not tell those who are inside: whoever comes anew is told, so we go.
    pub(super) fn ordered_again(&mut self, now: SessionTime) {
        let idle = self.settings.commanded.is_some() && self.phase == Phase::Live && !self.targets.iter().any(Target::can_go_on);
        if idle {
            self.end(Outcome::new(WhyOver::NothingWanted, None), now, now);
        }
    }

    /// Everything about wishes that happens by itself.
    pub(super) fn let_wishes_pass(&mut self, now: SessionTime) {
        if self.unheard_at().is_some_and(|at| at <= now) && self.people.set_unheard(true) {
            self.people.doubt_everybody();
            self.at_once = true;
        }
        let Some(Commanded { reconnect_grace, .. }) = &self.settings.commanded else { return };
        if self.last_word.take_if(|at| *at <= now).is_some() {
            self.derived_from = None;
        }
        let grace = *reconnect_grace;
        let lost = |target: &&Target| target.lost_for_good_at(grace).is_some_and(|at| at <= now);
        let lost: Vec<TargetId> = self.targets.iter().filter(lost).map(|target| target.id.clone()).collect();
        lost.iter().for_each(|id| self.give_up_destination(id, now));
        self.report(now);
        self.idle_since = if self.is_idle() { self.idle_since.or(Some(now)) } else { None };
    }

    /// Tells the Conference what it does not know.
    fn report(&mut self, now: SessionTime) {
        if !matches!(self.connection, Connection::Listing | Connection::Inside) {
            return;
        }
        for target in &self.targets {
            let standing = standing(target);
            let reporter = self.reporters.entry(target.id.clone()).or_default();
            if let Some(standing) = reporter.look(&standing, now) {
                let target = target.id.clone();
                self.actions.push_back(Action::Tell(ConferenceCommand::Report { target, standing }));
            }
        }
    }

    /// Nothing runs, begins, is paused, or is being closed.
    fn is_idle(&self) -> bool {
        self.connection == Connection::Inside
            && !self.targets.iter().any(|target| target.can_go_on() || target.closing_since().is_some())
    }

    /// When we leave because nothing is wanted of us.
    pub(super) fn nothing_wanted_at(&self) -> Option<SessionTime> {
        let commanded = self.settings.commanded.as_ref()?;
        let idle = self.idle_since?;
        let failed = |target: &Target| matches!(target.state, TargetState::Failed { .. }) || target.undelivered().is_some();
        let shown = self.targets.iter().any(failed).then(|| idle + commanded.error_shown);
        let delivering = self.targets.iter().filter_map(Target::delivering_since).map(|since| since + commanded.delivery_grace);
        delivering.chain(shown).chain([idle]).max()
    }

    /// When it is too long that nobody can withdraw their consent.
    pub(super) fn unheard_at(&self) -> Option<SessionTime> {
        let asked = self.settings.consent != ConsentRule::NotAsked;
        match self.connection {
            Connection::Outside { since, .. } if asked && self.phase == Phase::Live => {
                Some(since + self.settings.signaling_grace)
            }
            _ => None,
        }
    }

    /// When the Session wants to be woken because of this.
    pub(super) fn commanded_wakes(&self) -> Vec<(SessionTime, Wake)> {
        if !matches!(self.phase, Phase::Entering | Phase::Live) {
            return Vec::new();
        }
        let mut wakes: Vec<_> = self.unheard_at().filter(|at| *at > self.now).map(|at| (at, Wake::Unheard)).into_iter().collect();
        let Some(commanded) = &self.settings.commanded else { return wakes };
        wakes.extend(self.last_word_at().map(|at| (at, Wake::LastWord)));
        for target in &self.targets {
            let lost = target.lost_for_good_at(commanded.reconnect_grace);
            wakes.extend(lost.map(|at| (at, Wake::Destination(target.id.clone()))));
        }
        if matches!(self.connection, Connection::Listing | Connection::Inside) {
            let reports = self.reporters.iter().filter_map(|(id, reporter)| Some((reporter.wake()?, Wake::Report(id.clone()))));
            wakes.extend(reports);
        }
        wakes.extend(self.nothing_wanted_at().map(|at| (at, Wake::NothingWanted)));
        wakes
    }
}
