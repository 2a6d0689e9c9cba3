//! The content store: ingests, commits, sharing, deletion, and what a restart finds.

use crate::support::{NOW, Store, ingest_options, labels, ns};
use tare_store::{Filters, IngestOptions, Tables, metadata::LeaseRow};
use tare_types::{Digest, ErrorKind, LeaseId, Timestamp};

fn later(seconds: i64) -> Timestamp {
    Timestamp::new(NOW.seconds + seconds, 0)
}

/// The clock that files have.
fn real_now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

#[test]
fn bytes_come_back_by_digest_with_labels() {
    let store = Store::new();
    let a = ns("a");
    let bytes = vec![42; 100_000];
    let digest = store.put(&a, &bytes, &[("k", "v")]);
    assert_eq!(digest, Digest::of_bytes(&bytes));
    let info = store.content.stat(&a, &digest).unwrap();
    assert_eq!((info.size, info.labels), (100_000, labels(&[("k", "v")])));
    let reader = store.content.reader(&a, &digest).unwrap();
    let mut part = [0; 10];
    assert_eq!(reader.read_at(&mut part, 99_995).unwrap(), 5);
    assert_eq!(reader.read_at(&mut part, 100_000).unwrap(), 0);
    assert_eq!(reader.read_at(&mut part, 100_001).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(reader.read_all(99_999).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    let path = store.path("content/blobs/sha256").join(digest.hex());
    assert!(std::fs::metadata(path).unwrap().permissions().readonly());
    let again = store.content.ingest(&a, &ingest_options("x")).map(|mut ingest| {
        ingest.write(&bytes).unwrap();
        ingest.commit(0, None, labels(&[]), NOW).unwrap_err().kind()
    });
    assert_eq!(again.unwrap(), ErrorKind::AlreadyExists);
    assert!(store.content.statuses(&a, &Filters::all()).unwrap().is_empty(), "no ingest is left of it");
}

#[test]
fn wrong_size_and_digest_are_refused_and_the_ingest_stays() {
    let store = Store::new();
    let a = ns("a");
    let write = || {
        let mut ingest = store.content.ingest(&a, &ingest_options("r")).unwrap();
        if ingest.status().offset == 0 {
            ingest.write(b"hello").unwrap();
        }
        ingest
    };
    let error = write().commit(4, None, labels(&[]), NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("unexpected commit size 5, expected 4"), "{error}");
    let other = Digest::of_bytes(b"other");
    let error = write().commit(5, Some(&other), labels(&[]), NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("unexpected commit digest"), "{error}");
    assert_eq!(store.content.status(&a, "r").unwrap().offset, 5);
    write().commit(5, Some(&Digest::of_bytes(b"hello")), labels(&[]), NOW).unwrap();
    let sha512 = "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";
    let sha512 = Digest::parse(sha512).unwrap();
    assert_eq!(write().commit(5, Some(&sha512), labels(&[]), NOW).unwrap(), sha512);
    assert_eq!(store.content.reader(&a, &sha512).unwrap().read_all(9).unwrap(), b"hello");
}

#[test]
fn an_ingest_is_aborted_under_its_writer_who_learns_of_it() {
    let store = Store::new();
    let a = ns("a");
    let mut ingest = store.content.ingest(&a, &ingest_options("x")).unwrap();
    ingest.write(b"abc").unwrap();
    ingest.touch(NOW).unwrap();
    assert_eq!(store.content.status(&a, "x").unwrap().updated_at, NOW);
    store.content.abort(&a, "x").unwrap();
    assert_eq!(store.content.status(&a, "x").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.content.abort(&a, "x").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(ingest.commit(0, None, labels(&[]), NOW).unwrap_err().kind(), ErrorKind::NotFound);
    let again = store.content.ingest(&a, &ingest_options("x")).unwrap();
    assert_eq!(again.status().offset, 0, "nothing of the first is left");
}

#[test]
fn an_ingest_is_resumed_also_after_a_restart() {
    let store = Store::new();
    let a = ns("a");
    let mut ingest =
        store.content.ingest(&a, &IngestOptions { total: 6, ..ingest_options("some/ref:x") }).unwrap();
    ingest.write(b"abc").unwrap();
    let busy = store.content.ingest(&a, &ingest_options("some/ref:x")).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Unavailable);
    drop(ingest);
    let store = store.reopen();
    store.content.cleanup(NOW).unwrap();
    let status = store.content.statuses(&a, &Filters::parse(&["ref~=some/.*"]).unwrap()).unwrap();
    assert_eq!((status.len(), status[0].offset, status[0].total, status[0].started_at), (1, 3, 6, NOW));
    assert!(store.content.statuses(&ns("b"), &Filters::all()).unwrap().is_empty());
    let mut ingest = store.content.ingest(&a, &ingest_options("some/ref:x")).unwrap();
    assert_eq!(ingest.digest(), Digest::of_bytes(b"abc"), "the hash goes on where it was");
    ingest.write(b"def").unwrap();
    assert_eq!(ingest.commit(6, None, labels(&[]), NOW).unwrap(), Digest::of_bytes(b"abcdef"));
    assert_eq!(store.content.status(&a, "some/ref:x").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn bytes_for_another_digest_are_thrown_away() {
    let store = Store::new();
    let a = ns("a");
    let (one, two) = (Digest::of_bytes(b"one"), Digest::of_bytes(b"two"));
    let open = |expected| {
        let options = IngestOptions { expected: Some(expected), ..ingest_options("r") };
        store.content.ingest(&a, &options).unwrap()
    };
    open(&one).write(b"on").unwrap();
    assert_eq!(open(&one).status().offset, 2);
    assert_eq!(open(&two).status().offset, 0);
    store.content.abort(&a, "r").unwrap();
    assert_eq!(store.content.abort(&a, "r").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn content_is_shared_and_goes_with_its_last_namespace() {
    let store = Store::new();
    let (a, b) = (ns("a"), ns("b"));
    let digest = store.put(&a, b"shared", &[("only", "a")]);
    assert_eq!(store.content.stat(&b, &digest).unwrap_err().kind(), ErrorKind::NotFound);
    let options = IngestOptions { expected: Some(&digest), ..ingest_options("r") };
    assert_eq!(store.content.ingest(&b, &options).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(store.content.stat(&b, &digest).unwrap().labels.is_empty(), "labels are each namespace's own");
    store.content.delete(&a, &digest).unwrap();
    assert_eq!(store.content.delete(&a, &digest).unwrap_err().kind(), ErrorKind::NotFound);
    let reader = store.content.reader(&b, &digest).unwrap();
    store.content.delete(&b, &digest).unwrap();
    assert_eq!(reader.read_all(100).unwrap(), b"shared", "what is open stays readable");
    assert!(!store.path("content/blobs/sha256").join(digest.hex()).exists());
}

#[test]
fn labels_change_by_path_and_filters_find_them() {
    let store = Store::new();
    let a = ns("a");
    let one = store.put(&a, b"one", &[("x.y/z", "1"), ("keep", "k")]);
    let two = store.put(&a, b"two", &[]);
    let find = |filter: &str| -> Vec<Digest> {
        let found = store.content.list(&a, &Filters::parse(&[filter]).unwrap()).unwrap();
        found.into_iter().map(|info| info.digest).collect()
    };
    assert_eq!(find("labels.\"x.y/z\"==1"), std::slice::from_ref(&one));
    assert_eq!(find(&format!("digest=={two}")), std::slice::from_ref(&two));
    assert_eq!(find("labels.keep!=k"), std::slice::from_ref(&two));
    let paths = ["labels.x.y/z".to_string(), "labels.new".to_string()];
    let info = store.content.update(&a, &one, &labels(&[("new", "n")]), &paths, later(5)).unwrap();
    assert_eq!(info.labels, labels(&[("keep", "k"), ("new", "n")]));
    assert_eq!((info.created_at, info.updated_at), (NOW, later(5)));
    let error = store.content.update(&a, &one, &labels(&[]), &["size".to_string()], NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let long = labels(&[("k", &"v".repeat(5000))]);
    assert_eq!(
        store.content.update(&a, &one, &long, &[], NOW).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

/// A blob that has its name and, after a crash, no row: the next ingest of its digest takes it over.
#[test]
fn a_blob_without_a_row_is_taken_over() {
    let store = Store::new();
    let a = ns("a");
    let digest = Digest::of_bytes(b"orphan");
    let mut ingest = store.content.ingest(&a, &ingest_options("r")).unwrap();
    ingest.write(b"orphan").unwrap();
    let mut sealed = [ingest.seal(6, Some(&digest)).unwrap()];
    store.content.publish(&mut sealed).unwrap();
    // Nobody takes it away while its row is on the way.
    let options = IngestOptions { expected: Some(&digest), ..ingest_options("other") };
    assert_eq!(store.content.ingest(&a, &options).unwrap().status().offset, 0);
    drop(sealed);
    let store = store.reopen();
    store.content.cleanup(Timestamp::new(real_now(), 0)).unwrap();
    let ingest = store.content.ingest(&a, &options).unwrap();
    assert_eq!(ingest.status().offset, 6);
    ingest.commit(6, Some(&digest), labels(&[]), NOW).unwrap();
    assert_eq!(store.content.reader(&a, &digest).unwrap().read_all(9).unwrap(), b"orphan");
}

#[test]
fn cleanup_takes_old_files_without_rows() {
    let store = Store::new();
    let digest = store.put(&ns("a"), b"kept", &[]);
    let stray = Digest::of_bytes(b"stray");
    let path = |digest: &Digest| store.path("content/blobs/sha256").join(digest.hex());
    std::fs::write(path(&stray), b"stray").unwrap();
    std::fs::create_dir(store.path("content/ingest/broken")).unwrap();
    assert_eq!(store.content.cleanup(Timestamp::new(real_now(), 0)).unwrap(), 1, "the broken ingest");
    assert!(path(&stray).exists(), "young: somebody may be about to use it");
    assert_eq!(store.content.cleanup(Timestamp::new(real_now() + 90_000, 0)).unwrap(), 1);
    assert!(!path(&stray).exists() && path(&digest).exists());
}

#[test]
fn a_lease_follows_from_ingest_to_content() {
    let store = Store::new();
    let (a, id) = (ns("a"), LeaseId::new("l").unwrap());
    let row = LeaseRow { id: id.clone(), created_at: NOW, labels: labels(&[]) };
    store.metadata.update(|tx| tx.put_lease(&a, &row)).unwrap();
    let options = IngestOptions { lease: Some(&id), ..ingest_options("r") };
    let mut ingest = store.content.ingest(&a, &options).unwrap();
    let kinds = || -> Vec<String> {
        let resources = store.metadata.read().unwrap().lease_resources(&a, &id).unwrap();
        resources.into_iter().map(|resource| resource.kind).collect()
    };
    assert_eq!(kinds(), ["ingests"]);
    ingest.write(b"x").unwrap();
    ingest.commit(0, None, labels(&[]), NOW).unwrap();
    assert_eq!(kinds(), ["content"]);
}

#[test]
fn references_of_any_text_stay_inside() {
    let store = Store::new();
    let a = ns("a");
    for reference in ["../../../etc/passwd", "/abs", "a\nb", "ü", &"r".repeat(4096)] {
        let mut ingest = store.content.ingest(&a, &ingest_options(reference)).unwrap();
        ingest.write(b"x").unwrap();
        drop(ingest);
        assert_eq!(store.content.status(&a, reference).unwrap().offset, 1);
    }
    for reference in ["", "a\0b", &"r".repeat(4097)] {
        let error = store.content.ingest(&a, &ingest_options(reference)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(std::fs::read_dir(store.path("content/ingest")).unwrap().count(), 5);
}
