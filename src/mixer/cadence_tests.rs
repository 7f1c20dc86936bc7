//! A source and a mixer without pictures: only instants.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const TICK_NS: i64 = 33_333_333;
/// Decoded pictures that wait at most, as in the mixer.
const AHEAD: usize = 4;

/// A source: its period, when its first picture was captured relative to a tick, and how much each capture time is off.
struct Source<'a> {
    period_ns: f64,
    phase_ns: i64,
    tremble_ns: &'a mut dyn FnMut() -> i64,
}

/// What was shown: at which tick, which picture, and how far from its instant.
struct Shown {
    tick: usize,
    picture: usize,
    e_ns: i64,
}

fn run(source: &mut Source<'_>, ticks: usize) -> Vec<Shown> {
    let start = 10_000_000_000i64;
    let mut cadence = Cadence::new(Duration::from_nanos(TICK_NS as u64));
    let (mut waiting, mut next, mut shown) = (VecDeque::new(), 0usize, Vec::new());
    for tick in 0..ticks {
        let at = SessionTime::from_nanos((start + tick as i64 * TICK_NS) as u64);
        while waiting.len() < AHEAD {
            let ideal = start + source.phase_ns + (next as f64 * source.period_ns) as i64;
            waiting.push_back((next, SessionTime::from_nanos((ideal + (source.tremble_ns)()) as u64)));
            next += 1;
        }
        if let Choice::Show(position) = cadence.choose(at, waiting.iter().map(|(_, capture)| *capture)) {
            let (picture, capture) = waiting[position];
            waiting.drain(..=position);
            shown.push(Shown { tick, picture, e_ns: at.signed_since(capture) });
        }
    }
    shown
}

/// Ticks at which the picture before was repeated, and pictures that were left out, after the first.
fn faults(shown: &[Shown]) -> (usize, usize) {
    shown
        .windows(2)
        .fold((0, 0), |(repeats, skips), w| (repeats + (w[1].tick - w[0].tick - 1), skips + (w[1].picture - w[0].picture - 1)))
}

/// What is shown after the phase has settled.
fn settled(shown: &[Shown]) -> &[Shown] {
    &shown[SETTLING_PICTURES as usize..]
}

/// xorshift: evenly spread over ±`reach`, the same for the same seed.
fn tremble(seed: u64, reach_ns: i64) -> impl FnMut() -> i64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if reach_ns == 0 { 0 } else { (state >> 11) as i64 % (2 * reach_ns + 1) - reach_ns }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_rates_show_every_picture_once_at_any_phase(phase_ns in 0..TICK_NS, reach_ns in 0..8_000_000i64, seed: u64) {
        let mut tremble_ns = tremble(seed, reach_ns);
        let shown = run(&mut Source { period_ns: TICK_NS as f64, phase_ns, tremble_ns: &mut tremble_ns }, 3000);
        prop_assert!(shown.len() > 2990);
        prop_assert_eq!(faults(settled(&shown)), (0, 0));
    }

    #[test]
    fn a_clock_that_learns_how_long_the_camera_took_turns_no_picture(
        phase_ns in 0..TICK_NS, reach_ns in 0..4_000_000i64, learned_ns in 0..14_000_000i64, seed: u64,
    ) {
        // From the third second on reports arrive; the capture times move earlier, by 5 ms a second.
        let (mut tremble_ns, mut picture) = (tremble(seed, reach_ns), 0i64);
        let mut moving_ns = || {
            picture += 1;
            tremble_ns() - ((picture - 90).max(0) * TICK_NS / 200).min(learned_ns)
        };
        let shown = run(&mut Source { period_ns: TICK_NS as f64, phase_ns, tremble_ns: &mut moving_ns }, 900);
        prop_assert_eq!(faults(settled(&shown)), (0, 0));
        // What a person sees and hears together is right from the beginning on, for a camera of usual speed.
        if (7_000_000..13_000_000).contains(&learned_ns) {
            let late: Vec<i64> = shown.iter().skip(600).map(|shown| shown.e_ns).collect();
            let mean = late.iter().sum::<i64>() / late.len() as i64;
            prop_assert!(mean.abs() < 22_000_000, "mean {}", mean);
        }
    }

    #[test]
    fn whatever_the_capture_times_something_is_shown_in_order_and_in_time(
        steps_ns in prop::collection::vec(0..120_000_000i64, 50..400), phase_ns in 0..TICK_NS,
    ) {
        let start = 1_000_000_000i64;
        let captures: Vec<i64> = steps_ns.iter().scan(start + phase_ns, |t, step| { *t += step; Some(*t) }).collect();
        let mut cadence = Cadence::new(Duration::from_nanos(TICK_NS as u64));
        let (mut taken, mut tick) = (0, start);
        while taken < captures.len() && tick < start + 60_000_000_000 {
            let window = captures[taken..].iter().take(AHEAD).map(|t| SessionTime::from_nanos(*t as u64));
            match cadence.choose(SessionTime::from_nanos(tick as u64), window) {
                Choice::Show(position) => {
                    prop_assert!(position < AHEAD.min(captures.len() - taken));
                    taken += position + 1;
                    // Never further ahead of its instant than a turn and a half period.
                    prop_assert!(captures[taken - 1] - tick <= (TICK_NS as f64 * (TURN + 0.5)) as i64);
                }
                // Nothing that is a turn and a half period late is kept waiting.
                Choice::Hold => prop_assert!(tick - captures[taken] <= (TICK_NS as f64 * (TURN + 0.5)) as i64),
            }
            tick += TICK_NS;
        }
        prop_assert_eq!(taken, captures.len());
    }
}

