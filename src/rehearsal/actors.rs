//! The process that plays the simulated meeting: the people and their SFU.
//!
//! In: a receiver's messages on a private Unix socket, and its datagrams on loopback. Out: messages, and media. One thread.
//! The play begins with the first hello and goes on while a receiver is away, so that one that was killed can come again; a second
//! receiver at the same time has to wait. It refuses to be reached from other machines.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UdpSocket, UnixListener, UnixStream};

use super::card::PEOPLE as CARDS;
use super::encode::encode_silence;
use super::loops::{self, Layer, LoopError};
use super::script::{self, Act};
use super::sender::{Outcome, SendError, Sender};
use super::stage::Stage;
use super::talk::{Ear, FromActors, TalkError, ToActors, say};

/// Without a receiver for this long the actors go home.
const ALONE_LIMIT: Duration = Duration::from_secs(60);
/// How often waiting actors look whether the process that started them is still there.
const PARENT_LOOK: Duration = Duration::from_secs(1);
/// How long a receiver may take to go.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);
/// Datagrams read in one go, before media is looked after again.
const DATAGRAMS_AT_ONCE: usize = 64;

/// How the meeting is played.
#[derive(Clone, Debug)]
pub struct ActorSettings {
    /// Where to listen; the file must not exist, its folder should be private.
    pub socket: PathBuf,
    /// Where the encoded loops are kept, for example [`loops::cache_folder`].
    pub loops: PathBuf,
    /// Everybody leaves this long after the first hello; `None`: only when the receiver does.
    pub duration: Option<Duration>,
}

/// Why the actors cannot play.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// No loops to send.
    #[error(transparent)]
    Loops(#[from] LoopError),
    /// A socket cannot be opened.
    #[error("the actors cannot open a socket")]
    Socket(#[from] std::io::Error),
    /// Nobody came, or came back.
    #[error("nobody has watched the simulated meeting for a minute")]
    Alone,
}

/// Why one receiver's connection ended.
#[derive(Debug, thiserror::Error)]
enum VisitError {
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the loopback socket failed")]
    Socket(#[from] std::io::Error),
}

/// How one receiver's connection ended, when nothing failed.
#[derive(PartialEq)]
enum VisitEnd {
    Left,
    Vanished,
    Over,
}

/// Plays until the receiver leaves, or the duration is over. The socket is there at once; whoever connects waits while loops are
/// encoded for the first time.
///
/// # Errors
/// No socket, no loops, or no receiver for a minute.
pub fn run(settings: &ActorSettings) -> Result<(), ActorError> {
    // Asked first: whoever dies while the loops are made is gone, too.
    let parent = nix::unistd::getppid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(&settings.socket)?;
        let ended = match prepare_loops(&settings.loops).and_then(|loops| Ok((loops, encode_silence()?))) {
            Ok((loops, silence)) => {
                Meeting::new(Stage::new(loops.people, silence), settings.duration, parent).play(&listener).await
            }
            Err(error) => Err(error.into()),
        };
        // Left over it would only be untidy: nobody listens there.
        let _ = std::fs::remove_file(&settings.socket);
        ended
    })
}

/// Encodes what is missing, which takes some seconds on the first run. A caller that wants to show that may do it before.
///
/// # Errors
/// Those of [`loops::ensure_each`].
pub fn prepare_loops(folder: &std::path::Path) -> Result<loops::LoopSet, LoopError> {
    let mut orders: Vec<_> = CARDS[..script::PEOPLE].iter().map(|person| (person, &Layer::ALL[..])).collect();
    orders.push((&CARDS[script::SCREEN_CARD], &[Layer::L720]));
    loops::ensure_each(folder, &orders)
}

/// Waits for a receiver; `None` when whoever started the actors is gone, because then nobody will come.
async fn next_receiver(listener: &UnixListener, parent: nix::unistd::Pid) -> Result<Option<UnixStream>, ActorError> {
    let begun = Instant::now();
    while begun.elapsed() < ALONE_LIMIT {
        if nix::unistd::getppid() != parent {
            return Ok(None);
        }
        if let Ok(accepted) = tokio::time::timeout(PARENT_LOOK, listener.accept()).await {
            return Ok(Some(accepted?.0));
        }
    }
    Err(ActorError::Alone)
}

