//! Health checks: a program run in a container every so often, and what its exits mean. Pure but for the words.
//!
//! The rules are Docker's (`docs.docker.com/reference/dockerfile/#healthcheck`): zero means healthy; a number of
//! failures in a row means unhealthy; failures within the start period do not count until the first success.
//! `lifecycle::health` runs the programs.

use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};
use tare_types::Timestamp;

/// Results that are kept.
const KEPT: usize = 5;
/// Bytes of output that are kept of one result.
pub(crate) const MAX_OUTPUT: usize = 4096;
/// Time between two probes, and for one, unless the check says otherwise.
const THIRTY_SECONDS: u64 = 30_000_000_000;
/// Time between two probes while a container starts, unless the check says otherwise.
const FIVE_SECONDS: u64 = 5_000_000_000;
/// Failures in a row that mean unhealthy, unless the check says otherwise.
const RETRIES: u32 = 3;

/// A check. Times are nanoseconds; zero is the default of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Between two probes; 30 s.
    pub interval: u64,
    /// For one probe; 30 s.
    pub timeout: u64,
    /// After the start, in which failures do not count; none.
    pub start_period: u64,
    /// Between two probes within the start period; 5 s.
    pub start_interval: u64,
    /// Failures in a row that mean unhealthy; 3.
    pub retries: u32,
}

/// What the probes said so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// In one word.
    pub status: HealthStatus,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last probes, oldest first.
    pub log: VecDeque<Probe>,
}

/// Health in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HealthStatus {
    /// No probe has succeeded yet, and not enough have failed.
    #[default]
    Starting,
    /// The last probes succeeded.
    Healthy,
    /// Too many failed in a row, or nobody probes any more.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One run of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Begin.
    pub start: Timestamp,
    /// End.
    pub end: Timestamp,
    /// Exit status; -1 for a program that could not run or took too long.
    pub exit_code: i64,
    /// What it printed, or why it could not run; at most 4 KiB.
    pub output: String,
}

impl HealthCheck {
    fn or(value: u64, default: u64) -> Duration {
        Duration::from_nanos(if value == 0 { default } else { value })
    }

    /// How long one probe may take.
    pub(crate) fn timeout(&self) -> Duration {
        Self::or(self.timeout, THIRTY_SECONDS)
    }

    /// How long to wait before the next probe of a container that runs for so long.
    pub(crate) fn wait(&self, status: HealthStatus, running: Duration) -> Duration {
        let starting = status == HealthStatus::Starting && running < Duration::from_nanos(self.start_period);
        if starting {
            Self::or(self.start_interval, FIVE_SECONDS)
        } else {
            Self::or(self.interval, THIRTY_SECONDS)
        }
    }

    fn retries(&self) -> u32 {
        if self.retries == 0 { RETRIES } else { self.retries }
    }
}

impl Health {
    /// A new run begins; the log of the last one stays.
    pub(crate) fn begin(&mut self) {
        self.status = HealthStatus::Starting;
        self.failing_streak = 0;
    }

    /// Takes a result. `running` is how long the container ran when the probe began. Whether the status changed.
    pub(crate) fn take(&mut self, probe: Probe, check: &HealthCheck, running: Duration) -> bool {
        let before = self.status;
        if probe.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || running >= Duration::from_nanos(check.start_period) {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries() {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.log.len() >= KEPT {
            self.log.pop_front();
        }
        self.log.push_back(probe);
        before != self.status
    }
}

/// A duration as Go prints it: `1s`, `1m30s`, `500ms`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    let fraction = fraction.trim_end_matches('0');
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}{fraction}s"),
        60..3600 => format!("{minutes}m{}{fraction}s", seconds % 60),
        _ => format!("{hours}h{minutes}m{}{fraction}s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn probe(exit_code: i64) -> Probe {
        Probe { start: Timestamp::ZERO, end: Timestamp::ZERO, exit_code, output: String::new() }
    }

    #[test]
    fn failures_in_a_row_make_unhealthy_and_one_success_healthy() {
        let check = HealthCheck { retries: 2, ..HealthCheck::default() };
        let mut health = Health::default();
        let late = Duration::from_secs(100);
        assert!(!health.take(probe(1), &check, late));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 1));
        assert!(health.take(probe(1), &check, late));
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert!(health.take(probe(0), &check, late));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        assert!(!health.take(probe(-1), &check, late));
        assert_eq!(health.status, HealthStatus::Healthy);
    }

    #[test]
    fn failures_of_the_start_period_do_not_count() {
        let check = HealthCheck { retries: 1, start_period: 10 * SECOND, ..HealthCheck::default() };
        let mut health = Health::default();
        assert!(!health.take(probe(1), &check, Duration::from_secs(1)));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        assert!(health.take(probe(1), &check, Duration::from_secs(10)));
        assert_eq!(health.status, HealthStatus::Unhealthy);
        health.begin();
        health.take(probe(0), &check, Duration::from_secs(1));
        // A first success ends the mercy.
        assert!(health.take(probe(1), &check, Duration::from_secs(2)));
    }

    #[test]
    fn five_results_are_kept() {
        let mut health = Health::default();
        for code in 0..9 {
            health.take(probe(code), &HealthCheck::default(), Duration::ZERO);
        }
        assert_eq!(health.log.iter().map(|probe| probe.exit_code).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
    }

    #[test]
    fn waits_follow_the_check() {
        let check = HealthCheck { interval: SECOND, start_period: 5 * SECOND, ..HealthCheck::default() };
        let early = Duration::from_secs(1);
        assert_eq!(check.wait(HealthStatus::Starting, early), Duration::from_secs(5));
        assert_eq!(check.wait(HealthStatus::Healthy, early), Duration::from_secs(1));
        assert_eq!(HealthCheck::default().timeout(), Duration::from_secs(30));
    }

    #[test]
    fn durations_are_gos() {
        for (millis, text) in
            [(500, "500ms"), (1000, "1s"), (1500, "1.5s"), (90_000, "1m30s"), (3_600_000, "1h0m0s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
