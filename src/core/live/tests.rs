use crate::fault::Blame;

use super::*;

const TICK: Duration = Duration::from_millis(50);

/// What the other side does, at a time and in an attempt that has lasted so long.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Peer {
    /// TCP refuses at once.
    Refuses,
    /// Nothing comes back, from this step on.
    Silent(Step),
    /// Publishing begins after 300 ms and goes on.
    Takes,
    /// Publishing begins, the connection is cut so long after.
    CutsAfter(Duration),
    /// Publishing begins, bytes move for so long, and then no more.
    StallsAfter(Duration),
    /// Refuses with these words.
    Says(Reason),
}

/// One destination and its peer on virtual time.
struct World {
    live: Live,
    now: SessionTime,
    /// Of the attempt that runs.
    begun: Option<SessionTime>,
    publishing: Option<SessionTime>,
    confirmed: u64,
    attempts: Vec<SessionTime>,
    told: Vec<(SessionTime, LiveState)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let live = Live::new(SessionTime::ZERO, seed);
        let (begun, publishing) = (None, None);
        let mut world =
            Self { live, now: SessionTime::ZERO, begun, publishing, confirmed: 0, attempts: Vec::new(), told: Vec::new() };
        world.obey();
        world
    }

    fn obey(&mut self) {
        while let Some(action) = self.live.poll_action() {
            match action {
                Action::Attempt { .. } => {
                    assert!(self.begun.is_none(), "two connections at once");
                    self.attempts.push(self.now);
                    self.begun = Some(self.now);
                }
                Action::Abort => {
                    assert!(self.begun.take().is_some(), "no connection to abort");
                    self.publishing = None;
                }
                Action::Close => {}
                Action::Tell(state) => self.told.push((self.now, state)),
            }
        }
    }

    fn handle(&mut self, input: Input) {
        if matches!(input, Input::Failed(_) | Input::Closed) {
            (self.begun, self.publishing) = (None, None);
        }
        self.live.handle(input, self.now);
        self.obey();
    }

    /// Lets `time` pass with this peer.
    fn run(&mut self, time: Duration, peer: impl Fn(SessionTime) -> Peer) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + TICK;
            if self.live.poll_wake().is_some_and(|at| at <= self.now) {
                self.handle(Input::Woken);
            }
            if let Some(begun) = self.begun {
                self.peer(peer(self.now), begun);
            }
        }
    }

    fn peer(&mut self, peer: Peer, begun: SessionTime) {
        if let Some(since) = self.publishing {
            let lasted = self.now.since(since);
            let moves = match peer {
                Peer::CutsAfter(time) if lasted >= time => return self.handle(Input::Failed(Reason::Cut)),
                Peer::StallsAfter(time) => lasted < time,
                Peer::Takes | Peer::CutsAfter(_) => true,
                Peer::Silent(_) => false,
                Peer::Refuses | Peer::Says(_) => return self.handle(Input::Failed(Reason::Cut)),
            };
            self.confirmed += if moves { 10_000 } else { 0 };
            let evidence = Evidence { confirmed: self.confirmed, waiting: true, ..Evidence::default() };
            return self.handle(Input::Evidence(evidence));
        }
        match peer {
            Peer::Refuses => self.handle(Input::Failed(Reason::ConnectionRefused)),
            Peer::Says(reason) if self.now.since(begun) >= TICK * 2 => self.handle(Input::Failed(reason)),
            Peer::Silent(step) => self.handle(Input::Reached(step)),
            Peer::Takes | Peer::CutsAfter(_) | Peer::StallsAfter(_) if self.now.since(begun) >= TICK * 6 => {
                self.confirmed = 3000;
                self.publishing = Some(self.now);
                self.handle(Input::Reached(Step::Publish));
                self.handle(Input::Publishing);
            }
            _ => {}
        }
    }

    fn gaps_ms(&self) -> Vec<u128> {
        self.attempts.windows(2).map(|pair| pair[1].since(pair[0]).as_millis()).collect()
    }

    /// When a state that fits was told first, from `from` on.
    fn first(&self, from: SessionTime, fits: impl Fn(&LiveState) -> bool) -> Option<SessionTime> {
        self.told.iter().find(|(at, state)| *at >= from && fits(state)).map(|(at, _)| *at)
    }
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn at(s: u64) -> SessionTime {
    SessionTime::from_millis(s * 1000)
}

#[test]
fn live_is_told_after_three_seconds_of_progress_and_not_before() {
    let mut world = World::new(1);
    world.run(secs(60), |_| Peer::Takes);
    let states: Vec<_> = world.told.iter().map(|(_, state)| state.clone()).collect();
    assert_eq!(states, [LiveState::Connecting, LiveState::Live]);
    let live_at = world.told[1].0;
    assert!(live_at >= SessionTime::from_millis(3300) && live_at < SessionTime::from_millis(3700), "{live_at}");
    assert_eq!(world.attempts.len(), 1);
}

