//! The push parser: takes bytes in pieces of any size, calls a visitor.

use super::{
    BLOCK, Entry, EntryKind, Fault,
    header::{self, Class, Raw},
    pax::Pax,
    sparse::{self, Pieces},
};

/// Longest PAX block, name or link, in bytes.
const MAX_META: u64 = 1 << 20;
/// Longest map of a sparse file, in bytes.
const MAX_MAP: usize = 48 << 20;

/// Told what is in the archive, in order: `begin`, any number of `data`, `end`, for each entry.
pub(crate) trait Visitor {
    type Error: From<Fault>;
    fn begin(&mut self, entry: &Entry) -> Result<(), Self::Error>;
    /// Bytes of the entry at an offset of the file.
    fn data(&mut self, entry: &Entry, offset: u64, bytes: &[u8]) -> Result<(), Self::Error>;
    fn end(&mut self, entry: &Entry) -> Result<(), Self::Error>;
}

/// State between two pieces of input.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    /// A block that came in two pieces.
    block: Raw,
    filled: usize,
    /// Content of a PAX block, a long name or a sparse map.
    meta: Vec<u8>,
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    entry: Entry,
    pieces: Pieces,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header {
        after_zero: bool,
    },
    Meta {
        class: Class,
        left: u64,
        padding: u64,
    },
    /// Extension blocks of an old GNU sparse file.
    GnuSparse {
        stored: u64,
    },
    /// The map of a PAX 1.0 sparse file; `left` bytes of the entry's data are not read yet.
    Pax1Map {
        left: u64,
    },
    /// `left` bytes of data; `piece` of a sparse file and the position in it.
    Data {
        left: u64,
        padding: u64,
        piece: usize,
        position: u64,
    },
    Skip {
        left: u64,
    },
    /// Behind the end: whatever follows is not part of the archive.
    End,
}

