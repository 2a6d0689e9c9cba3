//! A layer out of what differs between two sets of mounts, written into the content store.
//!
//! Where the upper mount is an overlay right on top of the lower ones (a container's snapshot and its parent), its
//! upper directory alone is read. Everything else is compared as two trees: a bind mount by its directory, an overlay
//! through a detached read-only mount that nobody else sees. Nothing is ever attached to the host's tree.
//!
//! Sync: it reads trees and writes a blob; run it on a blocking thread.

mod tree;

use crate::{Error, Result, stores::Stores};
use std::os::fd::OwnedFd;
use tare_store::{
    Ingest, IngestOptions, Labels,
    labels::UNCOMPRESSED,
    layer::{Written, write_changes, write_upper},
};
use tare_types::{
    Descriptor, ErrorKind, LeaseId, Mount, Namespace,
    image::{Compression, media},
};

/// What is compared and how the result is kept.
#[derive(Debug, Clone)]
pub struct DiffRequest {
    /// Namespace of the blob.
    pub namespace: Namespace,
    /// A lease that keeps the blob.
    pub lease: Option<LeaseId>,
    /// The state before; none for nothing.
    pub lower: Vec<Mount>,
    /// The state after; none for nothing.
    pub upper: Vec<Mount>,
    /// Media type of the layer; empty for OCI's with gzip.
    pub media_type: String,
    /// Name of the ingest. What an earlier attempt left under it is thrown away.
    pub reference: String,
    /// Labels of the blob, besides `containerd.io/uncompressed`.
    pub labels: Labels,
}

/// Writes the layer and gives its descriptor.
///
/// # Errors
/// `Unimplemented` for media types that are no layer or use zstd, and for mounts that are neither bind nor overlay;
/// those of reading and of the content store.
pub fn write(stores: &Stores, request: &DiffRequest) -> Result<Descriptor> {
    let (media_type, compression) = format(&request.media_type)?;
    let ingest = stores.content.ingest(
        &request.namespace,
        &IngestOptions {
            reference: &request.reference,
            expected: None,
            total: 0,
            lease: request.lease.as_ref(),
            now: crate::clock::now(),
        },
    )?;
    let outcome = fill(ingest, request, compression).and_then(|(ingest, written)| {
        let mut labels = request.labels.clone();
        labels.insert(UNCOMPRESSED.to_owned(), written.diff_id.to_string());
        keep(stores, request, ingest, &written, labels)?;
        Ok(Descriptor::new(media_type, written.digest, written.size))
    });
    if outcome.is_err()
        && let Err(error) = stores.content.abort(&request.namespace, &request.reference)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, reference = request.reference, "what a failed diff wrote stays until it expires");
    }
    outcome
}

/// Media type and compression of what is asked for.
fn format(asked: &str) -> Result<(&str, Compression)> {
    match asked {
        "" => Ok((media::OCI_LAYER_GZIP, Compression::Gzip)),
        media::OCI_LAYER | media::DOCKER_LAYER => Ok((asked, Compression::None)),
        media::OCI_LAYER_GZIP | media::DOCKER_LAYER_GZIP => Ok((asked, Compression::Gzip)),
        other => {
            let detail = format!("unsupported diff media type: {other}");
            Err(Error::new(ErrorKind::Unimplemented, "write", "layer", "", detail))
        }
    }
}

fn fill(mut ingest: Ingest, request: &DiffRequest, compression: Compression) -> Result<(Ingest, Written)> {
    if ingest.status().offset > 0 {
        ingest.truncate()?;
    }
    let mut sink = Sink(ingest);
    let written = match tree::upper_alone(&request.lower, &request.upper) {
        Some(directory) => write_upper(tree::open(directory)?, &mut sink, compression)?,
        None => {
            let (lower, upper) = (tree::of_mounts(&request.lower)?, tree::of_mounts(&request.upper)?);
            write_changes(lower, upper.map_or_else(empty, Ok)?, &mut sink, compression)?
        }
    };
    Ok((sink.0, written))
}

/// A directory that has nothing in it and that nobody can put anything in.
fn empty() -> Result<OwnedFd> {
    let made = tare_sys::mount::new_filesystem(
        "tmpfs",
        None,
        &[("size", Some("4k")), ("mode", Some("0755"))],
        rustix::mount::MountAttrFlags::MOUNT_ATTR_RDONLY,
    );
    made.map_err(tree::failed("an empty tree")).and_then(|mount| tree::readable(&mount))
}

/// Commits the blob; when it is there already, its labels and the lease learn of this one.
fn keep(
    stores: &Stores,
    request: &DiffRequest,
    ingest: Ingest,
    written: &Written,
    labels: Labels,
) -> Result<()> {
    let now = crate::clock::now();
    match ingest.commit(written.size, Some(&written.digest), labels.clone(), now) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let paths: Vec<String> = labels.keys().map(|key| format!("labels.{key}")).collect();
            stores.content.update(&request.namespace, &written.digest, &labels, &paths, now)?;
            Ok(())
        }
        other => Ok(other.map(drop)?),
    }
}

/// The ingest as a sink of bytes.
struct Sink(Ingest);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_say_the_compression() {
        assert_eq!(format("").unwrap(), (media::OCI_LAYER_GZIP, Compression::Gzip));
        assert_eq!(format(media::OCI_LAYER).unwrap(), (media::OCI_LAYER, Compression::None));
        assert_eq!(format(media::DOCKER_LAYER_GZIP).unwrap().1, Compression::Gzip);
        for other in [media::OCI_LAYER_ZSTD, "text/plain"] {
            let error = format(other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unimplemented);
            assert!(error.to_string().contains(other), "{error}");
        }
    }
}
