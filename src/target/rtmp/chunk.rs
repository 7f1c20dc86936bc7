//! The chunk stream of RTMP (Adobe RTMP 1.0, section 5.3): messages cut into chunks, and put together again.
//!
//! In: messages to send, bytes that arrived. Out: bytes to send, messages that arrived. Pure. It refuses messages and numbers of streams that no server needs,
//! so that a stranger cannot make it hold more than about 300 kB.
//!
//! Every message is sent with a full header (type 0). That costs 8 bytes a message, and spares what goes wrong in header compression: deltas over the
//! 32-bit wrap, and deltas to a message that a server has thrown away.

use std::collections::BTreeMap;

/// Chunk size until the other side says another (section 5.4.1).
const FIRST_CHUNK_SIZE: usize = 128;
/// Times from here on stand in the extended field (section 5.3.1.3).
const EXTENDED: u32 = 0xff_ffff;
/// A server's messages are commands of a few hundred bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// All messages that are not complete together.
const MAX_PARTIAL: usize = 256 * 1024;
/// Chunk streams that a server may use.
const MAX_STREAMS: usize = 32;

/// Kinds of messages (sections 5.4 and 7.1).
pub(super) mod kind {
    pub(crate) const SET_CHUNK_SIZE: u8 = 1;
    pub(crate) const ABORT: u8 = 2;
    pub(crate) const ACKNOWLEDGEMENT: u8 = 3;
    pub(crate) const USER_CONTROL: u8 = 4;
    pub(crate) const WINDOW_SIZE: u8 = 5;
    pub(crate) const SOUND: u8 = 8;
    pub(crate) const VIDEO: u8 = 9;
    pub(crate) const COMMAND_AMF3: u8 = 17;
    pub(crate) const DATA: u8 = 18;
    pub(crate) const COMMAND: u8 = 20;
}

/// A message that arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

/// The bytes are no chunk stream, or one that is too large for a server's answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ChunkError {
    #[error("a chunk refers to a chunk stream that was not begun")]
    NoHeader,
    #[error("a message is longer than any answer")]
    TooLong,
    #[error("too many chunk streams")]
    TooManyStreams,
    #[error("a chunk size of nothing")]
    ChunkSize,
}

/// Cuts messages.
#[derive(Debug)]
pub(super) struct Writer {
    chunk_size: usize,
}

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// Chunk stream, 2 to 63.
    pub(super) chunk_stream: u8,
    pub(super) kind: u8,
    /// Message stream: 0 for the connection, else what createStream gave.
    pub(super) stream: u32,
    /// Milliseconds, modulo 2^32.
    pub(super) time_ms: u32,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { chunk_size: FIRST_CHUNK_SIZE }
    }

    /// Of all messages from now on; the other side is told by a message before.
    pub(super) fn set_chunk_size(&mut self, bytes: usize) {
        self.chunk_size = bytes.max(1);
    }

    /// Appends a message, whose body is `parts` one after another, to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>, header: Header, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let extended = (header.time_ms >= EXTENDED).then(|| header.time_ms.to_be_bytes());
        out.reserve(length + 16 + length / self.chunk_size * 5);
        out.push(header.chunk_stream & 0x3f);
        out.extend_from_slice(&header.time_ms.min(EXTENDED).to_be_bytes()[1..]);
        out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        out.push(header.kind);
        out.extend_from_slice(&header.stream.to_le_bytes());
        out.extend_from_slice(extended.as_ref().map_or(&[][..], |time| time));
        let mut room = self.chunk_size;
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                if room == 0 {
                    // The time is repeated in every chunk of the message.
                    out.push(0xc0 | header.chunk_stream & 0x3f);
                    out.extend_from_slice(extended.as_ref().map_or(&[][..], |time| time));
                    room = self.chunk_size;
                }
                let (now, later) = rest.split_at(rest.len().min(room));
                out.extend_from_slice(now);
                room -= now.len();
                rest = later;
            }
        }
    }
}

/// Puts messages together.
#[derive(Debug)]
pub(super) struct Reader {
    chunk_size: usize,
    /// Bytes of a header that is not complete: at most 18.
    head: Vec<u8>,
    streams: BTreeMap<u32, Partial>,
    /// The chunk stream whose chunk's body comes next, and the bytes of it that are missing.
    body: Option<(u32, usize)>,
}

