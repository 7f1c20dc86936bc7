use proptest::prelude::*;

use super::*;

const COMMAND: Header = Header { chunk_stream: 3, kind: kind::COMMAND, stream: 0, time_ms: 0 };

fn written(chunk_size: usize, header: Header, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.set_chunk_size(chunk_size);
    let mut out = Vec::new();
    writer.write(&mut out, header, &[body]);
    out
}

/// Everything that a reader makes of bytes that come in pieces of this size.
fn read(reader: &mut Reader, bytes: &[u8], piece: usize) -> Result<Vec<Message>, ChunkError> {
    let mut messages = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while let Some(message) = reader.next(&mut piece)? {
            messages.push(message);
        }
    }
    Ok(messages)
}

#[test]
fn a_message_has_a_full_header_and_is_cut_into_chunks() {
    let header = Header { chunk_stream: 4, kind: kind::VIDEO, stream: 1, time_ms: 0x01_0203 };
    let out = written(4, header, b"abcdefghij");
    assert_eq!(out, b"\x04\x01\x02\x03\0\0\x0a\x09\x01\0\0\0abcd\xc4efgh\xc4ij");
    assert_eq!(written(4, header, b"abcd"), b"\x04\x01\x02\x03\0\0\x04\x09\x01\0\0\0abcd");
    assert_eq!(written(4, header, b""), b"\x04\x01\x02\x03\0\0\0\x09\x01\0\0\0");
}

#[test]
fn times_from_2_to_the_24_on_are_extended_in_every_chunk() {
    let header = |time_ms| Header { chunk_stream: 5, kind: kind::SOUND, stream: 1, time_ms };
    assert_eq!(written(2, header(0xff_fffe), b"abc"), b"\x05\xff\xff\xfe\0\0\x03\x08\x01\0\0\0ab\xc5c");
    assert_eq!(
        written(2, header(0xff_ffff), b"abc"),
        b"\x05\xff\xff\xff\0\0\x03\x08\x01\0\0\0\x00\xff\xff\xffab\xc5\x00\xff\xff\xffc"
    );
    assert_eq!(written(2, header(0x0100_0000), b"abc"), b"\x05\xff\xff\xff\0\0\x03\x08\x01\0\0\0\x01\0\0\0ab\xc5\x01\0\0\0c");
    assert_eq!(written(9, header(u32::MAX), b"a"), b"\x05\xff\xff\xff\0\0\x01\x08\x01\0\0\0\xff\xff\xff\xffa");
}

#[test]
fn messages_are_put_together_whatever_the_pieces() {
    let mut bytes = written(128, COMMAND, &[7; 300]);
    bytes.extend(written(128, Header { time_ms: 0x0100_0000, ..COMMAND }, &[8; 129]));
    bytes.extend(written(128, Header { chunk_stream: 2, kind: kind::WINDOW_SIZE, ..COMMAND }, &[0, 0, 0, 9]));
    for piece in [1, 2, 3, 50, 10_000] {
        let messages = read(&mut Reader::new(), &bytes, piece).unwrap();
        let got: Vec<_> = messages.iter().map(|m| (m.kind, m.body.len())).collect();
        assert_eq!(got, [(kind::COMMAND, 300), (kind::COMMAND, 129), (kind::WINDOW_SIZE, 4)], "pieces of {piece}");
    }
}

#[test]
fn compressed_headers_and_interleaved_messages_are_understood() {
    // Stream 3 begins a command of 4 bytes in chunks of 2, stream 2 comes between, then types 1, 2 and 3 follow.
    let bytes = [
        &b"\x03\0\0\x01\0\0\x04\x14\0\0\0\0ab"[..],
        b"\x02\0\0\0\0\0\x01\x04\0\0\0\0x",
        b"\xc3cd",
        b"\x43\0\0\x01\0\0\x02\x14ef",
        b"\x83\0\0\x01gh",
        b"\xc3ij",
    ]
    .concat();
    for piece in [1, 1000] {
        let mut reader = Reader::new();
        reader.set_chunk_size(2).unwrap();
        let messages = read(&mut reader, &bytes, piece).unwrap();
        let bodies: Vec<_> = messages.iter().map(|m| m.body.as_slice()).collect();
        assert_eq!(bodies, [&b"x"[..], b"abcd", b"ef", b"gh", b"ij"]);
    }
}

#[test]
fn chunk_streams_of_two_and_three_bytes_are_understood() {
    for start in [&b"\x00\x05"[..], b"\x01\x05\x01"] {
        let bytes = [start, b"\0\0\0\0\0\x01\x14\0\0\0\0x"].concat();
        assert_eq!(read(&mut Reader::new(), &bytes, 1).unwrap()[0].body, b"x");
    }
}

#[test]
fn a_changed_chunk_size_and_an_aborted_message_are_obeyed() {
    let mut reader = Reader::new();
    // The first of two chunks: 12 bytes of header, 128 of body.
    assert_eq!(read(&mut reader, &written(128, COMMAND, &[1; 200])[..140], 50).unwrap(), []);
    reader.abort(3);
    // Type 3: a message like the one before, from its beginning.
    let again = [&[0xc3][..], &[2; 128], &[0xc3], &[2; 72]].concat();
    assert_eq!(read(&mut reader, &again, 50).unwrap()[0].body, [2; 200]);
    let mut reader = Reader::new();
    reader.set_chunk_size(4096).unwrap();
    assert_eq!(read(&mut reader, &written(4096, COMMAND, &[2; 3000]), 77).unwrap()[0].body, [2; 3000]);
    assert_eq!(reader.set_chunk_size(0), Err(ChunkError::ChunkSize));
}

#[test]
fn what_no_server_needs_is_refused() {
    assert_eq!(read(&mut Reader::new(), b"\xc3", 1), Err(ChunkError::NoHeader));
    assert_eq!(read(&mut Reader::new(), b"\x03\0\0\0\xff\xff\xff\x14\0\0\0\0", 1), Err(ChunkError::TooLong));
    let many: Vec<u8> = (2..60).flat_map(|id| [id, 0, 0, 0, 0, 0, 9, 20, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]).collect();
    assert_eq!(read(&mut Reader::new(), &many, 99), Err(ChunkError::TooManyStreams));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_grow(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xc3), Just(3)], 0..4000),
        piece in 1_usize..500,
        chunk_size in 1_usize..100_000,
    ) {
        let mut reader = Reader::new();
        reader.set_chunk_size(chunk_size).unwrap();
        let _ = read(&mut reader, &bytes, piece);
        let held: usize = reader.streams.values().map(|partial| partial.body.len()).sum();
        prop_assert!(held <= MAX_PARTIAL && reader.streams.len() <= MAX_STREAMS && reader.head.len() <= 18);
    }

    #[test]
    fn what_is_written_is_read(
        bodies in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..2000), any::<u32>(), 2_u8..20), 1..12),
        chunk_size in 1_usize..3000,
        piece in 1_usize..3000,
    ) {
        let mut bytes = Vec::new();
        for (body, time_ms, chunk_stream) in &bodies {
            let header = Header { chunk_stream: *chunk_stream, kind: kind::COMMAND, stream: 0, time_ms: *time_ms };
            bytes.extend(written(chunk_size, header, body));
        }
        let mut reader = Reader::new();
        reader.set_chunk_size(chunk_size).unwrap();
        let got = read(&mut reader, &bytes, piece).unwrap();
        prop_assert_eq!(got.len(), bodies.len());
        for (message, (body, ..)) in got.iter().zip(&bodies) {
            prop_assert_eq!(&message.body, body);
        }
    }
}
