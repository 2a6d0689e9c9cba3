//! From a request, an image and the daemon's defaults to a runtime spec.
//!
//! [`generate`] makes the spec of the record when a container is created; [`for_run`] completes it for one run with
//! what only that run knows: the network namespace, other containers' namespaces, the user by the root file system as
//! it is then.

pub(crate) mod defaults;
pub(crate) mod mounts;
pub(crate) mod resources;
pub(crate) mod users;

use crate::{
    Any, ContainerRecord, Engine, Error, Result,
    any::SPEC_TYPE_URL,
    entry::Entry,
    exec::ExecRequest,
    images::Image,
    lifecycle::links,
    network::EndpointState,
    record::EngineFields,
    request::{CreateContainer, NamespaceMode, NetworkMode, ProcessRequest, Resources, Security},
    task::Task,
    volumes::subpath,
};
pub(crate) use resources::limits;
use std::{fs::File, os::fd::OwnedFd};
use tare_types::{
    ErrorKind, Namespace, SnapshotKey,
    image::ExecutionConfig,
    spec::{
        ConsoleSize, Linux, LinuxCapabilities, LinuxNamespace, LinuxResources, PosixRlimit, Process, Root,
        Spec,
    },
    specgen,
};

/// Search path of a container whose image sets none (Docker's).
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the program that `--init` asks for is mounted (Docker's place).
const INIT: &str = "/sbin/docker-init";
/// Programs of other packages that do it; all of them are linked statically.
const INITS: [&str; 3] = ["docker-init", "tini-static", "catatonit"];

/// Program with its arguments, after the image's defaults.
///
/// # Errors
/// `InvalidArgument` when neither names a program.
pub(crate) fn command_line(request: &ProcessRequest, image: &ExecutionConfig) -> Result<Vec<String>> {
    let mut argv = match &request.entrypoint {
        Some(entrypoint) if entrypoint.iter().all(String::is_empty) => Vec::new(),
        Some(entrypoint) => entrypoint.clone(),
        None => image.entrypoint.clone(),
    };
    if !request.args.is_empty() {
        argv.extend(request.args.iter().cloned());
    } else if request.entrypoint.is_none() {
        argv.extend(image.cmd.iter().cloned());
    }
    if argv.is_empty() {
        let detail = "no command specified";
        return Err(Error::new(ErrorKind::InvalidArgument, "create", "container", "", detail));
    }
    Ok(argv)
}

/// The user's environment, then what the image has beside it.
pub(crate) fn environment(request: &ProcessRequest, image: &ExecutionConfig) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut known: std::collections::BTreeSet<String> = request.env.iter().map(|entry| name(entry)).collect();
    let mut all: Vec<String> = request.env.iter().filter(|entry| entry.contains('=')).cloned().collect();
    for entry in &image.env {
        if known.insert(name(entry)) {
            all.push(entry.clone());
        }
    }
    all
}

/// The environment of the first process: the daemon's defaults with the container's over them.
fn process_environment(fields: &EngineFields) -> Vec<String> {
    let has = |name: &str| fields.env.iter().any(|entry| entry.starts_with(name));
    let mut all = Vec::with_capacity(fields.env.len() + 4);
    if !has("PATH=") {
        all.push(PATH.to_owned());
    }
    if !has("HOSTNAME=") && !fields.hostname.is_empty() {
        all.push(format!("HOSTNAME={}", fields.hostname));
    }
    if fields.process.tty && !has("TERM=") {
        all.push("TERM=xterm".to_owned());
    }
    all.extend(fields.env.iter().cloned());
    all
}

