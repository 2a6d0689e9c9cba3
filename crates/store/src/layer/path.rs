//! Names in archives, made into paths below a root.

use crate::{Error, Result};

/// Longest path, in bytes: the kernel's `PATH_MAX` with its NUL.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;

/// Writes the cleaned path into `out`: components joined by `/`, nothing at the ends. The root is empty.
///
/// An absolute name is taken below the root, as tar does. A `..` is refused, wherever it would lead: there is no
/// honest archive with one, and programs differ in what they make of it.
pub(super) fn clean(name: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    let refused = |reason: &str| Err(Error::invalid("apply layer", "", format!("{reason}: {}", show(name))));
    if name.contains(&0) {
        return refused("a name holds a NUL");
    }
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return refused("a name leads out of the layer by \"..\""),
            _ if component.len() > MAX_NAME => return refused("a part of a name is longer than 255 bytes"),
            _ => {}
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(component);
    }
    if out.len() > MAX_PATH {
        return refused("a name is longer than 4095 bytes");
    }
    Ok(())
}

/// Directory and last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// A name for a message.
pub(super) fn show(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&name[..name.len().min(256)]))
}
