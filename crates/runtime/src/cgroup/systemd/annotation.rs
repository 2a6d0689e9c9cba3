//! Properties that annotations ask for: `org.systemd.property.NAME` with a value in GVariant's text form, as runc reads
//! them.
//!
//! Only properties that concern the scope itself: whoever writes annotations (in Kubernetes that is who writes the pod)
//! must not act on the host through systemd, nor undo the container's walls (CVE-2024-3154).

use super::wire::{Property, Value};
use crate::{Error, Result};
use alloc::{
    borrow::ToOwned,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

const PREFIX: &str = "org.systemd.property.";

/// Properties by their whole name: how the scope ends, in which order it starts, what it is called.
const NAMES: &[&str] = &[
    "After",
    "Before",
    "BindsTo",
    "CollectMode",
    "DefaultDependencies",
    "Description",
    "Documentation",
    "KillMode",
    "KillSignal",
    "OOMPolicy",
    "PartOf",
    "Requires",
    "RequiresMountsFor",
    "Requisite",
    "RuntimeMaxUSec",
    "RuntimeRandomizedExtraUSec",
    "SendSIGHUP",
    "SendSIGKILL",
    "TimeoutStopUSec",
    "Wants",
];

/// Properties by the beginning of their name: limits and accounting.
const BEGINNINGS: &[&str] = &[
    "Allowed",
    "BlockIO",
    "CPU",
    "DefaultMemory",
    "IO",
    "IPAccounting",
    "IPAddress",
    "ManagedOOM",
    "Memory",
    "Startup",
    "Tasks",
];

/// The properties among the annotations of a container.
pub(super) fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let refuse = |what: &str| Error::invalid(format!("annotation {key}"), what);
        if name.len() < 3 {
            return Err(refuse("name incorrect: too short"));
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(refuse("name incorrect: contains non-alphabetic character"));
        }
        let mut value = parse(text).ok_or_else(|| refuse(&format!("value parse error: {text:?}")))?;
        let mut name = name.to_owned();
        // What systemd's documentation calls `…Sec` has `…USec` on the bus.
        let seconds = |stem: &&str| stem.ends_with(|letter: char| letter.is_ascii_lowercase());
        if let Some(stem) = name.strip_suffix("Sec").filter(seconds) {
            let micros =
                micros(&value).ok_or_else(|| refuse("value parse error: not a number of seconds"))?;
            (name, value) = (stem.to_string() + "USec", Value::U64(micros));
        }
        let allowed =
            NAMES.contains(&name.as_str()) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning));
        if !allowed {
            return Err(refuse("this property would reach beyond the container's scope"));
        }
        properties.push(Property { name: name.into(), value });
    }
    Ok(properties)
}

fn micros(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Byte(value) => u64::from(*value),
        Value::U16(value) => u64::from(*value),
        Value::U32(value) => u64::from(*value),
        Value::U64(value) => *value,
        Value::I16(value) => u64::try_from(*value).ok()?,
        Value::I32(value) => u64::try_from(*value).ok()?,
        Value::I64(value) => u64::try_from(*value).ok()?,
        Value::Double(value) if (0.0..1e12).contains(value) => return Some((value * 1e6) as u64),
        _ => return None,
    };
    seconds.checked_mul(1_000_000)
}

/// One value, whole.
fn parse(text: &str) -> Option<Value> {
    let mut rest = text.trim();
    let value = value(&mut rest)?;
    rest.trim().is_empty().then_some(value)
}

/// A value at the beginning of the text: an array of basic ones, or a basic one.
fn value(rest: &mut &str) -> Option<Value> {
    // `@as []`: the type of an array that does not tell it.
    let kind = rest.strip_prefix("@a").and_then(|after| after.chars().next());
    if kind.is_some() {
        *rest = rest.get(3..)?.trim_start();
    }
    let Some(inner) = rest.strip_prefix('[') else {
        return if kind.is_none() { basic(rest) } else { None };
    };
    *rest = inner.trim_start();
    let mut values: Vec<Value> = Vec::new();
    while !rest.starts_with(']') {
        if !values.is_empty() {
            *rest = rest.strip_prefix(',')?.trim_start();
        }
        values.push(match kind {
            Some(kind) => typed(kind, word(rest)?)?,
            None => basic(rest)?,
        });
        *rest = rest.trim_start();
    }
    *rest = &rest[1..];
    let element = kind.or_else(|| values.first().map(Value::letter))?;
    let known = "ybnqiuxtds".contains(element);
    (known && values.iter().all(|value| value.letter() == element)).then_some(Value::Array(element, values))
}

fn basic(rest: &mut &str) -> Option<Value> {
    if let Some(after) = rest.strip_prefix('@') {
        let kind = after.chars().next()?;
        *rest = after.get(kind.len_utf8()..)?.trim_start();
        return typed(kind, word(rest)?);
    }
    let first = word(rest)?;
    if let Word::Plain(name) = first
        && let Some((_, kind)) = KEYWORDS.iter().find(|(keyword, _)| *keyword == name)
    {
        *rest = rest.trim_start();
        return typed(*kind, word(rest)?);
    }
    match first {
        Word::Quoted(text) => Some(Value::Text(text.into())),
        Word::Plain("true") => Some(Value::Bool(true)),
        Word::Plain("false") => Some(Value::Bool(false)),
        Word::Plain(number) if number.contains('.') => typed('d', Word::Plain(number)),
        number => typed('i', number),
    }
}

