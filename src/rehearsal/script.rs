//! What happens in the simulated meeting, and when.
//!
//! In: nothing. Out: a list of acts in the order of time, in milliseconds since the receiver's first hello. Pure.

use recorder_core::ids::TrackKind;

/// People who take part.
pub const PEOPLE: usize = 4;
/// Who shares a screen.
pub const SHARER: usize = 1;
/// What that screen shows: the card of a person who is not in the meeting, so that its colour is nobody else's.
pub const SCREEN_CARD: usize = 8;
/// After this time the acts of a long meeting begin again with [`REPEAT_FROM_MS`].
pub const ROUND_MS: u64 = 40_000;
/// Where later rounds begin: everybody has joined.
pub const REPEAT_FROM_MS: u64 = 4_000;

/// What a person does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Comes, with camera and microphone.
    Join,
    /// Goes, without a word.
    Leave,
    /// Switches a Track off, but keeps it.
    Mute(TrackKind),
    /// Switches it on again.
    Unmute(TrackKind),
    /// Begins to share the screen.
    ShareScreen,
    /// Ends that.
    EndScreen,
    /// Is the one who speaks from now on: tone and beeps are theirs, the others send silence.
    Speak,
}

/// One act of the play.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Act {
    /// When, since the first hello.
    pub at_ms: u64,
    /// Who: an index of [`super::card::PEOPLE`].
    pub person: usize,
    /// What.
    pub deed: Deed,
}

/// One round.
const ROUND: [Act; 20] = {
    use Deed::{EndScreen, Join, Leave, Mute, ShareScreen, Speak, Unmute};
    use TrackKind::{Camera, Microphone};
    const fn act(at_ms: u64, person: usize, deed: Deed) -> Act {
        Act { at_ms, person, deed }
    }
    [
        act(0, 0, Join),
        act(0, 0, Speak),
        act(500, 1, Join),
        act(1_500, 2, Join),
        act(2_500, 3, Join),
        act(4_000, 1, Speak),
        act(6_000, 2, Speak),
        act(7_000, 3, Mute(Camera)),
        act(8_000, 3, Speak),
        act(10_000, 3, Unmute(Camera)),
        act(11_000, 0, Speak),
        act(12_000, 2, Leave),
        act(14_000, 2, Join),
        act(15_000, 1, ShareScreen),
        act(16_000, 1, Speak),
        act(20_000, 0, Mute(Microphone)),
        act(22_000, 0, Unmute(Microphone)),
        act(24_000, 1, EndScreen),
        act(25_000, 2, Speak),
        act(32_000, 3, Speak),
    ]
};

/// The acts of all rounds, without end.
pub fn acts() -> impl Iterator<Item = Act> {
    let length = ROUND_MS - REPEAT_FROM_MS;
    let later = (1..).flat_map(move |round| {
        let repeated = ROUND.into_iter().filter(|act| act.at_ms >= REPEAT_FROM_MS);
        repeated.map(move |act| Act { at_ms: act.at_ms + round * length, ..act })
    });
    ROUND.into_iter().chain(later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_play_makes_sense_for_three_rounds() {
        let mut here = [false; PEOPLE];
        let mut muted = [(false, false); PEOPLE];
        let (mut screen, mut before, mut everybody) = (false, 0, 0);
        for act in acts().take_while(|act| act.at_ms < 3 * ROUND_MS) {
            assert!(act.at_ms >= before, "{act:?} is out of order");
            before = act.at_ms;
            assert_eq!(here[act.person], act.deed != Deed::Join, "{act:?}");
            let flag = match act.deed {
                Deed::Mute(TrackKind::Camera) | Deed::Unmute(TrackKind::Camera) => &mut muted[act.person].0,
                _ => &mut muted[act.person].1,
            };
            match act.deed {
                Deed::Join => here[act.person] = true,
                Deed::Leave => here[act.person] = false,
                Deed::Mute(_) => assert!(!std::mem::replace(flag, true), "{act:?}"),
                Deed::Unmute(_) => assert!(std::mem::replace(flag, false), "{act:?}"),
                Deed::ShareScreen => assert!(act.person == SHARER && !std::mem::replace(&mut screen, true)),
                Deed::EndScreen => assert!(act.person == SHARER && std::mem::replace(&mut screen, false)),
                Deed::Speak => {}
            }
            everybody += u32::from(here == [true; PEOPLE]);
        }
        assert!(everybody > 30);
    }
}
