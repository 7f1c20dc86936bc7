//! One byte stream to a server: TCP, or TLS over it, that never blocks longer than it is told.
//!
//! In: an address that was checked, bytes to send. Out: bytes that came, and what the system knows about the connection ([`Signs`]). Runs on the thread of its
//! destination. TLS is rustls without I/O of its own, so there is no second thread and no runtime.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use recorder_core::live::{CertificateFault, Reason};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::trust::Trust;

/// Bytes handed to TLS at a time: one record.
const RECORD: usize = 16 * 1024;

/// A connection.
pub(super) struct Link {
    socket: TcpStream,
    connected: bool,
    tls: Option<Box<ClientConnection>>,
}

/// What the system knows about a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Signs {
    /// Bytes that the other side's TCP has confirmed, since the beginning.
    pub(super) confirmed: u64,
    /// Bytes handed to the system that are not confirmed.
    pub(super) unconfirmed: u64,
    /// Smoothed round trip.
    pub(super) round_trip: Duration,
    /// Segments sent again, since the beginning.
    pub(super) resent: u32,
}

/// What became of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    /// The other side has ended the stream.
    End,
}

impl Link {
    /// Begins to connect to exactly this address. `send_buffer`: bytes that the system may hold for sending.
    ///
    /// # Errors
    /// Why it cannot even begin.
    pub(super) fn connect(address: SocketAddr, tls: Option<(&Trust, &str)>, send_buffer: usize) -> Result<Self, Reason> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(|_| Reason::Local)?;
        let prepared = socket
            .set_nonblocking(true)
            .and_then(|()| socket.set_tcp_nodelay(true))
            .and_then(|()| socket.set_send_buffer_size(send_buffer));
        prepared.map_err(|_| Reason::Local)?;
        let tls = match tls {
            None => None,
            Some((trust, host)) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| Reason::UnknownHost)?;
                let tls = ClientConnection::new(Arc::clone(&trust.config), name).map_err(|_| Reason::Local)?;
                Some(Box::new(tls))
            }
        };
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(not_connected(&error)),
        }
        Ok(Self { socket: socket.into(), connected: false, tls })
    }

    /// Whether TCP is connected by now.
    ///
    /// # Errors
    /// Why it will never be.
    pub(super) fn is_connected(&mut self) -> Result<bool, Reason> {
        if !self.connected {
            if let Some(error) = self.socket.take_error().map_err(|_| Reason::Local)? {
                return Err(not_connected(&error));
            }
            self.connected = self.socket.peer_addr().is_ok();
        }
        Ok(self.connected)
    }

    /// Whether bytes can be carried: for TLS after its handshake.
    ///
    /// # Errors
    /// Why they never will be.
    pub(super) fn is_open(&mut self) -> Result<bool, Reason> {
        if self.tls.is_some() {
            self.push_tls()?;
            let mut nothing = [];
            if self.pull_tls(&mut nothing)? == Got::End {
                return Err(Reason::Closed(recorder_core::live::Step::Secure));
            }
            self.push_tls()?;
        }
        Ok(self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking()))
    }

    /// Sends as much of `bytes` as the system takes, and removes it from their front.
    ///
    /// # Errors
    /// [`Reason::Cut`] when the connection is gone.
    pub(super) fn send(&mut self, bytes: &mut Vec<u8>) -> Result<(), Reason> {
        let mut taken = 0;
        let result = loop {
            // TLS: what it holds goes first, so that it holds at most a record.
            match self.push_tls() {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(reason) => break Err(reason),
            }
            let rest = &bytes[taken..];
            if rest.is_empty() {
                break Ok(());
            }
            let written = match &mut self.tls {
                Some(tls) => tls.writer().write(&rest[..rest.len().min(RECORD)]),
                None => self.socket.write(rest),
            };
            match written {
                Ok(count) => taken += count,
                Err(error) if is_later(&error) => break Ok(()),
                Err(_) => break Err(Reason::Cut),
            }
        };
        bytes.drain(..taken);
        result
    }

    /// Reads what has come.
    ///
    /// # Errors
    /// [`Reason::Cut`] when the connection is gone; others when it is no TLS.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> Result<Got, Reason> {
        if self.tls.is_some() {
            return self.pull_tls(into);
        }
        match self.socket.read(into) {
            Ok(0) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(error) if is_later(&error) => Ok(Got::Nothing),
            Err(_) => Err(Reason::Cut),
        }
    }

    /// Waits until something came, or, if `for_room`, until something can be sent; at most for `time`.
    pub(super) fn wait(&self, for_room: bool, time: Duration) {
        let wants_write = for_room || self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        let flags = if wants_write { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        // A signal ends it early; then the caller looks again.
        let _ = poll(&mut [PollFd::new(self.socket.as_fd(), flags)], timeout);
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.push_tls();
        }
        // A connection that is gone cannot be told.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Dropping the link then resets the connection, and what the system has not sent is lost.
    pub(super) fn discard(&mut self) {
        if let Err(error) = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)) {
            tracing::warn!(%error, "what waits to be sent to a live destination cannot be thrown away");
        }
    }

    /// What the system knows.
    pub(super) fn signs(&self) -> Signs {
        // SAFETY: all zeros is a valid tcp_info: it holds numbers only.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        let fd = self.socket.as_raw_fd();
        // SAFETY: the socket is open while self lives; the kernel writes at most `length` bytes into `info`, less on an older kernel.
        let told = unsafe {
            libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, std::ptr::from_mut(&mut info).cast(), &raw mut length)
        };
        let mut queued: libc::c_int = 0;
        // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int.
        let counted = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut queued) };
        Signs {
            confirmed: if told == 0 { info.tcpi_bytes_acked } else { 0 },
            unconfirmed: if counted == 0 { u64::try_from(queued).unwrap_or(0) } else { 0 },
            round_trip: Duration::from_micros(u64::from(info.tcpi_rtt)),
            resent: info.tcpi_total_retrans,
        }
    }

    /// Sends what TLS holds; true when it holds nothing more.
    fn push_tls(&mut self) -> Result<bool, Reason> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if is_later(&error) => return Ok(false),
                Err(_) => return Err(Reason::Cut),
            }
        }
        Ok(true)
    }

    fn pull_tls(&mut self, into: &mut [u8]) -> Result<Got, Reason> {
        let Some(tls) = &mut self.tls else { return Ok(Got::Nothing) };
        let mut ended = false;
        if tls.wants_read() {
            match tls.read_tls(&mut self.socket) {
                Ok(0) => ended = true,
                Ok(_) => {
                    if let Err(error) = tls.process_new_packets() {
                        // The server learns why, if it still listens.
                        let _ = tls.write_tls(&mut self.socket);
                        return Err(reason(&error));
                    }
                }
                Err(error) if is_later(&error) => {}
                Err(_) => return Err(Reason::Cut),
            }
        }
        if into.is_empty() {
            return Ok(if ended { Got::End } else { Got::Nothing });
        }
        match tls.reader().read(into) {
            Ok(0) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(error) if is_later(&error) => Ok(if ended { Got::End } else { Got::Nothing }),
            // An end without a farewell of TLS.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Got::End),
            Err(_) => Err(Reason::Cut),
        }
    }
}

fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn not_connected(error: &std::io::Error) -> Reason {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Reason::ConnectionRefused,
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Reason::Unreachable
        }
        ErrorKind::AddrNotAvailable => Reason::Unreachable,
        _ => Reason::Local,
    }
}

/// What an error of the TLS library means.
fn reason(error: &rustls::Error) -> Reason {
    let rustls::Error::InvalidCertificate(error) = error else { return Reason::NotSecure };
    Reason::Certificate(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        // A bad signature: somebody who has only the name of an authority that we trust.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => CertificateFault::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => CertificateFault::WrongName,
        _ => CertificateFault::Invalid,
    })
}

#[cfg(test)]
mod tests;
