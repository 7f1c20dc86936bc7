//! What `payload` promises, on bytes alone.

use proptest::prelude::*;

use super::*;

const CODECS: [Codec; 3] = [Codec::Vp8, Codec::Vp9, Codec::H264];

/// The frame of these payloads, read and put together.
fn frame(codec: Codec, payloads: &[&[u8]]) -> Result<Vec<u8>, Unreadable> {
    let mut assembly = Assembly::default();
    for payload in payloads {
        assembly.add(codec, read(codec, payload)?, payload)?;
    }
    assembly.finish()
}

fn said(codec: Codec, payload: &[u8]) -> (Begins, bool) {
    let piece = read(codec, payload).unwrap();
    (piece.begins, piece.keyframe)
}

#[test]
fn vp8_descriptors_of_all_lengths_are_taken_off() {
    // RFC 7741 section 4.2: none, short and long picture number, with number of the base frame, with layer.
    let descriptors: [&[u8]; 5] =
        [&[0x10], &[0x90, 0x80, 5], &[0x90, 0x80, 0x81, 5], &[0x90, 0xc0 | 0x20, 5, 7, 0x60], &[0x90, 0x10, 3]];
    for descriptor in descriptors {
        let payload = [descriptor, &[0x10, 2, 3]].concat();
        assert_eq!(frame(Codec::Vp8, &[&payload]).unwrap(), [0x10, 2, 3], "{descriptor:x?}");
        assert_eq!(said(Codec::Vp8, &payload), (Begins::Yes, true), "{descriptor:x?}");
        assert_eq!(read(Codec::Vp8, descriptor), Err(Unreadable), "{descriptor:x?}");
    }
    assert_eq!(said(Codec::Vp8, &[0x10, 0x11]), (Begins::Yes, false));
    assert_eq!(said(Codec::Vp8, &[0x00, 0x10]), (Begins::No, false));
    assert_eq!(said(Codec::Vp8, &[0x11, 0x10]), (Begins::No, false), "the second partition");
    assert_eq!(frame(Codec::Vp8, &[&[0x10, 0x11, 1], &[0x00, 2], &[0x01, 3]]).unwrap(), [0x11, 1, 2, 3]);
}

#[test]
fn vp8_layers_are_read_where_they_are_told_whole() {
    let layer = |payload: &[u8]| read(Codec::Vp8, payload).unwrap().layer;
    assert_eq!(layer(&[0x90, 0xe0, 5, 7, 0x60, 0x11]), Some(Layer { base: 7, number: 1, sync: true }));
    assert_eq!(layer(&[0x90, 0xe0, 5, 9, 0x80, 0x11]), Some(Layer { base: 9, number: 2, sync: false }));
    assert_eq!(layer(&[0x90, 0xa0, 5, 0x80, 0x11]), None, "without the number of the base frame");
    assert_eq!(layer(&[0x90, 0x40, 7, 0x11]), None, "without that of the layer");
}

#[test]
fn vp9_descriptors_of_all_kinds_are_taken_off() {
    // RFC 9628 section 4.2, figures 1 and 2: I P L F B E V Z.
    let structure: &[u8] = &[0b1000_1010, 0x81, 5, 0b0011_1000, 2, 128, 1, 104, 5, 0, 2, 208, 1, 0b0000_1000, 1, 2];
    let descriptors: [(&[u8], bool); 6] = [
        (&[0b0000_1100], true),
        (&[0b1000_1100, 5], true),
        (&[0b1110_1100, 0x81, 5, 0x00, 9], false),
        (&[0b1101_1100, 5, 0b0000_0011, 0b0000_0101, 0b0000_0110], false),
        (&[0b1011_1100, 5, 0x00], true),
        (structure, true),
    ];
    for (descriptor, keyframe) in descriptors {
        let payload = [descriptor, &[0x82, 2, 3]].concat();
        assert_eq!(frame(Codec::Vp9, &[&payload]).unwrap(), [0x82, 2, 3], "{descriptor:x?}");
        assert_eq!(said(Codec::Vp9, &payload), (Begins::Yes, keyframe), "{descriptor:x?}");
        assert_eq!(read(Codec::Vp9, descriptor), Err(Unreadable), "{descriptor:x?}");
    }
    assert_eq!(said(Codec::Vp9, &[0b1000_0100, 5, 1]), (Begins::No, false));
    assert_eq!(
        said(Codec::Vp9, &[0b1010_1100, 5, 0b0000_0010, 9, 1]),
        (Begins::BehindAnEnd, false),
        "the second layer of a picture"
    );
    assert_eq!(read(Codec::Vp9, &[0b1101_1100, 5, 3, 3, 3, 3, 1]), Err(Unreadable), "a fourth reference");
}

#[test]
fn h264_becomes_annex_b() {
    const START: [u8; 4] = [0, 0, 0, 1];
    let single: &[u8] = &[0x61, 1, 2];
    let sets: &[u8] = &[0x78, 0, 2, 0x67, 9, 0, 0, 0, 2, 0x68, 8];
    let (first, middle, last): (&[u8], &[u8], &[u8]) = (&[0x7c, 0x85, 1], &[0x7c, 0x05, 2], &[0x7c, 0x45, 3]);
    assert_eq!(frame(Codec::H264, &[single]).unwrap(), [&START[..], single].concat());
    let expected = [&START[..], &[0x67, 9], &START[..], &[0x68, 8], &START[..], &[0x65, 1, 2, 3]].concat();
    assert_eq!(frame(Codec::H264, &[sets, first, middle, last]).unwrap(), expected);
    assert_eq!(said(Codec::H264, single), (Begins::BehindAnEnd, false), "a slice may be the second one");
    assert_eq!(said(Codec::H264, sets), (Begins::Yes, false));
    assert_eq!(said(Codec::H264, &[0x09, 0xf0]), (Begins::Yes, false));
    assert_eq!(said(Codec::H264, first), (Begins::BehindAnEnd, true));
    assert_eq!(said(Codec::H264, middle), (Begins::No, false));
    assert_eq!(said(Codec::H264, &[0x78, 0, 2, 0x67, 9, 0, 2, 0x65, 8]), (Begins::Yes, true));
}

#[test]
fn h264_that_makes_no_frame_is_refused() {
    let (first, middle, last): (&[u8], &[u8], &[u8]) = (&[0x7c, 0x85, 1], &[0x7c, 0x05, 2], &[0x7c, 0x45, 3]);
    for payloads in [&[middle, last][..], &[first, middle], &[first, first, last], &[first, &[0x61, 1]], &[]] {
        assert_eq!(frame(Codec::H264, payloads), Err(Unreadable), "{payloads:x?}");
    }
    // Cut off, empty, and of the kinds that the non-interleaved mode has not.
    for payload in [
        &[][..],
        &[0x78],
        &[0x78, 0],
        &[0x78, 0, 5, 1],
        &[0x78, 0, 0],
        &[0x7c],
        &[0x7c, 0x85],
        &[0x79, 0, 0, 0],
        &[0x7d, 0],
        &[0],
    ] {
        assert_eq!(read(Codec::H264, payload), Err(Unreadable), "{payload:x?}");
    }
}

#[test]
fn sound_is_no_picture() {
    assert_eq!(read(Codec::Opus, &[0xf8, 1, 2]), Err(Unreadable));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
        for codec in CODECS {
            let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            if let Ok(frame) = frame(codec, &payloads) {
                // Each NAL unit costs a start code more than its length, at most.
                prop_assert!(!frame.is_empty() && frame.len() <= payloads.iter().map(|payload| 5 * payload.len()).sum::<usize>());
            }
        }
    }
}
