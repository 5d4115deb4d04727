//! Which authorities are trusted: those of the public web for PIA's web hosts, PIA's own for its
//! servers. How a server proves its name is the verifier's matter.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::verifier::PiaVerifier;

pub use super::verifier::Claim;

/// The certificates to trust could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(
        "PIA's certificate authority, {}: {source}; PIA_CA_FILE names another file, which is a \
         copy of rsa_4096.crt of PIA's desktop app (github.com/pia-foss/desktop, daemon/res/ca)",
        path.display()
    )]
    NoAuthority {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("PIA's certificate authority, {}: no certificate can be read from it ({why}); \
             PIA_CA_FILE names another file", path.display())]
    BadAuthority { path: PathBuf, why: String },
    #[error(
        "certificates of the public web: {0}; install ca-certificates, or name a bundle in \
         SSL_CERT_FILE"
    )]
    NoWebAuthorities(String),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// For hosts of the public web: the system's authorities, or those of `SSL_CERT_FILE`; an error
/// when not one can be loaded.
pub fn web() -> Result<Arc<ClientConfig>, TrustError> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let why = loaded
            .errors
            .first()
            .map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TrustError::NoWebAuthorities(why));
    }
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(finish(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}

/// For PIA's own servers: the authorities in the PEM file at `path`, and server names by PIA's
/// rules.
pub fn pia(path: &Path) -> Result<Arc<ClientConfig>, TrustError> {
    with_verifier(path, PiaVerifier::new)
}

/// For any server of PIA's, whatever its name, which the claim then holds.
pub fn pia_any_server(path: &Path) -> Result<(Arc<ClientConfig>, Claim), TrustError> {
    let claim = Claim::default();
    let tls = with_verifier(path, |roots, provider| {
        PiaVerifier::for_any_server(roots, provider, &claim)
    })?;
    Ok((tls, claim))
}

fn with_verifier(
    path: &Path,
    verifier: impl FnOnce(RootCertStore, Arc<CryptoProvider>) -> PiaVerifier,
) -> Result<Arc<ClientConfig>, TrustError> {
    let pem = std::fs::read(path).map_err(|source| TrustError::NoAuthority {
        path: path.to_owned(),
        source,
    })?;
    let roots = roots_in(&pem).map_err(|why| TrustError::BadAuthority {
        path: path.to_owned(),
        why,
    })?;
    let provider = provider();
    let verifier = verifier(roots, Arc::clone(&provider));
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(finish(
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
    ))
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Each connection carries one request, so there are no sessions to resume.
fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

pub(super) fn roots_in(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        Err("no certificate in it".to_owned())
    } else {
        Ok(roots)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Trusts nobody.
    pub fn nobody() -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        finish(
            builder
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
        )
    }

    #[test]
    fn a_missing_or_bad_file_is_explained() {
        let error = pia(Path::new("/nonexistent/ca.crt"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/ca.crt") && error.contains("PIA_CA_FILE"),
            "{error}"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        for garbage in [
            "",
            "garbage",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, garbage).unwrap();
            assert!(
                matches!(pia(&path), Err(TrustError::BadAuthority { .. })),
                "{garbage:?}"
            );
        }
    }
}
