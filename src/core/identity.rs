//! When an access token is asked for, and whether the one that is there may still be used.
//!
//! In: what the identity provider answered, that somebody refused the token, and the time. Out: [`Action::Ask`]. Pure: it holds no token, opens no
//! connection and reads no clock; its random numbers come from a seed. Times are on a clock that goes on while the machine sleeps.
//!
//! Rules:
//! - A token is renewed when half of its life is over. So the provider may be away for the other half before anybody notices, and a token of four
//!   seconds works as well as one of a day.
//! - The last eighth of its life, at most 10 s, is not used: clocks differ, and the token has a way to go.
//! - Never two requests at once. After a failure that may pass by itself the next one comes after 0.25 to 20 s, after a refusal, which somebody must
//!   mend, after 5 to 60 s; for ever.
//! - A token that is refused elsewhere is renewed at once, but one that came for this reason is not: whoever refuses a fresh token has another reason.

use std::time::Duration;

use crate::dice::Dice;
use crate::fault::{Blame, Fault, Retry, Scope};
use crate::time::SessionTime;

mod trouble;

pub use trouble::Trouble;

/// The part of a token's life that is not used, in one of so many parts.
const UNUSED_PART: u32 = 8;
/// The longest time that is not used.
const UNUSED_MOST: Duration = Duration::from_secs(10);
/// However short its life is, the next one is asked for after this time.
const LEAST: Duration = Duration::from_millis(500);
/// First pause after a failure that may pass by itself.
const FIRST: Duration = Duration::from_millis(250);
/// Longest pause after such a failure.
const LONGEST: Duration = Duration::from_secs(20);
/// First pause after a refusal.
const FIRST_REFUSED: Duration = Duration::from_secs(5);
/// Longest pause after a refusal.
const LONGEST_REFUSED: Duration = Duration::from_secs(60);

/// What is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A token came that is good for so long.
    Got {
        /// From now on.
        life: Duration,
    },
    /// No token came.
    Failed(Trouble),
    /// [`Identity::poll_wake`] is reached.
    Woken,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Ask the provider; then [`Input::Got`] or [`Input::Failed`].
    Ask,
}

/// What follows when somebody refused the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterRefusal {
    /// Another one is on its way.
    Renewing,
    /// It was renewed for this very reason just before: another one will not help.
    Final,
}

/// A token, without the token.
#[derive(Clone, Copy, Debug)]
struct Held {
    usable_until: SessionTime,
    /// It was asked for because the one before was refused.
    is_forced: bool,
    is_refused: bool,
}

/// The identity of this service.
#[derive(Debug)]
pub struct Identity {
    held: Option<Held>,
    is_asking: bool,
    /// The answer that is awaited replaces a token that was refused.
    is_forcing: bool,
    action: Option<Action>,
    failures: u32,
    trouble: Option<Trouble>,
    next_try: SessionTime,
    dice: Dice,
}

impl Identity {
    /// Nothing is there yet; the first request is due at once.
    pub fn new(seed: u64, now: SessionTime) -> Self {
        let mut identity = Self {
            held: None,
            is_asking: false,
            is_forcing: false,
            action: None,
            failures: 0,
            trouble: None,
            next_try: now,
            dice: Dice::new(seed),
        };
        identity.ask_if_due(now);
        identity
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: SessionTime) {
        match input {
            Input::Got { life } => {
                let unused = (life / UNUSED_PART).min(UNUSED_MOST);
                self.held =
                    Some(Held { usable_until: now + life.saturating_sub(unused), is_forced: self.is_forcing, is_refused: false });
                (self.is_asking, self.is_forcing) = (false, false);
                (self.failures, self.trouble) = (0, None);
                self.next_try = now + (life / 2).max(LEAST);
            }
            Input::Failed(trouble) => {
                self.is_asking = false;
                self.failures = self.failures.saturating_add(1);
                let (first, longest) = if trouble.is_refusal() { (FIRST_REFUSED, LONGEST_REFUSED) } else { (FIRST, LONGEST) };
                let pause = first.saturating_mul(1 << (self.failures - 1).min(16)).min(longest);
                self.next_try = now + self.dice.between(pause / 2, pause);
                self.trouble = Some(trouble);
            }
            Input::Woken => {}
        }
        self.ask_if_due(now);
    }

    /// The token that is held was refused by somebody who was to believe it.
    pub fn refused(&mut self, now: SessionTime) -> AfterRefusal {
        let Some(held) = &mut self.held else { return AfterRefusal::Renewing };
        if held.is_forced {
            return AfterRefusal::Final;
        }
        if !held.is_refused {
            held.is_refused = true;
            self.is_forcing = true;
            // A failure before does not make this wait: the provider may long be back.
            self.next_try = now;
            self.ask_if_due(now);
        }
        AfterRefusal::Renewing
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// When [`Input::Woken`] is due; `None` while an answer is awaited.
    pub fn poll_wake(&self) -> Option<SessionTime> {
        (!self.is_asking).then_some(self.next_try)
    }

    /// Whether the token that is held may be used.
    pub fn is_usable(&self, now: SessionTime) -> bool {
        self.held.is_some_and(|held| !held.is_refused && now < held.usable_until)
    }

    /// Whether an answer is awaited.
    pub fn is_asking(&self) -> bool {
        self.is_asking
    }

    /// Why there is no token, and when the next request comes.
    pub fn fault(&self, now: SessionTime) -> Fault {
        let trouble = self.trouble.as_ref().unwrap_or(&Trouble::TooSlow);
        Fault { retry: Retry::After(self.next_try.since(now)), ..trouble.fault() }
    }

    fn ask_if_due(&mut self, now: SessionTime) {
        if !self.is_asking && now >= self.next_try {
            self.is_asking = true;
            self.action = Some(Action::Ask);
        }
    }
}

/// What is said when a token that was made just before is refused.
pub fn refused_for_good(has_role: Option<bool>) -> Fault {
    let sentence = match has_role {
        Some(false) => trouble::MISSING_ROLE.to_owned(),
        _ => "The OpenTalk controller refuses an access token that was made just before: look whether [keycloak] issuer is the realm that the \
              controller believes, and whether the controller was restarted since the realm's keys were changed."
            .to_owned(),
    };
    Fault { scope: Scope::Session, blame: Blame::Operator, retry: Retry::Never, sentence }
}

#[cfg(test)]
#[path = "identity/tests.rs"]
mod tests;
