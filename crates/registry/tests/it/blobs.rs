//! Blobs as streams that survive.

use crate::support::{noise, read, repository};
use http::Method;
use tare_testkit::fake_registry::{Act, FakeRegistry};
use tare_types::{Descriptor, Digest, ErrorKind, image::media};

const SIZE: usize = 300_000;

async fn with_blob() -> (FakeRegistry, Descriptor, Vec<u8>) {
    let fake = FakeRegistry::start().await.unwrap();
    let bytes = noise(SIZE);
    let digest = fake.put_blob(bytes.clone());
    (fake, Descriptor::new(media::OCI_LAYER_GZIP, digest, SIZE as u64), bytes)
}

#[tokio::test]
async fn whole_and_from_an_offset() {
    let (fake, descriptor, bytes) = with_blob().await;
    let repository = repository(&fake.host(), "app");
    assert_eq!(read(&mut repository.fetch_blob(&descriptor, 0).unwrap()).await.unwrap(), bytes);
    assert_eq!(read(&mut repository.fetch_blob(&descriptor, 1000).unwrap()).await.unwrap(), bytes[1000..]);
    assert_eq!(fake.seen()[1].header("range"), "bytes=1000-");
    let mut nothing = repository.fetch_blob(&descriptor, SIZE as u64).unwrap();
    assert_eq!(nothing.next_chunk().await.unwrap(), None);
    assert_eq!(fake.seen().len(), 2, "nothing left to ask for");
    assert_eq!(
        repository.fetch_blob(&descriptor, SIZE as u64 + 1).unwrap_err().kind(),
        ErrorKind::OutOfRange
    );
}

#[tokio::test]
async fn breaks_go_on_at_the_byte_reached() {
    for act in [Act::ResetAfter(100_000), Act::StallAfter(100_000), Act::Truncate(100_000)] {
        let (fake, descriptor, bytes) = with_blob().await;
        fake.script(Method::GET, "/blobs/", 2, act.clone());
        let mut stream = repository(&fake.host(), "app").fetch_blob(&descriptor, 0).unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), bytes, "{act:?}");
        let ranges: Vec<String> = fake.seen().iter().map(|seen| seen.header("range").to_string()).collect();
        assert_eq!(ranges[0], "");
        // A break may swallow what was in flight: never less than nothing, never a byte twice.
        assert!(
            ranges[1..].iter().all(|range| range.is_empty() || range.starts_with("bytes=")),
            "{ranges:?}"
        );
        assert!(ranges.len() >= 3, "{act:?}: {ranges:?}");
    }
}

#[tokio::test]
async fn a_server_that_ignores_the_range_is_read_past() {
    let (fake, descriptor, bytes) = with_blob().await;
    fake.script(Method::GET, "/blobs/", 1, Act::IgnoreRange);
    let mut stream = repository(&fake.host(), "app").fetch_blob(&descriptor, 123_456).unwrap();
    assert_eq!(read(&mut stream).await.unwrap(), bytes[123_456..]);
}

#[tokio::test]
async fn without_progress_it_ends() {
    let (fake, descriptor, _) = with_blob().await;
    fake.script(Method::GET, "/blobs/", 99, Act::StallAfter(0));
    let mut stream = repository(&fake.host(), "app").fetch_blob(&descriptor, 0).unwrap();
    let error = read(&mut stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no progress within 300ms at byte 0 of 300000"), "{error}");
    assert_eq!(fake.seen().len(), 3, "as many attempts as configured");
}

#[tokio::test]
async fn more_than_promised_is_data_loss() {
    let (fake, mut descriptor, _) = with_blob().await;
    descriptor.size -= 1;
    let mut stream = repository(&fake.host(), "app").fetch_blob(&descriptor, 0).unwrap();
    assert_eq!(read(&mut stream).await.unwrap_err().kind(), ErrorKind::DataLoss);
}

#[tokio::test]
async fn a_missing_blob_is_not_found() {
    let (fake, mut descriptor, _) = with_blob().await;
    descriptor.digest = Digest::of_bytes(b"other");
    let mut stream = repository(&fake.host(), "app").fetch_blob(&descriptor, 0).unwrap();
    let error = read(&mut stream).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("BLOB_UNKNOWN")), "{error}");
}

#[tokio::test]
async fn urls_of_a_descriptor_are_the_last_resort() {
    let (cdn, mut descriptor, bytes) = with_blob().await;
    let fake = FakeRegistry::start().await.unwrap();
    descriptor.urls =
        vec!["ftp://x/".into(), format!("http://{}/v2/any/blobs/{}", cdn.host(), descriptor.digest)];
    let mut stream = repository(&fake.host(), "app").fetch_blob(&descriptor, 0).unwrap();
    assert_eq!(read(&mut stream).await.unwrap(), bytes);
    assert_eq!(fake.seen().len(), 1, "the registry comes first");
}
