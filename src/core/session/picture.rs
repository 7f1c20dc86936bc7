//! What the Session shows and subscribes: derived whole from what is known, and told only when it changed.

use std::sync::Arc;

use crate::conference::ConferenceCommand;
use crate::layout::Setting;
use crate::scene::Scene;
use crate::slate::SlateKind;
use crate::stage::ConsentRule;
use crate::subscription::subscriptions;
use crate::target::Target;
use crate::time::SessionTime;

use super::{Action, Connection, Phase, Session, SessionSettings};

impl Session {
    /// Derives Scene and subscriptions from what is known, and tells what changed.
    pub(super) fn derive(&mut self, now: SessionTime) {
        if matches!(self.phase, Phase::Ending | Phase::Over) {
            return;
        }
        let from = (self.people.revision(), self.connection.clone());
        let due = self.seating.wake().is_some_and(|at| at <= now);
        if self.derived_from.as_ref() == Some(&from) && !due {
            return;
        }
        self.derived_from = Some(from);
        let mut scene = self.arranged(now);
        self.subscribe(&scene);
        for tile in &mut scene.tiles {
            tile.video = tile.video.take().filter(|track| !self.people.is_awaited(track));
        }
        if let Some(slate) = self.slate().and_then(|kind| self.settings.dress.slates.get(kind)) {
            slate.over(&mut scene, self.settings.dress.language, self.title.as_ref());
        }
        // Compared as if it had been true since the one shown.
        scene.from = self.shown.from;
        if scene != *self.shown || self.at_once {
            // Of the past, so that it is true for everything that is not mixed yet.
            scene.from = if std::mem::take(&mut self.at_once) { SessionTime::ZERO } else { now };
            self.shown = Arc::new(scene);
            self.actions.retain(|action| !matches!(action, Action::Show(_)));
            self.actions.push_back(Action::Show(self.shown.clone()));
        }
    }

    /// The wish: also what is not received at the moment has its place.
    fn arranged(&mut self, now: SessionTime) -> Scene {
        let SessionSettings { layout, dress, canvas, caution, .. } = &self.settings;
        let setting = Setting { canvas: *canvas, dress, title: self.title.as_ref() };
        layout.arrange_calmly(&self.people.stage(caution), &setting, &mut self.seating, now)
    }

    fn subscribe(&mut self, wished: &Scene) {
        // Outside there is nobody to tell; the wish is told again, whole, when we are back. Only what may not be received any more is told at once,
        // because media may still come.
        let unheard = self.unheard_at().is_some_and(|at| at <= self.now) && self.settings.consent != ConsentRule::NotAsked;
        if !matches!(self.connection, Connection::Listing | Connection::Inside) && !unheard {
            return;
        }
        let list = match self.delivers() {
            true => subscriptions(&self.people, wished, &self.settings.caution),
            // With nothing to deliver to, nothing is received.
            false => Vec::new(),
        };
        if self.subscribed.as_ref() != Some(&list) {
            self.actions.retain(|action| !matches!(action, Action::Tell(ConferenceCommand::Subscribe(_))));
            self.actions.push_back(Action::Tell(ConferenceCommand::Subscribe(list.clone())));
            self.subscribed = Some(list);
        }
    }

    /// Whether something is delivered now, or could be: a Session without Targets watches.
    fn delivers(&self) -> bool {
        self.settings.commanded.is_none() || self.targets.iter().any(Target::is_open)
    }

    fn slate(&self) -> Option<SlateKind> {
        match (&self.connection, self.phase) {
            (Connection::Outside { .. }, Phase::Entering) => Some(SlateKind::BeforeStart),
            (Connection::Outside { .. }, Phase::Live) if self.is_bridged() => None,
            (Connection::Outside { .. }, Phase::Live) => Some(SlateKind::Lost),
            // While the list is told it is not known whether nobody is here; the first picture of a Take must not say so.
            (Connection::Inside, _) if self.people.count() == 0 => Some(SlateKind::Nobody),
            (Connection::Inside, _) if self.people.recordable() == 0 => Some(SlateKind::NoConsent),
            _ => None,
        }
    }

    /// Signaling is lost, and media are kept for a moment.
    fn is_bridged(&self) -> bool {
        self.settings.consent != ConsentRule::NotAsked && self.unheard_at().is_some_and(|at| at > self.now)
    }
}
