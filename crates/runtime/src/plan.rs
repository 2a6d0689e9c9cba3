//! From a configuration to a plan: every check, every default, every string the child will need.
//!
//! Pure: no system call, no clock, no file. What a plan needs from the host (descriptors of sources,
//! namespaces, cgroups) it names by path; `prepare` opens it. A configuration that cannot work is refused
//! here, before anything exists.

mod device;
mod memory;
mod mount;
mod namespace;
mod network;
mod options;
mod process;
mod rdt;
mod sysctl;

pub(crate) use device::{DevicePlan, LinkPlan};
pub(crate) use mount::{BindPlan, MountKind, MountPlan};
pub(crate) use namespace::{Kind, Namespaces, UserMapping, lines};
pub(crate) use network::DeviceMove;
pub(crate) use options::{Attributes, LOCKABLE};
pub(crate) use process::{ProcessPlan, SeccompPlan};
pub(crate) use rdt::RdtPlan;

use crate::{Error, Result};
use alloc::{
    ffi::CString,
    format,
    string::{String, ToString},
    vec::Vec,
};
use tare_types::spec::{Hooks, Linux, LinuxResources, Spec};

/// A container as it will be made.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: Namespaces,
    /// What the caller may do; until it is known, everything.
    pub(crate) caller: Caller,
    /// Absolute path of the root file system on the host.
    pub(crate) rootfs: String,
    pub(crate) readonly_root: bool,
    /// `MS_*` propagation of the root: before the change of root, and after it if it differs.
    pub(crate) propagation: Propagation,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) devices: Vec<DevicePlan>,
    pub(crate) links: Vec<LinkPlan>,
    pub(crate) masked: Vec<CString>,
    pub(crate) readonly: Vec<CString>,
    /// Path below `/proc` and value.
    pub(crate) sysctl: Vec<(CString, Vec<u8>)>,
    pub(crate) hostname: Vec<u8>,
    pub(crate) domainname: Vec<u8>,
    /// Interfaces of the runtime's network namespace that the container gets.
    pub(crate) interfaces: Vec<DeviceMove>,
    pub(crate) hooks: Hooks,
    /// SELinux label of new file systems.
    pub(crate) mount_label: Option<CString>,
    pub(crate) cgroups_path: String,
    pub(crate) resources: LinuxResources,
    pub(crate) rdt: Option<RdtPlan>,
    pub(crate) time_offsets: Option<Vec<u8>>,
    pub(crate) process: ProcessPlan,
}

/// What the runtime's own process may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Its user namespace is not the machine's first one, or it is an ordinary user: no nodes can be made, and the
    /// flags of mounts that it was given are locked.
    pub(crate) confined: bool,
    /// It is an ordinary user and may not copy mounts: the child does, in its own user namespace.
    pub(crate) ordinary: bool,
}

/// Propagation of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Propagation {
    pub(crate) before: u32,
    pub(crate) after: u32,
}

impl Plan {
    /// Plans a container. `bundle` is absolute.
    pub(crate) fn new(spec: &Spec, bundle: &str) -> Result<Self> {
        let nothing = Linux::default();
        let linux = spec.linux.as_deref().unwrap_or(&nothing);
        let process = spec.process.as_ref().ok_or_else(|| Error::invalid("process", "it is missing"))?;
        let root = spec.root.as_ref().ok_or_else(|| Error::invalid("root", "it is missing"))?;
        if root.path.is_empty() {
            return Err(Error::invalid("root.path", "it is empty"));
        }
        if !is_version(&spec.version) {
            return Err(Error::invalid("ociVersion", format!("{:?} is no version", spec.version)));
        }
        let namespaces = Namespaces::plan(linux)?;
        check_namespaces(spec, linux, &namespaces)?;
        let has_user = namespaces.has(Kind::User);
        let rootfs = absolute(bundle, &root.path);
        let mount_label = process::selinux_label("linux.mountLabel", &linux.mount_label)?;
        let mount_label = mount_label.map(|label| c_string("linux.mountLabel", &label)).transpose()?;
        let mut mounts = mount::plan(&spec.mounts, bundle, &rootfs, has_user)?;
        if let Some(label) = &mount_label {
            mount::label(&mut mounts, label);
        }
        let own_dev = !spec.mounts.iter().any(|mount| is_bound_dev(&mount.destination, &mount.options));
        let (devices, links) =
            if own_dev { device::plan(&linux.devices, has_user)? } else { (Vec::new(), Vec::new()) };
        Ok(Self {
            rootfs,
            readonly_root: root.readonly,
            propagation: propagation(&linux.rootfs_propagation)?,
            mounts,
            devices,
            links,
            masked: paths("linux.maskedPaths", &linux.masked_paths)?,
            readonly: paths("linux.readonlyPaths", &linux.readonly_paths)?,
            sysctl: sysctl::plan(&linux.sysctl, &namespaces)?,
            hostname: spec.hostname.clone().into_bytes(),
            domainname: spec.domainname.clone().into_bytes(),
            interfaces: network::plan(&linux.net_devices, &namespaces)?,
            hooks: checked_hooks(spec.hooks.as_deref().cloned().unwrap_or_default())?,
            mount_label,
            cgroups_path: linux.cgroups_path.clone(),
            resources: linux.resources.as_deref().cloned().unwrap_or_default(),
            rdt: linux.intel_rdt.as_ref().map(rdt::plan).transpose()?,
            time_offsets: time_offsets(linux),
            process: ProcessPlan::new(
                process,
                linux.seccomp.as_deref(),
                linux.personality.as_ref(),
                linux.memory_policy.as_ref(),
            )?,
            namespaces,
            caller: Caller::default(),
        })
    }

