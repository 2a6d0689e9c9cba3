//! The parser of one filter.

use super::{Selector, Test, pattern::Pattern};
use crate::{Error, Result};

/// Longest filter, in bytes.
const MAX_LENGTH: usize = 64 << 10;

/// Parses `selector (',' selector)*`; an empty text has no selector and matches everything.
pub(super) fn filter(text: &str) -> Result<Vec<Selector>> {
    let mut parser = Parser { text, at: 0 };
    if text.len() > MAX_LENGTH {
        return Err(parser.fault("it is longer than 64 KiB"));
    }
    let mut selectors = Vec::new();
    if text.is_empty() {
        return Ok(selectors);
    }
    loop {
        selectors.push(parser.selector()?);
        if parser.rest().is_empty() {
            return Ok(selectors);
        }
        if !parser.take(",") {
            return Err(parser.fault("expected a comma or the end"));
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn fault(&self, what: &str) -> Error {
        let shown: String = self.text.chars().take(128).collect();
        Error::invalid("parse filter", format_args!("{shown:?}"), format!("{what}, at byte {}", self.at))
    }

    fn selector(&mut self) -> Result<Selector> {
        let mut path = vec![self.path_part()?];
        while self.take(".") {
            path.push(self.path_part()?);
        }
        let test = if self.take("==") {
            Test::Equal(self.value(false)?)
        } else if self.take("!=") {
            Test::NotEqual(self.value(false)?)
        } else if self.take("~=") {
            Test::Matches(Pattern::new(&self.value(true)?)?)
        } else if self.rest().is_empty() || self.rest().starts_with(',') {
            Test::Present
        } else {
            return Err(self.fault("expected ==, !=, ~=, a comma or the end"));
        };
        Ok(Selector { path, test })
    }

    fn path_part(&mut self) -> Result<String> {
        if self.rest().starts_with('"') {
            return self.quoted('"');
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let length = self.rest().find(|c| !word(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.fault("expected a field name"));
        }
        let part = self.rest()[..length].to_string();
        self.at += length;
        Ok(part)
    }

    /// A quoted value, or everything up to the next comma.
    fn value(&mut self, alternative_quotes: bool) -> Result<String> {
        match self.rest().chars().next() {
            Some('"') => return self.quoted('"'),
            Some(quote @ ('/' | '|')) if alternative_quotes => return self.quoted(quote),
            _ => {}
        }
        let length = self.rest().find([',', '"']).unwrap_or(self.rest().len());
        if self.rest()[length..].starts_with('"') {
            self.at += length;
            return Err(self.fault("a quote inside of an unquoted value"));
        }
        let value = self.rest()[..length].to_string();
        self.at += length;
        Ok(value)
    }

    /// A quoted string with Go's escapes. Inside `/…/` and `|…|` only the quote itself can be escaped, so that
    /// expressions keep their backslashes.
    fn quoted(&mut self, quote: char) -> Result<String> {
        self.at += quote.len_utf8();
        let mut value = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((offset, c)) = chars.next() {
            if c == quote {
                self.at += offset + c.len_utf8();
                return Ok(value);
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let Some((_, escaped)) = chars.next() else { break };
            if quote != '"' {
                if escaped != quote {
                    value.push('\\');
                }
                value.push(escaped);
                continue;
            }
            match unescape(escaped, &mut chars) {
                Some(c) => value.push(c),
                None => {
                    self.at += offset;
                    return Err(self.fault("unknown escape"));
                }
            }
        }
        Err(self.fault("a quoted text does not end"))
    }
}

fn unescape(escaped: char, chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let mut digits = |count: usize| -> Option<char> {
        let text: String = chars.by_ref().take(count).map(|(_, c)| c).collect();
        if text.len() != count {
            return None;
        }
        char::from_u32(u32::from_str_radix(&text, 16).ok()?)
    };
    Some(match escaped {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '\\' | '"' | '\'' => escaped,
        'x' => digits(2)?,
        'u' => digits(4)?,
        'U' => digits(8)?,
        _ => return None,
    })
}
