//! What the Session shows and subscribes: derived whole from what is known, and told only when it changed.

use std::sync::Arc;

use crate::conference::ConferenceCommand;
use crate::layout::{Dress, Seating, Setting};
use crate::scene::{Content, Rgb, Scene};
use crate::slate::SlateKind;
use crate::stage::ConsentRule;
use crate::subscription::subscriptions;
use crate::target::Target;
use crate::time::SessionTime;

use super::{Action, Connection, Framing, Phase, Session, SessionSettings};

impl Session {
    /// Derives Scene and subscriptions from what is known, and tells what changed.
    pub(super) fn derive(&mut self, now: SessionTime) {
        if matches!(self.phase, Phase::Ending | Phase::Over) {
            return;
        }
        if self.connection == Connection::Listing && self.settings.consent != ConsentRule::NotAsked {
            // Who may be recorded is known when the list is complete. Until then holds what held before.
            return;
        }
        let from = (self.people.revision(), self.connection.clone());
        let due = self.place_due_at().is_some_and(|at| at <= now);
        if self.derived_from.as_ref() == Some(&from) && !due {
            return;
        }
        self.derived_from = Some(from);
        let mut scenes = self.arranged(now);
        self.subscribe(&scenes);
        let slate = self.slate().and_then(|kind| self.settings.dress.slates.get(kind));
        for scene in &mut scenes {
            for tile in &mut scene.tiles {
                tile.video = tile.video.take().filter(|track| !self.people.is_awaited(track));
            }
            if let Some(slate) = slate {
                slate.over(scene, self.settings.dress.language, self.title.as_ref());
            }
        }
        // Compared as if they had been true since the ones shown.
        scenes.iter_mut().zip(self.shown.iter()).for_each(|(scene, shown)| scene.from = shown.from);
        if self.at_once || scenes.iter().ne(self.shown.iter().map(|shown| &**shown)) {
            // Of the past when it has to be true for everything that is not mixed yet.
            let from = if std::mem::take(&mut self.at_once) { SessionTime::ZERO } else { now };
            scenes.iter_mut().for_each(|scene| scene.from = from);
            self.shown = scenes.into_iter().map(Arc::new).collect();
            self.actions.retain(|action| !matches!(action, Action::Show(_)));
            self.actions.push_back(Action::Show(self.shown.clone()));
        }
    }

    /// The wish, in each Rendition: also what is not received at the moment has its place.
    fn arranged(&mut self, now: SessionTime) -> Vec<Scene> {
        let SessionSettings { layout, dress, renditions, caution, .. } = &self.settings;
        let stage = self.people.stage(caution);
        let arrange = |(framing, seating): (&Framing, &mut Seating)| {
            let setting = Setting { canvas: framing.canvas, dress, title: self.title.as_ref() };
            framing.layout.as_ref().unwrap_or(layout).arrange_calmly(&stage, &setting, seating, now)
        };
        renditions.iter().zip(&mut self.seating).map(arrange).collect()
    }

    fn subscribe(&mut self, wished: &[Scene]) {
        // Outside there is nobody to tell; the wish is told again, whole, when we are back. Only what may not be received any more is told at once,
        // because media may still come.
        let unheard = self.unheard_at().is_some_and(|at| at <= self.now);
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
        self.settings.commanded.is_none() || self.last_word.is_some() || self.targets.iter().any(Target::is_open)
    }

    /// What a live destination of this Rendition shows while it is paused: always the same, so a clock is left out. `None` for a Rendition that there is
    /// not.
    pub fn paused_scene(&self, rendition: usize) -> Option<Scene> {
        let framing = self.settings.renditions.get(rendition)?;
        let Dress { slates, language, .. } = &self.settings.dress;
        let mut scene = Scene::empty(self.now, framing.canvas, Rgb(0, 0, 0));
        if let Some(slate) = slates.get(SlateKind::Paused) {
            slate.over(&mut scene, *language, self.title.as_ref());
        }
        scene.ornaments.retain(|ornament| !matches!(ornament.content, Content::Clock { .. }));
        Some(scene)
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

    /// Signaling is lost, and media are kept: for a moment where people may want to withdraw, else until we are in again.
    fn is_bridged(&self) -> bool {
        self.unheard_at().map_or_else(|| self.has_signaling_apart(), |at| at > self.now)
    }

    /// Whether media may go on when the Conference is lost: where it tells us what is wanted, and who agrees, that comes another way than media do.
    pub(super) fn has_signaling_apart(&self) -> bool {
        self.settings.commanded.is_some() || self.settings.consent != ConsentRule::NotAsked
    }
}
