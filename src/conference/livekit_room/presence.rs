//! Being in the room: the conversation with the server from a connection's first message to its last.
//!
//! In: signaling messages, commands, reception's events. Out: signaling messages, events in the outbox, and why it was left. Runs on the room's task.
//! It refuses to wait for a busy Session: events queue in the outbox, and the server is not read while that is full.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use livekit_protocol::{
    DisconnectReason, LeaveRequest, Ping, SessionDescription, SignalTarget, SubscriptionError, SyncState, TrickleRequest,
    UpdateSubscription, leave_request, signal_request, signal_response,
};
use recorder_core::conference::{ConferenceCommand, EndReason};
use recorder_core::secret::Secret;

use super::{Entered, Exit, Room, sentence, us_fault};
use crate::ingest::{IngestError, IngestEvent, MidTrack, PendingAnswer, sdp};
use crate::livekit::signal::SignalLink;
use crate::livekit::verdict::{Farewell, lost};

/// Media not connected this long after (re)joining or resuming: the session is given up.
const MEDIA_LIMIT: Duration = Duration::from_secs(12);
/// The server must begin to speak within this time after the upgrade.
const FIRST_MESSAGE_LIMIT: Duration = Duration::from_secs(5);
/// How long the server may take to say why it ended the media connection. Both ends come by different ways, and either may be first.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// Events that may wait for a busy Session before the server has to wait too.
const MAX_OUTBOX: usize = 4096;

/// What signaling needs while connected.
struct Connected {
    link: SignalLink,
    heard: Instant,
    ping_every: Duration,
    ping_limit: Duration,
    rtt_ms: i64,
    media_by: Option<Instant>,
    /// The next participant update is the complete list.
    list_follows: bool,
    /// The answer that reception is making; the server offers nothing else before it has it.
    answering: Option<Answering>,
}

struct Answering {
    offer_id: u32,
    pending: PendingAnswer,
}

/// Waits for the answer to the last offer; for ever when there is none. Cancel-safe.
async fn next_answer(answering: &mut Option<Answering>) -> (u32, Result<String, IngestError>) {
    match answering {
        Some(Answering { offer_id, pending }) => {
            let answer = pending.await.unwrap_or(Err(IngestError::Closed));
            let id = *offer_id;
            *answering = None;
            (id, answer)
        }
        None => std::future::pending().await,
    }
}

impl Room {
    /// Lives in the room until the connection or the room ends.
    pub(super) async fn stay(&mut self, link: SignalLink) -> Exit {
        let now = Instant::now();
        let mut here = Connected {
            link,
            heard: now,
            ping_every: Duration::from_secs(5),
            ping_limit: FIRST_MESSAGE_LIMIT,
            rtt_ms: 0,
            media_by: Some(now + MEDIA_LIMIT),
            list_follows: false,
            answering: None,
        };
        let exit = self.converse(&mut here).await;
        match &exit {
            Ok(()) => {
                here.link.close().await;
                Exit::End(None)
            }
            Err(Exit::End(Some(EndReason::Left))) => {
                let goodbye = LeaveRequest {
                    reason: DisconnectReason::ClientInitiated.into(),
                    action: leave_request::Action::Disconnect.into(),
                    ..Default::default()
                };
                // The server notices a few seconds later by itself if this is lost.
                _ = here.link.send(signal_request::Message::Leave(goodbye)).await;
                here.link.close().await;
                Exit::End(Some(EndReason::Left))
            }
            Err(_) => exit.err().unwrap_or(Exit::Rejoin),
        }
    }

