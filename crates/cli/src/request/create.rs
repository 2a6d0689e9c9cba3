//! Flags of `create` and `run` to the body of `POST /containers/create`.

use crate::args::CreateArgs;
use crate::failure::{Failure, Manual};
use crate::request::{environment, key_values, mounts, ports, read_file};
use crate::view::human::{parse_go_duration, parse_size};
use serde_json::{Map, Value, json};
use tare_types::spec::PosixRlimit;

/// The body; `attach` says which streams the caller takes: stdin, stdout, stderr.
pub(crate) fn body(args: &CreateArgs, attach: [bool; 3]) -> Result<Value, Failure> {
    let image = args.image();
    if image.starts_with('-') {
        let flag = image.split('=').next().unwrap_or(image);
        let unknown = match flag.strip_prefix("--") {
            Some(_) => format!("unknown flag: {flag}"),
            None => format!("unknown shorthand flag: '{}' in {flag}", flag.chars().nth(1).unwrap_or('-')),
        };
        return Err(Failure { manual: Manual::Usage, ..Failure::usage(unknown) });
    }
    check(args)?;
    let ports = ports::parse(&args.publish, &args.expose)?;
    let mounts = mounts::parse(&args.volume, &args.mount, &args.tmpfs)?;
    let mut config = json!({
        "Hostname": args.hostname.clone().unwrap_or_default(),
        "Domainname": args.domainname.clone().unwrap_or_default(),
        "User": args.user.clone().unwrap_or_default(),
        "AttachStdin": attach[0],
        "AttachStdout": attach[1],
        "AttachStderr": attach[2],
        "Tty": args.tty,
        "OpenStdin": args.interactive,
        "StdinOnce": args.interactive && attach[0],
        "Env": environment(&args.env_file, &args.env)?,
        "Cmd": optional_list(args.command()),
        "Image": image,
        "WorkingDir": args.workdir.clone().unwrap_or_default(),
        "Entrypoint": entrypoint(args),
        "Labels": labels(args)?,
        "ExposedPorts": ports.exposed,
        "Volumes": mounts.volumes,
    });
    let set = |object: &mut Value, name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object[name] = value;
        }
    };
    set(&mut config, "StopSignal", args.stop_signal.clone().map(Value::from));
    set(&mut config, "StopTimeout", args.stop_timeout.map(Value::from));
    set(&mut config, "MacAddress", args.mac_address.clone().map(Value::from));
    set(&mut config, "Healthcheck", health(args)?);
    let mut host = host_config(args)?;
    host["Binds"] = json!(mounts.binds);
    host["Mounts"] = json!(mounts.mounts);
    host["Tmpfs"] = Value::Object(mounts.tmpfs);
    host["PortBindings"] = Value::Object(ports.bindings);
    config["HostConfig"] = host;
    config["NetworkingConfig"] = networking(args)?;
    Ok(config)
}

