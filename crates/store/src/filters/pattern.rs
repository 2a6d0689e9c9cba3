//! Regular expressions of the `~=` operator: unanchored, linear time, as Go's.

use crate::{Error, Result};

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Pattern(regex_lite::Regex);

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self> {
        regex_lite::Regex::new(text)
            .map(Self)
            .map_err(|error| Error::invalid("parse filter", format_args!("{text:?}"), error.to_string()))
    }

    pub(super) fn is_match(&self, value: &str) -> bool {
        self.0.is_match(value)
    }
}