/// The meeting itself, once there is something to send.
pub(crate) struct Meeting {
    stage: Stage,
    acts: std::iter::Peekable<Box<dyn Iterator<Item = Act> + Send>>,
    /// The first hello.
    zero: Option<Instant>,
    duration: Option<Duration>,
    /// The process that started this one. Another parent means that it is gone.
    parent: nix::unistd::Pid,
}

impl Meeting {
    /// `parent` is the process that started this one.
    pub(crate) fn new(stage: Stage, duration: Option<Duration>, parent: nix::unistd::Pid) -> Self {
        let acts: Box<dyn Iterator<Item = Act> + Send> = Box::new(script::acts());
        Self { stage, acts: acts.peekable(), zero: None, duration, parent }
    }

    /// Plays for one receiver after the other.
    pub(crate) async fn play(mut self, listener: &UnixListener) -> Result<(), ActorError> {
        loop {
            let Some(stream) = next_receiver(listener, self.parent).await? else { return Ok(()) };
            match self.visit(stream).await {
                Ok(VisitEnd::Left | VisitEnd::Over) => return Ok(()),
                Ok(VisitEnd::Vanished) => {
                    tracing::warn!("the receiver of the simulated meeting has vanished; waiting for another")
                }
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a receiver failed; waiting for another"),
            }
        }
    }

    /// One receiver, from hello to leave.
    async fn visit(&mut self, stream: UnixStream) -> Result<VisitEnd, VisitError> {
        let (from, to) = stream.into_split();
        let mut visit = Visit::open(Ear::new(BufReader::new(from)), to).await?;
        match self.attend(&mut visit).await {
            // Who has gone cannot be written to; whether they said goodbye stands in what they wrote before.
            Err(_) if matches!(tokio::time::timeout(GOODBYE_LIMIT, visit.says_goodbye()).await, Ok(true)) => Ok(VisitEnd::Left),
            ended => ended,
        }
    }

    async fn attend(&mut self, visit: &mut Visit) -> Result<VisitEnd, VisitError> {
        match visit.ear.hear().await? {
            Some(ToActors::Hello) => {}
            Some(ToActors::Leave) => return Ok(VisitEnd::Left),
            _ => return Ok(VisitEnd::Vanished),
        }
        let zero = *self.zero.get_or_insert_with(Instant::now);
        say(&mut visit.to, &FromActors::Welcome { title: "Rehearsal".into() }).await?;
        self.perform_until(zero, Instant::now());
        for told in self.stage.tell_all() {
            say(&mut visit.to, &told).await?;
        }
        say(&mut visit.to, &FromActors::Listed).await?;
        say(&mut visit.to, &FromActors::Candidate { candidate: visit.candidate.clone() }).await?;

        let mut buffer = vec![0; 2048];
        loop {
            let now = Instant::now();
            if self.duration.is_some_and(|duration| now >= zero + duration) {
                say(&mut visit.to, &FromActors::Over).await?;
                // The receiver leaves in its own time; what it still says does not matter.
                let _ = tokio::time::timeout(GOODBYE_LIMIT, visit.says_goodbye()).await;
                return Ok(VisitEnd::Over);
            }
            for told in self.perform_until(zero, now) {
                say(&mut visit.to, &told).await?;
            }
            let rtc_wake = visit.send_due(&mut self.stage, zero, now)?;
            let wake = self.next_wake(zero).unwrap_or(rtc_wake).min(rtc_wake);
            tokio::select! {
                heard = visit.ear.hear() => match heard? {
                    None => return Ok(VisitEnd::Vanished),
                    Some(ToActors::Leave) => return Ok(VisitEnd::Left),
                    Some(message) => visit.obey(&mut self.stage, message).await?,
                },
                readable = visit.udp.readable() => {
                    readable?;
                    visit.read(&mut self.stage, &mut buffer)?;
                }
                () = tokio::time::sleep_until(wake.into()) => visit.sender.tick(Instant::now())?,
            }
            visit.offer(&self.stage).await?;
        }
    }

