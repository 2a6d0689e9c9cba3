//! Texts that people read: durations, and times in Go's formats.

use tare_types::Timestamp;

/// A duration as `docker ps` shows it: `Less than a second`, `About a minute`, `3 hours`. Seconds in.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Go rounds hours half up and counts the rest from them.
    let hours = (seconds as f64 / 3600.0).round() as i64;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// A time before each log line: always nine digits of a second.
pub(crate) fn fixed_nanos(time: Timestamp) -> String {
    let whole = Timestamp::new(time.seconds, 0).to_string();
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), time.nanos)
}

/// `since` and `until`: seconds since 1970 with an optional fraction. `None` for an empty text.
pub(crate) fn parse_unix(text: &str) -> Result<Option<Timestamp>, crate::error::ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let invalid = |part: &str| {
        let part = crate::query::quote(part);
        crate::error::ApiError::bad_parameter(format!("strconv.ParseInt: parsing {part}: invalid syntax"))
    };
    let seconds: i64 = whole.parse().map_err(|_| invalid(whole))?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(fraction));
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos = digits.parse().expect("invariant: nine decimal digits");
    Ok(Some(Timestamp::new(seconds, nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_docker() {
        let table = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ];
        for (seconds, text) in table {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn log_times_have_nine_digits() {
        assert_eq!(fixed_nanos(Timestamp::new(0, 5_000_000)), "1970-01-01T00:00:00.005000000Z");
        assert_eq!(fixed_nanos(Timestamp::new(0, 0)), "1970-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn unix_times_are_read() {
        assert_eq!(parse_unix("").unwrap(), None);
        assert_eq!(parse_unix("12").unwrap(), Some(Timestamp::new(12, 0)));
        assert_eq!(parse_unix("12.5").unwrap(), Some(Timestamp::new(12, 500_000_000)));
        assert_eq!(parse_unix("12.000000001").unwrap(), Some(Timestamp::new(12, 1)));
        assert!(parse_unix("soon").is_err() && parse_unix("1.x").is_err());
    }
}
