//! Values between the wire and the domain, both directions.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};
use tare_api::containerd::types as wire;
use tare_engine::Any;
use tare_types::{Descriptor, Digest, ErrorKind, InvalidValue, Mount, Namespace, Timestamp};
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

/// An error of an operation on a container or its task, in containerd's words where clients look for them: what is
/// missing or taken, and failures of the runtime, which have no code there but "unknown" (a `NotFound` would mean the
/// container, not the program in it).
pub(super) fn task(namespace: &Namespace, error: tare_engine::Error) -> Status {
    let (kind, what, name) = (error.kind(), error.what(), error.name());
    let text = error.to_string();
    if let Some(at) = text.find("OCI runtime ") {
        let prefix =
            if text[at..].starts_with("OCI runtime create") { "failed to create shim task: " } else { "" };
        return status(ErrorKind::Unknown, &format!("{prefix}{}", &text[at..]));
    }
    match (kind, what) {
        (ErrorKind::NotFound, "container") => {
            status(kind, &format!("container {name:?} in namespace {:?}", namespace.as_str()))
        }
        (ErrorKind::NotFound, "task") if text.ends_with("no such object") => {
            status(kind, &format!("task {name} not found"))
        }
        (ErrorKind::NotFound, "task") if text.contains("process already finished") => {
            status(kind, "process already finished")
        }
        (ErrorKind::AlreadyExists, "container") => status(kind, &format!("container {name:?}")),
        (ErrorKind::AlreadyExists, "task") => status(kind, &format!("task {name}")),
        (ErrorKind::AlreadyExists, "exec") => status(kind, &format!("id {name}")),
        _ => engine(error),
    }
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
    fn failures_of_containers_read_as_containerds() {
        let namespace = Namespace::default_namespace();
        let say = |error| {
            let status = task(&namespace, error);
            (status.code(), status.message().to_owned())
        };
        let missing = tare_engine::Error::not_found("get", "container", "c");
        assert_eq!(
            say(missing),
            (Code::NotFound, "container \"c\" in namespace \"default\": not found".into())
        );
        let missing = tare_engine::Error::not_found("get", "task", "c");
        assert_eq!(say(missing), (Code::NotFound, "task c not found".into()));
        let taken =
            tare_engine::Error::new(ErrorKind::AlreadyExists, "create", "exec", "e", "its id is taken");
        assert_eq!(say(taken), (Code::AlreadyExists, "id e: already exists".into()));
        let detail = "OCI runtime create failed: exec: \"/x\": no such file";
        let program = tare_engine::Error::new(ErrorKind::NotFound, "create", "task", "c", detail);
        let text =
            "failed to create shim task: OCI runtime create failed: exec: \"/x\": no such file: unknown";
        assert_eq!(say(program), (Code::Unknown, text.into()));
        let other = tare_engine::Error::new(ErrorKind::Unavailable, "pause", "task", "c", "busy");
        assert_eq!(say(other).0, Code::Unavailable);
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
