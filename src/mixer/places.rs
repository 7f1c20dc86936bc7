//! The tiles of the Scene on this canvas, and how they get from the places of one Scene to those of the next.
//!
//! In: a Scene, and the tiles before it. Out: [`Place`]s. It paints nothing.

use std::sync::Arc;

use recorder_core::ids::TrackKind;
use recorder_core::scene::{CanvasSize, Rect, Scene, Tile};
use recorder_core::time::SessionTime;

use super::canvas::{on_canvas, overlap};
use super::label::TextArtist;
use super::motion::{Motion, seed};
use super::overlay::Overlay;

/// What a tile was last painted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Painted {
    Nothing,
    Placeholder,
    Picture(u64),
}

/// A tile on this canvas.
pub(super) struct Place {
    pub(super) tile: Tile,
    /// Where it is now.
    pub(super) rect: Rect,
    /// Where the Scene wants it.
    pub(super) target: Rect,
    /// On its way to the target.
    pub(super) motion: Option<Motion>,
    pub(super) name: Option<Arc<Overlay>>,
    /// Tiles before this one that share pixels with it, where the Scene wants them.
    pub(super) below: Vec<usize>,
    pub(super) painted: Painted,
}

/// The tiles of a Scene, each where it is wanted.
pub(super) fn places(scene: &Scene, canvas: CanvasSize, artist: &mut TextArtist) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::with_capacity(scene.tiles.len());
    for tile in &scene.tiles {
        let Some(rect) = on_canvas(tile.rect, scene.canvas, canvas) else { continue };
        let below = (0..places.len()).filter(|i| overlap(places[*i].target, rect)).collect();
        let name = tile.label.as_ref().and_then(|label| artist.name(label, rect));
        let tile = tile.clone();
        places.push(Place { tile, rect, target: rect, motion: None, name, below, painted: Painted::Nothing });
    }
    places
}

/// Lets `new` begin where `old` is now, if the Scene wants a transition. A tile that keeps its target goes on as it does.
pub(super) fn set_off(new: &mut [Place], old: &[Place], scene: &Scene, began: SessionTime) {
    let is_smooth = !scene.transition.is_zero() && !old.is_empty();
    let mut taken = vec![false; old.len()];
    for place in new {
        let before = counterpart(&place.tile, old, &taken);
        if let Some(index) = before {
            taken[index] = true;
        }
        let from = match before.map(|index| &old[index]) {
            Some(before) if before.target == place.target => {
                (place.rect, place.motion) = (before.rect, before.motion);
                continue;
            }
            Some(before) => before.rect,
            None => seed(place.target),
        };
        if is_smooth {
            (place.rect, place.motion) = (from, Some(Motion { from, began, lasts: scene.transition }));
        }
    }
}

/// The tile that showed the same before: the same Track, or the same person when one of the two is a placeholder.
fn counterpart(tile: &Tile, old: &[Place], taken: &[bool]) -> Option<usize> {
    let free = |wanted: &dyn Fn(&Tile) -> bool| old.iter().zip(taken).position(|(place, taken)| !taken && wanted(&place.tile));
    let is_screen = |tile: &Tile| tile.video.as_ref().is_some_and(|track| track.kind == TrackKind::Screen);
    free(&|before| before.participant == tile.participant && before.video == tile.video).or_else(|| {
        let is_placeholder = |before: &Tile| before.video.is_none() || tile.video.is_none();
        free(&|before| before.participant == tile.participant && is_placeholder(before) && !is_screen(before) && !is_screen(tile))
    })
}
