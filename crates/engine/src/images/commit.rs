//! Images from what containers have written, and from archives of a file system.

use super::{
    compose::{self, Family, NewLayer, Sink},
    *,
};
use crate::{entry::Entry, lifecycle::stop, state::Status};
use bytes::Bytes;
use tare_store::{WhiteoutFormat, layer};
use tare_types::image::{Compression, ExecutionConfig, History};

/// A container to make an image of.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// Name of the image; `None` leaves it untagged.
    pub name: Option<Reference>,
    /// How containers of the image run; `None` is as those of the container's own image.
    pub config: Option<ExecutionConfig>,
    /// Who made it.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// What made it, for its history.
    pub created_by: String,
    /// Freeze the container meanwhile, so that what it writes is whole.
    pub pause: bool,
}

/// A file system to make an image of.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// Name of the image; `None` leaves it untagged.
    pub name: Option<Reference>,
    /// How containers of the image run.
    pub config: ExecutionConfig,
    /// A remark.
    pub comment: String,
    /// Platform; `None` is this host's.
    pub platform: Option<Platform>,
}

/// Label of a config: the image that it was made from, here.
const PARENT: &str = "tare.parent";

impl Images {
    /// The image that an image was made from on this host (by a commit), if it was.
    ///
    /// # Errors
    /// `DataLoss` when the database cannot be read.
    pub async fn parent_of(&self, namespace: &Namespace, id: &Digest) -> Result<Option<String>> {
        let (stores, namespace, id) = (self.engine.stores().clone(), namespace.clone(), id.clone());
        blocking("inspect image", move || {
            use tare_store::Tables as _;
            let row = stores.metadata.read()?.content(&namespace, &id)?;
            Ok(row.and_then(|row| row.labels.get(PARENT).cloned()))
        })
        .await
    }

    /// Bytes that each layer of an image takes unpacked, bottom first; as it is stored where that is not known.
    ///
    /// # Errors
    /// `DataLoss` when the database cannot be read.
    pub async fn layer_sizes(&self, namespace: &Namespace, image: &Image) -> Result<Vec<u64>> {
        let (stores, namespace, image) = (self.engine.stores().clone(), namespace.clone(), image.clone());
        let snapshotter = self.engine.config().snapshotter.clone();
        blocking("measure image", move || {
            use tare_store::Tables as _;
            let tx = stores.metadata.read()?;
            let mut chain: Option<ChainId> = None;
            let mut sizes = Vec::new();
            for (layer, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
                let next = ChainId::next(chain.as_ref(), diff_id);
                let row = tx.snapshot(&namespace, &snapshotter, &SnapshotKey::new(next.to_string())?)?;
                sizes.push(row.map_or(layer.size, |row| row.usage.bytes));
                chain = Some(next);
            }
            Ok(sizes)
        })
        .await
    }

    /// Makes an image of a container's image and what the container has written. Gives its id.
    ///
    /// # Errors
    /// `NotFound`; `Unimplemented` with a snapshotter that keeps no changes of its own.
    pub async fn commit(
        &self,
        namespace: &Namespace,
        container: &str,
        request: CommitRequest,
    ) -> Result<Digest> {
        let entry = self.engine.entry("commit", namespace, container)?;
        let (images, namespace) = (self.clone(), namespace.clone());
        self.engine
            .run("commit container", async move { images.committed(&namespace, &entry, request).await })
            .await
    }

    async fn committed(
        &self,
        namespace: &Namespace,
        entry: &Arc<Entry>,
        request: CommitRequest,
    ) -> Result<Digest> {
        let record = entry.record();
        let fields = record.engine.as_ref().ok_or_else(|| stop::foreign("commit", entry))?;
        let parent = self.get(namespace, fields.image_id.as_str()).await?;
        let froze = request.pause && entry.live().state.status == Status::Running && {
            match stop::pause(&self.engine, entry).await {
                Ok(()) => true,
                // It has just ended, and writes nothing any more.
                Err(error) if matches!(error.kind(), ErrorKind::FailedPrecondition | ErrorKind::NotFound) => {
                    false
                }
                Err(error) => return Err(error),
            }
        };
        let name = request.name.clone();
        let (engine, owned, made_of) = (self.engine.clone(), namespace.clone(), record.clone());
        let comment = request.comment.clone();
        let made =
            blocking("commit container", move || commit(&engine, &owned, &made_of, &parent, request)).await;
        if froze && let Err(error) = stop::unpause(&self.engine, entry).await {
            tracing::error!(container = %entry.key, %error, "a container stays frozen after its commit");
        }
        let id = made?;
        let shown = name.as_ref().map(Reference::familiar).unwrap_or_default();
        if name.is_some() {
            self.tell_as(namespace, "tag", &id, &shown);
        }
        let more = [("imageID", id.to_string()), ("imageRef", shown), ("comment", comment)];
        self.engine.publish_with(entry, stop::action(entry, "commit"), &more);
        Ok(id)
    }

