//! Images out of an archive (`docker load`): what [`super::save`] writes, what Docker and containerd write.
//!
//! The archive is hostile: it is unpacked below a directory of the daemon's own with the limits of layers, and
//! everything it names is opened below that directory by descriptor.

use super::{
    compose::{self, Family, NewLayer, Sink},
    *,
};
use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::AsFd,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
};
use tare_store::{LayerApplier, Limits, layer::UnpackOptions};
use tare_sys::RootDir;
use tare_types::image::{Compression, Index};

/// The largest document that is read.
const DOCUMENT: u64 = 8 << 20;
/// Images in one archive.
const MAX_IMAGES: usize = 1000;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// Names it was given; empty for one without.
    pub names: Vec<Reference>,
}

/// One entry of Docker's `manifest.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Images {
    /// Stores the images of a tar stream (plain, gzip or zstd).
    ///
    /// # Errors
    /// `InvalidArgument` for what is no archive of images, or a hostile one; what the receiver says.
    pub async fn load(
        &self,
        namespace: &Namespace,
        archive: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<Vec<Loaded>> {
        let (images, owned) = (self.clone(), namespace.clone());
        let work = async move {
            let (engine, tenant) = (images.engine.clone(), owned.clone());
            let loaded = blocking("load images", move || load(&engine, &tenant, archive)).await?;
            for image in &loaded {
                let unpacked = match images.get(&owned, image.id.as_str()).await {
                    Ok(image) => images.ensure_unpacked(&owned, &image, None).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = unpacked {
                    images.remove(&owned, image.id.as_str(), true).await.map(drop).unwrap_or_default();
                    return Err(Error::new(
                        ErrorKind::InvalidArgument,
                        "load",
                        "image",
                        "",
                        error.to_string(),
                    ));
                }
                images.tell(&owned, "load", &image.id);
            }
            Ok(loaded)
        };
        self.engine.run("load images", work).await
    }
}

/// A directory that goes with its value.
struct Scratch {
    path: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parent = self.path.parent().and_then(|parent| File::open(parent).ok());
        // What stays is removed with the next start of the daemon.
        if let Some(parent) = parent {
            tare_store::tree::remove_tree(parent.as_fd(), &name).unwrap_or_default();
        }
    }
}

/// Name of the directory below the root in which archives are unpacked.
const SCRATCH: &str = "load";

/// Removes archives that a daemon was unpacking when it died.
pub(crate) fn remove_scratch(root: &std::path::Path) -> Result<()> {
    let path = root.join(SCRATCH);
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove directory of", &path.display().to_string(), error))
        }
        _ => Ok(()),
    }
}

fn scratch(engine: &Engine) -> Result<Scratch> {
    let parent = engine.config().root.join(SCRATCH);
    let path = parent.join(crate::naming::random_id()?);
    let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&path);
    made.map_err(|error| failed("make directory for", &path.display().to_string(), error))?;
    Ok(Scratch { path })
}

fn failed(operation: &'static str, name: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, operation, "archive", name, "").with_source(error)
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, "load", "archive", "", detail)
}

fn load(
    engine: &Engine,
    namespace: &Namespace,
    mut archive: mpsc::Receiver<io::Result<Bytes>>,
) -> Result<Vec<Loaded>> {
    let scratch = scratch(engine)?;
    let place = scratch.path.display().to_string();
    let opened = rustix::fs::open(&scratch.path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = opened.map_err(|errno| failed("open directory for", &place, errno.into()))?;
    let options =
        UnpackOptions { base: Vec::new(), owner: Some((0, 0)), keep_kinds: true, limits: Limits::default() };
    let mut applier = LayerApplier::for_archive(root, options)?;
    while let Some(chunk) = archive.blocking_recv() {
        let chunk = chunk.map_err(|error| failed("receive", "", error))?;
        applier.write(&chunk).map_err(|error| invalid(error.to_string()))?;
    }
    applier.finish().map_err(|error| invalid(error.to_string()))?;
    let root = RootDir::open_ambient(&place)
        .map_err(|error| failed("open directory for", &place, io::Error::other(error.to_string())))?;
    let mut loaded: Vec<Loaded> = Vec::new();
    for entry in entries(&root)? {
        let image = store(engine, namespace, &root, &entry)?;
        match loaded.iter_mut().find(|known| known.id == image.id) {
            Some(known) => known.names.extend(image.names),
            None => loaded.push(image),
        }
    }
    Ok(loaded)
}

fn open(root: &RootDir, path: &str) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = root.open(path, flags, Mode::empty());
    let file = File::from(opened.map_err(|error| invalid(format!("{path} in it: {error}")))?);
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        _ => Err(invalid(format!("{path} in it is no file"))),
    }
}

