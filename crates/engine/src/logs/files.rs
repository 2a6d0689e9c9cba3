//! The files of one log: `path` is written, `path.1` was before it, `path.2` before that. Where to begin for the last
//! lines, and reading on across a rotation. Synchronous reads of files that are in the page cache mostly.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Bytes read at once.
const BLOCK: usize = 64 << 10;
/// Rotated files that are looked for.
const MAX_FILES: usize = 1000;

/// An open file of a log and how far it was read.
#[derive(Debug)]
pub(super) struct Position {
    file: File,
    offset: u64,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

/// The files of a log that exist, oldest first.
pub(super) fn open_all(path: &Path) -> Vec<File> {
    let mut files: Vec<File> = (1..MAX_FILES).map_while(|n| File::open(rotated(path, n)).ok()).collect();
    files.reverse();
    files.extend(File::open(path).ok());
    files
}

fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Positions from which everything, or the last `tail` lines, are read, in order.
pub(super) fn begin(path: &Path, tail: Option<usize>) -> io::Result<Vec<Position>> {
    let files = open_all(path);
    let Some(mut wanted) = tail else {
        return Ok(files.into_iter().map(|file| Position::new(file, 0)).collect());
    };
    let mut positions = Vec::new();
    for file in files.into_iter().rev() {
        let (offset, found) =
            if wanted == 0 { (file.metadata()?.len(), 0) } else { last_lines(&file, wanted)? };
        wanted -= found;
        positions.push(Position::new(file, offset));
        if wanted == 0 {
            break;
        }
    }
    positions.reverse();
    Ok(positions)
}

/// Where the last `wanted` whole lines of a file begin, and how many there are.
fn last_lines(file: &File, wanted: usize) -> io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    // The line feed at the end of the last line ends that line; so one more is looked for.
    let mut feeds = 0;
    while end > 0 {
        let size = usize::try_from(end).unwrap_or(BLOCK).min(BLOCK);
        let start = end - size as u64;
        file.read_exact_at(&mut block[..size], start)?;
        for at in (0..size).rev().filter(|at| block[*at] == b'\n') {
            if feeds == wanted {
                return Ok((start + at as u64 + 1, wanted));
            }
            feeds += 1;
        }
        end = start;
    }
    Ok((0, feeds))
}

impl Position {
    fn new(file: File, offset: u64) -> Self {
        Self { file, offset, rest: Vec::new() }
    }

    /// A file from its beginning.
    pub(super) fn open(path: &Path) -> Option<Self> {
        File::open(path).ok().map(|file| Self::new(file, 0))
    }

    /// Reads on: whole lines, at most a block's worth. `None` at the present end.
    pub(super) fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if self.file.metadata()?.len() < self.offset {
                // Cut off by its writer (one file only): it begins anew.
                self.offset = 0;
                self.rest.clear();
            }
            let held = self.rest.len();
            self.rest.resize(held + BLOCK, 0);
            let read = self.file.read_at(&mut self.rest[held..], self.offset);
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    self.rest.truncate(held);
                    return Err(error);
                }
            };
            self.rest.truncate(held + read);
            self.offset += read as u64;
            if read == 0 {
                return Ok(None);
            }
            if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
        }
    }

    /// The files that came after this one, oldest first; empty while it is still the written one.
    pub(super) fn successors(&self, path: &Path) -> Vec<Position> {
        let Ok(own) = self.file.metadata() else { return Vec::new() };
        let files = open_all(path);
        let same = |file: &File| {
            file.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()))
        };
        match files.iter().position(same) {
            Some(at) => files.into_iter().skip(at + 1).map(|file| Self::new(file, 0)).collect(),
            // It was removed already: all there are came after it.
            None => files.into_iter().map(|file| Self::new(file, 0)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text(positions: Vec<Position>) -> String {
        let mut all = Vec::new();
        for mut position in positions {
            while let Some(lines) = position.read().unwrap() {
                all.extend(lines);
            }
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn the_last_lines_reach_into_rotated_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(rotated(&path, 2), "a\nb\n").unwrap();
        std::fs::write(rotated(&path, 1), "c\nd\n").unwrap();
        std::fs::write(&path, "e\nhalf").unwrap();
        for (tail, want) in [
            (None, "a\nb\nc\nd\ne\n"),
            (Some(0), ""),
            (Some(1), "e\n"),
            (Some(3), "c\nd\ne\n"),
            (Some(9), "a\nb\nc\nd\ne\n"),
        ] {
            assert_eq!(text(begin(&path, tail).unwrap()), want, "{tail:?}");
        }
    }

    #[test]
    fn long_lines_and_growth_are_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let long = "x".repeat(BLOCK * 2 + 5);
        std::fs::write(&path, format!("{long}\nshort")).unwrap();
        let mut position = Position::open(&path).unwrap();
        assert_eq!(position.read().unwrap().unwrap().len(), long.len() + 1);
        assert!(position.read().unwrap().is_none());
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b" end\n").unwrap();
        assert_eq!(position.read().unwrap().unwrap(), b"short end\n");
        // Rotation: the successor is found.
        std::fs::rename(&path, rotated(&path, 1)).unwrap();
        std::fs::write(&path, "next\n").unwrap();
        assert_eq!(text(position.successors(&path)), "next\n");
        let tail = begin(&path, Some(1)).unwrap();
        assert_eq!(text(tail), "next\n");
    }
}