/// Bytes up to the next full block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Header { after_zero: false },
            block: [0; BLOCK],
            filled: 0,
            meta: Vec::new(),
            pax: Pax::default(),
            long_name: None,
            long_link: None,
            entry: Entry::default(),
            pieces: Pieces::new(),
        }
    }

    /// Name of the entry that is read, for messages.
    pub(crate) fn current(&self) -> String {
        String::from_utf8_lossy(&self.entry.path[..self.entry.path.len().min(256)]).into_owned()
    }

    /// The next bytes of the archive.
    pub(crate) fn push<V: Visitor>(&mut self, mut input: &[u8], visitor: &mut V) -> Result<(), V::Error> {
        while !input.is_empty() {
            input = match self.state {
                State::End => return Ok(()),
                State::Data { .. } => self.data(input, visitor)?,
                State::Meta { .. } => self.collect_meta(input)?,
                State::Skip { left } => {
                    let count = clamp(left, input.len());
                    let left = left - count as u64;
                    self.state =
                        if left == 0 { State::Header { after_zero: false } } else { State::Skip { left } };
                    &input[count..]
                }
                State::Header { .. } | State::GnuSparse { .. } | State::Pax1Map { .. } => {
                    let (block, rest) = match input.split_first_chunk::<BLOCK>() {
                        Some((block, rest)) if self.filled == 0 => (*block, rest),
                        _ => match self.fill(input) {
                            (true, rest) => (self.block, rest),
                            (false, rest) => {
                                input = rest;
                                continue;
                            }
                        },
                    };
                    self.block(&block, visitor)?;
                    rest
                }
            };
        }
        Ok(())
    }

    /// The end of the input. An archive may end without its two zero blocks, but not inside of an entry.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        match self.state {
            State::End => Ok(()),
            State::Header { .. } if self.filled == 0 && self.is_clean() => Ok(()),
            _ => Err(Fault::new("the archive is cut off")),
        }
    }

    fn is_clean(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.path.is_none()
    }

    fn fill<'a>(&mut self, input: &'a [u8]) -> (bool, &'a [u8]) {
        let count = input.len().min(BLOCK - self.filled);
        self.block[self.filled..self.filled + count].copy_from_slice(&input[..count]);
        self.filled += count;
        let full = self.filled == BLOCK;
        if full {
            self.filled = 0;
        }
        (full, &input[count..])
    }

    fn block<V: Visitor>(&mut self, block: &Raw, visitor: &mut V) -> Result<(), V::Error> {
        match self.state {
            State::Header { after_zero } => self.header(block, after_zero, visitor),
            State::GnuSparse { stored } => match sparse::read_gnu(block, false, &mut self.pieces)? {
                true => Ok(()),
                false => self.begin_sparse(stored, visitor),
            },
            State::Pax1Map { left } => self.pax1_map(block, left, visitor),
            State::Meta { .. } | State::Data { .. } | State::Skip { .. } | State::End => Ok(()),
        }
    }

    fn header<V: Visitor>(&mut self, raw: &Raw, after_zero: bool, visitor: &mut V) -> Result<(), V::Error> {
        if header::is_zero(raw) {
            self.state = if after_zero { State::End } else { State::Header { after_zero: true } };
            return Ok(());
        }
        if after_zero {
            return Err(Fault::new("an entry follows a zero block").into());
        }
        header::check_sum(raw)?;
        let class = header::class(raw)?;
        match class {
            Class::Pax | Class::PaxGlobal | Class::LongName | Class::LongLink => {
                let size = header::size(raw)?;
                if size > MAX_META {
                    return Err(Fault::new(format!("a header of {size} bytes is too long")).into());
                }
                self.meta.clear();
                self.state = State::Meta { class, left: size, padding: padding(size) };
                if size == 0 {
                    self.end_meta(class)?;
                    self.state = State::Header { after_zero: false };
                }
                Ok(())
            }
            Class::GnuSparse => self.gnu_sparse(raw, visitor),
            Class::Entry(kind) => self.plain(raw, kind, visitor),
        }
    }

    fn collect_meta<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], Fault> {
        let State::Meta { class, mut left, mut padding } = self.state else { return Ok(input) };
        let count = clamp(left, input.len());
        self.meta.extend_from_slice(&input[..count]);
        left -= count as u64;
        let skip = if left == 0 { clamp(padding, input.len() - count) } else { 0 };
        padding -= skip as u64;
        self.state = State::Meta { class, left, padding };
        if left == 0 && padding == 0 {
            self.end_meta(class)?;
            self.state = State::Header { after_zero: false };
        }
        Ok(&input[count + skip..])
    }

    fn end_meta(&mut self, class: Class) -> Result<(), Fault> {
        match class {
            Class::Pax => self.pax = Pax::parse(&self.meta)?,
            Class::LongName => self.long_name = Some(header::text(&self.meta).to_vec()),
            Class::LongLink => self.long_link = Some(header::text(&self.meta).to_vec()),
            Class::PaxGlobal | Class::Entry(_) | Class::GnuSparse => {}
        }
        Ok(())
    }

    /// Header, long names, then PAX: the later ones win.
    fn describe(&mut self, raw: &Raw, kind: EntryKind) -> Result<(), Fault> {
        header::fill(raw, &mut self.entry)?;
        if let Some(name) = self.long_name.take() {
            self.entry.path = name;
        }
        if let Some(link) = self.long_link.take() {
            self.entry.link = link;
        }
        self.entry.kind = kind;
        self.entry.sparse = None;
        self.pax.apply(&mut self.entry);
        Ok(())
    }

    fn plain<V: Visitor>(&mut self, raw: &Raw, kind: EntryKind, visitor: &mut V) -> Result<(), V::Error> {
        self.describe(raw, kind)?;
        let pax = std::mem::take(&mut self.pax);
        // v7 has no type for directories.
        if kind == EntryKind::File && matches!(raw[156], 0) && self.entry.path.ends_with(b"/") {
            self.entry.kind = EntryKind::Directory;
        }
        // As Go's reader: everything but a file has no data, whatever its size says.
        if self.entry.kind != EntryKind::File {
            self.entry.size = 0;
            return self.begin(0, visitor);
        }
        let stored = match pax.size {
            Some(size) => size,
            None => header::size(raw)?,
        };
        self.entry.size = stored;
        match (pax.sparse.major, pax.sparse.minor) {
            (Some(1), Some(0)) => {
                let real = pax.sparse.real_size;
                self.entry.size = real.ok_or_else(|| Fault::new("a sparse file without its real size"))?;
                self.meta.clear();
                self.state = State::Pax1Map { left: stored };
                if stored == 0 {
                    return Err(Fault::new("a sparse file without its map").into());
                }
                Ok(())
            }
            (None, None) | (Some(0), Some(0 | 1)) if pax.sparse.real_size.is_some() => {
                self.entry.size = pax.sparse.real_size.unwrap_or(stored);
                self.pieces = sparse::from_numbers(&pax.sparse.map, pax.sparse.blocks)?;
                self.begin_sparse(stored, visitor)
            }
            (None, None) if pax.sparse.map.is_empty() => self.begin(stored, visitor),
            _ => Err(Fault::new("its sparse format is not supported").into()),
        }
    }

    fn gnu_sparse<V: Visitor>(&mut self, raw: &Raw, visitor: &mut V) -> Result<(), V::Error> {
        self.describe(raw, EntryKind::File)?;
        let pax = std::mem::take(&mut self.pax);
        let stored = match pax.size {
            Some(size) => size,
            None => header::size(raw)?,
        };
        self.entry.size = sparse::gnu_real_size(raw)?;
        self.pieces.clear();
        match sparse::read_gnu(raw, true, &mut self.pieces)? {
            true => {
                self.state = State::GnuSparse { stored };
                Ok(())
            }
            false => self.begin_sparse(stored, visitor),
        }
    }

    fn pax1_map<V: Visitor>(&mut self, block: &Raw, left: u64, visitor: &mut V) -> Result<(), V::Error> {
        // The map is padded to a block and counts as data.
        let left = left
            .checked_sub(BLOCK as u64)
            .ok_or_else(|| Fault::new("its sparse map is longer than its data"))?;
        self.meta.extend_from_slice(block);
        // Parsing again from the start for each block would be quadratic; the number of lines is known after the
        // first one, so count them.
        if !map_may_be_complete(&self.meta) {
            if self.meta.len() > MAX_MAP || left == 0 {
                return Err(Fault::new("its sparse map is malformed").into());
            }
            self.state = State::Pax1Map { left };
            return Ok(());
        }
        let pieces = sparse::read_pax1(&self.meta)?;
        self.pieces = pieces.ok_or_else(|| Fault::new("its sparse map is malformed"))?;
        self.begin_sparse(left, visitor)
    }

    fn begin_sparse<V: Visitor>(&mut self, stored: u64, visitor: &mut V) -> Result<(), V::Error> {
        sparse::check(&self.pieces, self.entry.size, stored)?;
        // An empty piece at the end only marks the size.
        self.pieces.retain(|&(_, length)| length > 0);
        self.entry.sparse = Some(std::mem::take(&mut self.pieces));
        self.begin(stored, visitor)
    }

    fn begin<V: Visitor>(&mut self, stored: u64, visitor: &mut V) -> Result<(), V::Error> {
        visitor.begin(&self.entry)?;
        if stored > 0 {
            self.state = State::Data { left: stored, padding: padding(stored), piece: 0, position: 0 };
            return Ok(());
        }
        self.state = State::Header { after_zero: false };
        visitor.end(&self.entry)
    }

    fn data<'a, V: Visitor>(&mut self, input: &'a [u8], visitor: &mut V) -> Result<&'a [u8], V::Error> {
        let State::Data { left, padding, piece, position } = self.state else { return Ok(input) };
        let mut count = clamp(left, input.len());
        let (mut next_piece, mut next_position) = (piece, position + count as u64);
        let offset = match &self.entry.sparse {
            None => position,
            Some(pieces) => {
                let (offset, length) = pieces.get(piece).copied().unwrap_or_default();
                count = count.min(clamp(length - position, count));
                next_position = position + count as u64;
                if next_position == length {
                    (next_piece, next_position) = (piece + 1, 0);
                }
                offset + position
            }
        };
        visitor.data(&self.entry, offset, &input[..count])?;
        let left = left - count as u64;
        self.state = match (left, padding) {
            (0, 0) => State::Header { after_zero: false },
            (0, padding) => State::Skip { left: padding },
            _ => State::Data { left, padding, piece: next_piece, position: next_position },
        };
        if left == 0 {
            visitor.end(&self.entry)?;
        }
        Ok(&input[count..])
    }
}

fn clamp(left: u64, available: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(available)
}

/// Whether all lines of a PAX 1.0 map are there.
fn map_may_be_complete(text: &[u8]) -> bool {
    let Some(first) = text.iter().position(|&byte| byte == b'\n') else { return false };
    let Some(count) = super::pax::decimal(&text[..first]) else { return true };
    let lines = text[text.len().saturating_sub(BLOCK)..].contains(&b'\n');
    lines && text.iter().filter(|&&byte| byte == b'\n').count() as u64 > count.saturating_mul(2)
}
