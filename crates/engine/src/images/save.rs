//! Images as one archive (`docker save`): an OCI image layout that also has Docker's `manifest.json`.
//!
//! `blobs/sha256/<hex>` for manifests, configs and layers as they are stored, `index.json`, `oci-layout`,
//! `manifest.json`. Docker from 1.10 on, podman, skopeo and containerd read it.

use super::*;
use bytes::{Bytes, BytesMut};
use serde_json::json;
use std::io::Write as _;
use tokio::{runtime::Handle, sync::mpsc};

/// Chunks read ahead of the receiver.
const AHEAD: usize = 8;
/// Bytes of a blob read at once.
const BLOCK: usize = 256 << 10;
/// A header and the unit to which each file is filled up.
const RECORD: usize = 512;

/// An image with the names that its archive says.
struct Chosen {
    image: Image,
    names: Vec<Reference>,
}

impl Images {
    /// Writes images as one tar stream. A name without a tag means all tags of it; an id has no names.
    ///
    /// # Errors
    /// `NotFound` before anything is sent; later ones end the stream.
    pub async fn save(
        &self,
        namespace: &Namespace,
        references: &[String],
    ) -> Result<mpsc::Receiver<std::io::Result<Bytes>>> {
        let mut chosen: Vec<Chosen> = Vec::new();
        for reference in references {
            for (image, name) in self.chosen(namespace, reference).await? {
                let at = chosen.iter().position(|known| known.image.id == image.id).unwrap_or_else(|| {
                    chosen.push(Chosen { image, names: Vec::new() });
                    chosen.len() - 1
                });
                chosen[at].names.extend(name);
            }
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (images, namespace, handle) = (self.clone(), namespace.clone(), Handle::current());
        self.engine.spawn(async move {
            let failures = sender.clone();
            let work = blocking("save images", move || {
                let stream = crate::archive::ChunkWriter::new(handle, sender);
                Archive { stream, written: BTreeSet::new() }.write(&images.engine, &namespace, &chosen)?;
                chosen.iter().for_each(|chosen| images.tell(&namespace, "save", &chosen.image.id));
                Ok(())
            });
            if let Err(error) = work.await {
                // A receiver that left needs no error.
                drop(failures.send(Err(std::io::Error::other(error.to_string()))).await);
            }
        });
        Ok(receiver)
    }

    async fn chosen(
        &self,
        namespace: &Namespace,
        reference: &str,
    ) -> Result<Vec<(Image, Option<Reference>)>> {
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let named = Reference::parse_familiar(reference).ok();
        if let Some(named) = named.as_ref().filter(|_| !last.contains([':', '@'])) {
            let mut found = Vec::new();
            for image in self.list(namespace).await? {
                let names = image.names.iter().filter(|name| name.name() == named.name());
                found.extend(names.map(|name| (image.clone(), Some(name.clone()))));
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let image = self.get(namespace, reference).await?;
        let name = named.filter(|named| image.names.contains(named));
        Ok(vec![(image, name)])
    }
}

/// The archive that is being written.
struct Archive {
    stream: crate::archive::ChunkWriter,
    /// Blobs that are in it.
    written: BTreeSet<Digest>,
}

impl Archive {
    fn write(mut self, engine: &Engine, namespace: &Namespace, chosen: &[Chosen]) -> Result<()> {
        let (mut manifests, mut docker) = (Vec::new(), Vec::new());
        for Chosen { image, names } in chosen {
            let manifest = &image.manifest;
            for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
                self.blob(engine, namespace, &descriptor.digest)?;
            }
            let size = self.blob(engine, namespace, &image.manifest_digest)?;
            let kind = match manifest.media_type.as_str() {
                "" => tare_types::image::media::OCI_MANIFEST,
                kind => kind,
            };
            let entry = json!({"mediaType": kind, "digest": image.manifest_digest.to_string(), "size": size});
            if names.is_empty() {
                manifests.push(entry.clone());
            }
            for name in names {
                let mut entry = entry.clone();
                entry["annotations"] = json!({
                    "io.containerd.image.name": name.to_string(),
                    "org.opencontainers.image.ref.name": name.tag().unwrap_or("latest"),
                });
                manifests.push(entry);
            }
            let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
            docker.push(json!({
                "Config": path_of(&manifest.config.digest),
                "RepoTags": if tags.is_empty() { None } else { Some(tags) },
                "Layers": manifest.layers.iter().map(|layer| path_of(&layer.digest)).collect::<Vec<_>>(),
            }));
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": tare_types::image::media::OCI_INDEX,
            "manifests": manifests,
        });
        self.file("index.json", index.to_string().as_bytes())?;
        self.file("manifest.json", json!(docker).to_string().as_bytes())?;
        self.file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#)?;
        self.put(&[0; 2 * RECORD])?;
        self.stream.flush().map_err(sent)
    }

    /// A blob under its digest, once; gives its size.
    fn blob(&mut self, engine: &Engine, namespace: &Namespace, digest: &Digest) -> Result<u64> {
        let reader = engine.stores().content.reader(namespace, digest)?;
        if !self.written.insert(digest.clone()) {
            return Ok(reader.size());
        }
        self.put(&header(&path_of(digest), reader.size()))?;
        let mut offset = 0;
        let mut block = BytesMut::zeroed(BLOCK);
        loop {
            let count = reader.read_at(&mut block, offset)?;
            if count == 0 {
                break;
            }
            offset += count as u64;
            self.put(&block[..count])?;
        }
        self.fill(offset)?;
        Ok(offset)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.put(&header(name, bytes.len() as u64))?;
        self.put(bytes)?;
        self.fill(bytes.len() as u64)
    }

    fn fill(&mut self, size: u64) -> Result<()> {
        let over = usize::try_from(size % RECORD as u64).expect("invariant: below 512");
        if over == 0 { Ok(()) } else { self.put(&[0; RECORD][over..]) }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(sent)
    }
}

fn sent(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "send", "archive", "", "").with_source(error)
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// A ustar header of a regular file, 0644 of root. Sizes beyond 8 GiB are written in base 256, as GNU tar does.
fn header(name: &str, size: u64) -> [u8; RECORD] {
    let mut header = [0; RECORD];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < 1 << 33 {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_ustars() {
        let header = header("manifest.json", 0o123);
        assert_eq!(&header[..13], b"manifest.json");
        assert_eq!(&header[124..136], b"00000000123\0");
        let stored = std::str::from_utf8(&header[148..154]).unwrap();
        let sum: u32 =
            header[..148].iter().chain(&header[156..]).map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        assert_eq!(u32::from_str_radix(stored, 8).unwrap(), sum);
        assert_eq!(super::header("x", 1 << 33)[124], 0x80);
    }
}
