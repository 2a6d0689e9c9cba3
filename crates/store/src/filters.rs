//! containerd's filter language, as its clients send it to list calls.
//!
//! A filter is a list of selectors joined by `,`, all of which must match; several filters match when one does,
//! and none at all matches everything. A selector is a field path, alone (present) or with an
//! operator and a value: `name==x`, `name!=x`, `name~=regex`, `labels."a.b"==c`. Parts of a path are separated by
//! `.`; a part or value in double quotes (or `/` or `|` for values of `~=`) may hold anything.
//!
//! Pure: no I/O. Regular expressions are the subset that has linear time; see `pattern`.

mod parse;
mod pattern;
#[cfg(test)]
mod tests;

use crate::Result;
use pattern::Pattern;
use std::borrow::Cow;

/// A value that filters can be asked about.
pub trait Fields {
    /// The value at a field path, `None` when there is no such field.
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>>;
}

/// The value of a label for the path `labels.<key>`; a key with dots may be written with or without quotes.
pub fn label<'a>(labels: &'a crate::Labels, key: &[&str]) -> Option<Cow<'a, str>> {
    labels.get(&key.join(".")).map(|value| Cow::Borrowed(value.as_str()))
}

/// A parsed list of filters.
#[derive(Debug, Clone, Default)]
pub struct Filters(Vec<Vec<Selector>>);

#[derive(Debug, Clone)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Pattern),
}

impl Filters {
    /// Matches everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Parses what a client sent.
    ///
    /// # Errors
    /// `InvalidArgument` with the position of the fault.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        texts.iter().map(|text| parse::filter(text.as_ref())).collect::<Result<_>>().map(Self)
    }

    /// Whether one of the filters matches.
    pub fn matches(&self, value: &(impl Fields + ?Sized)) -> bool {
        self.0.is_empty() || self.0.iter().any(|filter| filter.iter().all(|selector| selector.matches(value)))
    }
}

impl Selector {
    /// As containerd: what is not there reads as an empty text, and only a label can be there and empty.
    fn matches(&self, value: &(impl Fields + ?Sized)) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let is_label = path.first() == Some(&"labels");
        let field = value.field(&path).filter(|field| is_label || !field.is_empty());
        let text = field.as_deref().unwrap_or_default();
        match &self.test {
            Test::Present => field.is_some(),
            Test::Equal(expected) => field.is_some() && text == expected.as_str(),
            Test::NotEqual(expected) => text != expected.as_str(),
            Test::Matches(pattern) => pattern.is_match(text),
        }
    }
}
