//! The JSON documents of the Docker Engine API 1.24 to 1.51, field for field as dockerd 28 reads and writes them.
//!
//! Source: `api/swagger.yaml` and the Go structs it describes. The order of the fields is dockerd's, because
//! `docker inspect` prints the answer as it came. Go prints a nil list or map as `null`: where a client can see
//! the difference to an empty one, the field is an `Option`. No type here leaves the crate, nothing here decides.

/// Declares documents whose members are named in Go's way and may be missing.
/// `null` is dealt with before, by [`parse`].
macro_rules! wire {
    (@one [$case:literal] $(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* }) => {
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = $case, default)]
        $(#[$meta])*
        pub(crate) struct $name {
            $($(#[$fmeta])* pub(crate) $field: $ty,)*
        }
    };
    (@one [] $($rest:tt)*) => { wire!(@one ["PascalCase"] $($rest)*); };
    ($($(#[$meta:meta])* pub(crate) struct $name:ident $([$case:literal])? { $($body:tt)* })*) => {
        $(wire!(@one [$($case)?] $(#[$meta])* $name { $($body)* });)*
    };
}

pub(crate) mod config;
pub(crate) mod container;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod host_config;
pub(crate) mod image;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod volume;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Labels, options, environments of drivers.
pub(crate) type StringMap = BTreeMap<String, String>;

/// Reads a document as Go's decoder does: `null` leaves a member at its zero value.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    drop_nulls(&mut value);
    serde_json::from_value(value)
}

/// Takes `null` members out of every object. In the four maps whose keys alone mean something they stay:
/// as `{}` where the map is a set, as `null` where the values are optional.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("ExposedPorts" | "Volumes", Value::Object(set)) => {
                        set.values_mut().for_each(|element| *element = Value::Object(serde_json::Map::new()));
                    }
                    ("PortBindings" | "EndpointsConfig", Value::Object(map)) => {
                        map.values_mut().for_each(drop_nulls);
                    }
                    (_, member) => drop_nulls(member),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A command or a list of names: a single string is taken as a list of one (Go's `strslice`).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct StrSlice(pub(crate) Option<Vec<String>>);

impl StrSlice {
    /// The elements; none for nil.
    pub(crate) fn as_slice(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether `omitempty` drops it.
    pub(crate) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl<'de> Deserialize<'de> for StrSlice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match Option::<Either>::deserialize(from)? {
            None => None,
            Some(Either::One(one)) => Some(vec![one]),
            Some(Either::Many(many)) => Some(many),
        }))
    }
}

/// A password or token: goes through unchanged, never into a message or a log.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

/// Whether Go's `omitempty` drops the value.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `omitempty` of an optional list: nil and empty alike.
pub(crate) fn is_empty_list<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// `omitempty` of an optional map: nil and empty alike.
pub(crate) fn is_empty_map<K, V>(map: &Option<BTreeMap<K, V>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

#[cfg(test)]
mod tests;
