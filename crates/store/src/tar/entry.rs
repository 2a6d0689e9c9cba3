//! What one entry of an archive says.

/// Why an archive cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) String);

impl Fault {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum EntryKind {
    #[default]
    File,
    HardLink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// One entry. Reused from entry to entry, so that a small file costs no allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As in the archive, not checked.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Target of a link, as in the archive.
    pub(crate) link: Vec<u8>,
    /// Permissions with the set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Option<Time>,
    /// Apparent size in bytes.
    pub(crate) size: u64,
    /// Pieces of a sparse file: offset and length, in order; `None` for a plain file.
    pub(crate) sparse: Option<Vec<(u64, u64)>>,
    pub(crate) device: (u32, u32),
    /// Extended attributes: name and value.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}
