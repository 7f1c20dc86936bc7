//! What is remembered between two Scenes so that nobody moves without need.
//!
//! Whoever is visible keeps the place. Somebody out of sight who begins to speak, raises a hand or shares a screen takes the place of
//! the one in view who has been silent for the longest time, and nobody else moves. Whoever was brought into view so stays for a while. When
//! people leave, the arrangement changes only after a while, so that somebody with a bad connection does not turn everything over.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::ParticipantId;
use crate::stage::{Part, Seat};
use crate::time::SessionTime;

use super::{Order, Prefer, Region};
use crate::conference::Role;

/// Somebody or their screen.
type Key = (ParticipantId, Part);

/// How many want to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Crowd {
    pub(super) people: usize,
    pub(super) screens: usize,
    pub(super) presenters: usize,
}

impl Crowd {
    pub(super) fn of(seats: &[&Seat]) -> Self {
        let screens = seats.iter().filter(|seat| seat.part == Part::Screen).count();
        let presenters = seats.iter().filter(|seat| is_presenter(seat)).count();
        Self { people: seats.len() - screens, screens, presenters }
    }
}

/// A person, and not their screen, whom the others came for.
pub(super) fn is_presenter(seat: &Seat) -> bool {
    seat.part == Part::Person && matches!(seat.role, Role::Presenter | Role::Moderator)
}

/// Which arrangement is used: its index, and the indexes inside of the layouts that it uses.
pub(super) type Path = Vec<usize>;

#[derive(Clone, PartialEq, Debug)]
struct Kept {
    path: Path,
    /// Who was there when it was last the right one.
    right_for: Crowd,
    /// Since when another one would be right.
    outdated: Option<SessionTime>,
}

/// Who stands where, between one Scene and the next. A new layout begins with a new one.
#[derive(Clone, Debug, Default)]
pub struct Seating {
    kept: Option<Kept>,
    /// For each region of the arrangement, whose places they are.
    regions: Vec<Vec<Key>>,
    /// Who was brought into view in somebody else's place, and when.
    brought_in: BTreeMap<Key, SessionTime>,
    wake: Option<SessionTime>,
}

impl Seating {
    /// When another Scene may be due although nothing happens.
    pub fn wake(&self) -> Option<SessionTime> {
        self.wake
    }

    /// Entries in all collections: bounded by the tiles.
    pub fn footprint(&self) -> usize {
        self.brought_in.len() + self.regions.iter().map(Vec::len).sum::<usize>()
    }

    /// Which arrangement to use when `right` would be the right one.
    pub(super) fn begin(&mut self, right: Path, crowd: Crowd, hold: Duration, now: SessionTime) -> Path {
        self.wake = None;
        if let Some(kept) = &mut self.kept {
            if kept.path == right {
                (kept.right_for, kept.outdated) = (crowd, None);
                return right;
            }
            let before = kept.right_for;
            let only_left =
                crowd.people < before.people && (crowd.screens, crowd.presenters) == (before.screens, before.presenters);
            let until = *kept.outdated.get_or_insert(now) + hold;
            if only_left && now < until {
                self.wake = Some(until);
                return kept.path.clone();
            }
        }
        self.kept = Some(Kept { path: right.clone(), right_for: crowd, outdated: None });
        self.regions.clear();
        right
    }