const KEYWORDS: [(&str, char); 10] = [
    ("boolean", 'b'),
    ("byte", 'y'),
    ("int16", 'n'),
    ("uint16", 'q'),
    ("int32", 'i'),
    ("uint32", 'u'),
    ("int64", 'x'),
    ("uint64", 't'),
    ("double", 'd'),
    ("string", 's'),
];

#[derive(Debug)]
enum Word<'a> {
    Plain(&'a str),
    Quoted(String),
}

/// A quoted text, or everything up to what separates values.
fn word<'a>(rest: &mut &'a str) -> Option<Word<'a>> {
    let quote = rest.chars().next()?;
    if quote != '\'' && quote != '"' {
        let ends = |letter: char| letter.is_whitespace() || matches!(letter, ',' | ']' | '[');
        let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        *rest = after;
        return (!word.is_empty()).then_some(Word::Plain(word));
    }
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            letter if letter == quote => {
                *rest = &rest[at + 1..];
                return Some(Word::Quoted(text));
            }
            '\\' => text.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            '\0' => return None,
            letter => text.push(letter),
        }
    }
    None
}

fn typed(kind: char, word: Word<'_>) -> Option<Value> {
    let number = match word {
        Word::Quoted(text) => return (kind == 's').then_some(Value::Text(text.into())),
        Word::Plain(word) => word,
    };
    let (negative, digits) = number.strip_prefix('-').map_or((false, number), |digits| (true, digits));
    let whole = || {
        let magnitude = match digits.strip_prefix("0x") {
            Some(digits) => i128::from(u64::from_str_radix(digits, 16).ok()?),
            None => i128::from(digits.parse::<u64>().ok()?),
        };
        Some(if negative { -magnitude } else { magnitude })
    };
    Some(match kind {
        'b' => Value::Bool(match number {
            "true" => true,
            "false" => false,
            _ => return None,
        }),
        'y' => Value::Byte(whole()?.try_into().ok()?),
        'n' => Value::I16(whole()?.try_into().ok()?),
        'q' => Value::U16(whole()?.try_into().ok()?),
        'i' => Value::I32(whole()?.try_into().ok()?),
        'u' => Value::U32(whole()?.try_into().ok()?),
        'x' => Value::I64(whole()?.try_into().ok()?),
        't' => Value::U64(whole()?.try_into().ok()?),
        'd' => Value::Double(decimal(digits).map(|value| if negative { -value } else { value })?),
        _ => return None,
    })
}

/// `1.25`, up to fifteen digits: the core library's reading of floating point is as long as all that is here.
fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().count() > 15 || whole.is_empty() || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = digits().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(number as f64 / fraction.bytes().fold(1.0, |scale, _| scale * 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn of(name: &str, value: &str) -> Result<Vec<Property>> {
        properties(&BTreeMap::from([(String::from(PREFIX) + name, value.to_owned())]))
    }

    #[test]
    fn values() {
        for (text, value) in [
            ("uint64 123456789", Value::U64(123_456_789)),
            ("@t 5", Value::U64(5)),
            ("'inactive-or-failed'", Value::text("inactive-or-failed")),
            ("\"it's\"", Value::text("it's")),
            ("'it\\'s'", Value::text("it's")),
            ("true", Value::Bool(true)),
            ("boolean false", Value::Bool(false)),
            ("-7", Value::I32(-7)),
            ("0x10", Value::I32(16)),
            ("1.5", Value::Double(1.5)),
            ("-0.25", Value::Double(-0.25)),
            ("byte 3", Value::Byte(3)),
            (
                "['a.service', 'b.service']",
                Value::Array('s', vec![Value::text("a.service"), Value::text("b.service")]),
            ),
            ("@as []", Value::Array('s', vec![])),
            ("[byte 1, byte 2]", Value::bytes(&[1, 2])),
            ("@ay [1, 2]", Value::bytes(&[1, 2])),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for bad in [
            "",
            "'open",
            "1 2",
            "word",
            "uint64",
            "uint64 -1",
            "byte 256",
            "[1, 'a']",
            "[1",
            "[]",
            "@",
            "@a",
            "@z 1",
            "{}",
            "<1>",
            "@as 's'",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        assert_eq!(
            of("TimeoutStopSec", "2").unwrap(),
            [Property::new("TimeoutStopUSec", Value::U64(2_000_000))]
        );
        assert_eq!(
            of("RuntimeMaxSec", "1.5").unwrap(),
            [Property::new("RuntimeMaxUSec", Value::U64(1_500_000))]
        );
        assert_eq!(
            of("TimeoutStopUSec", "uint64 7").unwrap(),
            [Property::new("TimeoutStopUSec", Value::U64(7))]
        );
        assert!(of("TimeoutStopSec", "'2'").is_err() && of("TimeoutStopSec", "-2").is_err());
    }

    /// CVE-2024-3154.
    #[test]
    fn what_reaches_the_host_is_refused() {
        for name in [
            "ExecStopPost",
            "FailureAction",
            "SuccessAction",
            "JobTimeoutAction",
            "StartLimitAction",
            "OnFailure",
            "Conflicts",
            "PIDs",
            "Slice",
            "Delegate",
            "DeviceAllow",
            "DevicePolicy",
            "User",
            "BPFProgram",
            "Controller",
        ] {
            let error = of(name, "'x'").unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("beyond the container's scope"), "{error}");
        }
        for (name, word) in [("ab", "too short"), ("A-B", "non-alphabetic"), ("Description", "parse error")] {
            assert!(of(name, "x").unwrap_err().to_string().contains(word));
        }
        assert_eq!(properties(&BTreeMap::from([("other".into(), "x".into())])).unwrap(), []);
    }
}
