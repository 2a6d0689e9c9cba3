//! Signals by name or number, as the command lines of the field write them.

use crate::{Error, Result};
use tare_types::ErrorKind;

/// Names of the signals 1 to 31 on x86-64 and aarch64 (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// SIGHUP.
pub const SIGHUP: i32 = 1;
/// SIGKILL.
pub const SIGKILL: i32 = 9;
/// SIGTERM.
pub const SIGTERM: i32 = 15;

/// The number of a signal given as `9`, `KILL`, `SIGKILL`, `RTMIN+3` or in lower case.
///
/// # Errors
/// `InvalidArgument` for what is none.
pub fn parse(text: &str) -> Result<i32> {
    let invalid =
        || Error::new(ErrorKind::InvalidArgument, "use", "signal", text, format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Ok(index as i32 + 1);
    }
    let offset = |rest: &str, sign: char| -> Option<i32> {
        if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse().ok() }
    };
    let number = match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        // glibc keeps 32 and 33 for itself.
        _ => (name.strip_prefix("RTMIN").and_then(|rest| offset(rest, '+')).map(|n| 34 + n))
            .or_else(|| name.strip_prefix("RTMAX").and_then(|rest| offset(rest, '-')).map(|n| 64 - n)),
    };
    number.filter(|number| (34..=64).contains(number) || matches!(number, 6 | 17 | 29)).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("HUP", 1),
            ("SYS", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("IOT", 6),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "SIG", "FOO", "RTMIN+40", "RTMIN-1", "SIGSIGKILL"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