    /// Of `candidates`, most important first by the stage, those who stand in the region's `places`, in their order.
    pub(super) fn seat<'a>(
        &mut self,
        number: usize,
        region: &Region,
        candidates: &[&'a Seat],
        places: usize,
        hold: Duration,
        now: SessionTime,
    ) -> Vec<&'a Seat> {
        let mut ranked: Vec<Ranked<'a>> = candidates
            .iter()
            .enumerate()
            .map(|(index, seat)| Ranked { preference: preference(region, seat), index, seat })
            .collect();
        ranked.sort_unstable_by(|a, b| (&a.preference, a.index).cmp(&(&b.preference, b.index)));
        self.regions.resize_with(self.regions.len().max(number + 1), Vec::new);
        if region.order == Order::Importance {
            let chosen: Vec<_> = ranked.into_iter().take(places).map(|ranked| ranked.seat).collect();
            self.remember(number, &chosen);
            return chosen;
        }
        let before = self.regions.get(number).map(Vec::as_slice).unwrap_or_default();
        let chosen = choose(before, ranked.len(), &ranked, places);
        let mut chosen = self.bring_in(&ranked, chosen, hold, now);
        // Screens stand before people.
        chosen.sort_by_key(|rank| ranked.get(*rank).map(|ranked| ranked.seat.part));
        let chosen: Vec<_> = chosen.iter().filter_map(|rank| Some(ranked.get(*rank)?.seat)).collect();
        self.remember(number, &chosen);
        chosen
    }

    /// Forgets who is not in view any more.
    pub(super) fn end(&mut self, regions: usize) {
        self.regions.truncate(regions);
        let regions = &self.regions;
        self.brought_in.retain(|key, _| regions.iter().any(|region| region.contains(key)));
    }

    fn remember(&mut self, number: usize, chosen: &[&Seat]) {
        if let Some(region) = self.regions.get_mut(number) {
            *region = chosen.iter().map(|seat| key(seat)).collect();
        }
    }

    /// Whoever is out of sight and has to be seen now takes the place of the least important who may go. All are ranks in `ranked`.
    fn bring_in(&mut self, ranked: &[Ranked<'_>], mut chosen: Vec<usize>, hold: Duration, now: SessionTime) -> Vec<usize> {
        let hidden: Vec<usize> = (0..ranked.len()).filter(|rank| !chosen.contains(rank)).collect();
        for newcomer in hidden {
            let Some(seat) = ranked.get(newcomer) else { continue };
            // The least important first: who has been silent for the longest time.
            let mut others: Vec<(usize, usize)> =
                chosen.iter().copied().enumerate().filter(|(_, rank)| *rank > newcomer).collect();
            others.sort_unstable_by_key(|(_, rank)| std::cmp::Reverse(*rank));
            let mut held_until: Option<SessionTime> = None;
            let leaves = others.into_iter().find(|(_, rank)| {
                let Some(other) = ranked.get(*rank) else { return false };
                if !seat.has_to_be_seen_before(other) {
                    return false;
                }
                let until = self.brought_in.get(&key(other.seat)).map(|since| *since + hold).filter(|until| now < *until);
                held_until = held_until.into_iter().chain(until).min();
                until.is_none()
            });
            match leaves {
                Some((place, _)) => {
                    if let Some(place) = chosen.get_mut(place) {
                        *place = newcomer;
                    }
                    self.brought_in.insert(key(seat.seat), now);
                }
                None => self.wake = self.wake.into_iter().chain(held_until).min(),
            }
        }
        chosen
    }
}

/// A candidate of a region: position in the list of all ranks is how important they are to it.
struct Ranked<'a> {
    preference: Vec<u64>,
    index: usize,
    seat: &'a Seat,
}

impl Ranked<'_> {
    /// Not merely more important by what was before.
    fn has_to_be_seen_before(&self, other: &Self) -> bool {
        self.seat.speaking || self.seat.part == Part::Screen || self.preference < other.preference
    }
}

fn key(seat: &Seat) -> Key {
    (seat.participant.clone(), seat.part)
}

/// Lower comes first.
fn preference(region: &Region, seat: &Seat) -> Vec<u64> {
    let rule = |prefer: &Prefer| match prefer {
        Prefer::Screens => u64::from(seat.part != Part::Screen),
        Prefer::Presenters => u64::from(!is_presenter(seat)),
        Prefer::Moderators => u64::from(seat.part != Part::Person || seat.role != Role::Moderator),
        Prefer::Speaker => u64::from(!seat.floor),
        Prefer::Hands => seat.hand.unwrap_or(u64::MAX),
    };
    region.prefer.iter().map(rule).collect()
}

/// Who was there stays, where they were; free places go to the most important of the others. All are ranks.
fn choose(before: &[Key], all: usize, ranked: &[Ranked<'_>], places: usize) -> Vec<usize> {
    let rank_of = |wanted: &Key| ranked.iter().position(|ranked| key(ranked.seat) == *wanted);
    let mut old: Vec<Option<usize>> = before.iter().map(rank_of).collect();
    while old.iter().flatten().count() > places {
        let least = old.iter().flatten().max().copied();
        old.retain(|rank| *rank != least);
    }
    let staying = old.iter().flatten().count();
    let mut new: Vec<usize> = (0..all).filter(|rank| !old.contains(&Some(*rank))).take(places - staying).collect();
    let order = |rank: &usize| ranked.get(*rank).map(|ranked| (ranked.seat.part, ranked.seat.arrival));
    new.sort_by_key(order);
    let mut new = new.into_iter();
    // In the same step one goes and another comes: in the same place.
    let mut chosen: Vec<usize> = old.into_iter().filter_map(|place| place.or_else(|| new.next())).collect();
    for newcomer in new {
        let place = chosen.iter().position(|other| order(other) > order(&newcomer)).unwrap_or(chosen.len());
        chosen.insert(place, newcomer);
    }
    chosen
}
