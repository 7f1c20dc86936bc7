//! Why a request to a storage failed, as far as it decides what comes next.
//!
//! In: what the adapter saw. Out: whether to hurry or to wait, and the sentence for people. Pure.

use std::time::Duration;

use crate::fault::{Blame, Fault, Retry, Scope};

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No connection, or it broke, or nothing came in time. What was asked may have been done.
    Unreachable(Reach),
    /// The storage says that it cannot just now (5xx, 429). What was asked may have been done.
    Unavailable,
    /// The storage refuses what was asked, and will until somebody mends it. It was not done.
    Refused(Refusal),
    /// The storage does not know the upload.
    NoSuchUpload,
    /// The storage does not accept the parts that it has as an object.
    BadParts,
    /// What arrived was not what was sent.
    Damaged,
    /// The object that was made is not seen, or not as it must be.
    NotAsSent,
    /// The local file cannot be read.
    Local(String),
}

/// How far a request got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// The name of the storage leads to no address.
    NoName,
    /// There is no connection.
    NoConnection,
    /// Its certificate is not to be trusted.
    NotTrusted,
    /// The connection broke.
    Broken,
    /// No answer came in time.
    NoAnswer,
}

/// What a storage refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The access key is not known, or the secret does not belong to it.
    WrongKey,
    /// The key may not do this.
    AccessDenied,
    /// There is no such bucket.
    NoSuchBucket,
    /// This machine's clock is wrong.
    ClockDiffers,
    /// The bucket belongs to another region.
    WrongRegion,
    /// Checksums in requests are not understood.
    ChecksumsNotUnderstood,
    /// The file is larger than an object may be.
    TooLarge,
    /// So many objects have the recording's name that none is free.
    NoFreeName,
    /// Something else; the storage's own code, such as `QuotaExceeded`.
    Other(String),
}

impl Trouble {
    /// Somebody must mend it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Local(_) | Self::Unreachable(Reach::NotTrusted))
    }

    /// The storage has not done what was asked.
    pub(super) fn is_not_done(&self) -> bool {
        match self {
            Self::Refused(_) | Self::NoSuchUpload | Self::BadParts | Self::Damaged | Self::Local(_) => true,
            Self::Unreachable(reach) => matches!(reach, Reach::NoName | Reach::NoConnection | Reach::NotTrusted),
            Self::Unavailable | Self::NotAsSent => false,
        }
    }

    /// What is told.
    pub fn to_fault(&self) -> Fault {
        let (blame, what) = self.blame_and_words();
        let retry = if self.is_refusal() { Duration::from_secs(60) } else { Duration::from_secs(20) };
        let sentence = format!(
            "The recording is not in the storage yet: {what}. It is kept on this machine, and will be uploaded as soon as that is possible."
        );
        Fault { scope: Scope::Target, blame, retry: Retry::After(retry), sentence }
    }

    /// What it is, as the second half of a sentence, without what becomes of a recording.
    pub fn words(&self) -> String {
        self.blame_and_words().1
    }

    fn blame_and_words(&self) -> (Blame, String) {
        match self {
            Self::Unreachable(Reach::NoName) => (Blame::Operator, "the name of the storage leads to no address".into()),
            Self::Unreachable(Reach::NoConnection) => (Blame::Destination, "the storage cannot be reached".into()),
            Self::Unreachable(Reach::NotTrusted) => (Blame::Operator, "the storage's certificate is not trusted".into()),
            Self::Unreachable(Reach::Broken) => (Blame::Destination, "the connection to the storage breaks".into()),
            Self::Unreachable(Reach::NoAnswer) => (Blame::Destination, "the storage does not answer in time".into()),
            Self::Unavailable => (Blame::Destination, "the storage says that it is not available now".into()),
            Self::NoSuchUpload => (Blame::Destination, "the storage has forgotten what was sent, which is sent anew".into()),
            Self::BadParts => (Blame::Destination, "the storage does not accept what was sent, which is sent anew".into()),
            Self::Damaged => (Blame::Destination, "data are damaged on their way to the storage".into()),
            Self::NotAsSent => (Blame::Destination, "the storage does not show the recording as it was sent".into()),
            Self::Local(reason) => (Blame::Operator, format!("the local copy cannot be read ({reason})")),
            Self::Refused(refusal) => refusal.blame_and_words(),
        }
    }
}

impl Refusal {
    fn blame_and_words(&self) -> (Blame, String) {
        let words = match self {
            Self::WrongKey => "the storage does not accept the access key or its secret",
            Self::AccessDenied => "the access key is not allowed to write there, or to read what it wrote",
            Self::NoSuchBucket => "the bucket does not exist",
            Self::ClockDiffers => "the clock of this machine is wrong",
            Self::WrongRegion => "the bucket belongs to another region than the configured one",
            Self::ChecksumsNotUnderstood => {
                "the storage does not understand checksums, which can be switched off in the configuration"
            }
            Self::TooLarge => "it is larger than an object may be",
            Self::NoFreeName => "too many objects have its name",
            Self::Other(code) => return (Blame::Destination, format!("the storage refuses it ({code})")),
        };
        (Blame::Operator, words.into())
    }
}
