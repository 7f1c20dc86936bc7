//! One attempt at a live destination: name, TCP, TLS, handshake, application, stream.
//!
//! In: a [`Plan`]. Out: the steps that it reaches ([`Progress`]), then a connection that takes media. Runs on the thread of its destination; only names are looked up
//! on another one, because the system's resolver blocks. It decides nothing: limits and the next attempt are `recorder_core::live`'s.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use recorder_core::address::AddressPolicy;
use recorder_core::live::{Reason, Step};

use super::destination::{Destination, Transport};
use super::link::{Got, Link, Signs};
use super::protocol::{Event, Goal, Protocol};
use crate::trust::Trust;

/// Of several addresses each gets so long before the next is tried, but for the last.
const ADDRESS_TURN: Duration = Duration::from_millis(1200);
/// Addresses of a name that are tried in one attempt.
const MAX_ADDRESSES: usize = 4;

/// Finds the addresses of a host.
pub trait Names: Send + Sync {
    /// All addresses of `host`. May block.
    ///
    /// # Errors
    /// There are none, or nobody knows.
    fn lookup(&self, host: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn lookup(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// What to connect to, and how.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) destination: Destination,
    pub(super) trust: Trust,
    pub(super) policy: AddressPolicy,
    pub(super) names: Arc<dyn Names>,
    /// Bytes that the system may hold for sending.
    pub(super) send_buffer: usize,
}

/// How an attempt gets on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Reached(Step),
    /// The goal is reached.
    Ready,
    /// It is over.
    Failed(Reason),
}

/// Answers of the resolver, from its thread.
type Answer = Receiver<std::io::Result<Vec<IpAddr>>>;

enum Stage {
    Lookup(Answer),
    Connect { link: Link, rest: VecDeque<SocketAddr>, since: Instant },
    Secure(Link),
    Talk(Link),
    Over,
}

/// One attempt, and the connection that it becomes.
pub(super) struct Connection {
    plan: Plan,
    stage: Stage,
    step: Step,
    protocol: Protocol,
    /// What the system has not yet taken.
    out: Vec<u8>,
    /// Bytes of RTMP made so far.
    made: u64,
    is_ready: bool,
    /// Why it is over; told after everything that came before.
    ended: Option<Reason>,
    pending: VecDeque<Progress>,
    /// What was known when the connection ended.
    parting: Signs,
}

impl Connection {
    /// Begins.
    pub(super) fn begin(plan: &Plan, goal: Goal, seed: u64) -> Self {
        let mut connection = Self {
            plan: plan.clone(),
            stage: Stage::Over,
            step: Step::Lookup,
            protocol: Protocol::new(plan.destination.place(), goal, seed),
            out: Vec::new(),
            made: 0,
            is_ready: false,
            ended: None,
            pending: VecDeque::new(),
            parting: Signs::default(),
        };
        match connection.look_up() {
            Ok(answer) => connection.stage = Stage::Lookup(answer),
            Err(reason) => connection.end(reason),
        }
        connection
    }

    /// Goes on as far as it can, waiting at most for `wait`; then says what came of it. Called until `None`.
    pub(super) fn advance(&mut self, wait: Duration) -> Option<Progress> {
        if self.pending.is_empty() && self.ended.is_none() && !self.is_ready {
            self.go_on(wait);
        }
        self.take_progress()
    }

    /// Carries bytes in both directions, without waiting; what happened is told by [`Connection::take_progress`].
    pub(super) fn pump(&mut self) {
        let Stage::Talk(link) = &mut self.stage else { return };
        let mut buffer = [0; 4096];
        let mut receive = |link: &mut Link, protocol: &mut Protocol| -> Result<(), Reason> {
            loop {
                match link.receive(&mut buffer)? {
                    Got::Bytes(count) => protocol.handle(&buffer[..count]).map_err(|error| {
                        tracing::debug!(%error, "the live destination does not speak RTMP properly");
                        Reason::NotRtmp
                    })?,
                    Got::Nothing => return Ok(()),
                    Got::End => return Err(Reason::Cut),
                }
            }
        };
        let received = receive(link, &mut self.protocol);
        let before = self.out.len();
        self.protocol.take_output(&mut self.out);
        self.made += (self.out.len() - before) as u64;
        let result = received.and_then(|()| {
            // What a server said before it hung up counts, so it is read before the end is told.
            let sent = link.send(&mut self.out);
            if sent.is_err() {
                let _ = receive(link, &mut self.protocol);
            }
            sent
        });
        while let Some(event) = self.protocol.poll_event() {
            let progress = match event {
                Event::Reached(step) => {
                    self.step = step;
                    Progress::Reached(step)
                }
                Event::Ready => {
                    self.is_ready = true;
                    Progress::Ready
                }
                Event::Rejected(step) => Progress::Failed(Reason::Rejected(step)),
                Event::Unpublished => Progress::Failed(Reason::Cut),
            };
            self.pending.push_back(progress);
        }
        if let Err(reason) = result {
            let reason = if reason == Reason::Cut && !self.is_ready { Reason::Closed(self.step) } else { reason };
            self.end(reason);
        }
    }

    /// What has happened since the last call.
    pub(super) fn take_progress(&mut self) -> Option<Progress> {
        self.pending.pop_front().or_else(|| self.ended.take().map(Progress::Failed))
    }

