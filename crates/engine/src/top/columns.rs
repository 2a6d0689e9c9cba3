//! The columns of ps(1) and what they show.

use super::process::Process;
use std::collections::BTreeMap;

/// A column that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Pid,
    ParentPid,
    User,
    Uid,
    Gid,
    Group,
    Session,
    Name,
    Command,
    State,
    Status,
    Terminal,
    Time,
    ShortTime,
    Elapsed,
    Start,
    CpuWhole,
    Cpu,
    MemoryShare,
    VirtualSize,
    Resident,
    Pages,
    Nice,
    Priority,
    Threads,
    Flags,
    Address,
    Channel,
}

/// Names for `-o` and the titles they get.
const NAMES: &[(&str, Column, &str)] = &[
    ("pid", Column::Pid, "PID"),
    ("tgid", Column::Pid, "TGID"),
    ("ppid", Column::ParentPid, "PPID"),
    ("user", Column::User, "USER"),
    ("euser", Column::User, "EUSER"),
    ("uname", Column::User, "USER"),
    ("uid", Column::Uid, "UID"),
    ("euid", Column::Uid, "EUID"),
    ("gid", Column::Gid, "GID"),
    ("egid", Column::Gid, "EGID"),
    ("pgid", Column::Group, "PGID"),
    ("pgrp", Column::Group, "PGRP"),
    ("sid", Column::Session, "SID"),
    ("sess", Column::Session, "SESS"),
    ("comm", Column::Name, "COMMAND"),
    ("ucmd", Column::Name, "CMD"),
    ("ucomm", Column::Name, "COMMAND"),
    ("args", Column::Command, "COMMAND"),
    ("command", Column::Command, "COMMAND"),
    ("cmd", Column::Command, "CMD"),
    ("s", Column::State, "S"),
    ("state", Column::State, "S"),
    ("stat", Column::Status, "STAT"),
    ("tty", Column::Terminal, "TT"),
    ("tt", Column::Terminal, "TT"),
    ("tname", Column::Terminal, "TTY"),
    ("time", Column::Time, "TIME"),
    ("cputime", Column::Time, "TIME"),
    ("bsdtime", Column::ShortTime, "TIME"),
    ("etime", Column::Elapsed, "ELAPSED"),
    ("stime", Column::Start, "STIME"),
    ("start_time", Column::Start, "START"),
    ("bsdstart", Column::Start, "START"),
    ("c", Column::CpuWhole, "C"),
    ("pcpu", Column::Cpu, "%CPU"),
    ("%cpu", Column::Cpu, "%CPU"),
    ("pmem", Column::MemoryShare, "%MEM"),
    ("%mem", Column::MemoryShare, "%MEM"),
    ("vsz", Column::VirtualSize, "VSZ"),
    ("vsize", Column::VirtualSize, "VSZ"),
    ("rss", Column::Resident, "RSS"),
    ("rssize", Column::Resident, "RSS"),
    ("rsz", Column::Resident, "RSZ"),
    ("sz", Column::Pages, "SZ"),
    ("ni", Column::Nice, "NI"),
    ("nice", Column::Nice, "NI"),
    ("pri", Column::Priority, "PRI"),
    ("nlwp", Column::Threads, "NLWP"),
    ("thcount", Column::Threads, "THCNT"),
];

/// Finds a column by its name for `-o`.
pub(super) fn by_name(name: &str) -> Option<(Column, &'static str)> {
    let lower = name.to_ascii_lowercase();
    NAMES.iter().find(|(known, ..)| *known == lower).map(|(_, column, title)| (*column, *title))
}

/// What the values depend on beside the process.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// Names of users by id.
    pub(super) users: BTreeMap<u32, String>,
    /// Seconds since 1970 of the machine's start.
    pub(super) boot: u64,
    /// Seconds since 1970.
    pub(super) now: u64,
    /// Bytes.
    pub(super) memory: u64,
}

const TICKS: u64 = 100;
const PAGE: u64 = 4096;

