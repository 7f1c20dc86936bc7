//! What of an upload outlives the process: the content of its journal.
//!
//! In: nothing. Out: values that are saved before each step that cannot be repeated. Pure. Refuses to hold anything secret: who reads
//! the journal learns where the object is, and what has been sent of it.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// One upload, as far as it must be known to go on with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Stored with the object, so that it can be told from any other under the same key. Made once, by chance.
    pub identity: String,
    /// The object's key as it was ordered.
    pub ordered_key: String,
    /// The object's key. Not the ordered one when another object had that.
    pub key: String,
    /// What was begun.
    pub step: Step,
    /// The parts that the storage has confirmed.
    pub parts: BTreeMap<u32, SentPart>,
    /// Length of the file, once it is ended.
    pub ended: Option<u64>,
    /// Uploads to this key that were there before ours; not ours to abort.
    pub strangers: Vec<String>,
    /// The storage may have begun an upload whose id never reached us.
    pub doubt: bool,
}

/// How far it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Nothing was asked of the storage that leaves a trace.
    New,
    /// An upload is being begun; its id is not known.
    Creating,
    /// Parts are being sent.
    Sending {
        /// The storage's name of the upload.
        upload_id: String,
    },
    /// The parts are being made an object.
    Completing {
        /// The storage's name of the upload.
        upload_id: String,
    },
    /// The whole file is being sent at once.
    Putting,
    /// The object is there, and was looked at. The last step of most uploads.
    Stored,
    /// The upload is being taken back.
    Abandoning {
        /// The storage's name of the upload.
        upload_id: String,
    },
    /// Nothing of it is left.
    Abandoned,
}

/// A part that the storage has confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentPart {
    /// Its length.
    pub len: u64,
    /// What the storage calls its content.
    pub etag: String,
    /// MD5 of what was sent, in hexadecimal.
    pub md5: String,
}

impl Record {
    /// Nothing done yet. `identity` must never be used twice.
    pub fn new(key: impl Into<String>, identity: impl Into<String>) -> Self {
        let key = key.into();
        Self {
            identity: identity.into(),
            ordered_key: key.clone(),
            key,
            step: Step::New,
            parts: BTreeMap::new(),
            ended: None,
            strangers: Vec::new(),
            doubt: false,
        }
    }

    /// The storage's name of the upload.
    pub(super) fn upload_id(&self) -> Option<&str> {
        match &self.step {
            Step::Sending { upload_id } | Step::Completing { upload_id } | Step::Abandoning { upload_id } => Some(upload_id),
            Step::New | Step::Creating | Step::Putting | Step::Stored | Step::Abandoned => None,
        }
    }

    /// The ETag that the object must have, where the storage makes ETags of MD5 sums: those of its parts tell. For several parts it is
    /// the MD5 of their MD5 sums, and their number.
    pub fn expected_etag(&self) -> Option<String> {
        if self.parts.is_empty() || self.parts.values().any(|part| part.etag != part.md5) {
            return None;
        }
        if self.step == Step::Putting {
            return self.parts.values().next().map(|whole| whole.md5.clone());
        }
        let mut sum = Md5::new();
        for part in self.parts.values() {
            sum.update(from_hex(&part.md5)?);
        }
        Some(format!("{}-{}", to_hex(&sum.finalize()), self.parts.len()))
    }
}

/// Lower-case hexadecimal, as ETags have it.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| digit.try_into().ok())).collect::<Option<_>>()?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(content: &[u8]) -> SentPart {
        let md5 = to_hex(&Md5::digest(content));
        SentPart { len: content.len() as u64, etag: md5.clone(), md5 }
    }

    #[test]
    fn the_etag_of_several_parts_is_the_sum_of_their_sums() {
        let mut record = Record::new("key", "identity");
        assert_eq!(record.expected_etag(), None);
        record.parts = [(1, part(b"one")), (2, part(b"two"))].into();
        // printf one | md5sum; printf two | md5sum; both as bytes | md5sum
        assert_eq!(record.expected_etag().as_deref(), Some("1397b7ee3222e3980d0d20f23a871b02-2"));
        record.parts.get_mut(&2).unwrap().etag = "encrypted".into();
        assert_eq!(record.expected_etag(), None);
    }

    #[test]
    fn a_record_survives_its_text() {
        let mut record = Record::new("a/b.mp4", "id");
        record.step = Step::Completing { upload_id: "u".into() };
        record.parts = [(7, part(b"x"))].into();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
