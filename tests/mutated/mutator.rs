//! Damage, in every way that a stranger or a network can do it, and always the same for the same seed.

use roomcast::ingest::offline::OfflinePacket;
use roomcast::media::Codec;

/// Bytes of a payload at most.
const MTU: usize = 1100;

/// Random numbers that can be had again.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not zero.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True so many times of a hundred.
    pub(super) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }
}

/// Damages an encoded frame. `others` are frames to take pieces of.
pub(super) fn damage(frame: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    if frame.is_empty() {
        return;
    }
    let at = dice.below(frame.len());
    let length = 1 + dice.below(64.min(frame.len()));
    let end = (at + length).min(frame.len());
    match dice.below(9) {
        // Bits, most of them where the head is.
        0 => (0..1 + dice.below(8)).for_each(|_| {
            let place = if dice.percent(70) { dice.below(32.min(frame.len())) } else { dice.below(frame.len()) };
            frame[place] ^= 1 << dice.below(8);
        }),
        1 => frame[at..end].fill(0),
        2 => frame[at..end].fill(0xff),
        3 => frame[at..end].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
        4 => frame.truncate(at),
        5 => drop(frame.drain(at..end)),
        6 => {
            let piece = frame[at..end].to_vec();
            frame.splice(at..at, piece);
        }
        // The head of one, the body of another.
        7 => {
            let other = &others[dice.below(others.len())];
            let from = at.min(other.len());
            frame.truncate(at);
            frame.extend_from_slice(&other[from..]);
        }
        _ => frame.extend((0..length).map(|_| dice.below(256) as u8)),
    }
}

/// Cuts a frame into payloads (RFC 7741, RFC 9628, RFC 6184).
pub(super) fn payloads(codec: Codec, frame: &[u8], keyframe: bool) -> Vec<Vec<u8>> {
    let mut pieces: Vec<&[u8]> = frame.chunks(MTU).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let last = pieces.len() - 1;
    let headed = |head: Vec<u8>, piece: &[u8]| [head, piece.to_vec()].concat();
    match codec {
        // S on the first one.
        Codec::Vp8 => {
            pieces.into_iter().enumerate().map(|(n, piece)| headed(vec![if n == 0 { 0x10 } else { 0 }], piece)).collect()
        }
        // P but for keyframes, B on the first, E on the last.
        Codec::Vp9 => {
            let flags = |n| if keyframe { 0 } else { 0x40 } | if n == 0 { 0x08 } else { 0 } | if n == last { 0x04 } else { 0 };
            pieces.into_iter().enumerate().map(|(n, piece)| headed(vec![flags(n)], piece)).collect()
        }
        Codec::H264 => units(frame).into_iter().flat_map(h264).collect(),
        Codec::Opus => vec![frame.to_vec()],
    }
}

/// The NAL units of an Annex B access unit, none of them empty.
fn units(frame: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    let mut begun = None;
    let mut at = 0;
    while at + 3 <= frame.len() {
        if frame[at..at + 3] != [0, 0, 1] {
            at += 1;
            continue;
        }
        let before: Option<usize> = begun.replace(at + 3);
        units.extend(before.map(|from| &frame[from..at]));
        at += 3;
    }
    units.extend(begun.map(|from| &frame[from..]));
    let trimmed = units.into_iter().map(|unit| unit.strip_suffix(&[0]).unwrap_or(unit));
    trimmed.filter(|unit| !unit.is_empty()).collect()
}

/// One NAL unit, in parts when it is long.
fn h264(unit: &[u8]) -> Vec<Vec<u8>> {
    if unit.len() <= MTU {
        return vec![unit.to_vec()];
    }
    let (head, body) = (unit[0], &unit[1..]);
    let count = body.len().div_ceil(MTU);
    let parts = body.chunks(MTU).enumerate().map(|(n, part)| {
        let ends = if n == 0 { 0x80 } else { 0 } | if n + 1 == count { 0x40 } else { 0 };
        [&[head & 0xe0 | 28, ends | head & 0x1f], part].concat()
    });
    parts.collect()
}

/// Damages the packets of a stretch: what they hold, what they say of themselves, and their order. `share` is how many of a hundred.
pub(super) fn disturb(packets: &mut Vec<OfflinePacket>, share: usize, dice: &mut Dice) {
    let mut at = 0;
    while at < packets.len() {
        if dice.percent(share) {
            disturb_one(packets, at, dice);
        }
        at += 1;
    }
}

fn disturb_one(packets: &mut Vec<OfflinePacket>, at: usize, dice: &mut Dice) {
    let other = dice.below(packets.len());
    match dice.below(10) {
        0 => drop(packets.remove(at)),
        1 => {
            let twin = packets[at].clone();
            packets.insert(other, twin);
        }
        2 => packets.swap(at, other),
        3 => packets[at].marker ^= true,
        4 => packets[at].payload.clear(),
        5 => {
            let length = dice.below(packets[at].payload.len() + 1);
            packets[at].payload.truncate(length);
        }
        6 => {
            if let Some(byte) = packets[at].payload.first_mut() {
                *byte = dice.below(256) as u8;
            }
        }
        7 => {
            let forward = dice.below(70_000) as u64;
            packets[at].seq = packets[at].seq.saturating_sub(500) + forward;
        }
        8 => packets[at].time = packets[at].time.wrapping_add((dice.below(1 << 33) as u64) << dice.below(20)),
        _ => {
            let payload = packets[other].payload.clone();
            packets[at].payload = payload;
        }
    }
}
