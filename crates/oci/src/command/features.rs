//! `features`: what this runtime can do (specification, "Features Structure"), whatever the host can.
//!
//! The document is a text: what is in it does not depend on anything but the build.

use super::Outcome;
use crate::{Context, arguments::Arguments, output};
use alloc::string::String;

const DOCUMENT: &str = include_str!("features.json");

pub(crate) fn features(_: &Context<'_>, _: &Arguments) -> Outcome {
    output::print(&document())?;
    Ok(0)
}

fn document() -> String {
    let mut capabilities = String::from("[");
    for name in tare_sys::capability::names() {
        capabilities += if capabilities.len() > 1 { ", \"CAP_" } else { "\"CAP_" };
        capabilities += name;
        capabilities += "\"";
    }
    capabilities += "]";
    DOCUMENT
        .replace("\"@CAPABILITIES\"", &capabilities)
        .replace("@SPEC", tare_types::spec::VERSION)
        .replace("@VERSION", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec::Vec};
    use serde_json::{Value, json};
    use tare_types::spec::{LinuxMemoryPolicy, Spec};

    fn document() -> Value {
        serde_json::from_str(&super::document()).unwrap()
    }

    fn words(value: &Value) -> Vec<String> {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().into()).collect()
    }

    /// A configuration that has everything a list names.
    fn accepted(linux: &Value, mounts: &Value) {
        let spec = json!({"ociVersion": "1.0.2", "root": {"path": "r"}, "mounts": mounts, "linux": linux,
            "process": {"args": ["a"], "cwd": "/"}});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        tare_runtime::describe_plan(&spec, "/b").unwrap_or_else(|error| panic!("{linux} {mounts}: {error}"));
    }

    #[test]
    fn what_is_named_is_accepted() {
        let document = document();
        assert_eq!(document["ociVersionMax"], tare_types::spec::VERSION);
        let linux = &document["linux"];
        assert!(words(&linux["capabilities"]).contains(&"CAP_CHECKPOINT_RESTORE".into()));
        let seccomp = &linux["seccomp"];
        for action in words(&seccomp["actions"]) {
            let rule = json!({"names": ["getpid"], "action": action});
            accepted(
                &json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule],
                "listenerPath": "/l"}}),
                &json!([]),
            );
        }
        for op in words(&seccomp["operators"]) {
            let rule = json!({"names": ["getpid"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": op}]});
            accepted(
                &json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}}),
                &json!([]),
            );
        }
        accepted(
            &json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": seccomp["archs"],
            "flags": seccomp["knownFlags"], "listenerPath": "/l",
            "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_NOTIFY"}]}}),
            &json!([]),
        );
        for kind in words(&linux["namespaces"]) {
            let mapped =
                if kind == "user" { json!([{"containerID": 0, "hostID": 1, "size": 1}]) } else { json!([]) };
            let linux = json!({"namespaces": [{"type": kind}], "uidMappings": mapped, "gidMappings": mapped});
            accepted(&linux, &json!([]));
        }
        for mode in words(&linux["memoryPolicy"]["modes"]) {
            let nodes = if matches!(mode.as_str(), "MPOL_DEFAULT" | "MPOL_LOCAL") { "" } else { "0" };
            accepted(
                &json!({"memoryPolicy": LinuxMemoryPolicy { mode, nodes: nodes.into(), flags: Vec::new() }}),
                &json!([]),
            );
        }
        for option in words(&document["mountOptions"]) {
            let mount =
                json!({"destination": "/a", "source": "/a", "type": "tmpfs", "options": ["bind", option]});
            let mapped = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
            let linux = json!({"namespaces": [{"type": "mount"}, {"type": "user"}], "uidMappings": mapped, "gidMappings": mapped});
            accepted(&linux, &json!([mount]));
        }
    }
}
