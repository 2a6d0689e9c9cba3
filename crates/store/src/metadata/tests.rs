//! A fault at every write, change of length and sync of the database file: what was answered is there, what was not
//! is whole or absent, and work goes on.

use super::{Metadata, MetadataOptions, Tables};
use std::collections::BTreeSet;
use tare_types::ErrorKind;

/// Far enough that the last faults come after all the work.
const FAULTS: i64 = 45;
const CHANGES: usize = 6;

/// One change: two rows that must come together.
fn change(metadata: &Metadata, at: usize) -> crate::Result<()> {
    let value = vec![at as u8; 3000 * (at + 1)];
    metadata.update(|tx| {
        tx.put_value("left", &format!("{at:03}"), &value)?;
        tx.put_value("right", &format!("{at:03}"), &value)
    })
}

fn keys(metadata: &Metadata, bucket: &str) -> BTreeSet<String> {
    metadata.read().unwrap().values(bucket).unwrap().into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_fault_at_any_write_loses_nothing_that_was_answered() {
    let mut failed = 0;
    for fault in 0..FAULTS {
        let root = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(root.path(), MetadataOptions::default()).unwrap();
        metadata.fail_after(fault);
        let mut answered = BTreeSet::new();
        for at in 0..CHANGES {
            match change(&metadata, at) {
                Ok(()) => drop(answered.insert(format!("{at:03}"))),
                Err(error) => {
                    failed += 1;
                    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "fault {fault}: {error}");
                    assert!(error.to_string().contains("metadata"), "{error}");
                }
            }
        }
        let check = |metadata: &Metadata, when: &str| {
            let (left, right) = (keys(metadata, "left"), keys(metadata, "right"));
            assert_eq!(left, right, "fault {fault}, {when}: half of a change");
            assert!(answered.is_subset(&left), "fault {fault}, {when}: {answered:?} but {left:?}");
        };
        metadata.fail_after(i64::MAX);
        check(&metadata, "at once");
        change(&metadata, 99).unwrap();
        drop(metadata);
        let metadata = Metadata::open(root.path(), MetadataOptions::default()).unwrap();
        check(&metadata, "after a restart");
        assert!(keys(&metadata, "left").contains("099"));
    }
    assert!(failed > 10, "only {failed} faults hit");
}

#[test]
fn writers_at_once_are_told_of_a_fault_or_keep_their_change() {
    for fault in (0..120).step_by(11) {
        let root = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(root.path(), MetadataOptions::default()).unwrap();
        metadata.fail_after(fault);
        let answered: BTreeSet<String> = std::thread::scope(|scope| {
            let metadata = &metadata;
            let writers: Vec<_> = (0..8)
                .map(|at| {
                    scope.spawn(move || {
                        (0..4)
                            .map(move |n| at * 4 + n)
                            .filter(|at| change(metadata, *at).is_ok())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            let done = writers.into_iter().flat_map(|writer| writer.join().unwrap());
            done.map(|at| format!("{at:03}")).collect()
        });
        drop(metadata);
        let metadata = Metadata::open(root.path(), MetadataOptions::default()).unwrap();
        let left = keys(&metadata, "left");
        assert_eq!(left, keys(&metadata, "right"), "fault {fault}");
        assert!(answered.is_subset(&left), "fault {fault}: {answered:?} but {left:?}");
    }
}
