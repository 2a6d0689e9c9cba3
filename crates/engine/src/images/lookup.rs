//! Rows, documents and snapshots put together: what an image is.

use super::{documents::DOCUMENT_LIMIT, labels, *};
use tare_registry::{Document, check_document};
use tare_store::{ReadTx, Tables as _, metadata::ImageRow};
use tare_types::{SnapshotKey, image::Index, image::media};

/// The largest config that is read back.
const CONFIG_LIMIT: u64 = 8 << 20;
/// How deep an index may hold indexes.
const DEPTH: usize = 4;

/// What a target's documents say: never changes.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) id: Digest,
    pub(super) manifest_digest: Digest,
    pub(super) manifest: Arc<Manifest>,
    pub(super) config: Arc<ImageConfig>,
    pub(super) chain_id: ChainId,
}

/// A row with what it means.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) row: ImageRow,
    pub(super) loaded: Arc<Loaded>,
}

/// All rows of a namespace whose documents are there. Blocks.
pub(super) fn named(engine: &Engine, namespace: &Namespace, tx: &ReadTx) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    for row in tx.images(namespace)? {
        match load(engine, namespace, &row.target)? {
            Some(loaded) => found.push(Named { row, loaded }),
            None => tracing::debug!(name = row.name, "image without its content on this platform"),
        }
    }
    Ok(found)
}

/// The documents of a target, for this host's platform if they are there, else for any that is.
pub(super) fn load(
    engine: &Engine,
    namespace: &Namespace,
    target: &Descriptor,
) -> Result<Option<Arc<Loaded>>> {
    let state = engine.image_state();
    if let Some(loaded) = state.cached(namespace, &target.digest) {
        return Ok(Some(loaded));
    }
    let loaded = load_from(engine, namespace, target, DEPTH)?.map(Arc::new);
    if let Some(loaded) = &loaded {
        state.keep(namespace, &target.digest, loaded.clone());
    }
    Ok(loaded)
}

fn load_from(
    engine: &Engine,
    namespace: &Namespace,
    target: &Descriptor,
    depth: usize,
) -> Result<Option<Loaded>> {
    let Some(bytes) = read(engine, namespace, &target.digest, DOCUMENT_LIMIT)? else { return Ok(None) };
    let document = check_document(&target.media_type, &bytes).map_err(|e| {
        Error::new(ErrorKind::DataLoss, "read", "image", target.digest.as_str(), "").with_source(e)
    })?;
    match document {
        Document::Index(_) if depth == 0 => Ok(None),
        Document::Index(index) => {
            for candidate in by_rank(&index) {
                if let Some(loaded) = load_from(engine, namespace, candidate, depth - 1)? {
                    return Ok(Some(loaded));
                }
            }
            Ok(None)
        }
        Document::Manifest(manifest) => {
            let id = manifest.config.digest.clone();
            if !media::is_config(&manifest.config.media_type) {
                return Ok(None);
            }
            let Some(bytes) = read(engine, namespace, &id, CONFIG_LIMIT)? else { return Ok(None) };
            let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|e| {
                Error::new(ErrorKind::DataLoss, "read", "image", id.as_str(), "").with_source(e)
            })?;
            let chain_id =
                ChainId::of_layers(&config.rootfs.diff_ids).unwrap_or(ChainId(Digest::of_bytes(b"")));
            let manifest_digest = target.digest.clone();
            Ok(Some(Loaded {
                id,
                manifest_digest,
                manifest: manifest.into(),
                config: config.into(),
                chain_id,
            }))
        }
    }
}

/// The entries that may be images, those for this host first.
fn by_rank(index: &Index) -> Vec<&Descriptor> {
    let host = Platform::host();
    let usable =
        |entry: &&Descriptor| media::is_manifest(&entry.media_type) || media::is_index(&entry.media_type);
    let known = |entry: &&Descriptor| entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    let mut list: Vec<&Descriptor> = index.manifests.iter().filter(usable).filter(known).collect();
    let rank = |entry: &Descriptor| entry.platform.as_ref().and_then(|platform| platform.rank_for(&host));
    list.sort_by_key(|entry| rank(entry).unwrap_or(u32::MAX));
    list
}

