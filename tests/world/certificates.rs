//! Certificates of an authority of the tests' own and of a stranger, and names that lead to this machine.

use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use recorder_core::address::AddressPolicy;
use roomcast::target::rtmp::{LiveEnvironment, Names, Trust};

use super::rtmp::{Identity, MediaMtx};

/// Host names of the tests.
struct TestNames;

impl Names for TestNames {
    fn lookup(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        match host {
            "localhost" | "other.example" => Ok(vec![[127, 0, 0, 1].into()]),
            "inner.example" => Ok(vec![[169, 254, 169, 254].into(), [10, 0, 0, 1].into()]),
            _ => Err(std::io::Error::other("unknown")),
        }
    }
}

/// Certificates: an authority, and identities signed by it or by another.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes them anew.
    pub fn make() -> Certificates {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
        let folder = tempfile::tempdir().expect("made here");
        let authority = |name: &str| {
            let key = KeyPair::generate().expect("made here");
            let mut params = CertificateParams::new(Vec::new()).expect("made here");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.self_signed(&key).expect("made here");
            (certificate.pem(), Issuer::new(params, key))
        };
        let ((ours, issuer), (_, stranger)) = (authority("ours"), authority("a stranger"));
        std::fs::write(folder.path().join("ca.pem"), ours).expect("made here");
        for (name, issuer, until) in [("good", &issuer, 2200), ("expired", &issuer, 2020), ("foreign", &stranger, 2200)] {
            let key = KeyPair::generate().expect("made here");
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("made here");
            params.not_after = date_time_ymd(until, 1, 1);
            let certificate = params.signed_by(&key, issuer).expect("made here");
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).expect("made here");
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).expect("made here");
        }
        Certificates { folder }
    }

    /// Where one of the files is.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// What a process has that believes our authority and may reach this machine.
    pub fn environment(&self) -> LiveEnvironment {
        LiveEnvironment {
            trust: Trust::load(Some(&self.path("ca.pem"))).expect("made here"),
            policy: AddressPolicy::allowing(vec!["127.0.0.0/8".parse().expect("made here")]),
            names: Arc::new(TestNames),
        }
    }

    /// A server with a good certificate.
    pub fn mediamtx(&self) -> MediaMtx {
        MediaMtx::start(&Identity { certificate: &self.path("good.pem"), key: &self.path("good.key") })
    }

    /// A TLS server that shows this identity and speaks no RTMP. Ends with the test program.
    pub fn tls_server(&self, name: &str) -> u16 {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).expect("made here")];
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).expect("made here");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("made here");
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("made here"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("made here");
        let port = listener.local_addr().expect("made here").port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("made here");
                // It ends when the client does not like what it sees.
                let _ = std::io::Read::read(&mut rustls::StreamOwned::new(tls, stream.expect("made here")), &mut [0; 100]);
            }
        });
        port
    }
}