    /// Takes into account who creates the container.
    ///
    /// # Errors
    /// `InvalidArgument` where an ordinary user cannot have what is asked for.
    pub(crate) fn set_caller(&mut self, caller: Caller) -> Result<()> {
        self.caller = caller;
        if caller.ordinary && !self.namespaces.has(Kind::User) {
            return Err(Error::invalid("linux.namespaces", "rootless container requires user namespaces"));
        }
        if caller.ordinary && self.mounts.iter().any(MountPlan::is_idmapped) {
            return Err(Error::invalid("mounts", "an ordinary user cannot map the ids of a mount"));
        }
        for device in self.devices.iter_mut().filter(|_| caller.confined) {
            device.bind.get_or_insert_with(|| device.path.to_string_lossy().into_owned());
        }
        Ok(())
    }

    /// Whether the flags of the mounts that the container is given are locked.
    pub(crate) fn has_locked_mounts(&self) -> bool {
        self.caller.confined || self.namespaces.has(Kind::User)
    }

    /// Whether a source is below the container's own root: it may be what another mount of the list puts there.
    pub(crate) fn is_inside(&self, source: &str) -> bool {
        let root = self.rootfs.trim_end_matches('/');
        source.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether programs must run while the host's root is still there.
    pub(crate) fn has_early_hooks(&self) -> bool {
        let hooks = &self.hooks;
        !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty() && hooks.create_container.is_empty())
    }
}

/// The plan of a configuration in words, without doing anything.
///
/// # Errors
/// `InvalidArgument` for a configuration that cannot work.
pub fn describe(spec: &Spec, bundle: &str) -> Result<String> {
    use core::fmt::Write;
    let plan = Plan::new(spec, bundle)?;
    let mut text = String::new();
    let mut line = |words: core::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{words}");
    };
    line(format_args!("root {} (read-only: {})", plan.rootfs, plan.readonly_root));
    for kind in plan.namespaces.kinds() {
        let how = if plan.namespaces.is_new(kind) { "new" } else { "joined" };
        line(format_args!("namespace {} {how}", kind.file()));
    }
    for mount in &plan.mounts {
        line(format_args!("mount {}", mount.name()));
    }
    for device in &plan.devices {
        line(format_args!("device {} {}:{}", device.path.to_string_lossy(), device.major, device.minor));
    }
    for (path, _) in &plan.sysctl {
        line(format_args!("sysctl {}", path.to_string_lossy()));
    }
    for path in &plan.readonly {
        line(format_args!("read-only {}", path.to_string_lossy()));
    }
    for path in &plan.masked {
        line(format_args!("masked {}", path.to_string_lossy()));
    }
    let process = &plan.process;
    line(format_args!("user {}:{}", process.identity.uid, process.identity.gid));
    line(format_args!("capabilities {:#x}", process.identity.effective));
    if let Some(filter) = &process.seccomp {
        line(format_args!("seccomp filter of {} instructions", filter.filter.len()));
    }
    for path in &process.candidates {
        line(format_args!("program {}", path.to_string_lossy()));
    }
    Ok(text)
}

