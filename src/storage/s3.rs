//! An S3 storage, by aws-sdk-s3.
//!
//! In: requests of [`recorder_core::upload`]. Out: answers, or why there is none. Runs on tokio; files are read on its blocking threads,
//! at most [`BUFFER_LEN`] bytes of each at a time. Refuses to look for credentials anywhere: neither in the environment, nor in profiles,
//! nor in the machine's metadata. Refuses to try anything again, which is decided in core, and to wait without an end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use recorder_core::secret::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;

mod requests;
mod resolver;
mod verdict;

/// Bytes of a file that are in memory for each part on its way.
const BUFFER_LEN: usize = 128 << 10;
/// A connection must be there after this time.
const CONNECT: Duration = Duration::from_secs(5);
/// A request without data must be answered after this time.
const ANSWER: Duration = Duration::from_secs(15);
/// Large objects are put together for so long at most.
const COMPLETE: Duration = Duration::from_secs(300);
/// A part or file must go with this rate at least, once [`ANSWER`] has passed.
const SLOWEST_BYTES_A_SECOND: u64 = 32 << 10;
/// So long not one byte may go.
const STALL: Duration = Duration::from_secs(20);

/// Where an S3 storage is, and who we are there.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// Address of a storage that is not Amazon's: `https://s3.example.org`.
    pub endpoint: Option<Url>,
    /// The bucket's region; most storages that are not Amazon's take any.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Whether the bucket is named in the path or in the host's name.
    pub addressing: Addressing,
    /// Whether requests carry checksums that old storages do not understand.
    pub checksums: Checksums,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Access key.
    pub access_key: Secret,
    /// Its secret.
    pub secret_key: Secret,
    /// For keys that are lent for a time.
    pub session_token: Option<Secret>,
}

/// How a bucket is named in requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addressing {
    /// `https://host/bucket/key`: what storages other than Amazon's understand.
    Path,
    /// `https://bucket.host/key`.
    Host,
}

/// Checksums beside Content-MD5, which each part carries in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksums {
    /// Only where the protocol demands one.
    WhenRequired,
    /// Wherever they are allowed.
    WhenSupported,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// The file with certificates cannot be read.
    #[error("the certificates in {} cannot be read", file.display())]
    CaFile {
        /// Which file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file with certificates holds none that can be used.
    #[error("{} holds no certificate that can be used", file.display())]
    NoCertificate {
        /// Which file.
        file: PathBuf,
    },
    /// The system trusts nobody.
    #[error("this system has no trusted certificates; install the package ca-certificates, or name a file with certificates")]
    NoSystemCertificates,
    /// Not `http` or `https`.
    #[error("the address of a storage begins with https:// or http://")]
    BadEndpoint,
}

/// A bucket of an S3 storage.
#[derive(Clone)]
pub struct S3Store {
    client: aws_sdk_s3::Client,
    bucket: String,
}

impl S3Store {
    /// A client; nothing is asked of the storage yet.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn new(settings: &S3Settings) -> Result<Self, S3Error> {
        if settings.endpoint.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
            return Err(S3Error::BadEndpoint);
        }
        let token = settings.session_token.as_ref().map(|token| token.expose().to_owned());
        let credentials =
            Credentials::new(settings.access_key.expose(), settings.secret_key.expose(), token, None, "roomcast configuration");
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .http_client(http_client(settings)?)
            .force_path_style(settings.addressing == Addressing::Path)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(ANSWER))
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().upload_enabled(true).download_enabled(false).grace_period(STALL).build(),
            )
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .request_checksum_calculation(match settings.checksums {
                Checksums::WhenRequired => RequestChecksumCalculation::WhenRequired,
                Checksums::WhenSupported => RequestChecksumCalculation::WhenSupported,
            });
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint.as_str().trim_end_matches('/'));
        }
        Ok(Self { client: aws_sdk_s3::Client::from_conf(config.build()), bucket: settings.bucket.clone() })
    }
}

/// All limits of a request that must be answered within `limit`.
fn timeouts(limit: Duration) -> TimeoutConfig {
    // The SDK counts the sending of data as waiting for the answer.
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(limit)
        .operation_attempt_timeout(limit + CONNECT)
        .operation_timeout(limit + CONNECT)
        .build()
}

/// How long so many bytes may take.
fn time_for(len: u64) -> Duration {
    ANSWER + Duration::from_secs(len / SLOWEST_BYTES_A_SECOND)
}

fn http_client(settings: &S3Settings) -> Result<SharedHttpClient, S3Error> {
    let is_plain = settings.endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
    let trusted = match &settings.ca_file {
        Some(file) => TrustStore::empty().with_pem_certificate(certificates(file)?),
        None if is_plain => TrustStore::empty(),
        // The library would panic later.
        None if rustls_native_certs::load_native_certs().certs.is_empty() => return Err(S3Error::NoSystemCertificates),
        None => TrustStore::default(),
    };
    let context = TlsContext::builder().with_trust_store(trusted).build().map_err(|_| S3Error::NoSystemCertificates)?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_with_resolver(resolver::System))
}

/// The file's certificates, each of which can be used.
fn certificates(file: &Path) -> Result<Vec<u8>, S3Error> {
    let pem = std::fs::read(file).map_err(|source| S3Error::CaFile { file: file.to_path_buf(), source })?;
    let mut roots = rustls::RootCertStore::empty();
    let usable = CertificateDer::pem_slice_iter(&pem).all(|certificate| certificate.is_ok_and(|der| roots.add(der).is_ok()));
    if usable && !roots.is_empty() { Ok(pem) } else { Err(S3Error::NoCertificate { file: file.to_path_buf() }) }
}

impl std::fmt::Debug for S3Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Store").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}
