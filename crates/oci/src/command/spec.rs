//! `spec`: a configuration to start from.

use super::{Failure, Outcome};
use crate::{
    Context,
    arguments::{Arguments, Flags},
    bundle,
};
use alloc::string::String;
use tare_types::spec::{LinuxIdMapping, LinuxNamespace, Spec};

pub(crate) static FLAGS: Flags = Flags {
    values: &["bundle"],
    switches: &["rootless", "help"],
    short: &[("b", "bundle"), ("h", "help")],
    stop_after: None,
};

const DEFAULT: &str = include_str!("default.json");

pub(crate) fn spec(_: &Context<'_>, arguments: &Arguments) -> Outcome {
    let directory = bundle::absolute(arguments.value("bundle").unwrap_or("."))?;
    let rootless = arguments.has("rootless");
    let unified = tare_sys::cgroup::Mounts::detect().is_ok_and(|mounts| mounts.is_v2());
    let text = if rootless || unified { changed(rootless, unified)? } else { DEFAULT.into() };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    let directory = tare_sys::file::open(&directory, flags, 0)?;
    match tare_sys::file::create_at(&directory, "config.json", text.as_bytes(), 0o666) {
        Err(error) if error.errno() == tare_sys::Errno::EXIST => {
            Err("File config.json exists. Remove it first".into())
        }
        done => Ok(done.map(|()| 0)?),
    }
}

fn changed(rootless: bool, unified: bool) -> Result<String, Failure> {
    let mut spec: Spec = serde_json::from_slice(DEFAULT.as_bytes())?;
    if rootless {
        make_rootless(&mut spec);
    }
    if let Some(linux) = spec.linux.as_mut().filter(|_| unified) {
        // With one tree the container's own part of it can be shown, and be all that is in sight.
        linux.namespaces.push(LinuxNamespace { kind: "cgroup".into(), path: "".into() });
    }
    Ok(serde_json::to_string_pretty(&spec)? + "\n")
}

/// For an ordinary user: a user namespace, nothing that needs more, no limits.
fn make_rootless(spec: &mut Spec) {
    let map = |host_id| LinuxIdMapping { container_id: 0, host_id, size: 1 };
    if let Some(linux) = &mut spec.linux {
        linux.namespaces.retain(|namespace| namespace.kind != "network");
        linux.namespaces.push(LinuxNamespace { kind: "user".into(), path: "".into() });
        linux.uid_mappings = [map(rustix::process::geteuid().as_raw())].into();
        linux.gid_mappings = [map(rustix::process::getegid().as_raw())].into();
        linux.resources = None;
    }
    for mount in &mut spec.mounts {
        // Ids other than 0 are not mapped.
        mount.options.retain(|option| !option.starts_with("gid="));
        if mount.destination == "/sys" {
            mount.kind = "none".into();
            mount.source = "/sys".into();
            mount.options = ["rbind", "nosuid", "noexec", "nodev", "ro"].map(Into::into).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_configurations() {
        let spec: Spec = serde_json::from_str(DEFAULT).unwrap();
        assert_eq!(spec.version, tare_types::spec::VERSION);
        let rootless: Spec = serde_json::from_str(&changed(true, true).unwrap()).unwrap();
        assert_eq!(rootless.linux.unwrap().uid_mappings.len(), 1);
    }
}
