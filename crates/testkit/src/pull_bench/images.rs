//! The three images: large layers, many small files, one large layer. Written as an OCI layout, sent by skopeo.

use crate::image::{Blob, Tar, assemble, gzip};
use anyhow::{Context as _, Result, ensure};
use std::{fs, path::Path, process::Command, thread};
use tare_types::{DiffId, Digest, image::media};

/// What an image is made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Name of the repository.
    pub name: &'static str,
    /// Number of layers.
    pub layers: usize,
    /// Files in each.
    pub files: usize,
    /// Bytes of each file.
    pub bytes: usize,
    /// The bound of the ratio to containerd 1.6.
    pub bound: f64,
}

/// The images of the comparison.
pub const SHAPES: [Shape; 3] = [
    Shape { name: "eight-64mb", layers: 8, files: 64, bytes: 1 << 20, bound: 0.3 },
    Shape { name: "small-files", layers: 4, files: 12_500, bytes: 2300, bound: 0.25 },
    Shape { name: "one-512mb", layers: 1, files: 512, bytes: 1 << 20, bound: 0.35 },
];

/// Writes a shape as an OCI layout, unless it is there. Two layers at a time are made.
///
/// # Errors
/// When the disk is full.
pub fn write_layout(directory: &Path, shape: &Shape) -> Result<()> {
    if directory.join("index.json").exists() {
        return Ok(());
    }
    fs::create_dir_all(directory.join("blobs/sha256"))?;
    let mut layers = Vec::new();
    let numbers: Vec<usize> = (0..shape.layers).collect();
    for pair in numbers.chunks(2) {
        let made: Vec<(Blob, DiffId)> = thread::scope(|scope| {
            let running: Vec<_> = pair.iter().map(|number| scope.spawn(|| layer(shape, *number))).collect();
            running.into_iter().map(|thread| thread.join().expect("a layer's thread")).collect()
        });
        for (mut blob, diff_id) in made {
            fs::write(directory.join("blobs/sha256").join(blob.descriptor.digest.hex()), &blob.bytes)?;
            // The bytes are on disk: only the descriptor is needed from here on.
            blob.bytes = Vec::new();
            layers.push((blob, diff_id));
        }
    }
    let (blobs, diff_ids) = layers.into_iter().unzip();
    let image = assemble(blobs, diff_ids, &["true"]);
    for blob in [&image.config, &image.manifest] {
        fs::write(directory.join("blobs/sha256").join(blob.descriptor.digest.hex()), &blob.bytes)?;
    }
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut entry = serde_json::to_value(&image.manifest.descriptor)?;
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "v1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(directory.join("index.json"), serde_json::to_vec(&index)?)?;
    Ok(())
}

/// Sends a layout to a registry on loopback.
///
/// # Errors
/// When skopeo is absent or refused.
pub fn push_layout(directory: &Path, host: &str, name: &str) -> Result<String> {
    let reference = format!("{host}/{name}:v1");
    let output = Command::new("skopeo")
        .args(["copy", "-q", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:v1", directory.display()))
        .arg(format!("docker://{reference}"))
        .output()
        .context("run skopeo")?;
    ensure!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
    Ok(reference)
}

fn layer(shape: &Shape, number: usize) -> (Blob, DiffId) {
    let mut tar = Tar::new().directory(&format!("l{number}/"), 0o755);
    let mut noise = Noise::new(number as u64 + 1);
    for file in 0..shape.files {
        if file % 100 == 0 {
            tar = tar.directory(&format!("l{number}/d{}/", file / 100), 0o755);
        }
        let path = format!("l{number}/d{}/f{file}", file / 100);
        tar = tar.file(&path, 0o644, &noise.semi_compressible(shape.bytes));
    }
    let tar = tar.finish();
    let diff_id = DiffId(Digest::of_bytes(&tar));
    (Blob::new(media::OCI_LAYER_GZIP, gzip(&tar, 6)), diff_id)
}

/// Bytes like those of programs: half of them words from a small vocabulary, half without any pattern.
struct Noise(u64);

impl Noise {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn semi_compressible(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 512);
        while bytes.len() < length {
            for _ in 0..32 {
                bytes.extend_from_slice(&self.next().to_le_bytes());
            }
            let end = bytes.len() + 256;
            while bytes.len() < end {
                // One of 4096 words of three to ten letters.
                let word = self.next() % 4096;
                let mut letters = Noise::new(word + 77);
                for _ in 0..3 + word % 8 {
                    bytes.push(b'a' + (letters.next() % 26) as u8);
                }
                bytes.push(b' ');
            }
        }
        bytes.truncate(length);
        bytes
    }
}
