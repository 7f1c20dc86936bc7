use super::*;
use crate::fault::{Blame, Retry};

const MIB: u64 = 1 << 20;
/// One part of the smallest size each second.
const RATE: u64 = plan::SMALLEST_PART;

/// An upload, and its time.
struct Play {
    upload: ControllerUpload,
    now: SessionTime,
}

impl Play {
    fn new(len: u64) -> Self {
        Self::of(Record::default(), len)
    }

    fn of(record: Record, len: u64) -> Self {
        Self { upload: ControllerUpload::begin(record, len, RATE, 7), now: SessionTime::ZERO }
    }

    /// All that is to be done, but what is told.
    fn doings(&mut self) -> Vec<Action> {
        self.actions().into_iter().filter(|action| !matches!(action, Action::Tell(_))).collect()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.upload.poll_action()).collect()
    }

    fn tell(&mut self, input: Input) -> Vec<Action> {
        self.upload.handle(input, self.now);
        self.doings()
    }

    /// Time goes on to where the upload wants to be woken; how long that took.
    fn wait(&mut self) -> Duration {
        let wake = self.upload.poll_wake().expect("something is waited for");
        let waited = wake.since(self.now);
        self.now = wake;
        waited
    }

    fn state(&self) -> &State {
        &self.upload.status.state
    }

    fn given_up(&self) -> &str {
        match self.state() {
            State::GivenUp(fault) if fault.retry == Retry::Never && self.upload.is_over() => &fault.sentence,
            other => panic!("{other:?}"),
        }
    }

    /// Until all of a film of this many parts was taken, and goodbye was said.
    fn all_taken(&mut self, parts: u32) {
        self.tell(Input::Opened);
        for n in 1..=parts {
            self.tell(Input::Sent);
            if n == 1 || n < parts {
                self.wait();
                self.tell(Input::Woken);
            }
        }
    }
}

fn part(index: u32, len: u64) -> Part {
    Part { index, at: u64::from(index) * plan::SMALLEST_PART, len }
}

fn saved(step: Step, left_behind: u32) -> Action {
    Action::Save(Record { step, left_behind })
}

const BREAKS: [Input; 2] = [Input::Ended(End::Gone), Input::Ended(End::Closed(Some(1011)))];

#[test]
fn a_film_goes_part_by_part_and_ends_with_two_goodbyes() {
    let mut play = Play::new(12 * MIB);
    assert_eq!(play.doings(), [Action::Open { number: 0 }]);
    // On the disk before the first byte is on its way.
    assert_eq!(play.tell(Input::Opened), [saved(Step::Sending, 0), Action::Send(part(0, 5 * MIB))]);
    play.now = SessionTime::from_millis(300);
    assert_eq!(play.tell(Input::Sent), []);
    assert_eq!(play.wait(), LISTENING, "to a controller that does not want it");
    assert_eq!(play.tell(Input::Woken), [Action::Send(part(1, 5 * MIB))]);
    play.now = play.now + Duration::from_millis(300);
    assert_eq!(play.tell(Input::Sent), []);
    assert_eq!(play.wait(), Duration::from_millis(700), "no faster than the rate");
    assert_eq!(play.tell(Input::Woken), [Action::Send(part(2, 2 * MIB))]);
    assert_eq!(play.tell(Input::Sent), [Action::Goodbye]);
    assert_eq!(play.tell(Input::Ended(End::Closed(Some(1000)))), [Action::Drop, saved(Step::Delivered, 0)]);
    assert_eq!((play.state(), play.upload.is_over(), play.upload.poll_wake()), (&State::Delivered, true, None));
}

#[test]
fn what_was_missed_is_not_made_up_for() {
    let mut play = Play::new(22 * MIB);
    play.doings();
    play.tell(Input::Opened);
    play.tell(Input::Sent);
    play.wait();
    assert_eq!(play.tell(Input::Woken), [Action::Send(part(1, 5 * MIB))]);
    play.now = play.now + Duration::from_secs(9);
    assert_eq!(play.tell(Input::Sent), [Action::Send(part(2, 5 * MIB))]);
    assert_eq!(play.tell(Input::Sent), []);
    assert_eq!(play.wait(), Duration::from_secs(1));
}

#[test]
fn a_small_film_is_listened_for_too_before_goodbye_is_said() {
    let mut play = Play::new(1);
    play.doings();
    play.tell(Input::Opened);
    assert_eq!(play.tell(Input::Sent), []);
    assert_eq!(play.wait(), LISTENING);
    assert_eq!(play.tell(Input::Woken), [Action::Goodbye]);
}