fn read(root: &RootDir, path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = open(root, path)?.take(DOCUMENT + 1);
    file.read_to_end(&mut bytes).map_err(|error| failed("read", path, error))?;
    if bytes.len() as u64 > DOCUMENT {
        return Err(invalid(format!("{path} in it is larger than {DOCUMENT} bytes")));
    }
    Ok(bytes)
}

/// What the archive says it holds: Docker's list, else the index of an OCI layout.
fn entries(root: &RootDir) -> Result<Vec<Entry>> {
    let malformed = |path: &str, error: serde_json::Error| invalid(format!("{path} in it: {error}"));
    let mut entries: Vec<Entry> = Vec::new();
    if let Ok(text) = read(root, "manifest.json") {
        entries = serde_json::from_slice(&text).map_err(|error| malformed("manifest.json", error))?;
    } else {
        let text = read(root, "index.json")
            .map_err(|_| invalid("unrecognized image format: it has neither manifest.json nor index.json"))?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| malformed("index.json", error))?;
        for descriptor in index.manifests.iter().take(MAX_IMAGES) {
            let text = read(root, &blob(&descriptor.digest))?;
            let manifest: Manifest =
                serde_json::from_slice(&text).map_err(|error| malformed("a manifest", error))?;
            let name = descriptor.annotations.get("io.containerd.image.name");
            let name = name.or_else(|| descriptor.annotations.get("org.opencontainers.image.ref.name"));
            entries.push(Entry {
                config: blob(&manifest.config.digest),
                repo_tags: name.map(|name| vec![name.clone()]),
                layers: manifest.layers.iter().map(|layer| blob(&layer.digest)).collect(),
            });
        }
    }
    match entries.len() {
        0 => Err(invalid("it holds no image")),
        1..=MAX_IMAGES => Ok(entries),
        count => Err(invalid(format!("it holds {count} images, more than {MAX_IMAGES}"))),
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn store(engine: &Engine, namespace: &Namespace, root: &RootDir, entry: &Entry) -> Result<Loaded> {
    let text = read(root, &entry.config)?;
    let config: ImageConfig =
        serde_json::from_slice(&text).map_err(|error| invalid(format!("{} in it: {error}", entry.config)))?;
    let (layers, diffs) = (entry.layers.len(), config.rootfs.diff_ids.len());
    if layers != diffs {
        return Err(invalid(format!("an image of it lists {layers} layers and its config {diffs}")));
    }
    let mut names = Vec::new();
    for name in entry.repo_tags.iter().flatten() {
        names.push(Reference::parse_familiar(name).map_err(|error| invalid(error.to_string()))?);
    }
    let mut new: Vec<NewLayer> = Vec::new();
    for (path, diff_id) in entry.layers.iter().zip(&config.rootfs.diff_ids) {
        let known: Vec<Digest> = new.iter().map(|layer| layer.descriptor.digest.clone()).collect();
        let mut layer = take_layer(engine, namespace, open(root, path)?, path, diff_id.clone())?;
        if known.contains(&layer.descriptor.digest) {
            layer.sealed = None;
        }
        new.push(layer);
    }
    let id = compose::store_as_is(engine, namespace, Family::Oci, &[], new, &text, &names)?;
    Ok(Loaded { id, names })
}

/// Copies a layer into the content store. Whether it is what the config says is checked when it is unpacked.
fn take_layer(
    engine: &Engine,
    namespace: &Namespace,
    mut file: File,
    path: &str,
    diff_id: tare_types::DiffId,
) -> Result<NewLayer> {
    let mut start = [0; 4];
    let count = file.read(&mut start).map_err(|error| failed("read", path, error))?;
    file.rewind().map_err(|error| failed("read", path, error))?;
    let mut ingest = compose::begin(engine, namespace, "load")?;
    let size = io::copy(&mut file, &mut Sink(&mut ingest)).map_err(|error| failed("read", path, error))?;
    let digest = ingest.digest();
    let kind = Family::Oci.layer(Compression::detect(&start[..count]));
    let sealed = ingest.seal(size, Some(&digest))?;
    Ok(NewLayer { descriptor: Descriptor::new(kind, digest, size), diff_id, sealed: Some(sealed) })
}