/// What docker's command refuses before it asks the daemon.
fn check(args: &CreateArgs) -> Result<(), Failure> {
    if let Some(swappiness) = args.memory_swappiness.filter(|value| !(-1..=100).contains(value)) {
        return Err(Failure::usage(format!(
            "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        )));
    }
    for entry in &args.add_host {
        let flag = "--add-host";
        let Some((name, address)) = entry.split_once([':', '=']).filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::flag(entry, flag, format!("bad format for add-host: \"{entry}\"")));
        };
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        if address != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
            let _ = name;
            return Err(Failure::flag(entry, flag, format!("invalid IP address in add-host: \"{address}\"")));
        }
    }
    if let Some(server) = args.dns.iter().find(|server| server.parse::<std::net::IpAddr>().is_err()) {
        return Err(Failure::flag(
            server,
            "--dns",
            format!("IP address is not correctly formatted: {server}"),
        ));
    }
    for (name, kind, mode, allowed) in [
        ("--pid", "PID", &args.pid, &["host"][..]),
        ("--uts", "UTS", &args.uts, &["host"][..]),
        ("--userns", "USER", &args.userns, &["host"][..]),
        ("--cgroupns", "CGROUP", &args.cgroupns, &["host", "private"][..]),
    ] {
        let Some(mode) = mode.as_deref().filter(|mode| !mode.is_empty()) else { continue };
        let of_container =
            name == "--pid" && mode.strip_prefix("container:").is_some_and(|id| !id.is_empty());
        if !of_container && !allowed.contains(&mode) {
            return Err(Failure::usage(format!("{name}: invalid {kind} mode")));
        }
    }
    for option in &args.sysctl {
        let name = option.split('=').next().unwrap_or_default();
        let namespaced = [
            "kernel.msgmax",
            "kernel.msgmnb",
            "kernel.msgmni",
            "kernel.sem",
            "kernel.shmall",
            "kernel.shmmax",
            "kernel.shmmni",
            "kernel.shm_rmid_forced",
        ]
        .contains(&name)
            || ["net.", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix));
        if !namespaced || !option.contains('=') {
            return Err(Failure::flag(option, "--sysctl", format!("sysctl '{option}' is not allowed")));
        }
    }
    let is_rule = |rule: &str| {
        let parts: Vec<&str> = rule.split_whitespace().collect();
        matches!(parts[..], ["a" | "b" | "c", numbers, access]
            if numbers.contains(':') && access.bytes().all(|b| b"rwm".contains(&b)))
    };
    if let Some(rule) = args.device_cgroup_rule.iter().find(|rule| !is_rule(rule)) {
        let why = format!("invalid device cgroup format '{rule}'");
        return Err(Failure::flag(rule, "--device-cgroup-rule", why));
    }
    if args.log_driver.as_deref() == Some("none") && !args.log_opt.is_empty() {
        return Err(Failure::usage("invalid logging opts for driver none"));
    }
    if args.health_retries.is_some_and(|retries| retries < 0) {
        return Err(Failure::usage("--health-retries cannot be negative"));
    }
    for (name, text) in [
        ("--health-interval", &args.health_interval),
        ("--health-timeout", &args.health_timeout),
        ("--health-start-period", &args.health_start_period),
        ("--health-start-interval", &args.health_start_interval),
    ] {
        if text.as_ref().is_some_and(|text| text.starts_with('-')) {
            return Err(Failure::usage(format!("{name} cannot be negative")));
        }
    }
    if let Some(mac) = args.mac_address.as_ref().filter(|mac| !is_mac(mac)) {
        return Err(Failure::usage(format!("{mac} is not a valid mac address")));
    }
    if args.no_healthcheck && args.health_cmd.is_some() {
        return Err(Failure::usage("--no-healthcheck conflicts with --health-* options"));
    }
    Ok(())
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn optional_list(list: &[String]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// `--entrypoint ""` clears the image's.
fn entrypoint(args: &CreateArgs) -> Value {
    match args.entrypoint.as_deref() {
        None => Value::Null,
        Some(text) => json!([text]),
    }
}

fn labels(args: &CreateArgs) -> Result<Map<String, Value>, Failure> {
    let mut lines = Vec::new();
    for file in &args.label_file {
        let text = read_file(file)?;
        lines.extend(
            text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned),
        );
    }
    // A line without a value means nothing in a file; on the command line it is a label without one.
    lines.retain(|line| line.contains('='));
    lines.extend(args.label.iter().cloned());
    Ok(key_values(&lines))
}