impl Column {
    pub(super) fn value(self, process: &Process, host: &Host) -> String {
        match self {
            Self::Pid => process.pid.to_string(),
            Self::ParentPid => process.parent.to_string(),
            Self::User => user(process.uid, host),
            Self::Uid => process.uid.to_string(),
            Self::Gid => process.gid.to_string(),
            Self::Group => process.group.to_string(),
            Self::Session => process.session.to_string(),
            Self::Name => process.name.clone(),
            Self::Command => process.command.clone(),
            Self::State => process.state.to_string(),
            Self::Status => status(process),
            Self::Terminal => terminal(process.terminal),
            Self::Time => long_time(process.time() / TICKS),
            Self::ShortTime => {
                let seconds = process.time() / TICKS;
                format!("{}:{:02}", seconds / 60, seconds % 60)
            }
            Self::Elapsed => elapsed(age(process, host)),
            Self::Start => start(host.boot + process.started / TICKS, host.now),
            Self::CpuWhole => (share(process, host) / 10).min(99).to_string(),
            Self::Cpu => tenths(share(process, host)),
            Self::MemoryShare => {
                tenths((process.resident * PAGE * 1000).checked_div(host.memory).unwrap_or(0))
            }
            Self::VirtualSize => (process.virtual_size / 1024).to_string(),
            Self::Resident => (process.resident * PAGE / 1024).to_string(),
            Self::Pages => (process.virtual_size / PAGE).to_string(),
            Self::Nice => process.nice.to_string(),
            // ps counts the other way round than the kernel.
            Self::Priority => (39 - process.priority).to_string(),
            Self::Threads => process.threads.to_string(),
            // Superuser privileges used, and where it sleeps: the kernel tells neither to everybody.
            Self::Flags => "4".to_owned(),
            Self::Address | Self::Channel => "-".to_owned(),
        }
    }
}

/// ps cuts names to eight characters and shows that it did.
fn user(uid: u32, host: &Host) -> String {
    match host.users.get(&uid) {
        Some(name) if name.chars().count() > 8 => name.chars().take(7).chain(['+']).collect(),
        Some(name) => name.clone(),
        None => uid.to_string(),
    }
}

fn age(process: &Process, host: &Host) -> u64 {
    host.now.saturating_sub(host.boot + process.started / TICKS)
}

/// Processor time against age, in tenths of a percent.
fn share(process: &Process, host: &Host) -> u64 {
    (process.time() * 1000 / TICKS).checked_div(age(process, host)).unwrap_or(0)
}

fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

fn status(process: &Process) -> String {
    let mut text = process.state.to_string();
    text.push_str(match process.nice {
        1.. => "N",
        ..0 => "<",
        0 => "",
    });
    if process.session == process.pid {
        text.push('s');
    }
    if process.threads > 1 {
        text.push('l');
    }
    if process.foreground == i64::from(process.group) {
        text.push('+');
    }
    text
}

/// `pts/3`, `tty1` or `?`; the number holds the minor in two parts.
fn terminal(device: u32) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        _ => "?".to_owned(),
    }
}

/// `[days-]hours:minutes:seconds`.
fn long_time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days > 0 { format!("{days}-{clock}") } else { clock }
}

/// `[[days-]hours:]minutes:seconds`.
fn elapsed(seconds: u64) -> String {
    if seconds >= 3600 {
        return long_time(seconds);
    }
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// The time of day for today, the day for this year, else the year; UTC.
fn start(at: u64, now: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = date(at / 86_400);
    if at / 86_400 == now / 86_400 {
        return format!("{:02}:{:02}", at / 3600 % 24, at / 60 % 60);
    }
    if date(now / 86_400).0 == year {
        format!("{}{day:02}", MONTHS[month as usize - 1])
    } else {
        year.to_string()
    }
}

/// Year, month and day of a day since 1970 (Gregorian, by eras of 400 years that begin in March).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * index + 2) / 5 + 1;
    let month = if index < 10 { index + 3 } else { index - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(long_time(59), "00:00:59");
        assert_eq!(long_time(90_061), "1-01:01:01");
        assert_eq!((elapsed(61).as_str(), elapsed(3661).as_str()), ("01:01", "01:01:01"));
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(20_778), (2026, 11, 21));
        let now = 20_778 * 86_400 + 40_000;
        assert_eq!(start(now - 100, now), "11:05");
        assert_eq!(start(now - 86_400, now), "Nov20");
        assert_eq!(start(now - 400 * 86_400, now), "2025");
    }

    #[test]
    fn terminals_and_states() {
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(34_816 + 3), "pts/3");
        assert_eq!(terminal(1025), "tty1");
        let process = Process {
            pid: 5,
            session: 5,
            group: 5,
            foreground: 5,
            state: 'S',
            nice: -1,
            threads: 2,
            ..Process::default()
        };
        assert_eq!(status(&process), "S<sl+");
    }

    #[test]
    fn shares_and_users() {
        let host = Host {
            users: BTreeMap::from([(1, "longer-than-8".to_owned())]),
            boot: 1000,
            now: 1100,
            memory: 4096 * 1000,
        };
        let process = Process { user_time: 2550, resident: 15, uid: 1, ..Process::default() };
        assert_eq!(Column::Cpu.value(&process, &host), "25.5");
        assert_eq!(Column::CpuWhole.value(&process, &host), "25");
        assert_eq!(Column::MemoryShare.value(&process, &host), "1.5");
        assert_eq!(Column::User.value(&process, &host), "longer-+");
        assert_eq!(Column::User.value(&Process::default(), &host), "0");
    }
}
