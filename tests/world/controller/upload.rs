//! Uploads of recordings: numbered parts over a WebSocket, stored when the TCP connection ends.

use std::collections::BTreeMap;

use url::form_urlencoded;

use super::Shared;
use super::frames::{self, Frame};
use super::house::Asset;
use super::http::{Request, Wire};
use super::token::Refused;

/// Larger frames cut the connection.
const LARGEST_FRAME: u64 = 100_000_000;
/// Smaller parts are refused by the storage, but for the last.
const SMALLEST_PART: usize = 5 << 20;
/// Part numbers below this.
const MAX_PARTS: u32 = 10_000;

/// An upload that was let in.
pub(super) struct Upload {
    room: String,
    filename: String,
    /// The room is there, and its owner's storage is not full. Told only after the first frame.
    is_welcome: bool,
}

/// Why there is none.
pub(super) enum Refusal {
    Token(Refused),
    Query(&'static str),
}

/// Judges the request.
pub(super) fn admit(shared: &Shared, request: &Request) -> Result<Upload, Refusal> {
    let mut house = shared.house();
    house.tokens.judge(request.header("authorization")).map_err(Refusal::Token)?;
    let query = request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let room = query.get("room_id").ok_or(Refusal::Query("missing field `room_id`"))?.clone();
    let extension = query.get("file_extension").ok_or(Refusal::Query("missing field `file_extension`"))?;
    if extension.len() > 10 || !extension.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Refusal::Query("invalid file extension"));
    }
    let timestamp = query.get("timestamp").ok_or(Refusal::Query("missing field `timestamp`"))?;
    let at: jiff::Timestamp = timestamp.parse().map_err(|_| Refusal::Query("premature end of input"))?;
    let title = house.rooms.get(&room).map(|room| room.plan.title.clone());
    let name = at.strftime("%Y-%m-%d_%H-%M-%S-UTC");
    let title_part: String = title.iter().map(|title| format!("{}_", title.replace([':', '/', '&'], "_"))).collect();
    let dot = if extension.is_empty() { "" } else { "." };
    let filename = format!("{title_part}recording_{name}{dot}{extension}");
    let is_welcome = house.rooms.get_mut(&room).is_some();
    Ok(Upload { room, filename, is_welcome })
}

/// Receives parts until the connection ends. Nothing is ever acknowledged.
pub(super) async fn receive(shared: &Shared, mut stream: impl Wire, upload: Upload) -> Option<()> {
    let mut kept = Parts::default();
    while let Some(frame) = frames::read(&mut stream, LARGEST_FRAME).await {
        match frame {
            // Cut, without a close frame; what came so far is stored.
            Frame::TooLarge => break,
            Frame::Ping(data) => frames::pong(&mut stream, &data).await?,
            Frame::Pong => {}
            Frame::Close => frames::close(&mut stream, 1000, "").await?,
            Frame::Data(_) if !upload.is_welcome => frames::close(&mut stream, 1006, "runner disconnected").await?,
            Frame::Data(data) => kept.take(&data),
        }
    }
    if upload.is_welcome
        && let Some((size, bytes)) = kept.stored()
    {
        shared.house().assets.push(Asset { room: upload.room, filename: upload.filename, size, bytes });
    }
    Some(())
}

/// What an upload has sent.
#[derive(Default)]
struct Parts {
    parts: BTreeMap<u32, Vec<u8>>,
    sent: u64,
    /// A frame without a part number came: what follows is dropped.
    is_cut_short: bool,
    /// A part number that the storage does not take.
    is_broken: bool,
}

impl Parts {
    fn take(&mut self, data: &[u8]) {
        if self.is_cut_short {
            return;
        }
        let Some((number, data)) = data.split_first_chunk() else {
            self.is_cut_short = true;
            return;
        };
        let number = u32::from_be_bytes(*number);
        self.is_broken |= number >= MAX_PARTS;
        self.sent += data.len() as u64;
        self.parts.insert(number, data.to_vec());
    }

    /// Listed size, and what a download gives; `None` when nothing is stored at all.
    fn stored(self) -> Option<(u64, Option<Vec<u8>>)> {
        if self.parts.is_empty() {
            return Some((0, None));
        }
        let last = self.parts.keys().next_back().copied();
        let has_small_middle = self.parts.iter().any(|(number, data)| Some(*number) != last && data.len() < SMALLEST_PART);
        if self.is_broken || has_small_middle {
            return None;
        }
        Some((self.sent, Some(self.parts.into_values().flatten().collect())))
    }
}
