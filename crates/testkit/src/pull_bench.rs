//! Pull and unpack, beside Debian's containerd: images, the registry, both pullers, ratios.
//!
//! Every measurement starts with nothing of the image on the puller's side; the two take turns, so that the load of
//! the machine falls on both. What is compared is the wall time of the command; CPU and peak memory of the daemon
//! come with it.

pub mod containerd;
pub mod images;
pub mod tare;

use anyhow::Result;
use std::time::Duration;

/// What one pull took.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// From the command's start to its end.
    pub wall: Duration,
    /// Peak resident memory of the daemon in KiB since it started, 0 when unknown.
    pub peak_kib: u64,
    /// Processor time of the daemon for this pull.
    pub cpu: Duration,
}

/// Something that pulls.
pub trait Puller {
    /// Name in the table.
    fn name(&self) -> &str;
    /// Pulls and unpacks; nothing of it is there before.
    ///
    /// # Errors
    /// When the pull fails.
    fn pull(&mut self, reference: &str) -> Result<Sample>;
}

/// The middle one.
pub fn median(samples: &[Sample], key: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(key).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processor time and peak memory of a process, from /proc.
pub(crate) fn usage_of(pid: u32) -> (Duration, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // utime and stime are fields 14 and 15; the name in field 2 may hold spaces.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    // USER_HZ is 100 on every Linux that Debian runs on.
    (Duration::from_millis(ticks * 10), peak)
}

/// Makes the next reads and writes start from the same place: everything written, nothing cached of the blobs.
pub fn settle() {
    rustix::fs::sync();
}
