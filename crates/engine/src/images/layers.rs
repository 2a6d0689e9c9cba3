//! One layer: fetched, hashed, stored, inflated and applied in one pass; or only what is missing of that.

use super::{documents::registry_error, journal::Journal, *};
use bytes::Bytes;
use tare_registry::Repository;
use tare_store::{
    Applied, ApplyOptions, IngestOptions, LayerApplier, LayerPipeline, Limits, SealedBlob, Snapshotter,
};
use tare_types::SnapshotKey;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Pieces between the connection and the worker: some hundred KiB each.
const QUEUE: usize = 4;
/// How much of a stored blob is read at once.
const READ: usize = 256 << 10;
/// How long another writer of the same blob may take before the pull gives up.
const OTHER_WRITER: std::time::Duration = std::time::Duration::from_secs(600);

/// What to do with a layer.
#[derive(Debug, Clone)]
pub(super) struct LayerJob {
    pub(super) namespace: Namespace,
    pub(super) descriptor: Descriptor,
    /// The active snapshot to unpack into; `None` when the layer is unpacked already.
    pub(super) target: Option<(Arc<dyn Snapshotter>, SnapshotKey)>,
    pub(super) content: Arc<tare_store::ContentStore>,
    pub(super) journal: Arc<Journal>,
    pub(super) stop: CancellationToken,
    /// For messages.
    pub(super) name: String,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct LayerDone {
    /// The blob, when it was fetched: not published yet.
    pub(super) sealed: Option<SealedBlob>,
    /// The directory, when it was unpacked.
    pub(super) applied: Option<Applied>,
}

enum Piece {
    Data(Bytes),
    End,
}

/// How an attempt to open the ingest ended.
enum Opened {
    Ingest(Box<tare_store::Ingest>),
    Present,
    Busy,
}

impl LayerJob {
    /// Does it. Byte counts and steps go to the journal.
    pub(super) async fn run(self, repository: &Repository) -> Result<LayerDone> {
        let begun = tokio::time::Instant::now();
        loop {
            let job = self.clone();
            match blocking("open ingest", move || job.open()).await? {
                Opened::Ingest(ingest) => return self.fetch(repository, *ingest).await,
                Opened::Present => return self.use_stored().await,
                Opened::Busy if begun.elapsed() > OTHER_WRITER => {
                    let detail = format!(
                        "layer {}: another client writes it for {OTHER_WRITER:?}",
                        self.descriptor.digest
                    );
                    return Err(Error::new(ErrorKind::DeadlineExceeded, "pull", "image", &self.name, detail));
                }
                // A client of the content service fetches the same blob: wait for it to finish or to go away.
                Opened::Busy => tokio::select! {
                    () = self.stop.cancelled() => return Err(self.canceled()),
                    () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {}
                },
            }
        }
    }

    fn open(&self) -> Result<Opened> {
        let options = IngestOptions {
            reference: &reference_of(&self.descriptor),
            expected: Some(&self.descriptor.digest),
            total: self.descriptor.size,
            // Without a lease: after a failure it stays for a day, for the next pull to go on.
            lease: None,
            now: now(),
        };
        match self.content.ingest(&self.namespace, &options) {
            Ok(ingest) => Ok(Opened::Ingest(Box::new(ingest))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Opened::Present),
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(Opened::Busy),
            Err(error) => Err(error.into()),
        }
    }

    fn canceled(&self) -> Error {
        Error::new(ErrorKind::Canceled, "pull", "image", &self.name, "another layer failed")
    }

    fn applier(&self) -> Result<Option<LayerApplier>> {
        let Some((snapshotter, key)) = &self.target else { return Ok(None) };
        let target = snapshotter.apply_target(&self.namespace, key)?;
        let options = ApplyOptions { whiteouts: target.whiteouts, limits: Limits::default() };
        Ok(Some(LayerApplier::new(target.root, options)?))
    }

