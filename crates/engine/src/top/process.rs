//! One process as `/proc` shows it.

use std::{fs, io, os::unix::fs::MetadataExt};

/// What the columns are made of. Times are in ticks of a hundredth of a second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: String,
    /// Arguments joined by spaces; the name in brackets for one without.
    pub(super) command: String,
    pub(super) state: char,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    pub(super) terminal: u32,
    pub(super) foreground: i64,
    pub(super) user_time: u64,
    pub(super) kernel_time: u64,
    pub(super) priority: i64,
    pub(super) nice: i64,
    pub(super) threads: u64,
    /// Since the machine's start.
    pub(super) started: u64,
    /// Bytes.
    pub(super) virtual_size: u64,
    /// Pages.
    pub(super) resident: u64,
}

impl Process {
    /// Reads one; `None` when it is gone.
    pub(super) fn read(pid: u32) -> io::Result<Option<Self>> {
        match Self::read_files(pid) {
            Ok(process) => Ok(Some(process)),
            // ESRCH: it ended between open and read.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(3) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read_files(pid: u32) -> io::Result<Self> {
        let owner = fs::metadata(format!("/proc/{pid}"))?;
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline"))?;
        let stat = String::from_utf8_lossy(&stat);
        let mut process = parse(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat")))?;
        (process.uid, process.gid) = (owner.uid(), owner.gid());
        process.command = command(&arguments, &process.name);
        Ok(process)
    }

    pub(super) fn time(&self) -> u64 {
        self.user_time + self.kernel_time
    }
}

/// A container's program chooses its own words: control characters must not reach a person's terminal.
fn command(arguments: &[u8], name: &str) -> String {
    let text: String = String::from_utf8_lossy(arguments)
        .trim_end_matches('\0')
        .chars()
        .map(|c| match c {
            '\0' | '\n' | '\t' => ' ',
            c if c.is_control() => '?',
            c => c,
        })
        .collect();
    if text.is_empty() { format!("[{name}]") } else { text }
}

/// The fields of proc_pid_stat(5). The name may hold spaces and parentheses: the last one ends it.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.trim_end().split(' ').collect();
    // Field 3 of the manual is the first here.
    let field = |number: usize| fields.get(number - 3).copied();
    let unsigned = |number: usize| field(number)?.parse::<u64>().ok();
    let signed = |number: usize| field(number)?.parse::<i64>().ok();
    let small = |number: usize| unsigned(number).and_then(|value| u32::try_from(value).ok());
    Some(Process {
        pid: pid.parse().ok()?,
        name: name.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        state: field(3)?.chars().next()?,
        parent: small(4)?,
        group: small(5)?,
        session: small(6)?,
        terminal: u32::try_from(signed(7)?).unwrap_or(0),
        foreground: signed(8)?,
        user_time: unsigned(14)?,
        kernel_time: unsigned(15)?,
        priority: signed(18)?,
        nice: signed(19)?,
        threads: unsigned(20)?,
        started: unsigned(22)?,
        virtual_size: unsigned(23)?,
        resident: unsigned(24)?,
        ..Process::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_an_odd_name() {
        let line = "42 (a) b (c) S 1 43 44 34816 45 4194560 1 2 3 4 150 50 0 0 20 -5 3 0 12345 4096000 250 18446744073709551615 1\n";
        let process = parse(line).unwrap();
        assert_eq!((process.pid, process.name.as_str(), process.state), (42, "a) b (c", 'S'));
        assert_eq!((process.parent, process.group, process.session, process.terminal), (1, 43, 44, 34816));
        assert_eq!((process.time(), process.nice, process.threads, process.started), (200, -5, 3, 12345));
        assert_eq!((process.virtual_size, process.resident), (4_096_000, 250));
        assert_eq!(parse("42 (a"), None);
    }

    #[test]
    fn commands() {
        assert_eq!(command(b"sh\0-c\0a\x1b[31m b\0", "sh"), "sh -c a?[31m b");
        assert_eq!(command(b"", "kworker"), "[kworker]");
    }

    #[test]
    fn this_process_and_one_that_is_not() {
        let own = Process::read(std::process::id()).unwrap().unwrap();
        assert!(own.virtual_size > 0 && !own.command.is_empty());
        assert_eq!(Process::read(u32::MAX >> 1).unwrap(), None);
    }
}