#[test]
fn for_hours_at_the_worst_phases() {
    for (seed, phase_ns) in [(1, 0), (2, TICK_NS / 2 - 1), (3, TICK_NS / 2 + 1), (4, TICK_NS - 1)] {
        let mut tremble_ns = tremble(seed * 0x9e37_79b9, 8_000_000);
        let shown = run(&mut Source { period_ns: TICK_NS as f64, phase_ns, tremble_ns: &mut tremble_ns }, 3 * 3600 * 30);
        assert_eq!(faults(settled(&shown)), (0, 0), "phase {phase_ns}");
        let furthest = shown.iter().map(|s| s.e_ns.abs()).max().unwrap();
        assert!(furthest <= TICK_NS, "{furthest}");
    }
}

#[test]
fn a_drifting_clock_costs_one_picture_a_period_and_no_chatter() {
    for ppm in [100.0, -100.0] {
        for reach_ns in [0, 8_000_000] {
            let mut tremble_ns = tremble(7, reach_ns);
            let period_ns = TICK_NS as f64 * (1.0 + ppm / 1e6);
            let ticks = 2 * 3600 * 30;
            let shown = run(&mut Source { period_ns, phase_ns: 5_000_000, tremble_ns: &mut tremble_ns }, ticks);
            let (repeats, skips) = faults(&shown);
            // 2 h at 100 ppm drift by 0.72 s: 21.6 periods.
            let (wanted, other) = if ppm > 0.0 { (repeats, skips) } else { (skips, repeats) };
            assert!((21..=22).contains(&wanted) && other == 0, "{ppm} ppm: {repeats} repeats, {skips} skips");
            let limit = (TURN * TICK_NS as f64) as i64 + 2 * reach_ns + 1_000_000;
            assert!(shown.iter().all(|s| s.e_ns.abs() <= limit));
            let turns: Vec<usize> = shown
                .windows(2)
                .filter(|w| w[1].tick - w[0].tick != 1 || w[1].picture - w[0].picture != 1)
                .map(|w| w[1].tick)
                .collect();
            assert!(turns.windows(2).all(|w| w[1] - w[0] > 300 * 30), "chatter at {turns:?}");
        }
    }
}

#[test]
fn other_rates() {
    // Rate, pictures shown and left out in 60 s, longest stay of a picture in ticks.
    for (fps, shown_wanted, skips_wanted, stay_wanted) in
        [(15.0, 900usize, 0usize, 2usize), (25.0, 1500, 0, 2), (60.0, 1800, 1798, 1), (10.0, 600, 0, 3), (29.97, 1798, 0, 2)]
    {
        for phase_ns in [0, 9_000_000, TICK_NS / 2, 25_000_000] {
            for reach_ns in [0, 3_000_000] {
                let mut tremble_ns = tremble(11, reach_ns);
                let shown = run(&mut Source { period_ns: 1e9 / fps, phase_ns, tremble_ns: &mut tremble_ns }, 1800);
                let skips = faults(&shown).1;
                let stay = shown.windows(2).map(|w| w[1].tick - w[0].tick).max().unwrap();
                let what = format!(
                    "{fps} fps, phase {phase_ns}, tremble {reach_ns}: {} shown, {skips} left out, {stay} stay",
                    shown.len()
                );
                assert!(shown.len().abs_diff(shown_wanted) <= 2, "{what}");
                assert!(skips.abs_diff(skips_wanted) <= 4, "{what}");
                assert_eq!(stay, stay_wanted, "{what}");
                let mean = shown.iter().map(|s| s.e_ns).sum::<i64>() / shown.len() as i64;
                assert!(mean.abs() <= TICK_NS * 8 / 10, "{what}: mean {mean}");
            }
        }
    }
}

#[test]
fn what_waited_too_long_is_left_out_and_a_gap_is_held() {
    let tick = |n: i64| SessionTime::from_nanos((1_000_000_000 + n * TICK_NS) as u64);
    let mut cadence = Cadence::new(Duration::from_nanos(TICK_NS as u64));
    assert_eq!(cadence.choose(tick(0), []), Choice::Hold);
    assert_eq!(cadence.choose(tick(0), [tick(1), tick(2)]), Choice::Hold, "nothing is shown before its time");
    assert_eq!(cadence.choose(tick(1), [tick(1), tick(2)]), Choice::Show(0));
    assert_eq!(cadence.choose(tick(5), [tick(2), tick(3), tick(4), tick(5)]), Choice::Show(3), "a stall is made up at once");
    assert_eq!(cadence.choose(tick(9), [tick(6)]), Choice::Show(0), "late is better than never");
    assert_eq!(cadence.choose(tick(10), [tick(30)]), Choice::Hold);
    assert_eq!(cadence.choose(tick(30), [tick(30), tick(31)]), Choice::Show(0), "a still screen goes on where it was");
}
