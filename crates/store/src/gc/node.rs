//! Objects that reference each other, and what their labels say about that.

use crate::{Labels, labels};

/// An object of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    Content(String),
    Snapshot { snapshotter: String, key: String },
    Image(String),
    Container(String),
}

/// What an object's labels point to.
pub(super) fn references(labels: &Labels) -> impl Iterator<Item = Node> + '_ {
    labels.iter().filter_map(|(key, value)| {
        if !key.starts_with(labels::GC_REF) || value.is_empty() {
            return None;
        }
        if is_or_below(key, labels::GC_REF_CONTENT) {
            return Some(Node::Content(value.clone()));
        }
        if is_or_below(key, labels::GC_REF_IMAGE) {
            return Some(Node::Image(value.clone()));
        }
        snapshot(key, labels::GC_REF_SNAPSHOT, value)
    })
}

/// What an object's labels say keeps it: as long as one of these lives, the object does.
pub(super) fn back_references(labels: &Labels) -> impl Iterator<Item = Node> + '_ {
    labels.iter().filter_map(|(key, value)| {
        if !key.starts_with(labels::GC_BREF) || value.is_empty() {
            return None;
        }
        if is_or_below(key, labels::GC_BREF_CONTENT) {
            return Some(Node::Content(value.clone()));
        }
        if is_or_below(key, labels::GC_BREF_IMAGE) {
            return Some(Node::Image(value.clone()));
        }
        if is_or_below(key, labels::GC_BREF_CONTAINER) {
            return Some(Node::Container(value.clone()));
        }
        snapshot(key, labels::GC_BREF_SNAPSHOT, value)
    })
}

/// `prefix`, `prefix.x` or `prefix/x`.
fn is_or_below(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
}

/// `prefix<snapshotter>` or `prefix<snapshotter>/x`.
fn snapshot(key: &str, prefix: &str, value: &str) -> Option<Node> {
    let rest = key.strip_prefix(prefix)?;
    let snapshotter = rest.split('/').next().filter(|name| !name.is_empty())?;
    Some(Node::Snapshot { snapshotter: snapshotter.to_string(), key: value.to_string() })
}