fn health(args: &CreateArgs) -> Result<Option<Value>, Failure> {
    if args.no_healthcheck {
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    let nanos = |text: &Option<String>| match text {
        None => Ok(0),
        Some(text) => {
            parse_go_duration(text).ok_or_else(|| Failure::usage(format!("invalid duration \"{text}\"")))
        }
    };
    let start_interval = nanos(&args.health_start_interval)?;
    let (interval, timeout, start) =
        (nanos(&args.health_interval)?, nanos(&args.health_timeout)?, nanos(&args.health_start_period)?);
    let retries = args.health_retries.unwrap_or(0);
    if args.health_cmd.is_none()
        && interval == 0
        && timeout == 0
        && start == 0
        && start_interval == 0
        && retries == 0
    {
        return Ok(None);
    }
    let test = args.health_cmd.as_ref().map(|command| json!(["CMD-SHELL", command]));
    Ok(Some(json!({"Test": test, "Interval": interval, "Timeout": timeout, "StartPeriod": start,
            "StartInterval": start_interval, "Retries": retries})))
}

fn size(flag: &str, text: &Option<String>) -> Result<i64, Failure> {
    match text {
        None => Ok(0),
        Some(text) if text == "-1" && flag.ends_with("swap") => Ok(-1),
        Some(text) => {
            parse_size(text).ok_or_else(|| Failure::flag(text, flag, format!("invalid size: '{text}'")))
        }
    }
}

/// `1.5` → 1 500 000 000
pub(crate) fn nano_cpus(text: &str) -> Result<i64, Failure> {
    let cpus: f64 =
        text.parse().ok().filter(|cpus: &f64| cpus.is_finite() && *cpus >= 0.0).ok_or_else(|| {
            Failure::flag(text, "--cpus", format!("failed to parse {text} as a rational number"))
        })?;
    Ok((cpus * 1e9).round() as i64)
}

/// `no`, `always`, `unless-stopped`, `on-failure[:n]`
pub(crate) fn restart_policy(text: &str) -> Result<Value, Failure> {
    let (name, count) = text.split_once(':').unwrap_or((text, "0"));
    let count: i64 = count.parse().map_err(|_| {
        Failure::usage("invalid restart policy format: maximum retry count must be an integer")
    })?;
    Ok(json!({"Name": name, "MaximumRetryCount": count}))
}

fn host_config(args: &CreateArgs) -> Result<Value, Failure> {
    let cpus = args.cpus.as_deref().map(nano_cpus).transpose()?.unwrap_or(0);
    let network = args.network.first().cloned().unwrap_or_else(|| "default".to_owned());
    let mut host = json!({
        "ContainerIDFile": args.cidfile.clone().unwrap_or_default(),
        "LogConfig": {"Type": args.log_driver.clone().unwrap_or_default(), "Config": key_values(&args.log_opt)},
        "NetworkMode": network,
        "RestartPolicy": restart_policy(args.restart.as_deref().unwrap_or("no"))?,
        "AutoRemove": args.rm,
        "VolumeDriver": args.volume_driver.clone().unwrap_or_default(),
        "VolumesFrom": args.volumes_from,
        "Links": optional_list(&args.link),
        "Isolation": args.isolation.clone().unwrap_or_default(),
        "CapAdd": args.cap_add,
        "CapDrop": args.cap_drop,
        "CgroupnsMode": args.cgroupns.clone().unwrap_or_default(),
        "Dns": args.dns,
        "DnsOptions": args.dns_option,
        "DnsSearch": args.dns_search,
        "ExtraHosts": args.add_host,
        "GroupAdd": args.group_add,
        "IpcMode": args.ipc.clone().unwrap_or_default(),
        "OomScoreAdj": args.oom_score_adj.unwrap_or(0),
        "PidMode": args.pid.clone().unwrap_or_default(),
        "Privileged": args.privileged,
        "PublishAllPorts": args.publish_all,
        "ReadonlyRootfs": args.read_only,
        "SecurityOpt": security(&args.security_opt)?,
        "StorageOpt": key_values(&args.storage_opt),
        "UTSMode": args.uts.clone().unwrap_or_default(),
        "UsernsMode": args.userns.clone().unwrap_or_default(),
        "ShmSize": size("--shm-size", &args.shm_size)?,
        "Sysctls": key_values(&args.sysctl),
        "Annotations": key_values(&args.annotation),
    });
    let limits = json!({
        "CpuShares": args.cpu_shares.unwrap_or(0),
        "Memory": size("-m, --memory", &args.memory)?,
        "NanoCpus": cpus,
        "CgroupParent": args.cgroup_parent.clone().unwrap_or_default(),
        "BlkioWeight": args.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": weights(&args.blkio_weight_device)?,
        "BlkioDeviceReadBps": rates(&args.device_read_bps, "--device-read-bps", true)?,
        "BlkioDeviceWriteBps": rates(&args.device_write_bps, "--device-write-bps", true)?,
        "BlkioDeviceReadIOps": rates(&args.device_read_iops, "--device-read-iops", false)?,
        "BlkioDeviceWriteIOps": rates(&args.device_write_iops, "--device-write-iops", false)?,
        "CpuRealtimePeriod": args.cpu_rt_period.unwrap_or(0),
        "CpuRealtimeRuntime": args.cpu_rt_runtime.unwrap_or(0),
        "KernelMemory": size("--kernel-memory", &args.kernel_memory)?,
        "DeviceRequests": gpus(args.gpus.as_deref())?,
        "CpuPeriod": args.cpu_period.unwrap_or(0),
        "CpuQuota": args.cpu_quota.unwrap_or(0),
        "CpusetCpus": args.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": args.cpuset_mems.clone().unwrap_or_default(),
        "Devices": args.device.iter().map(|spec| device(spec)).collect::<Result<Vec<_>, _>>()?,
        "DeviceCgroupRules": args.device_cgroup_rule,
        "MemoryReservation": size("--memory-reservation", &args.memory_reservation)?,
        "MemorySwap": size("--memory-swap", &args.memory_swap)?,
        "MemorySwappiness": args.memory_swappiness.unwrap_or(-1),
        "OomKillDisable": args.oom_kill_disable,
        "PidsLimit": args.pids_limit.unwrap_or(0),
        "Ulimits": args.ulimit.iter().map(|spec| ulimit(spec)).collect::<Result<Vec<_>, _>>()?,
    });
    if let (Value::Object(host), Value::Object(limits)) = (&mut host, limits) {
        host.extend(limits);
    }
    if let Some(runtime) = &args.runtime {
        host["Runtime"] = Value::from(runtime.as_str());
    }
    if args.init {
        host["Init"] = Value::from(true);
    }
    if let Some((rows, columns)) = crate::view::terminal::size().filter(|_| args.tty) {
        host["ConsoleSize"] = json!([rows, columns]);
    }
    Ok(host)
}

/// `seccomp=FILE` carries the file's content to the daemon.
fn security(flags: &[String]) -> Result<Vec<String>, Failure> {
    flags
        .iter()
        .map(|flag| {
            let Some(file) = flag.strip_prefix("seccomp=").or_else(|| flag.strip_prefix("seccomp:")) else {
                return Ok(flag.clone());
            };
            if matches!(file, "unconfined" | "builtin") {
                return Ok(format!("seccomp={file}"));
            }
            let text = read_file(file)?;
            let profile: Value = serde_json::from_str(&text).map_err(|error| {
                Failure::usage(format!("compacting json for seccomp profile ({file}) failed: {error}"))
            })?;
            Ok(format!("seccomp={profile}"))
        })
        .collect()
}

/// `/dev/x[:/dev/y][:rwm]`
fn device(spec: &str) -> Result<Value, Failure> {
    let parts: Vec<&str> = spec.split(':').collect();
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
        _ => return Err(Failure::usage(format!("invalid device specification: {spec}"))),
    };
    Ok(json!({"PathOnHost": host, "PathInContainer": container, "CgroupPermissions": mode}))
}

