//! Uploads of recordings: numbered parts over a WebSocket, stored when the TCP connection ends.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::form_urlencoded;

use super::Shared;
use super::frames::{self, Frame};
use super::house::Asset;
use super::http::{Request, Wire, is_uuid};
use super::token::Refused;

/// Larger frames cut the connection.
const LARGEST_FRAME: u64 = 100_000_000;
/// Smaller parts are refused by the storage, but for the last.
const SMALLEST_PART: usize = 5 << 20;
/// Part numbers below this.
const MAX_PARTS: u32 = 10_000;

/// What happens to one upload. Each that asks to be let in takes the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UploadFate {
    /// What should.
    Good,
    /// The upgrade is refused with this status.
    Refused(u16),
    /// The owner's storage is full, which is said as a real one says it: after the first frame.
    Full,
    /// TCP is cut in the middle of the frame after so many; what came is stored.
    CutAfter(usize),
    /// Something that is no WebSocket comes after so many frames, and nothing more is taken.
    RubbishAfter(usize),
    /// Each frame is read a while after the one before, and pinged for.
    Slow(Duration),
    /// The end of TCP is the answer to the close frame, and nothing is stored: a controller that is stopped.
    StoppedAtGoodbye,
}

/// An upload that was let in.
pub(super) struct Upload {
    room: String,
    filename: String,
    /// The room is there, and its owner's storage is not full. Told only after the first frame.
    is_welcome: bool,
    fate: UploadFate,
}

/// Why there is none.
pub(super) enum Refusal {
    Token(Refused),
    Query(&'static str),
    Status(u16),
}

/// Judges the request.
pub(super) fn admit(shared: &Shared, request: &Request) -> Result<Upload, Refusal> {
    let mut house = shared.house();
    house.tokens.judge(request.header("authorization")).map_err(Refusal::Token)?;
    let query = request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let room = query.get("room_id").ok_or(Refusal::Query("missing field `room_id`"))?.clone();
    if !is_uuid(&room) {
        return Err(Refusal::Query("UUID parsing failed"));
    }
    let extension = query.get("file_extension").ok_or(Refusal::Query("missing field `file_extension`"))?;
    if extension.len() > 10 || !extension.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Refusal::Query("invalid file extension"));
    }
    let timestamp = query.get("timestamp").ok_or(Refusal::Query("missing field `timestamp`"))?;
    let at: jiff::Timestamp = timestamp.parse().map_err(|_| Refusal::Query("premature end of input"))?;
    let title = house.rooms.get(&room).map(|room| room.plan.title.clone()).filter(|title| !title.is_empty());
    let name = at.strftime("%Y-%m-%d_%H-%M-%S-UTC");
    let title_part: String = title.iter().map(|title| format!("{}_", title.replace([':', '/', '&'], "_"))).collect();
    let dot = if extension.is_empty() { "" } else { "." };
    let filename = format!("{title_part}recording_{name}{dot}{extension}");
    let fate = house.upload_fates.pop_front().unwrap_or(UploadFate::Good);
    if let UploadFate::Refused(status) = fate {
        return Err(Refusal::Status(status));
    }
    let is_welcome = house.rooms.contains_key(&room) && fate != UploadFate::Full;
    Ok(Upload { room, filename, is_welcome, fate })
}

/// Receives parts until the connection ends. Nothing is ever acknowledged.
pub(super) async fn receive(shared: &Shared, mut stream: impl Wire, upload: Upload) -> Option<()> {
    let mut kept = Parts::default();
    loop {
        match upload.fate {
            UploadFate::CutAfter(frames) if kept.frames.len() == frames => {
                stream.read_exact(&mut [0; 1000]).await.ok()?;
                break;
            }
            UploadFate::RubbishAfter(frames) if kept.frames.len() == frames => {
                stream.write_all(&[0xff; 300]).await.ok()?;
                while stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {}
                break;
            }
            UploadFate::Slow(pause) => {
                frames::ping(&mut stream).await?;
                // The fate itself: a controller that takes its time for each part. Nothing is waited for by it.
                tokio::time::sleep(pause).await;
            }
            _ => {}
        }
        let Some(frame) = frames::read(&mut stream, LARGEST_FRAME).await else { break };
        match frame {
            // Cut, without a close frame; what came so far is stored.
            Frame::TooLarge => break,
            Frame::Ping(data) => frames::pong(&mut stream, &data).await?,
            Frame::Pong => shared.house().upload_pongs += 1,
            Frame::Close if upload.fate == UploadFate::StoppedAtGoodbye => return None,
            Frame::Close => frames::close(&mut stream, 1000, "").await?,
            Frame::Data(_) if !upload.is_welcome => frames::close(&mut stream, 1006, "runner disconnected").await?,
            Frame::Data(data) => kept.take(&data),
        }
    }
    let mut house = shared.house();
    house.upload_frames.push(std::mem::take(&mut kept.frames));
    if upload.is_welcome
        && let Some((size, bytes)) = kept.stored()
    {
        house.assets.push(Asset { room: upload.room, filename: upload.filename, size, bytes });
    }
    Some(())
}

/// What an upload has sent.
#[derive(Default)]
struct Parts {
    parts: BTreeMap<u32, Vec<u8>>,
    sent: u64,
    /// Lengths of all frames, in their order.
    frames: Vec<usize>,
    /// A frame without a part number came: what follows is dropped.
    is_cut_short: bool,
    /// A part number that the storage does not take.
    is_broken: bool,
}

impl Parts {
    fn take(&mut self, data: &[u8]) {
        self.frames.push(data.len());
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
