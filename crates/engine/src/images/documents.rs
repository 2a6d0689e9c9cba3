//! From a name to the documents of one image: index, manifest, config. From the store where they are there.

use super::{labels, *};
use bytes::Bytes;
use tare_registry::{Document, Repository, check_document, platform_candidates};
use tare_store::Labels;
use tare_types::image::media;

/// The largest config that is read, in bytes.
pub(super) const CONFIG_LIMIT: u64 = 8 << 20;
/// The largest document that is read back from the store.
pub(super) const DOCUMENT_LIMIT: u64 = 4 << 20;
/// How deep an index may hold indexes.
const DEPTH: usize = 4;
/// How many indexes and manifests are looked at for one image.
const DOCUMENTS: usize = 32;

/// The documents of one image, and what has to be written of them.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) target: Descriptor,
    pub(super) manifest: Manifest,
    pub(super) config: ImageConfig,
    /// Documents with their bytes and labels, children first.
    pub(super) blobs: Vec<(Descriptor, Bytes, Labels)>,
}

/// Where documents come from.
pub(super) struct Source<'a> {
    pub(super) engine: &'a Engine,
    pub(super) namespace: &'a Namespace,
    pub(super) repository: &'a Repository,
    pub(super) name: String,
}

impl Source<'_> {
    /// Fetches what one image of `target` needs. `body` is the target's bytes if they came with its name.
    pub(super) async fn documents(
        &self,
        target: Descriptor,
        body: Option<Bytes>,
        platform: Option<&Platform>,
    ) -> Result<Documents> {
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        // What is left to look at, the best last, each with the documents above it.
        let mut open = vec![(target.clone(), Vec::new())];
        let (mut body, mut seen) = (body, 0);
        while let Some((current, mut blobs)) = open.pop() {
            seen += 1;
            if seen > DOCUMENTS || blobs.len() >= DEPTH {
                let detail = format!("its indexes are nested more than {DEPTH} deep or {DOCUMENTS} wide");
                return Err(self.fault(ErrorKind::InvalidArgument, detail));
            }
            let (bytes, document) = self.document(&current, body.take()).await?;
            match document {
                Document::Index(index) => {
                    blobs.push((current, bytes, labels::child_labels(&index.manifests)));
                    let candidates = platform_candidates(&index, wanted);
                    let tried = candidates.into_iter().take(DOCUMENTS).rev();
                    open.extend(tried.map(|candidate| (candidate.clone(), blobs.clone())));
                }
                Document::Manifest(manifest) => {
                    let children = std::iter::once(&manifest.config).chain(&manifest.layers);
                    blobs.push((current, bytes, labels::child_labels(children)));
                    let (bytes, config) = self.config(&manifest, platform).await?;
                    blobs.push((manifest.config.clone(), bytes, Labels::new()));
                    blobs.reverse();
                    return Ok(Documents { target, manifest: *manifest, config, blobs });
                }
            }
        }
        let detail = format!("no matching manifest for {wanted} in the manifest list entries");
        Err(self.fault(ErrorKind::NotFound, detail))
    }

    fn fault(&self, kind: ErrorKind, detail: String) -> Error {
        Error::new(kind, "pull", "image", &self.name, detail)
    }

    async fn document(&self, descriptor: &Descriptor, body: Option<Bytes>) -> Result<(Bytes, Document)> {
        if let Some(bytes) = body {
            let document = check_document(&descriptor.media_type, &bytes).map_err(|e| self.registry(e))?;
            return Ok((bytes, document));
        }
        if descriptor.size > DOCUMENT_LIMIT {
            let detail = format!(
                "a manifest of {} bytes is larger than the limit of {DOCUMENT_LIMIT}",
                descriptor.size
            );
            return Err(self.fault(ErrorKind::ResourceExhausted, detail));
        }
        if let Some(bytes) = self.stored(&descriptor.digest, DOCUMENT_LIMIT).await? {
            let document = check_document(&descriptor.media_type, &bytes).map_err(|e| self.registry(e))?;
            return Ok((bytes, document));
        }
        self.repository.fetch_document(descriptor).await.map_err(|e| self.registry(e))
    }

    async fn config(&self, manifest: &Manifest, platform: Option<&Platform>) -> Result<(Bytes, ImageConfig)> {
        let descriptor = &manifest.config;
        if !media::is_config(&descriptor.media_type) {
            let detail =
                format!("it is no container image: its config has the type {:?}", descriptor.media_type);
            return Err(self.fault(ErrorKind::InvalidArgument, detail));
        }
        if descriptor.size > CONFIG_LIMIT {
            let detail =
                format!("a config of {} bytes is larger than the limit of {CONFIG_LIMIT}", descriptor.size);
            return Err(self.fault(ErrorKind::ResourceExhausted, detail));
        }
        let bytes = match self.stored(&descriptor.digest, CONFIG_LIMIT).await? {
            Some(bytes) => bytes,
            None => self.fetch_small(descriptor).await?,
        };
        let config: ImageConfig = serde_json::from_slice(&bytes)
            .map_err(|e| self.fault(ErrorKind::InvalidArgument, format!("its config is malformed: {e}")))?;
        let (layers, diffs) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diffs || config.rootfs.kind != "layers" {
            let detail = format!("its manifest has {layers} layers and its config {diffs}");
            return Err(self.fault(ErrorKind::InvalidArgument, detail));
        }
        if let Some(wanted) = platform
            && !config.platform.architecture.is_empty()
            && config.platform.rank_for(wanted).is_none()
        {
            let detail = format!(
                "its platform ({}) does not match the specified platform ({wanted})",
                config.platform
            );
            return Err(self.fault(ErrorKind::NotFound, detail));
        }
        Ok((bytes, config))
    }

    async fn fetch_small(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let mut stream = self.repository.fetch_blob(descriptor, 0).map_err(|e| self.registry(e))?;
        let mut bytes = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or_default());
        while let Some(chunk) = stream.next_chunk().await.map_err(|e| self.registry(e))? {
            bytes.extend_from_slice(&chunk);
        }
        let found = Digest::of_bytes(&bytes);
        if descriptor.digest.algorithm() == "sha256" && found != descriptor.digest {
            let detail = format!("wrong digest: the config has {found}, expected {}", descriptor.digest);
            return Err(self.fault(ErrorKind::DataLoss, detail));
        }
        Ok(bytes.into())
    }

    async fn stored(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        let (content, namespace, digest) =
            (self.engine.stores().content.clone(), self.namespace.clone(), digest.clone());
        blocking("read content", move || match content.reader(&namespace, &digest) {
            Ok(reader) => Ok(Some(reader.read_all(limit)?.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    pub(super) fn registry(&self, error: tare_registry::Error) -> Error {
        registry_error("pull", &self.name, error)
    }
}

/// A registry's error as the engine's: its own words already name host, repository and status.
pub(super) fn registry_error(operation: &'static str, name: &str, error: tare_registry::Error) -> Error {
    Error::new(error.kind(), operation, "image", name, "").with_source(error)
}
