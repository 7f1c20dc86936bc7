//! What goes over the private socket from the worker to the monitor.
//!
//! In: packets of the ring. Out: the same on the other side. On the wire each message is a length of four bytes (big endian), a byte that says what it is, and the rest. Pure but for
//! [`Messages::next`], which reads a socket. Refuses messages above [`MAX_MESSAGE_BYTES`].

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use recorder_core::time::SessionTime;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::programme::packet::{CodecHeaders, Packet, Stream};

/// Largest message: far above any picture of 50 Mbit/s.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;

const HEADERS: u8 = 1;
const PICTURE: u8 = 2;
const KEYFRAME: u8 = 3;
const SOUND: u8 = 4;
const GAP: u8 = 5;

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    /// What decoders must know; before the first packet.
    Headers {
        /// AVCDecoderConfigurationRecord.
        avc: Bytes,
        /// AudioSpecificConfig.
        aac: Bytes,
    },
    /// A packet.
    Packet(Received),
    /// Packets were left out, because the reader was slow.
    Gap,
}

/// A packet of the ring, as it arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Received {
    /// Which stream.
    pub(super) stream: Stream,
    /// The programme instant.
    pub(super) pts: SessionTime,
    /// Decoding can begin here.
    pub(super) keyframe: bool,
    /// How much older than the newest packet of the ring it was when it was sent, to the millisecond.
    pub(super) behind: Duration,
    /// The encoded bytes.
    pub(super) data: Bytes,
}

/// Appends the headers to `out`.
pub(super) fn put_headers(out: &mut Vec<u8>, headers: &CodecHeaders) {
    put(out, HEADERS, |out| {
        out.put_u32(headers.avc_config.len() as u32);
        out.put_slice(&headers.avc_config);
        out.put_slice(&headers.aac_config);
    });
}

/// Appends a packet to `out`.
pub(super) fn put_packet(out: &mut Vec<u8>, packet: &Packet, behind: Duration) {
    let kind = match (packet.stream, packet.keyframe) {
        (Stream::Video, true) => KEYFRAME,
        (Stream::Video, false) => PICTURE,
        (Stream::Sound, _) => SOUND,
    };
    put(out, kind, |out| {
        out.put_u64(packet.pts.as_nanos());
        out.put_u32(u32::try_from(behind.as_millis()).unwrap_or(u32::MAX));
        out.put_slice(&packet.data);
    });
}

/// Appends the word for left out packets to `out`.
pub(super) fn put_gap(out: &mut Vec<u8>) {
    put(out, GAP, |_| {});
}

fn put(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.put_u32(0);
    out.put_u8(kind);
    body(out);
    let length = (out.len() - begin - LENGTH_BYTES) as u32;
    out[begin..begin + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Reads messages.
pub(super) struct Messages<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    /// Reads from here.
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::with_capacity(64 << 10) }
    }

    /// The next message, `None` when the other side is gone. May be cancelled at any time without loss.
    ///
    /// # Errors
    /// I/O, and what is no message; nothing useful can follow.
    pub(super) async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = take(&mut self.buffer)? {
                return Ok(Some(message));
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

fn take(buffer: &mut BytesMut) -> io::Result<Option<Message>> {
    let Some(header) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*header) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the worker is too large"));
    }
    if buffer.len() < LENGTH_BYTES + length {
        buffer.reserve(LENGTH_BYTES + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    let message = buffer.split_to(length).freeze();
    parse(message)
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message of the worker is not understood"))
}

fn parse(mut message: Bytes) -> Option<Message> {
    let kind = message.try_get_u8().ok()?;
    match kind {
        HEADERS => {
            let length = message.try_get_u32().ok()? as usize;
            (length <= message.len()).then(|| Message::Headers { avc: message.split_to(length), aac: message })
        }
        PICTURE | KEYFRAME | SOUND => {
            let pts = SessionTime::from_nanos(message.try_get_u64().ok()?);
            let behind = Duration::from_millis(message.try_get_u32().ok()?.into());
            let stream = if kind == SOUND { Stream::Sound } else { Stream::Video };
            Some(Message::Packet(Received { stream, pts, keyframe: kind != PICTURE, behind, data: message }))
        }
        GAP => Some(Message::Gap),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_as_they_were_sent() {
        let headers = CodecHeaders {
            avc_config: b"avc"[..].into(),
            aac_config: b"aac1"[..].into(),
            width_px: 16,
            height_px: 16,
            fps: 30,
            sample_rate_hz: 48_000,
            channels: 2,
        };
        let packet = |stream, keyframe| Packet {
            stream,
            pts: SessionTime::from_millis(77),
            duration: Duration::from_millis(33),
            keyframe,
            data: b"data"[..].into(),
        };
        let mut wire = Vec::new();
        put_headers(&mut wire, &headers);
        put_packet(&mut wire, &packet(Stream::Video, true), Duration::from_millis(5));
        put_packet(&mut wire, &packet(Stream::Video, false), Duration::ZERO);
        put_gap(&mut wire);
        put_packet(&mut wire, &packet(Stream::Sound, true), Duration::ZERO);
        let mut messages = Messages::new(&wire[..]);
        let received = |stream, keyframe, ms| {
            let (pts, behind) = (SessionTime::from_millis(77), Duration::from_millis(ms));
            Message::Packet(Received { stream, pts, keyframe, behind, data: Bytes::from_static(b"data") })
        };
        let expected = [
            Message::Headers { avc: Bytes::from_static(b"avc"), aac: Bytes::from_static(b"aac1") },
            received(Stream::Video, true, 5),
            received(Stream::Video, false, 0),
            Message::Gap,
            received(Stream::Sound, true, 0),
        ];
        for message in expected {
            assert_eq!(messages.next().await.unwrap(), Some(message));
        }
        assert_eq!(messages.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        for wire in [
            &[0xff, 0, 0, 0][..],
            &[0, 0, 0, 1, 9],
            &[0, 0, 0, 0],
            &[0, 0, 0, 3, PICTURE, 1, 1],
            &[0, 0, 0, 6, HEADERS, 0, 0, 0, 9, 1],
        ] {
            assert!(Messages::new(wire).next().await.is_err(), "{wire:?}");
        }
    }
}
