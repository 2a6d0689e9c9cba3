//! When a container is started again after its exit, and after how long. Pure.

use crate::{record::Desired, request::RestartPolicy};
use std::time::Duration;

/// First wait before a restart; it doubles each time.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait before a restart.
const LONGEST: Duration = Duration::from_secs(60);
/// A run that lasted so long starts the waits anew.
const LONG_RUN: Duration = Duration::from_secs(10);

/// The waits of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// The wait after a run that lasted so long.
    pub(crate) fn after(&mut self, run: Duration) -> Duration {
        let wait = match self.next {
            Some(wait) if run < LONG_RUN => wait,
            _ => FIRST,
        };
        self.next = Some((wait * 2).min(LONGEST));
        wait
    }
}

/// Whether an exit is followed by a restart.
///
/// `stopped` says that a user asked for the end; `count` is the number of restarts since the user's start.
pub(crate) fn follows_exit(policy: RestartPolicy, code: u32, count: u32, stopped: bool) -> bool {
    match policy {
        _ if stopped => false,
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(bound) => code != 0 && (bound == 0 || count < bound),
    }
}

/// Whether a container that does not run is started when the daemon starts (after a reboot, or after its exit
/// while no daemon ran).
pub(crate) fn follows_boot(policy: RestartPolicy, desired: Desired, code: u32, count: u32) -> bool {
    match policy {
        // Docker starts an `always` container that the user stopped, with the next start of the daemon.
        RestartPolicy::Always => desired != Desired::Created,
        RestartPolicy::UnlessStopped => desired == Desired::Running,
        RestartPolicy::OnFailure(_) => {
            desired == Desired::Running && follows_exit(policy, code, count, false)
        }
        RestartPolicy::No => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u128> = (0..12).map(|_| backoff.after(short).as_millis()).collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[10..], [60_000, 60_000]);
        assert_eq!(backoff.after(LONG_RUN), FIRST);
        assert_eq!(backoff.after(short), FIRST * 2);
    }

    #[test]
    fn policies() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        for (policy, code, count, stopped, want) in [
            (No, 1, 0, false, false),
            (Always, 0, 9, false, true),
            (Always, 0, 0, true, false),
            (UnlessStopped, 0, 0, false, true),
            (UnlessStopped, 0, 0, true, false),
            (OnFailure(0), 1, 1000, false, true),
            (OnFailure(3), 1, 2, false, true),
            (OnFailure(3), 1, 3, false, false),
            (OnFailure(0), 0, 0, false, false),
        ] {
            assert_eq!(
                follows_exit(policy, code, count, stopped),
                want,
                "{policy:?} {code} {count} {stopped}"
            );
        }
        assert!(follows_boot(Always, Desired::Stopped, 0, 0));
        assert!(!follows_boot(Always, Desired::Created, 0, 0));
        assert!(!follows_boot(UnlessStopped, Desired::Stopped, 0, 0));
        assert!(follows_boot(UnlessStopped, Desired::Running, 0, 0));
        assert!(!follows_boot(OnFailure(0), Desired::Running, 0, 0));
    }
}
