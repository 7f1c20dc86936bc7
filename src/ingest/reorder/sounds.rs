//! Packets of sound in their order, lost ones taken from the next where it repeats them.
//!
//! In: the packets of one Opus stream, with repetitions (RFC 2198) or without. Out: Opus packets, in order. Pure; runs where the receiver runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::rtp::RedDecoder;

use super::{Content, Frame, Packet, Unreadable};
use crate::media::Codec;

/// How long, and behind how many packets, a missing one is waited for: 300 ms of Opus, inside the mixer's delay.
const PATIENCE: Duration = Duration::from_millis(300);
const MAX_WAITING: usize = 15;

/// The packets of one stream; see the module.
#[derive(Default)]
pub(in crate::ingest) struct Sounds {
    packets: BTreeMap<u64, Held>,
    /// The sequence number that is next in order.
    next: Option<u64>,
    /// RTP time of the packet before it, when that was not lost.
    last_time: Option<u64>,
    /// Whether nothing was left out since the last packet.
    contiguous: bool,
}

struct Held {
    time: u64,
    arrival: Instant,
    /// Empty when there is nothing to hear.
    data: Arc<[u8]>,
}

impl Sounds {
    pub(super) fn put(&mut self, packet: Packet) -> Result<(), Unreadable> {
        let Packet { seq, time, arrival, payload, .. } = packet;
        match packet.content {
            Content::RedundantOpus { opus } if !payload.is_empty() => self.unwrap(seq, time, arrival, &payload, opus),
            Content::Plain(_) | Content::RedundantOpus { .. } => {
                self.insert(seq, Held { time, arrival, data: payload });
                Ok(())
            }
        }
    }

    pub(super) fn take(&mut self, now: Instant) -> Option<Frame> {
        loop {
            let next = self.next?;
            let Some(Held { time, arrival, data }) = self.packets.remove(&next) else {
                if self.packets.len() < MAX_WAITING && self.wake().is_none_or(|at| now < at) {
                    return None;
                }
                self.next = Some(*self.packets.first_key_value()?.0);
                self.last_time = None;
                self.contiguous = false;
                continue;
            };
            self.next = Some(next + 1);
            self.last_time = Some(time);
            if !data.is_empty() {
                let contiguous = std::mem::replace(&mut self.contiguous, true);
                return Some(Frame { codec: Codec::Opus, time, arrival, contiguous, keyframe: true, data });
            }
        }
    }

    /// All that waits does so for one that is missing.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.packets.values().map(|held| held.arrival + PATIENCE).min()
    }

    fn insert(&mut self, seq: u64, held: Held) {
        if seq >= *self.next.get_or_insert(seq) {
            self.packets.entry(seq).or_insert(held);
        }
    }

    /// The newest packet is the last block; the blocks before it repeat older ones.
    fn unwrap(&mut self, seq: u64, time: u64, arrival: Instant, payload: &[u8], opus: u8) -> Result<(), Unreadable> {
        let blocks = RedDecoder::decode(payload).unwrap_or_default();
        let newest = blocks.last().filter(|block| block.is_primary && block.pt == opus);
        self.insert(seq, Held { time, arrival, data: newest.map_or_else(Arc::default, |block| block.payload.into()) });
        for block in blocks.iter().filter(|block| !block.is_primary && block.pt == opus) {
            if let Some(time) = time.checked_sub(u64::from(block.timestamp_offset))
                && let Some(seq) = self.place(time)
            {
                self.insert(seq, Held { time, arrival, data: block.payload.into() });
            }
        }
        newest.map(|_| ()).ok_or(Unreadable)
    }

    /// The sequence number of the missing packet with this RTP time: blocks do not name it. It is known when only one is missing, and when all lie at
    /// even distances, as those of an encoder do that does not change the length of its packets.
    fn place(&self, time: u64) -> Option<u64> {
        let (&above, Held { time: above_time, .. }) = self.packets.iter().find(|(_, held)| held.time > time)?;
        let before = self.next?.checked_sub(1).zip(self.last_time);
        let below = self.packets.range(..above).next_back().map(|(&seq, held)| (seq, held.time));
        let (below, below_time) = below.or(before).filter(|(_, below_time)| *below_time < time)?;
        let packets = above.checked_sub(below)?;
        if packets == 2 {
            return Some(below + 1);
        }
        let (offset, ticks) = ((time - below_time).checked_mul(packets)?, above_time - below_time);
        let seq = below + offset / ticks;
        (offset.is_multiple_of(ticks) && !self.packets.contains_key(&seq)).then_some(seq)
    }
}

#[cfg(test)]
#[path = "sounds_tests.rs"]
mod tests;
