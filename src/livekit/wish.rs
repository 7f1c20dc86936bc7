//! Turns the whole wish (receive exactly these Tracks) into the messages that are missing.
//!
//! In: wishes, and the [`Roster`]. Out: `UpdateSubscription` and `UpdateTrackSettings`. Pure.
//! What is not wished for is never subscribed. Settings follow their subscription at once, because the server forgets them with it.

use std::collections::{BTreeMap, BTreeSet};

use livekit_protocol::{UpdateSubscription, UpdateTrackSettings, VideoQuality, signal_request};
use recorder_core::conference::{LayerWish, Subscription};
use recorder_core::ids::TrackId;

use super::roster::Roster;

/// What is wished for, and what the server has been told of it.
#[derive(Default)]
pub struct Subscriptions {
    wished: BTreeMap<TrackId, Option<LayerWish>>,
    /// By sid: the layer asked for, `None` for disabled video and for sound.
    told: BTreeMap<String, Option<LayerWish>>,
}

impl Subscriptions {
    /// The whole wish, replacing the one before.
    pub fn wish(&mut self, wish: Vec<Subscription>) {
        self.wished = wish.into_iter().map(|s| (s.track, s.layer)).collect();
    }

    /// A new session: the server knows of nothing.
    pub fn forget_told(&mut self) {
        self.told.clear();
    }

    /// A resumed session: what was said last may have been lost with the old connection, and `SyncState` carries neither sizes nor what is
    /// to be given up. Everything is said again.
    pub fn repeat(&mut self, roster: &Roster) -> Vec<signal_request::Message> {
        let wanted: BTreeSet<&str> = self.wished.keys().filter_map(|track| roster.sid_of(track)).collect();
        let all: BTreeSet<&str> = self.told.keys().map(String::as_str).chain(roster.sids()).collect();
        let unwanted: Vec<String> = all.difference(&wanted).map(|sid| (*sid).to_owned()).collect();
        let mut messages = Vec::new();
        if !unwanted.is_empty() {
            messages.push(subscription(unwanted, false));
        }
        self.told.clear();
        messages.extend(self.reconcile(roster));
        messages
    }

    /// The server did not find this track, or gave it up: it is to be asked again.
    pub fn refused(&mut self, sid: &str) {
        self.told.remove(sid);
    }

    /// Whether this sid is subscribed, as far as we have said so.
    pub fn is_subscribed(&self, sid: &str) -> bool {
        self.told.contains_key(sid)
    }

    /// The sids that are subscribed, for `SyncState`.
    pub fn subscribed(&self) -> Vec<String> {
        self.told.keys().cloned().collect()
    }

    /// The subscribed sids whose video is disabled, for `SyncState`.
    pub fn disabled(&self, roster: &Roster) -> Vec<String> {
        let is_video = |sid: &str| roster.track_of(sid).is_some_and(|t| t.kind.is_video());
        self.told.iter().filter(|(sid, layer)| layer.is_none() && is_video(sid)).map(|(sid, _)| sid.clone()).collect()
    }

    /// What has to be said so that the server forwards what is wished for.
    pub fn reconcile(&mut self, roster: &Roster) -> Vec<signal_request::Message> {
        let mut messages = Vec::new();
        let target: BTreeMap<String, (TrackId, Option<LayerWish>)> = self
            .wished
            .iter()
            .filter_map(|(track, layer)| Some((roster.sid_of(track)?.to_owned(), (track.clone(), *layer))))
            .collect();
        let unwanted: Vec<String> = self.told.keys().filter(|sid| !target.contains_key(*sid)).cloned().collect();
        for sid in &unwanted {
            self.told.remove(sid);
        }
        if !unwanted.is_empty() {
            messages.push(subscription(unwanted, false));
        }
        let fresh: BTreeSet<String> = target.keys().filter(|sid| !self.told.contains_key(*sid)).cloned().collect();
        if !fresh.is_empty() {
            messages.push(subscription(fresh.iter().cloned().collect(), true));
        }
        // One message for each setting: tiles of one size are the usual case.
        let mut settings: BTreeMap<Option<(u32, u32)>, Vec<String>> = BTreeMap::new();
        for (sid, (track, layer)) in target {
            let before = self.told.insert(sid.clone(), layer);
            if track.kind.is_video() && (fresh.contains(&sid) || before != Some(layer)) {
                settings.entry(layer.map(|l| (l.width_px, l.height_px))).or_default().push(sid);
            }
        }
        messages.extend(settings.into_iter().map(|(size, track_sids)| {
            let (width, height) = size.unwrap_or_default();
            signal_request::Message::TrackSetting(UpdateTrackSettings {
                track_sids,
                disabled: size.is_none(),
                quality: VideoQuality::High.into(),
                width,
                height,
                ..Default::default()
            })
        }));
        messages
    }
}

fn subscription(track_sids: Vec<String>, subscribe: bool) -> signal_request::Message {
    signal_request::Message::Subscription(UpdateSubscription { track_sids, subscribe, participant_tracks: Vec::new() })
}