/// The spec of a new container, and warnings.
pub(crate) fn generate(
    engine: &Engine,
    request: &CreateContainer,
    image: &Image,
    record: &ContainerRecord,
) -> Result<(Any, Vec<String>)> {
    let fields = record.engine.as_ref().expect("invariant: a container of the engine has its fields");
    let user =
        if request.process.user.is_empty() { &image.config.config.user } else { &request.process.user };
    let cwd =
        [&request.process.cwd, &image.config.config.working_dir].into_iter().find(|cwd| !cwd.is_empty());
    let directory = engine.container_directory(&crate::key::Key::new(&record.namespace, &record.id));
    let security = &fields.security;
    let host_network = fields.network.mode == NetworkMode::Host;
    let cgroup_namespace = match security.cgroup {
        NamespaceMode::Host => false,
        NamespaceMode::Private => true,
        _ => defaults::cgroup2_only() && !security.privileged,
    };
    let mut default_mounts = defaults::mounts(security.privileged, cgroup_namespace);
    default_mounts.extend(mounts::shared_memory(&security.ipc, fields.shm_size));
    if security.ipc == NamespaceMode::None {
        default_mounts.retain(|mount| mount.destination != "/dev/mqueue");
    }
    if request.init {
        default_mounts.push(init_mount()?);
    }
    let (devices, limits) = devices_and_limits(fields)?;
    let granted = capabilities(security)?;
    let seccomp = defaults::seccomp(security, &granted.bounding)?;
    let process = Process {
        terminal: fields.process.tty,
        console_size: fields
            .process
            .console_size
            .filter(|size| *size != (0, 0))
            .map(|(height, width)| ConsoleSize { height: height.into(), width: width.into() }),
        // Its numbers follow at each run; until then the name is kept as the record's wish.
        user: tare_types::spec::User { username: user.clone(), ..Default::default() },
        args: match request.init {
            true => [INIT, "--"].map(str::to_owned).into_iter().chain(fields.argv.iter().cloned()).collect(),
            false => fields.argv.clone(),
        },
        env: process_environment(fields),
        cwd: cwd.cloned().unwrap_or_else(|| "/".to_owned()),
        capabilities: Some(granted),
        rlimits: rlimits(&fields.resources)?,
        no_new_privileges: security.no_new_privileges.unwrap_or(false),
        oom_score_adj: security.oom_score_adj,
        apparmor_profile: if security.apparmor == "unconfined" {
            String::new()
        } else {
            security.apparmor.clone()
        },
        ..Process::default()
    };
    let unmask = security.privileged || security.unmask_system_paths;
    let paths = |given: &Option<Vec<String>>, default: Vec<String>| match given {
        _ if unmask => Vec::new(),
        Some(paths) => paths.clone(),
        None => default,
    };
    let linux = Linux {
        sysctl: sysctls(security, host_network),
        resources: Some(Box::new(limits)),
        cgroups_path: cgroups_path(engine, fields, record),
        namespaces: namespaces(fields, cgroup_namespace)?,
        devices,
        seccomp: seccomp.map(Box::new),
        masked_paths: paths(&security.masked_paths, specgen::default_masked_paths()),
        readonly_paths: paths(&security.readonly_paths, specgen::default_readonly_paths()),
        ..Linux::default()
    };
    let host_uts = security.uts == NamespaceMode::Host;
    let spec = Spec {
        version: tare_types::spec::VERSION.to_owned(),
        process: Some(Box::new(process)),
        root: Some(Root { path: "rootfs".to_owned(), readonly: security.readonly_rootfs }),
        hostname: if host_uts { String::new() } else { fields.hostname.clone() },
        domainname: if host_uts { String::new() } else { request.domainname.clone().unwrap_or_default() },
        mounts: mounts::assemble(default_mounts, fields, &directory, security.readonly_rootfs),
        annotations: request.annotations.clone(),
        linux: Some(Box::new(linux)),
        ..Spec::default()
    };
    Ok((encode(&spec)?, Vec::new()))
}

/// The mount of a program of the host that runs as PID 1, hands signals on and reaps (docker run --init).
fn init_mount() -> Result<tare_types::spec::Mount> {
    let places = ["/usr/local/bin", "/usr/bin", "/usr/libexec/docker", "/usr/libexec/podman"];
    let mut found = places.iter().flat_map(|place| INITS.map(|name| format!("{place}/{name}")));
    let source = found.find(|path| std::path::Path::new(path).is_file()).ok_or_else(|| {
        let detail = "it needs docker-init, tini-static or catatonit on this host";
        Error::new(ErrorKind::FailedPrecondition, "use", "init", "", detail)
    })?;
    Ok(tare_types::spec::Mount {
        destination: INIT.to_owned(),
        kind: "bind".to_owned(),
        source,
        options: ["bind", "ro", "rprivate"].map(str::to_owned).to_vec(),
        ..Default::default()
    })
}