    /// Feeds the worker from the registry, from the byte on that is not stored yet.
    async fn fetch(&self, repository: &Repository, ingest: tare_store::Ingest) -> Result<LayerDone> {
        let (pieces, queue) = mpsc::channel(QUEUE);
        let (tell_offset, offset) = oneshot::channel();
        let job = self.clone();
        let worker = tokio::task::spawn_blocking(move || job.work(ingest, tell_offset, queue));
        let fed = match offset.await {
            Ok(offset) => self.feed(repository, offset, pieces).await,
            // The worker failed before it began; its own error follows.
            Err(_) => Ok(()),
        };
        let worked = worker.await.unwrap_or_else(|error| {
            let detail = format!("layer {}: the working thread ended", self.descriptor.digest);
            Err(Error::new(ErrorKind::Internal, "pull", "image", &self.name, detail).with_source(error))
        });
        match (fed, worked) {
            // The worker's error is the reason why feeding stopped, unless the feed failed first.
            (Err(error), _) => Err(error),
            (Ok(()), worked) => worked,
        }
    }

    async fn feed(&self, repository: &Repository, offset: u64, pieces: mpsc::Sender<Piece>) -> Result<()> {
        let total = self.descriptor.size;
        let digest = &self.descriptor.digest;
        let mut stream = repository
            .fetch_blob(&self.descriptor, offset)
            .map_err(|e| registry_error("pull", &self.name, e))?;
        loop {
            let next = tokio::select! {
                () = self.stop.cancelled() => return Err(self.canceled()),
                next = stream.next_chunk() => next.map_err(|e| registry_error("pull", &self.name, e))?,
            };
            let Some(bytes) = next else { break };
            if pieces.send(Piece::Data(bytes)).await.is_err() {
                return Ok(());
            }
            self.journal.note(Some(digest), ProgressStep::Downloading { current: stream.offset(), total });
        }
        // The worker may be gone: its error is the answer.
        let _ = pieces.send(Piece::End).await;
        Ok(())
    }

    /// The worker: one pass over the bytes.
    fn work(
        &self,
        ingest: tare_store::Ingest,
        tell_offset: oneshot::Sender<u64>,
        mut queue: mpsc::Receiver<Piece>,
    ) -> Result<LayerDone> {
        let worked = match self.applier()? {
            Some(applier) => LayerPipeline::new(ingest, applier).and_then(|mut pipeline| {
                // The other side may have been cancelled; the queue then ends at once.
                let _ = tell_offset.send(pipeline.offset());
                while let Some(piece) = queue.blocking_recv() {
                    match piece {
                        Piece::Data(bytes) => pipeline.write(&bytes)?,
                        Piece::End => return self.finish(pipeline).map(Some),
                    }
                }
                Ok(None)
            }),
            None => self.store_only(ingest, tell_offset, queue),
        };
        match worked {
            Ok(Some(done)) => Ok(done),
            Ok(None) => Err(self.canceled()),
            Err(error) => Err(self.give_up(error)),
        }
    }

    fn finish(&self, pipeline: LayerPipeline) -> tare_store::Result<LayerDone> {
        let digest = &self.descriptor.digest;
        let size = self.descriptor.size;
        let (sealed, applied) = pipeline.finish(&self.descriptor)?;
        self.journal.note(Some(digest), ProgressStep::DownloadComplete);
        self.journal.note(Some(digest), ProgressStep::Extracting { current: size, total: size });
        Ok(LayerDone { sealed: Some(sealed), applied: Some(applied) })
    }

    fn store_only(
        &self,
        mut ingest: tare_store::Ingest,
        tell_offset: oneshot::Sender<u64>,
        mut queue: mpsc::Receiver<Piece>,
    ) -> tare_store::Result<Option<LayerDone>> {
        let _ = tell_offset.send(ingest.status().offset);
        while let Some(piece) = queue.blocking_recv() {
            match piece {
                Piece::Data(bytes) => ingest.write(&bytes)?,
                Piece::End => {
                    let sealed = ingest.seal(self.descriptor.size, Some(&self.descriptor.digest))?;
                    self.journal.note(Some(&self.descriptor.digest), ProgressStep::DownloadComplete);
                    return Ok(Some(LayerDone { sealed: Some(sealed), applied: None }));
                }
            }
        }
        Ok(None)
    }

