//! Label names that the store gives a meaning to. They are containerd's, so that both stacks read each other's.

use crate::{Error, Result};
use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Longest key and value together, in bytes (containerd's limit).
pub const MAX_LABEL_LENGTH: usize = 4096;

/// Keeps an object, and all it references, from garbage collection.
pub const GC_ROOT: &str = "containerd.io/gc.root";
/// Prefix of references from one object to content, snapshots and images.
pub const GC_REF: &str = "containerd.io/gc.ref.";
/// References to content; `.suffix` may follow.
pub const GC_REF_CONTENT: &str = "containerd.io/gc.ref.content";
/// References to snapshots: a snapshotter's name follows, and `/suffix` may follow that.
pub const GC_REF_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
/// References to images; `.suffix` may follow.
pub const GC_REF_IMAGE: &str = "containerd.io/gc.ref.image";
/// References backwards: as long as the named object lives, the labelled one does.
pub const GC_BREF: &str = "containerd.io/gc.bref.";
/// Backward references to content.
pub const GC_BREF_CONTENT: &str = "containerd.io/gc.bref.content";
/// Backward references to containers.
pub const GC_BREF_CONTAINER: &str = "containerd.io/gc.bref.container";
/// Backward references to images.
pub const GC_BREF_IMAGE: &str = "containerd.io/gc.bref.image";
/// Backward references to snapshots: a snapshotter's name follows.
pub const GC_BREF_SNAPSHOT: &str = "containerd.io/gc.bref.snapshot.";
/// RFC 3339 time after which a lease or an image is no root any more.
pub const GC_EXPIRE: &str = "containerd.io/gc.expire";
/// A lease with this label keeps only what it lists, not what that references.
pub const GC_FLAT: &str = "containerd.io/gc.flat";
/// DiffID of a compressed layer, set on its content.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// Prefix: repository (per registry host) that content came from.
pub const DISTRIBUTION_SOURCE: &str = "containerd.io/distribution.source.";

/// Checks length as containerd does: key plus value at most 4096 bytes.
///
/// # Errors
/// `InvalidArgument` naming the key.
pub fn check(labels: &Labels) -> Result<()> {
    for (key, value) in labels {
        if key.len() + value.len() > MAX_LABEL_LENGTH {
            let shown: String = key.chars().take(64).collect();
            return Err(Error::invalid("check label", shown, "key and value are longer than 4096 bytes"));
        }
    }
    Ok(())
}

/// Changes labels by a field mask as containerd's `Update` methods: no paths replace all, `labels.x` sets or
/// (with an empty value) removes one.
pub fn update(labels: &mut Labels, new: &Labels, paths: &[String]) -> Result<()> {
    if paths.is_empty() || paths.iter().any(|path| path == "labels") {
        *labels = new.clone();
        return check(labels);
    }
    for path in paths {
        let Some(key) = path.strip_prefix("labels.") else {
            return Err(Error::invalid("update", path, "this field cannot be updated"));
        };
        match new.get(key) {
            Some(value) if !value.is_empty() => labels.insert(key.to_string(), value.clone()),
            _ => labels.remove(key),
        };
    }
    check(labels)
}
