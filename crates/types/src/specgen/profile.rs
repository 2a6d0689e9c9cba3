//! Docker's profile files: the specification's seccomp object with conditions on capabilities, architecture and
//! kernel, resolved for one container.

use super::NativeArch;
use crate::InvalidValue;
use crate::spec::{LinuxSeccomp, LinuxSyscall};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Profile {
    #[serde(flatten)]
    common: Common,
    arch_map: Vec<ArchEntry>,
    syscalls: Vec<Entry>,
}

/// What is taken over as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Common {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Vec<String>,
    flags: Vec<String>,
    listener_path: String,
    listener_metadata: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ArchEntry {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(flatten)]
    rule: LinuxSyscall,
    /// The old form of `names`.
    name: String,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: String,
}

/// Resolves a profile for a container with these capabilities. `None` if the profile says nothing.
///
/// Conditions on a minimal kernel hold: every kernel that Tare runs on is newer than any that profiles name.
///
/// # Errors
/// [`InvalidValue`] for what is no JSON, and for both forms of one thing together.
pub fn resolve_profile(
    text: &str,
    capabilities: &[String],
    arch: NativeArch,
) -> Result<Option<LinuxSeccomp>, InvalidValue> {
    let refuse = |reason| Err(InvalidValue::new("seccomp profile", text, reason));
    let Ok(profile) = serde_json::from_str::<Profile>(text) else {
        return refuse("it is not JSON of the expected form");
    };
    let Profile { common, arch_map, syscalls } = profile;
    if common.default_action.is_empty() && syscalls.is_empty() {
        return Ok(None);
    }
    if !common.architectures.is_empty() && !arch_map.is_empty() {
        return refuse("use either 'architectures' or 'archMap'");
    }
    let mut architectures = common.architectures;
    if let Some(entry) = arch_map.into_iter().find(|entry| entry.architecture == arch.name()) {
        architectures.push(entry.architecture);
        architectures.extend(entry.sub_architectures.unwrap_or_default());
    }
    let mut rules = Vec::with_capacity(syscalls.len());
    for mut entry in syscalls {
        if !entry.name.is_empty() {
            if !entry.rule.names.is_empty() {
                return refuse("use either 'name' or 'names'");
            }
            entry.rule.names.push(entry.name.to_string());
        }
        let excluded =
            entry.excludes.as_ref().is_some_and(|condition| condition.is_met_by_any(capabilities, arch));
        let included =
            entry.includes.as_ref().is_none_or(|condition| condition.is_met_by_all(capabilities, arch));
        if included && !excluded {
            rules.push(entry.rule);
        }
    }
    Ok(Some(LinuxSeccomp {
        default_action: common.default_action,
        default_errno_ret: common.default_errno_ret,
        architectures,
        flags: common.flags,
        listener_path: common.listener_path,
        listener_metadata: common.listener_metadata,
        syscalls: rules,
    }))
}

impl Condition {
    /// For `includes`: every part that is given must hold, and every capability.
    fn is_met_by_all(&self, capabilities: &[String], arch: NativeArch) -> bool {
        let arches = self.arches.is_empty() || self.arches.iter().any(|name| name == arch.go_name());
        arches && self.caps.iter().all(|name| capabilities.contains(name))
    }

    /// For `excludes`: one part is enough.
    fn is_met_by_any(&self, capabilities: &[String], arch: NativeArch) -> bool {
        self.arches.iter().any(|name| name == arch.go_name())
            || self.caps.iter().any(|name| capabilities.contains(name))
            || !self.min_kernel.is_empty()
    }
}
