//! What can be delivered in the room, and what is wanted of it.
//!
//! In: the controller's list at each join, its wishes, our reports. Out: [`ConferenceEvent`]s with names that last as long as the Session. Pure.
//! The controller names the recording anew whenever its room is made anew, as after a restart; for the Session it stays the same Target. Live
//! destinations keep their names, which come from a database.

use std::collections::BTreeMap;

use recorder_core::conference::{ConferenceEvent, Delivery, Light, Standing, TargetWish};
use recorder_core::ids::TargetId;

use super::b_words::{Stream, Unfit};
use super::{FormerTarget, FormerWorker};

/// Everything that can be delivered.
#[derive(Default)]
pub(super) struct Targets {
    /// By the controller's name.
    streams: BTreeMap<String, Stream>,
    /// What the Session calls the recording, once there was one.
    recording: Option<TargetId>,
    /// What ran before this Session's present supervisor, until the controller has said what it is.
    former: Vec<FormerTarget>,
}

/// What follows: for the Session, and for the controller.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) events: Vec<ConferenceEvent>,
    /// A Target of the controller's name, and how it stands.
    pub(super) reports: Vec<(String, Standing)>,
}

/// Who enters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entrance {
    /// A Session that knows of no Targets yet.
    First,
    /// One that knows what it runs: after a loss, or in place of a worker that died.
    Again,
}

impl Targets {
    /// None yet; an earlier worker of the Session knew these.
    pub(super) fn of(former: Option<FormerWorker>) -> Self {
        let FormerWorker { recording, wanted } = former.unwrap_or(FormerWorker { recording: None, wanted: Vec::new() });
        Self { streams: BTreeMap::new(), recording, former: wanted }
    }

    /// The controller's list, complete.
    ///
    /// What is `starting` was asked for while we were away. What is `active` was reported by us, or by a recorder before us: a Session that knows
    /// what it runs reports what differs, and must not take its own old word for a moderator's; one that knows nothing goes on in its place. What
    /// is `paused` stays so until somebody starts it. What ran before, and is known by its name only, is wanted as it was: that it is shown as `inactive` is
    /// what the end of the earlier worker's connection has made of it.
    pub(super) fn arrive(&mut self, streams: BTreeMap<String, Stream>, entrance: Entrance) -> Outcome {
        self.streams = streams;
        let mut outcome = Outcome::default();
        let lights: Vec<(String, Light)> =
            self.streams.iter().filter_map(|(name, stream)| Some((name.clone(), stream.light?))).collect();
        for (name, light) in &lights {
            outcome.events.extend(self.shown(name, *light));
        }
        for (name, light) in lights {
            match (light, entrance) {
                (Light::Starting, _) | (Light::Active, Entrance::First) => self.start(&name, &mut outcome),
                (Light::Paused, _) => outcome.events.extend(self.wish(&name, TargetWish::Pause)),
                (Light::Active, Entrance::Again) | (Light::Inactive | Light::Error, _) => {}
            }
        }
        for FormerTarget { target, paused } in std::mem::take(&mut self.former) {
            let Some(name) = self.name_of(&target).map(str::to_owned) else { continue };
            self.start(&name, &mut outcome);
            if paused {
                outcome.events.extend(self.wish(&name, TargetWish::Pause));
            }
        }
        outcome
    }

    /// These shall run.
    pub(super) fn started(&mut self, names: &[String]) -> Outcome {
        let mut outcome = Outcome::default();
        for name in names {
            self.start(name, &mut outcome);
        }
        outcome
    }

    /// These shall pause.
    pub(super) fn paused(&mut self, names: &[String]) -> Outcome {
        let events = names.iter().filter_map(|name| self.wish(name, TargetWish::Pause)).collect();
        Outcome { events, reports: Vec::new() }
    }

    /// These shall end.
    pub(super) fn stopped(&mut self, names: &[String]) -> Outcome {
        let mut outcome = Outcome::default();
        for name in names {
            match self.wish(name, TargetWish::Stop) {
                Some(event) => outcome.events.push(event),
                None if self.streams.contains_key(name) => outcome.reports.push((name.clone(), Standing::Inactive)),
                None => {}
            }
        }
        outcome
    }

    /// What everybody is shown; nothing for what the Session does not know of.
    pub(super) fn shown(&mut self, name: &str, light: Light) -> Option<ConferenceEvent> {
        self.streams.get(name)?.delivery.as_ref().ok()?;
        Some(ConferenceEvent::Shown { target: self.target(name), light })
    }

    /// What the controller calls a Target now; nothing when it has no such Target any more.
    pub(super) fn name_of(&self, target: &TargetId) -> Option<&str> {
        if self.recording.as_ref() == Some(target) {
            return self.recording_name();
        }
        self.streams.get_key_value(target.as_str()).map(|(name, _)| name.as_str())
    }

    fn start(&mut self, name: &str, outcome: &mut Outcome) {
        let Some(stream) = self.streams.get(name) else {
            tracing::warn!(target.id = %name, "the controller wants a Target that it has not named before");
            return;
        };
        match &stream.delivery {
            Ok(delivery) => {
                let wish = TargetWish::Start(delivery.clone());
                outcome.events.extend(self.wish(name, wish));
            }
            Err(unfit) => outcome.reports.push((name.to_owned(), unfit.standing())),
        }
    }

    fn wish(&mut self, name: &str, wish: TargetWish) -> Option<ConferenceEvent> {
        self.streams.get(name)?.delivery.as_ref().ok()?;
        Some(ConferenceEvent::Wish { target: self.target(name), wish })
    }

    /// What the Session calls it.
    fn target(&mut self, name: &str) -> TargetId {
        if self.recording_name() == Some(name) {
            return self.recording.get_or_insert_with(|| TargetId::new(name)).clone();
        }
        TargetId::new(name)
    }

    /// The recording that the Session means: the one of its name, else the only one, or the first of several.
    fn recording_name(&self) -> Option<&str> {
        let mut recordings =
            self.streams.iter().filter(|(_, stream)| stream.delivery == Ok(Delivery::Recording)).map(|(name, _)| name.as_str());
        let first = recordings.next()?;
        let wanted = self.recording.as_ref().map_or(first, |target| target.as_str());
        if first == wanted { Some(first) } else { recordings.find(|name| *name == wanted).or(Some(first)) }
    }
}

impl Unfit {
    /// What people are told when they want it all the same.
    fn standing(self) -> Standing {
        let (code, message) = match self {
            Self::Kind => ("unsupported", "This kind of target is not supported."),
            Self::Address => ("no_location", "The live destination has no address."),
        };
        Standing::Error { code, message: message.to_owned() }
    }
}
