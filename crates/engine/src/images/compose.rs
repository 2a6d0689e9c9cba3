//! Images that are made here, not fetched: layers and a config become blobs, a manifest and a name in one transaction.
//!
//! Committed containers, imported file systems and loaded archives all come together here.

use super::{documents, finish, labels, *};
use std::io::{self, Write};
use tare_store::{Ingest, IngestOptions, Labels, SealedBlob, Tables as _, labels::UNCOMPRESSED};
use tare_types::{
    DiffId,
    image::{Compression, media},
};

/// A layer for a new image.
pub(super) struct NewLayer {
    pub(super) descriptor: Descriptor,
    pub(super) diff_id: DiffId,
    /// Its bytes; `None` when the namespace has them.
    pub(super) sealed: Option<SealedBlob>,
}

/// Which family of media types an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Oci,
    Docker,
}

impl Family {
    /// That of an image that is there.
    pub(super) fn of(image: &Image) -> Self {
        if image.manifest.media_type == media::DOCKER_MANIFEST { Self::Docker } else { Self::Oci }
    }

    fn manifest(self) -> &'static str {
        if self == Self::Docker { media::DOCKER_MANIFEST } else { media::OCI_MANIFEST }
    }

    fn config(self) -> &'static str {
        if self == Self::Docker { media::DOCKER_CONFIG } else { media::OCI_CONFIG }
    }

    /// Docker has no type for zstd; registries know OCI's.
    pub(super) fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (_, Compression::Zstd) => media::OCI_LAYER_ZSTD,
            (Self::Docker, Compression::Gzip) => media::DOCKER_LAYER_GZIP,
            (Self::Docker, Compression::None) => media::DOCKER_LAYER,
            (Self::Oci, Compression::Gzip) => media::OCI_LAYER_GZIP,
            (Self::Oci, Compression::None) => media::OCI_LAYER,
        }
    }
}

/// A blob that is being written, as a sink.
pub(super) struct Sink<'a>(pub(super) &'a mut Ingest);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins a blob whose digest nobody knows yet.
pub(super) fn begin(engine: &Engine, namespace: &Namespace, kind: &str) -> Result<Ingest> {
    let reference = format!("{kind}-{}", crate::naming::random_id()?);
    let options = IngestOptions { reference: &reference, expected: None, total: 0, lease: None, now: now() };
    Ok(engine.stores().content.ingest(namespace, &options)?)
}

/// Stores an image of layers and a config whose layers are filled in here. `name`: `None` leaves it untagged. Blocks.
pub(super) fn store(
    engine: &Engine,
    namespace: &Namespace,
    family: Family,
    base: &[Descriptor],
    new: Vec<NewLayer>,
    mut config: ImageConfig,
    names: &[Reference],
) -> Result<Digest> {
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids.extend(new.iter().map(|layer| layer.diff_id.clone()));
    let text = serde_json::to_vec(&config).expect("invariant: a config is plain data");
    store_as_is(engine, namespace, family, base, new, &text, names)
}

/// The same with a config that came as bytes and stays as it is: its digest is the image's id.
pub(super) fn store_as_is(
    engine: &Engine,
    namespace: &Namespace,
    family: Family,
    base: &[Descriptor],
    new: Vec<NewLayer>,
    config: &[u8],
    names: &[Reference],
) -> Result<Digest> {
    let id = Digest::of_bytes(config);
    let layers: Vec<Descriptor> =
        base.iter().cloned().chain(new.iter().map(|layer| layer.descriptor.clone())).collect();
    let manifest = Manifest {
        schema_version: 2,
        media_type: family.manifest().to_owned(),
        config: Descriptor::new(family.config(), id.clone(), config.len() as u64),
        layers,
        annotations: BTreeMap::new(),
    };
    let text = serde_json::to_vec(&manifest).expect("invariant: a manifest is plain data");
    if text.len() as u64 > documents::DOCUMENT_LIMIT {
        let detail = "its manifest would be larger than what is read back";
        return Err(Error::new(ErrorKind::ResourceExhausted, "make", "image", id.as_str(), detail));
    }
    let target = Descriptor::new(family.manifest(), Digest::of_bytes(&text), text.len() as u64);
    let children = std::iter::once(&manifest.config).chain(&manifest.layers);
    let mut wanted: Vec<(Digest, Labels)> = vec![
        (manifest.config.digest.clone(), Labels::new()),
        (target.digest.clone(), labels::child_labels(children)),
    ];
    let mut sealed: Vec<SealedBlob> = Vec::new();
    sealed.extend(finish::seal_document(engine, namespace, &manifest.config, config)?);
    sealed.extend(finish::seal_document(engine, namespace, &target, &text)?);
    for layer in new {
        let label = (UNCOMPRESSED.to_string(), layer.diff_id.to_string());
        wanted.push((layer.descriptor.digest.clone(), [label].into()));
        sealed.extend(layer.sealed);
    }
    engine.stores().content.publish(&mut sealed)?;
    record(engine, namespace, &sealed, &wanted, &target, names)?;
    Ok(id)
}

fn record(
    engine: &Engine,
    namespace: &Namespace,
    sealed: &[SealedBlob],
    wanted: &[(Digest, Labels)],
    target: &Descriptor,
    names: &[Reference],
) -> Result<()> {
    let now = now();
    let changed = engine.stores().metadata.update(|tx| {
        for (digest, labels) in wanted {
            match sealed.iter().find(|blob| blob.digest() == digest) {
                Some(blob) => blob.record(tx, labels, now)?,
                None => tare_store::content::extend_labels(tx, namespace, digest, labels, now)?,
            }
        }
        let mut changed = Vec::new();
        for name in names {
            changed.extend(finish::put_name(tx, namespace, &stored_name(name), target, now)?);
        }
        let named = tx.images(namespace)?.iter().any(|row| row.target.digest == target.digest);
        if !named {
            finish::put_untagged(tx, namespace, target, now)?;
        }
        Ok(changed)
    })?;
    engine.image_state().forget();
    for body in changed {
        engine.events().publish(namespace, now, body, Arc::default());
    }
    Ok(())
}
