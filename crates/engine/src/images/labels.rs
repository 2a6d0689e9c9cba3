//! The labels that a pull writes: containerd's, so that garbage collection and other clients understand them.

use std::collections::BTreeMap;
use tare_store::labels::{DISTRIBUTION_SOURCE, GC_REF_SNAPSHOT, Labels};
use tare_types::{ChainId, Descriptor, Reference, image::media};

/// On a document: references to what it lists, by kind and number, as containerd's child labels.
///
/// A manifest's config is `.config`, its layers `.l.N`; an index's manifests are `.m.N`; all else is `.N`.
pub(super) fn child_labels<'a>(children: impl IntoIterator<Item = &'a Descriptor>) -> Labels {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut labels = Labels::new();
    for child in children {
        let prefix = if media::is_config(&child.media_type) {
            "containerd.io/gc.ref.content.config"
        } else if media::is_manifest(&child.media_type) {
            "containerd.io/gc.ref.content.m."
        } else if media::is_layer(&child.media_type) {
            "containerd.io/gc.ref.content.l."
        } else {
            "containerd.io/gc.ref.content."
        };
        let count = counts.entry(prefix).or_default();
        let key =
            if *count > 0 || prefix.ends_with('.') { format!("{prefix}{count}") } else { prefix.to_string() };
        *count += 1;
        labels.insert(key, child.digest.to_string());
    }
    labels
}

/// On a config: the top snapshot of its image.
pub(super) fn snapshot_label(snapshotter: &str, chain: &ChainId) -> (String, String) {
    (format!("{GC_REF_SNAPSHOT}{snapshotter}"), chain.to_string())
}

/// On any content: the registry and the repository there it came from or went to.
pub(super) fn source_key(reference: &Reference) -> String {
    format!("{DISTRIBUTION_SOURCE}{}", reference.domain())
}

/// The value for [`source_key`]: repositories in order, this one added.
pub(super) fn with_source(old: Option<&String>, reference: &Reference) -> String {
    let mut list: Vec<&str> = old.map(|text| text.split(',').collect()).unwrap_or_default();
    list.retain(|entry| !entry.is_empty());
    list.push(reference.path());
    list.sort_unstable();
    list.dedup();
    list.join(",")
}

/// Whether content is known to be in the repository.
pub(super) fn came_from(labels: &Labels, reference: &Reference) -> bool {
    labels
        .get(&source_key(reference))
        .is_some_and(|list| list.split(',').any(|entry| entry == reference.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_types::Digest;

    #[test]
    fn children_are_numbered_by_kind() {
        let entry = |kind: &str, name: &str| Descriptor::new(kind, Digest::of_bytes(name.as_bytes()), 1);
        let list = [
            entry(media::OCI_CONFIG, "c"),
            entry(media::OCI_LAYER_GZIP, "a"),
            entry(media::DOCKER_LAYER_GZIP, "b"),
            entry(media::OCI_MANIFEST, "m"),
            entry("text/plain", "t"),
        ];
        let labels = child_labels(&list);
        let keys: Vec<&str> =
            labels.keys().map(|key| key.trim_start_matches("containerd.io/gc.ref.content")).collect();
        assert_eq!(keys, [".0", ".config", ".l.0", ".l.1", ".m.0"]);
        assert_eq!(labels["containerd.io/gc.ref.content.l.1"], Digest::of_bytes(b"b").to_string());
    }

    #[test]
    fn sources_are_a_sorted_list() {
        let reference = Reference::parse_familiar("localhost:5000/b/app").unwrap();
        assert_eq!(source_key(&reference), "containerd.io/distribution.source.localhost:5000");
        assert_eq!(with_source(None, &reference), "b/app");
        assert_eq!(with_source(Some(&"c,a".to_string()), &reference), "a,b/app,c");
        assert_eq!(with_source(Some(&"b/app".to_string()), &reference), "b/app");
        let labels = Labels::from([(source_key(&reference), "a,b/app".to_string())]);
        assert!(came_from(&labels, &reference));
    }
}