/// A chunk stream, and its message in the making.
#[derive(Default, Debug)]
struct Partial {
    kind: u8,
    length: usize,
    has_extended: bool,
    body: Vec<u8>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { chunk_size: FIRST_CHUNK_SIZE, head: Vec::with_capacity(18), streams: BTreeMap::new(), body: None }
    }

    /// As the other side has said.
    ///
    /// # Errors
    /// A size of nothing.
    pub(super) fn set_chunk_size(&mut self, bytes: usize) -> Result<(), ChunkError> {
        self.chunk_size = bytes;
        if bytes == 0 { Err(ChunkError::ChunkSize) } else { Ok(()) }
    }

    /// Throws away what has come of a message (section 5.4.2).
    pub(super) fn abort(&mut self, chunk_stream: u32) {
        if let Some(partial) = self.streams.get_mut(&chunk_stream) {
            partial.body.clear();
        }
    }

    /// Takes bytes off the front of `bytes` until a message is complete, or all are taken.
    ///
    /// # Errors
    /// See [`ChunkError`]. Nothing after it makes sense.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            let Some((id, missing)) = self.body else {
                if !self.read_header(bytes)? {
                    return Ok(None);
                }
                continue;
            };
            let (now, later) = bytes.split_at(bytes.len().min(missing));
            *bytes = later;
            let held: usize = self.streams.values().map(|partial| partial.body.len()).sum();
            let Some(partial) = self.streams.get_mut(&id) else { return Err(ChunkError::NoHeader) };
            if held + now.len() > MAX_PARTIAL {
                return Err(ChunkError::TooLong);
            }
            partial.body.extend_from_slice(now);
            if now.len() < missing {
                self.body = Some((id, missing - now.len()));
                return Ok(None);
            }
            self.body = None;
            if partial.body.len() >= partial.length {
                return Ok(Some(Message { kind: partial.kind, body: std::mem::take(&mut partial.body) }));
            }
        }
    }

    /// Takes the bytes of one header; false when they are not complete.
    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<bool, ChunkError> {
        loop {
            if let Some(header) = self.parse_header()? {
                self.head.clear();
                self.body = Some(header);
                return Ok(true);
            }
            let Some((first, rest)) = bytes.split_first() else { return Ok(false) };
            self.head.push(*first);
            *bytes = rest;
        }
    }

    /// The chunk stream and the length of the chunk's body, when the header is complete.
    fn parse_header(&mut self) -> Result<Option<(u32, usize)>, ChunkError> {
        let head = &self.head[..];
        let (format, id, rest) = match head {
            [] => return Ok(None),
            [first, rest @ ..] => match (first & 0x3f, rest) {
                (0, [low, rest @ ..]) => (first >> 6, u32::from(*low) + 64, rest),
                (1, [low, high, rest @ ..]) => (first >> 6, u32::from(*high) * 256 + u32::from(*low) + 64, rest),
                (0 | 1, _) => return Ok(None),
                (id, rest) => (first >> 6, u32::from(id), rest),
            },
        };
        let known = self.streams.get(&id);
        if format != 0 && known.is_none() {
            return Err(ChunkError::NoHeader);
        }
        let fields = [11, 7, 3, 0][usize::from(format)];
        let Some((fields, rest)) = rest.split_at_checked(fields) else { return Ok(None) };
        let number = |at: usize| fields.get(at..at + 3).map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]));
        let has_extended = match number(0) {
            Some(time) => time == EXTENDED,
            None => known.is_some_and(|partial| partial.has_extended),
        };
        if has_extended && rest.len() < 4 {
            return Ok(None);
        }
        if known.is_none() && self.streams.len() >= MAX_STREAMS {
            return Err(ChunkError::TooManyStreams);
        }
        let partial = self.streams.entry(id).or_default();
        partial.has_extended = has_extended;
        if let Some(length) = number(3) {
            // A new message although the last one is not complete: that one will never be.
            partial.body.clear();
            partial.length = length as usize;
            partial.kind = fields[6];
        } else if format == 2 {
            partial.body.clear();
        }
        if partial.length > MAX_MESSAGE {
            return Err(ChunkError::TooLong);
        }
        Ok(Some((id, (partial.length - partial.body.len()).min(self.chunk_size))))
    }
}

#[cfg(test)]
mod tests;
