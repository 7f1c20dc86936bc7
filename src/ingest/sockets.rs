//! UDP sockets of the reception thread.
//!
//! In: datagrams, up to [`BATCH`] a system call. Out: datagrams. Runs on the reception thread only; never blocks: what the kernel does not take at
//! once is lost, as on the wire.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams read in one system call.
const BATCH: usize = 32;
/// Longest datagram kept; WebRTC stays below an Ethernet frame.
const DATAGRAM_BYTES: usize = 2048;
/// Sockets at most; an SFU with more addresses is reached through the first.
const MAX_SOCKETS: usize = 8;

pub(crate) struct UdpSockets {
    sockets: Vec<(UdpSocket, SocketAddr)>,
    buffer: Box<[[u8; DATAGRAM_BYTES]]>,
    receive_buffer_bytes: usize,
}

impl UdpSockets {
    pub(crate) fn new(receive_buffer_bytes: usize) -> Self {
        Self { sockets: Vec::new(), buffer: vec![[0; DATAGRAM_BYTES]; BATCH].into(), receive_buffer_bytes }
    }

    pub(crate) fn close_all(&mut self) {
        self.sockets.clear();
    }

    /// Opens a socket on this address, unless there is one. Returns its address when it is new.
    pub(crate) fn open(&mut self, ip: IpAddr) -> io::Result<Option<SocketAddr>> {
        if self.sockets.iter().any(|(_, local)| local.ip() == ip) || self.sockets.len() == MAX_SOCKETS {
            return Ok(None);
        }
        let socket = std::net::UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        enlarge_receive_buffer(&socket, self.receive_buffer_bytes);
        let local = socket.local_addr()?;
        self.sockets.push((UdpSocket::from_std(socket)?, local));
        Ok(Some(local))
    }

    /// Ready when some socket can be read.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = Poll::Pending;
        for (socket, _) in &self.sockets {
            // An error is seen by the read that follows.
            if socket.poll_recv_ready(cx).is_ready() {
                ready = Poll::Ready(());
            }
        }
        ready
    }

    /// Reads one batch from each socket and hands it to `each` as (source, local address, bytes).
    pub(crate) fn read(&mut self, mut each: impl FnMut(SocketAddr, SocketAddr, &[u8])) {
        for (socket, local) in &self.sockets {
            let buffer = &mut self.buffer;
            let batch = socket.try_io(Interest::READABLE, || Ok(read_batch(socket, buffer)?));
            // WouldBlock is the usual end; ICMP errors come up here too and mean only that one peer port is closed.
            let Ok(batch) = batch else { continue };
            for (index, (bytes, source)) in batch.into_iter().enumerate() {
                if let (Some(source), Some(datagram)) = (source, self.buffer.get(index).and_then(|b| b.get(..bytes))) {
                    each(source, *local, datagram);
                }
            }
        }
    }

    /// Sends a datagram from the socket bound to `source`.
    pub(crate) fn send(&self, source: SocketAddr, destination: SocketAddr, datagram: &[u8]) {
        if let Some((socket, _)) = self.sockets.iter().find(|(_, local)| *local == source) {
            // ICE and RTCP repeat what matters.
            _ = socket.try_send_to(datagram, destination);
        }
    }
}

/// The local address from which the system would send to `remote`.
pub(crate) fn local_address_towards(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = std::net::UdpSocket::bind((any, 0))?;
    // Sends nothing; only the route is looked up.
    probe.connect(remote)?;
    Ok(probe.local_addr()?.ip())
}

fn read_batch(socket: &UdpSocket, buffer: &mut [[u8; DATAGRAM_BYTES]]) -> nix::Result<Vec<(usize, Option<SocketAddr>)>> {
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(buffer.len(), None);
    let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffer.iter_mut().map(|b| [IoSliceMut::new(b)]).collect();
    let received = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    Ok(received.map(|message| (message.bytes, message.address.and_then(|a| to_std(&a)))).collect())
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port())))
}

fn enlarge_receive_buffer(socket: &std::net::UdpSocket, wanted: usize) {
    let effective = effective_receive_buffer(socket, wanted);
    if effective < wanted {
        tracing::warn!(effective_bytes = effective, wanted_bytes = wanted, "small UDP receive buffer; raise net.core.rmem_max");
    }
}

/// Asks for a receive buffer of so many bytes, and says how many the system gives.
pub fn effective_receive_buffer(socket: &std::net::UdpSocket, wanted: usize) -> usize {
    // The forced option ignores net.core.rmem_max and needs CAP_NET_ADMIN.
    if setsockopt(socket, sockopt::RcvBufForce, &wanted).is_err() {
        _ = setsockopt(socket, sockopt::RcvBuf, &wanted);
    }
    // The kernel doubles the value for its own bookkeeping, and reports the double.
    nix::sys::socket::getsockopt(socket, sockopt::RcvBuf).map_or(0, |double| double / 2)
}
