//! The bodies of RTMP's media messages (Adobe FLV 10.1, annex E.4): what the packets of the programme look like to a live destination.
//!
//! In: codec headers and packets. Out: bytes, and times in milliseconds. Pure.

use recorder_core::time::SessionTime;

use super::amf::{self, Value};
use crate::programme::packet::{CodecHeaders, Packet, Stream};

/// AVC, keyframe (E.4.3.1).
const AVC_KEYFRAME: u8 = 0x17;
/// AVC, not a keyframe.
const AVC_INTER_FRAME: u8 = 0x27;
/// AAC; the other bits are fixed for AAC (E.4.2.1).
const AAC: u8 = 0xaf;
/// A codec header follows.
const HEADER: u8 = 0;
/// A picture or frame follows.
const MEDIA: u8 = 1;

/// What comes before the encoded bytes of a packet in its message. Composition time is 0, because there are no B frames.
pub(super) fn prefix(packet: &Packet) -> &'static [u8] {
    match (packet.stream, packet.keyframe) {
        (Stream::Video, true) => &[AVC_KEYFRAME, MEDIA, 0, 0, 0],
        (Stream::Video, false) => &[AVC_INTER_FRAME, MEDIA, 0, 0, 0],
        (Stream::Sound, _) => &[AAC, MEDIA],
    }
}

/// What comes before the codec header of a stream in its message.
pub(super) fn header_prefix(stream: Stream) -> &'static [u8] {
    match stream {
        Stream::Video => &[AVC_KEYFRAME, HEADER, 0, 0, 0],
        Stream::Sound => &[AAC, HEADER],
    }
}

/// The body of the `onMetaData` message.
pub(super) fn metadata(headers: &CodecHeaders, bytes_per_s: u64) -> Vec<u8> {
    const SOUND_KBPS: f64 = 128.0;
    let video_kbps = (bytes_per_s as f64 * 8.0 / 1000.0 - SOUND_KBPS).max(0.0).round();
    let mut out = amf::encode(&["@setDataFrame".into(), "onMetaData".into()]);
    amf::encode_named_array(
        &mut out,
        &[
            ("duration", 0.0.into()),
            ("width", f64::from(headers.width_px).into()),
            ("height", f64::from(headers.height_px).into()),
            ("framerate", f64::from(headers.fps).into()),
            ("videocodecid", 7.0.into()),
            ("videodatarate", video_kbps.into()),
            ("audiocodecid", 10.0.into()),
            ("audiodatarate", SOUND_KBPS.into()),
            ("audiosamplerate", f64::from(headers.sample_rate_hz).into()),
            ("audiosamplesize", 16.0.into()),
            ("audiochannels", f64::from(headers.channels).into()),
            ("stereo", Value::Boolean(headers.channels == 2)),
            ("encoder", concat!("Roomcast ", env!("CARGO_PKG_VERSION")).into()),
        ],
    );
    out
}

/// Milliseconds of `pts` since `first`, rounded, modulo 2^32: the time of RTMP wraps after 49 days.
pub(super) fn time_ms(pts: SessionTime, first: SessionTime) -> u32 {
    ((pts.since(first).as_nanos() + 500_000) / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn media_are_marked_as_the_specification_says() {
        let packet =
            |stream, keyframe| Packet { stream, pts: SessionTime::ZERO, duration: Duration::ZERO, keyframe, data: [1, 2].into() };
        assert_eq!(prefix(&packet(Stream::Video, true)), [0x17, 1, 0, 0, 0]);
        assert_eq!(prefix(&packet(Stream::Video, false)), [0x27, 1, 0, 0, 0]);
        assert_eq!(prefix(&packet(Stream::Sound, true)), [0xaf, 1]);
        assert_eq!(header_prefix(Stream::Video), [0x17, 0, 0, 0, 0]);
        assert_eq!(header_prefix(Stream::Sound), [0xaf, 0]);
    }

    #[test]
    fn times_are_rounded_and_wrap_without_drift() {
        let at = |ns| time_ms(SessionTime::from_nanos(5_000_000_000 + ns), SessionTime::from_nanos(5_000_000_000));
        assert_eq!([at(0), at(33_333_333), at(66_666_666), at(499_999), at(500_000)], [0, 33, 67, 0, 1]);
        let of_ms = |ms: u64| at(ms * 1_000_000);
        assert_eq!([of_ms(0xff_ffff), of_ms(0x100_0000)], [0xff_ffff, 0x100_0000]);
        assert_eq!([of_ms(0xffff_ffff), of_ms(0x1_0000_0000), of_ms(0x1_0000_0021)], [u32::MAX, 0, 0x21]);
        // Twelve hours of pictures at 30 a second: never more than half a millisecond off.
        for n in (0..12 * 3600 * 30_u64).step_by(997) {
            let ns = n * 1_000_000_000 / 30;
            assert!((i64::from(at(ns)) * 1_000_000 - ns as i64).abs() <= 500_000);
        }
        // What is older than the first picture is never sent; its time would be 0.
        assert_eq!(time_ms(SessionTime::ZERO, SessionTime::from_millis(1)), 0);
    }

    #[test]
    fn metadata_say_what_is_streamed() {
        let headers = CodecHeaders {
            avc_config: [1].into(),
            aac_config: [2].into(),
            width_px: 1280,
            height_px: 720,
            fps: 30,
            sample_rate_hz: 48_000,
            channels: 2,
        };
        let values = amf::decode(&metadata(&headers, 391_000)).unwrap();
        assert_eq!(values[..2], ["@setDataFrame".into(), "onMetaData".into()]);
        let number = |name| values[2].get(name).and_then(Value::number);
        assert_eq!((number("width"), number("height"), number("framerate")), (Some(1280.0), Some(720.0), Some(30.0)));
        assert_eq!((number("videodatarate"), number("audiosamplerate")), (Some(3000.0), Some(48_000.0)));
        assert_eq!(values[2].get("stereo"), Some(&Value::Boolean(true)));
    }
}
