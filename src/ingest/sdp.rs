//! The few lines of a session description that str0m does not treat the way an SFU means them.
//!
//! In: the SFU's offer and str0m's answer, as text. Out: which m-line carries which stream, and a corrected answer.
//! Pure; runs on whichever thread calls it. It refuses text that is no session description, and never judges what str0m itself
//! will check (candidates, fingerprints, codecs).

use std::collections::{BTreeMap, BTreeSet};

/// Longest description that is looked at, in bytes. A room of 100 Tracks needs about 200 kB.
const MAX_BYTES: usize = 1 << 20;
/// Most m-lines in one description.
const MAX_SECTIONS: usize = 1000;

/// Why a text is not a usable session description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// The text does not begin with `v=0` (RFC 8866 §5.1).
    #[error("the session description does not begin with v=0")]
    Version,
    /// A line is not `letter=value` (RFC 8866 §5).
    #[error("line {0} of the session description has no type letter and equals sign")]
    Line(usize),
    /// An m-line lacks media, port, protocol or format (RFC 8866 §5.14).
    #[error("line {0} of the session description is an incomplete m-line")]
    Media(usize),
    /// An m-line has no `a=mid` (RFC 9143 §7), so that nothing can be bound to it.
    #[error("m-line {0} of the session description has no mid")]
    Mid(usize),
    /// Two m-lines have the same `a=mid`.
    #[error("m-line {0} of the session description repeats the mid of another")]
    DuplicateMid(usize),
    /// More text or more m-lines than any room needs.
    #[error("the session description is too long")]
    TooLong,
    /// There is no m-line at all.
    #[error("the session description has no m-line")]
    Empty,
}

/// What an m-line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Media {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// `m=application` and everything else.
    #[default]
    Other,
}

/// One m-line of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `a=mid`.
    pub mid: String,
    /// What it carries.
    pub media: Media,
    /// First SSRC announced by `a=ssrc` (RFC 5576): the stream that the sender will use. `None` on an unused m-line.
    pub ssrc: Option<u32>,
    /// Second word of `a=msid` (RFC 8830): with LiveKit the id of the track that the SFU forwards here.
    pub source: Option<String>,
    /// Payload types of Opus for which the sender offers retransmission by generic NACK (RFC 4585 §6.2.1).
    opus_nack: BTreeSet<u8>,
}

impl Section {
    /// Whether the sender retransmits Opus packets on this m-line when asked.
    pub fn offers_opus_nack(&self) -> bool {
        !self.opus_nack.is_empty()
    }
}

/// The m-lines of an offer, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    sections: Vec<Section>,
    ice_ufrag: Option<String>,
}

impl Offer {
    /// Reads the lines that matter here.
    ///
    /// # Errors
    /// Text that is no session description; see [`SdpError`].
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_BYTES {
            return Err(SdpError::TooLong);
        }
        let mut drafts: Vec<Draft> = Vec::new();
        let mut ice_ufrag = None;
        for (index, line) in lines(text).enumerate() {
            let number = index + 1;
            let (kind, value) = split(line).ok_or(SdpError::Line(number))?;
            match (number, kind, value) {
                (1, 'v', "0") => {}
                (1, ..) => return Err(SdpError::Version),
                (_, 'm', value) => {
                    if drafts.len() == MAX_SECTIONS {
                        return Err(SdpError::TooLong);
                    }
                    drafts.push(Draft { media: media(value).ok_or(SdpError::Media(number))?, ..Draft::default() });
                }
                (_, 'a', value) => {
                    if let (None, Some(ufrag)) = (&ice_ufrag, value.strip_prefix("ice-ufrag:")) {
                        ice_ufrag = Some(ufrag.to_owned());
                    }
                    if let Some(draft) = drafts.last_mut() {
                        draft.attribute(value);
                    }
                }
                _ => {}
            }
        }
        if drafts.is_empty() {
            return Err(SdpError::Empty);
        }
        let mut seen = BTreeSet::new();
        let mut sections = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.into_iter().enumerate() {
            let section = draft.finish().ok_or(SdpError::Mid(index + 1))?;
            if !seen.insert(section.mid.clone()) {
                return Err(SdpError::DuplicateMid(index + 1));
            }
            sections.push(section);
        }
        Ok(Self { sections, ice_ufrag })
    }

    /// All m-lines, in order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The first ICE user fragment; another one than before means an ICE restart (RFC 8445 §9).
    pub fn ice_ufrag(&self) -> Option<&str> {
        self.ice_ufrag.as_deref()
    }

    /// The m-line with this mid.
    pub fn section(&self, mid: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.mid == mid)
    }

    /// Which source each m-line carries, by mid: the answer to "what is `m`?" when the signaling itself does not tell.
    /// str0m's own `track_id()` keeps naming the first owner of an m-line that an SFU used again.
    pub fn sources(&self) -> BTreeMap<&str, &str> {
        self.sections.iter().filter_map(|s| Some((s.mid.as_str(), s.source.as_deref()?))).collect()
    }
}

