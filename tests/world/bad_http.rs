//! A bad day between the product and an HTTP server: a proxy that loses answers, cuts bodies, refuses and is slow, reproducibly.
//!
//! Each request goes to the server over a connection of its own, unchanged but for `Connection: close`. What happens to it is decided by the
//! test, from its head and its number.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It passes, and so does the answer.
    Pass,
    /// It is read, does not pass, and this is answered.
    Answer(u16),
    /// It passes, and the connection ends instead of an answer.
    LoseAnswer,
    /// It passes, and this is answered instead.
    PassButAnswer(u16),
    /// So many bytes of its body pass, then both connections end.
    CutAfter(u64),
    /// It does not pass, and no answer comes, ever.
    Swallow,
}

/// What is known of a request before its body.
pub struct Asked {
    /// From 0.
    pub number: u64,
    /// `PUT`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names and values of headers, in lower case.
    pub headers: String,
}

impl Asked {
    /// CompleteMultipartUpload.
    pub fn is_complete(&self) -> bool {
        self.method == "POST" && self.target.contains("uploadId=")
    }

    /// UploadPart.
    pub fn is_part(&self) -> bool {
        self.method == "PUT" && self.target.contains("partNumber=")
    }
}

type Judge = Box<dyn FnMut(&Asked) -> Fate + Send>;

/// A running proxy.
pub struct BadHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    open: watch::Sender<bool>,
    is_open: watch::Receiver<bool>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    server: u16,
    judge: Mutex<Judge>,
    asked: AtomicU64,
    /// Bytes of bodies a second; 0: as fast as it goes.
    rate: AtomicU64,
}

impl BadHttp {
    /// A proxy before a server on a port of 127.0.0.1.
    pub fn before(server: u16, judge: impl FnMut(&Asked) -> Fate + Send + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let listener = runtime.block_on(listen("127.0.0.1:0".parse().expect("address")));
        let address = listener.local_addr().expect("bound");
        let shared =
            Arc::new(Shared { server, judge: Mutex::new(Box::new(judge)), asked: AtomicU64::new(0), rate: AtomicU64::new(0) });
        let (open, wanted) = watch::channel(true);
        let (opened, is_open) = watch::channel(true);
        runtime.spawn(accept(shared.clone(), listener, address, wanted, opened));
        Self { address, shared, open, is_open, runtime: Some(runtime) }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Judges otherwise from now on.
    pub fn judge(&self, judge: impl FnMut(&Asked) -> Fate + Send + 'static) {
        *self.shared.judge.lock().expect("judge") = Box::new(judge);
    }

    /// Lets so many bits of bodies through in a second.
    pub fn limit(&self, bits_a_second: u64) {
        self.shared.rate.store(bits_a_second / 8, Ordering::Relaxed);
    }

    /// Refuses connections, or takes them again; returns when it does.
    pub fn set_open(&mut self, open: bool) {
        self.open.send_replace(open);
        if let Some(runtime) = &self.runtime {
            let _ = runtime.block_on(self.is_open.wait_for(|is_open| *is_open == open));
        }
    }

    /// Requests so far.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Drop for BadHttp {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket");
    socket.bind(address).expect("the port is ours");
    socket.listen(64).expect("a listener")
}

async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    address: SocketAddr,
    mut wanted: watch::Receiver<bool>,
    opened: watch::Sender<bool>,
) {
    let mut listener = Some(listener);
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => if let Ok((client, _)) = accepted {
                let shared = shared.clone();
                tokio::spawn(async move { let _ = serve(&shared, client).await; });
            },
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let is_wanted = *wanted.borrow_and_update();
                listener = if is_wanted { Some(listen(address).await) } else { None };
                opened.send_replace(listener.is_some());
            }
        }
    }
}

/// One connection: one request.
async fn serve(shared: &Shared, mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    let head_len = loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..read]);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let body_begin = head.split_off(head_len);
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split(' ');
    let headers = text.to_ascii_lowercase();
    let body_len = headers.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|len| len.trim().parse().ok());
    let asked = Asked {
        number: shared.asked.fetch_add(1, Ordering::Relaxed),
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        headers,
    };
    let fate = (shared.judge.lock().expect("judge"))(&asked);
    let mut body = Body { begin: body_begin, left: body_len.unwrap_or(0), rate: shared.rate.load(Ordering::Relaxed) };
    match fate {
        Fate::Answer(status) => {
            while body.next(&mut client, &mut buffer).await?.is_some() {}
            return answer(&mut client, status).await;
        }
        Fate::Swallow => {
            while body.next(&mut client, &mut buffer).await?.is_some() {}
            return std::future::pending().await;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(("127.0.0.1", shared.server)).await?;
    server.set_nodelay(true)?;
    let marked = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(marked.as_bytes()).await?;
    let mut passed = 0;
    while let Some(piece) = body.next(&mut client, &mut buffer).await? {
        passed += piece.len() as u64;
        // A server that refuses early does not read on: its answer counts.
        if server.write_all(piece).await.is_err() {
            break;
        }
        if matches!(fate, Fate::CutAfter(limit) if passed >= limit) {
            return Ok(());
        }
    }
    let mut response = Vec::new();
    server.read_to_end(&mut response).await?;
    match fate {
        Fate::LoseAnswer | Fate::CutAfter(_) => Ok(()),
        Fate::PassButAnswer(status) => answer(&mut client, status).await,
        _ => {
            client.write_all(&response).await?;
            client.shutdown().await
        }
    }
}

async fn answer(client: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} Bad day\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    client.shutdown().await
}

struct Body {
    begin: Vec<u8>,
    left: u64,
    rate: u64,
}

impl Body {
    async fn next<'a>(&mut self, client: &mut TcpStream, buffer: &'a mut [u8]) -> std::io::Result<Option<&'a [u8]>> {
        if self.left == 0 {
            return Ok(None);
        }
        let len = match std::mem::take(&mut self.begin) {
            begin if begin.is_empty() => client.read(buffer).await?,
            begin => {
                // Not longer than the head's own read.
                buffer[..begin.len()].copy_from_slice(&begin);
                begin.len()
            }
        };
        if len == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(len as u64);
        if let Some(nanos) = (len as u64 * 1_000_000_000).checked_div(self.rate) {
            tokio::time::sleep(Duration::from_nanos(nanos)).await;
        }
        Ok(Some(&buffer[..len]))
    }
}
