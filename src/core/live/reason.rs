//! Why a live destination is not live: typed, with the sentence that a moderator reads.
//!
//! The words of a server never get in here: they may hold the stream key.

use serde::{Deserialize, Serialize};

use crate::fault::{Blame, Fault, Retry, Scope};

/// The steps of one attempt, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Asking for the addresses of the host name.
    Lookup,
    /// TCP.
    Connect,
    /// TLS.
    Secure,
    /// The RTMP handshake.
    Handshake,
    /// NetConnection.connect: the application.
    Enter,
    /// NetStream.publish: the stream key.
    Publish,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateFault {
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// Signed by nobody that we trust.
    UnknownIssuer,
    /// For another host name.
    WrongName,
    /// Anything else.
    Invalid,
}

/// Why an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The host name has no address.
    UnknownHost,
    /// The operator does not allow streams to this address.
    ForbiddenAddress,
    /// The machine is there, and nothing listens.
    ConnectionRefused,
    /// No way to the machine.
    Unreachable,
    /// Nothing came within the time of this step.
    NoAnswer(Step),
    /// The other side ended the connection during this step.
    Closed(Step),
    /// The other side is not who it should be.
    Certificate(CertificateFault),
    /// No encrypted connection came about.
    NotSecure,
    /// The server said no.
    Rejected(Step),
    /// The connection ended while we were publishing.
    Cut,
    /// The server took nothing for too long.
    Stalled,
    /// What came is not RTMP, or too much of it.
    NotRtmp,
    /// This machine lacks what a connection needs.
    Local,
}

/// What a [`Reason`] means for the next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Soon.
    Again,
    /// Soon; the second time in a row it counts as a refusal.
    Suspicious,
    /// Not soon: the destination does not want us as we are.
    Refusal,
}

impl Reason {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::ForbiddenAddress | Self::Certificate(_) | Self::Rejected(_) => Verdict::Refusal,
            // Servers that check keys often just hang up. One that is being restarted does, too.
            Self::Closed(Step::Enter | Step::Publish) | Self::NotRtmp => Verdict::Suspicious,
            _ => Verdict::Again,
        }
    }

    /// One plain sentence for a moderator.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::UnknownHost => "The name of the server cannot be found.",
            Self::ForbiddenAddress => "The operator does not allow streams to the address of this server.",
            Self::ConnectionRefused => "The server refuses the connection.",
            Self::Unreachable => "The server cannot be reached.",
            Self::NoAnswer(Step::Lookup) => "The name service does not answer.",
            Self::NoAnswer(Step::Connect) => "The server does not answer.",
            Self::NoAnswer(Step::Secure) => "The server does not answer when an encrypted connection is asked for.",
            Self::NoAnswer(Step::Handshake) => "The server accepts the connection and then says nothing.",
            Self::NoAnswer(Step::Enter) => "The server does not answer when the application is opened.",
            Self::NoAnswer(Step::Publish) => "The server does not answer when the stream is begun.",
            Self::Closed(Step::Publish) => {
                "The server ends the connection when the stream is begun: the stream key may be wrong."
            }
            Self::Closed(Step::Enter) => {
                "The server ends the connection when the application is opened: the address may be wrong."
            }
            Self::Closed(_) => "The server ends the connection at once.",
            Self::Certificate(CertificateFault::Expired) => "The certificate of the server has expired.",
            Self::Certificate(CertificateFault::NotYetValid) => "The certificate of the server is not valid yet.",
            Self::Certificate(CertificateFault::UnknownIssuer) => "The certificate of the server is signed by nobody we trust.",
            Self::Certificate(CertificateFault::WrongName) => "The certificate of the server is for another name.",
            Self::Certificate(CertificateFault::Invalid) => "The certificate of the server is not valid.",
            Self::NotSecure => "No encrypted connection to the server came about.",
            Self::Rejected(Step::Publish) => "The server rejects the stream: check the stream key, and that nobody else uses it.",
            Self::Rejected(_) => "The server rejects the application: check the address.",
            Self::Cut => "The server ended the connection.",
            Self::Stalled => "The server takes no more data.",
            Self::NotRtmp => "The server does not speak RTMP properly.",
            Self::Local => "This machine cannot open another connection.",
        }
    }

    /// Who can mend it.
    pub fn blame(self) -> Blame {
        match self {
            Self::ForbiddenAddress | Self::UnknownHost | Self::Rejected(_) => Blame::Operator,
            Self::Local => Blame::Us,
            _ => Blame::Destination,
        }
    }

    /// The form in which it crosses the border of the Session.
    pub fn fault(self, retry: Retry) -> Fault {
        Fault { scope: Scope::Target, blame: self.blame(), retry, sentence: self.sentence().to_owned() }
    }
}
