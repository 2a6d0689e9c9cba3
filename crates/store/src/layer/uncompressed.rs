//! The digest of a layer before compression, of bytes that came from nowhere a digest is known.

use super::inflate::Inflater;
use crate::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::io::Read;
use tare_types::{DiffId, Digest};

/// Bytes read at once.
const BLOCK: usize = 256 << 10;

/// The DiffID of a layer: the digest of its archive without gzip or zstd.
///
/// # Errors
/// `DataLoss` for a damaged stream; those of reading.
pub fn diff_id_of(mut reader: impl Read) -> Result<DiffId> {
    let mut hasher = Sha256::new();
    let mut inflater = Inflater::new();
    let mut block = vec![0; BLOCK];
    let mut sink = |buffer: &mut Vec<u8>, filled: usize| -> Result<()> {
        hasher.update(&buffer[..filled]);
        Ok(())
    };
    loop {
        let count = reader.read(&mut block).map_err(|error| Error::io("read layer", "", error))?;
        if count == 0 {
            break;
        }
        inflater.push(&block[..count], &mut sink)?;
    }
    inflater.finish(&mut sink)?;
    Ok(DiffId(Digest::from_sha256(&hasher.finalize().into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn compression_does_not_change_it() {
        let text = b"some archive".repeat(100_000);
        let plain = diff_id_of(&text[..]).unwrap();
        assert_eq!(plain, DiffId(Digest::of_bytes(&text)));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(diff_id_of(&packed[..]).unwrap(), plain);
        assert!(diff_id_of(&packed[..packed.len() - 9]).is_err());
        assert_eq!(diff_id_of(&b""[..]).unwrap(), DiffId(Digest::of_bytes(b"")));
    }
}
