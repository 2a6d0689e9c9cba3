//! Names to digests, digests to documents.

use crate::support::{options, repository};
use http::Method;
use tare_registry::{Client, ClientOptions, Credentials, Document};
use tare_testkit::{
    fake_registry::{Act, FakeRegistry},
    image,
};
use tare_types::{Descriptor, Digest, ErrorKind, Reference, image::media};

fn sample() -> image::TestImage {
    image::build(&[image::Tar::new().file("a", 0o644, b"hello").finish()], &["true"])
}

#[tokio::test]
async fn a_tag_resolves_by_head_and_the_manifest_is_read() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_image("app", "v1", &sample());
    let repository = repository(&fake.host(), "app");
    let resolved = repository.resolve("v1").await.unwrap();
    assert_eq!(resolved.descriptor.digest, digest);
    assert_eq!(resolved.descriptor.media_type, media::OCI_MANIFEST);
    assert!(resolved.body.is_none());
    let (bytes, document) = repository.fetch_document(&resolved.descriptor).await.unwrap();
    assert_eq!(Digest::of_bytes(&bytes), digest);
    assert!(matches!(document, Document::Manifest(manifest) if manifest.layers.len() == 1));
    let first = &fake.seen()[0];
    assert_eq!(first.method, Method::HEAD);
    assert!(
        first.header("accept").contains(media::DOCKER_LIST)
            && first.header("accept").contains(media::OCI_INDEX)
    );
}

#[tokio::test]
async fn get_takes_over_where_head_does_not_tell() {
    for act in [
        Act::Answer { status: 405, headers: vec![], body: String::new() },
        Act::Without("docker-content-digest"),
        Act::Without("content-type"),
    ] {
        let fake = FakeRegistry::start().await.unwrap();
        let digest = fake.put_image("app", "v1", &sample());
        fake.script(Method::HEAD, "/manifests/", 9, act);
        let resolved = repository(&fake.host(), "app").resolve("v1").await.unwrap();
        assert_eq!(resolved.descriptor.digest, digest);
        assert!(resolved.body.is_some());
    }
}

#[tokio::test]
async fn a_wrong_digest_is_data_loss() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_image("app", "v1", &sample());
    let repository = repository(&fake.host(), "app");
    // GET: header and bytes differ.
    fake.script(Method::HEAD, "/manifests/", 1, Act::Without("docker-content-digest"));
    fake.script(Method::GET, "/manifests/", 1, Act::Corrupt);
    assert_eq!(repository.resolve("v1").await.unwrap_err().kind(), ErrorKind::DataLoss);
    // By digest: the bytes are others.
    fake.script(Method::GET, "/manifests/", 1, Act::Corrupt);
    let descriptor = repository.resolve("v1").await.unwrap().descriptor;
    let error = repository.fetch_document(&descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.to_string().contains(digest.as_str()), "{error}");
    // HEAD by digest names another one.
    let other =
        fake.put_manifest("app", "other", media::OCI_INDEX, &br#"{"schemaVersion":2,"manifests":[]}"#[..]);
    let lie = vec![("docker-content-digest", other.to_string()), ("content-type", media::OCI_INDEX.into())];
    fake.script(Method::HEAD, "/manifests/", 1, Act::Answer { status: 200, headers: lie, body: "{}".into() });
    assert_eq!(repository.resolve(digest.as_str()).await.unwrap_err().kind(), ErrorKind::DataLoss);
}

#[tokio::test]
async fn refusals_keep_kind_status_and_code() {
    let fake = FakeRegistry::start().await.unwrap();
    let repository = repository(&fake.host(), "app");
    let error = repository.resolve("gone").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::NotFound, Some(404)));
    let text = error.to_string();
    assert!(text.contains(&fake.host()) && text.contains("app:gone") && text.contains("404"), "{text}");
    // HEAD has no body; GET shows the code.
    fake.script(
        Method::HEAD,
        "/manifests/",
        1,
        Act::Answer { status: 405, headers: vec![], body: String::new() },
    );
    let error = repository.resolve("gone").await.unwrap_err();
    assert_eq!(error.code(), Some("MANIFEST_UNKNOWN"), "{error}");
    for (status, kind) in [
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::PermissionDenied),
        (400, ErrorKind::InvalidArgument),
    ] {
        fake.script(
            Method::HEAD,
            "/manifests/",
            1,
            Act::Answer { status, headers: vec![], body: String::new() },
        );
        assert_eq!(repository.resolve("x").await.unwrap_err().kind(), kind, "{status}");
    }
}

