//! Images made in memory: tar layers, gzip, config and manifest. Real formats, no tool needed.

use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;
use tare_types::{
    Descriptor, DiffId, Digest, Platform,
    image::{ImageConfig, Manifest, RootFs, media},
};

/// A tar archive being written (ustar headers).
#[derive(Debug, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a regular file.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.header(path, mode, content.len() as u64, b'0', "");
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32) -> Self {
        self.header(path, mode, 0, b'5', "");
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.header(path, 0o777, 0, b'2', target);
        self
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hard_link(mut self, path: &str, target: &str) -> Self {
        self.header(path, 0o644, 0, b'1', target);
        self
    }

    fn header(&mut self, path: &str, mode: u32, size: u64, kind: u8, link: &str) {
        let mut block = [0_u8; 512];
        assert!(path.len() <= 100 && link.len() <= 100, "the test writer knows only short names");
        block[..path.len()].copy_from_slice(path.as_bytes());
        block[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"14000000000\0");
        block[148..156].copy_from_slice(b"        ");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&block);
    }

    /// The archive with its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// gzip with the given level.
pub fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).expect("writing into memory");
    encoder.finish().expect("writing into memory")
}

/// A blob with its descriptor.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Type, digest, size.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// A blob of a media type.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        let descriptor = Descriptor::new(media_type, Digest::of_bytes(&bytes), bytes.len() as u64);
        Self { descriptor, bytes }
    }
}

/// An image: all its blobs.
#[derive(Debug, Clone)]
pub struct TestImage {
    /// The manifest.
    pub manifest: Blob,
    /// The config.
    pub config: Blob,
    /// The layers, bottom first.
    pub layers: Vec<Blob>,
    /// Digests of the plain layers.
    pub diff_ids: Vec<DiffId>,
}

/// An image of this host's platform out of plain tar layers, packed by gzip.
pub fn build(tars: &[Vec<u8>], command: &[&str]) -> TestImage {
    let diff_ids: Vec<DiffId> = tars.iter().map(|tar| DiffId(Digest::of_bytes(tar))).collect();
    let layers: Vec<Blob> = tars.iter().map(|tar| Blob::new(media::OCI_LAYER_GZIP, gzip(tar, 1))).collect();
    assemble(layers, diff_ids, command)
}

/// An image out of packed layers.
pub fn assemble(layers: Vec<Blob>, diff_ids: Vec<DiffId>, command: &[&str]) -> TestImage {
    let mut config = ImageConfig { platform: Platform::host(), ..ImageConfig::default() };
    config.config.cmd = command.iter().map(ToString::to_string).collect();
    config.config.env = vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_string()];
    config.rootfs = RootFs { kind: "layers".to_string(), diff_ids: diff_ids.clone() };
    let config = Blob::new(media::OCI_CONFIG, serde_json::to_vec(&config).expect("serializable"));
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_string(),
        config: config.descriptor.clone(),
        layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        annotations: Default::default(),
    };
    let manifest = Blob::new(media::OCI_MANIFEST, serde_json::to_vec(&manifest).expect("serializable"));
    TestImage { manifest, config, layers, diff_ids }
}
