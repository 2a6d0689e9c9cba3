//! The query of a request: Go's `url.Values` with the readings that dockerd uses.

use crate::error::ApiError;

/// Names and values in the order they came; a name may occur more than once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `a=b&c=d` with `%xx` and `+`.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name, true)?, decode(value, true)?));
        }
        Ok(Self(pairs))
    }

    /// The first value of a name, `None` when it is absent.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a name, empty when it is absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The first value of a name unless it is absent or empty.
    pub(crate) fn non_empty(&self, name: &str) -> Option<&str> {
        self.find(name).filter(|value| !value.is_empty())
    }

    /// All values of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Everything is true but absence, the empty text, `0`, `no`, `false` and `none`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    /// The same with a default for absence.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        self.find(name).map_or(default, |value| {
            !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
        })
    }

    /// A whole number, `None` when it is absent or empty. Go's error text names its parser.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.non_empty(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            ApiError::bad_parameter(format!("strconv.Atoi: parsing {}: invalid syntax", quote(text)))
        })
    }

    /// A height or a width of a terminal.
    pub(crate) fn dimension(&self, name: &str, what: &str) -> Result<u16, ApiError> {
        let text = self.get(name);
        let reason = match text.strip_prefix('-').unwrap_or(text) {
            digits if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) => "invalid syntax",
            digits => match digits.parse::<u32>() {
                // The kernel keeps 16 bits; a larger terminal does not exist.
                Ok(number) if !text.starts_with('-') => {
                    return Ok(u16::try_from(number).unwrap_or(u16::MAX));
                }
                _ => "value out of range",
            },
        };
        Err(ApiError::bad_parameter(format!("invalid resize {what} {}: {reason}", quote(text))))
    }
}

/// Go's `%q` for the texts that occur in requests.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Decodes `%xx`; in a query `+` is a space.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Result<String, ApiError> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3);
                let value = digits.and_then(|d| Some(hex(d[0])? << 4 | hex(d[1])?));
                let Some(value) = value else {
                    let escape: String = text.get(at..).unwrap_or("%").chars().take(3).collect();
                    return Err(ApiError::bad_parameter(format!("invalid URL escape {}", quote(&escape))));
                };
                decoded.push(value);
                at += 3;
                continue;
            }
            b'+' if plus_is_space => decoded.push(b' '),
            byte => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8(decoded)
        .map_err(|_| ApiError::bad_parameter("the request holds text that is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let query = Query::parse("name=a%2Fb&x=1+2&x=3&flag&empty=").unwrap();
        assert_eq!(query.get("name"), "a/b");
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["1 2", "3"]);
        assert_eq!(query.find("flag"), Some(""));
        assert_eq!(query.non_empty("empty"), None);
        assert_eq!(query.find("missing"), None);
        assert_eq!(Query::parse("a=%zz").unwrap_err().message(), "invalid URL escape \"%zz\"");
        assert!(Query::parse("a=%ff").is_err());
    }

    #[test]
    fn flags_read_as_in_dockerd() {
        let query = Query::parse("a=1&b=0&c=False&d=&e=anything&f=none").unwrap();
        let read: Vec<bool> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| query.flag(name)).into();
        assert_eq!(read, [true, false, false, false, true, false, false]);
        assert!(query.flag_or("g", true));
    }

    #[test]
    fn dimensions_say_what_is_wrong() {
        let query = Query::parse("h=24&w=-1&x=abc&big=99999999999").unwrap();
        assert_eq!(query.dimension("h", "height").unwrap(), 24);
        let message = |name| query.dimension(name, "width").unwrap_err().message().to_string();
        assert_eq!(message("w"), "invalid resize width \"-1\": value out of range");
        assert_eq!(message("x"), "invalid resize width \"abc\": invalid syntax");
        assert_eq!(message("missing"), "invalid resize width \"\": invalid syntax");
        assert_eq!(message("big"), "invalid resize width \"99999999999\": value out of range");
    }
}
