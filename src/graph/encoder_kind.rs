//! Who encodes H.264: x264, or an encoder of the machine's hardware.
//!
//! In: what the operator wishes. Out: a graph, and its settings on the element that is named `encoder` in it. Hardware is used by nobody who has not
//! seen it work: see [`super::proof`].

use gstreamer as gst;
use gstreamer::prelude::*;
use recorder_core::effort::Effort;
use serde::{Deserialize, Serialize};

use super::encoder::VideoSettings;
use super::template::{GraphError, Template};

/// What the operator wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderWish {
    /// x264.
    #[default]
    Software,
    /// The first hardware that is proven, else x264.
    Auto,
    /// This one if it is proven, else x264.
    Hardware(Hardware),
}

/// Encoders of hardware that GStreamer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hardware {
    /// NVIDIA.
    Nvenc,
    /// Intel, by its Video Processing Library.
    Qsv,
    /// Intel and AMD, by VA-API.
    Va,
}

/// Who encodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncoderKind {
    /// x264.
    #[default]
    X264,
    /// Hardware.
    Hardware(Hardware),
}

/// What Roomcast sets for every x264, as in the template.
const OPTIONS: &str = "scenecut=0:open-gop=0";

pub(super) const X264: Template = Template::new("encode-h264", include_str!("../../pipelines/encode-h264.launch"));

impl EncoderWish {
    /// What is to be tried, in this order, before x264.
    pub fn candidates(self) -> &'static [Hardware] {
        match self {
            Self::Software => &[],
            Self::Auto => &[Hardware::Nvenc, Hardware::Qsv, Hardware::Va],
            Self::Hardware(Hardware::Nvenc) => &[Hardware::Nvenc],
            Self::Hardware(Hardware::Qsv) => &[Hardware::Qsv],
            Self::Hardware(Hardware::Va) => &[Hardware::Va],
        }
    }
}

impl Hardware {
    /// As it is called in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvenc => "nvenc",
            Self::Qsv => "qsv",
            Self::Va => "va",
        }
    }

    const fn template(self) -> Template {
        match self {
            Self::Nvenc => Template::new("encode-h264-nvenc", include_str!("../../pipelines/encode-h264-nvenc.launch")),
            Self::Qsv => Template::new("encode-h264-qsv", include_str!("../../pipelines/encode-h264-qsv.launch")),
            Self::Va => Template::new("encode-h264-va", include_str!("../../pipelines/encode-h264-va.launch")),
        }
    }

    /// The property that says how many pictures a keyframe begins.
    fn group_property(self) -> &'static str {
        match self {
            Self::Nvenc | Self::Qsv => "gop-size",
            Self::Va => "key-int-max",
        }
    }
}

impl EncoderKind {
    /// Its graph.
    pub(super) fn template(self) -> Template {
        match self {
            Self::X264 => X264,
            Self::Hardware(hardware) => hardware.template(),
        }
    }

    /// Whether it can make less effort.
    pub fn has_efforts(self) -> bool {
        self == Self::X264
    }

    /// Sets rate, keyframes and effort.
    pub(super) fn set_up(self, encoder: &gst::Element, settings: &VideoSettings) -> Result<(), GraphError> {
        let group = settings.fps * settings.gop_seconds;
        match self {
            Self::X264 => {
                encoder.set_property("bitrate", settings.kbps);
                encoder.set_property("vbv-buf-capacity", 1000u32);
                encoder.set_property("key-int-max", group);
                // Entropy coding, transform, references and weighting stay, because the headers tell them; only the search for savings gets shorter.
                match settings.effort {
                    Effort::Full => {}
                    Effort::Less => encoder.set_property_from_str("speed-preset", "superfast"),
                    Effort::Least => {
                        encoder.set_property_from_str("speed-preset", "superfast");
                        encoder.set_property("option-string", format!("{OPTIONS}:subme=0:partitions=none:aq-mode=0"));
                    }
                }
            }
            Self::Hardware(hardware) => {
                for (property, value) in [("bitrate", settings.kbps), (hardware.group_property(), group)] {
                    // Elements of hardware differ between drivers and versions; GLib ends the process for a property that is not there.
                    if encoder.find_property(property).is_none() {
                        return Err(GraphError::Settings(self.template().name()));
                    }
                    encoder.set_property_from_str(property, &value.to_string());
                }
            }
        }
        Ok(())
    }
}
