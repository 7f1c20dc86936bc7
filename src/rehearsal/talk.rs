//! What the actors of the simulated meeting and a receiver say to each other: one JSON object a line, over a private Unix socket.
//!
//! In and out: messages. Pure but for the framing helpers, which await the socket. A line is at most [`LINE_LIMIT`] bytes; a longer
//! one, or one that is no message, ends the connection.

use recorder_core::ids::{ParticipantId, TrackId};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest line accepted: an offer of 18 m-lines has 35 kB.
pub const LINE_LIMIT: u64 = 256 << 10;

/// Receiver to actors.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToActors {
    /// The first message: here I am. The meeting begins with the first hello.
    Hello,
    /// Send exactly these Tracks.
    Subscribe {
        /// All of them.
        tracks: Vec<Wish>,
    },
    /// The answer to the newest offer.
    Answer {
        /// Session description.
        sdp: String,
    },
    /// A candidate of the receiver (`candidate:…`).
    Candidate {
        /// Its text.
        candidate: String,
    },
    /// The receiver leaves; the connection ends.
    Leave,
}

/// One Track that the receiver wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wish {
    /// Which.
    pub track: TrackId,
    /// Video: width and height of the tile in pixels, or `None` to be sent nothing for the time being.
    pub size_px: Option<(u32, u32)>,
}

/// What one m-line carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// `a=mid` of the m-line.
    pub mid: String,
    /// The Track.
    pub track: TrackId,
    /// Another one for each time that an m-line is given to a Track.
    pub source: String,
}

/// Actors to receiver.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromActors {
    /// The answer to the hello. Everybody and every Track follow, then [`FromActors::Listed`].
    Welcome {
        /// What the meeting is called.
        title: String,
    },
    /// Everything has been told.
    Listed,
    /// A person is there.
    Joined {
        /// Who.
        participant: ParticipantId,
        /// What they are called.
        name: String,
    },
    /// A person left.
    Left {
        /// Who.
        participant: ParticipantId,
    },
    /// A Track is there, or was muted or unmuted.
    TrackUp {
        /// Which.
        track: TrackId,
        /// Muted: nothing is sent.
        muted: bool,
    },
    /// A Track is gone.
    TrackDown {
        /// Which.
        track: TrackId,
    },
    /// Who speaks.
    Speaking {
        /// All of them.
        participants: Vec<ParticipantId>,
    },
    /// What is sent from now on.
    Offer {
        /// Session description.
        sdp: String,
        /// Which m-line carries which Track; others are idle.
        lines: Vec<Line>,
    },
    /// A candidate of the actors (`candidate:…`).
    Candidate {
        /// Its text.
        candidate: String,
    },
    /// The meeting is over.
    Over,
}

/// Why the conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// The socket failed.
    #[error("the connection to the simulated meeting failed")]
    Socket(#[from] std::io::Error),
    /// A line is no message, or too long.
    #[error("the simulated meeting speaks another language")]
    Language(#[from] serde_json::Error),
}

/// Writes one message.
///
/// # Errors
/// The socket fails.
pub async fn say<W: AsyncWrite + Unpin, M: Serialize>(to: &mut W, message: &M) -> Result<(), TalkError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(to.write_all(&line).await?)
}

/// Reads messages; keeps what it has of a line when it is cancelled.
pub struct Ear<R> {
    from: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Ear<R> {
    /// Reads from `from`.
    pub fn new(from: R) -> Self {
        Self { from, line: Vec::new() }
    }

    /// The next message, or `None` when the other side has closed. Can be cancelled without losing anything.
    ///
    /// # Errors
    /// The socket fails, or a line is no message or too long.
    pub async fn hear<M: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<M>, TalkError> {
        // `read_until` on the buffer of this struct is safe to cancel.
        let left = LINE_LIMIT.saturating_sub(self.line.len() as u64);
        let read = (&mut self.from).take(left).read_until(b'\n', &mut self.line).await?;
        if read == 0 && self.line.is_empty() {
            return Ok(None);
        }
        let message = serde_json::from_slice(&self.line);
        self.line.clear();
        Ok(Some(message?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn messages_pass_and_garbage_ends_the_conversation() {
        let (mut here, there) = tokio::io::duplex(1 << 20);
        let mut ear = Ear::new(tokio::io::BufReader::new(there));
        let wish = ToActors::Subscribe { tracks: vec![] };
        say(&mut here, &ToActors::Hello).await.unwrap();
        say(&mut here, &wish).await.unwrap();
        assert_eq!(ear.hear().await.unwrap(), Some(ToActors::Hello));
        assert_eq!(ear.hear().await.unwrap(), Some(wish));
        here.write_all(b"{\"say\":\"dance\"}\n").await.unwrap();
        assert!(ear.hear::<ToActors>().await.is_err());
        here.write_all(&vec![b'x'; LINE_LIMIT as usize + 9]).await.unwrap();
        assert!(ear.hear::<ToActors>().await.is_err(), "a line without end");
        drop(here);
    }
}
