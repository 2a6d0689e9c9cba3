//! A store in a temporary directory, and small things that tests share.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use tare_store::{
    ApplyOptions, ContentStore, IngestOptions, Labels, Limits, Metadata, MetadataOptions, Overlay,
    WhiteoutFormat, snapshot::OverlayOptions,
};
use tare_types::{Digest, Namespace, SnapshotKey, Timestamp};

pub(crate) const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

pub(crate) struct Store {
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) content: Arc<ContentStore>,
    pub(crate) overlay: Arc<Overlay>,
    /// Last, so that it goes last.
    pub(crate) root: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::Builder::new().prefix("tare-store-").tempdir().unwrap())
    }

    pub(crate) fn at(root: tempfile::TempDir) -> Self {
        let (metadata, content, overlay) = open(root.path());
        Self { metadata, content, overlay, root }
    }

    /// Closes everything and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let Self { metadata, content, overlay, root } = self;
        drop((overlay, content, metadata));
        Self::at(root)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Commits bytes as content.
    pub(crate) fn put(&self, namespace: &Namespace, bytes: &[u8], labels: &[(&str, &str)]) -> Digest {
        let options = ingest_options("put");
        let mut ingest = self.content.ingest(namespace, &options).unwrap();
        ingest.write(bytes).unwrap();
        ingest.commit(bytes.len() as u64, None, self::labels(labels), NOW).unwrap()
    }
}

pub(crate) fn open(root: &Path) -> (Arc<Metadata>, Arc<ContentStore>, Arc<Overlay>) {
    let metadata = Arc::new(Metadata::open(root, MetadataOptions::default()).unwrap());
    let content = Arc::new(ContentStore::open(&root.join("content"), metadata.clone()).unwrap());
    let overlay = Overlay::open(&root.join("overlayfs"), metadata.clone(), OverlayOptions::default());
    (metadata, content, Arc::new(overlay.unwrap()))
}

pub(crate) fn ingest_options(reference: &str) -> IngestOptions<'_> {
    IngestOptions { reference, expected: None, total: 0, lease: None, now: NOW }
}

pub(crate) fn ns(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

pub(crate) fn key(name: &str) -> SnapshotKey {
    SnapshotKey::new(name).unwrap()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub(crate) fn apply_options() -> ApplyOptions {
    ApplyOptions { whiteouts: WhiteoutFormat::Overlay { userxattr: false }, limits: Limits::default() }
}

pub(crate) fn directory(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

/// Runs a program and gives its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs Python on a script with arguments; the script may use the standard library only.
pub(crate) fn python(script: &str, arguments: &[&str]) -> String {
    let mut all = vec!["-c", script];
    all.extend_from_slice(arguments);
    run("python3", &all)
}

/// Every path below a directory with kind, mode, owner, size or target, device, links and time: what a correct
/// extraction has to agree on.
pub(crate) fn listing(root: &Path) -> String {
    run(
        "sh",
        &[
            "-c",
            "cd \"$1\" && find . -mindepth 1 -printf '%P %y %m %U %G %s %l %n %T@\\n' | sed -E 's/^([^ ]+ d [0-9]+ [0-9]+ [0-9]+) [0-9]+/\\1 -/' | sort",
            "sh",
            root.to_str().unwrap(),
        ],
    )
}

/// An extended attribute of a path, a symlink itself.
pub(crate) fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0_u8; 4096];
    let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}
