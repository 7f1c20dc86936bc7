//! Pictures of people, for tiles without a camera.
//!
//! In: where each person's picture lies, as the Conference says, and who is shown. Out: who has which picture now. Runs on the worker's task, with the fetching in tasks of its own and
//! the decoding on threads for what blocks. People choose the addresses, so nothing about them is trusted, and they are personal: they are never logged.
//!
//! Only pictures of those who are shown are fetched, a few at a time, and each once. What fails is tried again when a Scene comes after a minute.

mod fetch;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recorder_core::address::AddressPolicy;
use recorder_core::ids::ParticipantId;
use recorder_core::scene::{CanvasSize, Scene, Scenes};
use recorder_core::secret::Pii;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::mixer::label::WIDEST_DISC;
use crate::mixer::still::{Still, StillLimits};
pub use fetch::{AvatarError, Fetcher};

/// People whose address is remembered; those who come later keep their initials.
pub const KNOWN_PEOPLE: usize = 2000;
/// Longer addresses are ignored.
pub const LONGEST_ADDRESS: usize = 2048;
/// Pictures that are kept, also of people who are not shown now.
pub const KEPT: usize = 64;
/// Pictures that are fetched at the same time.
pub const AT_ONCE: usize = 3;
/// What failed is not tried again for so long.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What the operator allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvatarRules {
    /// Whether pictures are fetched at all.
    pub fetch: bool,
    /// Whether `http://` is allowed beside `https://`.
    pub allow_http: bool,
    /// Which addresses may be asked.
    pub policy: AddressPolicy,
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for AvatarRules {
    fn default() -> Self {
        Self { fetch: true, allow_http: false, policy: AddressPolicy::default(), ca_file: None }
    }
}

/// What is known of one address.
enum Known {
    /// Waits, or is being fetched.
    Wanted,
    Ready(Still),
    Failed(Instant),
}

struct Kept {
    known: Known,
    used: u64,
}

/// Keeps the pictures of people.
pub struct Avatars {
    /// `None`: nothing is fetched.
    fetcher: Option<Arc<Fetcher>>,
    addresses: HashMap<ParticipantId, Pii>,
    /// In each Rendition.
    shown: Vec<HashSet<ParticipantId>>,
    /// What the mixer has.
    given: HashMap<ParticipantId, Still>,
    kept: HashMap<Pii, Kept>,
    waiting: Vec<Pii>,
    running: JoinSet<(Pii, Result<Still, AvatarError>)>,
    uses: u64,
}

