use proptest::prelude::*;

use super::*;

fn place() -> Place {
    Place { app: "live".into(), tc_url: "rtmp://example.org/live".into(), key: Secret::new("canary-key?user=u&pass=p") }
}

/// The server's side of a conversation, made of canned bytes.
struct Server {
    writer: Writer,
    chunk_size: usize,
}

impl Server {
    fn new() -> Self {
        Self { writer: Writer::new(), chunk_size: 128 }
    }

    fn message(&self, kind: u8, stream: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.writer.write(&mut out, Header { chunk_stream: 3, kind, stream, time_ms: 0 }, &[body]);
        out
    }

    fn command(&self, values: &[Value]) -> Vec<u8> {
        self.message(kind::COMMAND, 0, &amf::encode(values))
    }

    fn set_chunk_size(&mut self, bytes: u32) -> Vec<u8> {
        let message = self.message(kind::SET_CHUNK_SIZE, 0, &bytes.to_be_bytes());
        self.chunk_size = bytes as usize;
        self.writer.set_chunk_size(self.chunk_size);
        message
    }
}

fn status(level: &str, code: &str) -> Value {
    Value::Object(vec![
        ("level".into(), level.into()),
        ("code".into(), code.into()),
        ("description".into(), "the key canary-key is wrong".into()),
    ])
}

fn handshake() -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.extend((0..2 * HANDSHAKE).map(|n| (n % 251) as u8));
    bytes
}

fn events(protocol: &mut Protocol) -> Vec<Event> {
    std::iter::from_fn(|| protocol.poll_event()).collect()
}

fn output(protocol: &mut Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    protocol.take_output(&mut out);
    out
}

/// Commands and other messages in what a client sent after its handshake.
fn sent(bytes: &[u8]) -> Vec<(u8, Vec<Value>)> {
    let mut reader = Reader::new();
    let mut rest = bytes;
    let mut messages = Vec::new();
    while let Some(message) = reader.next(&mut rest).unwrap() {
        if message.kind == kind::SET_CHUNK_SIZE {
            reader.set_chunk_size(number(&message.body).unwrap() as usize).unwrap();
        }
        let values = if message.kind == kind::COMMAND { amf::decode(&message.body).unwrap() } else { Vec::new() };
        messages.push((message.kind, values));
    }
    messages
}

/// A protocol that was let in, with the server that did so.
fn entered(goal: Goal) -> (Protocol, Server) {
    let mut protocol = Protocol::new(place(), goal, 1);
    protocol.handle(&handshake()).unwrap();
    let server = Server::new();
    protocol
        .handle(&server.command(&["_result".into(), 1.0.into(), Value::Null, status("status", "NetConnection.Connect.Success")]))
        .unwrap();
    (protocol, server)
}

fn publishing() -> (Protocol, Server) {
    let (mut protocol, server) = entered(Goal::Publish);
    protocol.handle(&server.command(&["_result".into(), 4.0.into(), Value::Null, 7.0.into()])).unwrap();
    let start = ["onStatus".into(), 0.0.into(), Value::Null, status("status", "NetStream.Publish.Start")];
    protocol.handle(&server.command(&start)).unwrap();
    (protocol, server)
}

#[test]
fn the_handshake_echoes_what_came_whatever_the_pieces() {
    for piece in [1, 100, 1537, 5000] {
        let mut protocol = Protocol::new(place(), Goal::Publish, 1);
        let begin = output(&mut protocol);
        assert_eq!((begin.len(), begin[0], &begin[1..9]), (1537, 3, &[0; 8][..]));
        for bytes in handshake().chunks(piece) {
            protocol.handle(bytes).unwrap();
        }
        let out = output(&mut protocol);
        assert_eq!(out[..HANDSHAKE], handshake()[1..1 + HANDSHAKE]);
        let messages = sent(&out[HANDSHAKE..]);
        let connect = &messages.last().unwrap().1;
        assert_eq!(connect[0].text(), Some("connect"));
        assert_eq!(connect[2].get("app").and_then(Value::text), Some("live"));
        assert_eq!(events(&mut protocol), [Event::Reached(Step::Handshake), Event::Reached(Step::Enter)]);
    }
    let mut protocol = Protocol::new(place(), Goal::Publish, 1);
    assert_eq!(protocol.handle(b"HTTP/1.1 400"), Err(ProtocolError::Handshake));
}

