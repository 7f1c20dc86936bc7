//! The client side of RTMP publishing (Adobe RTMP 1.0, sections 5.2 and 7.2): from the handshake to the farewell.
//!
//! In: bytes from the server, media to send. Out: bytes for the server, and [`Event`]s. Pure: no socket, no clock. It never repeats a server's words, which may
//! hold the stream key, and it holds a bounded amount of whatever a server sends.

use std::collections::VecDeque;

use recorder_core::live::Step;
use recorder_core::secret::Secret;

use super::amf::{self, AmfError, Value};
use super::chunk::{ChunkError, Header, Message, Reader, Writer, kind};

/// C1, C2, S1 and S2 are so long.
const HANDSHAKE: usize = 1536;
const VERSION: u8 = 3;
/// The chunk size that nearly all publishers use.
const CHUNK_SIZE: usize = 4096;
/// The server is asked to say so whenever it has got so many bytes more: every second or two of a stream, so that silence is noticed.
pub(super) const COUNT_STEP: u32 = 250_000;
/// Answers to a server that does not read them.
const MAX_UNSENT_ANSWERS: usize = 64 * 1024;
/// Chunk streams of ours; all below 32, because some servers know no more.
const CONTROL: u8 = 2;
const COMMANDS: u8 = 3;
const SOUND: u8 = 4;
const VIDEO: u8 = 6;
const STREAM_COMMANDS: u8 = 8;

/// Transactions: the number of each command that is answered.
const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const PUBLISH: f64 = 5.0;

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    /// Until the application is open.
    Enter,
    /// Until the stream may be sent.
    Publish,
}

/// What the server let us know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// On to this step.
    Reached(Step),
    /// The goal is reached.
    Ready,
    /// The server said no.
    Rejected(Step),
    /// The server ended the stream.
    Unpublished,
}

/// The server does not keep to the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("the handshake is of another protocol")]
    Handshake,
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    Amf(#[from] AmfError),
    #[error("a control message is too short")]
    Control,
    #[error("the server asks faster than it reads")]
    Flood,
}

/// Where to publish, as the server understands it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The application.
    pub(super) app: String,
    /// The address without the key.
    pub(super) tc_url: String,
    /// The stream's name.
    pub(super) key: Secret,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// S0, S1 and S2 are coming.
    Handshake,
    Entering,
    Creating,
    Publishing,
    Ready,
    /// Said goodbye, or was told no.
    Over,
}

/// One connection to a server.
#[derive(Debug)]
pub(super) struct Protocol {
    place: Place,
    goal: Goal,
    stage: Stage,
    /// S0, S1, S2 as far as they came.
    handshake: Vec<u8>,
    has_echoed: bool,
    reader: Reader,
    writer: Writer,
    out: Vec<u8>,
    events: VecDeque<Event>,
    stream: u32,
    received: u64,
    /// Bytes after which the server wants an acknowledgement, and the number in our last one.
    wanted_step: u64,
    acknowledged: u64,
    /// What the server has counted; 32 bits on the wire.
    counted: Option<u64>,
}

impl Protocol {
    /// Begins: the first bytes to send are ready. `seed` fills the handshake, where any bytes will do.
    pub(super) fn new(place: Place, goal: Goal, seed: u64) -> Self {
        let mut out = vec![VERSION];
        // C1: time zero, four zeros (which says: the simple handshake), and filling (section 5.2.3).
        out.extend_from_slice(&[0; 8]);
        let mut filling = seed | 1;
        while out.len() < 1 + HANDSHAKE {
            filling = filling.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            out.push((filling >> 56) as u8);
        }
        Self {
            place,
            goal,
            stage: Stage::Handshake,
            handshake: Vec::with_capacity(1 + 2 * HANDSHAKE),
            has_echoed: false,
            reader: Reader::new(),
            writer: Writer::new(),
            out,
            events: VecDeque::from([Event::Reached(Step::Handshake)]),
            stream: 0,
            received: 0,
            wanted_step: 0,
            acknowledged: 0,
            counted: None,
        }
    }

    /// Takes bytes from the server.
    ///
    /// # Errors
    /// See [`ProtocolError`]. Nothing after it makes sense.
    pub(super) fn handle(&mut self, mut bytes: &[u8]) -> Result<(), ProtocolError> {
        self.received += bytes.len() as u64;
        if self.stage == Stage::Handshake && !self.shake(&mut bytes)? {
            return Ok(());
        }
        let unsent = self.out.len();
        while let Some(message) = self.reader.next(&mut bytes)? {
            self.message(&message)?;
            if self.out.len() > unsent + MAX_UNSENT_ANSWERS {
                return Err(ProtocolError::Flood);
            }
        }
        if self.wanted_step > 0 && self.received - self.acknowledged >= self.wanted_step {
            self.acknowledged = self.received;
            self.control(kind::ACKNOWLEDGEMENT, &(self.received as u32).to_be_bytes());
        }
        Ok(())
    }

