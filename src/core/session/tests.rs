//! The Session on virtual time. [`Play`] is the world around it: it drains actions, and obeys wake-ups as the driver does.

mod any_meeting;
mod commanded;
mod consent;
mod ending;
mod scenes;

use crate::fault::{Blame, Retry, Scope};
use crate::ids::{ParticipantId, TrackId, TrackKind};
use crate::layout::Layout;
use crate::made_up::{at, id, track};
use crate::scene::{CanvasSize, Content};
use crate::secret::Pii;
use crate::target::TargetState;

use super::*;
use crate::conference::EndReason;

fn file() -> TargetId {
    TargetId::new("file")
}

fn fault(sentence: &str) -> Fault {
    Fault { scope: Scope::Session, blame: Blame::Conference, retry: Retry::Never, sentence: sentence.to_owned() }
}

fn settings() -> SessionSettings {
    let whole = Framing { canvas: CanvasSize::new(1280, 720).unwrap(), layout: None };
    SessionSettings::new(Layout::built_in("grid").unwrap(), vec![whole], vec![file()])
}

/// A Session and everything that it ever asked for.
struct Play {
    session: Session,
    now: SessionTime,
    log: Vec<(SessionTime, Action)>,
}

impl Play {
    fn new(settings: SessionSettings) -> Self {
        let mut play = Self { session: Session::new(settings, at(0)), now: at(0), log: vec![] };
        play.drain();
        play
    }

    /// In the room since 100 ms with these people, each with camera and microphone.
    fn entered(settings: SessionSettings, names: &[&str]) -> Self {
        let mut play = Self::new(settings);
        play.enter(100, names);
        play
    }

    fn enter(&mut self, ms: u64, names: &[&str]) {
        self.event(ms, ConferenceEvent::Entered { title: None });
        for name in names {
            self.joins(ms, name);
            self.up(ms, name, TrackKind::Camera);
            self.up(ms, name, TrackKind::Microphone);
        }
        self.event(ms, ConferenceEvent::Listed);
    }

    fn joins(&mut self, ms: u64, name: &str) {
        self.event(ms, ConferenceEvent::Joined { participant: id(name), name: Pii::new(name) });
    }

    fn leaves(&mut self, ms: u64, name: &str) {
        self.event(ms, ConferenceEvent::Left { participant: id(name) });
    }

    fn up(&mut self, ms: u64, name: &str, kind: TrackKind) {
        self.event(ms, ConferenceEvent::TrackUp { track: track(name, kind), muted: false });
    }

    fn mutes(&mut self, ms: u64, name: &str, kind: TrackKind) {
        self.event(ms, ConferenceEvent::TrackUp { track: track(name, kind), muted: true });
    }

    fn down(&mut self, ms: u64, name: &str, kind: TrackKind) {
        self.event(ms, ConferenceEvent::TrackDown { track: track(name, kind) });
    }

    fn lost(&mut self, ms: u64) {
        self.event(ms, ConferenceEvent::Lost { fault: fault("The server is away.") });
    }

    fn ended(&mut self, ms: u64, reason: EndReason) {
        self.event(ms, ConferenceEvent::Ended { reason });
    }

    fn event(&mut self, ms: u64, event: ConferenceEvent) {
        self.input(ms, Input::Conference(event));
    }

    fn report(&mut self, ms: u64, report: TargetReport) {
        self.input(ms, Input::Target { id: file(), report });
    }

    fn input(&mut self, ms: u64, input: Input) {
        self.sleep_until(ms);
        self.session.handle(input, self.now);
        self.drain();
    }

    /// Lets time pass, and wakes the Session exactly when it wants to be woken.
    fn sleep_until(&mut self, ms: u64) {
        while let Some((wake, why)) = self.session.poll_wake().filter(|(wake, _)| *wake <= at(ms)) {
            self.now = self.now.max(wake);
            self.session.handle(Input::Woken, self.now);
            self.drain();
            assert!(
                self.session.poll_wake().is_none_or(|next| next != (wake, why.clone())),
                "wakes for nothing: {why:?} at {wake:?}"
            );
        }
        self.now = self.now.max(at(ms));
    }

    fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            assert!(!matches!(self.log.last(), Some((_, Action::Over(_)))), "{action:?} after Over");
            self.log.push((self.now, action));
        }
    }

    /// Everything but what is shown and subscribed.
    fn deeds(&self) -> Vec<(SessionTime, Action)> {
        let shown = |action: &Action| matches!(action, Action::Show(_) | Action::Tell(ConferenceCommand::Subscribe(_)));
        self.log.iter().filter(|(_, action)| !shown(action)).cloned().collect()
    }

    fn outcome(&self) -> Option<&Outcome> {
        match self.log.last() {
            Some((_, Action::Over(outcome))) => Some(outcome),
            _ => None,
        }
    }

    fn subscribed(&self) -> Vec<Subscription> {
        let list = |(_, action): &(_, Action)| match action {
            Action::Tell(ConferenceCommand::Subscribe(list)) => Some(list.clone()),
            _ => None,
        };
        self.log.iter().rev().find_map(list).unwrap_or_default()
    }

    /// The layer that a Track is wished at; the outer `None`: not subscribed.
    fn layer(&self, name: &str, kind: TrackKind) -> Option<Option<(u32, u32)>> {
        let wanted = track(name, kind);
        let subscription = self.subscribed().into_iter().find(|subscription| subscription.track == wanted)?;
        Some(subscription.layer.map(|layer| (layer.width_px, layer.height_px)))
    }

    /// The newest Scene of the first Rendition.
    fn shown(&self) -> Arc<Scene> {
        self.shown_in(0)
    }

    /// The newest Scene of a Rendition, counted from zero.
    fn shown_in(&self, rendition: usize) -> Arc<Scene> {
        let scene = |(_, action): &(_, Action)| match action {
            Action::Show(scenes) => Some(scenes[rendition].clone()),
            _ => None,
        };
        self.log.iter().rev().find_map(scene).unwrap()
    }

    /// Whose tiles, in drawing order; a placeholder in brackets.
    fn tiles(&self) -> Vec<String> {
        let name = |tile: &crate::scene::Tile| match &tile.video {
            Some(video) if video.kind == TrackKind::Screen => format!("{}'s screen", tile.participant),
            Some(_) => tile.participant.to_string(),
            None => format!("[{}]", tile.participant),
        };
        self.shown().tiles.iter().map(name).collect()
    }

    fn notice(&self) -> Option<String> {
        self.shown().ornaments.iter().find_map(|ornament| match &ornament.content {
            Content::Text(words) => Some(words.expose().to_owned()),
            _ => None,
        })
    }
}

fn begin(ms: u64) -> (SessionTime, Action) {
    (at(ms), Action::BeginTake { target: file(), take: TakeId(1), at: at(ms) })
}

fn end(ms: u64) -> (SessionTime, Action) {
    (at(ms), Action::EndTake { target: file(), at: at(ms), then: After::Stop })
}

fn leave(ms: u64) -> (SessionTime, Action) {
    (at(ms), Action::Tell(ConferenceCommand::Leave))
}

fn over(ms: u64, why: WhyOver, fault: Option<Fault>) -> (SessionTime, Action) {
    (at(ms), Action::Over(Outcome { why, fault }))
}