#[test]
fn a_stream_is_begun_in_the_order_that_servers_expect() {
    let (mut protocol, server) = entered(Goal::Publish);
    let out = output(&mut protocol);
    let names = |out: &[u8]| -> Vec<String> {
        sent(out).into_iter().filter_map(|(_, values)| values.first().and_then(Value::text).map(str::to_owned)).collect()
    };
    assert_eq!(names(&out[1537 + HANDSHAKE..]), ["connect", "releaseStream", "FCPublish", "createStream"]);
    protocol.handle(&server.command(&["_result".into(), 4.0.into(), Value::Null, 7.0.into()])).unwrap();
    let mut reader = Reader::new();
    reader.set_chunk_size(CHUNK_SIZE).unwrap();
    let out = output(&mut protocol);
    let publish = amf::decode(&reader.next(&mut &out[..]).unwrap().unwrap().body).unwrap();
    assert_eq!(publish[0].text(), Some("publish"));
    assert_eq!(publish[3].text(), Some("canary-key?user=u&pass=p"));
    assert_eq!(out[8..12], 7_u32.to_le_bytes(), "on the stream that was made");
    // Nothing is sent before the server lets us.
    protocol.video(0, &[b"picture"]);
    assert!(output(&mut protocol).is_empty());
    let start = ["onStatus".into(), 0.0.into(), Value::Null, status("status", "NetStream.Publish.Start")];
    protocol.handle(&server.command(&start)).unwrap();
    assert_eq!(events(&mut protocol).last(), Some(&Event::Ready));
    protocol.video(5, &[b"pic", b"ture"]);
    assert_eq!(output(&mut protocol), b"\x06\0\0\x05\0\0\x07\x09\x07\0\0\0picture");
    protocol.farewell();
    let out = output(&mut protocol);
    let mut rest = &out[..];
    let names: Vec<_> = std::iter::from_fn(|| reader.next(&mut rest).unwrap())
        .map(|message| amf::decode(&message.body).unwrap()[0].text().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["FCUnpublish", "deleteStream"]);
    protocol.video(6, &[b"picture"]);
    assert!(output(&mut protocol).is_empty(), "nothing after the farewell");
}

#[test]
fn whoever_asks_only_to_enter_sends_no_key() {
    let (mut protocol, _) = entered(Goal::Enter);
    assert_eq!(events(&mut protocol).last(), Some(&Event::Ready));
    protocol.farewell();
    let out = output(&mut protocol);
    assert!(!out.windows(10).any(|bytes| bytes == b"canary-key"));
}

#[test]
fn a_no_is_understood_in_every_form() {
    type Words = Vec<Value>;
    type Stage = fn() -> (Protocol, Server);
    let no: [(&str, Stage, Words, Step); 6] = [
        (
            "connect",
            || {
                let mut p = Protocol::new(place(), Goal::Publish, 1);
                p.handle(&handshake()).unwrap();
                (p, Server::new())
            },
            vec!["_error".into(), 1.0.into(), Value::Null, status("error", "NetConnection.Connect.Rejected")],
            Step::Enter,
        ),
        (
            "close",
            || {
                let mut p = Protocol::new(place(), Goal::Publish, 1);
                p.handle(&handshake()).unwrap();
                (p, Server::new())
            },
            vec!["close".into(), 0.0.into(), Value::Null],
            Step::Enter,
        ),
        ("createStream", || entered(Goal::Publish), vec!["_error".into(), 4.0.into(), Value::Null], Step::Publish),
        (
            "bad name",
            || entered(Goal::Publish),
            vec!["onStatus".into(), 0.0.into(), Value::Null, status("error", "NetStream.Publish.BadName")],
            Step::Publish,
        ),
        ("publish error", || entered(Goal::Publish), vec!["_error".into(), 5.0.into(), Value::Null, Value::Null], Step::Publish),
        (
            "while publishing",
            publishing,
            vec!["onStatus".into(), 0.0.into(), Value::Null, status("error", "NetStream.Failed")],
            Step::Publish,
        ),
    ];
    for (what, begin, words, step) in no {
        let (mut protocol, server) = begin();
        events(&mut protocol);
        protocol.handle(&server.command(&words)).unwrap();
        assert_eq!(events(&mut protocol), [Event::Rejected(step)], "{what}");
        // And once is enough.
        protocol.handle(&server.command(&words)).unwrap();
        assert_eq!(events(&mut protocol), [], "{what}");
    }
    let (mut protocol, server) = publishing();
    events(&mut protocol);
    let words = ["onStatus".into(), 0.0.into(), Value::Null, status("status", "NetStream.Unpublish.Success")];
    protocol.handle(&server.command(&words)).unwrap();
    assert_eq!(events(&mut protocol), [Event::Unpublished]);
}

