//! What a [`Job`] says of its Renditions, as the Session and the programme want it.
//!
//! In: the job. Out: a [`Framing`] and an encoding of each Rendition. Pure. The supervisor has checked all of it; a job that makes no sense is
//! refused all the same, with a sentence.

use std::sync::Arc;

use recorder_core::layout::{Layout, LayoutError, NamedText};
use recorder_core::scene::{CanvasSize, CanvasSizeError};
use recorder_core::session::Framing;

use super::job::{Course, Rendition};
use crate::programme::maker::{ProgrammeSettings, RenditionSettings};

/// Why no programme can be made of a job's Renditions.
#[derive(Debug, thiserror::Error)]
pub enum RenditionError {
    /// There is none.
    #[error("a programme has at least one rendition")]
    None,
    /// Not all have the same pictures a second; the name of one that has others than the first.
    #[error("the renditions of a programme have one rate of pictures, and {0} has another")]
    Rates(String),
    /// A size.
    #[error(transparent)]
    Size(#[from] CanvasSizeError),
    /// A layout of its own.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// How each Rendition shows the people.
///
/// # Errors
/// A size or a layout that cannot be.
pub(super) fn framings(course: &Course) -> Result<Vec<Framing>, RenditionError> {
    course.renditions.iter().map(framing).collect()
}

fn framing(rendition: &Rendition) -> Result<Framing, RenditionError> {
    let layout = rendition.layout.as_ref().map(|NamedText { name, text }| Layout::parse(name, text)).transpose()?;
    Ok(Framing { canvas: CanvasSize::new(rendition.width_px, rendition.height_px)?, layout })
}

/// How all of them are made.
///
/// # Errors
/// No Rendition, or several rates of pictures.
pub(super) fn programme(course: &Course, framings: &[Framing]) -> Result<ProgrammeSettings, RenditionError> {
    let fps = course.renditions.first().ok_or(RenditionError::None)?.fps;
    if let Some(other) = course.renditions.iter().find(|rendition| rendition.fps != fps) {
        return Err(RenditionError::Rates(other.name.clone()));
    }
    let renditions: Arc<[_]> = course
        .renditions
        .iter()
        .zip(framings)
        .map(|(rendition, framing)| RenditionSettings {
            canvas: framing.canvas,
            video_kbps: rendition.video_kbps,
            sound_kbps: rendition.sound_kbps,
        })
        .collect();
    Ok(ProgrammeSettings { renditions, fps, encoder: course.encoder, delay: course.mixer_delay, level: course.level })
}