    /// What the server let us know next.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes the bytes that are to be sent.
    pub(super) fn take_output(&mut self, into: &mut Vec<u8>) {
        into.append(&mut self.out);
    }

    /// Bytes that the server says it has got, since it first said so.
    pub(super) fn counted(&self) -> Option<u64> {
        self.counted
    }

    /// Sends a picture, or its codec header. The body is the parts one after another. Nothing is sent before [`Event::Ready`].
    pub(super) fn video(&mut self, time_ms: u32, parts: &[&[u8]]) {
        self.media(Header { chunk_stream: VIDEO, kind: kind::VIDEO, stream: self.stream, time_ms }, parts);
    }

    /// Sends sound, or its codec header.
    pub(super) fn sound(&mut self, time_ms: u32, parts: &[&[u8]]) {
        self.media(Header { chunk_stream: SOUND, kind: kind::SOUND, stream: self.stream, time_ms }, parts);
    }

    /// Sends the description of the stream.
    pub(super) fn metadata(&mut self, body: &[u8]) {
        self.media(Header { chunk_stream: SOUND, kind: kind::DATA, stream: self.stream, time_ms: 0 }, &[body]);
    }

    /// Says goodbye: the server learns that the stream has ended, and need not wait for its return.
    pub(super) fn farewell(&mut self) {
        if self.stage == Stage::Ready && self.goal == Goal::Publish {
            let key = Value::from(self.place.key.expose());
            self.command(0, &["FCUnpublish".into(), 6.0.into(), Value::Null, key]);
            self.command(0, &["deleteStream".into(), 7.0.into(), Value::Null, f64::from(self.stream).into()]);
        }
        self.stage = Stage::Over;
    }

    /// As after all answers of a server, with nothing to send.
    #[cfg(test)]
    pub(super) fn made_ready(place: Place, goal: Goal) -> Self {
        let mut protocol = Self::new(place, goal, 1);
        protocol.out.clear();
        protocol.writer.set_chunk_size(CHUNK_SIZE);
        (protocol.stage, protocol.stream) = (Stage::Ready, 1);
        protocol
    }

    fn media(&mut self, header: Header, parts: &[&[u8]]) {
        if self.stage == Stage::Ready && self.goal == Goal::Publish {
            self.writer.write(&mut self.out, header, parts);
        }
    }

    /// Takes the handshake's bytes; true when it is done.
    fn shake(&mut self, bytes: &mut &[u8]) -> Result<bool, ProtocolError> {
        let missing = 1 + 2 * HANDSHAKE - self.handshake.len();
        let (now, later) = bytes.split_at(bytes.len().min(missing));
        self.handshake.extend_from_slice(now);
        *bytes = later;
        if self.handshake.first().is_some_and(|version| *version != VERSION) {
            return Err(ProtocolError::Handshake);
        }
        if !self.has_echoed
            && let Some(s1) = self.handshake.get(1..1 + HANDSHAKE)
        {
            // C2 is S1 again. Its second time may be anything.
            self.out.extend_from_slice(s1);
            self.has_echoed = true;
        }
        if self.handshake.len() < 1 + 2 * HANDSHAKE {
            return Ok(false);
        }
        // What S2 holds is not compared: servers with the digest handshake send something else.
        self.handshake = Vec::new();
        self.enter();
        Ok(true)
    }

    fn enter(&mut self) {
        self.stage = Stage::Entering;
        self.events.push_back(Event::Reached(Step::Enter));
        self.control(kind::SET_CHUNK_SIZE, &(CHUNK_SIZE as u32).to_be_bytes());
        self.writer.set_chunk_size(CHUNK_SIZE);
        self.control(kind::WINDOW_SIZE, &COUNT_STEP.to_be_bytes());
        let description = vec![
            ("app".to_owned(), self.place.app.as_str().into()),
            ("type".to_owned(), "nonprivate".into()),
            // Servers know publishers by this name, and accept what follows it.
            ("flashVer".to_owned(), concat!("FMLE/3.0 (compatible; Roomcast/", env!("CARGO_PKG_VERSION"), ")").into()),
            ("tcUrl".to_owned(), self.place.tc_url.as_str().into()),
        ];
        self.command(0, &["connect".into(), CONNECT.into(), Value::Object(description)]);
    }