#[test]
fn a_goodbye_without_a_code_is_one() {
    let mut play = Play::new(1);
    play.all_taken(1);
    play.tell(Input::Ended(End::Closed(None)));
    assert_eq!(play.state(), &State::Delivered);
}

#[test]
fn what_is_told_grows_with_what_was_taken() {
    let mut play = Play::new(6 * MIB);
    let mut told = Vec::new();
    let mut look = |actions: Vec<Action>| {
        told.extend(actions.into_iter().filter_map(|action| match action {
            Action::Tell(status) => Some((status.sent, status.len)),
            _ => None,
        }));
    };
    look(play.actions());
    for input in [Input::Opened, Input::Sent, Input::Woken, Input::Sent, Input::Ended(End::Closed(Some(1000)))] {
        play.now = play.now + Duration::from_secs(1);
        play.upload.handle(input, play.now);
        look(play.actions());
    }
    assert_eq!(told, [0, 5 * MIB, 6 * MIB, 6 * MIB].map(|sent| (sent, 6 * MIB)));
}

#[test]
fn a_connection_that_breaks_is_made_once_more_and_then_given_up() {
    let mut play = Play::new(12 * MIB);
    play.tell(Input::Opened);
    play.tell(Input::Sent);
    // While it waits for its rate.
    let broken = [Action::Drop, saved(Step::Waiting, 1), Action::LeftBehind { number: 0 }];
    assert_eq!(play.tell(Input::Ended(End::Gone)), broken);
    assert!(matches!(play.state(), State::Retrying(fault) if fault.sentence.contains("the connection to the controller broke")));
    assert_eq!(play.wait(), AGAIN);
    // Under another name than what was left behind.
    assert_eq!(play.tell(Input::Woken), [Action::Open { number: 1 }]);
    assert_eq!(play.tell(Input::Opened), [saved(Step::Sending, 1), Action::Send(part(0, 5 * MIB))], "from its beginning");
    assert_eq!(play.tell(Input::Ended(End::Gone)), [Action::Drop, saved(Step::Waiting, 2), Action::LeftBehind { number: 1 }]);
    assert_eq!(
        play.given_up(),
        "The recording could not be handed to the controller: the connection to the controller broke. It is kept on the recorder's machine."
    );
    assert_eq!(play.upload.poll_wake(), None);
}

#[test]
fn the_second_connection_may_deliver() {
    for input in BREAKS {
        let mut play = Play::new(1);
        play.doings();
        play.tell(Input::Opened);
        play.tell(input);
        play.wait();
        play.tell(Input::Woken);
        play.all_taken(1);
        play.tell(Input::Ended(End::Closed(Some(1000))));
        assert_eq!(play.state(), &State::Delivered);
    }
}

#[test]
fn a_controller_that_does_not_want_the_film_leaves_nothing_behind() {
    let mut play = Play::new(7 * MIB);
    for attempt in 0..ATTEMPTS {
        play.doings();
        play.tell(Input::Opened);
        play.tell(Input::Sent);
        assert_eq!(play.tell(Input::Ended(End::Closed(Some(1006)))), [Action::Drop, saved(Step::Waiting, 0)], "{attempt}");
        if attempt == 0 {
            play.wait();
            assert_eq!(play.tell(Input::Woken), [Action::Open { number: 0 }]);
        }
    }
    assert!(play.given_up().contains("its room is gone, or the storage of the room's owner is full"), "{}", play.given_up());

    // So does one that says it as an answer to the goodbye of a small film; what ends later may have left something.
    let mut small = Play::new(7);
    small.all_taken(1);
    assert_eq!(small.tell(Input::Ended(End::Closed(Some(1006)))), [Action::Drop, saved(Step::Waiting, 0)]);
    let mut late = Play::new(12 * MIB);
    late.all_taken(3);
    let left = [Action::Drop, saved(Step::Waiting, 1), Action::LeftBehind { number: 0 }];
    assert_eq!(late.tell(Input::Ended(End::Closed(Some(1011)))), left);
}

#[test]
fn a_controller_that_takes_nothing_or_says_no_goodbye_is_not_waited_for() {
    let mut play = Play::new(1);
    play.doings();
    play.tell(Input::Opened);
    assert_eq!(play.wait(), PART_LIMIT);
    assert_eq!(play.tell(Input::Woken)[0], Action::Drop);
    play.wait();
    play.tell(Input::Woken);
    play.all_taken(1);
    assert_eq!(play.wait(), GOODBYE_LIMIT);
    assert_eq!(play.tell(Input::Woken), [Action::Drop, saved(Step::Waiting, 2), Action::LeftBehind { number: 1 }]);
    assert!(play.given_up().contains("did not say that it has read all of it"), "{}", play.given_up());
}

