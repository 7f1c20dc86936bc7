//! The room's task: obeys [`Signaling`], and owns what it needs for that: one socket, one connection to the media server, the channels.
//!
//! In: commands, frames, the media server's events, the time. Out: events. Runs on tokio. It decides nothing, and refuses to wait for a busy Session: events
//! queue in the outbox, and the controller is not read while that is full.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Instant;

use recorder_core::conference::{ConferenceCommand, ConferenceEvent, EndReason};
use recorder_core::secret::Secret;
use tokio::sync::mpsc;

use super::controller::Controller;
use super::media::{Media, MediaEvent};
use super::refusal::Refusal;
use super::signaling::{Action, Broken, Signaling};
use super::socket::{Frame, Link};
use super::ticket_source::TicketSource;

/// Events that may wait for a busy Session before the controller has to wait too.
const MAX_OUTBOX: usize = 4096;

type Opening = Pin<Box<dyn Future<Output = Result<Box<Link>, Refusal>> + Send>>;

pub(super) struct Room {
    pub(super) controller: Controller,
    /// To be used before any is asked for.
    pub(super) ticket: Option<Secret>,
    pub(super) tickets: TicketSource,
    pub(super) signaling: Signaling,
    pub(super) media: Media,
    pub(super) commands: mpsc::Receiver<ConferenceCommand>,
    pub(super) events: mpsc::Sender<ConferenceEvent>,
}

/// What the task waits for beside the Session.
struct Wires {
    opening: Option<Opening>,
    link: Option<Box<Link>>,
    outbox: VecDeque<ConferenceEvent>,
}

enum Next {
    Opened(Result<Box<Link>, Refusal>),
    Frame(Frame),
    Media(MediaEvent),
    Command(Option<ConferenceCommand>),
    Woken,
    Sent,
}

impl Room {
    /// Lives in the room until it is left or lost for good.
    pub(super) async fn run(mut self) {
        let mut wires = Wires { opening: None, link: None, outbox: VecDeque::new() };
        loop {
            while let Some(action) = self.signaling.poll_action() {
                if let Action::End(reason) = action {
                    return self.end(wires, reason).await;
                }
                self.act(action, &mut wires).await;
            }
            let next = self.wait(&mut wires).await;
            let now = Instant::now();
            match next {
                Next::Opened(opened) => {
                    wires.opening = None;
                    match opened {
                        Ok(link) => {
                            wires.link = Some(link);
                            self.signaling.opened(now);
                        }
                        Err(refusal) => self.signaling.refused(&refusal, now),
                    }
                }
                Next::Frame(Frame::Text(text)) => self.signaling.heard(&text, now),
                Next::Frame(Frame::Beat) => self.signaling.beat(now),
                Next::Frame(Frame::End(how)) => self.broke(&mut wires, how),
                Next::Media(MediaEvent::Said(event)) => self.signaling.media(event, now),
                Next::Media(MediaEvent::WantsToken) => self.signaling.token_asked(),
                Next::Command(Some(command)) => self.obey(command),
                // The handle was dropped: nobody wants to hear anything.
                Next::Command(None) => return,
                Next::Woken => self.signaling.woken(now),
                Next::Sent => {}
            }
        }
    }

    async fn wait(&mut self, wires: &mut Wires) -> Next {
        let wake = self.signaling.poll_wake();
        let Wires { opening, link, outbox } = wires;
        let may_listen = outbox.len() < MAX_OUTBOX;
        tokio::select! {
            opened = async { match opening { Some(opening) => opening.await, None => std::future::pending().await } } => Next::Opened(opened),
            frame = async { match link { Some(link) => link.next().await, None => std::future::pending().await } }, if may_listen => Next::Frame(frame),
            event = self.media.next(), if may_listen => Next::Media(event),
            command = self.commands.recv() => Next::Command(command),
            () = send_one(&self.events, outbox) => Next::Sent,
            () = sleep_until(wake) => Next::Woken,
        }
    }

    fn obey(&mut self, command: ConferenceCommand) {
        match command {
            ConferenceCommand::Subscribe(wish) => self.media.subscribe(wish),
            ConferenceCommand::RequestKeyframe(track) => self.media.request_keyframe(track),
            ConferenceCommand::Report { target, standing } => self.signaling.report(&target, &standing),
            ConferenceCommand::Leave => self.signaling.leave(),
        }
    }

    async fn act(&mut self, action: Action, wires: &mut Wires) {
        match action {
            Action::Connect => {
                // Never two at a time, not even for a moment.
                wires.link = None;
                let (controller, tickets, ticket) = (self.controller.clone(), self.tickets.clone(), self.ticket.take());
                wires.opening = Some(Box::pin(async move {
                    let ticket = match ticket {
                        Some(ticket) => ticket,
                        None => tickets.ask().await.map_err(Refusal::Source)?,
                    };
                    Link::open(&controller, &ticket).await.map(Box::new)
                }));
            }
            Action::HangUp => (wires.opening, wires.link) = (None, None),
            Action::Say(text) => {
                let said = match &mut wires.link {
                    Some(link) => link.say(text).await,
                    None => Ok(()),
                };
                if let Err(how) = said {
                    self.broke(wires, how);
                }
            }
            Action::Tell(event) => wires.outbox.push_back(event),
            Action::EnterMedia(credentials) => self.media.enter(credentials),
            Action::GiveToken(token) => self.media.give_token(token),
            // Taken by the loop.
            Action::End(_) => {}
        }
    }

    fn broke(&mut self, wires: &mut Wires, how: Broken) {
        wires.link = None;
        self.signaling.broken(how, Instant::now());
    }

    /// Media first: the controller takes them away from whoever leaves it.
    async fn end(mut self, wires: Wires, reason: EndReason) {
        let Wires { opening, link, mut outbox } = wires;
        drop(opening);
        self.media.finish().await;
        if let Some(link) = link {
            link.close().await;
        }
        outbox.push_back(ConferenceEvent::Ended { reason });
        while !outbox.is_empty() {
            send_one(&self.events, &mut outbox).await;
        }
    }
}

/// Sends the oldest event as soon as there is room; waits for ever when there is none. Cancel-safe.
async fn send_one(events: &mpsc::Sender<ConferenceEvent>, outbox: &mut VecDeque<ConferenceEvent>) {
    if outbox.is_empty() {
        return std::future::pending().await;
    }
    match events.reserve().await {
        Ok(permit) => {
            if let Some(event) = outbox.pop_front() {
                permit.send(event);
            }
        }
        // Nobody listens any more.
        Err(_) => outbox.clear(),
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