#[test]
fn bytes_of_before_publishing_are_no_progress() {
    let mut live = Live::new(at(0), 1);
    live.handle(Input::Publishing, at(1));
    for n in 0..100 {
        let evidence = Evidence { confirmed: 3500, waiting: false, ..Evidence::default() };
        live.handle(Input::Evidence(evidence), at(1) + TICK * n);
    }
    assert_eq!(live.state(), &LiveState::Connecting);
}

#[test]
fn a_pause_in_the_progress_begins_the_three_seconds_anew() {
    let mut live = Live::new(at(0), 1);
    live.handle(Input::Publishing, at(0));
    let mut confirmed = 100;
    for ms in (0..9000).step_by(100) {
        // Nothing moves from 2 s to 4 s, though data waits.
        confirmed += if (2000..4000).contains(&ms) { 0 } else { 1000 };
        live.handle(Input::Evidence(Evidence { confirmed, waiting: true, ..Evidence::default() }), SessionTime::from_millis(ms));
        assert_eq!(live.state() == &LiveState::Live, ms >= 7000, "at {ms} ms");
    }
}

#[test]
fn away_for_ten_minutes_and_back_on_air_within_five_seconds() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.run(secs(20), |_| Peer::Takes);
        // Back at a moment that differs with the seed.
        let back = at(620) + Duration::from_millis(seed * 83);
        world.run(secs(640), |now| if now < back { Peer::Refuses } else { Peer::Takes });
        let lost = world.first(at(20), |s| matches!(s, LiveState::Retrying { .. })).unwrap();
        assert!(lost.since(at(20)) <= secs(5), "told at {lost}");
        let gaps = world.gaps_ms();
        assert!(gaps[1..].iter().all(|gap| (1000..=4000).contains(gap)), "{gaps:?}");
        assert!(world.attempts.len() > 150 && world.attempts.len() < 601, "{} attempts", world.attempts.len());
        let returned = *world.attempts.last().unwrap();
        assert!(returned.since(back) + Duration::from_millis(300) <= secs(5), "attempt at {returned}, back at {back}");
        assert_eq!(world.live.state(), &LiveState::Live);
        assert!(world.told.iter().all(|(_, s)| !matches!(s, LiveState::Refused { .. })));
    }
}

#[test]
fn jitter_differs_between_destinations() {
    let attempts = |seed| {
        let mut world = World::new(seed);
        world.run(secs(60), |_| Peer::Refuses);
        world.attempts
    };
    assert_ne!(attempts(1), attempts(2));
    assert_eq!(attempts(1), attempts(1));
}

#[test]
fn a_black_hole_shows_within_five_seconds_at_every_step_and_is_tried_again_soon() {
    for step in [Step::Lookup, Step::Connect, Step::Secure, Step::Handshake, Step::Enter, Step::Publish] {
        let mut world = World::new(7);
        world.run(secs(60), |_| Peer::Silent(step));
        let (told, state) = &world.told[1];
        assert!(
            matches!(state, LiveState::Retrying { attempt: 2, reason, .. } if *reason == Reason::NoAnswer(step)),
            "{state:?}"
        );
        assert!(told.since(at(0)) <= secs(5), "{step:?} told at {told}");
        assert!(world.gaps_ms().iter().all(|gap| (1000..=6100).contains(gap)), "{step:?}: {:?}", world.gaps_ms());
    }
}

#[test]
fn a_rejected_key_is_refused_at_once_and_tried_rarely() {
    let mut world = World::new(3);
    world.run(secs(600), |_| Peer::Says(Reason::Rejected(Step::Publish)));
    let refused =
        world.first(at(0), |s| matches!(s, LiveState::Refused { reason: Reason::Rejected(Step::Publish), .. })).unwrap();
    assert!(refused.since(at(0)) < secs(1));
    let gaps = world.gaps_ms();
    assert!(gaps.iter().all(|gap| (30_000..=60_500).contains(gap)), "{gaps:?}");
    assert!(world.told.iter().all(|(_, s)| !matches!(s, LiveState::Retrying { .. } | LiveState::Live)));
    let fault = world.live.state().fault(world.now).unwrap();
    assert_eq!(fault.blame, Blame::Operator);
    assert!(matches!(fault.retry, Retry::After(wait) if wait <= secs(60)));
}