#[test]
fn courtesies_that_a_server_does_not_know_are_no_refusal() {
    let (mut protocol, server) = entered(Goal::Publish);
    events(&mut protocol);
    for transaction in [2.0, 3.0] {
        protocol.handle(&server.command(&["_error".into(), transaction.into(), Value::Null, Value::Null])).unwrap();
    }
    protocol.handle(&server.command(&["onBWDone".into(), 0.0.into(), Value::Null, 8192.0.into()])).unwrap();
    assert_eq!(events(&mut protocol), []);
}

#[test]
fn pings_chunk_sizes_and_windows_of_the_server_are_obeyed() {
    let (mut protocol, mut server) = publishing();
    output(&mut protocol);
    protocol.handle(&server.message(kind::USER_CONTROL, 0, &[0, 6, 1, 2, 3, 4])).unwrap();
    assert_eq!(output(&mut protocol), b"\x02\0\0\0\0\0\x06\x04\0\0\0\0\0\x07\x01\x02\x03\x04");
    // Two changes of the chunk size, each with a message longer than the size before.
    for size in [1, 50_000] {
        protocol.handle(&server.set_chunk_size(size)).unwrap();
        protocol.handle(&server.message(kind::DATA, 1, &[9; 3000])).unwrap();
        protocol.handle(&server.message(kind::USER_CONTROL, 0, &[0, 6, 9, 9, 9, 9])).unwrap();
        assert_eq!(output(&mut protocol).len(), 18, "chunks of {size}");
    }
    // The server wants to be told every 10 000 bytes how many it has sent in all.
    protocol.handle(&server.message(kind::WINDOW_SIZE, 0, &10_000_u32.to_be_bytes())).unwrap();
    output(&mut protocol);
    let before = protocol.received;
    protocol.handle(&server.message(kind::DATA, 1, &[9; 12_000])).unwrap();
    let out = output(&mut protocol);
    assert_eq!(out[..12], *b"\x02\0\0\0\0\0\x04\x03\0\0\0\0");
    assert_eq!(u64::from(u32::from_be_bytes(out[12..16].try_into().unwrap())), protocol.received);
    assert!(protocol.received > before + 12_000);
}

#[test]
fn what_the_server_counts_is_known_beyond_32_bits() {
    let (mut protocol, server) = publishing();
    assert_eq!(protocol.counted(), None);
    for (low, expected) in [
        (250_000, 250_000),
        (0xffff_0000, 250_000),
        (0x7000_0000, 0x7000_0000),
        (0xe000_0000, 0xe000_0000),
        (0x0000_1000, 0x1_0000_1000_u64),
    ] {
        protocol.handle(&server.message(kind::ACKNOWLEDGEMENT, 0, &u32::to_be_bytes(low))).unwrap();
        assert_eq!(protocol.counted(), Some(expected), "{low:x}");
    }
}

#[test]
fn a_server_that_asks_without_end_is_given_up() {
    let (mut protocol, server) = publishing();
    let pings: Vec<u8> = server.message(kind::USER_CONTROL, 0, &[0, 6, 1, 2, 3, 4]).repeat(10_000);
    assert_eq!(protocol.handle(&pings), Err(ProtocolError::Flood));
}

#[test]
fn nothing_of_a_server_or_key_is_shown() {
    let (mut protocol, server) = entered(Goal::Publish);
    protocol.handle(&server.command(&["onStatus".into(), 0.0.into(), Value::Null, status("error", "x")])).unwrap();
    for shown in [format!("{:?}", protocol.place), format!("{:?}", events(&mut protocol))] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}

proptest! {
    #[test]
    fn no_server_makes_it_panic_or_grow(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..21, Just(0), Just(3), Just(0xc3)], 0..3000),
        stage in 0_u8..3,
        piece in 1_usize..700,
    ) {
        let mut protocol = match stage {
            0 => Protocol::new(place(), Goal::Publish, 1),
            1 => entered(Goal::Publish).0,
            _ => publishing().0,
        };
        output(&mut protocol);
        for bytes in bytes.chunks(piece) {
            if protocol.handle(bytes).is_err() {
                break;
            }
        }
        prop_assert!(output(&mut protocol).len() < MAX_UNSENT_ANSWERS + HANDSHAKE + 4096);
    }

    #[test]
    fn no_command_makes_it_panic(
        names in proptest::collection::vec(
            (prop_oneof![Just("_result"), Just("_error"), Just("onStatus"), Just("close"), Just("x")], -2.0_f64..9.0, any::<f64>()), 0..20),
        stage in 0_u8..3,
    ) {
        let (mut protocol, server) = match stage {
            0 => (Protocol::new(place(), Goal::Publish, 1), Server::new()),
            1 => entered(Goal::Publish),
            _ => publishing(),
        };
        for (name, transaction, value) in names {
            protocol.handle(&server.command(&[name.into(), transaction.round().into(), Value::Null, value.into()])).ok();
        }
    }
}
