//! Reads a viewer's SDP offer, and leaves of it what concerns us.
//!
//! In: the text of an offer. Out: an [`Offer`]: one codec for the picture, one for the sound, and a text that names nothing else; or an [`OfferError`] that says what is missing. Pure.
//!
//! The viewer's addresses are left out. Viewers come to us, so we learn where they are from what they send; an address in an offer could make us send packets to anybody.

use std::fmt::Write as _;

/// What is received from a viewer cannot be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum OfferError {
    /// No SDP.
    #[error("this is not an SDP offer")]
    NotSdp,
    /// Other streams than ours.
    #[error("the offer must hold one picture and one sound to receive, and nothing else")]
    OtherStreams,
    /// None of its codecs is ours.
    #[error("the offer must hold H.264 with packetization-mode=1")]
    NoH264,
    /// None of its codecs is ours.
    #[error("the offer must hold Opus")]
    NoOpus,
    /// It would send to us.
    #[error("the offer must want to receive")]
    WantsToSend,
    /// We could not know whom we talk to.
    #[error("the offer must hold a SHA-256 fingerprint of the certificate, and ICE credentials")]
    NoFingerprint,
}

impl OfferError {
    /// Whether it is not even SDP; the others are understood, and cannot be answered.
    pub(super) fn is_malformed(self) -> bool {
        self == Self::NotSdp
    }
}

/// An offer that can be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    /// The offer with one codec for each stream, and without addresses.
    pub(super) text: String,
    /// The picture.
    pub(super) picture: Line,
    /// The sound.
    pub(super) sound: Line,
    /// SHA-256 of the viewer's certificate.
    pub(super) fingerprint: [u8; 32],
}

/// One stream of an offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// Which m-line.
    pub(super) index: u32,
    /// How the codec is numbered.
    pub(super) payload_type: u8,
    /// The codec's format parameters (`a=fmtp`), as offered.
    pub(super) format: Vec<(String, String)>,
}

/// Profiles of H.264 (ITU-T H.264 §A.2) that may be offered, the best first. We send High without B frames; viewers that offer Main or Baseline only have decoders for it all the same.
const PROFILES: [&str; 4] = ["64", "4d", "42e0", "42"];

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub(super) fn parse(text: &str) -> Result<Self, OfferError> {
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let is_line = |line: &&str| line.len() >= 2 && line.as_bytes()[1] == b'=' && line.is_ascii();
        if lines.first() != Some(&"v=0") || !lines.iter().all(is_line) {
            return Err(OfferError::NotSdp);
        }
        let begins: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("m=")).collect();
        let session = &lines[..begins.first().copied().unwrap_or(lines.len())];
        let [first, second] = begins[..] else { return Err(OfferError::OtherStreams) };
        let media = [Media(&lines[first..second]), Media(&lines[second..])];
        let place = |kind: &str| media.iter().position(|one| one.kind() == kind);
        let (Some(picture_at), Some(sound_at)) = (place("video"), place("audio")) else {
            return Err(OfferError::OtherStreams);
        };
        if !media.iter().all(|one| one.receives(session)) {
            return Err(OfferError::WantsToSend);
        }
        let picture = media[picture_at].h264().ok_or(OfferError::NoH264)?;
        let sound = media[sound_at].codec("opus/48000/2").next().ok_or(OfferError::NoOpus)?;
        let everywhere = || session.iter().chain(media.iter().flat_map(|one| one.0.iter())).copied();
        let has = |name: &str| everywhere().any(|line| line.starts_with(name));
        let fingerprint = everywhere().find_map(|line| sha256(line.strip_prefix("a=fingerprint:")?));
        let (Some(fingerprint), true) = (fingerprint, has("a=ice-ufrag:") && has("a=ice-pwd:")) else {
            return Err(OfferError::NoFingerprint);
        };
        let line = |at: usize, payload_type: u8| Line { index: at as u32, payload_type, format: media[at].format(payload_type) };
        let (picture, sound) = (line(picture_at, picture), line(sound_at, sound));
        let mut text = String::new();
        session.iter().filter(|line| !is_needless(line)).for_each(|line| _ = write!(text, "{}\r\n", waited_for(line)));
        for (at, one) in media.iter().enumerate() {
            one.write(if at == picture_at { picture.payload_type } else { sound.payload_type }, &mut text);
        }
        Ok(Self { text, picture, sound, fingerprint })
    }
}