impl Avatars {
    /// Knows nobody yet. Nothing is fetched when the operator's certificates cannot be used: a recording does not fail for that.
    pub fn new(rules: &AvatarRules) -> Self {
        let made = rules.fetch.then(|| Fetcher::new(rules)).transpose();
        let fetcher = made.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "pictures of people are not shown");
            None
        });
        Self {
            fetcher: fetcher.map(Arc::new),
            addresses: HashMap::new(),
            shown: Vec::new(),
            given: HashMap::new(),
            kept: HashMap::new(),
            waiting: Vec::new(),
            running: JoinSet::new(),
            uses: 0,
        }
    }

    /// Where a person's picture lies, or that there is none any more.
    pub fn lies_at(&mut self, participant: &ParticipantId, address: Option<&Pii>) {
        let address = address.filter(|address| address.expose().len() <= LONGEST_ADDRESS && !address.expose().is_empty());
        match address {
            Some(address) if self.addresses.len() < KNOWN_PEOPLE || self.addresses.contains_key(participant) => {
                self.addresses.insert(participant.clone(), address.clone());
            }
            _ => drop(self.addresses.remove(participant)),
        }
        self.want();
    }

    /// A person has left the room.
    pub fn left(&mut self, participant: &ParticipantId) {
        self.addresses.remove(participant);
    }

    /// Fetches the pictures of those who are shown. Each Rendition forgets those of everybody else, so whoever comes into view in any of them is
    /// told again.
    pub fn show(&mut self, scenes: &Scenes) {
        let people = |scene: &Arc<Scene>| scene.tiles.iter().map(|tile| tile.participant.clone()).collect();
        let before = std::mem::replace(&mut self.shown, scenes.iter().map(people).collect());
        let had = |rendition: usize, participant: &ParticipantId| {
            before.get(rendition).is_some_and(|shown| shown.contains(participant))
        };
        self.given.retain(|participant, _| {
            let mut showing = self.shown.iter().enumerate().filter(|(_, shown)| shown.contains(participant)).peekable();
            showing.peek().is_some() && showing.all(|(rendition, _)| had(rendition, participant))
        });
        self.want();
    }

    /// Waits until a picture was fetched, or could not be; for ever when none is wanted.
    pub async fn fetched(&mut self) {
        let Some(joined) = self.running.join_next().await else { return std::future::pending().await };
        match joined {
            Ok((address, result)) => {
                let known = match result {
                    Ok(still) => Known::Ready(still),
                    Err(error) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "a picture of a person is not shown");
                        Known::Failed(Instant::now())
                    }
                };
                if let Some(kept) = self.kept.get_mut(&address) {
                    kept.known = known;
                }
            }
            Err(error) => tracing::warn!(%error, "a picture of a person is not shown: the task that fetches it broke"),
        }
        self.begin();
    }

    /// What has changed since the last question: who is to be shown by which picture, or by initials again.
    pub fn changes(&mut self) -> Vec<(ParticipantId, Option<Still>)> {
        let mut changes = Vec::new();
        for participant in self.shown.iter().flatten() {
            let known = self.addresses.get(participant).and_then(|address| self.kept.get(address)).map(|kept| &kept.known);
            let now = match known {
                Some(Known::Ready(still)) => Some(still.clone()),
                // The old one stands until the new one is there.
                Some(Known::Wanted) => continue,
                Some(Known::Failed(_)) | None => None,
            };
            let before = match &now {
                Some(still) => self.given.insert(participant.clone(), still.clone()),
                None => self.given.remove(participant),
            };
            if before != now {
                changes.push((participant.clone(), now));
            }
        }
        changes
    }

    /// Notes what is missing of those who are shown, and begins.
    fn want(&mut self) {
        if self.fetcher.is_none() {
            return;
        }
        self.uses += 1;
        let of_shown = self.shown.iter().flatten();
        let of_shown: Vec<Pii> = of_shown.filter_map(|participant| self.addresses.get(participant)).cloned().collect();
        for address in of_shown {
            let is_new = match self.kept.get_mut(&address) {
                Some(kept) => {
                    kept.used = self.uses;
                    matches!(kept.known, Known::Failed(since) if since.elapsed() >= RETRY_AFTER)
                }
                None => true,
            };
            if is_new {
                self.kept.insert(address.clone(), Kept { known: Known::Wanted, used: self.uses });
                self.waiting.push(address);
            }
        }
        self.forget();
        self.begin();
    }

    /// Forgets what was not needed for longest, but nothing that is needed now.
    fn forget(&mut self) {
        let uses = self.uses;
        while self.kept.len() > KEPT {
            let oldest = self.kept.iter().filter(|(_, kept)| kept.used < uses).min_by_key(|(_, kept)| kept.used);
            let Some(address) = oldest.map(|(address, _)| address.clone()) else { return };
            self.kept.remove(&address);
        }
        self.waiting.retain(|address| self.kept.contains_key(address));
    }

    fn begin(&mut self) {
        let Some(fetcher) = &self.fetcher else { return };
        while self.running.len() < AT_ONCE
            && let Some(address) = self.waiting.pop()
        {
            let fetcher = Arc::clone(fetcher);
            self.running.spawn(async move {
                let still = picture(&fetcher, &address).await;
                (address, still)
            });
        }
    }
}

/// Fetches and decodes one picture.
async fn picture(fetcher: &Fetcher, address: &Pii) -> Result<Still, AvatarError> {
    let bytes = fetcher.fetch(address).await?;
    let most = CanvasSize { width_px: WIDEST_DISC, height_px: WIDEST_DISC };
    let decoded = tokio::task::spawn_blocking(move || Still::decode(&bytes, most, StillLimits::AVATAR)).await;
    Ok(decoded.map_err(|_| AvatarError::Decoder)??)
}

#[cfg(test)]
mod tests;
