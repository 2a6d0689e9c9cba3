//! The one place where this crate reads the time of day.

use std::time::{SystemTime, UNIX_EPOCH};
use tare_types::Timestamp;

/// Now, UTC.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}
