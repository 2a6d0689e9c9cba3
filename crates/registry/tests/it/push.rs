//! Storing blobs and documents.

use crate::support::{noise, repository};
use bytes::Bytes;
use futures_util::stream;
use http::Method;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tare_registry::{BlobSource, PushOutcome, SourceStream};
use tare_testkit::fake_registry::{Act, FakeRegistry};
use tare_types::{Descriptor, Digest, ErrorKind, image::media};

/// Bytes in memory in pieces of 64 KiB.
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl BlobSource for Memory {
    fn open(&self, offset: u64) -> SourceStream {
        let pieces: Vec<_> = self.0[offset as usize..]
            .chunks(64 << 10)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        Box::pin(stream::iter(pieces))
    }
}

fn silent() -> Arc<dyn Fn(u64) + Send + Sync> {
    Arc::new(|_| {})
}

fn blob() -> (Vec<u8>, Descriptor) {
    let bytes = noise(200_000);
    let descriptor = Descriptor::new(media::OCI_LAYER_GZIP, Digest::of_bytes(&bytes), bytes.len() as u64);
    (bytes, descriptor)
}

#[tokio::test]
async fn a_blob_is_uploaded_once() {
    let fake = FakeRegistry::start().await.unwrap();
    let (bytes, descriptor) = blob();
    let repository = repository(&fake.host(), "app");
    let source: Arc<dyn BlobSource> = Arc::new(Memory(bytes.clone()));
    let reached = Arc::new(AtomicU64::new(0));
    let note = reached.clone();
    let progress: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |sent| note.store(sent, Ordering::Relaxed));
    let first = repository.push_blob(&descriptor, source.clone(), None, progress.clone()).await.unwrap();
    assert_eq!(first, PushOutcome::Uploaded);
    assert_eq!(fake.blob(&descriptor.digest).unwrap(), bytes);
    assert_eq!(reached.load(Ordering::Relaxed), 200_000);
    let second = repository.push_blob(&descriptor, source, None, progress).await.unwrap();
    assert_eq!(second, PushOutcome::Existed);
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    let fake = FakeRegistry::start().await.unwrap();
    let (bytes, descriptor) = blob();
    fake.put_blob(bytes.clone());
    fake.script(
        Method::HEAD,
        "/blobs/",
        1,
        Act::Answer { status: 404, headers: vec![], body: String::new() },
    );
    let source: Arc<dyn BlobSource> = Arc::new(Memory(bytes));
    let outcome =
        repository(&fake.host(), "app").push_blob(&descriptor, source, Some("base"), silent()).await.unwrap();
    assert_eq!(outcome, PushOutcome::Mounted);
    assert!(fake.seen_at("/uploads/")[0].target.contains("from=base"));
}

#[tokio::test]
async fn a_broken_upload_begins_again() {
    let fake = FakeRegistry::start().await.unwrap();
    let (bytes, descriptor) = blob();
    let source: Arc<dyn BlobSource> = Arc::new(Memory(bytes.clone()));
    let busy = Act::Answer { status: 503, headers: vec![], body: String::new() };
    fake.script(Method::PUT, "/uploads/", 1, busy.clone());
    let repository = repository(&fake.host(), "app");
    repository.push_blob(&descriptor, source.clone(), None, silent()).await.unwrap();
    assert_eq!(fake.blob(&descriptor.digest).unwrap(), bytes);
    // And it ends.
    let fake = FakeRegistry::start().await.unwrap();
    fake.script(Method::PUT, "/uploads/", 99, busy);
    let repository = crate::support::repository(&fake.host(), "app");
    let error = repository.push_blob(&descriptor, source, None, silent()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_broken_upload_goes_on_at_the_byte_reached() {
    let fake = FakeRegistry::start().await.unwrap();
    let (bytes, descriptor) = blob();
    let source: Arc<dyn BlobSource> = Arc::new(Memory(bytes.clone()));
    fake.script(Method::PUT, "/uploads/", 1, Act::TakeThenFail(70_000));
    fake.script(Method::PATCH, "/uploads/", 1, Act::TakeThenFail(50_000));
    repository(&fake.host(), "app").push_blob(&descriptor, source, None, silent()).await.unwrap();
    assert_eq!(fake.blob(&descriptor.digest).unwrap(), bytes);
    let patches: Vec<_> = fake.seen().into_iter().filter(|seen| seen.method == Method::PATCH).collect();
    let ranges: Vec<&str> = patches.iter().map(|seen| seen.header("content-range")).collect();
    assert_eq!(ranges, ["70000-199999", "120000-199999"]);
    assert_eq!(fake.seen_at("/uploads/").iter().filter(|seen| seen.method == Method::POST).count(), 1);
}

#[tokio::test]
async fn a_source_that_is_not_its_descriptor_is_refused() {
    let fake = FakeRegistry::start().await.unwrap();
    let (bytes, mut descriptor) = blob();
    descriptor.digest = Digest::of_bytes(b"other");
    let source: Arc<dyn BlobSource> = Arc::new(Memory(bytes));
    let error =
        repository(&fake.host(), "app").push_blob(&descriptor, source, None, silent()).await.unwrap_err();
    assert_eq!(error.code(), Some("DIGEST_INVALID"), "{error}");
}

#[tokio::test]
async fn documents_are_stored_under_tag_and_digest() {
    let fake = FakeRegistry::start().await.unwrap();
    let bytes = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
    let descriptor = Descriptor::new(media::OCI_INDEX, Digest::of_bytes(&bytes), bytes.len() as u64);
    let repository = repository(&fake.host(), "app");
    repository.push_document(&descriptor, bytes.clone(), Some("v1")).await.unwrap();
    assert_eq!(fake.manifest("app", "v1").unwrap(), (media::OCI_INDEX.to_string(), bytes.clone()));
    repository.push_document(&descriptor, bytes, None).await.unwrap();
    assert!(fake.seen().last().unwrap().target.contains("sha256:"));
}