    /// The error of the worker. Bytes that cannot be right, or find no room, are thrown away: going on with them would
    /// fail for ever.
    fn give_up(&self, error: tare_store::Error) -> Error {
        let useless = matches!(
            error.kind(),
            ErrorKind::FailedPrecondition
                | ErrorKind::InvalidArgument
                | ErrorKind::DataLoss
                | ErrorKind::OutOfRange
                // The disk is full, or a limit is reached: the bytes would only be in the way.
                | ErrorKind::ResourceExhausted
        );
        let kind =
            if error.kind() == ErrorKind::FailedPrecondition { ErrorKind::DataLoss } else { error.kind() };
        let mut detail = format!("layer {}", self.descriptor.digest);
        if useless
            && let Err(error) = self.content.abort(&self.namespace, &reference_of(&self.descriptor))
            && error.kind() != ErrorKind::NotFound
        {
            detail.push_str(&format!(" (removing its bytes failed: {error})"));
        }
        Error::new(kind, "pull", "image", &self.name, detail).with_source(error)
    }

    /// The blob is there: unpack it if need be.
    async fn use_stored(&self) -> Result<LayerDone> {
        if self.target.is_none() {
            self.journal.note(Some(&self.descriptor.digest), ProgressStep::AlreadyExists);
            return Ok(LayerDone::default());
        }
        let job = self.clone();
        let applied = blocking("unpack layer", move || job.apply_stored()).await?;
        Ok(LayerDone { sealed: None, applied })
    }

    /// Unpacks a stored blob. Blocks.
    pub(super) fn apply_stored(&self) -> Result<Option<Applied>> {
        let Some(applier) = self.applier()? else { return Ok(None) };
        let reader = self.content.reader(&self.namespace, &self.descriptor.digest)?;
        self.apply(applier, reader.size(), |buffer, offset| reader.read_at(buffer, offset)).map(Some)
    }

    /// Unpacks a layer that the image has further below, too, from the blob that was fetched for that one and has no
    /// row yet; `None`: the blob is stored. Blocks.
    pub(super) fn apply_again(&self, fetched: Option<&SealedBlob>) -> Result<Option<Applied>> {
        let Some(blob) = fetched else { return self.apply_stored() };
        let Some(applier) = self.applier()? else { return Ok(None) };
        self.apply(applier, blob.size(), |buffer, offset| blob.read_at(buffer, offset)).map(Some)
    }

    fn apply(
        &self,
        mut applier: LayerApplier,
        total: u64,
        read_at: impl Fn(&mut [u8], u64) -> tare_store::Result<usize>,
    ) -> Result<Applied> {
        let mut buffer = vec![0; READ];
        let mut offset = 0;
        let failed = |error: tare_store::Error| {
            let detail = format!("layer {}", self.descriptor.digest);
            Error::new(error.kind(), "unpack", "image", &self.name, detail).with_source(error)
        };
        loop {
            if self.stop.is_cancelled() {
                return Err(self.canceled());
            }
            let count = read_at(&mut buffer, offset)?;
            if count == 0 {
                return applier.finish().map_err(failed);
            }
            applier.write(&buffer[..count]).map_err(failed)?;
            offset += count as u64;
            let step = ProgressStep::Extracting { current: offset, total };
            self.journal.note(Some(&self.descriptor.digest), step);
        }
    }
}

/// The name of the work on a blob, as containerd's clients choose it: two of them never fetch the same blob.
pub(super) fn reference_of(descriptor: &Descriptor) -> String {
    use tare_types::image::media;
    let kind = &descriptor.media_type;
    let prefix = if media::is_manifest(kind) {
        "manifest"
    } else if media::is_index(kind) {
        "index"
    } else if media::is_layer(kind) {
        "layer"
    } else if media::is_config(kind) {
        "config"
    } else {
        "unknown"
    };
    format!("{prefix}-{}", descriptor.digest)
}