fn encode(spec: &Spec) -> Result<Any> {
    let bytes = serde_json::to_vec(spec)
        .map_err(|error| Error::new(ErrorKind::Internal, "write", "spec", "", "").with_source(error))?;
    Ok(Any::new(SPEC_TYPE_URL, bytes))
}

fn decode(record: &ContainerRecord) -> Result<Spec> {
    serde_json::from_slice(&record.spec.value).map_err(|error| {
        let detail = "its spec cannot be read";
        Error::new(ErrorKind::DataLoss, "read", "container", record.id.as_str(), detail).with_source(error)
    })
}

/// The spec of one run, and descriptors that must be open until the container is made.
pub(crate) fn for_run(
    engine: &Engine,
    record: &ContainerRecord,
    endpoint: &EndpointState,
) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut spec = decode(record)?;
    let fields = record.engine.as_ref().expect("invariant: a container of the engine has its fields");
    if let Some(process) = &mut spec.process {
        let wanted = std::mem::take(&mut process.user.username);
        let layers = layers(engine, record)?;
        let account = users::resolve(&layers, &wanted, &fields.security.group_add)?;
        process.user = account.user;
        if !process.env.iter().any(|entry| entry.starts_with("HOME=")) {
            process.env.push(format!("HOME={}", account.home));
        }
        for variable in links::environment(engine, &record.namespace, fields) {
            let name = variable.split_inclusive('=').next().unwrap_or_default();
            if !process.env.iter().any(|entry| entry.starts_with(name)) {
                process.env.push(variable);
            }
        }
        if fields.process.user.is_empty() && wanted.is_empty() {
            // Root without being asked for: nothing further.
        } else if process.user.uid != 0
            && let Some(capabilities) = &mut process.capabilities
        {
            // As execve(2) would leave them for a user that is not root.
            capabilities.effective.clear();
            capabilities.permitted.clear();
            capabilities.ambient.clear();
        }
    }
    if let Some(linux) = &mut spec.linux {
        for namespace in &mut linux.namespaces {
            if namespace.kind == "network" {
                namespace.path.clone_from(&endpoint.netns);
            } else if let Some(reference) = namespace.path.strip_prefix("container:") {
                namespace.path = namespace_of(engine, &record.namespace, reference, &namespace.kind)?;
            }
        }
    }
    let key = crate::key::Key::new(&record.namespace, &record.id);
    mounts::share_memory(engine, &key, &fields.security.ipc, &mut spec.mounts)?;
    let held = subpath::apply(&fields.mounts, &mut spec.mounts)?;
    Ok((encode(&spec)?.value, held))
}

/// Whether other containers may join the IPC namespace of one.
fn is_ipc_shareable(entry: &Entry) -> bool {
    entry.record().engine.as_ref().is_some_and(|fields| {
        let ipc = &fields.security.ipc;
        matches!(ipc, NamespaceMode::Shareable | NamespaceMode::Host | NamespaceMode::Container(_))
    })
}

/// A namespace of another container, which must run.
fn namespace_of(engine: &Engine, ns: &Namespace, reference: &str, kind: &str) -> Result<String> {
    let other = engine.entry("join namespace of", ns, reference)?;
    if kind == "ipc" && !is_ipc_shareable(&other) {
        let detail = format!(
            "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
            other.key.id
        );
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            "share IPC of",
            "container",
            reference,
            detail,
        ));
    }
    let pid = other.running_task().map(|task| task.init.pid()).filter(|pid| *pid != 0).ok_or_else(|| {
        let detail = "it does not run";
        Error::new(ErrorKind::FailedPrecondition, "join namespace of", "container", reference, detail)
    })?;
    Ok(format!("/proc/{pid}/ns/{kind}"))
}

/// The root file system of a container that does not run, layer by layer.
fn layers(engine: &Engine, record: &ContainerRecord) -> Result<users::Layers> {
    let snapshotter = engine.stores().snapshotter(&record.snapshotter)?;
    let key = SnapshotKey::new(record.snapshot_key.as_str())?;
    let target = snapshotter.apply_target(&record.namespace, &key)?;
    Ok(users::Layers(std::iter::once(target.root).chain(target.lowers).collect()))
}

