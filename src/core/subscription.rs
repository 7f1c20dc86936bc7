//! Which Tracks are received, and how large: derived here and nowhere else.
//!
//! In: who is in the room, and the Scene that is wished for. Out: the whole list for [`ConferenceCommand::Subscribe`]. Pure.
//! It never lists a Track that may not be received.
//!
//! [`ConferenceCommand::Subscribe`]: crate::conference::ConferenceCommand::Subscribe

use std::collections::BTreeMap;

use crate::conference::{LayerWish, Subscription};
use crate::ids::TrackId;
use crate::scene::Scene;
use crate::stage::People;
use crate::supervision::Caution;

/// Sound of everybody for as long as the Track exists, muted or not, so that no first word is lost. Video of everybody, too, but at a
/// layer only while the Track has a tile in `wished`; there a Track that is muted or awaited after a lost connection still has its tile, so
/// that its picture comes without another round trip. What `caution` forbids is not listed. Ordered by Track, so equal lists are equal.
pub fn subscriptions(people: &People, wished: &Scene, caution: &Caution) -> Vec<Subscription> {
    let layers: BTreeMap<&TrackId, LayerWish> = wished
        .tiles
        .iter()
        .filter_map(|tile| Some((tile.video.as_ref()?, LayerWish { width_px: tile.rect.width, height_px: tile.rect.height })))
        .collect();
    people
        .tracks()
        .filter(|track| caution.allows(track))
        .map(|track| Subscription { layer: layers.get(&track).copied(), track })
        .collect()
}
