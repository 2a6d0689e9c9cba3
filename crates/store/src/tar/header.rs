//! The 512-byte header.

use super::{BLOCK, Entry, EntryKind, Fault, Time};

pub(super) type Raw = [u8; BLOCK];

/// What kind of header it is, before meaning is given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// An entry of this kind.
    Entry(EntryKind),
    /// An old GNU sparse file.
    GnuSparse,
    /// PAX records for the next entry.
    Pax,
    /// PAX records for all following entries; skipped, as Go's readers do.
    PaxGlobal,
    /// Name of the next entry.
    LongName,
    /// Link target of the next entry.
    LongLink,
}

pub(super) fn field(raw: &Raw, start: usize, length: usize) -> &[u8] {
    &raw[start..start + length]
}

/// The text of a field: up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}

pub(super) fn is_zero(raw: &Raw) -> bool {
    raw.iter().all(|&byte| byte == 0)
}

/// Checks the sum over the header; old programs summed signed bytes.
pub(super) fn check_sum(raw: &Raw) -> Result<(), Fault> {
    let stored = octal(field(raw, 148, 8)).ok_or_else(|| Fault::new("its checksum is not a number"))?;
    let counted = |byte: fn(u8) -> i64| -> i64 {
        let blank = 8 * i64::from(b' ');
        raw.iter().enumerate().map(|(at, &b)| if (148..156).contains(&at) { 0 } else { byte(b) }).sum::<i64>()
            + blank
    };
    let unsigned = counted(i64::from);
    // Only on a mismatch: nearly every archive sums unsigned bytes.
    let matches = unsigned == stored as i64 || counted(|byte| i64::from(byte as i8)) == stored as i64;
    if matches { Ok(()) } else { Err(Fault::new("its checksum is wrong: this is no tar header")) }
}

pub(super) fn class(raw: &Raw) -> Result<Class, Fault> {
    Ok(match raw[156] {
        b'0' | 0 | b'7' => Class::Entry(EntryKind::File),
        b'1' => Class::Entry(EntryKind::HardLink),
        b'2' => Class::Entry(EntryKind::Symlink),
        b'3' => Class::Entry(EntryKind::Character),
        b'4' => Class::Entry(EntryKind::Block),
        b'5' => Class::Entry(EntryKind::Directory),
        b'6' => Class::Entry(EntryKind::Fifo),
        b'S' => Class::GnuSparse,
        b'x' => Class::Pax,
        b'g' => Class::PaxGlobal,
        b'L' => Class::LongName,
        b'K' => Class::LongLink,
        other => {
            return Err(Fault::new(format!("its type {:?} is not supported", char::from(other))));
        }
    })
}

fn signed_size(raw: &Raw) -> Result<i64, Fault> {
    number(field(raw, 124, 12)).ok_or_else(|| Fault::new("its size is not a number"))
}

/// Size of what follows the header.
pub(super) fn size(raw: &Raw) -> Result<u64, Fault> {
    u64::try_from(signed_size(raw)?).map_err(|_| Fault::new("its size is negative"))
}

/// Fills everything but kind, size and sparse pieces.
pub(super) fn fill(raw: &Raw, entry: &mut Entry) -> Result<(), Fault> {
    // Also where no size counts: a device with one that readers cannot agree on hides what comes behind it.
    signed_size(raw)?;
    entry.path.clear();
    let magic = field(raw, 257, 8);
    let prefix: &[u8] = match magic {
        b"ustar\x0000" if field(raw, 508, 4) == b"tar\0" => text(field(raw, 345, 131)),
        [b'u', b's', b't', b'a', b'r', 0, ..] => text(field(raw, 345, 155)),
        // GNU and v7 have no prefix.
        _ => b"",
    };
    if !prefix.is_empty() {
        entry.path.extend_from_slice(prefix);
        entry.path.push(b'/');
    }
    entry.path.extend_from_slice(text(field(raw, 0, 100)));
    entry.link.clear();
    entry.link.extend_from_slice(text(field(raw, 157, 100)));
    let unsigned = |start, length, what: &str| -> Result<u32, Fault> {
        let value = number(field(raw, start, length));
        let value = value.ok_or_else(|| Fault::new(format!("its {what} is not a number")))?;
        u32::try_from(value).map_err(|_| Fault::new(format!("its {what} {value} is out of range")))
    };
    let mode = number(field(raw, 100, 8)).ok_or_else(|| Fault::new("its mode is not a number"))?;
    entry.mode = (mode & 0o7777) as u32;
    entry.uid = unsigned(108, 8, "owner")?;
    entry.gid = unsigned(116, 8, "group")?;
    let seconds = number(field(raw, 136, 12)).ok_or_else(|| Fault::new("its time is not a number"))?;
    entry.mtime = Time { seconds, nanos: 0 };
    entry.atime = None;
    entry.device = (0, 0);
    if magic.starts_with(b"ustar") {
        entry.device = (unsigned(329, 8, "device number")?, unsigned(337, 8, "device number")?);
    }
    Ok(())
}

/// An octal or base-256 number, as Go's `parseNumeric`.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 == 0 {
        return octal(field).and_then(|value| i64::try_from(value).ok());
    }
    // Two's complement, big endian; the top bit is the mark, the next one the sign.
    let negative = first & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (at, &byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, false) => byte & 0x7f,
            (0, true) => byte | 0x80,
            _ => byte,
        };
        value = value.checked_shl(8)? | i128::from(byte);
        if i64::try_from(value).is_err() {
            return None;
        }
    }
    i64::try_from(value).ok()
}

/// Octal digits between blanks and NULs; an empty field is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let mut value: u64 = 0;
    for &byte in text(&field[start..end]) {
        if !(b'0'..=b'7').contains(&byte) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(value)
}
