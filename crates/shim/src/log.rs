//! The log file of a container: json-file with rotation, or CRI. Written by the shim, so a daemon that is away
//! loses nothing. The format is `tare_types::logline`'s.
//!
//! Rotation is Docker's: when a write would go beyond max-size, `path` becomes `path.1` and so on, max-file files in
//! all. The kubelet rotates CRI logs itself and asks for the file to be opened anew.
//!
//! A line that cannot be written (full disk) is lost and counted; the container goes on. The daemon is told when that
//! begins and when it is over. A torn line is cut off
//! again, so the file holds whole lines whenever a write has returned.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tare_api::status::Status;
use tare_api::tare::shim::v1::{JsonFileLog, LogConfig, log_config::Driver};
use tare_types::logline::{LineCutter, Stream, encode_attrs, push_cri_line, push_json_line};
use tare_types::{ErrorKind, Timestamp};

/// A log file that is open.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    size: u64,
    format: Format,
    max_size: u64,
    max_files: u32,
    cutters: [LineCutter; 2],
    /// Writes that failed since the last good one.
    lost: u64,
    told: Option<Told>,
    /// Nothing is said before this: a disk on the edge is full and not full many times a second.
    quiet_until: Option<Instant>,
}

/// The least time between two sentences about writes that begin to fail.
const QUIET: Duration = Duration::from_secs(10);

/// Who hears of a log that cannot be written.
struct Told(Box<dyn Fn(String) + Send>);

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

#[derive(Debug)]
enum Format {
    JsonFile { attrs: Vec<u8> },
    Cri,
}

impl Log {
    /// Opens the file a configuration names; `None` without a driver.
    ///
    /// # Errors
    /// `InvalidArgument` for a path that is not absolute, else the failing step.
    pub(crate) fn open(config: &LogConfig) -> Result<Option<Self>, Status> {
        let (path, format, limits, max_line) = match &config.driver {
            None => return Ok(None),
            Some(Driver::JsonFile(json)) => {
                (&json.path, json_format(json), (json.max_size, json.max_files), 0)
            }
            Some(Driver::Cri(cri)) => (&cri.path, Format::Cri, (0, 0), cri.max_line as usize),
        };
        if !path.starts_with('/') {
            let message = format!("log file {path:?}: the path must be absolute");
            return Err(Status::new(ErrorKind::InvalidArgument, message));
        }
        let path = PathBuf::from(path);
        let failed = |error: &dyn std::fmt::Display| {
            Status::new(ErrorKind::Internal, format!("open log file {}: {error}", path.display()))
        };
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o710).create(dir).map_err(|error| failed(&error))?;
        }
        let file = open_append(&path).map_err(|error| failed(&error))?;
        let size = file.metadata().map_err(|error| failed(&error))?.len();
        Ok(Some(Self {
            file,
            size,
            format,
            max_size: limits.0,
            max_files: limits.1,
            cutters: [LineCutter::new(max_line), LineCutter::new(max_line)],
            lost: 0,
            told: None,
            quiet_until: None,
            path,
        }))
    }

    /// `told` gets a sentence when the log cannot be written any more, and when it can be again.
    pub(crate) fn tell(&mut self, told: impl Fn(String) + Send + 'static) {
        self.told = Some(Told(Box::new(told)));
    }

    fn speaks(&self) -> bool {
        self.quiet_until.is_none_or(|until| Instant::now() >= until)
    }

    fn say(&self, message: String) {
        if let Some(Told(told)) = &self.told {
            told(message);
        }
    }

    /// Bytes the process wrote.
    pub(crate) fn write(&mut self, time: Timestamp, stream: Stream, bytes: &[u8]) {
        let mut out = Vec::with_capacity(bytes.len() + 128);
        let format = &self.format;
        let cutter = &mut self.cutters[usize::from(stream == Stream::Stderr)];
        cutter.push(bytes, |text, partial| format.push(&mut out, time, stream, text, partial));
        self.append(&out);
    }

    /// A stream of the process is at its end.
    pub(crate) fn finish(&mut self, time: Timestamp, stream: Stream) {
        let mut out = Vec::new();
        let format = &self.format;
        let cutter = &mut self.cutters[usize::from(stream == Stream::Stderr)];
        // CRI has no line without an end: the last part is a full line.
        let cri = matches!(format, Format::Cri);
        cutter.finish(|text, partial| format.push(&mut out, time, stream, text, partial && !cri));
        self.append(&out);
    }

    /// Opens the path anew: somebody renamed the file.
    ///
    /// # Errors
    /// A sentence with the path; the old file is written on then.
    pub(crate) fn reopen(&mut self) -> Result<(), String> {
        let file = open_append(&self.path)
            .map_err(|error| format!("open log file {}: {error}", self.path.display()))?;
        self.size = file.metadata().map_or(0, |meta| meta.len());
        self.file = file;
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if self.max_size > 0 && self.size > 0 && self.size + lines.len() as u64 > self.max_size {
            self.rotate();
        }
        match self.file.write_all(lines) {
            Ok(()) => {
                self.size += lines.len() as u64;
                if self.lost > 0 && self.speaks() {
                    let lost = std::mem::take(&mut self.lost);
                    self.quiet_until = Instant::now().checked_add(QUIET);
                    let path = self.path.display();
                    self.say(format!("log file {path} is written again; {lost} writes of output were lost"));
                }
            }
            Err(error) => {
                if self.lost == 0 && self.speaks() {
                    let path = self.path.display();
                    self.say(format!(
                        "write log file {path}: {error}; output is lost and the container goes on"
                    ));
                }
                self.lost += 1;
                // Cut a torn line off; if that fails too the next line starts in the middle of one.
                self.file.set_len(self.size).unwrap_or_default();
            }
        }
    }

    fn rotate(&mut self) {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.max_files <= 1 {
            if self.file.set_len(0).is_ok() {
                self.size = 0;
            }
            return;
        }
        // A file of the row that is missing is no error: the row is shorter then.
        for number in (1..self.max_files - 1).rev() {
            fs::rename(numbered(number), numbered(number + 1)).unwrap_or_default();
        }
        if fs::rename(&self.path, numbered(1)).is_ok() {
            // When the new file cannot be made the old one, under its new name, is written on.
            self.reopen().unwrap_or_default();
        }
    }
}

