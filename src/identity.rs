//! Who we are for an OpenTalk controller: the access token of our service client, kept fresh.
//!
//! In: the `[keycloak]` section. Out: a token that is good now, or the [`Fault`] that says why there is none. One task owns the token and asks the
//! provider, never twice at once; [`recorder_core::identity`] decides when. Runs on tokio. The provider being away is noticed only when the
//! token that is there comes to its end. Refuses to log a token or a secret, and to believe what stands in a token: it is read only to explain refusals.

use std::time::Duration;

use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::identity::{Action, AfterRefusal, Identity as Decisions, Input, refused_for_good};
use recorder_core::secret::Secret;
use recorder_core::time::SessionTime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

mod claims;
mod provider;

pub use claims::Claims;
pub use provider::{Provider, ProviderSettings, Token};

/// Questions that may wait for the task.
const QUESTIONS: usize = 64;
/// Callers that may wait for one answer of the provider.
const WAITING: usize = 1024;

/// What a caller does whose token was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Asks for another token, and tries once more.
    TryAnother,
    /// Gives up: this is why.
    Final(Fault),
}

enum Question {
    Token(oneshot::Sender<Result<Secret, Fault>>),
    Refused(Secret, oneshot::Sender<Refusal>),
}

/// The identity of this service. Cheap to clone; the task ends with the last clone.
#[derive(Clone, Debug)]
pub struct Identity {
    questions: mpsc::Sender<Question>,
}

impl Identity {
    /// Begins to ask for a token, so that one is there when the first is needed.
    pub fn start(provider: Provider) -> Self {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let keeper = Keeper {
            decisions: Decisions::new(seed(), now()),
            provider,
            token: None,
            waiting: Vec::new(),
            was_failing: false,
            request: None,
        };
        tokio::spawn(keeper.run(asked));
        Self { questions }
    }

    /// A token that is good now. Waits while the provider is being asked, which takes at most 10 s, and not for a later attempt.
    ///
    /// # Errors
    /// Why there is none, and when the provider is asked again.
    pub async fn token(&self) -> Result<Secret, Fault> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.questions.send(Question::Token(answer)).await.ok()?;
            answered.await.ok()
        };
        asking.await.unwrap_or_else(|| Err(busy()))
    }

    /// The controller has answered 401 to a request with this token.
    pub async fn refused(&self, token: &Secret) -> Refusal {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.questions.send(Question::Refused(token.clone(), answer)).await.ok()?;
            answered.await.ok()
        };
        asking.await.unwrap_or_else(|| Refusal::Final(busy()))
    }
}

/// Nobody answers.
fn busy() -> Fault {
    let sentence = "There is no access token at the moment.".into();
    Fault { scope: Scope::Process, blame: Blame::Us, retry: Retry::After(Duration::from_secs(1)), sentence }
}

/// The task that owns the token.
struct Keeper {
    decisions: Decisions,
    provider: Provider,
    token: Option<Token>,
    waiting: Vec<oneshot::Sender<Result<Secret, Fault>>>,
    was_failing: bool,
    request: Option<JoinHandle<provider::Answer>>,
}

impl Keeper {
    async fn run(mut self, mut asked: mpsc::Receiver<Question>) {
        loop {
            while let Some(Action::Ask) = self.decisions.poll_action() {
                let provider = self.provider.clone();
                self.request = Some(tokio::spawn(async move { provider.token().await }));
            }
            let wake = self.decisions.poll_wake();
            tokio::select! {
                question = asked.recv() => match question {
                    Some(question) => self.answer(question),
                    None => break,
                },
                answer = finished(&mut self.request) => self.take(answer),
                () = sleep_until(wake) => self.decisions.handle(Input::Woken, now()),
            }
        }
        if let Some(request) = self.request {
            request.abort();
        }
    }

    fn answer(&mut self, question: Question) {
        // A machine that slept has not been woken by the timer yet.
        self.decisions.handle(Input::Woken, now());
        match question {
            Question::Token(answer) => match self.usable() {
                Some(token) => _ = answer.send(Ok(token)),
                None if self.decisions.is_asking() && self.waiting.len() < WAITING => self.waiting.push(answer),
                None if self.decisions.is_asking() => _ = answer.send(Err(busy())),
                None => _ = answer.send(Err(self.decisions.fault(now()))),
            },
            Question::Refused(token, answer) => {
                let held = self.token.as_ref().filter(|held| held.secret == token);
                let refusal = match held.map(|held| (self.decisions.refused(now()), held)) {
                    Some((AfterRefusal::Final, held)) => Refusal::Final(refused_for_good(held.claims.has_role())),
                    // One that was replaced meanwhile is no news.
                    Some((AfterRefusal::Renewing, _)) | None => Refusal::TryAnother,
                };
                _ = answer.send(refusal);
            }
        }
    }

    /// Takes the provider's answer in, and passes it on to whoever waits.
    fn take(&mut self, answer: provider::Answer) {
        match answer {
            Ok(token) => {
                if std::mem::take(&mut self.was_failing) {
                    tracing::info!("the identity provider gives access tokens again");
                }
                if token.claims.has_role() == Some(false) && self.token.as_ref().is_none_or(|old| old.claims != token.claims) {
                    let sentence = refused_for_good(Some(false)).sentence;
                    tracing::warn!("{sentence}");
                }
                let life = token.life;
                self.token = Some(token);
                self.decisions.handle(Input::Got { life }, now());
            }
            Err(trouble) => {
                if !std::mem::replace(&mut self.was_failing, true) {
                    tracing::warn!("{} It is asked again and again.", trouble.fault().sentence);
                }
                self.decisions.handle(Input::Failed(trouble), now());
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            // Nobody may wait any more.
            _ = waiting.send(self.usable().ok_or_else(|| self.decisions.fault(now())));
        }
    }

    fn usable(&self) -> Option<Secret> {
        let token = self.token.as_ref().filter(|_| self.decisions.is_usable(now()))?;
        Some(token.secret.clone())
    }
}

/// The answer to the request that is on its way.
async fn finished(request: &mut Option<JoinHandle<provider::Answer>>) -> provider::Answer {
    let answer = match request {
        Some(request) => request.await,
        None => return std::future::pending().await,
    };
    *request = None;
    // A task that broke is one of ours, and is treated as an answer that nobody understands.
    answer.unwrap_or(Err(recorder_core::identity::Trouble::NotUnderstood))
}

async fn sleep_until(wake: Option<SessionTime>) {
    match wake {
        Some(at) => tokio::time::sleep(at.since(now())).await,
        None => std::future::pending().await,
    }
}

/// Time that goes on while the machine sleeps: tokens do not wait for it.
fn now() -> SessionTime {
    // The clock is there on every Linux; a zero would only make tokens look younger.
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    time.map(|time| SessionTime::from_nanos(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)).unwrap_or_default()
}

/// Different in each process, so that many services do not ask in one instant.
fn seed() -> u64 {
    now().as_nanos() ^ (u64::from(std::process::id()) << 32)
}
