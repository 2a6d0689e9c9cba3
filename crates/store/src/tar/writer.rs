//! Writing archives: ustar where it fits, PAX records where it does not.

use super::{BLOCK, EntryKind, Time};
use std::io::{self, Write};

/// One entry to write.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) kind: EntryKind,
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Writes members to any sink.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    sink: W,
    /// Bytes of the current member that are still owed, and its padding.
    owed: u64,
    padding: usize,
}

/// Largest number in an 8-digit octal field with its terminator.
const MAX_OCTAL_7: u64 = 0o7_777_777;
/// The same for 12 digits.
const MAX_OCTAL_11: u64 = 0o77_777_777_777;

impl<W: Write> Writer<W> {
    pub(crate) fn new(sink: W) -> Self {
        Self { sink, owed: 0, padding: 0 }
    }

    /// Writes headers. For a file exactly `size` bytes of [`Writer::data`] must follow.
    pub(crate) fn begin(&mut self, member: &Member<'_>) -> io::Result<()> {
        let records = records(member);
        if !records.is_empty() {
            let name = pax_name(member.path);
            let header = Header { size: records.len() as u64, type_flag: b'x', ..Header::of(&name) };
            self.sink.write_all(&header.encode())?;
            self.sink.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.sink.write_all(&Header::of_member(member).encode())?;
        self.owed = if member.kind == EntryKind::File { member.size } else { 0 };
        self.padding = (self.owed.wrapping_neg() % BLOCK as u64) as usize;
        Ok(())
    }

    /// Bytes of the current file.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let rest = self.owed.checked_sub(bytes.len() as u64);
        self.owed = rest.ok_or_else(|| io::Error::other("a file is longer than its header says"))?;
        self.sink.write_all(bytes)?;
        if self.owed == 0 {
            self.sink.write_all(&[0; BLOCK][..self.padding])?;
            self.padding = 0;
        }
        Ok(())
    }

    /// The two zero blocks.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if self.owed != 0 {
            return Err(io::Error::other("a file is shorter than its header says"));
        }
        self.sink.write_all(&[0; 2 * BLOCK])?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.sink.write_all(&[0; BLOCK][..padding])
    }
}

struct Header<'a> {
    path: &'a [u8],
    link: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    size: u64,
    device: (u32, u32),
    type_flag: u8,
}

impl<'a> Header<'a> {
    fn of(path: &'a [u8]) -> Self {
        Self {
            path,
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            device: (0, 0),
            type_flag: b'0',
        }
    }

    fn of_member(member: &Member<'a>) -> Self {
        let type_flag = match member.kind {
            EntryKind::File => b'0',
            EntryKind::HardLink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::Character => b'3',
            EntryKind::Block => b'4',
            EntryKind::Directory => b'5',
            EntryKind::Fifo => b'6',
        };
        Self {
            path: member.path,
            link: member.link,
            mode: member.mode & 0o7777,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime.seconds,
            size: if member.kind == EntryKind::File { member.size } else { 0 },
            device: member.device,
            type_flag,
        }
    }

    /// What does not fit is cut; a PAX record before it says the whole.
    fn encode(&self) -> [u8; BLOCK] {
        let mut raw = [0; BLOCK];
        let (prefix, name) = split(self.path).unwrap_or((b"", &self.path[..self.path.len().min(100)]));
        raw[..name.len()].copy_from_slice(name);
        raw[345..345 + prefix.len()].copy_from_slice(prefix);
        let link = &self.link[..self.link.len().min(100)];
        raw[157..157 + link.len()].copy_from_slice(link);
        octal(&mut raw[100..108], u64::from(self.mode));
        octal(&mut raw[108..116], u64::from(self.uid).min(MAX_OCTAL_7));
        octal(&mut raw[116..124], u64::from(self.gid).min(MAX_OCTAL_7));
        octal(&mut raw[124..136], if self.size > MAX_OCTAL_11 { 0 } else { self.size });
        octal(&mut raw[136..148], u64::try_from(self.mtime).unwrap_or(0).min(MAX_OCTAL_11));
        raw[156] = self.type_flag;
        raw[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut raw[329..337], u64::from(self.device.0));
        octal(&mut raw[337..345], u64::from(self.device.1));
        raw[148..156].fill(b' ');
        let sum: u64 = raw.iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut raw[148..155], sum);
        raw
    }
}

/// Zero-filled digits and a NUL.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    field[digits] = 0;
}

/// Prefix and name of ustar, when the path fits them and is plain ASCII.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let from = path.len().saturating_sub(101);
    let slash = (from..=path.len().min(155)).find(|&at| path.get(at) == Some(&b'/'))?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!name.is_empty() && !prefix.is_empty()).then_some((prefix, name))
}

/// A name for the PAX block itself, which only old programs see.
fn pax_name(path: &[u8]) -> Vec<u8> {
    let base = path.rsplit(|&byte| byte == b'/').find(|part| !part.is_empty()).unwrap_or(b"entry");
    let mut name = b"PaxHeaders.0/".to_vec();
    name.extend(base.iter().take(80).map(|&byte| if byte.is_ascii() { byte } else { b'_' }));
    name
}

fn records(member: &Member<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    if split(member.path).is_none() {
        record(&mut records, b"path", member.path);
    }
    if member.link.len() > 100 || !member.link.is_ascii() {
        record(&mut records, b"linkpath", member.link);
    }
    let mut number = |key: &[u8], value: u64, limit: u64| {
        if value > limit {
            record(&mut records, key, value.to_string().as_bytes());
        }
    };
    number(b"uid", u64::from(member.uid), MAX_OCTAL_7);
    number(b"gid", u64::from(member.gid), MAX_OCTAL_7);
    number(b"size", member.size, MAX_OCTAL_11);
    let Time { seconds, nanos } = member.mtime;
    if nanos != 0 || !(0..=MAX_OCTAL_11 as i64).contains(&seconds) {
        record(&mut records, b"mtime", time(member.mtime).as_bytes());
    }
    for (name, value) in member.xattrs {
        let key = [b"SCHILY.xattr.", name.as_slice()].concat();
        record(&mut records, &key, value);
    }
    records
}

fn time(Time { seconds, nanos }: Time) -> String {
    let (sign, seconds, nanos) = match (seconds < 0, nanos) {
        (false, nanos) => ("", seconds.unsigned_abs(), nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, nanos) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
    };
    let text = format!("{sign}{seconds}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// The length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}