#[cfg(test)]
mod tests {
    use livekit_protocol::{JoinResponse, ParticipantInfo, TrackInfo, TrackSource, TrackType, participant_info};
    use recorder_core::ids::{ParticipantId, TrackKind};
    use signal_request::Message::{Subscription as Subscribe, TrackSetting};

    use super::*;

    fn roster(people: &[(&str, &str)]) -> Roster {
        let other_participants = people
            .iter()
            .map(|(identity, sid)| ParticipantInfo {
                identity: (*identity).into(),
                sid: format!("PA_{identity}"),
                state: participant_info::State::Active.into(),
                tracks: vec![
                    TrackInfo {
                        sid: format!("{sid}v"),
                        r#type: TrackType::Video.into(),
                        source: TrackSource::Camera.into(),
                        ..Default::default()
                    },
                    TrackInfo {
                        sid: format!("{sid}a"),
                        r#type: TrackType::Audio.into(),
                        source: TrackSource::Microphone.into(),
                        ..Default::default()
                    },
                ],
                ..Default::default()
            })
            .collect();
        let mut roster = Roster::default();
        roster.joined(&JoinResponse { other_participants, ..Default::default() });
        roster
    }

    fn wish(who: &str, kind: TrackKind, layer: Option<(u32, u32)>) -> Subscription {
        let layer = layer.map(|(width_px, height_px)| LayerWish { width_px, height_px });
        Subscription { track: TrackId::new(ParticipantId::new(who), kind), layer }
    }

    fn subscribed(sids: &[&str], subscribe: bool) -> signal_request::Message {
        subscription(sids.iter().map(|s| (*s).to_owned()).collect(), subscribe)
    }

    fn setting(sid: &str, size: Option<(u32, u32)>) -> signal_request::Message {
        let (width, height) = size.unwrap_or_default();
        TrackSetting(UpdateTrackSettings {
            track_sids: vec![sid.into()],
            disabled: size.is_none(),
            quality: VideoQuality::High.into(),
            width,
            height,
            ..Default::default()
        })
    }

    #[test]
    fn only_what_is_wished_for_is_subscribed_and_only_changes_are_said() {
        let roster = roster(&[("a", "1"), ("b", "2")]);
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.reconcile(&roster), []);
        subscriptions.wish(vec![wish("a", TrackKind::Camera, Some((640, 360))), wish("a", TrackKind::Microphone, None)]);
        assert_eq!(subscriptions.reconcile(&roster), [subscribed(&["1a", "1v"], true), setting("1v", Some((640, 360)))]);
        assert_eq!(subscriptions.reconcile(&roster), []);
        subscriptions.wish(vec![wish("a", TrackKind::Camera, None), wish("a", TrackKind::Microphone, None)]);
        assert_eq!(subscriptions.reconcile(&roster), [setting("1v", None)]);
        assert_eq!(subscriptions.disabled(&roster), ["1v"]);
        subscriptions.wish(vec![wish("b", TrackKind::Microphone, None)]);
        assert_eq!(subscriptions.reconcile(&roster), [subscribed(&["1a", "1v"], false), subscribed(&["2a"], true)]);
    }

    #[test]
    fn a_track_with_a_new_sid_is_subscribed_again_with_its_settings() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.wish(vec![wish("a", TrackKind::Camera, Some((640, 360)))]);
        subscriptions.reconcile(&roster(&[("a", "1")]));
        let said = subscriptions.reconcile(&roster(&[("a", "7")]));
        assert_eq!(said, [subscribed(&["1v"], false), subscribed(&["7v"], true), setting("7v", Some((640, 360)))]);
    }

    #[test]
    fn a_rejoin_says_everything_again() {
        let roster = roster(&[("a", "1")]);
        let mut subscriptions = Subscriptions::default();
        subscriptions.wish(vec![wish("a", TrackKind::Camera, None), wish("z", TrackKind::Camera, None)]);
        let first = subscriptions.reconcile(&roster);
        subscriptions.forget_told();
        assert_eq!(subscriptions.reconcile(&roster), first);
        assert!(matches!(&first[..], [Subscribe(_), TrackSetting(s)] if s.disabled));
    }

    #[test]
    fn a_resume_repeats_sizes_and_what_was_given_up() {
        let roster = roster(&[("a", "1"), ("b", "2")]);
        let mut subscriptions = Subscriptions::default();
        subscriptions.wish(vec![wish("a", TrackKind::Camera, Some((640, 360))), wish("b", TrackKind::Microphone, None)]);
        subscriptions.reconcile(&roster);
        subscriptions.wish(vec![wish("a", TrackKind::Camera, Some((640, 360)))]);
        // These words get lost.
        subscriptions.reconcile(&roster);
        let said = subscriptions.repeat(&roster);
        let expected = [subscribed(&["1a", "2a", "2v"], false), subscribed(&["1v"], true), setting("1v", Some((640, 360)))];
        assert_eq!(said, expected);
        assert_eq!(subscriptions.subscribed(), ["1v"]);
        assert_eq!(subscriptions.reconcile(&roster), []);
    }
}
