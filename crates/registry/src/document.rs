//! Manifests and indexes as they are received: one meaning or none.
//!
//! A document that is a manifest under one media type and an index under another can show two images to two
//! tools (CVE-2021-41190); such a document is refused, and so is one whose own `mediaType` contradicts.

use crate::{Error, Result};
use serde::Deserialize;
use tare_types::{
    ErrorKind,
    image::{Index, Manifest, media},
};

/// The types we can read, for the `Accept` header.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// Docker's first image format, which had no content addresses for its parts.
const SCHEMA1: &[&str] = &[
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// A checked document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// Several images.
    Index(Index),
}

/// Only the fields that decide what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: Option<i64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Reads a document whose type was given as `media_type` by its descriptor or `Content-Type`.
///
/// # Errors
/// Unimplemented for Docker's schema 1; InvalidArgument for other types, broken JSON and ambiguous documents.
pub fn check_document(media_type: &str, bytes: &[u8]) -> Result<Document> {
    let invalid = |detail: String| Error::new(ErrorKind::InvalidArgument, "read", "image document", detail);
    refuse_schema1(media_type)?;
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|e| invalid(format!("{media_type} is not valid JSON: {e}")))?;
    if shape.fs_layers.is_some() || shape.schema_version == Some(1) {
        return Err(schema1());
    }
    let own = shape.media_type.as_deref().unwrap_or_default();
    if !own.is_empty() && own != media_type {
        return Err(invalid(format!("it came as {media_type} and calls itself {own}")));
    }
    let looks_like_manifest = shape.config.is_some() || shape.layers.is_some();
    match (media::is_manifest(media_type), media::is_index(media_type)) {
        (true, _) if shape.manifests.is_some() => {
            Err(invalid("a manifest must not have a list of manifests".into()))
        }
        (_, true) if looks_like_manifest => Err(invalid("an index must not have a config or layers".into())),
        (true, _) => {
            let manifest = serde_json::from_slice(bytes)
                .map_err(|e| invalid(format!("the manifest is malformed: {e}")))?;
            Ok(Document::Manifest(manifest))
        }
        (_, true) => {
            let index =
                serde_json::from_slice(bytes).map_err(|e| invalid(format!("the index is malformed: {e}")))?;
            Ok(Document::Index(index))
        }
        _ => Err(invalid(format!("media type {media_type:?} is neither a manifest nor an index"))),
    }
}

/// Refuses Docker's schema 1 by its media type.
pub(crate) fn refuse_schema1(media_type: &str) -> Result<()> {
    if SCHEMA1.contains(&media_type) { Err(schema1()) } else { Ok(()) }
}

fn schema1() -> Error {
    let detail = "Docker image manifest version 2, schema 1 is not supported; push the image again with a current tool";
    Error::new(ErrorKind::Unimplemented, "read", "image document", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"{}","digest":"{EMPTY}","size":0}},"layers":[]}}"#,
            media::OCI_CONFIG
        )
    }

    #[track_caller]
    fn refused(media_type: &str, text: &str, kind: ErrorKind) {
        let error = check_document(media_type, text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }

    #[test]
    fn plain_documents_are_read() {
        assert!(matches!(
            check_document(media::OCI_MANIFEST, manifest("").as_bytes()),
            Ok(Document::Manifest(_))
        ));
        let own = manifest(&format!(r#""mediaType":"{}","#, media::DOCKER_MANIFEST));
        assert!(check_document(media::DOCKER_MANIFEST, own.as_bytes()).is_ok());
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(check_document(media::OCI_INDEX, index), Ok(Document::Index(_))));
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        let both = manifest(r#""manifests":[],"#);
        refused(media::OCI_MANIFEST, &both, ErrorKind::InvalidArgument);
        refused(media::OCI_INDEX, &both, ErrorKind::InvalidArgument);
        let contradicts = manifest(&format!(r#""mediaType":"{}","#, media::OCI_INDEX));
        refused(media::OCI_MANIFEST, &contradicts, ErrorKind::InvalidArgument);
        refused("application/json", &manifest(""), ErrorKind::InvalidArgument);
        refused(media::OCI_MANIFEST, "{", ErrorKind::InvalidArgument);
        refused(media::OCI_MANIFEST, r#"{"schemaVersion":2}"#, ErrorKind::InvalidArgument);
    }

    #[test]
    fn schema1_is_refused_by_name() {
        refused(SCHEMA1[0], "{}", ErrorKind::Unimplemented);
        refused(media::OCI_MANIFEST, r#"{"schemaVersion":1,"fsLayers":[]}"#, ErrorKind::Unimplemented);
    }
}
