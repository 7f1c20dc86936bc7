//! Which Tracks are received, and how large: derived here and nowhere else.
//!
//! In: who is in the room, and the Scenes that are wished for, one for each Rendition. Out: the whole list for [`ConferenceCommand::Subscribe`]. Pure.
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
/// layer only while the Track has a tile in `wished`, then as large as the largest of its tiles; there a Track that is muted or awaited after a lost connection still has its tile, so
/// that its picture comes without another round trip. What `caution` forbids is not listed. Ordered by Track, so equal lists are equal.
pub fn subscriptions(people: &People, wished: &[Scene], caution: &Caution) -> Vec<Subscription> {
    let mut layers: BTreeMap<&TrackId, LayerWish> = BTreeMap::new();
    for tile in wished.iter().flat_map(|scene| &scene.tiles) {
        let Some(track) = &tile.video else { continue };
        let layer = layers.entry(track).or_insert(LayerWish { width_px: 0, height_px: 0 });
        layer.width_px = layer.width_px.max(tile.rect.width);
        layer.height_px = layer.height_px.max(tile.rect.height);
    }
    people
        .tracks()
        .filter(|track| caution.allows(track))
        .map(|track| Subscription { layer: layers.get(&track).copied(), track })
        .collect()
}