#[test]
fn a_wake_that_comes_too_early_changes_nothing() {
    let mut play = Play::new(12 * MIB);
    play.doings();
    assert_eq!(play.tell(Input::Woken), []);
    play.tell(Input::Opened);
    play.tell(Input::Sent);
    assert_eq!(play.tell(Input::Woken), []);
    assert_eq!(play.tell(Input::Sent), [], "of no part");
}

#[test]
fn what_is_not_given_is_tried_for_ever_and_leaves_nothing() {
    for (refusal, longest, is_for_people) in
        [(Refusal::Unreachable, LONGEST, false), (Refusal::RoleMissing, LONGEST_FOR_PEOPLE, true)]
    {
        let mut play = Play::new(1);
        play.doings();
        let mut pauses = Vec::new();
        for _ in 0..200 {
            assert_eq!(play.tell(Input::Refused(refusal.clone())), []);
            let is_refused = matches!(play.state(), State::Refused(_));
            assert_eq!(is_refused, is_for_people);
            pauses.push(play.wait());
            assert_eq!(play.tell(Input::Woken), [Action::Open { number: 0 }]);
        }
        assert!(pauses[0] <= longest / 2 && pauses.iter().all(|pause| *pause <= longest && *pause >= FIRST / 2), "{pauses:?}");
        assert!(pauses[20..].iter().all(|pause| *pause >= longest / 2), "{pauses:?}");
        // It may break once as if nothing had been.
        play.tell(Input::Opened);
        play.tell(Input::Ended(End::Gone));
        assert!(matches!(play.state(), State::Retrying(_)));
    }
}

#[test]
fn what_another_process_was_sending_is_sent_anew_and_what_was_delivered_is_not() {
    let mut killed = Play::of(Record { step: Step::Sending, left_behind: 1 }, 1);
    let expected = [saved(Step::Waiting, 2), Action::LeftBehind { number: 1 }, Action::Open { number: 2 }];
    assert_eq!(killed.doings(), expected);
    // Its own two connections are left to it.
    for _ in 0..ATTEMPTS {
        assert!(!killed.upload.is_over());
        killed.tell(Input::Opened);
        killed.tell(Input::Ended(End::Gone));
        if !killed.upload.is_over() {
            killed.wait();
            killed.tell(Input::Woken);
        }
    }
    killed.given_up();
    let mut delivered = Play::of(Record { step: Step::Delivered, left_behind: 0 }, 9);
    assert_eq!((delivered.doings(), delivered.state().clone()), (Vec::new(), State::Delivered));
    let mut waiting = Play::of(Record { step: Step::Waiting, left_behind: 3 }, 9);
    assert_eq!(waiting.doings(), [Action::Open { number: 3 }]);
}

#[test]
fn what_cannot_be_read_or_is_too_large_is_given_up() {
    let mut play = Play::new(12 * MIB);
    play.doings();
    play.tell(Input::Opened);
    let doings = play.tell(Input::Unreadable("input/output error".into()));
    assert_eq!(doings, [Action::Drop, saved(Step::Waiting, 1), Action::LeftBehind { number: 0 }]);
    assert!(play.given_up().contains("its file cannot be read (input/output error)"), "{}", play.given_up());
    let mut large = Play::new(1 << 60);
    assert_eq!(large.doings(), []);
    assert!(large.given_up().contains("at most 899 GB"), "{}", large.given_up());
}

#[test]
fn a_missing_token_is_told_in_the_words_of_whoever_gives_tokens() {
    let fault = |retry| Fault {
        scope: crate::fault::Scope::Process,
        blame: Blame::Operator,
        retry,
        sentence: "The client has no secret.".into(),
    };
    let refusal = Refusal::NoToken(fault(Retry::Never));
    assert!(refusal.is_for_people() && !Refusal::NoToken(fault(Retry::After(Duration::ZERO))).is_for_people());
    let told = refusal.to_fault(Duration::from_secs(1));
    assert_eq!(
        (told.blame, told.sentence.as_str()),
        (
            Blame::Operator,
            "The recording is not at the controller yet: The client has no secret. It is kept on the recorder's machine, and is tried again."
        )
    );
}
