//! What the Session shows and subscribes: derived whole from what is known, and told only when it changed.

use std::sync::Arc;

use crate::conference::ConferenceCommand;
use crate::scene::{Align, CanvasSize, Content, Ornament, Rect, Rgb, Scene};
use crate::secret::Pii;
use crate::subscription::subscriptions;
use crate::time::SessionTime;

use super::{Action, Connection, Phase, Session};

/// Shown while nobody but us is in the room.
pub const CARD_NOBODY: &str = "Nobody is here yet.";
/// Shown behind the placeholders while we are not connected.
pub const CARD_LOST: &str = "The connection to the conference is lost. Trying to get back.";

impl Session {
    /// Derives Scene and subscriptions from what is known, and tells what changed.
    pub(super) fn derive(&mut self, now: SessionTime) {
        if matches!(self.phase, Phase::Ending | Phase::Over) {
            return;
        }
        let from = (self.people.revision(), self.connection.clone());
        if self.derived_from.as_ref() == Some(&from) {
            return;
        }
        self.derived_from = Some(from);
        let stage = self.people.stage(&self.settings.caution);
        let mut scene = self.settings.layout.arrange(&stage, self.settings.canvas, now);
        self.subscribe(&scene);
        for tile in &mut scene.tiles {
            tile.video = tile.video.take().filter(|track| !self.people.is_awaited(track));
        }
        scene.ornaments.extend(self.notice().map(|text| notice(text, self.settings.canvas)));
        // Compared as if it had been true since the one shown.
        scene.from = self.shown.from;
        if scene != *self.shown {
            scene.from = now;
            self.shown = Arc::new(scene);
            self.actions.retain(|action| !matches!(action, Action::Show(_)));
            self.actions.push_back(Action::Show(self.shown.clone()));
        }
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

    fn notice(&self) -> Option<&'static str> {
        match (&self.connection, self.phase) {
            (Connection::Outside { .. }, Phase::Live) => Some(CARD_LOST),
            // While the list is told it is not known whether nobody is here; the first picture of a Take must not say so.
            (Connection::Inside, _) if self.people.count() == 0 => Some(CARD_NOBODY),
            _ => None,
        }
    }
}

/// A sentence in the middle of the canvas.
fn notice(text: &str, canvas: CanvasSize) -> Ornament {
    Ornament {
        rect: Rect { x: 0, y: 0, width: canvas.width_px, height: canvas.height_px },
        align: Align::Center,
        content: Content::Text(Pii::new(text)),
        text_px: (canvas.height_px * 6 / 100).max(8),
        colour: Rgb(255, 255, 255),
        plate: None,
        lines: 6,
    }
}