/// `/dev/x:rate`, in bytes with a unit or in operations.
fn rates(specs: &[String], flag: &str, bytes: bool) -> Result<Value, Failure> {
    let one = |spec: &String| {
        let invalid = |why: String| Failure::flag(spec, flag, why);
        let (path, rate) = spec.split_once(':').ok_or_else(|| invalid(format!("bad format: {spec}")))?;
        if !path.starts_with("/dev/") {
            return Err(invalid(format!("bad format for device path: {spec}")));
        }
        let unit = if bytes { "<number>[<unit>]" } else { "<number>" };
        let rate = if bytes { parse_size(rate) } else { rate.parse().ok().filter(|rate| *rate >= 0) };
        let wrong = || {
            invalid(format!(
                "invalid rate for device: {spec}. The correct format is <device-path>:{unit}. Number must be a positive integer"
            ))
        };
        Ok(json!({"Path": path, "Rate": rate.ok_or_else(wrong)?}))
    };
    specs.iter().map(one).collect::<Result<Vec<_>, _>>().map(Value::from)
}

/// `/dev/x:weight`
fn weights(specs: &[String]) -> Result<Value, Failure> {
    let one = |spec: &String| {
        let invalid = |why: String| Failure::flag(spec, "--blkio-weight-device", why);
        let (path, weight) = spec.split_once(':').ok_or_else(|| invalid(format!("bad format: {spec}")))?;
        let weight = weight.parse::<u16>().ok().filter(|weight| *weight == 0 || (10..=1000).contains(weight));
        let weight = weight.ok_or_else(|| invalid(format!("invalid weight for device: {spec}")))?;
        Ok(json!({"Path": path, "Weight": weight}))
    };
    specs.iter().map(one).collect::<Result<Vec<_>, _>>().map(Value::from)
}

