//! Values between the wire and the domain, both directions.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};
use tare_api::containerd::types as wire;
use tare_engine::Any;
use tare_types::{Descriptor, Digest, ErrorKind, InvalidValue, Mount, Timestamp};
use tonic::{Code, Status};

/// A status from a kind and a message. containerd's clients look for the kind's words at the end of some messages.
pub(super) fn status(kind: ErrorKind, message: &str) -> Status {
    let words = kind.as_str();
    let text = if message.ends_with(words) { message.to_owned() } else { format!("{message}: {words}") };
    Status::new(Code::from_i32(tare_api::status::code_of(kind)), text)
}

/// A value that cannot be parsed.
pub(super) fn invalid(error: InvalidValue) -> Status {
    status(ErrorKind::InvalidArgument, &error.to_string())
}

/// An error of the engine.
pub(super) fn engine(error: tare_engine::Error) -> Status {
    status(error.kind(), &error.to_string())
}

/// An error of the store.
pub(super) fn store(error: tare_store::Error) -> Status {
    status(error.kind(), &error.to_string())
}

/// Now, UTC: the doors hand the time to the store.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// A time on the wire.
pub(super) fn time(time: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: time.seconds, nanos: i32::try_from(time.nanos).unwrap_or(0) })
}

/// A time that may never have come.
pub(super) fn maybe_time(time: Option<Timestamp>) -> Option<prost_types::Timestamp> {
    time.and_then(self::time)
}

/// Labels on the wire.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> HashMap<String, String> {
    labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Labels from the wire.
pub(super) fn from_labels(labels: HashMap<String, String>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

/// A typed value on the wire.
pub(super) fn any(any: &Any) -> prost_types::Any {
    prost_types::Any { type_url: any.type_url.clone(), value: any.value.clone() }
}

/// A typed value from the wire.
pub(super) fn from_any(any: prost_types::Any) -> Any {
    Any::new(any.type_url, any.value)
}

/// A descriptor on the wire.
pub(super) fn descriptor(descriptor: &Descriptor) -> wire::Descriptor {
    wire::Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        annotations: labels(&descriptor.annotations),
    }
}

/// A descriptor from the wire.
pub(super) fn from_descriptor(descriptor: Option<wire::Descriptor>) -> Result<Descriptor, Status> {
    let descriptor =
        descriptor.ok_or_else(|| status(ErrorKind::InvalidArgument, "the request carries no descriptor"))?;
    let digest = digest(&descriptor.digest)?;
    let size = u64::try_from(descriptor.size)
        .map_err(|_| status(ErrorKind::InvalidArgument, &format!("size of {digest} is negative")))?;
    let mut result = Descriptor::new(descriptor.media_type, digest, size);
    result.annotations = from_labels(descriptor.annotations);
    Ok(result)
}

/// A digest from the wire.
pub(super) fn digest(text: &str) -> Result<Digest, Status> {
    Digest::parse(text).map_err(invalid)
}

/// Mounts on the wire.
pub(super) fn mounts(mounts: &[Mount]) -> Vec<wire::Mount> {
    mounts
        .iter()
        .map(|mount| wire::Mount {
            r#type: mount.kind.clone(),
            source: mount.source.clone(),
            target: mount.target.clone(),
            options: mount.options.clone(),
        })
        .collect()
}

/// Mounts from the wire.
pub(super) fn from_mounts(mounts: Vec<wire::Mount>) -> Vec<Mount> {
    mounts
        .into_iter()
        .map(|mount| Mount {
            kind: mount.r#type,
            source: mount.source,
            target: mount.target,
            options: mount.options,
        })
        .collect()
}

/// A size on the wire.
pub(super) fn size(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// The paths of a field mask; none means all fields.
pub(super) fn paths(mask: Option<prost_types::FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_codes_and_keep_their_words() {
        let missing = status(ErrorKind::NotFound, "container \"x\"");
        assert_eq!(missing.code(), Code::NotFound);
        assert_eq!(missing.message(), "container \"x\": not found");
        assert_eq!(status(ErrorKind::NotFound, "a: not found").message(), "a: not found");
    }

    #[test]
    fn descriptors_round_trip() {
        let original = Descriptor::new("x/y", Digest::of_bytes(b"a"), 7);
        assert_eq!(from_descriptor(Some(descriptor(&original))).unwrap(), original);
        let negative = wire::Descriptor { size: -1, ..descriptor(&original) };
        assert!(from_descriptor(Some(negative)).is_err());
        assert!(from_descriptor(None).is_err());
    }

    #[test]
    fn mounts_round_trip() {
        let original = vec![Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: vec!["lowerdir=/a".into()],
        }];
        assert_eq!(from_mounts(mounts(&original)), original);
    }
}
