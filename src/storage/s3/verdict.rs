//! What an error of the SDK means for an upload.
//!
//! In: errors of aws-sdk-s3. Out: [`Trouble`]. Decides by types, status codes and the storage's own error codes, never by sentences.

use std::error::Error;
use std::io;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::dns::ResolveDnsError;
use recorder_core::upload::trouble::Reach;
use recorder_core::upload::{Refusal, Trouble};

/// What went wrong.
pub(super) fn trouble<E>(error: &SdkError<E, HttpResponse>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::TimeoutError(_) => Trouble::Unreachable(Reach::NoAnswer),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Trouble::Unreachable(Reach::NoAnswer),
        SdkError::DispatchFailure(_) => Trouble::Unreachable(reach(error)),
        // Nothing was sent: the values themselves cannot be asked for.
        SdkError::ConstructionFailure(_) => Trouble::Refused(Refusal::Other("request cannot be made".into())),
        SdkError::ServiceError(service) => answer(service.err().code(), service.raw().status().as_u16()),
        // An answer that is cut, or is none of S3.
        SdkError::ResponseError(response) => answer(None, response.raw().status().as_u16()),
        _ => Trouble::Unavailable,
    }
}

fn answer(code: Option<&str>, status: u16) -> Trouble {
    match (code.unwrap_or_default(), status) {
        ("NoSuchUpload", _) => Trouble::NoSuchUpload,
        ("InvalidPart" | "InvalidPartOrder" | "EntityTooSmall", _) => Trouble::BadParts,
        ("BadDigest" | "IncompleteBody" | "InvalidDigest" | "XAmzContentSHA256Mismatch", _) => Trouble::Damaged,
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken", 400..500) => {
            Trouble::Refused(Refusal::WrongKey)
        }
        ("NoSuchBucket", _) => Trouble::Refused(Refusal::NoSuchBucket),
        ("RequestTimeTooSkewed", _) => Trouble::Refused(Refusal::ClockDiffers),
        (
            "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
            _,
        )
        | ("", 301 | 307) => Trouble::Refused(Refusal::WrongRegion),
        ("EntityTooLarge", _) => Trouble::Refused(Refusal::TooLarge),
        ("RequestTimeout" | "SlowDown" | "OperationAborted" | "InternalError", _) => Trouble::Unavailable,
        (_, 403 | 401) => Trouble::Refused(Refusal::AccessDenied),
        // 501: not this request, ever. All others above 500, and too many requests, pass.
        (_, 408 | 429 | 500 | 502..) => Trouble::Unavailable,
        // 200 with a body that is cut.
        (_, ..=399) => Trouble::Unavailable,
        ("", status) => Trouble::Refused(Refusal::Other(format!("status {status}"))),
        (code, _) => Trouble::Refused(Refusal::Other(code.chars().filter(char::is_ascii_alphanumeric).take(64).collect())),
    }
}

/// How far a request without an answer came.
fn reach(error: &(dyn Error + 'static)) -> Reach {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<ResolveDnsError>() {
            return Reach::NoName;
        }
        if let Some(rustls::Error::InvalidCertificate(_)) = cause.downcast_ref() {
            return Reach::NotTrusted;
        }
        next = match cause.downcast_ref::<io::Error>() {
            Some(io) if is_no_connection(io.kind()) => return Reach::NoConnection,
            // What an I/O error holds is not its source.
            Some(io) => io.get_ref().map(|held| held as &(dyn Error + 'static)).or_else(|| cause.source()),
            None => cause.source(),
        };
    }
    Reach::Broken
}

fn is_no_connection(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_before_the_status() {
        for (code, status, expected) in [
            (Some("NoSuchUpload"), 404, Trouble::NoSuchUpload),
            (Some("InvalidPart"), 400, Trouble::BadParts),
            (Some("BadDigest"), 400, Trouble::Damaged),
            (Some("SignatureDoesNotMatch"), 403, Trouble::Refused(Refusal::WrongKey)),
            (Some("AccessDenied"), 403, Trouble::Refused(Refusal::AccessDenied)),
            (None, 403, Trouble::Refused(Refusal::AccessDenied)),
            (Some("NoSuchBucket"), 404, Trouble::Refused(Refusal::NoSuchBucket)),
            (Some("InternalError"), 200, Trouble::Unavailable),
            (Some("SlowDown"), 503, Trouble::Unavailable),
            (None, 500, Trouble::Unavailable),
            (None, 504, Trouble::Unavailable),
            (None, 429, Trouble::Unavailable),
            (Some("NotImplemented"), 501, Trouble::Refused(Refusal::Other("NotImplemented".into()))),
            (Some("Quota<Exceeded>"), 400, Trouble::Refused(Refusal::Other("QuotaExceeded".into()))),
            (None, 418, Trouble::Refused(Refusal::Other("status 418".into()))),
        ] {
            assert_eq!(answer(code, status), expected, "{code:?} {status}");
        }
    }

    #[test]
    fn what_an_io_error_holds_is_seen() {
        let certificate = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(reach(&io::Error::other(io::Error::other(certificate))), Reach::NotTrusted);
        assert_eq!(reach(&io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused))), Reach::NoConnection);
        assert_eq!(reach(&io::Error::from(io::ErrorKind::ConnectionReset)), Reach::Broken);
    }
}