    /// Makes an image of one layer from a tar stream (plain, gzip or zstd). Gives its id.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no archive, or a hostile one; what the receiver says.
    pub async fn import(
        &self,
        namespace: &Namespace,
        request: ImportRequest,
        archive: mpsc::Receiver<std::io::Result<Bytes>>,
    ) -> Result<Digest> {
        let (images, owned) = (self.clone(), namespace.clone());
        let work = async move {
            let (engine, tenant) = (images.engine.clone(), owned.clone());
            let name = request.name.as_ref().map(Reference::familiar);
            let id = blocking("import image", move || import(&engine, &tenant, request, archive)).await?;
            // Unpacked now: a hostile or broken archive is the importer's error, not the first container's.
            let image = images.get(&owned, id.as_str()).await?;
            if let Err(error) = images.ensure_unpacked(&owned, &image, None).await {
                images.remove(&owned, id.as_str(), true).await.map(drop).unwrap_or_default();
                return Err(Error::new(ErrorKind::InvalidArgument, "import", "image", "", error.to_string()));
            }
            if let Some(name) = name {
                images.tell_as(&owned, "tag", &id, &name);
            }
            images.tell(&owned, "import", &id);
            Ok(id)
        };
        self.engine.run("import image", work).await
    }

    /// Tells what happened to an image that was made here.
    pub(super) fn tell(&self, namespace: &Namespace, action: &str, id: &Digest) {
        self.tell_as(namespace, action, id, id.as_str());
    }

    fn tell_as(&self, namespace: &Namespace, action: &str, id: &Digest, name: &str) {
        let body =
            crate::events::Body::Action { kind: "image", action: action.to_owned(), id: id.to_string() };
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        self.engine.events().publish(namespace, now(), body, Arc::new(attributes));
    }
}

fn commit(
    engine: &Engine,
    namespace: &Namespace,
    record: &crate::ContainerRecord,
    parent: &Image,
    request: CommitRequest,
) -> Result<Digest> {
    let snapshotter = engine.stores().snapshotter(&record.snapshotter)?;
    let key = SnapshotKey::new(record.snapshot_key.as_str())?;
    let target = snapshotter.apply_target(namespace, &key)?;
    if !matches!(target.whiteouts, WhiteoutFormat::Overlay { .. }) {
        return Err(Error::unimplemented("commit", "container of a snapshotter without overlays"));
    }
    let mut ingest = compose::begin(engine, namespace, "commit")?;
    let written = layer::write_upper(target.root, Sink(&mut ingest), Compression::Gzip)?;
    let sealed = ingest.seal(written.size, Some(&written.digest))?;
    let family = Family::of(parent);
    let descriptor = Descriptor::new(family.layer(Compression::Gzip), written.digest.clone(), written.size);
    let layer = NewLayer { descriptor, diff_id: written.diff_id, sealed: Some(sealed) };
    let mut config = (*parent.config).clone();
    let now = now();
    config.created = Some(now);
    config.author.clone_from(&request.author);
    if let Some(wanted) = request.config {
        config.config = wanted;
    }
    config.history.push(History {
        created: Some(now),
        created_by: request.created_by,
        author: request.author,
        comment: request.comment,
        empty_layer: false,
    });
    let names: Vec<Reference> = request.name.into_iter().collect();
    let base = &parent.manifest.layers;
    let id = compose::store(engine, namespace, family, base, vec![layer], config, &names)?;
    let label = (PARENT.to_owned(), parent.id.to_string());
    engine
        .stores()
        .metadata
        .update(|tx| tare_store::content::extend_labels(tx, namespace, &id, &[label].into(), now))?;
    Ok(id)
}

fn import(
    engine: &Engine,
    namespace: &Namespace,
    request: ImportRequest,
    mut archive: mpsc::Receiver<std::io::Result<Bytes>>,
) -> Result<Digest> {
    let mut ingest = compose::begin(engine, namespace, "import")?;
    let (mut size, mut start) = (0, Vec::new());
    while let Some(chunk) = archive.blocking_recv() {
        let chunk = chunk.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "receive", "archive", "", "").with_source(error)
        })?;
        start.extend_from_slice(&chunk[..chunk.len().min(4_usize.saturating_sub(start.len()))]);
        size += chunk.len() as u64;
        ingest.write(&chunk)?;
    }
    let digest = ingest.digest();
    let sealed = ingest.seal(size, Some(&digest))?;
    let diff_id = layer::diff_id_of(BlobReader { blob: &sealed, offset: 0 })?;
    let descriptor = Descriptor::new(Family::Oci.layer(Compression::detect(&start)), digest, size);
    let now = now();
    let config = ImageConfig {
        created: Some(now),
        author: String::new(),
        platform: request.platform.unwrap_or_else(Platform::host),
        config: request.config,
        rootfs: Default::default(),
        history: vec![History { created: Some(now), comment: request.comment, ..History::default() }],
    };
    let layer = NewLayer { descriptor, diff_id, sealed: Some(sealed) };
    let names: Vec<Reference> = request.name.into_iter().collect();
    compose::store(engine, namespace, Family::Oci, &[], vec![layer], config, &names)
}

/// A sealed blob read from its beginning.
struct BlobReader<'a> {
    blob: &'a tare_store::SealedBlob,
    offset: u64,
}

impl std::io::Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.blob.read_at(buffer, self.offset).map_err(std::io::Error::other)?;
        self.offset += count as u64;
        Ok(count)
    }
}