    fn message(&mut self, message: &Message) -> Result<(), ProtocolError> {
        let body = message.body.as_slice();
        match message.kind {
            kind::SET_CHUNK_SIZE => self.reader.set_chunk_size(number(body)? as usize & 0x7fff_ffff)?,
            kind::ABORT => self.reader.abort(number(body)?),
            kind::ACKNOWLEDGEMENT => self.count(number(body)?),
            kind::WINDOW_SIZE => self.wanted_step = u64::from(number(body)?),
            kind::USER_CONTROL => {
                // PingRequest is answered with its own time (section 7.1.7); other events are about playing.
                if let Some([0, 6, time @ ..]) = body.get(..6) {
                    let answer = [&[0, 7], time].concat();
                    self.control(kind::USER_CONTROL, &answer);
                }
            }
            kind::COMMAND => self.heard(&amf::decode(body)?),
            // One byte that says: AMF0 follows after all.
            kind::COMMAND_AMF3 => self.heard(&amf::decode(body.get(1..).unwrap_or_default())?),
            _ => {}
        }
        Ok(())
    }

    /// A server counts in 32 bits.
    fn count(&mut self, low: u32) {
        let before = self.counted.unwrap_or(0);
        let step = low.wrapping_sub(before as u32);
        // A step back is a server that counts wrongly, not a wrap.
        let is_forward = step < u32::MAX / 2;
        self.counted = Some(if is_forward { before + u64::from(step) } else { before });
    }

    fn heard(&mut self, values: &[Value]) {
        let [name, rest @ ..] = values else { return };
        let transaction = rest.first().and_then(Value::number).unwrap_or(0.0);
        match name.text() {
            Some("_result") => self.result(transaction, rest),
            Some("_error") => self.error(transaction),
            Some("onStatus") => {
                let information = rest.iter().find(|value| value.get("code").is_some());
                self.status(information);
            }
            // Some servers say no in this way, and hang up.
            Some("close") => self.say_no(),
            _ => {}
        }
    }

    fn result(&mut self, transaction: f64, rest: &[Value]) {
        if self.stage == Stage::Entering && transaction == CONNECT {
            if self.goal == Goal::Enter {
                return self.ready();
            }
            self.stage = Stage::Creating;
            self.events.push_back(Event::Reached(Step::Publish));
            let key = Value::from(self.place.key.expose());
            self.command(0, &["releaseStream".into(), RELEASE_STREAM.into(), Value::Null, key.clone()]);
            self.command(0, &["FCPublish".into(), FC_PUBLISH.into(), Value::Null, key]);
            self.command(0, &["createStream".into(), CREATE_STREAM.into(), Value::Null]);
        } else if self.stage == Stage::Creating && transaction == CREATE_STREAM {
            self.stream = rest.get(2).and_then(Value::number).unwrap_or(1.0) as u32;
            self.stage = Stage::Publishing;
            let key = Value::from(self.place.key.expose());
            self.command(self.stream, &["publish".into(), PUBLISH.into(), Value::Null, key, "live".into()]);
        }
    }

    fn error(&mut self, transaction: f64) {
        // releaseStream and FCPublish are courtesies that many servers do not know.
        if transaction != RELEASE_STREAM && transaction != FC_PUBLISH {
            self.say_no();
        }
    }

    fn status(&mut self, information: Option<&Value>) {
        let word = |name| information.and_then(|value| value.get(name)).and_then(Value::text).unwrap_or("");
        match (word("code"), self.stage) {
            ("NetStream.Publish.Start", Stage::Publishing) => self.ready(),
            (
                "NetStream.Unpublish.Success"
                | "NetStream.Publish.Stop"
                | "NetConnection.Connect.Closed"
                | "NetConnection.Connect.ReconnectRequest",
                Stage::Ready,
            ) => {
                self.events.push_back(Event::Unpublished);
                self.stage = Stage::Over;
            }
            _ if word("level") == "error" => self.say_no(),
            _ => {}
        }
    }

    fn ready(&mut self) {
        self.stage = Stage::Ready;
        self.events.push_back(Event::Ready);
    }

    fn say_no(&mut self) {
        let step = match self.stage {
            Stage::Handshake | Stage::Entering => Step::Enter,
            Stage::Creating | Stage::Publishing | Stage::Ready => Step::Publish,
            Stage::Over => return,
        };
        self.stage = Stage::Over;
        self.events.push_back(Event::Rejected(step));
    }

    fn command(&mut self, stream: u32, values: &[Value]) {
        let chunk_stream = if stream == 0 { COMMANDS } else { STREAM_COMMANDS };
        let header = Header { chunk_stream, kind: kind::COMMAND, stream, time_ms: 0 };
        self.writer.write(&mut self.out, header, &[&amf::encode(values)]);
    }

    fn control(&mut self, kind: u8, body: &[u8]) {
        self.writer.write(&mut self.out, Header { chunk_stream: CONTROL, kind, stream: 0, time_ms: 0 }, &[body]);
    }
}

fn number(body: &[u8]) -> Result<u32, ProtocolError> {
    body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or(ProtocolError::Control)
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