#[test]
fn a_server_that_hangs_up_at_publish_is_refused_the_second_time_within_five_seconds() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.run(secs(300), |_| Peer::Says(Reason::Closed(Step::Publish)));
        assert!(matches!(world.told[1].1, LiveState::Retrying { .. }), "once may be a restart");
        let refused = world.first(at(0), |s| matches!(s, LiveState::Refused { .. })).unwrap();
        assert!(refused.since(at(0)) <= secs(5), "{refused}");
        assert!(world.gaps_ms()[1..].iter().all(|gap| *gap >= 30_000), "{:?}", world.gaps_ms());
    }
}

#[test]
fn a_foreign_certificate_is_refused() {
    let mut world = World::new(3);
    world.run(secs(100), |_| Peer::Says(Reason::Certificate(CertificateFault::WrongName)));
    assert!(matches!(world.live.state(), LiveState::Refused { .. }));
    assert!(world.attempts.len() <= 4, "{:?}", world.attempts);
}

#[test]
fn a_late_rejection_is_refused_within_fifteen_seconds_and_not_shown_as_live_again() {
    // Accepts, and hangs up 5 s later.
    let mut world = World::new(4);
    world.run(secs(400), |_| Peer::CutsAfter(secs(5)));
    let refused = world.first(at(0), |s| matches!(s, LiveState::Refused { .. })).unwrap();
    assert!(refused.since(at(0)) <= secs(15), "{refused}");
    assert_eq!(world.first(refused, |s| matches!(s, LiveState::Live)), None, "{:?}", world.told);
    assert!(world.gaps_ms()[1..].iter().all(|gap| *gap >= 30_000), "{:?}", world.gaps_ms());
}

#[test]
fn flapping_every_three_seconds_is_refused_and_never_a_storm() {
    let mut world = World::new(5);
    world.run(secs(600), |now| if now.as_nanos() / 3_000_000_000 % 2 == 0 { Peer::Takes } else { Peer::Refuses });
    assert!(world.first(at(0), |s| matches!(s, LiveState::Refused { .. })).is_some(), "{:?}", world.told);
    assert!(world.gaps_ms().iter().all(|gap| *gap >= 1000), "{:?}", world.gaps_ms());
    assert!(world.attempts.len() < 200, "{} attempts", world.attempts.len());
}

#[test]
fn one_early_cut_is_forgiven_and_long_publishing_clears_it() {
    let mut world = World::new(6);
    world.run(secs(200), |now| match now {
        // Two early cuts with a long stretch between them.
        now if now < at(3) => Peer::CutsAfter(secs(1)),
        now if now < at(60) => Peer::Takes,
        now if now < at(61) => Peer::Refuses,
        now if now < at(64) => Peer::CutsAfter(secs(1)),
        _ => Peer::Takes,
    });
    assert!(world.told.iter().all(|(_, s)| !matches!(s, LiveState::Refused { .. })), "{:?}", world.told);
    assert_eq!(world.live.state(), &LiveState::Live);
}

#[test]
fn a_stall_is_noticed_within_eight_seconds_and_tried_again() {
    for stall in [0, 1, 5, 30] {
        let mut world = World::new(8);
        world.run(secs(60), |_| Peer::StallsAfter(secs(stall)));
        let lost = world.first(at(0), |s| matches!(s, LiveState::Retrying { reason: Reason::Stalled, .. })).unwrap();
        let begun = at(stall) + Duration::from_millis(300);
        assert!(lost.since(begun) <= secs(8), "stalled at {begun}, told at {lost}");
        assert_eq!(world.told.iter().any(|(_, s)| *s == LiveState::Live), stall >= 5, "{:?}", world.told);
        assert!(world.told.iter().all(|(_, s)| !matches!(s, LiveState::Refused { .. })));
        assert!(world.gaps_ms()[0] <= u128::from(stall) * 1000 + 10_000, "{:?}", world.gaps_ms());
    }
}

#[test]
fn a_programme_that_gives_nothing_is_no_stall() {
    let mut live = Live::new(at(0), 1);
    live.handle(Input::Publishing, at(0));
    for s in 0..120 {
        live.handle(Input::Evidence(Evidence { confirmed: 5000, waiting: false, ..Evidence::default() }), at(s));
    }
    assert_eq!(live.poll_wake(), None);
    assert_eq!(live.state(), &LiveState::Connecting);
}

#[test]
fn a_server_that_stops_counting_stalls_even_though_its_machine_confirms() {
    let mut live = Live::new(at(0), 1);
    live.handle(Input::Publishing, at(0));
    for s in 0..=10 + STALL.as_secs() {
        let sent = s * 100_000;
        // It counts for 10 s, in steps of 100 kB.
        let counted = Some(sent.min(1_000_000));
        let evidence =
            Evidence { confirmed: sent + 1, waiting: true, sent, counted, count_step: 100_000, behind: Duration::ZERO };
        live.handle(Input::Evidence(evidence), at(s));
        let is_stalled = matches!(live.state(), LiveState::Retrying { reason: Reason::Stalled, .. });
        assert_eq!(is_stalled, s >= 10 + STALL.as_secs(), "at {s} s: {:?}", live.state());
    }
    // One that never counts is judged by TCP alone.
    let mut live = Live::new(at(0), 1);
    live.handle(Input::Publishing, at(0));
    for s in 0..30 {
        let evidence = Evidence { confirmed: s * 100_000 + 1, waiting: true, sent: s * 100_000, ..Evidence::default() };
        live.handle(Input::Evidence(evidence), at(s));
    }
    assert_eq!(live.state(), &LiveState::Live);
}

