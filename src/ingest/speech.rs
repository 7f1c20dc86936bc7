//! What an Opus packet says of when it was captured.
//!
//! In: whole packets. Out: how long they are, and whether somebody spoke them. Pure; runs on the reception thread. Whatever cannot be read is
//! taken for an ordinary packet of no length: the decoder will judge.

use std::time::Duration;

use opus::packet::get_nb_samples;

/// RTP counts Opus at 48 kHz whatever it holds (RFC 7587 section 4.1).
const HZ: u32 = 48_000;

/// How long the packet's sound is (RFC 6716 section 3.1). Its RTP time is that of its first sample, and it cannot be sent before its last
/// one was captured.
pub(super) fn duration(packet: &[u8]) -> Duration {
    let samples = get_nb_samples(packet, HZ).unwrap_or(0);
    Duration::from_nanos(samples as u64 * 1_000_000_000 / u64::from(HZ))
}

/// For so long after a muted Track's last word a media server makes up silence; LiveKit does for a second.
pub(super) const MADE_UP_FOR: Duration = Duration::from_millis(1_500);

/// Whether a media server may have made this packet up: LiveKit lets a muted Track end with silence, so that decoders do not conceal. It is
/// the three bytes of 20 ms of digital silence, padded with zeros. An encoder of constant rate makes the same, so only such packets right behind
/// a word ([`MADE_UP_FOR`]) are to be taken for made up.
pub(super) fn is_made_up(packet: &[u8]) -> bool {
    matches!(packet, [0xf8, 0xff, 0xfe, 0, padding @ ..] if padding.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_say_how_long_they_are() {
        let silk_60_ms = 3 << 3;
        let celt_2_5_ms = 16 << 3;
        let celt_20_ms_twice = 31 << 3 | 1;
        for (toc, ms) in [(0xf8_u8, 20.0), (silk_60_ms, 60.0), (celt_2_5_ms, 2.5), (celt_20_ms_twice, 40.0)] {
            assert_eq!(duration(&[toc, 1, 2, 3, 4]).as_secs_f64() * 1000.0, ms, "{toc:#x}");
        }
        assert_eq!(duration(&[]), Duration::ZERO);
    }

    #[test]
    fn silence_that_nobody_spoke_is_known() {
        let mut made_up = [0; 80];
        made_up[..3].copy_from_slice(&[0xf8, 0xff, 0xfe]);
        assert!(is_made_up(&made_up) && !is_made_up(&made_up[..3]), "an encoder's silence is three bytes");
        made_up[40] = 1;
        assert!(!is_made_up(&made_up) && !is_made_up(&[0xf8, 0xff]) && !is_made_up(&[]));
    }
}