/// The OCI process of an exec, as JSON.
pub(crate) fn exec_process(
    engine: &Engine,
    entry: &Entry,
    task: &Task,
    request: &ExecRequest,
) -> Result<Vec<u8>> {
    let _ = engine;
    let record = entry.record();
    let spec = decode(&record)?;
    let base = spec.process.unwrap_or_default();
    let fields = record.engine.as_ref();
    let wanted = if request.user.is_empty() { &base.user.username } else { &request.user };
    let root = File::open(format!("/proc/{}/root", task.init.pid())).map_err(|error| {
        Error::new(ErrorKind::FailedPrecondition, "exec in", "container", entry.key.id.as_str(), "its root")
            .with_source(error)
    })?;
    let layers = users::Layers(vec![OwnedFd::from(root)]);
    let more = fields.map(|fields| fields.security.group_add.clone()).unwrap_or_default();
    let account = users::resolve(&layers, wanted, &more)?;
    let mut env = base.env.clone();
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    if request.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    for entry in &request.env {
        let name = name(entry);
        env.retain(|known| known.split('=').next() != Some(&name));
        if entry.contains('=') {
            env.push(entry.clone());
        }
    }
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", account.home));
    }
    let mut capabilities = base.capabilities.clone();
    if request.privileged {
        capabilities = Some(capability_sets(specgen::ALL_CAPABILITIES.map(str::to_owned).to_vec()));
    }
    if account.user.uid != 0
        && let Some(sets) = &mut capabilities
    {
        sets.effective.clear();
        sets.permitted.clear();
        sets.ambient.clear();
    }
    let console = request.console_size.filter(|size| *size != (0, 0));
    let process = Process {
        terminal: request.tty,
        console_size: console
            .map(|(height, width)| ConsoleSize { height: height.into(), width: width.into() }),
        user: account.user,
        args: request.argv.clone(),
        env,
        cwd: if request.cwd.is_empty() { base.cwd.clone() } else { request.cwd.clone() },
        capabilities,
        ..*base
    };
    serde_json::to_vec(&process)
        .map_err(|error| Error::new(ErrorKind::Internal, "write", "process", "", "").with_source(error))
}

/// Puts limits into the spec of a record.
pub(crate) fn set_limits(record: &mut ContainerRecord, limits: &LinuxResources) -> Result<()> {
    let mut spec = decode(record)?;
    if let Some(linux) = &mut spec.linux {
        let devices = linux.resources.take().map(|resources| resources.devices).unwrap_or_default();
        linux.resources = Some(Box::new(LinuxResources { devices, ..limits.clone() }));
    }
    record.spec = encode(&spec)?;
    Ok(())
}

fn cgroups_path(engine: &Engine, fields: &EngineFields, record: &ContainerRecord) -> String {
    match fields.resources.cgroup_parent.as_str() {
        "" => format!("/tare-{}/{}", engine.config().instance, record.id),
        parent => format!("/{}/{}", parent.trim_matches('/'), record.id),
    }
}

fn devices_and_limits(fields: &EngineFields) -> Result<(Vec<tare_types::spec::LinuxDevice>, LinuxResources)> {
    let mut limits = limits(&fields.resources)?;
    let mut nodes = Vec::new();
    if fields.security.privileged {
        nodes = defaults::host_devices();
        limits.devices = vec![resources::allow("a", None, None, "rwm")];
    } else {
        limits.devices = defaults::device_rules();
    }
    for request in &fields.resources.devices {
        let (added, rules) = resources::device(request)?;
        nodes.retain(|node| added.iter().all(|new| new.path != node.path));
        nodes.extend(added);
        limits.devices.extend(rules);
    }
    for rule in &fields.resources.device_cgroup_rules {
        limits.devices.push(resources::parse_rule(rule)?);
    }
    Ok((nodes, limits))
}

fn capabilities(security: &Security) -> Result<LinuxCapabilities> {
    let granted = specgen::adjust_capabilities(&security.cap_add, &security.cap_drop, security.privileged);
    granted.map(capability_sets).map_err(|invalid| {
        let detail = format!("unknown capability: {:?}", invalid.value);
        Error::new(ErrorKind::InvalidArgument, "use", "capability", invalid.value, detail)
    })
}

/// The sets of a process: inheritable and ambient stay empty (CVE-2022-24769).
fn capability_sets(granted: Vec<String>) -> LinuxCapabilities {
    LinuxCapabilities {
        bounding: granted.clone(),
        effective: granted.clone(),
        permitted: granted,
        ..LinuxCapabilities::default()
    }
}

