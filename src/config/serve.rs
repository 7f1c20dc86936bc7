//! How a service goes on: how many Sessions at once, where their recordings go, and who may be recorded.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// The place that is the controller of the room.
pub const CONTROLLER: &str = "controller";

/// The service: `roomcast serve`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// Sessions at once, 1 to 64. An Order beyond that is refused, and its moderator is told.
    #[schemars(with = "u16")]
    pub slots: u32,
    /// Where each recording goes: a file of this machine, `s3://bucket/key`, `controller`, or several of them. `controller` hands it over to the OpenTalk
    /// controller when it is ended, so that people find it at their meeting. The others have an ending of `.mp4`; in them `{room}` is the id of the room,
    /// `{start}` the time of its beginning (UTC), and `{session}` the name of the Session.
    pub recordings: Vec<String>,
    /// `asked`: only who has agreed in the room is recorded. `not_asked`: everybody is, and the operator answers for it.
    pub consent: Consent,
    /// Whether people who take part by telephone are recorded when the room does not state their consent.
    pub call_in_without_consent: CallIn,
    /// While signaling is lost nobody can withdraw their consent: what still comes is kept for so long, 0s to 30s.
    pub signaling_grace: Span,
    /// A live destination that was lost may come back for so long, 5s to 1h; then the moderator is told that it has failed.
    pub reconnect_grace: Span,
    /// How long to stay in the room for the news that a recording is stored, 0s to 1h.
    pub delivery_grace: Span,
    /// Asked to stop, go on with the Sessions that run for so long, 0s to 24h, and take no new Orders; then end them in order, which takes about ten
    /// seconds, or until what they have recorded is stored (at most `delivery_grace`). Asked again, end at once. Whoever asks must wait
    /// for longer than both together before they kill: systemd by `TimeoutStopSec`, Kubernetes by `terminationGracePeriodSeconds`.
    pub drain_timeout: Span,
    /// After a crash, go on in rooms that were left for less than this, 0s to 10m: in the same recordings, without a new click. What was left for longer is
    /// finished and stored, no more. 0s: always so.
    pub takeover_grace: Span,
    /// The name of the recorder in the room, 1 to 100 characters.
    pub display_name: String,
}

/// Who may be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Who has agreed.
    #[default]
    Asked,
    /// Everybody.
    NotAsked,
}

/// What becomes of callers whose consent is not stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallIn {
    /// They are left out.
    #[default]
    Exclude,
    /// They are recorded.
    Include,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            slots: 3,
            recordings: vec!["recordings/{start}-{room}.mp4".into()],
            consent: Consent::default(),
            call_in_without_consent: CallIn::default(),
            signaling_grace: Span::from_secs(3),
            reconnect_grace: Span::from_secs(60),
            delivery_grace: Span::from_secs(60),
            drain_timeout: Span::from_secs(0),
            takeover_grace: Span::from_secs(30),
            display_name: "Roomcast".into(),
        }
    }
}

impl Serve {
    /// What is wrong with the places of recordings.
    pub(super) fn bad_recordings(&self) -> Option<String> {
        if self.recordings.is_empty() {
            return Some("a recording needs a place: a file that ends in .mp4, s3://bucket/key.mp4, or controller".into());
        }
        if self.recordings.iter().filter(|place| *place == CONTROLLER).count() > 1 {
            return Some("the controller can be only one of the places".into());
        }
        let mut others = self.recordings.iter().filter(|place| *place != CONTROLLER);
        if others.clone().filter(|place| !place.starts_with("s3://")).count() > 1 {
            return Some("only one of the places can be a file of this machine".into());
        }
        others.find_map(|place| bad_place(place))
    }

    /// Whether recordings go to the controller.
    pub fn is_to_controller(&self) -> bool {
        self.recordings.iter().any(|place| place == CONTROLLER)
    }

    pub(super) fn bad_name(&self) -> Option<String> {
        let is_good = (1..=100).contains(&self.display_name.chars().count()) && !self.display_name.contains(char::is_control);
        (!is_good).then(|| "the name of the recorder has 1 to 100 characters".into())
    }
}

fn bad_place(place: &str) -> Option<String> {
    let is_mp4 = Path::new(place).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("mp4"));
    if !is_mp4 || (place.contains("://") && !place.starts_with("s3://")) {
        return Some(format!("\"{place}\" is neither a file that ends in .mp4, nor s3://bucket/key.mp4, nor controller"));
    }
    let rest = place.replace("{room}", "").replace("{start}", "").replace("{session}", "");
    if rest.contains(['{', '}']) {
        return Some(format!("\"{place}\": the words that are replaced are {{room}}, {{start}} and {{session}}"));
    }
    // Without one of these all recordings of a room would have one name.
    let differs = place.contains("{start}") || place.contains("{session}");
    (!differs).then(|| format!("\"{place}\" must contain {{start}} or {{session}}, so that recordings have names of their own"))
}