/// A small blob; `None` when the namespace does not have it.
pub(super) fn read(
    engine: &Engine,
    namespace: &Namespace,
    digest: &Digest,
    limit: u64,
) -> Result<Option<Vec<u8>>> {
    match engine.stores().content.reader(namespace, digest) {
        Ok(reader) => Ok(Some(reader.read_all(limit)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The image that these rows name. All have the same id.
pub(super) fn view(engine: &Engine, namespace: &Namespace, tx: &ReadTx, group: &[&Named]) -> Result<Image> {
    let first = group.iter().find(|named| !is_hidden(&named.row.name)).unwrap_or(&group[0]);
    let loaded = &first.loaded;
    let mut names = Vec::new();
    let mut repo_digests = Vec::new();
    for named in group {
        let Ok(reference) = Reference::parse(&named.row.name) else { continue };
        if is_hidden(&named.row.name) {
            continue;
        }
        let row = tx.content(namespace, &named.row.target.digest)?;
        if row.is_some_and(|row| labels::came_from(&row.labels, &reference)) {
            repo_digests.push(reference.with_digest(named.row.target.digest.clone()));
        }
        if reference.tag().is_some() {
            names.push(reference);
        }
    }
    names.sort();
    repo_digests.sort();
    repo_digests.dedup();
    Ok(Image {
        id: loaded.id.clone(),
        names,
        repo_digests,
        target: first.row.target.clone(),
        manifest: loaded.manifest.clone(),
        manifest_digest: loaded.manifest_digest.clone(),
        config: loaded.config.clone(),
        chain_id: loaded.chain_id.clone(),
        size: unpacked_size(engine, namespace, tx, loaded)?,
        stored_at: group.iter().map(|named| named.row.created_at).min().unwrap_or_default(),
        labels: first.row.labels.clone(),
    })
}

/// Bytes of the snapshots of an image, each counted for itself.
fn unpacked_size(engine: &Engine, namespace: &Namespace, tx: &ReadTx, loaded: &Loaded) -> Result<u64> {
    let snapshotter = &engine.config().snapshotter;
    let mut size = 0;
    for key in chain_keys(&loaded.config)? {
        size += tx.snapshot(namespace, snapshotter, &key)?.map_or(0, |row| row.usage.bytes);
    }
    Ok(size)
}

/// The snapshots of an image, bottom first.
pub(super) fn chain_keys(config: &ImageConfig) -> Result<Vec<SnapshotKey>> {
    let mut chain = None;
    let mut keys = Vec::new();
    for diff_id in &config.rootfs.diff_ids {
        let next = ChainId::next(chain.as_ref(), diff_id);
        keys.push(SnapshotKey::new(next.to_string())?);
        chain = Some(next);
    }
    Ok(keys)
}

/// The rows that a reference means: by name, by `name@digest`, else by id. All of one image.
pub(super) fn find<'a>(all: &'a [Named], reference: &str) -> Result<Vec<&'a Named>> {
    let same_id = |id: &Digest| all.iter().filter(|named| named.loaded.id == *id).collect::<Vec<_>>();
    let parsed = Reference::parse_familiar(reference).ok();
    let full = parsed.as_ref().map_or_else(|| reference.to_string(), stored_name);
    if let Some(named) = all.iter().find(|named| named.row.name == full || named.row.name == reference) {
        return Ok(same_id(&named.loaded.id));
    }
    if let Some((parsed, digest)) = parsed.as_ref().and_then(|parsed| Some((parsed, parsed.digest()?))) {
        let hit = all.iter().find(|named| {
            let known = named.row.target.digest == *digest || named.loaded.manifest_digest == *digest;
            known && Reference::parse(&named.row.name).is_ok_and(|name| name.name() == parsed.name())
        });
        return hit.map(|named| same_id(&named.loaded.id)).ok_or_else(|| missing(reference));
    }
    let hex = id_digits(reference).ok_or_else(|| missing(reference))?;
    let mut ids: Vec<&Digest> =
        all.iter().filter(|named| is_id(named, hex)).map(|named| &named.loaded.id).collect();
    ids.sort();
    ids.dedup();
    match ids.as_slice() {
        [] => Err(missing(reference)),
        [id] => Ok(same_id(id)),
        _ => {
            let detail = "several images begin with these digits";
            Err(Error::new(ErrorKind::InvalidArgument, "get", "image", reference, detail))
        }
    }
}

/// The config digest by prefix, or target or manifest in full.
fn is_id(named: &Named, hex: &str) -> bool {
    named.loaded.id.hex().starts_with(hex)
        || named.row.target.digest.hex() == hex
        || named.loaded.manifest_digest.hex() == hex
}

/// The digits of an id or a prefix of one, with or without its algorithm.
pub(super) fn id_digits(reference: &str) -> Option<&str> {
    let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
    let digits =
        !hex.is_empty() && hex.len() <= 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits.then_some(hex)
}

fn missing(reference: &str) -> Error {
    Error::not_found("get", "image", reference)
}
