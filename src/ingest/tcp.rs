//! ICE over TCP (RFC 6544), active side: connections that carry datagrams with a length before each (RFC 4571 §2).
//!
//! In: bytes. Out: whole datagrams, in order. Runs on the reception thread; never blocks: when the kernel's buffer is full, whole
//! datagrams are dropped, and a half-written one is finished first. A peer that sends nonsense loses its connection.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

/// Bytes that may wait for a peer that does not read; we only send feedback.
const MAX_UNSENT_BYTES: usize = 64 << 10;
/// Longest datagram accepted.
const MAX_DATAGRAM_BYTES: usize = 8 << 10;

/// One connection to a passive candidate.
pub(crate) struct TcpLink {
    stream: TcpStream,
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The candidate's address.
    pub(crate) remote: SocketAddr,
    incoming: Deframer,
    unsent: Vec<u8>,
}

impl TcpLink {
    /// Connects; the future must be driven by the reception thread's runtime, with a time limit.
    pub(crate) async fn connect(remote: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(remote).await?;
        stream.set_nodelay(true)?;
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Self { stream, local, remote, incoming: Deframer::default(), unsent: Vec::new() })
    }

    /// Ready when there is something to read, or waiting bytes can be written.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let readable = self.stream.poll_read_ready(cx).is_ready();
        let writable = !self.unsent.is_empty() && self.stream.poll_write_ready(cx).is_ready();
        if readable || writable { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Reads what there is, and hands on whole datagrams; writes what waits.
    ///
    /// # Errors
    /// The connection has ended or carries nonsense; drop it.
    pub(crate) fn turn(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.flush()?;
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.incoming.feed(&buffer[..count], &mut each)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a datagram, or drops it when too much waits already.
    ///
    /// # Errors
    /// The connection has ended; drop it.
    pub(crate) fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let Ok(length) = u16::try_from(datagram.len()) else { return Ok(()) };
        if self.unsent.len() + datagram.len() + 2 <= MAX_UNSENT_BYTES {
            self.unsent.extend(length.to_be_bytes());
            self.unsent.extend(datagram);
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(count) => _ = self.unsent.drain(..count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Cuts a byte stream into datagrams.
#[derive(Default)]
pub(super) struct Deframer {
    partial: Vec<u8>,
}

impl Deframer {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// A datagram that is too long to be one.
    pub(super) fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        self.partial.extend(bytes);
        let mut rest = self.partial.as_slice();
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length > MAX_DATAGRAM_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some(datagram) = tail.get(..length) else { break };
            if !datagram.is_empty() {
                each(datagram);
            }
            rest = &tail[length..];
        }
        let used = self.partial.len() - rest.len();
        self.partial.drain(..used);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn datagrams_come_out_as_they_went_in_however_the_stream_is_cut(
            datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..20),
            piece in 1..64usize,
        ) {
            let stream: Vec<u8> =
                datagrams.iter().flat_map(|d| (d.len() as u16).to_be_bytes().into_iter().chain(d.iter().copied())).collect();
            let mut out = Vec::new();
            let mut deframer = Deframer::default();
            for bytes in stream.chunks(piece) {
                deframer.feed(bytes, &mut |d: &[u8]| out.push(d.to_vec())).unwrap();
            }
            prop_assert_eq!(out, datagrams);
            prop_assert!(deframer.partial.is_empty());
        }
    }

    #[test]
    fn an_absurd_length_ends_the_connection() {
        let error = Deframer::default().feed(&[0xff, 0xff, 1, 2, 3], &mut |_: &[u8]| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