#[tokio::test]
async fn busy_registries_are_asked_again() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_image("app", "v1", &sample());
    let repository = repository(&fake.host(), "app");
    let answer = |status, headers| Act::Answer { status, headers, body: String::new() };
    fake.script(Method::HEAD, "/manifests/", 1, answer(429, vec![("retry-after", "1".into())]));
    fake.script(Method::HEAD, "/manifests/", 1, answer(503, vec![]));
    let begun = std::time::Instant::now();
    repository.resolve("v1").await.unwrap();
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "Retry-After is honoured");
    assert_eq!(fake.seen().len(), 3);
    // Longer than we wait: an error that says so, at once.
    fake.script(Method::HEAD, "/manifests/", 1, answer(429, vec![("retry-after", "3600".into())]));
    let error = repository.resolve("v1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("3600 s"), "{error}");
    // And it ends.
    fake.script(Method::HEAD, "/manifests/", 9, answer(500, vec![]));
    assert_eq!(repository.resolve("v1").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn silence_is_a_named_deadline() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.script(Method::HEAD, "/manifests/", 9, Act::Silence);
    let mut short = options();
    short.deadlines.connect = std::time::Duration::from_millis(100);
    short.deadlines.tls = std::time::Duration::from_millis(100);
    let reference = Reference::parse_familiar(&format!("{}/app", fake.host())).unwrap();
    let repository = Client::new(short).repository(&reference, &Credentials::none()).unwrap();
    let error = repository.resolve("v1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().contains("response header"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_unavailable_at_once() {
    let error = repository("127.0.0.1:1", "app").resolve("v1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("127.0.0.1:1") && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_huge_manifest_is_not_read() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_manifest("app", "big", media::OCI_MANIFEST, vec![b' '; 5 << 20]);
    let repository = repository(&fake.host(), "app");
    let descriptor = Descriptor::new(media::OCI_MANIFEST, digest, 5 << 20);
    let error = repository.fetch_document(&descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
}

#[tokio::test]
async fn schema1_is_refused_by_name() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("app", "old", "application/vnd.docker.distribution.manifest.v1+prettyjws", &b"{}"[..]);
    let error = repository(&fake.host(), "app").resolve("old").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    assert!(error.to_string().contains("schema 1"), "{error}");
}

#[tokio::test]
async fn mirrors_are_tried_in_order_and_told_the_registry() {
    let (origin, first, second) = (
        FakeRegistry::start().await.unwrap(),
        FakeRegistry::start().await.unwrap(),
        FakeRegistry::start().await.unwrap(),
    );
    let digest = second.put_image("app", "v1", &sample());
    origin.put_image("app", "v1", &sample());
    first.script(Method::HEAD, "/", 99, Act::Answer { status: 500, headers: vec![], body: String::new() });
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join(origin.host());
    std::fs::create_dir(&hosts).unwrap();
    let text = format!("[host.\"http://{}\"]\n[host.\"http://{}\"]\n", first.host(), second.host());
    std::fs::write(hosts.join("hosts.toml"), text).unwrap();
    let with_hosts = ClientOptions { hosts_directories: vec![directory.path().to_path_buf()], ..options() };
    let reference = Reference::parse_familiar(&format!("{}/app:v1", origin.host())).unwrap();
    let repository = Client::new(with_hosts).repository(&reference, &Credentials::none()).unwrap();
    assert_eq!(repository.resolve("v1").await.unwrap().descriptor.digest, digest);
    assert!(second.seen()[0].target.contains(&format!("ns={}", origin.host())));
    assert!(origin.seen().is_empty(), "the second mirror had it");
    // All fail: the registry's own answer, the mirrors as notes.
    let error = repository.resolve("gone").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(&format!("mirror {}", first.host())), "{error}");
}
