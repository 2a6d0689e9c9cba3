//! Sizes, durations and times as docker words them.

use tare_types::Timestamp;

/// Decimal size with four significant digits: `1.234MB`.
pub(crate) fn decimal_size(bytes: f64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 4)
}

/// The same with three digits, as `docker stats` and `docker images` have it.
pub(crate) fn decimal_size_short(bytes: f64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// Binary size with four significant digits: `1.234MiB`.
pub(crate) fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn scaled(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// `%.Ng` of C for values from 0 to below 10^N.
fn significant(value: f64, digits: usize) -> String {
    let mut whole = 1;
    let mut rest = value;
    while rest >= 10.0 {
        rest /= 10.0;
        whole += 1;
    }
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Parses `512m`, `1g`, `64k`, `100b`, `1.5GiB` into bytes; units are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Option<i64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split].trim().parse().ok()?;
    let unit = text[split..].trim().to_ascii_lowercase();
    let factor: f64 = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1024f64.powi(2),
        "g" => 1024f64.powi(3),
        "t" => 1024f64.powi(4),
        "p" => 1024f64.powi(5),
        _ => return None,
    };
    let bytes = number * factor;
    (0.0..9.2e18).contains(&bytes).then_some(bytes as i64)
}

/// "About a minute", "3 hours", "2 weeks".
pub(crate) fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
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
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// "3 hours ago"; "N/A" for a time that was never.
pub(crate) fn ago(then: i64, now: i64) -> String {
    if then <= 0 { "N/A".to_owned() } else { format!("{} ago", duration(now - then)) }
}

/// Seconds since 1970, by the system's clock.
pub(crate) fn now() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs() as i64)
}

/// A flag like `--since`: RFC 3339, seconds since 1970, or a duration before now (`10m`, `1h30m`).
/// The result is what the API takes: seconds with nine digits of fraction.
pub(crate) fn parse_moment(text: &str, now: i64) -> Option<String> {
    if text.bytes().next()?.is_ascii_digit() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Some(text.to_owned());
    }
    if let Ok(time) = Timestamp::parse(text) {
        return Some(format!("{}.{:09}", time.seconds, time.nanos));
    }
    for suffix in ["Z", ":00Z", "T00:00:00Z"] {
        if let Ok(time) = Timestamp::parse(&format!("{text}{suffix}")) {
            return Some(time.seconds.to_string());
        }
    }
    parse_go_duration(text).map(|nanos| {
        let moment = i128::from(now) * 1_000_000_000 - i128::from(nanos);
        format!("{}.{:09}", moment.div_euclid(1_000_000_000), moment.rem_euclid(1_000_000_000))
    })
}

/// Go's `time.ParseDuration`, in nanoseconds: `300ms`, `1h30m`, `1.5s`.
pub(crate) fn parse_go_duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total) = (text, 0f64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..unit_end] {
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
    Some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_go_units() {
        assert_eq!(decimal_size(0.0), "0B");
        assert_eq!(decimal_size(1_234_567.0), "1.235MB");
        assert_eq!(decimal_size_short(4_261_000.0), "4.26MB");
        assert_eq!(decimal_size_short(133_000_000.0), "133MB");
        assert_eq!(binary_size(1_572_864.0), "1.5MiB");
        assert_eq!(parse_size("512m"), Some(512 << 20));
        assert_eq!(parse_size("1.5g"), Some(3 << 29));
        assert_eq!(parse_size("10x"), None);
        assert_eq!(parse_size("64kb"), Some(64 << 10));
    }

    #[test]
    fn durations_follow_go_units() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 20, "2 weeks"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(parse_go_duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_go_duration("1"), None);
        assert_eq!(parse_moment("10s", 100).unwrap(), "90.000000000");
        assert_eq!(parse_moment("1970-01-01T00:00:01Z", 0).unwrap(), "1.000000000");
    }
}
