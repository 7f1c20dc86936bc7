use super::*;

const LIFE: Duration = Duration::from_secs(300);

fn at(s: f64) -> SessionTime {
    SessionTime::from_nanos((s * 1e9) as u64)
}

/// An identity that has got its first token at second 0.
fn with_token(life: Duration) -> Identity {
    let mut identity = Identity::new(7, at(0.0));
    assert_eq!(identity.poll_action(), Some(Action::Ask));
    identity.handle(Input::Got { life }, at(0.0));
    assert_eq!(identity.poll_action(), None);
    identity
}

#[test]
fn a_token_is_renewed_when_half_of_its_life_is_over_and_used_meanwhile() {
    for life in [Duration::from_secs(4), LIFE, Duration::from_secs(86_400)] {
        let mut identity = with_token(life);
        let half = SessionTime::ZERO + life / 2;
        assert_eq!(identity.poll_wake(), Some(half));
        identity.handle(Input::Woken, half - Duration::from_millis(1));
        assert_eq!(identity.poll_action(), None);
        identity.handle(Input::Woken, half);
        assert_eq!(identity.poll_action(), Some(Action::Ask));
        assert!(identity.is_usable(half));
        // Whatever happens now, there is no second request before the answer.
        identity.handle(Input::Woken, half + life);
        assert_eq!((identity.poll_action(), identity.poll_wake()), (None, None));
    }
}

#[test]
fn the_end_of_its_life_is_not_used() {
    let identity = with_token(LIFE);
    assert!(identity.is_usable(at(289.0)));
    assert!(!identity.is_usable(at(290.0)));
    let short = with_token(Duration::from_secs(4));
    assert!(short.is_usable(at(3.4)));
    assert!(!short.is_usable(at(3.5)));
    assert!(!with_token(Duration::ZERO).is_usable(at(0.0)));
}

#[test]
fn after_a_night_the_old_token_is_not_used_and_a_new_one_is_asked_for() {
    let mut identity = with_token(LIFE);
    let morning = at(36_000.0);
    assert!(!identity.is_usable(morning));
    identity.handle(Input::Woken, morning);
    assert_eq!(identity.poll_action(), Some(Action::Ask));
    identity.handle(Input::Got { life: LIFE }, morning);
    assert!(identity.is_usable(morning));
}

/// An outage shorter than half of the life is not noticed, a longer one is told; requests go on for ever, one at a time.
#[test]
fn failures_are_tried_again_for_ever_with_growing_pauses() {
    for (trouble, first, longest) in
        [(Trouble::Unavailable { status: 503 }, FIRST, LONGEST), (Trouble::WrongClient, FIRST_REFUSED, LONGEST_REFUSED)]
    {
        let mut identity = with_token(LIFE);
        let mut now = at(150.0);
        let mut pauses = Vec::new();
        for _ in 0..200 {
            identity.handle(Input::Woken, now);
            assert_eq!(identity.poll_action(), Some(Action::Ask));
            identity.handle(Input::Failed(trouble.clone()), now);
            assert_eq!(identity.poll_action(), None);
            assert_eq!(identity.is_usable(now), now < at(290.0));
            let next = identity.poll_wake().unwrap();
            assert_eq!(identity.fault(now).retry, Retry::After(next.since(now)));
            pauses.push(next.since(now));
            now = next;
        }
        assert!(pauses[0] >= first / 2 && pauses[0] <= first);
        assert!(pauses[20..].iter().all(|&pause| pause >= longest / 2 && pause <= longest));
        assert!(pauses[20..].windows(2).any(|pair| pair[0] != pair[1]));
        identity.handle(Input::Woken, now);
        assert_eq!(identity.poll_action(), Some(Action::Ask));
        identity.handle(Input::Got { life: LIFE }, now);
        assert!(identity.is_usable(now));
    }
}

#[test]
fn a_refused_token_is_renewed_at_once_but_only_once() {
    let mut identity = with_token(LIFE);
    assert_eq!(identity.refused(at(10.0)), AfterRefusal::Renewing);
    assert_eq!(identity.poll_action(), Some(Action::Ask));
    assert!(!identity.is_usable(at(10.0)));
    // A second Session was refused with the same token.
    assert_eq!(identity.refused(at(10.1)), AfterRefusal::Renewing);
    assert_eq!(identity.poll_action(), None);
    identity.handle(Input::Got { life: LIFE }, at(10.2));
    assert!(identity.is_usable(at(10.2)));
    assert_eq!(identity.refused(at(10.3)), AfterRefusal::Final);
    assert_eq!(identity.poll_action(), None);
    // Others may still be glad of it, and the next one is a usual one again.
    assert!(identity.is_usable(at(10.4)));
    identity.handle(Input::Woken, at(160.2));
    assert_eq!(identity.poll_action(), Some(Action::Ask));
    identity.handle(Input::Got { life: LIFE }, at(160.3));
    assert_eq!(identity.refused(at(160.4)), AfterRefusal::Renewing);
}

/// The provider is away, and the controller refuses what we have: the next attempt is not put off, and what follows it is paced.
#[test]
fn a_refusal_while_the_provider_is_away_asks_once_more() {
    let mut identity = with_token(LIFE);
    identity.handle(Input::Woken, at(150.0));
    assert_eq!(identity.poll_action(), Some(Action::Ask));
    identity.handle(Input::Failed(Trouble::WrongClient), at(150.0));
    assert_eq!(identity.refused(at(150.1)), AfterRefusal::Renewing);
    assert_eq!(identity.poll_action(), Some(Action::Ask));
    identity.handle(Input::Failed(Trouble::Unreachable), at(150.2));
    assert_eq!(identity.refused(at(150.3)), AfterRefusal::Renewing);
    assert_eq!(identity.poll_action(), None);
    assert!(identity.poll_wake().unwrap() > at(150.3));
}

#[test]
fn every_trouble_has_a_sentence_and_somebody_to_mend_it() {
    for (trouble, is_refusal, words) in [
        (Trouble::Unreachable, false, "cannot be reached"),
        (Trouble::NotSecure, true, "ca_file"),
        (Trouble::TooSlow, false, "in time"),
        (Trouble::Unavailable { status: 503 }, false, "503"),
        (Trouble::NoRealm, true, "realm"),
        (Trouble::OtherIssuer { issuer: "https://id.example.org/realms/x".into() }, true, "https://id.example.org/realms/x"),
        (Trouble::WrongClient, true, "client_secret"),
        (Trouble::NoServiceAccount, true, "Service accounts roles"),
        (Trouble::Refused { status: 403 }, true, "403"),
        (Trouble::NotUnderstood, true, "issuer or token_endpoint"),
    ] {
        let fault = trouble.fault();
        assert!(fault.sentence.contains(words) && fault.sentence.ends_with('.'), "{}", fault.sentence);
        assert_eq!(trouble.is_refusal(), is_refusal);
        assert_eq!(fault.blame == Blame::Operator, is_refusal);
    }
    assert!(refused_for_good(Some(false)).sentence.contains("opentalk-recorder"));
    assert!(refused_for_good(None).sentence.contains("issuer"));
}
