//! One signaling connection of a recorder: frames in and out, pings, and ends as odd as the real ones.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::Shared;
use super::frames::{self, Frame};
use super::house::Misbehaviour;
use super::http::Wire;

/// Larger frames cut the connection.
const LARGEST_FRAME: u64 = 64 << 10;
/// The controller pings so often; whoever did not answer the last ping by the next is cut off.
const PING_EVERY: Duration = Duration::from_secs(15);

/// A place in a room, bought with a ticket.
pub(super) struct Seat {
    pub(super) room: String,
    pub(super) person: String,
    pub(super) messages: mpsc::UnboundedReceiver<Out>,
}

/// What is sent to whoever sits there.
#[derive(Debug)]
pub(super) enum Out {
    Text(String),
    Close(u16),
    /// Nothing more, and no answer to anything; the connection stays.
    Silence,
    /// The TCP connection ends.
    Cut,
}

/// Ends the seat whatever ends the connection, even a restart.
struct Leaving<'a> {
    shared: &'a Shared,
    room: &'a str,
    person: &'a str,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.shared.house().socket_ended(self.room, self.person);
    }
}

/// Talks until the connection ends.
pub(super) async fn converse(shared: &Arc<Shared>, stream: impl Wire, seat: Seat) -> Option<()> {
    let Seat { room, person, mut messages } = seat;
    let leaving = Leaving { shared, room: &room, person: &person };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (frame_in, mut frames_in) = mpsc::channel(16);
    let reading = async {
        while let Some(frame) = frames::read(&mut reader, LARGEST_FRAME).await {
            let is_last = frame == Frame::TooLarge;
            if frame_in.send(frame).await.is_err() || is_last {
                break;
            }
        }
        drop(frame_in);
        std::future::pending::<()>().await;
    };
    let talking = async {
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
        let (mut is_answered, mut is_over) = (true, false);
        loop {
            tokio::select! {
                frame = frames_in.recv() => match frame? {
                    Frame::TooLarge => return None,
                    Frame::Ping(data) => frames::pong(&mut writer, &data).await?,
                    Frame::Pong => is_answered = true,
                    // Each is answered, and TCP stays: whoever answers answers would do so for ever.
                    Frame::Close => {
                        shared.house().close_frame(&room, &person);
                        is_over = true;
                        frames::close(&mut writer, 1000, "").await?;
                    }
                    Frame::Data(data) if !is_over => match serde_json::from_slice::<Value>(&data) {
                        Ok(message) => shared.house().said(&room, &person, &message),
                        Err(_) => shared.house().garbage(&room, &person),
                    },
                    Frame::Data(_) => {}
                },
                message = messages.recv(), if !is_over => match message {
                    Some(Out::Text(text)) => {
                        let misbehaviour = shared.house().misbehaviour;
                        match misbehaviour {
                            Misbehaviour::Garbage => frames::text(&mut writer, b"{\"namespace\":").await?,
                            Misbehaviour::Oversized => frames::text(&mut writer, "x".repeat(20 << 20).as_bytes()).await?,
                            _ => {}
                        }
                        frames::text(&mut writer, text.as_bytes()).await?;
                    }
                    Some(Out::Close(code)) => {
                        is_over = true;
                        frames::close(&mut writer, code, "").await?;
                    }
                    Some(Out::Silence) => std::future::pending().await,
                    Some(Out::Cut) | None => return None,
                },
                _ = tick.tick() => {
                    if !is_answered {
                        return None;
                    }
                    is_answered = false;
                    frames::ping(&mut writer).await?;
                }
            }
        }
    };
    let end = tokio::select! {
        end = talking => end,
        () = reading => None,
    };
    drop(leaving);
    end
}
