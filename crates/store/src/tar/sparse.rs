//! Sparse files: the three ways to write down which pieces of a file are in the archive.

use super::{
    BLOCK, Fault,
    header::{Raw, field, number},
    pax::decimal,
};

/// Pieces of one file, at most: 16 bytes of memory each.
pub(super) const MAX_PIECES: usize = 1 << 20;

pub(super) type Pieces = Vec<(u64, u64)>;

/// The pieces in an old GNU header (4) or in an extension block (21). Returns whether another block follows.
pub(super) fn read_gnu(raw: &Raw, in_header: bool, pieces: &mut Pieces) -> Result<bool, Fault> {
    let malformed = || Fault::new("its sparse map is malformed");
    let (start, count, extended) = if in_header { (386, 4, 482) } else { (0, 21, 504) };
    for at in 0..count {
        let offset = field(raw, start + at * 24, 12);
        let length = field(raw, start + at * 24 + 12, 12);
        if offset[0] == 0 {
            break;
        }
        let value = |field| number(field).and_then(|value| u64::try_from(value).ok()).ok_or_else(malformed);
        push(pieces, value(offset)?, value(length)?)?;
    }
    Ok(raw[extended] != 0)
}

/// Apparent size in an old GNU header.
pub(super) fn gnu_real_size(raw: &Raw) -> Result<u64, Fault> {
    let size = number(field(raw, 483, 12)).and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| Fault::new("its real size is malformed"))
}

/// The map of PAX 0.0 and 0.1: offsets and lengths in turn.
pub(super) fn from_numbers(numbers: &[u64], blocks: Option<u64>) -> Result<Pieces, Fault> {
    let mut pieces = Pieces::new();
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() || blocks.is_some_and(|blocks| blocks != pairs.len() as u64) {
        return Err(Fault::new("its sparse map is malformed"));
    }
    for &[offset, length] in pairs {
        push(&mut pieces, offset, length)?;
    }
    Ok(pieces)
}

/// The map of PAX 1.0, at the start of the data: a count, then offsets and lengths, a decimal number per line.
/// `None` while more blocks are needed.
pub(super) fn read_pax1(text: &[u8]) -> Result<Option<Pieces>, Fault> {
    let malformed = || Fault::new("its sparse map is malformed");
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let mut next = || -> Result<Option<u64>, Fault> {
        match lines.next().and_then(|line| line.strip_suffix(b"\n")) {
            Some(line) => decimal(line).map(Some).ok_or_else(malformed),
            None => Ok(None),
        }
    };
    let Some(count) = next()? else {
        return if text.len() > BLOCK { Err(malformed()) } else { Ok(None) };
    };
    if count > MAX_PIECES as u64 {
        return Err(Fault::new("its sparse map is too long"));
    }
    let mut pieces = Pieces::new();
    for _ in 0..count {
        let (Some(offset), Some(length)) = (next()?, next()?) else { return Ok(None) };
        push(&mut pieces, offset, length)?;
    }
    Ok(Some(pieces))
}

/// The pieces must fit the apparent size and what is in the archive.
pub(super) fn check(pieces: &Pieces, real_size: u64, stored: u64) -> Result<(), Fault> {
    let mut sum: u64 = 0;
    let mut end = 0;
    for &(offset, length) in pieces {
        let next = offset.checked_add(length).filter(|&next| next <= real_size && offset >= end);
        end = next.ok_or_else(|| Fault::new("its sparse map overlaps or goes beyond its size"))?;
        sum += length;
    }
    match sum == stored {
        true => Ok(()),
        false => Err(Fault::new("its sparse map does not fit its data")),
    }
}

fn push(pieces: &mut Pieces, offset: u64, length: u64) -> Result<(), Fault> {
    if pieces.len() == MAX_PIECES {
        return Err(Fault::new("its sparse map is too long"));
    }
    pieces.push((offset, length));
    Ok(())
}