fn rlimits(resources: &Resources) -> Result<Vec<PosixRlimit>> {
    let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let one = |ulimit: &crate::request::Ulimit| {
        let name = ulimit.name.to_ascii_lowercase();
        let name = name.strip_prefix("rlimit_").unwrap_or(&name);
        if !PosixRlimit::NAMES.contains(&name) {
            let detail = format!("invalid ulimit type: {name}");
            return Err(Error::new(ErrorKind::InvalidArgument, "use", "ulimit", name, detail));
        }
        let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
        Ok(PosixRlimit { kind, soft: value(ulimit.soft), hard: value(ulimit.hard) })
    };
    resources.ulimits.iter().map(one).collect()
}

fn sysctls(security: &Security, host_network: bool) -> std::collections::BTreeMap<String, String> {
    let mut sysctls = std::collections::BTreeMap::new();
    if !host_network {
        // A network of its own has no ports to protect from its own users (Docker's default).
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    }
    sysctls.extend(security.sysctls.clone());
    sysctls
}

fn namespaces(fields: &EngineFields, cgroup: bool) -> Result<Vec<LinuxNamespace>> {
    let security = &fields.security;
    let mut namespaces = vec![LinuxNamespace { kind: "mount".into(), ..LinuxNamespace::default() }];
    let mut add = |kind: &str, mode: &NamespaceMode| -> Result<()> {
        let path = match mode {
            NamespaceMode::Host => return Ok(()),
            NamespaceMode::Container(reference) => format!("container:{reference}"),
            _ => String::new(),
        };
        namespaces.push(LinuxNamespace { kind: kind.into(), path });
        Ok(())
    };
    add("pid", &security.pid)?;
    add("ipc", &security.ipc)?;
    add("uts", &security.uts)?;
    if fields.network.mode != NetworkMode::Host {
        add("network", &NamespaceMode::Private)?;
    }
    if cgroup {
        add("cgroup", &NamespaceMode::Private)?;
    }
    match security.user {
        NamespaceMode::Default | NamespaceMode::Host => Ok(namespaces),
        _ => Err(Error::unimplemented("create", "user namespace of a container")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn entrypoint_and_command_follow_docker() {
        let image = ExecutionConfig {
            entrypoint: strings(&["/entry"]),
            cmd: strings(&["serve"]),
            ..ExecutionConfig::default()
        };
        let line = |entrypoint: Option<&[&str]>, args: &[&str]| {
            let request = ProcessRequest {
                entrypoint: entrypoint.map(strings),
                args: strings(args),
                ..ProcessRequest::default()
            };
            command_line(&request, &image)
        };
        assert_eq!(line(None, &[]).unwrap(), ["/entry", "serve"]);
        assert_eq!(line(None, &["x"]).unwrap(), ["/entry", "x"]);
        assert_eq!(line(Some(&["/sh"]), &[]).unwrap(), ["/sh"]);
        assert_eq!(line(Some(&["/sh"]), &["-c"]).unwrap(), ["/sh", "-c"]);
        assert_eq!(line(Some(&[""]), &["ls"]).unwrap(), ["ls"]);
        assert!(line(Some(&[""]), &[]).is_err());
    }

    #[test]
    fn the_users_environment_wins() {
        let image = ExecutionConfig { env: strings(&["A=1", "B=2", "C=3"]), ..ExecutionConfig::default() };
        let request = ProcessRequest { env: strings(&["B=x", "C"]), ..ProcessRequest::default() };
        assert_eq!(environment(&request, &image), ["B=x", "A=1"]);
    }

    #[test]
    fn capabilities_follow_docker() {
        let sets = |add: &[&str], drop: &[&str]| {
            let security = Security { cap_add: strings(add), cap_drop: strings(drop), ..Security::default() };
            capabilities(&security).map(|sets| sets.bounding)
        };
        assert_eq!(sets(&[], &["ALL"]).unwrap(), Vec::<String>::new());
        assert_eq!(sets(&["net_admin"], &["all"]).unwrap(), ["CAP_NET_ADMIN"]);
        assert!(sets(&["ALL"], &["CAP_CHOWN"]).unwrap().iter().all(|name| name != "CAP_CHOWN"));
        assert!(sets(&["nonsense"], &[]).is_err());
    }
}
