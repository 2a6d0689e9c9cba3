//! The table of some processes in some format.

use super::{ProcessTable, arguments::Format, columns::Host, process::Process};
use std::{collections::BTreeMap, fs, io, time::SystemTime};

/// Reads the processes; those that end meanwhile are left out.
pub(super) fn make(mut pids: Vec<u32>, format: &Format) -> io::Result<ProcessTable> {
    pids.sort_unstable();
    let host = host()?;
    let mut rows = Vec::with_capacity(pids.len());
    for pid in pids {
        if let Some(process) = Process::read(pid)? {
            rows.push(format.iter().map(|(column, _)| column.value(&process, &host)).collect());
        }
    }
    Ok(ProcessTable { titles: format.iter().map(|(_, title)| title.clone()).collect(), rows })
}

/// Names are those of the host, whose ids they are.
fn host() -> io::Result<Host> {
    let stat = fs::read_to_string("/proc/stat")?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok()).unwrap_or(0);
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let memory = kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // A host without the file shows numbers.
    let users = fs::read_to_string("/etc/passwd").map(|text| users(&text)).unwrap_or_default();
    Ok(Host { users, boot, now, memory })
}

fn users(passwd: &str) -> BTreeMap<u32, String> {
    let mut users = BTreeMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_in_a_table() {
        let format = super::super::arguments::parse("-ef").unwrap();
        let own = std::process::id();
        let table = make(vec![u32::MAX >> 1, own], &format).unwrap();
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0][1], own.to_string());
        assert_eq!(table.titles.len(), table.rows[0].len());
    }

    #[test]
    fn the_first_name_of_a_user_counts() {
        let users = users("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad\nweb:x:33:33:::\n");
        assert_eq!(users, BTreeMap::from([(0, "root".to_owned()), (33, "web".to_owned())]));
    }
}
