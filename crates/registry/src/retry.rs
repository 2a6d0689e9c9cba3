//! When to try again and after which pause.

use crate::options::Retries;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tare_types::Timestamp;

/// Counts the failures of one exchange and says how long to pause.
#[derive(Debug)]
pub(crate) struct Backoff {
    retries: Retries,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(retries: &Retries) -> Self {
        Self { retries: retries.clone(), failures: 0 }
    }

    /// Forgets the failures so far: there was progress.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause before the next attempt; `None` when there is none left.
    pub(crate) fn next_pause(&mut self) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.retries.attempts {
            return None;
        }
        let doubled = self.retries.first_pause.saturating_mul(1 << (self.failures - 1).min(16));
        let full = doubled.min(self.retries.longest_pause);
        // Half fixed, half random: clients that failed together do not come back together.
        let random = RandomState::new().hash_one(self.failures) % 1024;
        Some(full / 2 + (full / 2) * random as u32 / 1024)
    }

    /// The pause that the peer asked for; `Err` with its length when that is longer than we wait.
    pub(crate) fn after_answer(&mut self, headers: &HeaderMap) -> Result<Option<Duration>, Duration> {
        let asked = parse_retry_after(headers, SystemTime::now());
        if let Some(asked) = asked.filter(|asked| *asked > self.retries.longest_retry_after) {
            return Err(asked);
        }
        Ok(self.next_pause().map(|own| asked.map_or(own, |asked| asked.max(own))))
    }
}

/// Whether an answer with this status may be different next time.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// `Retry-After` in its two forms: seconds, or a date of the form `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = parse_http_date(text)?;
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64;
    Some(Duration::from_secs(u64::try_from(until - now).unwrap_or(0)))
}

fn parse_http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let stamp = Timestamp::parse(&format!("{year}-{month:02}-{day:0>2}T{time}Z")).ok()?;
    Some(stamp.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = Backoff::new(&Retries { attempts: 4, ..Retries::default() });
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.next_pause()).collect();
        assert_eq!(pauses.len(), 3);
        for (pause, full) in pauses.iter().zip([300, 600, 1200]) {
            assert!(
                *pause >= Duration::from_millis(full / 2) && *pause <= Duration::from_millis(full),
                "{pause:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next_pause().is_some());
    }

    #[test]
    fn retry_after_forms() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_700);
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            parse_retry_after(&headers, now)
        };
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(77)));
        assert_eq!(parse("Sun, 06 Nov 1990 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn a_long_retry_after_is_not_waited_for() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "3600".parse().unwrap());
        let mut backoff = Backoff::new(&Retries::default());
        assert_eq!(backoff.after_answer(&headers), Err(Duration::from_secs(3600)));
    }
}