impl Format {
    fn push(&self, out: &mut Vec<u8>, time: Timestamp, stream: Stream, text: &[u8], partial: bool) {
        match self {
            Self::JsonFile { attrs } => push_json_line(out, time, stream, text, partial, attrs),
            Self::Cri => push_cri_line(out, time, stream, text, partial),
        }
    }
}

fn json_format(json: &JsonFileLog) -> Format {
    let mut attrs: Vec<_> = json.attrs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    attrs.sort_unstable();
    Format::JsonFile { attrs: encode_attrs(attrs) }
}

fn open_append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tare_api::tare::shim::v1::CriLog;

    fn json(path: &Path, max_size: u64, max_files: u32) -> Log {
        let path = path.to_string_lossy().into_owned();
        let json = JsonFileLog { path, max_size, max_files, ..Default::default() };
        Log::open(&LogConfig { driver: Some(Driver::JsonFile(json)) }).unwrap().unwrap()
    }

    #[test]
    fn files_are_rotated_and_lines_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/log.json");
        let mut log = json(&path, 300, 3);
        for n in 0..20 {
            log.write(Timestamp::new(n, 0), Stream::Stdout, format!("line {n}\n").as_bytes());
        }
        let mut names: Vec<_> = fs::read_dir(dir.path().join("a"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log.json", "log.json.1", "log.json.2"]);
        let mut lines = Vec::new();
        for name in names.iter().rev() {
            let text = fs::read(dir.path().join("a").join(name)).unwrap();
            assert!(text.len() <= 300);
            for line in text.split_inclusive(|b| *b == b'\n') {
                lines.push(tare_types::logline::parse_json_line(line).unwrap().time.seconds);
            }
        }
        let first = lines[0];
        assert_eq!(lines, (first..20).collect::<Vec<_>>(), "the newest lines, without a gap");
    }

    #[test]
    fn one_file_is_truncated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = json(&path, 200, 1);
        for n in 0..20 {
            log.write(Timestamp::new(n, 0), Stream::Stderr, b"some text\n");
        }
        assert!(fs::metadata(&path).unwrap().len() <= 200);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_cri_log_is_reopened_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let cri = CriLog { path: path.to_string_lossy().into_owned(), max_line: 4 };
        let mut log = Log::open(&LogConfig { driver: Some(Driver::Cri(cri)) }).unwrap().unwrap();
        log.write(Timestamp::new(0, 0), Stream::Stdout, b"abcdef\n");
        fs::rename(&path, dir.path().join("old")).unwrap();
        log.reopen().unwrap();
        log.write(Timestamp::new(0, 0), Stream::Stdout, b"end");
        log.finish(Timestamp::new(0, 0), Stream::Stdout);
        let old = fs::read_to_string(dir.path().join("old")).unwrap();
        let time = "1970-01-01T00:00:00.000000000Z";
        assert_eq!(old, format!("{time} stdout P abcd\n{time} stdout F ef\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{time} stdout F end\n"));
    }

    #[test]
    fn a_full_disk_loses_lines_and_leaves_no_torn_one() {
        // /dev/full refuses every write; set_len on it fails too, which must not panic.
        let mut log = Log {
            path: PathBuf::from("/dev/full"),
            file: OpenOptions::new().write(true).open("/dev/full").unwrap(),
            size: 0,
            format: Format::Cri,
            max_size: 0,
            max_files: 0,
            cutters: [LineCutter::new(0), LineCutter::new(0)],
            lost: 0,
            told: None,
            quiet_until: None,
        };
        let told = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&told);
        log.tell(move |message| said.lock().unwrap().push(message));
        log.write(Timestamp::new(0, 0), Stream::Stdout, b"a\n");
        log.write(Timestamp::new(0, 0), Stream::Stdout, b"b\n");
        assert_eq!((log.lost, log.size), (2, 0));
        log.file = OpenOptions::new().write(true).open("/dev/null").unwrap();
        log.write(Timestamp::new(0, 0), Stream::Stdout, b"c\n");
        let told = told.lock().unwrap().clone();
        assert!(told[0].starts_with("write log file /dev/full: No space left on device"), "{told:?}");
        assert_eq!(told[1..], ["log file /dev/full is written again; 2 writes of output were lost"]);
    }

    #[test]
    fn a_relative_path_is_refused() {
        let cri = CriLog { path: "0.log".into(), max_line: 0 };
        assert!(Log::open(&LogConfig { driver: Some(Driver::Cri(cri)) }).is_err());
    }
}
