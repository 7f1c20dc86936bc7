//! The worker's side of the programme monitor.
//!
//! In: a caller on a private Unix socket, and packets through a live cursor of the ring. Out: the packets, from the newest keyframe on. One thread, which sleeps while nobody calls:
//! the monitor calls only while somebody watches. Refuses to wait for a slow monitor: it holds nothing back in the ring, whole GOPs are left out, and one that reads nothing for
//! [`PATIENCE`] is hung up on and has to call again.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::wire;
use crate::graph::lower_this_thread;
use crate::programme::ring::{Cursor, Next, Ring};
use crate::span::carried;

/// A monitor that takes nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(1);
/// A reader that is later than a GOP and a half second goes on at the newest keyframe.
const LATE: Duration = Duration::from_millis(2500);
/// How often it is looked whether the caller is still there, when no packets come.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How much lower than the process's first thread it stands.
const BELOW: i32 = 5;

/// Feeds one caller at a time until it is dropped or the ring ends.
#[derive(Debug)]
pub struct Feeder {
    /// Its end wakes the thread.
    _stop: UnixStream,
}

impl Feeder {
    /// Listens on `path`, in a folder that only this user can enter; what another worker left there is replaced.
    ///
    /// # Errors
    /// The socket or the thread cannot be made.
    pub fn start(path: &Path, ring: Ring) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let (ours, theirs) = UnixStream::pair()?;
        let run = carried(move || {
            lower_this_thread(BELOW);
            if let Err(error) = serve(&listener, &ring, &theirs) {
                tracing::warn!(%error, "the programme monitor gets nothing any more");
            }
        });
        std::thread::Builder::new().name("monitor-feed".into()).spawn(run)?;
        Ok(Self { _stop: ours })
    }
}

/// Why a caller is not fed any more.
enum Over {
    /// It is gone, or was hung up on.
    Caller,
    /// Nothing more will come.
    Programme,
}

fn serve(listener: &UnixListener, ring: &Ring, stop: &UnixStream) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            polled => _ = polled?,
        }
        if fds[1].any().unwrap_or(true) {
            return Ok(());
        }
        match listener.accept() {
            Ok((caller, _)) => match feed(caller, ring.live(), stop) {
                Ok(Over::Programme) => return Ok(()),
                Ok(Over::Caller) => {}
                Err(error) => tracing::debug!(%error, "the programme monitor went away"),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn feed(mut caller: UnixStream, mut cursor: Cursor, stop: &UnixStream) -> io::Result<Over> {
    caller.set_nonblocking(false)?;
    caller.set_write_timeout(Some(PATIENCE))?;
    let mut knows_headers = false;
    let mut message = Vec::new();
    loop {
        message.clear();
        match cursor.next(LOOK_EVERY) {
            Next::Packet(packet) => {
                if !knows_headers && let Some(headers) = cursor.headers() {
                    wire::put_headers(&mut message, &headers);
                    knows_headers = true;
                }
                let behind = cursor.behind();
                wire::put_packet(&mut message, &packet, behind);
                if behind > LATE && cursor.skip_to_newest_keyframe() > 0 {
                    wire::put_gap(&mut message);
                }
                caller.write_all(&message)?;
            }
            Next::Gap { .. } => {
                wire::put_gap(&mut message);
                caller.write_all(&message)?;
            }
            Next::Nothing if has_ended(&caller) => return Ok(Over::Caller),
            Next::Nothing => {}
            Next::Closed => return Ok(Over::Programme),
        }
        if has_ended(stop) {
            return Ok(Over::Programme);
        }
    }
}

/// Whether the other end of a socket that says nothing is closed.
fn has_ended(socket: &UnixStream) -> bool {
    use std::os::fd::AsRawFd;
    matches!(recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT), Ok(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use recorder_core::time::SessionTime;
    use tokio::net::UnixStream as Caller;

    use super::super::wire::{Message, Messages};
    use super::*;
    use crate::programme::packet::{CodecHeaders, Packet, Stream};

    /// Picture `n` of ten a second, a keyframe each two seconds.
    fn picture(n: u64, bytes: usize) -> Packet {
        let (pts, duration) = (SessionTime::from_millis(n * 100), Duration::from_millis(100));
        Packet { stream: Stream::Video, pts, duration, keyframe: n.is_multiple_of(20), data: vec![0; bytes].into() }
    }

    fn ring() -> Ring {
        let ring = Ring::default();
        let config: Arc<[u8]> = b"c"[..].into();
        ring.set_headers(CodecHeaders {
            avc_config: config.clone(),
            aac_config: config,
            width_px: 16,
            height_px: 16,
            fps: 10,
            sample_rate_hz: 48_000,
            channels: 2,
        });
        ring
    }

    async fn pictures(caller: &mut Messages<Caller>, count: usize) -> Vec<u64> {
        let mut seen = Vec::new();
        while seen.len() < count {
            match caller.next().await.unwrap() {
                Some(Message::Packet(packet)) => seen.push(packet.pts.as_nanos() / 100_000_000),
                Some(_) => {}
                None => break,
            }
        }
        seen
    }

    #[tokio::test]
    async fn each_caller_begins_at_the_newest_keyframe_and_the_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ring) = (folder.path().join("feed"), ring());
        let _feeder = Feeder::start(&path, ring.clone()).unwrap();
        (0..30).for_each(|n| ring.publish(picture(n, 9)));
        let mut first = Messages::new(Caller::connect(&path).await.unwrap());
        assert!(matches!(first.next().await.unwrap(), Some(Message::Headers { .. })));
        assert_eq!(pictures(&mut first, 10).await, (20..30).collect::<Vec<_>>());
        drop(first);
        let mut second = Messages::new(Caller::connect(&path).await.unwrap());
        assert_eq!(pictures(&mut second, 10).await, (20..30).collect::<Vec<_>>());
        ring.close();
        assert!(second.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_slow_monitor_loses_whole_gops_and_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ring) = (folder.path().join("feed"), ring());
        let _feeder = Feeder::start(&path, ring.clone()).unwrap();
        ring.publish(picture(0, 9));
        let mut slow = Messages::new(Caller::connect(&path).await.unwrap());
        assert_eq!(pictures(&mut slow, 1).await, [0]);
        // More than fits into the socket.
        (1..400).for_each(|n| ring.publish(picture(n, 30_000)));
        assert!(ring.bytes() <= 172 * 30_000, "{} bytes", ring.bytes());
        let mut seen = vec![0];
        while seen.last() != Some(&399) {
            let next = pictures(&mut slow, 1).await;
            assert!(!next.is_empty(), "a reader is not hung up on");
            seen.extend(next);
        }
        assert!(seen.len() < 399, "{}", seen.len());
        let jumps: Vec<_> = seen.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
        assert!(!jumps.is_empty() && jumps.iter().all(|pair| pair[1] % 20 == 0), "{jumps:?}");
    }

    #[tokio::test]
    async fn a_dropped_feeder_hangs_up() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ring) = (folder.path().join("feed"), ring());
        let feeder = Feeder::start(&path, ring.clone()).unwrap();
        let mut caller = Messages::new(Caller::connect(&path).await.unwrap());
        drop(feeder);
        // Whoever was still in the queue sees a reset.
        assert!(!matches!(caller.next().await, Ok(Some(_))));
        // A later worker takes the same place.
        let _next = Feeder::start(&path, ring.clone()).unwrap();
        ring.publish(picture(0, 9));
        let mut caller = Messages::new(Caller::connect(&path).await.unwrap());
        assert_eq!(pictures(&mut caller, 1).await, [0]);
    }
}
