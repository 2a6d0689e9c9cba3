//! Registries behind TLS, as `hosts.toml` and Docker's directory of certificates describe them: authorities, names,
//! `skip_verify`, certificates of the client. The server is in this process, in front of the scripted registry.

use crate::support::options;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{fs, path::Path, sync::Arc};
use tare_registry::{Client, Credentials, Result};
use tare_testkit::fake_registry::FakeRegistry;
use tare_types::{Descriptor, ErrorKind, Reference, image::media};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

/// Where the certificates are.
fn given() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls"))
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(given().join(format!("{name}.crt"))).unwrap()
}

/// A registry behind TLS.
struct Secure {
    _registry: FakeRegistry,
    host: String,
    /// With `certs.d` and copies of the certificates below it.
    directory: tempfile::TempDir,
}

impl Secure {
    /// Shows the certificate `name`; with `asks` a client must show one of the authority.
    async fn start(name: &str, asks: bool) -> Self {
        let registry = FakeRegistry::start().await.unwrap();
        registry.put_manifest("app", "v1", media::OCI_INDEX, INDEX);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(certificate("ca")).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(given().join(format!("{name}.key"))).unwrap();
        let acceptor =
            TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate(name)], key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let behind = registry.host();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // A client that refuses our certificate has gone.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    tokio::io::copy_bidirectional(&mut stream, &mut plain)
                        .await
                        .map(drop)
                        .unwrap_or_default();
                });
            }
        });
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(&host)).unwrap();
        Self { _registry: registry, host, directory }
    }

    /// Puts a file into the registry's directory.
    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.directory.path().join(&self.host).join(name), bytes).unwrap();
    }

    fn copy(&self, names: &[(&str, &str)]) {
        for (from, to) in names {
            self.put(to, &fs::read(given().join(from)).unwrap());
        }
    }

    /// Resolves a tag as `hosts.toml` says, whose table of the registry has `lines`.
    async fn resolve_with(&self, lines: &str) -> Result<Descriptor> {
        let host = &self.host;
        let text = format!("server = \"https://{host}\"\n[host.\"https://{host}\"]\n{lines}\n");
        self.put("hosts.toml", text.as_bytes());
        self.resolve().await
    }

    async fn resolve(&self) -> Result<Descriptor> {
        let mut options = options();
        options.hosts_directories = vec![self.directory.path().to_path_buf()];
        options.deadlines.response_header = std::time::Duration::from_secs(5);
        let reference = Reference::parse_familiar(&format!("{}/app:v1", self.host)).unwrap();
        let repository = Client::new(options).repository(&reference, &Credentials::none())?;
        Ok(repository.resolve("v1").await?.descriptor)
    }
}

#[track_caller]
fn refused(result: Result<Descriptor>, why: &str) {
    let error = result.unwrap_err();
    let text = error_chain(&error);
    assert!(text.contains(why), "{why:?} in {text:?}");
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[tokio::test]
async fn an_authority_of_hosts_toml_is_trusted_and_no_other() {
    let registry = Secure::start("server", false).await;
    registry.copy(&[("ca.crt", "ca.crt"), ("stranger.crt", "stranger.crt")]);
    refused(registry.resolve_with("").await, "UnknownIssuer");
    refused(registry.resolve_with("ca = \"stranger.crt\"").await, "invalid peer certificate");
    let found = registry.resolve_with("ca = \"ca.crt\"").await.unwrap();
    assert_eq!(found.size, INDEX.len() as u64);
    let path = given().join("ca.crt").display().to_string();
    registry.resolve_with(&format!("ca = [\"stranger.crt\", \"{path}\"]")).await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_but_where_nobody_looks() {
    let registry = Secure::start("other", false).await;
    registry.copy(&[("ca.crt", "ca.crt")]);
    refused(registry.resolve_with("ca = \"ca.crt\"").await, "not valid for name");
    registry.resolve_with("skip_verify = true").await.unwrap();
    refused(registry.resolve_with("skip_verify = false").await, "invalid peer certificate");
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let registry = Secure::start("server", true).await;
    let both = [given().join("client.crt"), given().join("client.key")].map(|path| fs::read(path).unwrap());
    registry.copy(&[("ca.crt", "ca.crt"), ("client.crt", "c.cert"), ("client.key", "c.key")]);
    registry.copy(&[("stranger.crt", "s.cert"), ("stranger.key", "s.key")]);
    registry.put("both.pem", &both.concat());
    let with = |client: &str| format!("ca = \"ca.crt\"\nclient = {client}");
    for good in ["[[\"c.cert\", \"c.key\"]]", "\"both.pem\"", "[\"both.pem\"]"] {
        registry.resolve_with(&with(good)).await.unwrap();
    }
    registry.resolve_with("skip_verify = true\nclient = \"both.pem\"").await.unwrap();
    registry.resolve_with("ca = \"ca.crt\"").await.unwrap_err();
    registry.resolve_with(&with("[[\"s.cert\", \"s.key\"]]")).await.unwrap_err();
    refused(registry.resolve_with(&with("[[\"c.cert\", \"s.key\"]]")).await, "c.cert");
}

#[tokio::test]
async fn dockers_directory_of_certificates_does_the_same() {
    let registry = Secure::start("server", true).await;
    registry.copy(&[("ca.crt", "ca.crt"), ("client.crt", "client.cert"), ("client.key", "client.key")]);
    registry.resolve().await.unwrap();
    registry.copy(&[("stranger.crt", "ca.crt")]);
    refused(registry.resolve().await, "invalid peer certificate");
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_named() {
    let registry = Secure::start("server", false).await;
    for (name, bytes) in [("absent.crt", None), ("broken.crt", Some("-----BEGIN CERTIFICATE-----\n!\n"))] {
        if let Some(bytes) = bytes {
            registry.put(name, bytes.as_bytes());
        }
        let error = registry.resolve_with(&format!("ca = \"{name}\"")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.to_string().contains(name), "{error}");
    }
}
