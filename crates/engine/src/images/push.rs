//! Sending an image: blobs first, several at once, then the documents that name them.

use super::{
    documents::{DOCUMENT_LIMIT, registry_error},
    journal::Journal,
    labels, lookup, *,
};
use bytes::Bytes;
use tare_registry::{BlobSource, Document, PushOutcome, Repository, SourceStream, check_document};
use tare_store::{ContentStore, Labels, Tables as _};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

/// How much of a blob is read at once.
const READ: usize = 256 << 10;

/// A stored blob as the body of an upload.
struct StoredBlob {
    content: Arc<ContentStore>,
    namespace: Namespace,
    digest: Digest,
}

impl BlobSource for StoredBlob {
    fn open(&self, offset: u64) -> SourceStream {
        let (sender, receiver) = mpsc::channel(2);
        let (content, namespace, digest) =
            (self.content.clone(), self.namespace.clone(), self.digest.clone());
        // Ends with the last byte, or when the upload is dropped and the channel closes.
        tokio::task::spawn_blocking(move || {
            let mut offset = offset;
            let reader = match content.reader(&namespace, &digest) {
                Ok(reader) => reader,
                // The receiver may be gone: then nobody wants the error.
                Err(error) => return drop(sender.blocking_send(Err(std::io::Error::other(error)))),
            };
            loop {
                let mut buffer = vec![0; READ];
                let piece = reader.read_at(&mut buffer, offset).map_err(std::io::Error::other);
                let piece = match piece {
                    Ok(0) => return,
                    Ok(count) => {
                        buffer.truncate(count);
                        offset += count as u64;
                        Ok(Bytes::from(buffer))
                    }
                    Err(error) => Err(error),
                };
                let failed = piece.is_err();
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Box::pin(ReceiverStream::new(receiver))
    }
}

/// What is sent: documents from the inside out, and the blobs they name.
struct Parcel {
    documents: Vec<(Descriptor, Bytes)>,
    blobs: Vec<Descriptor>,
}

/// Sends the image of a name to the name's registry.
pub(super) async fn push(
    images: &Images,
    namespace: &Namespace,
    reference: &Reference,
    credentials: Option<Credentials>,
    progress: Option<ProgressSender>,
) -> Result<Descriptor> {
    let name = reference.familiar();
    let journal = Arc::new(Journal::new());
    let work = async {
        let image = images.get(namespace, &name).await?;
        let engine = images.engine.clone();
        let known = credentials::for_registry(reference.domain(), credentials.as_ref());
        let (tenant, target) = (namespace.clone(), image.target.clone());
        let manifest = Descriptor { digest: image.manifest_digest.clone(), ..manifest_descriptor(&image) };
        let (wanted, shown) = (reference.clone(), name.clone());
        let (repository, parcel) = blocking("read image", move || {
            let client = engine.image_state().client.clone();
            let repository =
                client.repository(&wanted, &known).map_err(|e| registry_error("push", &shown, e))?;
            let parcel = match pack(&engine, &tenant, &target)? {
                Some(parcel) => Some(parcel),
                // Not all platforms of the index are here: the one that is goes by itself.
                None => pack(&engine, &tenant, &manifest)?,
            };
            let parcel = parcel.ok_or_else(|| {
                let detail = "some of its content is missing here; pull it again";
                Error::new(ErrorKind::NotFound, "push", "image", &shown, detail)
            })?;
            Ok((repository, parcel))
        })
        .await?;
        send(images, namespace, reference, &repository, parcel, &journal).await
    };
    journal.forward(progress, work).await
}

fn manifest_descriptor(image: &Image) -> Descriptor {
    let kind = match image.manifest.media_type.as_str() {
        "" => tare_types::image::media::OCI_MANIFEST,
        kind => kind,
    };
    Descriptor::new(kind, image.manifest_digest.clone(), 0)
}

/// Everything below a target; `None` when something of it is not here.
fn pack(engine: &Engine, namespace: &Namespace, target: &Descriptor) -> Result<Option<Parcel>> {
    let Some(bytes) = lookup::read(engine, namespace, &target.digest, DOCUMENT_LIMIT)? else {
        return Ok(None);
    };
    let target = Descriptor { size: bytes.len() as u64, ..target.clone() };
    let document = check_document(&target.media_type, &bytes)
        .map_err(|e| registry_error("push", target.digest.as_str(), e))?;
    let mut parcel = Parcel { documents: Vec::new(), blobs: Vec::new() };
    match document {
        Document::Manifest(manifest) => {
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                if engine.stores().metadata.read()?.content(namespace, &blob.digest)?.is_none() {
                    return Ok(None);
                }
                parcel.blobs.push(blob.clone());
            }
        }
        Document::Index(index) => {
            for entry in &index.manifests {
                let Some(inner) = pack(engine, namespace, entry)? else { return Ok(None) };
                parcel.documents.extend(inner.documents);
                parcel.blobs.extend(inner.blobs);
            }
        }
    }
    parcel.documents.push((target, bytes.into()));
    Ok(Some(parcel))
}

async fn send(
    images: &Images,
    namespace: &Namespace,
    reference: &Reference,
    repository: &Repository,
    parcel: Parcel,
    journal: &Arc<Journal>,
) -> Result<Descriptor> {
    let name = reference.familiar();
    let mut blobs = parcel.blobs;
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    blobs.dedup_by(|a, b| a.digest == b.digest);
    let mut tasks = JoinSet::new();
    for blob in &blobs {
        journal.note(Some(&blob.digest), ProgressStep::Waiting);
        tasks.spawn(send_blob(
            images.engine.clone(),
            namespace.clone(),
            reference.clone(),
            repository.clone(),
            blob.clone(),
            journal.clone(),
        ));
    }
    // The first error ends the push; dropping the set ends the other uploads.
    while let Some(joined) = tasks.join_next().await {
        joined.map_err(|error| {
            Error::new(ErrorKind::Internal, "push", "image", &name, "an upload's task ended")
                .with_source(error)
        })??;
    }
    let (last, inner) = parcel.documents.split_last().expect("invariant: a parcel holds its target");
    let failed = |error| registry_error("push", &name, error);
    for (descriptor, bytes) in inner {
        repository.push_document(descriptor, bytes.clone(), None).await.map_err(failed)?;
    }
    repository.push_document(&last.0, last.1.clone(), reference.tag()).await.map_err(failed)?;
    let digests = blobs.iter().map(|blob| blob.digest.clone());
    let digests: Vec<Digest> =
        digests.chain(parcel.documents.iter().map(|(d, _)| d.digest.clone())).collect();
    remember(images, namespace, reference, digests).await?;
    let attributes = BTreeMap::from([("name".to_string(), reference.familiar())]);
    let body =
        crate::events::Body::Action { kind: "image", action: "push".to_string(), id: reference.familiar() };
    images.engine.events().publish(namespace, now(), body, Arc::new(attributes));
    Ok(last.0.clone())
}

async fn send_blob(
    engine: Engine,
    namespace: Namespace,
    reference: Reference,
    repository: Repository,
    blob: Descriptor,
    journal: Arc<Journal>,
) -> Result<()> {
    let slots = engine.image_state().slots.clone();
    let _slot = slots.acquire_owned().await.expect("invariant: the semaphore is never closed");
    let (stores, tenant, digest) = (engine.stores().clone(), namespace.clone(), blob.digest.clone());
    let row =
        blocking("read content", move || Ok(stores.metadata.read()?.content(&tenant, &digest)?)).await?;
    // A repository of the same registry that is known to have it.
    let from = row.and_then(|row| {
        let list = row.labels.get(&labels::source_key(&reference))?;
        list.split(',').find(|entry| !entry.is_empty() && *entry != reference.path()).map(str::to_string)
    });
    let content = engine.stores().content.clone();
    let source = Arc::new(StoredBlob { content, namespace, digest: blob.digest.clone() });
    let progress = {
        let (journal, digest, total) = (journal.clone(), blob.digest.clone(), blob.size);
        Arc::new(move |current| journal.note(Some(&digest), ProgressStep::Pushing { current, total }))
    };
    let pushed = repository.push_blob(&blob, source, from.as_deref(), progress).await;
    let step = match pushed.map_err(|e| registry_error("push", &reference.familiar(), e))? {
        PushOutcome::Uploaded => ProgressStep::Pushed,
        PushOutcome::Existed | PushOutcome::Mounted => ProgressStep::AlreadyExists,
    };
    journal.note(Some(&blob.digest), step);
    Ok(())
}

/// Notes on the content that the repository has it now.
async fn remember(
    images: &Images,
    namespace: &Namespace,
    reference: &Reference,
    digests: Vec<Digest>,
) -> Result<()> {
    let (stores, namespace, reference) =
        (images.engine.stores().clone(), namespace.clone(), reference.clone());
    blocking("label content", move || {
        let key = labels::source_key(&reference);
        stores.metadata.update(|tx| {
            for digest in &digests {
                let Some(row) = tx.content(&namespace, digest)? else { continue };
                let value = labels::with_source(row.labels.get(&key), &reference);
                let labels = Labels::from([(key.clone(), value)]);
                tare_store::content::extend_labels(tx, &namespace, digest, &labels, now())?;
            }
            Ok(())
        })?;
        Ok(())
    })
    .await
}
