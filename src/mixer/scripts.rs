//! Which scripts the fonts of this machine can write, and which Debian package brings the others.
//!
//! In: fonts. Out: the [`Gap`]s. A gap is no error: a name in that script is drawn as empty boxes, and everything else works.

use super::text::Typesetter;

/// A script that cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// What it is called.
    pub script: &'static str,
    /// The Debian package with a font for it.
    pub package: &'static str,
}

/// A script, and a few characters of it. Greek and Cyrillic are asked for, too, because a font with Latin letters need not have them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) script: &'static str,
    pub(super) text: &'static str,
    package: &'static str,
}

const fn core(script: &'static str, text: &'static str) -> Sample {
    Sample { script, text, package: "fonts-noto-core" }
}

const fn cjk(script: &'static str, text: &'static str) -> Sample {
    Sample { script, text, package: "fonts-noto-cjk" }
}

/// Scripts that names of living people are written in.
pub(super) const SAMPLES: [Sample; 27] = [
    core("Latin with diacritics", "ÄÖÜßçğıłőřşțẞ"),
    core("Greek", "Ωμέγα"),
    core("Cyrillic", "Жанна Їєґ"),
    core("Arabic", "محمد گچپ"),
    core("Hebrew", "שלום"),
    core("Armenian", "Արամ"),
    core("Georgian", "ნინო"),
    core("Devanagari", "नरेन्द्र"),
    core("Bengali", "রবীন্দ্র"),
    core("Gurmukhi", "ਗੁਰਪ੍ਰੀਤ"),
    core("Gujarati", "ગુજરાતી"),
    core("Tamil", "தமிழ்"),
    core("Telugu", "తెలుగు"),
    core("Kannada", "ಕನ್ನಡ"),
    core("Malayalam", "മലയാളം"),
    core("Sinhala", "සිංහල"),
    core("Thai", "สมชาย"),
    core("Lao", "ສົມໄຊ"),
    core("Khmer", "សុខា"),
    core("Burmese", "မြန်မာ"),
    core("Tibetan", "བོད་"),
    core("Ethiopic", "አማርኛ"),
    cjk("Chinese", "李雷張偉"),
    cjk("Japanese", "山田たろうカナ"),
    cjk("Korean", "김민수"),
    Sample { script: "emoji", text: "🦊🙋", package: "fonts-noto-color-emoji" },
    core("symbols", "→✓★"),
];

/// The scripts that `setter` cannot write.
pub(super) fn gaps(setter: &mut Typesetter) -> Vec<Gap> {
    SAMPLES
        .into_iter()
        .filter(|sample| !setter.can_write(sample.text))
        .map(|Sample { script, package, .. }| Gap { script, package })
        .collect()
}
