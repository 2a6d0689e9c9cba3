//! kill -9 in the middle of work: what was answered is there, what was not is either whole or absent.

use crate::support::{NOW, directory, ingest_options, key, labels, ns, open};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};
use tare_store::{
    Filters, Snapshotter, Tables,
    snapshot::{CommitOptions, PrepareRequest},
};
use tare_types::{Digest, Timestamp};

const ROUNDS: usize = 6;

/// The child: ingests, publishes and commits without end, and says what has been answered. It runs as a test of
/// this binary and does nothing unless it is asked to.
#[test]
fn child() {
    let Ok(root) = std::env::var("TARE_STORE_CRASH_ROOT") else { return };
    let (metadata, content, overlay) = open(Path::new(&root));
    let a = ns("a");
    let seed = std::process::id();
    for at in 0.. {
        let name = format!("{seed}-{at}");
        let bytes = name.repeat(1 + at % 5000);
        let mut ingest = content.ingest(&a, &ingest_options(&name)).unwrap();
        ingest.write(bytes.as_bytes()).unwrap();
        let active = key(&format!("active-{name}"));
        let request = PrepareRequest {
            namespace: &a,
            key: &active,
            parent: None,
            labels: labels(&[]),
            lease: None,
            now: NOW,
        };
        overlay.prepare(&request).unwrap();
        let target = overlay.apply_target(&a, &active).unwrap();
        std::fs::write(target.path.join("file"), &bytes).unwrap();
        let mut sealed = [ingest.seal(0, None).unwrap()];
        content.publish(&mut sealed).unwrap();
        let options = CommitOptions {
            labels: labels(&[]),
            parent: None,
            usage: None,
            lease: None,
            deferred: false,
            now: NOW,
        };
        metadata
            .update(|tx| {
                sealed[0].record(tx, &labels(&[]), NOW)?;
                overlay.commit_in(tx, &a, &key(&name), &active, &options)
            })
            .unwrap();
        println!("answered {} {name}", sealed[0].digest());
        if at % 3 == 2 {
            let old = format!("{seed}-{}", at - 1);
            overlay.remove(&a, &key(&old)).unwrap();
            println!("removed {old}");
        }
    }
}

#[test]
fn kill_9_loses_nothing_that_was_answered() {
    let root = tempfile::tempdir().unwrap();
    let (mut answered, mut removed) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
            .env("TARE_STORE_CRASH_ROOT", root.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        // Killed at another place each round.
        while seen < 3 + round * 5 {
            let line = lines.next().expect("the child works until it is killed").unwrap();
            seen += usize::from(note(&line, &mut answered, &mut removed));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Answers that were on their way count too.
        lines.map_while(Result::ok).for_each(|line| {
            note(&line, &mut answered, &mut removed);
        });
        check(root.path(), &answered, &removed);
    }
    assert!(answered.len() > ROUNDS && !removed.is_empty());
}

fn note(line: &str, answered: &mut Vec<(Digest, String)>, removed: &mut Vec<String>) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        [.., "answered", digest, name] if Digest::parse(digest).is_ok() => {
            answered.push((Digest::parse(digest).unwrap(), name.to_string()));
            true
        }
        ["removed", name] => {
            removed.push(name.to_string());
            true
        }
        _ => false,
    }
}

fn check(root: &Path, answered: &[(Digest, String)], removed: &[String]) {
    let (metadata, content, overlay) = open(root);
    let a = ns("a");
    for (digest, name) in answered {
        let bytes = content.reader(&a, digest).unwrap().read_all(1 << 30).unwrap();
        assert_eq!(Digest::of_bytes(&bytes), *digest);
        let lowers = overlay.lower_dirs(&a, &key(name));
        match removed.contains(name) {
            true => assert!(lowers.is_err(), "{name} was removed"),
            // A removal may have happened without its answer being seen.
            false => {
                if let Ok(lowers) = lowers {
                    let path = format!("/proc/self/fd/{}/file", std::os::fd::AsRawFd::as_raw_fd(&lowers[0]));
                    assert_eq!(std::fs::read(path).unwrap(), bytes);
                }
            }
        }
    }
    // Every row has its bytes, whole.
    for info in content.list(&a, &Filters::all()).unwrap() {
        let bytes = content.reader(&a, &info.digest).unwrap().read_all(1 << 30).unwrap();
        assert_eq!(Digest::of_bytes(&bytes), info.digest);
    }
    // Every directory has its row.
    let rows = metadata.read().unwrap().snapshots(&a, "overlayfs").unwrap().len();
    assert_eq!(std::fs::read_dir(root.join("overlayfs/snapshots")).unwrap().count(), rows);
    assert_eq!(std::fs::read_dir(root.join("overlayfs/trash")).unwrap().count(), 0);
    // Ingests go on.
    for status in content.statuses(&a, &Filters::all()).unwrap() {
        content.ingest(&a, &ingest_options(&status.reference)).unwrap();
    }
    content.cleanup(Timestamp::new(0, 0)).unwrap();
    drop(directory(root));
}