/// A list of processors such as `0-3,7` as one bit each, lowest first.
///
/// # Errors
/// `InvalidArgument` for what is no such list.
pub fn processors(list: &str) -> Result<Vec<u64>> {
    memory::mask("processors", list)
}

/// A path of the configuration as a C string.
pub(crate) fn c_string(object: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(object, "it holds a NUL byte"))
}

/// Cleans a path of the container lexically: absolute, without `.`, `..`, doubled or trailing slashes.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = String::with_capacity(path.len() + 1);
    for part in parts {
        clean.push('/');
        clean.push_str(part);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    clean
}

/// Three numbers, and what Semantic Versioning 2.0.0 allows after them. One that is missing is left out by many callers.
fn is_version(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    version.is_empty() || (core.split('.').count() == 3 && core.split('.').all(number))
}

fn absolute(bundle: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_string() } else { format!("{}/{path}", bundle.trim_end_matches('/')) }
}

/// Each path once: covering it twice would only cost. A relative one, against the specification, is taken from the root:
/// the peers accept it, and what is covered is what was meant.
fn paths(object: &str, paths: &[String]) -> Result<Vec<CString>> {
    let mut once: Vec<CString> = Vec::with_capacity(paths.len());
    for path in paths {
        let path = c_string(object, &clean(path))?;
        if !once.contains(&path) {
            once.push(path);
        }
    }
    Ok(once)
}

/// The host's `/dev` bound into the container: its nodes and links are not ours to make.
fn is_bound_dev(destination: &str, options: &[String]) -> bool {
    clean(destination) == "/dev" && options.iter().any(|option| option == "bind" || option == "rbind")
}

fn check_namespaces(spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let needs = |what: &str, present: bool, kind: Kind, namespace: &str| {
        if present && !namespaces.has(kind) {
            return Err(Error::invalid(
                what,
                format!("unable to set it without a private {namespace} namespace"),
            ));
        }
        Ok(())
    };
    needs("hostname", !spec.hostname.is_empty(), Kind::Uts, "UTS")?;
    needs("domainname", !spec.domainname.is_empty(), Kind::Uts, "UTS")?;
    needs("linux.maskedPaths", !linux.masked_paths.is_empty(), Kind::Mount, "mount")?;
    needs("linux.readonlyPaths", !linux.readonly_paths.is_empty(), Kind::Mount, "mount")?;
    needs("linux.timeOffsets", !linux.time_offsets.is_empty(), Kind::Time, "time")?;
    let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    needs("linux.uidMappings", mapped, Kind::User, "user")
}

fn propagation(word: &str) -> Result<Propagation> {
    const SLAVE: u32 = 1 << 19;
    const REC: u32 = 1 << 14;
    let after = match word {
        "" => return Ok(Propagation { before: SLAVE | REC, after: 0 }),
        word => options::propagation(word)
            .ok_or_else(|| Error::invalid("linux.rootfsPropagation", format!("{word:?} is not known")))?,
    };
    // A shared or unbindable root cannot be pivoted: it becomes that afterwards.
    Ok(match word {
        "private" | "rprivate" | "slave" | "rslave" => Propagation { before: after.0 | REC, after: 0 },
        _ => Propagation { before: SLAVE | REC, after: after.0 | if after.1 { REC } else { 0 } },
    })
}

fn checked_hooks(hooks: Hooks) -> Result<Hooks> {
    let all = [
        &hooks.prestart,
        &hooks.create_runtime,
        &hooks.create_container,
        &hooks.start_container,
        &hooks.poststart,
        &hooks.poststop,
    ];
    for hook in all.into_iter().flatten() {
        if !hook.path.starts_with('/') {
            return Err(Error::invalid("hooks", format!("path {:?} is not absolute", hook.path)));
        }
        if hook.timeout.is_some_and(|timeout| timeout <= 0) {
            return Err(Error::invalid("hooks", format!("timeout of {:?} is not above 0", hook.path)));
        }
    }
    Ok(hooks)
}

fn time_offsets(linux: &Linux) -> Option<Vec<u8>> {
    if linux.time_offsets.is_empty() {
        return None;
    }
    let lines = linux
        .time_offsets
        .iter()
        .map(|(clock, offset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs))
        .collect::<String>();
    Some(lines.into_bytes())
}

#[cfg(test)]
mod tests;
