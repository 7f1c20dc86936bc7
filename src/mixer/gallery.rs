//! The still pictures that the Scene needs: avatars, logos, backdrops.
//!
//! In: pictures as they become known, and what the Scenes name. Out: the pictures. Keeps exactly what the Scene or a pending one names; whoever offers a picture
//! does so again when a later Scene names it anew.

use std::collections::HashMap;
use std::sync::Arc;

use recorder_core::ids::ParticipantId;
use recorder_core::scene::{Content, Ornament, Scene};

use super::picture::Picture;
use super::still::Still;

/// Pictures by what they are for.
#[derive(Default)]
pub(super) struct Gallery {
    avatars: HashMap<ParticipantId, Option<Still>>,
    images: HashMap<Arc<str>, Option<Still>>,
    backdrops: HashMap<Arc<str>, Option<Picture>>,
}

impl Gallery {
    /// Makes room for what these Scenes name, and forgets everything else.
    pub(super) fn keep_named<'a>(&mut self, scenes: impl Iterator<Item = &'a Scene> + Clone) {
        keep(&mut self.avatars, scenes.clone().flat_map(|scene| &scene.tiles).map(|tile| &tile.participant));
        keep(&mut self.images, scenes.clone().flat_map(|scene| &scene.ornaments).filter_map(image_path));
        keep(&mut self.backdrops, scenes.filter_map(|scene| scene.backdrop.as_ref()));
    }

    /// Gives a person a picture, or takes it away. False if nobody asked for it.
    pub(super) fn set_avatar(&mut self, participant: &ParticipantId, still: Option<Still>) -> bool {
        put(&mut self.avatars, participant, still)
    }

    /// The picture of a file that an ornament shows.
    pub(super) fn set_image(&mut self, path: &str, still: Still) -> bool {
        put(&mut self.images, path, Some(still))
    }

    /// The picture of a file behind everything, in the size of the canvas.
    pub(super) fn set_backdrop(&mut self, path: &str, picture: Picture) -> bool {
        put(&mut self.backdrops, path, Some(picture))
    }

    pub(super) fn avatar(&self, participant: &ParticipantId) -> Option<&Still> {
        self.avatars.get(participant)?.as_ref()
    }

    pub(super) fn image(&self, path: &str) -> Option<&Still> {
        self.images.get(path)?.as_ref()
    }

    pub(super) fn backdrop(&self, path: &str) -> Option<&Picture> {
        self.backdrops.get(path)?.as_ref()
    }

    /// Pictures that are held.
    pub(super) fn held(&self) -> usize {
        self.avatars.values().flatten().count()
            + self.images.values().flatten().count()
            + self.backdrops.values().flatten().count()
    }
}

/// The file that an ornament shows.
fn image_path(ornament: &Ornament) -> Option<&Arc<str>> {
    match &ornament.content {
        Content::Image { path } => Some(path),
        Content::Plain | Content::Text(_) | Content::Clock { .. } => None,
    }
}

fn keep<'a, K, P>(known: &mut HashMap<K, Option<P>>, named: impl Iterator<Item = &'a K>)
where
    K: std::hash::Hash + Eq + Clone + 'a,
{
    let mut before = std::mem::take(known);
    for key in named {
        if !known.contains_key(key) {
            known.insert(key.clone(), before.remove(key).flatten());
        }
    }
}

fn put<K, Q, P>(known: &mut HashMap<K, Option<P>>, key: &Q, new: Option<P>) -> bool
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    known.get_mut(key).map(|place| *place = new).is_some()
}