    /// To hand media to, once ready.
    pub(super) fn protocol(&mut self) -> &mut Protocol {
        &mut self.protocol
    }

    /// Waits until something came, or there is room to send; at most for `wait`.
    pub(super) fn wait(&self, wait: Duration) {
        if let Stage::Talk(link) = &self.stage {
            link.wait(!self.out.is_empty(), wait);
        }
    }

    /// Says that nothing more will be sent, after everything was.
    pub(super) fn finish(&mut self) {
        if let Stage::Talk(link) = &mut self.stage {
            link.finish();
        }
    }

    /// Throws away what the system has not sent yet, and resets the connection when it is dropped.
    pub(super) fn discard(&mut self) {
        if let Stage::Talk(link) = &mut self.stage {
            link.discard();
        }
    }

    /// Bytes of RTMP made so far.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Bytes that the system has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.out.len()
    }

    /// What the system knows about the connection.
    pub(super) fn signs(&self) -> Signs {
        match &self.stage {
            Stage::Connect { link, .. } | Stage::Secure(link) | Stage::Talk(link) => link.signs(),
            Stage::Lookup(_) | Stage::Over => self.parting,
        }
    }

    fn go_on(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Lookup(answer) => match answer.recv_timeout(wait) {
                Ok(Ok(addresses)) => self.found(addresses),
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => self.end(Reason::UnknownHost),
                Err(RecvTimeoutError::Timeout) => self.stage = Stage::Lookup(answer),
            },
            Stage::Connect { mut link, mut rest, since } => {
                let turn_is_over = !rest.is_empty() && since.elapsed() >= ADDRESS_TURN;
                match link.is_connected() {
                    Ok(true) => self.connected(link),
                    Ok(false) if !turn_is_over => {
                        link.wait(true, until.saturating_duration_since(Instant::now()));
                        self.stage = Stage::Connect { link, rest, since };
                    }
                    Ok(false) => self.connect(&mut rest, Reason::NoAnswer(Step::Connect)),
                    Err(reason) => self.connect(&mut rest, reason),
                }
            }
            Stage::Secure(mut link) => match link.is_open() {
                Ok(true) => self.talk(link),
                Ok(false) => {
                    link.wait(false, wait);
                    self.stage = Stage::Secure(link);
                }
                Err(Reason::Cut) => self.end(Reason::Closed(Step::Secure)),
                Err(reason) => self.end(reason),
            },
            Stage::Talk(link) => {
                self.stage = Stage::Talk(link);
                self.pump();
                if self.pending.is_empty() && self.ended.is_none() {
                    self.wait(wait);
                    self.pump();
                }
            }
            Stage::Over => {}
        }
    }

    fn look_up(&self) -> Result<Answer, Reason> {
        let (answers, answer) = sync_channel(1);
        let host = self.plan.destination.host().to_owned();
        if let Ok(address) = host.parse::<IpAddr>() {
            let _ = answers.send(Ok(vec![address]));
            return Ok(answer);
        }
        let names = Arc::clone(&self.plan.names);
        // It ends when the resolver gives up, which takes it some 20 s at most; nobody may listen any more then.
        let look_up = move || drop(answers.send(names.lookup(&host)));
        std::thread::Builder::new().name("lookup".into()).spawn(look_up).map_err(|_| Reason::Local)?;
        Ok(answer)
    }

    /// Each address is checked each time: a name may say another one tomorrow.
    fn found(&mut self, addresses: Vec<IpAddr>) {
        let is_known = !addresses.is_empty();
        let allowed = addresses.into_iter().filter(|address| self.plan.policy.check(*address).is_ok());
        let port = self.plan.destination.port();
        let mut addresses: VecDeque<_> = allowed.take(MAX_ADDRESSES).map(|address| SocketAddr::new(address, port)).collect();
        if addresses.is_empty() {
            return self.end(if is_known { Reason::ForbiddenAddress } else { Reason::UnknownHost });
        }
        self.reach(Step::Connect);
        self.connect(&mut addresses, Reason::UnknownHost);
    }

    /// Connects to the first of these addresses that lets us begin; `reason` is what became of the one before.
    fn connect(&mut self, addresses: &mut VecDeque<SocketAddr>, mut reason: Reason) {
        while let Some(address) = addresses.pop_front() {
            let tls = match self.plan.destination.transport() {
                Transport::Plain => None,
                Transport::Tls => Some((&self.plan.trust, self.plan.destination.host())),
            };
            match Link::connect(address, tls, self.plan.send_buffer) {
                Ok(link) => {
                    self.stage = Stage::Connect { link, rest: std::mem::take(addresses), since: Instant::now() };
                    return;
                }
                Err(why) => reason = why,
            }
        }
        self.end(reason);
    }

    fn connected(&mut self, link: Link) {
        match self.plan.destination.transport() {
            Transport::Plain => self.talk(link),
            Transport::Tls => {
                self.reach(Step::Secure);
                self.stage = Stage::Secure(link);
            }
        }
    }

    fn talk(&mut self, link: Link) {
        self.stage = Stage::Talk(link);
        self.pump();
    }

    fn reach(&mut self, step: Step) {
        self.step = step;
        self.pending.push_back(Progress::Reached(step));
    }

    fn end(&mut self, reason: Reason) {
        self.parting = self.signs();
        self.stage = Stage::Over;
        self.ended.get_or_insert(reason);
    }
}