/// `all` or a number: the daemon says whether somebody can serve it.
fn gpus(wanted: Option<&str>) -> Result<Value, Failure> {
    let Some(text) = wanted else { return Ok(Value::Null) };
    let count = match text {
        "all" => -1,
        text => text
            .parse()
            .map_err(|_| Failure::flag(text, "--gpus", "invalid count: it must be a number or all"))?,
    };
    Ok(json!([{"Driver": "", "Count": count, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}}]))
}

/// `name=soft[:hard]`
fn ulimit(spec: &str) -> Result<Value, Failure> {
    let fault = |why: String| Failure::flag(spec, "--ulimit", why);
    let (name, limits) =
        spec.split_once('=').ok_or_else(|| fault(format!("invalid ulimit argument: {spec}")))?;
    if !PosixRlimit::NAMES.contains(&name) {
        return Err(fault(format!("invalid ulimit type: {name}")));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| {
        let wrong = |_| fault(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"));
        text.parse::<i64>().map_err(wrong)
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(fault(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(json!({"Name": name, "Soft": soft, "Hard": hard}))
}

fn networking(args: &CreateArgs) -> Result<Value, Failure> {
    let mut endpoints = Map::new();
    let built_in = |network: &str| {
        matches!(network, "default" | "bridge" | "none" | "host") || network.starts_with("container:")
    };
    let networks = match args.network.as_slice() {
        [] => &["default".to_owned()][..],
        networks => networks,
    };
    if !args.network_alias.is_empty() && networks.iter().any(|network| built_in(network)) {
        let only = "network-scoped aliases are only supported for user-defined networks";
        return Err(Failure::usage(only));
    }
    let wants_endpoint = args.ip.is_some() || args.ip6.is_some() || !args.link_local_ip.is_empty();
    for network in networks {
        let mut endpoint = json!({});
        if wants_endpoint {
            endpoint["IPAMConfig"] = json!({
                "IPv4Address": args.ip.clone().unwrap_or_default(),
                "IPv6Address": args.ip6.clone().unwrap_or_default(),
                "LinkLocalIPs": args.link_local_ip,
            });
        }
        if network == "default" && !wants_endpoint {
            continue;
        }
        if !args.link.is_empty() && !built_in(network) {
            endpoint["Links"] = json!(args.link);
        }
        if !args.network_alias.is_empty() {
            endpoint["Aliases"] = json!(args.network_alias);
        }
        if wants_endpoint || !built_in(network) || network == "bridge" {
            endpoints.insert(network.clone(), endpoint);
        }
    }
    Ok(json!({"EndpointsConfig": endpoints}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser;

    fn parsed(words: &[&str]) -> Value {
        let cli = Cli::try_parse_from(["tare", "run"].iter().chain(words)).unwrap();
        let Verb::Run(run) = cli.verb else { panic!("not run") };
        body(&run.create, [run.create.interactive, true, true]).unwrap()
    }

    #[test]
    fn flags_after_the_image_belong_to_the_command() {
        let body = parsed(&["--rm", "-it", "-e", "A=1", "busybox", "sh", "-c", "echo --rm -it"]);
        assert_eq!(body["Cmd"], json!(["sh", "-c", "echo --rm -it"]));
        assert_eq!(body["Tty"], true);
        assert_eq!(body["OpenStdin"], true);
        assert_eq!(body["HostConfig"]["AutoRemove"], true);
        assert_eq!(body["Env"], json!(["A=1"]));
    }

    #[test]
    fn limits_and_policies() {
        let body = parsed(&[
            "-m",
            "64m",
            "--cpus",
            "1.5",
            "--pids-limit",
            "-1",
            "--restart",
            "on-failure:3",
            "-h",
            "name",
            "x",
        ]);
        let host = &body["HostConfig"];
        assert_eq!(host["Memory"], 64 << 20);
        assert_eq!(host["NanoCpus"], 1_500_000_000_i64);
        assert_eq!(host["PidsLimit"], -1);
        assert_eq!(host["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 3}));
        assert_eq!(body["Hostname"], "name");
        assert_eq!(body["Cmd"], Value::Null);
    }
}