    async fn converse(&mut self, here: &mut Connected) -> Result<(), Exit> {
        let mut ping = tokio::time::interval_at((Instant::now() + here.ping_every).into(), here.ping_every);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let silent_at = here.heard + here.ping_limit;
            let deadline = here.media_by.map_or(silent_at, |by| by.min(silent_at));
            let Connected { link, answering, .. } = here;
            tokio::select! {
                (id, answer) = next_answer(answering) => self.answered(here, id, answer).await?,
                message = link.next(), if self.outbox.waiting.len() < MAX_OUTBOX => match message {
                    Ok(message) => {
                        here.heard = Instant::now();
                        let ping_every = here.ping_every;
                        self.hear(here, message).await?;
                        if here.ping_every != ping_every {
                            ping = tokio::time::interval(here.ping_every);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "signaling connection ended");
                        return Err(Exit::Resume);
                    }
                },
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(here, command).await?,
                    None => return Ok(()),
                },
                event = self.reception.recv() => match event {
                    Some(event) => self.receive(here, event).await?,
                    None => return Err(Exit::End(Some(EndReason::Refused(us_fault())))),
                },
                () = self.outbox.send_one() => {}
                _ = ping.tick() => self.ping(here).await?,
                () = tokio::time::sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    if here.media_by.is_some_and(|by| by <= now) {
                        self.tell_lost(lost("The LiveKit server sends no media."));
                        return Err(Exit::Rejoin);
                    }
                    if here.heard + here.ping_limit <= now {
                        return Err(Exit::Resume);
                    }
                }
            }
        }
    }

    async fn hear(&mut self, here: &mut Connected, message: signal_response::Message) -> Result<(), Exit> {
        use signal_response::Message as M;
        match message {
            M::Join(join) => {
                if join.ping_interval > 0 && join.ping_timeout > 0 {
                    here.ping_every = Duration::from_secs(join.ping_interval.min(60) as u64);
                    here.ping_limit = Duration::from_secs(join.ping_timeout.clamp(2, 120) as u64);
                } else {
                    here.ping_limit = Duration::from_secs(30);
                }
                self.entered = Entered::Once;
                self.resumable = true;
                self.lost_told_at = None;
                let people = join.other_participants.len();
                match self.lost_at.take() {
                    Some(lost_at) => {
                        tracing::info!(people, away_ms = ms_since(lost_at), "back in the LiveKit room, as a new session")
                    }
                    None => tracing::info!(people, "in the LiveKit room"),
                }
                self.outbox.waiting.extend(self.roster.joined(&join));
                self.reconcile(here).await?;
            }
            M::Reconnect(_) => {
                here.ping_limit = Duration::from_secs(15);
                here.list_follows = true;
                let away_ms = self.lost_at.take().map(ms_since);
                tracing::info!(away_ms, "signaling connection to the LiveKit room resumed");
                let state = self.sync_state();
                say(here, signal_request::Message::SyncState(state)).await?;
                let messages = self.subscriptions.repeat(&self.roster);
                self.tell_subscriptions(here, messages).await?;
            }
            M::Offer(offer) => self.offered(here, offer).await?,
            M::Trickle(trickle) if trickle.target() == SignalTarget::Subscriber => {
                if let Some(candidate) = candidate_of(&trickle.candidate_init) {
                    self.ingest.add_candidate(candidate).await.map_err(|_| Exit::Rejoin)?;
                }
            }
            M::Update(update) => {
                let events = if here.list_follows && self.roster.names_us(&update.participants) {
                    here.list_follows = false;
                    self.roster.replaced(&update.participants)
                } else {
                    self.roster.updated(&update.participants)
                };
                self.outbox.waiting.extend(events);
                self.reconcile(here).await?;
            }
            M::SpeakersChanged(changed) => self.outbox.waiting.push_back(self.roster.speakers(&changed.speakers)),
            M::RefreshToken(token) => self.refreshed(token),
            M::SubscriptionResponse(response) => match response.err() {
                SubscriptionError::SeUnknown => {}
                SubscriptionError::SeTrackNotfound => self.subscriptions.refused(&response.track_sid),
                SubscriptionError::SeCodecUnsupported => {
                    tracing::warn!(track.sid = %response.track_sid, "the sender's codec cannot be received");
                }
            },
            M::PongResp(pong) => here.rtt_ms = (unix_ms() - pong.last_ping_timestamp).clamp(0, 60_000),
            M::Leave(leave) => return Err(taken(&leave)),
            _ => {}
        }
        Ok(())
    }

    async fn offered(&mut self, here: &mut Connected, offer: SessionDescription) -> Result<(), Exit> {
        // The map of the message is the server's word; the description's own msid lines fill what older servers leave out.
        self.sources = match sdp::Offer::parse(&offer.sdp) {
            Ok(parsed) => parsed.sources().into_iter().map(|(mid, sid)| (mid.to_owned(), sid.to_owned())).collect(),
            Err(_) => BTreeMap::new(),
        };
        self.sources.extend(offer.mid_to_track_id);
        let tracks = self.mapping();
        tracing::debug!(id = offer.id, lines = self.sources.len(), tracks = tracks.len(), "offer");
        self.mapped.clone_from(&tracks);
        let pending = self.ingest.begin_offer(offer.sdp, tracks).await.map_err(|_| Exit::Rejoin)?;
        here.answering = Some(Answering { offer_id: offer.id, pending });
        Ok(())
    }

    async fn answered(&mut self, here: &mut Connected, id: u32, answer: Result<String, IngestError>) -> Result<(), Exit> {
        match answer {
            Ok(sdp) => {
                let answer = SessionDescription { r#type: "answer".into(), sdp, id, ..Default::default() };
                self.last_answer = Some(answer.clone());
                say(here, signal_request::Message::Answer(answer)).await
            }
            Err(error) => {
                self.tell_lost(lost(&sentence(&error)));
                Err(Exit::Rejoin)
            }
        }
    }

    async fn obey(&mut self, here: &mut Connected, command: ConferenceCommand) -> Result<(), Exit> {
        match command {
            ConferenceCommand::Subscribe(wish) => {
                self.subscriptions.wish(wish);
                self.reconcile(here).await
            }
            ConferenceCommand::RequestKeyframe(track) => self.ingest.request_keyframe(track).await.map_err(|_| Exit::Rejoin),
            // A LiveKit room has no place to show it.
            ConferenceCommand::Report { .. } => Ok(()),
            ConferenceCommand::Leave => Err(Exit::End(Some(EndReason::Left))),
        }
    }

    async fn receive(&mut self, here: &mut Connected, event: IngestEvent) -> Result<(), Exit> {
        match event {
            IngestEvent::Connected => {
                tracing::debug!("media connection is up");
                here.media_by = None;
                self.attempt = 0;
                if let Some(lost_at) = self.lost_told_at.take() {
                    tracing::info!(away_ms = ms_since(lost_at), "the media of the LiveKit room are back");
                    self.outbox.waiting.extend(self.roster.listing());
                }
            }
            IngestEvent::Disconnected => {
                self.tell_lost(lost("The connection to the LiveKit server is lost."));
                return Err(Exit::Resume);
            }
            IngestEvent::Failed { reason } => {
                // Rejoining a room that has just been closed would make it anew, and record nobody in it.
                if let Some(farewell) = self.farewell(here).await {
                    return Err(farewell);
                }
                tracing::warn!(%reason, "reception failed");
                self.tell_lost(lost("The media connection to the LiveKit server failed."));
                return Err(Exit::Rejoin);
            }
            IngestEvent::Candidate(candidate) => {
                let init = serde_json::json!({ "candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0 });
                let trickle = TrickleRequest {
                    candidate_init: init.to_string(),
                    target: SignalTarget::Subscriber.into(),
                    ..Default::default()
                };
                say(here, signal_request::Message::Trickle(trickle)).await?;
            }
            IngestEvent::Paused { .. } => {}
        }
        Ok(())
    }

    /// Why the Session's end is said right after its media ended; `None` when nothing of the kind is said.
    async fn farewell(&mut self, here: &mut Connected) -> Option<Exit> {
        let limit = tokio::time::sleep(FAREWELL_LIMIT);
        tokio::pin!(limit);
        loop {
            let message = tokio::select! {
                message = here.link.next() => message.ok()?,
                () = &mut limit => return None,
            };
            match message {
                signal_response::Message::Leave(leave) => return Some(taken(&leave)).filter(|exit| matches!(exit, Exit::End(_))),
                signal_response::Message::RefreshToken(token) => self.refreshed(token),
                // The next connection begins with the whole state of the room.
                _ => {}
            }
        }
    }

    fn refreshed(&mut self, token: String) {
        let token = Secret::new(token);
        self.tokens.refreshed(&token);
        self.refresh = Some(token);
    }

    /// Says what is missing between wish and subscriptions. Reception is told first, so that nothing unwanted passes on the way.
    async fn reconcile(&mut self, here: &mut Connected) -> Result<(), Exit> {
        let messages = self.subscriptions.reconcile(&self.roster);
        self.tell_subscriptions(here, messages).await
    }

    async fn tell_subscriptions(&mut self, here: &mut Connected, messages: Vec<signal_request::Message>) -> Result<(), Exit> {
        let tracks = self.mapping();
        if tracks != self.mapped {
            self.mapped.clone_from(&tracks);
            self.ingest.map_tracks(tracks).await.map_err(|_| Exit::Rejoin)?;
        }
        for message in messages {
            say(here, message).await?;
        }
        Ok(())
    }

    /// Which m-lines carry Tracks that are wished for.
    fn mapping(&self) -> Vec<MidTrack> {
        let wanted = self.sources.iter().filter(|(_, sid)| self.subscriptions.is_subscribed(sid));
        wanted
            .filter_map(|(mid, sid)| Some(MidTrack { mid: mid.clone(), track: self.roster.track_of(sid)?, source: sid.clone() }))
            .collect()
    }

    fn sync_state(&self) -> SyncState {
        SyncState {
            answer: self.last_answer.clone(),
            subscription: Some(UpdateSubscription {
                track_sids: self.subscriptions.subscribed(),
                subscribe: true,
                participant_tracks: Vec::new(),
            }),
            track_sids_disabled: self.subscriptions.disabled(&self.roster),
            ..Default::default()
        }
    }

    async fn ping(&mut self, here: &mut Connected) -> Result<(), Exit> {
        // A Track that the server did not find is asked for again.
        self.reconcile(here).await?;
        let timestamp = unix_ms();
        say(here, signal_request::Message::Ping(timestamp)).await?;
        say(here, signal_request::Message::PingReq(Ping { timestamp, rtt: here.rtt_ms })).await
    }
}

/// What follows from the server's goodbye.
fn taken(leave: &LeaveRequest) -> Exit {
    tracing::info!(reason = leave.reason().as_str_name(), "the LiveKit server says goodbye");
    match Farewell::of(leave) {
        Farewell::End(reason) => Exit::End(Some(reason)),
        Farewell::Resume => Exit::Resume,
        Farewell::Rejoin => Exit::Rejoin,
    }
}

async fn say(here: &mut Connected, message: signal_request::Message) -> Result<(), Exit> {
    here.link.send(message).await.map_err(|_| Exit::Resume)
}

/// The candidate text of a trickle message; an empty one only ends the list.
pub(super) fn candidate_of(init: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Init {
        candidate: String,
    }
    serde_json::from_str::<Init>(init).ok().map(|init| init.candidate).filter(|candidate| !candidate.is_empty())
}

fn ms_since(instant: Instant) -> u64 {
    u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
