//! Whom we believe: the certificate authorities for encrypted live destinations, and for servers that keep people's pictures.
//!
//! In: the system's store, and a file of the operator. Out: the client configuration of rustls, made once and shared. It refuses to connect without verifying;
//! there is no setting for that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Certificate authorities. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    pub(crate) config: Arc<ClientConfig>,
}

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The operator's file cannot be read, or is no PEM file.
    #[error("certificates cannot be read from {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The operator's file holds no usable certificate.
    #[error("there is no usable certificate in {path}")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The TLS library cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// The system's authorities, and those of `ca_file` (PEM).
    ///
    /// # Errors
    /// See [`TrustError`]. A system without authorities is no error: then every server is a stranger.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in system.errors {
            tracing::warn!(%error, "certificates of the system cannot be read");
        }
        // Stores hold certificates that nobody can use any more; they are left out.
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = ca_file {
            let file = |source| TrustError::File { path: path.to_owned(), source };
            let certificates: Vec<_> =
                CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<_, _>>().map_err(file)?;
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                return Err(TrustError::Empty { path: path.to_owned() });
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, missing) = (folder.path().join("empty.pem"), folder.path().join("missing.pem"));
        std::fs::write(&empty, "nothing").unwrap();
        assert!(matches!(Trust::load(Some(&empty)), Err(TrustError::Empty { path }) if path == empty));
        assert!(matches!(Trust::load(Some(&missing)), Err(TrustError::File { path, .. }) if path == missing));
    }
}
