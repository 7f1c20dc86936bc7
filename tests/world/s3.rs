//! A real S3 storage, versitygw, with private folders; and eyes of its own to look into it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use nix::sys::signal::Signal;
use recorder_core::secret::Secret;
use roomcast::storage::s3::{Addressing, Checksums, S3Settings};

use super::{cached_program, free_tcp_port, signal, until, wait};

/// Access key of all test storages.
pub const ACCESS_KEY: &str = "testkey";
/// Its secret: easy to find where it must not be.
pub const SECRET_KEY: &str = "canary-s3-secret-0123456789abcdefghij";

/// A running storage.
pub struct S3Server {
    child: Option<Child>,
    folder: tempfile::TempDir,
    certificate: Option<PathBuf>,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
}

impl S3Server {
    /// A storage over plain HTTP, with one bucket `recordings`.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// A storage over HTTPS with a certificate of its own, which is returned as a file.
    pub fn start_with_tls() -> (Self, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]).expect("a certificate");
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("written");
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("written");
        let server = Self::start_with(Some(folder));
        let certificate = server.certificate.clone().expect("made above");
        (server, certificate)
    }

    fn start_with(tls: Option<tempfile::TempDir>) -> Self {
        let certificate = tls.as_ref().map(|folder| folder.path().join("cert.pem"));
        let folder = tls.unwrap_or_else(|| tempfile::tempdir().expect("a folder"));
        for name in ["data", "iam"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let mut server = Self { child: None, folder, certificate, port: free_tcp_port() };
        server.come_back();
        server.make_bucket("recordings");
        server
    }

    /// Starts it, or starts it again after [`S3Server::kill`] with what it had.
    pub fn come_back(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        let log = File::create(at("versitygw.log")).expect("a log");
        let mut command = Command::new(cached_program("versitygw"));
        command.env("ROOT_ACCESS_KEY", ACCESS_KEY).env("ROOT_SECRET_KEY", SECRET_KEY);
        command.args(["--port", &format!("127.0.0.1:{}", self.port), "--keep-alive", "--health", "/health", "--quiet"]);
        if let Some(certificate) = &self.certificate {
            command.arg("--cert").arg(certificate).arg("--key").arg(at("key.pem"));
        }
        command.arg("--iam-dir").arg(at("iam")).arg("posix").arg(at("data"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().expect("versitygw runs"));
        let health = format!("{}/health", self.url());
        until(Duration::from_secs(10), "versitygw answers", || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--insecure", "--max-time", "2", "--output", "/dev/null", &health]);
            curl.status().expect("curl runs").success().then_some(())
        });
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::SIGKILL);
            child.wait().expect("it ends");
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.certificate.is_some() { "https" } else { "http" }, self.port)
    }

    /// How the product is told of it.
    pub fn settings(&self) -> S3Settings {
        settings(&self.url())
    }

    /// Makes a bucket.
    pub fn make_bucket(&self, bucket: &str) {
        self.ask(async |client| {
            client.create_bucket().bucket(bucket).send().await.map(drop).map_err(|error| format!("{error:?}"))
        });
    }

    /// Stores an object, as somebody else does.
    pub fn store(&self, key: &str, bytes: &[u8]) {
        self.ask(async |client| {
            let body = bytes.to_vec().into();
            client
                .put_object()
                .bucket("recordings")
                .key(key)
                .body(body)
                .send()
                .await
                .map(drop)
                .map_err(|error| format!("{error:?}"))
        });
    }

    /// Keys of all objects, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.ask(async |client| {
            let page = client.list_objects_v2().bucket("recordings").send().await.map_err(|error| format!("{error:?}"))?;
            assert_ne!(page.is_truncated(), Some(true));
            Ok(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect())
        })
    }

    /// Keys of all unfinished uploads.
    pub fn uploads(&self) -> Vec<String> {
        self.ask(async |client| {
            let page = client.list_multipart_uploads().bucket("recordings").send().await.map_err(|error| format!("{error:?}"))?;
            Ok(page.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned)).collect())
        })
    }

    /// An object's bytes.
    pub fn object(&self, key: &str) -> Vec<u8> {
        self.ask(async |client| {
            let got = client.get_object().bucket("recordings").key(key).send().await.map_err(|error| format!("{error:?}"))?;
            Ok(got.body.collect().await.map_err(|error| format!("{error:?}"))?.to_vec())
        })
    }

    /// What an object is said to be.
    pub fn content_type(&self, key: &str) -> Option<String> {
        self.ask(async |client| {
            let seen = client.head_object().bucket("recordings").key(key).send().await.map_err(|error| format!("{error:?}"))?;
            Ok(seen.content_type().map(str::to_owned))
        })
    }

    /// The file that an object is.
    pub fn object_file(&self, key: &str) -> PathBuf {
        self.folder.path().join("data/recordings").join(key)
    }

    /// Asks the storage by a client of its own, not by the product's.
    fn ask<T>(&self, question: impl AsyncFnOnce(aws_sdk_s3::Client) -> Result<T, String>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
            .endpoint_url(self.url())
            .force_path_style(true)
            .http_client(plain_client(self.certificate.as_deref()));
        runtime.block_on(question(aws_sdk_s3::Client::from_conf(config.build()))).expect("the storage answers")
    }
}

/// A client that trusts this certificate.
fn plain_client(certificate: Option<&Path>) -> aws_sdk_s3::config::SharedHttpClient {
    use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
    let mut trusted = TrustStore::empty();
    if let Some(file) = certificate {
        trusted.add_pem_certificate(std::fs::read(file).expect("a certificate"));
    }
    let context = TlsContext::builder().with_trust_store(trusted).build().expect("a context");
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https()
}

/// How the product is told of a storage at this address.
pub fn settings(url: &str) -> S3Settings {
    S3Settings {
        endpoint: Some(url.parse().expect("an address")),
        region: "us-east-1".into(),
        bucket: "recordings".into(),
        addressing: Addressing::Path,
        checksums: Checksums::WhenRequired,
        ca_file: None,
        access_key: Secret::new(ACCESS_KEY),
        secret_key: Secret::new(SECRET_KEY),
        session_token: None,
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::SIGTERM);
            if wait(&mut child, Duration::from_secs(1)).is_none() {
                signal(&child, Signal::SIGKILL);
                let _ = child.wait();
            }
        }
    }
}
