//! The `filters` parameter: `{"name":{"value":true}}`, or before API 1.22 `{"name":["value"]}`.

use crate::error::ApiError;
use crate::wire::StringMap;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Names with their values. No values at all means no restriction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads either form; an empty text is no filter.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let invalid = || ApiError::bad_parameter("invalid filter");
        let fields: BTreeMap<String, Option<Value>> = serde_json::from_str(text).map_err(|_| invalid())?;
        let mut filters = BTreeMap::new();
        for (name, values) in fields {
            let mut set = BTreeSet::new();
            match values {
                None => {}
                Some(Value::Object(map)) if map.values().all(|v| v.is_boolean() || v.is_null()) => {
                    set.extend(map.into_iter().filter(|(_, v)| v.as_bool() == Some(true)).map(|(k, _)| k));
                }
                Some(Value::Array(list)) => {
                    for value in list {
                        set.insert(value.as_str().ok_or_else(invalid)?.to_owned());
                    }
                }
                Some(_) => return Err(invalid()),
            }
            filters.insert(name, set);
        }
        Ok(Self(filters))
    }

    /// Refuses names that the endpoint does not know.
    pub(crate) fn accept(self, known: &[&str]) -> Result<Self, ApiError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ApiError::bad_parameter(format!("invalid filter '{name}'"))),
            None => Ok(self),
        }
    }

    /// Adds one value.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// Whether the name occurs.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a name.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// One of the values is the text, or there is none.
    pub(crate) fn matches_exactly(&self, name: &str, text: &str) -> bool {
        self.0.get(name).is_none_or(|values| values.is_empty() || values.contains(text))
    }

    /// One of the values is a pattern found in the text, or there is none.
    pub(crate) fn matches(&self, name: &str, text: &str) -> bool {
        self.matches_exactly(name, text)
            || self.values(name).any(|pattern| crate::pattern::is_found(pattern, text))
    }

    /// One of the values begins the text, or there is none.
    pub(crate) fn matches_prefix(&self, name: &str, text: &str) -> bool {
        self.matches_exactly(name, text) || self.values(name).any(|prefix| text.starts_with(prefix))
    }

    /// Every value, `key` or `key=value`, is among the labels.
    pub(crate) fn matches_labels(&self, name: &str, labels: &StringMap) -> bool {
        self.values(name).all(|wanted| has_label(wanted, labels))
    }

    /// The values as a truth value.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        let Some(values) = self.0.get(name) else { return Ok(default) };
        let has = |one: &str, other: &str| values.contains(one) || values.contains(other);
        match (has("1", "true"), has("0", "false")) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            _ if values.is_empty() => Err(ApiError::bad_parameter(format!("invalid filter '{name}'"))),
            _ => Err(self.invalid(name)),
        }
    }

    /// The error for a name whose values cannot be used.
    pub(crate) fn invalid(&self, name: &str) -> ApiError {
        let values: Vec<&str> = self.values(name).collect();
        ApiError::bad_parameter(format!("invalid filter '{name}=[{}]'", values.join(" ")))
    }
}

/// Whether `key` or `key=value` is among the labels.
pub(crate) fn has_label(wanted: &str, labels: &StringMap) -> bool {
    let (key, value) = wanted.split_once('=').map_or((wanted, None), |(key, value)| (key, Some(value)));
    labels.get(key).is_some_and(|found| value.is_none_or(|value| value == found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let new = Filters::parse(r#"{"label":{"a":true,"b=c":true},"name":{"x":true}}"#).unwrap();
        let old = Filters::parse(r#"{"label":["a","b=c"],"name":["x"]}"#).unwrap();
        assert_eq!(new, old);
        for bad in ["[]", "x", r#"{"a":"b"}"#, r#"{"a":[1]}"#, r#"{"a":{"b":"c"}}"#] {
            assert_eq!(Filters::parse(bad).unwrap_err().message(), "invalid filter", "{bad}");
        }
    }

    #[test]
    fn matching_follows_dockerd() {
        let labels = StringMap::from([("a".into(), "1".into()), ("b".into(), "c".into())]);
        let filters = Filters::parse(r#"{"label":["a","b=c"],"name":["^we"],"status":["running"]}"#).unwrap();
        assert!(filters.matches_labels("label", &labels));
        assert!(!filters.matches_labels("label", &StringMap::new()));
        assert!(filters.matches("name", "web") && !filters.matches("name", "awe"));
        assert!(filters.matches_exactly("status", "running") && !filters.matches_exactly("status", "runn"));
        assert!(filters.matches_exactly("other", "anything"));
    }

    #[test]
    fn unknown_names_and_bad_flags_are_refused() {
        let filters = Filters::parse(r#"{"dangling":["maybe"]}"#).unwrap();
        assert_eq!(
            filters.flag_or("dangling", false).unwrap_err().message(),
            "invalid filter 'dangling=[maybe]'"
        );
        assert_eq!(filters.accept(&["name"]).unwrap_err().message(), "invalid filter 'dangling'");
        assert!(!Filters::default().flag_or("dangling", false).unwrap());
    }
}
