//! Real push and pull with Debian's `docker-registry`.

use crate::{
    push::Memory,
    support::{options, read, with_credentials},
};
use std::{process::Command, sync::Arc};
use tare_registry::{BlobSource, Client, Credential, Credentials, PushOutcome, Repository};
use tare_testkit::{
    docker_registry::{self, DockerRegistry, Options},
    image, skip,
};
use tare_types::ErrorKind;

/// Prints why a test does nothing here.
fn absent() -> bool {
    let absent = !docker_registry::is_installed();
    if absent {
        skip::skipped("needs docker-registry (package docker-registry)");
    }
    absent
}

async fn push(repository: &Repository, image: &image::TestImage, tag: &str) {
    for blob in image.layers.iter().chain([&image.config]) {
        let source: Arc<dyn BlobSource> = Arc::new(Memory(blob.bytes.clone()));
        let outcome = repository.push_blob(&blob.descriptor, source, None, Arc::new(|_| {})).await.unwrap();
        assert_eq!(outcome, PushOutcome::Uploaded);
    }
    let bytes = image.manifest.bytes.clone().into();
    repository.push_document(&image.manifest.descriptor, bytes, Some(tag)).await.unwrap();
}

fn sample() -> image::TestImage {
    let layer = |name: &str| image::Tar::new().file(name, 0o644, &crate::support::noise(100_000)).finish();
    image::build(&[layer("a"), layer("b")], &["true"])
}

async fn pull_back(repository: &Repository, image: &image::TestImage, tag: &str) {
    let resolved = repository.resolve(tag).await.unwrap();
    assert_eq!(resolved.descriptor, image.manifest.descriptor);
    assert_eq!(repository.fetch_document(&resolved.descriptor).await.unwrap().0, image.manifest.bytes);
    for layer in &image.layers {
        let whole = read(&mut repository.fetch_blob(&layer.descriptor, 0).unwrap()).await.unwrap();
        assert_eq!(whole, layer.bytes);
        let tail = read(&mut repository.fetch_blob(&layer.descriptor, 50_000).unwrap()).await.unwrap();
        assert_eq!(tail, layer.bytes[50_000..]);
    }
}

#[tokio::test]
async fn push_pull_and_mount() {
    if absent() {
        return;
    }
    let registry = DockerRegistry::start(&Options::default()).unwrap();
    let repository = with_credentials(registry.host(), "a/app", &Credentials::none());
    let image = sample();
    push(&repository, &image, "v1").await;
    pull_back(&repository, &image, "v1").await;
    let other = with_credentials(registry.host(), "b/app", &Credentials::none());
    let source: Arc<dyn BlobSource> = Arc::new(Memory(image.layers[0].bytes.clone()));
    let descriptor = &image.layers[0].descriptor;
    let outcome = other.push_blob(descriptor, source, Some("a/app"), Arc::new(|_| {})).await.unwrap();
    assert_eq!(outcome, PushOutcome::Mounted);
    let error = repository.resolve("none").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(registry.log().unwrap().contains("http.response.status=206"), "ranges were used");
}

#[tokio::test]
async fn basic_authentication() {
    if absent() {
        return;
    }
    let registry = DockerRegistry::start(&Options { basic: Some(("me", "secret")), tls: None }).unwrap();
    let credentials = Credentials::for_registry(registry.host(), Credential::basic("me", "secret"));
    let repository = with_credentials(registry.host(), "app", &credentials);
    let image = sample();
    push(&repository, &image, "v1").await;
    pull_back(&repository, &image, "v1").await;
    let anonymous = with_credentials(registry.host(), "app", &Credentials::none());
    assert_eq!(anonymous.resolve("v1").await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let client = Client::new(options());
    client.login(registry.host(), Credential::basic("me", "secret")).await.unwrap();
    let error = client.login(registry.host(), Credential::basic("me", "no")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn tls_needs_a_known_authority() {
    if absent() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("ca.pem"), directory.path().join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        skip::skipped("needs openssl to make a certificate");
        return;
    }
    let registry = DockerRegistry::start(&Options { basic: None, tls: Some((&certificate, &key)) }).unwrap();
    let hosts = directory.path().join(registry.host());
    std::fs::create_dir(&hosts).unwrap();
    let write = |extra: &str| {
        let text = format!("server = \"https://{}\"\n{extra}\n", registry.host());
        std::fs::write(hosts.join("hosts.toml"), text).unwrap();
        let mut with_hosts = options();
        with_hosts.hosts_directories = vec![directory.path().to_path_buf()];
        let reference = format!("{}/app", registry.host()).parse().unwrap();
        Client::new(with_hosts).repository(&reference, &Credentials::none()).unwrap()
    };
    let error = write("").resolve("v1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("certificate"), "{error}");
    let image = sample();
    push(&write("skip_verify = true"), &image, "v1").await;
    let trusted = write(&format!("ca = {:?}", certificate.display().to_string()));
    pull_back(&trusted, &image, "v1").await;
}