/// The lines of one stream.
struct Media<'a>(&'a [&'a str]);

impl<'a> Media<'a> {
    fn kind(&self) -> &'a str {
        self.0[0][2..].split(' ').next().unwrap_or_default()
    }

    fn attributes(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
    }

    /// Its own direction, or that of the session.
    fn receives(&self, session: &[&str]) -> bool {
        let direction = |lines: &[&str]| {
            let known = ["a=recvonly", "a=sendrecv", "a=sendonly", "a=inactive"];
            lines.iter().find_map(|line| known.iter().position(|direction| line == direction))
        };
        // Without any it is both.
        matches!(direction(self.0).or_else(|| direction(session)), None | Some(0 | 1))
    }

    /// Payload types of a codec, the preferred first.
    fn codec(&self, name: &'a str) -> impl Iterator<Item = u8> {
        let order = self.0[0].split(' ').skip(3).filter_map(|number| number.parse::<u8>().ok()).filter(|number| *number < 128);
        let is_it = move |number: &u8| {
            self.attributes("rtpmap").any(|map| {
                map.split_once(' ').is_some_and(|(of, codec)| of == number.to_string() && codec.eq_ignore_ascii_case(name))
            })
        };
        order.filter(is_it)
    }

    /// The H.264 of the best profile.
    fn h264(&self) -> Option<u8> {
        let usable = self.codec("H264/90000").filter_map(|number| {
            let format = self.format(number);
            let value = |name: &str| format.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_ascii_lowercase());
            // Without any it is Baseline (RFC 6184 §8.1).
            let profile = value("profile-level-id").unwrap_or_else(|| "42000a".into());
            let rank = PROFILES.iter().position(|known| profile.starts_with(known))?;
            (value("packetization-mode").as_deref() == Some("1")).then_some((rank, number))
        });
        usable.min_by_key(|(rank, _)| *rank).map(|(_, number)| number)
    }

    fn format(&self, payload_type: u8) -> Vec<(String, String)> {
        let of = |line: &'a str| line.split_once(' ').filter(|(number, _)| *number == payload_type.to_string());
        let parameters = self.attributes("fmtp").filter_map(of).flat_map(|(_, parameters)| parameters.split(';'));
        parameters.filter_map(|one| one.trim().split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Writes it with this codec only.
    fn write(&self, payload_type: u8, text: &mut String) {
        let head: Vec<&str> = self.0[0].split(' ').take(3).collect();
        let _ = write!(text, "{} {payload_type}\r\n", head.join(" "));
        let of_a_codec = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
        for line in &self.0[1..] {
            let codec = of_a_codec.iter().find_map(|name| line.strip_prefix(name));
            let is_ours = codec.is_none_or(|rest| rest.split(' ').next() == Some(&payload_type.to_string()));
            // What says how much of a loss there was and what is wanted again; congestion is not ours to control: the rate is that of the programme.
            let is_of_congestion = line.ends_with(" transport-cc") || line.ends_with(" goog-remb");
            if is_ours && !is_of_congestion && !is_needless(line) {
                let _ = write!(text, "{}\r\n", waited_for(line));
            }
        }
    }
}

/// Addresses, header extensions, and names of streams that the viewer does not send.
fn is_needless(line: &str) -> bool {
    let needless = [
        "a=candidate:",
        "a=end-of-candidates",
        "a=extmap:",
        "a=extmap-allow-mixed",
        "a=remote-candidates:",
        "a=ssrc",
        "a=msid",
        "a=rid:",
        "a=simulcast:",
    ];
    needless.iter().any(|name| line.starts_with(name))
}

/// Who offers either is let begin with DTLS: we are ready before the answer leaves, but the viewer is not ready before it has read it, and what came too early is lost.
fn waited_for(line: &str) -> &str {
    if line == "a=setup:actpass" { "a=setup:active" } else { line }
}

fn sha256(fingerprint: &str) -> Option<[u8; 32]> {
    let (name, sum) = fingerprint.split_once(' ')?;
    let bytes: Vec<u8> = sum.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<_>>()?;
    bytes.try_into().ok().filter(|_| name.eq_ignore_ascii_case("sha-256"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As Chromium writes it, shortened.
    pub(in super::super) fn browser_offer() -> String {
        let sum = ["AB"; 32].join(":");
        format!(
            "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 106\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=candidate:1 1 udp 2113937151 10.0.0.66 40000 typ host\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\n\
             a=ice-options:trickle\r\na=fingerprint:sha-256 {sum}\r\na=setup:actpass\r\na=mid:0\r\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:toffset\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
             a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
             a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 goog-remb\r\na=rtcp-fb:102 transport-cc\r\na=rtcp-fb:102 ccm fir\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
             a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
             a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=rtpmap:104 H264/90000\r\n\
             a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=64001f\r\na=rtpmap:106 H264/90000\r\n\
             a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\n\
             a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\na=setup:actpass\r\n\
             a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:0 PCMU/8000\r\n"
        )
    }

    #[test]
    fn the_best_profile_is_chosen_and_nothing_else_is_left() {
        let offer = Offer::parse(&browser_offer()).unwrap();
        assert_eq!((offer.picture.index, offer.picture.payload_type), (0, 106));
        assert_eq!((offer.sound.index, offer.sound.payload_type), (1, 111));
        assert!(offer.picture.format.contains(&("profile-level-id".into(), "4d001f".into())));
        assert_eq!(offer.fingerprint, [0xab; 32]);
        for gone in ["candidate", "10.0.0.66", "VP8", "extmap", "rtx", "red/", ":102", ":104"] {
            assert!(!offer.text.contains(gone), "{gone} in {}", offer.text);
        }
        assert!(offer.text.contains("a=setup:active\r\n") && !offer.text.contains("actpass"), "the viewer begins");
        assert!(offer.text.contains("m=video 9 UDP/TLS/RTP/SAVPF 106\r\n") && offer.text.contains("a=ice-ufrag:abcd\r\n"));
        let baseline = browser_offer().replace("4d001f", "f4001f");
        assert_eq!(Offer::parse(&baseline).unwrap().picture.payload_type, 102, "High 4:4:4 is another codec");
    }

    #[test]
    fn what_cannot_be_answered_is_named() {
        let offer = browser_offer();
        let table = [
            (String::new(), OfferError::NotSdp),
            ("hello".into(), OfferError::NotSdp),
            (format!("{offer}\u{fc}=1\r\n"), OfferError::NotSdp),
            (offer.replace("m=audio", "m=application"), OfferError::OtherStreams),
            (format!("{offer}m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"), OfferError::OtherStreams),
            ("v=0\r\n".into(), OfferError::OtherStreams),
            (offer.replace("packetization-mode=1", "packetization-mode=0"), OfferError::NoH264),
            (offer.replace("opus", "opium"), OfferError::NoOpus),
            (offer.replace("a=recvonly", "a=sendonly"), OfferError::WantsToSend),
            (offer.replace("sha-256", "sha-1"), OfferError::NoFingerprint),
            (offer.replace("AB:", "XY:"), OfferError::NoFingerprint),
            (offer.replace("a=ice-pwd", "a=x-pwd"), OfferError::NoFingerprint),
        ];
        for (text, expected) in table {
            assert_eq!(Offer::parse(&text).unwrap_err(), expected, "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_makes_it_panic(line in 0_usize..60, text in "[ -~\r\n]{0,40}") {
            let offer = browser_offer();
            let lines: Vec<&str> = offer.lines().enumerate().map(|(at, old)| if at == line { text.as_str() } else { old }).collect();
            let _ = Offer::parse(&lines.join("\r\n"));
        }
    }
}
