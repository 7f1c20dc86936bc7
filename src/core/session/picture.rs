//! What the Session shows and subscribes: derived whole from what is known, and told only when it changed.

use std::sync::Arc;

use crate::conference::ConferenceCommand;
use crate::layout::Setting;
use crate::scene::Scene;
use crate::slate::SlateKind;
use crate::subscription::subscriptions;
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
        if scene != *self.shown {
            scene.from = now;
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
        // Outside there is nobody to tell; the wish is told again, whole, when we are back.
        if !matches!(self.connection, Connection::Listing | Connection::Inside) {
            return;
        }
        let list = subscriptions(&self.people, wished, &self.settings.caution);
        if self.subscribed.as_ref() != Some(&list) {
            self.actions.retain(|action| !matches!(action, Action::Tell(ConferenceCommand::Subscribe(_))));
            self.actions.push_back(Action::Tell(ConferenceCommand::Subscribe(list.clone())));
            self.subscribed = Some(list);
        }
    }

    fn slate(&self) -> Option<SlateKind> {
        match (&self.connection, self.phase) {
            (Connection::Outside { .. }, Phase::Entering) => Some(SlateKind::BeforeStart),
            (Connection::Outside { .. }, Phase::Live) => Some(SlateKind::Lost),
            // While the list is told it is not known whether nobody is here; the first picture of a Take must not say so.
            (Connection::Inside, _) if self.people.count() == 0 => Some(SlateKind::Nobody),
            _ => None,
        }
    }
}
