//! PAX records: `length SP key=value LF`, for one following entry.

use super::{Entry, Fault, Time};

/// What PAX records say about the next entry.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    atime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// `GNU.sparse.*` records of versions 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `realsize` (1.0) or `size` (0.x).
    pub(super) real_size: Option<u64>,
    pub(super) blocks: Option<u64>,
    /// Offsets and lengths in turn, of 0.0 and 0.1.
    pub(super) map: Vec<u64>,
}

impl Pax {
    pub(super) fn parse(mut records: &[u8]) -> Result<Self, Fault> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let (key, value, rest) = record(records)?;
            pax.set(key, value)?;
            records = rest;
        }
        Ok(pax)
    }

    /// An empty value takes a record back, as POSIX says.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match key {
            b"path" => self.path = text(key, value)?,
            b"linkpath" => self.link = text(key, value)?,
            b"size" => self.size = unsigned(key, value)?,
            b"uid" => self.uid = id(key, value)?,
            b"gid" => self.gid = id(key, value)?,
            b"mtime" => self.mtime = time(key, value)?,
            b"atime" => self.atime = time(key, value)?,
            b"GNU.sparse.major" => self.sparse.major = unsigned(key, value)?,
            b"GNU.sparse.minor" => self.sparse.minor = unsigned(key, value)?,
            b"GNU.sparse.name" => self.sparse.name = text(key, value)?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = unsigned(key, value)?,
            b"GNU.sparse.numblocks" => self.sparse.blocks = unsigned(key, value)?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let is_offset = key.ends_with(b"offset");
                if self.sparse.map.len().is_multiple_of(2) != is_offset {
                    return Err(Fault::new("its sparse records are out of order"));
                }
                let value = unsigned(key, value)?;
                self.sparse.map.push(value.ok_or_else(|| Fault::new("a sparse record is empty"))?);
            }
            b"GNU.sparse.map" => {
                self.sparse.map.clear();
                for number in value.split(|&byte| byte == b',') {
                    let number = unsigned(key, number)?;
                    self.sparse.map.push(number.ok_or_else(|| Fault::new("its sparse map is malformed"))?);
                }
            }
            _ => self.set_xattr(key, value)?,
        }
        Ok(())
    }

    fn set_xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.retain(|(known, _)| known != name);
            self.xattrs.push((name.to_vec(), value.to_vec()));
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let name = percent_decode(name);
            let value = base64_decode(value)
                .ok_or_else(|| Fault::new("the value of an extended attribute is not base64"))?;
            // libarchive writes both forms; SCHILY's needs no decoding and wins.
            if !self.xattrs.iter().any(|(known, _)| *known == name) {
                self.xattrs.push((name, value));
            }
        }
        Ok(())
    }

    /// Overrides what the header says. Size and sparse pieces are the parser's.
    pub(super) fn apply(&mut self, entry: &mut Entry) {
        if let Some(path) = self.path.take() {
            entry.path = path;
        }
        if let Some(name) = self.sparse.name.take() {
            entry.path = name;
        }
        if let Some(link) = self.link.take() {
            entry.link = link;
        }
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.mtime = self.mtime.unwrap_or(entry.mtime);
        entry.atime = self.atime.or(entry.atime);
        entry.xattrs = std::mem::take(&mut self.xattrs);
    }
}

/// Key, value, and what follows the record.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(records: &[u8]) -> Result<Record<'_>, Fault> {
    let malformed = || Fault::new("its PAX records are malformed");
    let space = records.iter().take(21).position(|&byte| byte == b' ').ok_or_else(malformed)?;
    let length = decimal(&records[..space]).and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|&length| length > space + 1 && length <= records.len());
    let (line, rest) = records.split_at(length.ok_or_else(malformed)?);
    let body = line[space + 1..].strip_suffix(b"\n").ok_or_else(malformed)?;
    let equals = body.iter().position(|&byte| byte == b'=').ok_or_else(malformed)?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return Err(malformed());
    }
    Ok((key, value, rest))
}

fn name(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn text(key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    if value.contains(&0) {
        return Err(Fault::new(format!("its PAX record {} holds a NUL", name(key))));
    }
    Ok(Some(value.to_vec()).filter(|value| !value.is_empty()))
}

/// Digits alone: no sign, no blanks, at most 2^63 - 1.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    (value <= i64::MAX as u64).then_some(value)
}

fn unsigned(key: &[u8], value: &[u8]) -> Result<Option<u64>, Fault> {
    if value.is_empty() {
        return Ok(None);
    }
    let shown = || String::from_utf8_lossy(&value[..value.len().min(32)]).into_owned();
    let number = decimal(value);
    number.map(Some).ok_or_else(|| Fault::new(format!("its PAX record {} is {:?}", name(key), shown())))
}

fn id(key: &[u8], value: &[u8]) -> Result<Option<u32>, Fault> {
    // u32::MAX means "leave it" to chown: never an owner.
    let out_of_range = || Fault::new(format!("its PAX record {} is out of range", name(key)));
    let number = unsigned(key, value)?;
    number
        .map(|number| u32::try_from(number).ok().filter(|&id| id != u32::MAX).ok_or_else(out_of_range))
        .transpose()
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are cut off.
fn time(key: &[u8], value: &[u8]) -> Result<Option<Time>, Fault> {
    if value.is_empty() {
        return Ok(None);
    }
    let malformed = || Fault::new(format!("its PAX record {} is no time", name(key)));
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |&byte| byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    let seconds = decimal(whole).and_then(|seconds| i64::try_from(seconds).ok()).ok_or_else(malformed)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    let nanos = (0..9)
        .fold(0_u32, |nanos, at| nanos * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    Ok(Some(match (negative, nanos) {
        (false, nanos) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos: 0 },
        (true, nanos) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    }))
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| byte == b'%');
        let value = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(value.unwrap_or(byte));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

/// RFC 4648 base64, padding optional (libarchive leaves it out).
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for &byte in text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(decoded)
}
