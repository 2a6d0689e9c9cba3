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

/// Go's durations: `1h30m`, `10s`, `1.5h`, `300ms`. Nanoseconds out; `None` for anything else.
pub(crate) fn parse_go_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        nanos += number
            * match &rest[end..unit_end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Some((sign * nanos) as i64)
}

/// The `until` filter of a prune: one time, as seconds since 1970, RFC 3339, a date, or a duration before now.
pub(crate) fn parse_until(
    filters: &crate::filters::Filters,
    now: Timestamp,
) -> Result<Option<Timestamp>, crate::error::ApiError> {
    let mut values = filters.values("until");
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(crate::error::ApiError::bad_parameter("more than one until filter specified"));
    }
    if let Some(nanos) = parse_go_duration(text) {
        let then = now.unix_nanos().saturating_sub(nanos);
        let nanos = then.rem_euclid(1_000_000_000) as u32;
        return Ok(Some(Timestamp::new(then.div_euclid(1_000_000_000), nanos)));
    }
    let zoned = [text.to_owned(), format!("{text}Z"), format!("{text}:00Z"), format!("{text}T00:00:00Z")];
    if let Some(time) = zoned.iter().find_map(|text| Timestamp::parse(text).ok()) {
        return Ok(Some(time));
    }
    let quoted = crate::query::quote(text);
    parse_unix(text).map_err(|_| {
        crate::error::ApiError::bad_parameter(format!("failed to parse value as time or duration: {quoted}"))
    })
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
    fn until_takes_times_and_durations() {
        let until = |text: &str| {
            let mut filters = crate::filters::Filters::default();
            filters.add("until", text);
            parse_until(&filters, Timestamp::new(10_000, 0)).ok().flatten().map(|time| time.seconds)
        };
        assert_eq!(until("1h"), Some(6400));
        assert_eq!(until("1m30s"), Some(9910));
        assert_eq!(until("1970-01-01T00:00:05Z"), Some(5));
        assert_eq!(until("1970-01-02"), Some(86_400));
        assert_eq!(until("77"), Some(77));
        assert_eq!(until("soon"), None);
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
