//! A full disk: a clear error, nothing half done under a name, and work goes on once there is room.

use crate::support::{NOW, apply_options, directory, ingest_options, labels, ns, open, run};
use std::{fs, path::PathBuf};
use tare_store::{Filters, Tables, layer};
use tare_types::ErrorKind;

/// A small file system of its own.
struct Small(tempfile::TempDir);

impl Small {
    fn new(size: &str) -> Self {
        let top = tempfile::tempdir().unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", top.path().to_str().unwrap()]);
        Self(top)
    }

    fn root(&self) -> PathBuf {
        self.0.path().to_path_buf()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.path().to_str().unwrap()]);
    }
}

#[test]
fn an_ingest_fails_clearly_and_is_resumed_when_there_is_room() {
    let disk = Small::new("8m");
    let (_metadata, content, _overlay) = open(&disk.root());
    let a = ns("a");
    let ballast = disk.root().join("ballast");
    fs::write(&ballast, vec![0; 3 << 20]).unwrap();
    let piece = vec![9; 1 << 20];
    let mut ingest = content.ingest(&a, &ingest_options("r")).unwrap();
    let error = loop {
        if let Err(error) = ingest.write(&piece) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("No space left"), "{error}");
    let offset = ingest.status().offset;
    drop(ingest);
    fs::remove_file(&ballast).unwrap();
    let mut ingest = content.ingest(&a, &ingest_options("r")).unwrap();
    assert_eq!(ingest.status().offset, offset, "what was written before stays");
    ingest.write(&piece).unwrap();
    let digest = ingest.commit(offset + (1 << 20), None, labels(&[]), NOW).unwrap();
    assert_eq!(content.list(&a, &Filters::all()).unwrap()[0].digest, digest);
}

#[test]
fn the_database_goes_on_after_a_full_disk() {
    let disk = Small::new("6m");
    let (metadata, content, overlay) = open(&disk.root());
    metadata.update(|tx| tx.put_value("b", "before", b"x")).unwrap();
    let ballast = disk.root().join("ballast");
    run("sh", &["-c", "cat /dev/zero > \"$1\" 2>/dev/null; true", "sh", ballast.to_str().unwrap()]);
    let mut at = 0;
    let error = loop {
        let outcome = metadata.update(|tx| tx.put_value("b", &format!("big{at}"), &[7; 200_000]));
        match outcome {
            Ok(()) => at += 1,
            Err(error) => break error,
        }
        assert!(at < 100, "the disk never got full");
    };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("metadata"), "{error}");
    let tx = metadata.read().unwrap();
    assert_eq!(tx.value("b", "before").unwrap().unwrap(), b"x", "reading goes on");
    assert_eq!(tx.value("b", &format!("big{at}")).unwrap(), None, "the failed change is not seen");
    assert_eq!(tx.values("b").unwrap().len(), at + 1, "what was answered is there");
    drop(tx);
    fs::remove_file(&ballast).unwrap();
    metadata.update(|tx| tx.put_value("b", "after", b"y")).unwrap();
    drop((content, overlay, metadata));
    let (metadata, _content, _overlay) = open(&disk.root());
    let tx = metadata.read().unwrap();
    assert_eq!(tx.value("b", "after").unwrap().unwrap(), b"y");
    assert_eq!(tx.values("b").unwrap().len(), at + 2);
}

#[test]
fn a_layer_that_does_not_fit_names_its_entry() {
    let disk = Small::new("4m");
    let (big, root) = (disk.root().join("big"), disk.root().join("root"));
    fs::create_dir(&root).unwrap();
    let archive = tempfile::NamedTempFile::new().unwrap();
    let script = "import tarfile, io, sys\nt = tarfile.open(sys.argv[1], 'w')\ni = tarfile.TarInfo('usr/big'); i.size = 6000000; t.addfile(i, io.BytesIO(b'x' * 6000000)); t.close()";
    crate::support::python(script, &[archive.path().to_str().unwrap()]);
    drop(big);
    let error = layer::apply(archive.reopen().unwrap(), directory(&root), apply_options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(
        error.to_string().contains("entry \"usr/big\"") && error.to_string().contains("No space left"),
        "{error}"
    );
}
