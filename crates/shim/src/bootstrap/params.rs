//! What containerd says on standard input of `start`, and in which form it wants the answer.

use prost::Message;
use std::io::Read;
use tare_api::containerd::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};

use crate::args::Args;

/// Standard input is small; a hostile one must not be large.
const MAX_INPUT: u64 = 4 << 20;

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// The address alone: containerd 1.x, and what any version understands.
    Bare,
    /// JSON: containerd 2.0 to 2.2.
    Json,
    /// Protobuf `BootstrapResult`: from 2.3 on, to those that sent `BootstrapParams`.
    Protobuf,
}

impl Speech {
    /// The bytes for standard output.
    pub(super) fn answer(self, address: &str) -> Vec<u8> {
        match self {
            Self::Bare => address.as_bytes().to_vec(),
            Self::Json => serde_json::json!({ "version": 3, "address": address, "protocol": "ttrpc" })
                .to_string()
                .into_bytes(),
            Self::Protobuf => BootstrapResult {
                version: 3,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..Default::default()
            }
            .encode_to_vec(),
        }
    }
}

/// Reads standard input; also the directory for sockets, where one is named.
///
/// # Errors
/// Standard input cannot be read.
pub(super) fn read(args: &Args) -> Result<(Speech, Option<String>), String> {
    let mut input = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_INPUT)
        .read_to_end(&mut input)
        .map_err(|error| format!("read stdin: {error}"))?;
    // The highest version of shims that the daemon knows. Up to 2 a bare address is understood by all of them.
    let highest = std::env::var("MAX_SHIM_VERSION").ok().and_then(|version| version.parse::<u32>().ok());
    let modern = highest.is_some_and(|version| version >= 3);
    Ok(understand(&input, args, modern))
}

fn understand(input: &[u8], args: &Args, modern: bool) -> (Speech, Option<String>) {
    // Runtime options (an Any) may decode as parameters by accident: id and namespace must be the flags'.
    match BootstrapParams::decode(input) {
        Ok(params) if params.instance_id == args.id && params.namespace == args.namespace => {
            (Speech::Protobuf, params.socket_dir.filter(|dir| !dir.is_empty()))
        }
        _ if modern => (Speech::Json, None),
        _ => (Speech::Bare, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        let line = ["-namespace", "default", "-id", "a", "start"];
        crate::args::parse_args(line.iter().map(Into::into)).unwrap()
    }

    #[test]
    fn each_containerd_is_answered_in_its_form() {
        let params = BootstrapParams {
            instance_id: "a".into(),
            namespace: "default".into(),
            socket_dir: Some("/s".into()),
            ..Default::default()
        };
        assert_eq!(
            understand(&params.encode_to_vec(), &args(), false),
            (Speech::Protobuf, Some("/s".into()))
        );
        let other = BootstrapParams { instance_id: "b".into(), ..params };
        assert_eq!(understand(&other.encode_to_vec(), &args(), false).0, Speech::Bare);
        let options = tare_api::Any { type_url: "containerd.runc.v1.Options".into(), value: vec![1, 2] };
        assert_eq!(understand(&options.encode_to_vec(), &args(), false).0, Speech::Bare);
        assert_eq!(understand(&[], &args(), false).0, Speech::Bare);
        assert_eq!(understand(&[], &args(), true).0, Speech::Json);
    }

    #[test]
    fn answers_can_be_read_back() {
        assert_eq!(Speech::Bare.answer("unix:///s"), b"unix:///s");
        let json: serde_json::Value = serde_json::from_slice(&Speech::Json.answer("unix:///s")).unwrap();
        assert_eq!((json["version"].as_u64(), json["address"].as_str()), (Some(3), Some("unix:///s")));
        let result = BootstrapResult::decode(&Speech::Protobuf.answer("unix:///s")[..]).unwrap();
        assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    }
}
