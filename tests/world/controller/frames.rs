//! WebSocket frames by hand (RFC 6455 §5.2): no library would leave a connection open after both close frames, as the real controller does.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// One frame of a client.
#[derive(PartialEq, Debug)]
pub(super) enum Frame {
    /// Text or binary: nobody tells them apart.
    Data(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close,
    /// Larger than allowed; its bytes have not been read.
    TooLarge,
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Reads one whole frame of at most `largest` bytes; `None` when the connection ended. Messages in several frames are put together by nobody: clients
/// of the tests send none.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), largest: u64) -> Option<Frame> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.ok()?;
    let length = match head[1] & 0x7f {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        short => u64::from(short),
    };
    if length > largest {
        return Some(Frame::TooLarge);
    }
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut mask).await.ok()?;
    }
    let mut data = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut data).await.ok()?;
    data.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= mask[i % 4]);
    Some(match head[0] & 0x0f {
        CLOSE => Frame::Close,
        PING => Frame::Ping(data),
        PONG => Frame::Pong,
        _ => Frame::Data(data),
    })
}

/// Writes a text frame; `None` when the connection is gone.
pub(super) async fn text(stream: &mut (impl AsyncWrite + Unpin), text: &[u8]) -> Option<()> {
    write(stream, TEXT, text).await
}

pub(super) async fn ping(stream: &mut (impl AsyncWrite + Unpin)) -> Option<()> {
    write(stream, PING, b"heartbeat").await
}

pub(super) async fn pong(stream: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> Option<()> {
    write(stream, PONG, data).await
}

pub(super) async fn close(stream: &mut (impl AsyncWrite + Unpin), code: u16, reason: &str) -> Option<()> {
    write(stream, CLOSE, &[&code.to_be_bytes()[..], reason.as_bytes()].concat()).await
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), opcode: u8, data: &[u8]) -> Option<()> {
    let mut frame = vec![0x80 | opcode];
    match data.len() {
        short @ 0..126 => frame.push(short as u8),
        middle @ 126..=0xffff => {
            frame.push(126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(data);
    stream.write_all(&frame).await.ok()?;
    stream.flush().await.ok()
}
