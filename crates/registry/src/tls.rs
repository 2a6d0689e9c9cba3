//! TLS towards registries: which authorities are trusted and what we show. The one place that picks the provider.

use crate::{Error, Result, endpoint::TlsOptions};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use std::{path::Path, sync::Arc};
use tare_types::ErrorKind;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The configuration for an endpoint: the host's authorities (else Mozilla's list) and those of the endpoint.
pub(crate) fn client_config(options: &TlsOptions) -> Result<ClientConfig> {
    let failed = |detail: String| Error::new(ErrorKind::FailedPrecondition, "set up", "TLS", detail);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(e.to_string()))?;
    let builder = if options.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider())))
    } else {
        builder.with_root_certificates(roots(&options.authorities)?)
    };
    match options.clients.first() {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = load_certificates(certificate)?;
            let path = key.as_deref().unwrap_or(certificate);
            let key = PrivateKeyDer::from_pem_file(path).map_err(|e| unreadable(path, &e))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| failed(format!("{}: {e}", certificate.display())))
        }
    }
}

fn roots(extra: &[std::path::PathBuf]) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(native.certs);
    if store.is_empty() {
        // A minimal host without ca-certificates: Mozilla's list as it was at build time.
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for path in extra {
        for certificate in load_certificates(path)? {
            store.add(certificate).map_err(|e| unreadable(path, &e))?;
        }
    }
    Ok(store)
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, &e))?;
    let list: std::result::Result<Vec<_>, _> = read.collect();
    list.map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::FailedPrecondition,
        "read certificate",
        path.display().to_string(),
        error.to_string(),
    )
}

/// `skip_verify = true`: the person chose to trust the wire. Signatures are still checked.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
