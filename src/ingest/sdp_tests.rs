//! What `sdp` promises, on text alone.

use proptest::prelude::*;

use super::*;

const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\na=mid:0\r\na=sendrecv\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:111 opus/48000/2\r\n\
a=rtcp-fb:111 nack\r\na=rtcp-fb:111 nack pli\r\na=msid:PA_1|TR_a TR_a\r\na=ssrc:1001 cname:x\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=sendrecv\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\n\
a=msid:PA_1|TR_v TR_v\r\na=ssrc-group:FID 2001 2002\r\na=ssrc:2001 cname:x\r\na=ssrc:2002 cname:x\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sendrecv\r\na=sctp-port:5000\r\n";

const ANSWER: &str = "v=0\r\no=- 3 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\na=mid:0\r\na=sendrecv\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:111 opus/48000/2\r\na=msid:me me\r\na=ssrc:7 cname:me\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\na=ssrc-group:FID 8 9\r\na=ssrc:8 cname:me\r\na=ssrc:9 cname:me\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sendrecv\r\n";

#[test]
fn an_offer_tells_stream_and_source_of_each_m_line() {
    let offer = Offer::parse(OFFER).unwrap();
    let audio = offer.section("0").unwrap();
    assert_eq!((audio.media, audio.ssrc, audio.source.as_deref()), (Media::Audio, Some(1001), Some("TR_a")));
    let video = offer.section("1").unwrap();
    assert_eq!((video.media, video.ssrc), (Media::Video, Some(2001)), "the first SSRC is the media, the second its repair");
    assert_eq!(offer.section("2").unwrap().ssrc, None);
    assert_eq!(offer.sources(), BTreeMap::from([("0", "TR_a"), ("1", "TR_v")]));
}

#[test]
fn the_source_of_an_m_line_that_was_used_again_is_the_new_one() {
    let again = OFFER.replace("TR_v", "TR_w");
    assert_eq!(Offer::parse(&again).unwrap().sources()["1"], "TR_w");
}

#[test]
fn an_answer_only_receives_and_announces_no_stream() {
    let offer = Offer::parse(OFFER).unwrap();
    let answer = correct_answer(ANSWER, &offer).unwrap();
    let expected = "m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\na=mid:0\r\na=recvonly\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 nack\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=inactive\r\na=rtpmap:96 VP8/90000\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sendrecv\r\n";
    assert!(answer.ends_with(expected), "{answer}");
}

#[test]
fn opus_retransmission_is_accepted_only_where_offered_and_once() {
    let without = Offer::parse(&OFFER.replace("a=rtcp-fb:111 nack\r\n", "")).unwrap();
    assert!(!without.section("0").unwrap().offers_opus_nack(), "nack pli is another feedback");
    assert!(!correct_answer(ANSWER, &without).unwrap().contains("rtcp-fb:111"));

    let offer = Offer::parse(OFFER).unwrap();
    let once = correct_answer(ANSWER, &offer).unwrap();
    let twice = correct_answer(&once, &offer).unwrap();
    assert_eq!(once, twice);
}

#[test]
fn what_is_no_description_is_named() {
    let m = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n";
    for (text, error) in [
        (String::new(), SdpError::Empty),
        ("hello".into(), SdpError::Line(1)),
        ("v=1\r\n".into(), SdpError::Version),
        ("v=0\r\n".into(), SdpError::Empty),
        ("v=0\r\nxy=1\r\n".into(), SdpError::Line(2)),
        ("v=0\r\nm=audio\r\n".into(), SdpError::Media(2)),
        ("v=0\r\nm=audio 99999999 RTP/AVP 0\r\n".into(), SdpError::Media(2)),
        (format!("v=0\r\n{m}"), SdpError::Mid(1)),
        (format!("v=0\r\n{m}a=mid:\r\n"), SdpError::Mid(1)),
        (format!("v=0\r\n{m}a=mid:0\r\n{m}a=mid:0\r\n"), SdpError::DuplicateMid(2)),
        (format!("v=0\r\n{}", "a=x\r\n".repeat(300_000)), SdpError::TooLong),
        (format!("v=0\r\n{}", (0..1001).map(|i| format!("{m}a=mid:{i}\r\n")).collect::<String>()), SdpError::TooLong),
    ] {
        assert_eq!(Offer::parse(&text), Err(error), "{}", &text[..text.len().min(60)]);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,400}") {
        _ = Offer::parse(&text);
        _ = correct_answer(&text, &Offer::parse(OFFER).unwrap());
    }

    #[test]
    fn a_damaged_description_is_read_or_refused(at in 0..OFFER.len(), cut in 0..80usize, put in "[a-z0-9:= \r\n|-]{0,12}") {
        let end = (at + cut).min(OFFER.len());
        let text = format!("{}{put}{}", &OFFER[..at], &OFFER[end..]);
        if let Ok(offer) = Offer::parse(&text)
            && let Ok(answer) = correct_answer(&text, &offer) {
                prop_assert!(Offer::parse(&answer).is_ok(), "a corrected answer is a description");
        }
    }
}
