//! The journal of addresses and releases: one append-only file in the state directory.
//!
//! Each line is a checksum (CRC-32 of what follows, 8 hex digits), a space, and a JSON object. The first line
//! names the version and the boot of the kernel: what a journal tells of an earlier boot is void, as the kernel's
//! objects died with it. A line is one write(2), so kill -9 leaves a whole line or a torn last one, which is cut
//! off when the file is read. No fsync: nothing here outlives the kernel. The format is in
//! `docs/formats/network-journal.md`.

use crate::{ContainerKey, Error, Result, Sandbox};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ftruncate, openat, renameat, unlinkat};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};
use tare_types::{ErrorKind, port::PublishedPort};

/// The number of a sandbox, 24 bits: names its interface and its namespace file.
pub(crate) type SandboxNumber = u32;

/// What is known of one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What the container was given.
    pub(crate) sandbox: Sandbox,
    /// It was given back and the kernel may still hold parts of it.
    #[serde(default)]
    pub(crate) releasing: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "entry")]
enum Entry {
    /// The beginning of the file.
    Journal { version: u32, boot: String },
    /// A sandbox is about to be made; also how compaction writes what is known.
    Attach { number: SandboxNumber, record: Box<Record> },
    /// The ports of a sandbox, all of them.
    Publish { number: SandboxNumber, ports: Vec<PublishedPort> },
    /// A sandbox is to be removed.
    Release { number: SandboxNumber },
    /// The kernel has let go of it.
    Released { number: SandboxNumber },
}

const VERSION: u32 = 1;
/// Entries beyond those needed before the file is written anew.
const SLACK: usize = 512;

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    boot: String,
    file: File,
    length: u64,
    entries: usize,
}

/// What a journal says: the sandboxes by number.
pub(crate) type Records = BTreeMap<SandboxNumber, Record>;

impl Journal {
    /// Opens or makes the journal of a state directory and reads it. `boot` is the kernel's boot id.
    pub(crate) fn open(directory: &Path, boot: &str) -> Result<(Self, Records)> {
        let path = directory.join("journal");
        let file = open_append(&path)?;
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).map_err(|e| Error::caused("read journal", show(&path), e))?;
        let (records, good, entries) = replay(&bytes, boot).ok_or_else(|| {
            Error::new(ErrorKind::FailedPrecondition, "read journal", show(&path))
                .with_hint("it was written by a newer version; stop the containers and remove it")
        })?;
        let mut journal = Self { path, boot: boot.to_owned(), file, length: good as u64, entries };
        if good == 0 {
            journal.rewrite(&Records::new())?;
        } else if good < bytes.len() {
            ftruncate(&journal.file, good as u64)
                .map_err(|e| Error::caused("cut torn entry of journal", show(&journal.path), e))?;
        }
        Ok((journal, records))
    }

    /// A sandbox will be made.
    pub(crate) fn attach(&mut self, number: SandboxNumber, record: &Record) -> Result<()> {
        self.append(&Entry::Attach { number, record: Box::new(record.clone()) })
    }

    /// A sandbox has these ports from now on.
    pub(crate) fn publish(&mut self, number: SandboxNumber, ports: &[PublishedPort]) -> Result<()> {
        self.append(&Entry::Publish { number, ports: ports.to_vec() })
    }

    /// A sandbox will be removed.
    pub(crate) fn release(&mut self, number: SandboxNumber) -> Result<()> {
        self.append(&Entry::Release { number })
    }

    /// Sandboxes are removed; `records` are those that remain.
    pub(crate) fn released(&mut self, numbers: &[SandboxNumber], records: &Records) -> Result<()> {
        if self.entries + numbers.len() > records.len() * 3 + SLACK {
            return self.rewrite(records);
        }
        numbers.iter().try_for_each(|&number| self.append(&Entry::Released { number }))
    }

    fn append(&mut self, entry: &Entry) -> Result<()> {
        let line = line(entry);
        let failed = |journal: &Self, error: std::io::Error| {
            // What was written in part would be read as the end of the file: it goes.
            let cut = ftruncate(&journal.file, journal.length).err();
            let object = cut.map_or_else(
                || show(&journal.path),
                |errno| format!("{} (and to cut it again: {errno})", show(&journal.path)),
            );
            Error::caused("write journal", object, error)
        };
        match self.file.write(&line) {
            Ok(written) if written == line.len() => {
                self.length += line.len() as u64;
                self.entries += 1;
                Ok(())
            }
            Ok(_) => Err(failed(self, std::io::ErrorKind::StorageFull.into())),
            Err(error) => Err(failed(self, error)),
        }
    }

    /// Writes the journal anew with what is known, beside the old one, and puts it in its place.
    fn rewrite(&mut self, records: &Records) -> Result<()> {
        let mut bytes = line(&Entry::Journal { version: VERSION, boot: self.boot.clone() });
        for (number, record) in records {
            bytes.extend(line(&Entry::Attach { number: *number, record: Box::new(record.clone()) }));
        }
        let beside = self.path.with_extension("new");
        match unlinkat(CWD, &beside, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(Error::caused("remove old journal", show(&beside), errno)),
        }
        let mut file = open_append(&beside)?;
        file.write_all(&bytes).map_err(|e| Error::caused("write journal", show(&beside), e))?;
        renameat(CWD, &beside, CWD, &self.path)
            .map_err(|e| Error::caused("replace journal", show(&self.path), e))?;
        self.file = file;
        self.length = bytes.len() as u64;
        self.entries = records.len() + 1;
        Ok(())
    }
}