    /// Performs what is due; says what is to be told.
    fn perform_until(&mut self, zero: Instant, now: Instant) -> Vec<FromActors> {
        let mut told = Vec::new();
        while let Some(act) = self.acts.next_if(|act| zero + Duration::from_millis(act.at_ms) <= now) {
            told.extend(self.stage.perform(&act, act.at_ms * 1_000_000));
        }
        told
    }

    /// When the next act or picture is due, or the end.
    fn next_wake(&mut self, zero: Instant) -> Option<Instant> {
        let act = self.acts.peek().map(|act| Duration::from_millis(act.at_ms));
        let media = self.stage.next_due_ns().map(Duration::from_nanos);
        [act, media, self.duration].into_iter().flatten().min().map(|at| zero + at)
    }
}

/// One receiver's connection.
struct Visit {
    ear: Ear<BufReader<OwnedReadHalf>>,
    to: OwnedWriteHalf,
    udp: UdpSocket,
    sender: Sender,
    /// Ours, to be told.
    candidate: String,
}

impl Visit {
    async fn open(ear: Ear<BufReader<OwnedReadHalf>>, to: OwnedWriteHalf) -> Result<Self, VisitError> {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        // A starved receiver of feedback would only answer late; this is for the burst after a stall.
        socket2::SockRef::from(&udp).set_recv_buffer_size(1 << 20)?;
        let local = udp.local_addr()?;
        let sender = Sender::new(local, Instant::now())?;
        let candidate = format!("candidate:1 1 udp 2130706431 {} {} typ host", local.ip(), local.port());
        Ok(Self { ear, to, udp, sender, candidate })
    }

    async fn obey(&mut self, stage: &mut Stage, message: ToActors) -> Result<(), VisitError> {
        match message {
            ToActors::Subscribe { tracks } => stage.wish(&tracks),
            ToActors::Answer { sdp } => self.sender.answer(&sdp)?,
            ToActors::Candidate { candidate } => self.sender.candidate(&candidate)?,
            ToActors::Hello | ToActors::Leave => {}
        }
        Ok(())
    }

    async fn offer(&mut self, stage: &Stage) -> Result<(), VisitError> {
        if let Some(offer) = self.sender.offer(&stage.wanted()) {
            say(&mut self.to, &FromActors::Offer { sdp: offer.sdp, lines: offer.lines }).await?;
        }
        Ok(())
    }

    /// Sends what is due, and everything that follows from it; says when the peer connection wants to be called again.
    fn send_due(&mut self, stage: &mut Stage, zero: Instant, now: Instant) -> Result<Instant, VisitError> {
        let now_ns = u64::try_from(now.duration_since(zero).as_nanos()).unwrap_or(u64::MAX);
        for due in stage.due(now_ns) {
            self.sender.send(&due.track, zero + Duration::from_nanos(due.captured_ns), due.rtp_time, &due.data)?;
            self.drain(stage)?;
        }
        self.drain(stage)
    }

    fn read(&mut self, stage: &mut Stage, buffer: &mut [u8]) -> Result<(), VisitError> {
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.udp.try_recv_from(buffer) {
                Ok((length, source)) => self.sender.receive(source, &buffer[..length], Instant::now())?,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // A receiver that is gone refuses what is sent to it; its Unix socket tells the same better.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
            self.drain(stage)?;
        }
        Ok(())
    }

    fn drain(&mut self, stage: &mut Stage) -> Result<Instant, VisitError> {
        loop {
            match self.sender.poll()? {
                Outcome::Wait(at) => return Ok(at),
                Outcome::KeyframeWanted(track) => stage.want_keyframe(&track),
                Outcome::Datagram(to, datagram) => {
                    // A full socket buffer loses packets as a network does; the receiver asks again.
                    if let Err(error) = self.udp.try_send_to(&datagram, to) {
                        tracing::trace!(%error, "a datagram was lost");
                    }
                }
            }
        }
    }

    /// Listens until the receiver closes; whether it said that it leaves.
    async fn says_goodbye(&mut self) -> bool {
        while let Ok(Some(message)) = self.ear.hear::<ToActors>().await {
            if message == ToActors::Leave {
                return true;
            }
        }
        false
    }
}
