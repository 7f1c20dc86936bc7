//! A stand-in for an RTMP server, with the manners that real ones have on bad days.
//!
//! It shares no code with the product: what it says is put together here by hand, and of what it hears it only looks for the names of commands.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Manner {
    /// Takes everything; changes its chunk size, pings, and counts late.
    Fussy,
    /// Accepts the connection, and says nothing.
    BlackHole,
    /// Resets the connection at once.
    Resets,
    /// Says no to the application.
    RejectsApplication,
    /// Says no to the stream, with the key in its words.
    RejectsStream,
    /// Takes the stream, and then reads nothing any more.
    Stalls,
    /// Takes the stream, and resets the connection so long after.
    CutsAfter(Duration),
    /// Takes the stream, and vanishes so long after, as a machine that loses its power: nothing is answered any more, not even by its TCP.
    Vanishes(Duration),
    /// Reads so many bytes a second.
    Slow(u32),
    /// Sends nonsense after the handshake.
    Garbage,
}

/// A running stand-in. Ends with its owner.
pub struct StandIn {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Manner,
    ended: AtomicBool,
    /// When connections came.
    came: Mutex<Vec<Instant>>,
    /// Answers to pings.
    pongs: Mutex<usize>,
}

impl StandIn {
    /// Starts one.
    pub fn start(manner: Manner) -> StandIn {
        // A small receive buffer, inherited by connections, so that what is not read is soon noticed.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a buffer");
        let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).expect("a port");
        socket.listen(16).expect("listens");
        let listener: TcpListener = socket.into();
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared { manner, ended: AtomicBool::new(false), came: Mutex::default(), pongs: Mutex::default() });
        let mine = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if mine.ended.load(Ordering::Relaxed) {
                    return;
                }
                mine.came.lock().expect("came").push(Instant::now());
                let shared = Arc::clone(&mine);
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        StandIn { port, shared }
    }

    /// Where streams go.
    pub fn address(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    /// Times between connections.
    pub fn gaps(&self) -> Vec<Duration> {
        self.shared.came.lock().expect("came").windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Answers to its pings so far.
    pub fn pongs(&self) -> usize {
        *self.shared.pongs.lock().expect("pongs")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let manner = shared.manner;
    stream.set_nodelay(true)?;
    if manner == Manner::Resets {
        return reset(&stream);
    }
    if manner == Manner::BlackHole {
        return wait_for_the_end(&stream, shared);
    }
    let mut hello = [0; 1537];
    stream.read_exact(&mut hello)?;
    // S0, S1 with a time and filling, S2 that echoes.
    let mut answer = vec![3, 0, 0, 0, 9, 0, 0, 0, 0];
    answer.extend((0..1528).map(|n| (n * 7) as u8));
    answer.extend_from_slice(&hello[1..]);
    stream.write_all(&answer)?;
    let mut echo = [0; 1536];
    stream.read_exact(&mut echo)?;
    assert_eq!(echo[..], answer[1..1537], "C2 is S1 again");
    if manner == Manner::Garbage {
        stream.write_all(&(0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x40).collect::<Vec<_>>())?;
        return wait_for_the_end(&stream, shared);
    }
    stream.write_all(&message(1, &4096_u32.to_be_bytes()))?;
    hear(&mut stream, b"\x02\0\x07connect")?;
    if manner == Manner::RejectsApplication {
        stream.write_all(&command("_error", 1.0, &status("error", "NetConnection.Connect.Rejected", "no such application")))?;
        return wait_for_the_end(&stream, shared);
    }
    stream.write_all(&command("_result", 1.0, &status("status", "NetConnection.Connect.Success", "welcome")))?;
    hear(&mut stream, b"\x02\0\x0ccreateStream")?;
    stream.write_all(&command("_result", 4.0, &number(1.0)))?;
    hear(&mut stream, b"\x02\0\x07publish")?;
    if manner == Manner::RejectsStream {
        stream.write_all(&command("onStatus", 0.0, &status("error", "NetStream.Publish.BadName", "canary-key is taken")))?;
        return wait_for_the_end(&stream, shared);
    }
    stream.write_all(&command("onStatus", 0.0, &status("status", "NetStream.Publish.Start", "go")))?;
    let begin = Instant::now();
    match manner {
        Manner::Stalls => wait_for_the_end(&stream, shared),
        Manner::Slow(bytes_per_s) => {
            let mut buffer = vec![0; (bytes_per_s / 20) as usize];
            while !shared.ended.load(Ordering::Relaxed) && stream.read(&mut buffer)? > 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
        Manner::CutsAfter(time) => {
            if read_for(&mut stream, begin, time)? {
                reset(&stream)?;
            }
            Ok(())
        }
        Manner::Vanishes(time) => {
            if read_for(&mut stream, begin, time)? {
                // A filter that lets no segment through: "return 0" (BPF_RET | BPF_K).
                socket2::SockRef::from(&stream).attach_filter(&[socket2::SockFilter::new(0x06, 0, 0, 0)])?;
                while !shared.ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            Ok(())
        }
        _ => fuss(&mut stream, shared),
    }
}

/// Takes everything for so long; whether the other side stayed.
fn read_for(stream: &mut TcpStream, begin: Instant, time: Duration) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = [0; 65_536];
    while begin.elapsed() < time {
        if stream.read(&mut buffer).is_ok_and(|count| count == 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes everything, and says what real servers say beside.
fn fuss(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let (mut buffer, mut received, mut counted) = ([0; 65_536], 0_u64, 0);
    let (mut spoke, mut round) = (Instant::now(), 0_u32);
    while !shared.ended.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                received += count as u64;
                // The only messages of 6 bytes that a publisher sends are answers to pings.
                let pongs =
                    buffer[..count].windows(14).filter(|w| w[..8] == *b"\x02\0\0\0\0\0\x06\x04" && w[12..] == [0, 7]).count();
                *shared.pongs.lock().expect("pongs") += pongs;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if spoke.elapsed() >= Duration::from_millis(200) {
            spoke = Instant::now();
            round += 1;
            // Chunks of 6 bytes or more, so that what follows is one chunk whatever the size.
            stream.write_all(&message(1, &[6_u32, 128, 65_536][round as usize % 3].to_be_bytes()))?;
            stream.write_all(&message(4, &[&[0, 6][..], &round.to_be_bytes()].concat()))?;
            // What came a while ago.
            stream.write_all(&message(3, &(counted as u32).to_be_bytes()))?;
            counted = received;
        }
    }
    Ok(())
}

/// Reads until the words come.
fn hear(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<()> {
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(words) {
        stream.read_exact(&mut byte)?;
        heard.push(byte[0]);
    }
    Ok(())
}

fn wait_for_the_end(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    while !shared.ended.load(Ordering::Relaxed) {
        // Looks without taking anything, so that the buffer stays as full as it is.
        match stream.peek(&mut [0]) {
            Ok(0) => break,
            Ok(_) => std::thread::sleep(Duration::from_millis(100)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn reset(stream: &TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// A message in one chunk, on the chunk stream for control or that for commands.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let chunk_stream = if kind == 20 { 3 } else { 2 };
    let mut out = vec![chunk_stream, 0, 0, 0];
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(body);
    out
}

fn command(name: &str, transaction: f64, last: &[u8]) -> Vec<u8> {
    message(20, &[&text(name)[..], &number(transaction), &[5], last].concat())
}

fn status(level: &str, code: &str, description: &str) -> Vec<u8> {
    let member = |name: &str, value: &str| [&text(name)[1..], &text(value)].concat();
    [&[3][..], &member("level", level), &member("code", code), &member("description", description), &[0, 0, 9]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[2][..], &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn number(number: f64) -> Vec<u8> {
    [&[0][..], &number.to_be_bytes()].concat()
}