/// Corrects the answer that str0m made for `offer`, so that an SFU understands it as meant:
/// - we only ever receive: `sendrecv` becomes `recvonly`, `sendonly` becomes `inactive`, and SSRCs of ours that no one will hear are taken out;
/// - retransmission of Opus is accepted where it was offered (str0m never mentions it).
///
/// # Errors
/// An answer that is no session description.
pub fn correct_answer(answer: &str, offer: &Offer) -> Result<String, SdpError> {
    let parsed = Offer::parse(answer)?;
    let mut out = String::with_capacity(answer.len() + 512);
    let mut section: Option<&Section> = None;
    let mut index = 0;
    for line in lines(answer) {
        if line.starts_with("m=") {
            section = parsed.sections.get(index);
            index += 1;
        }
        let is_media = section.is_some_and(|s| s.media != Media::Other);
        match line {
            "a=sendrecv" if is_media => push(&mut out, "a=recvonly"),
            "a=sendonly" if is_media => push(&mut out, "a=inactive"),
            own if is_media && (own.starts_with("a=ssrc:") || own.starts_with("a=ssrc-group:") || own.starts_with("a=msid:")) => {
            }
            other => push(&mut out, other),
        }
        if let (Some(here), Some(pt)) = (section, opus_payload_type(line)) {
            let offered = offer.section(&here.mid).is_some_and(|s| s.opus_nack.contains(&pt));
            if offered && !here.opus_nack.contains(&pt) {
                push(&mut out, &format!("a=rtcp-fb:{pt} nack"));
            }
        }
    }
    Ok(out)
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}

#[derive(Default)]
struct Draft {
    media: Media,
    mid: Option<String>,
    ssrc: Option<u32>,
    source: Option<String>,
    opus: BTreeSet<u8>,
    nack: BTreeSet<u8>,
    nack_for_all: bool,
}

impl Draft {
    fn attribute(&mut self, value: &str) {
        let (name, rest) = value.split_once(':').unwrap_or((value, ""));
        match name {
            "mid" => self.mid = Some(rest.trim().to_owned()),
            "ssrc" if self.ssrc.is_none() => self.ssrc = rest.split_ascii_whitespace().next().and_then(|w| w.parse().ok()),
            "msid" => self.source = rest.split_ascii_whitespace().nth(1).map(str::to_owned),
            "rtpmap" => {
                if let Some(pt) = opus_payload_type_of(rest) {
                    self.opus.insert(pt);
                }
            }
            "rtcp-fb" => {
                let mut words = rest.split_ascii_whitespace();
                if let (Some(pt), Some("nack"), None) = (words.next(), words.next(), words.next()) {
                    match pt.parse() {
                        Ok(pt) => _ = self.nack.insert(pt),
                        Err(_) => self.nack_for_all |= pt == "*",
                    }
                }
            }
            _ => {}
        }
    }

    fn finish(self) -> Option<Section> {
        let opus_nack = self.opus.iter().copied().filter(|pt| self.nack_for_all || self.nack.contains(pt)).collect();
        let mid = self.mid.filter(|mid| !mid.is_empty())?;
        Some(Section { mid, media: self.media, ssrc: self.ssrc, source: self.source, opus_nack })
    }
}

/// Lines without their ends; the empty rest after the last line end is no line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).filter(|line| !line.is_empty())
}

fn split(line: &str) -> Option<(char, &str)> {
    let (kind, value) = line.split_once('=')?;
    let mut letters = kind.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if letter.is_ascii_lowercase() => Some((letter, value)),
        _ => None,
    }
}

fn media(value: &str) -> Option<Media> {
    let mut words = value.split_ascii_whitespace();
    let kind = words.next()?;
    let port = words.next()?;
    port.split('/').next()?.parse::<u16>().ok()?;
    words.next()?;
    words.next()?;
    Some(match kind {
        "audio" => Media::Audio,
        "video" => Media::Video,
        _ => Media::Other,
    })
}

fn opus_payload_type(line: &str) -> Option<u8> {
    opus_payload_type_of(line.strip_prefix("a=rtpmap:")?)
}

fn opus_payload_type_of(rtpmap: &str) -> Option<u8> {
    let (pt, encoding) = rtpmap.split_once(' ')?;
    let name = encoding.split('/').next()?;
    name.trim().eq_ignore_ascii_case("opus").then(|| pt.trim().parse().ok())?
}

#[cfg(test)]
#[path = "sdp_tests.rs"]
mod tests;