fn open_append(path: &Path) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(|e| Error::caused("open journal", show(path), e))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn line(entry: &Entry) -> Vec<u8> {
    let json = serde_json::to_string(entry).expect("invariant: an entry has only text keys");
    format!("{:08x} {json}\n", crc32(json.as_bytes())).into_bytes()
}

/// What the lines say, how many bytes of them are good, and how many entries those are.
/// `None` when the version is unknown; an empty result when the journal is of another boot.
fn replay(bytes: &[u8], boot: &str) -> Option<(Records, usize, usize)> {
    let mut records = Records::new();
    let (mut good, mut entries) = (0, 0);
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        let Some(entry) = parse_line(line) else { break };
        match (entries, entry) {
            (0, Entry::Journal { version, boot: of }) => {
                if version != VERSION {
                    return None;
                }
                if of != boot {
                    return Some((Records::new(), 0, 0));
                }
            }
            // Without its first line the file is not a journal of ours.
            (0, _) => return Some((Records::new(), 0, 0)),
            (_, entry) => apply(&mut records, entry),
        }
        good += line.len();
        entries += 1;
    }
    Some((records, good, entries))
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (sum == crc32(json)).then(|| serde_json::from_slice(json).ok()).flatten()
}

fn apply(records: &mut Records, entry: Entry) {
    match entry {
        Entry::Journal { .. } => {}
        Entry::Attach { number, record } => {
            records.insert(number, *record);
        }
        Entry::Publish { number, ports } => {
            if let Some(record) = records.get_mut(&number) {
                record.sandbox.ports = ports;
            }
        }
        Entry::Release { number } => {
            if let Some(record) = records.get_mut(&number) {
                record.releasing = true;
            }
        }
        Entry::Released { number } => {
            records.remove(&number);
        }
    }
}

/// The active sandboxes by container.
pub(crate) fn by_container(records: &Records) -> BTreeMap<ContainerKey, SandboxNumber> {
    let active = records.iter().filter(|(_, record)| !record.releasing);
    active.map(|(number, record)| (record.sandbox.container.clone(), *number)).collect()
}

/// CRC-32 as in Ethernet and gzip (polynomial 0xEDB88320, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| TABLE[usize::from((crc as u8) ^ byte)] ^ (crc >> 8))
}

#[cfg(test)]
mod tests;