#[test]
fn lateness_is_told_in_whole_seconds_and_with_hysteresis() {
    let mut world = World::new(9);
    world.run(secs(10), |_| Peer::Takes);
    world.told.clear();
    for behind_ms in [1900, 2000, 2500, 3100, 1500, 1100, 900, 1500] {
        world.now = world.now + TICK;
        world.confirmed += 1;
        let behind = Duration::from_millis(behind_ms);
        world.handle(Input::Evidence(Evidence { confirmed: world.confirmed, waiting: true, behind, ..Evidence::default() }));
    }
    let states: Vec<_> = world.told.drain(..).map(|(_, state)| state).collect();
    use LiveState::Behind;
    assert_eq!(states, [Behind { by_s: 2 }, Behind { by_s: 3 }, Behind { by_s: 1 }, LiveState::Live]);
}

#[test]
fn the_end_is_polite_while_publishing_and_at_once_otherwise() {
    let mut world = World::new(1);
    world.run(secs(10), |_| Peer::Takes);
    world.live.handle(Input::End, world.now);
    assert_eq!(world.live.poll_action(), Some(Action::Close));
    world.handle(Input::Closed);
    assert!(world.live.is_over() && world.live.state() == &LiveState::Ended);

    // The other side does not answer the farewell.
    let mut world = World::new(1);
    world.run(secs(10), |_| Peer::Takes);
    world.handle(Input::End);
    let wake = world.live.poll_wake().unwrap();
    assert!(wake.since(world.now) <= secs(3));
    world.now = wake;
    world.handle(Input::Woken);
    assert!(world.live.is_over() && world.begun.is_none());

    let mut live = Live::new(at(0), 1);
    live.handle(Input::End, at(1));
    assert!(live.is_over());
    let actions: Vec<_> = std::iter::from_fn(|| live.poll_action()).collect();
    assert!(actions.contains(&Action::Abort), "{actions:?}");
    // Nothing follows.
    live.handle(Input::Failed(Reason::Cut), at(2));
    live.handle(Input::Woken, at(100));
    assert_eq!((live.poll_action(), live.poll_wake()), (None, None));
}

#[test]
fn no_sequence_of_inputs_makes_a_storm_or_two_connections() {
    use proptest::prelude::*;
    let input = prop_oneof![
        Just(Input::Reached(Step::Handshake)),
        Just(Input::Publishing),
        Just(Input::Failed(Reason::Cut)),
        Just(Input::Failed(Reason::ConnectionRefused)),
        Just(Input::Failed(Reason::Rejected(Step::Publish))),
        Just(Input::Woken),
        (0_u64..1_000_000, any::<bool>()).prop_map(|(confirmed, waiting)| Input::Evidence(Evidence {
            confirmed,
            waiting,
            ..Evidence::default()
        })),
    ];
    let steps = proptest::collection::vec((input, 0_u64..3000), 1..200);
    proptest!(|(steps in steps, seed: u64)| {
        let mut world = World::new(seed);
        for (input, ms) in steps {
            world.now = world.now + Duration::from_millis(ms);
            // A connection that does not exist says nothing.
            if world.begun.is_some() || input == Input::Woken {
                world.handle(input);
            }
        }
        prop_assert!(world.gaps_ms().iter().all(|gap| *gap >= 1000), "{:?}", world.gaps_ms());
    });
}

/// Somebody who presses the button does not wait for the time of the next attempt.
#[test]
fn who_does_not_want_to_wait_gets_an_attempt_at_once() {
    let mut live = Live::new(SessionTime::ZERO, 1);
    live.handle(Input::TryNow, SessionTime::from_millis(10));
    live.handle(Input::Failed(Reason::NoAnswer(Step::Connect)), SessionTime::from_millis(50));
    assert!(live.poll_wake().is_some_and(|at| at > SessionTime::from_millis(900)));
    let before = std::iter::from_fn(|| live.poll_action()).filter(|action| matches!(action, Action::Attempt { .. })).count();
    assert_eq!(before, 1, "while an attempt runs there is no second one");
    live.handle(Input::TryNow, SessionTime::from_millis(100));
    assert_eq!(live.poll_action(), Some(Action::Attempt { number: 2 }));
}
