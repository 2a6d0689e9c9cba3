//! Flags of `create` and `run` to the body of `POST /containers/create`.

use crate::args::CreateArgs;
use crate::failure::Failure;
use crate::request::{environment, key_values, mounts, ports, read_file};
use crate::view::human::{parse_go_duration, parse_size};
use serde_json::{Map, Value, json};

/// The body; `attach` says which streams the caller takes: stdin, stdout, stderr.
pub(crate) fn body(args: &CreateArgs, attach: [bool; 3]) -> Result<Value, Failure> {
    let image = args.image();
    if image.starts_with('-') {
        let flag = image.split('=').next().unwrap_or(image);
        return Err(Failure::usage(format!("unknown flag: {flag}")).hint("see 'tare run --help'"));
    }
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
    config["NetworkingConfig"] = networking(args);
    Ok(config)
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
    let (interval, timeout, start) =
        (nanos(&args.health_interval)?, nanos(&args.health_timeout)?, nanos(&args.health_start_period)?);
    let retries = args.health_retries.unwrap_or(0);
    if args.health_cmd.is_none() && interval == 0 && timeout == 0 && start == 0 && retries == 0 {
        return Ok(None);
    }
    let test = args.health_cmd.as_ref().map(|command| json!(["CMD-SHELL", command]));
    Ok(Some(
        json!({"Test": test, "Interval": interval, "Timeout": timeout, "StartPeriod": start, "Retries": retries}),
    ))
}

fn size(flag: &str, text: &Option<String>) -> Result<i64, Failure> {
    match text {
        None => Ok(0),
        Some(text) if text == "-1" => Ok(-1),
        Some(text) => parse_size(text).ok_or_else(|| {
            Failure::usage(format!(
                "invalid argument \"{text}\" for \"--{flag}\" flag: invalid size: '{text}'"
            ))
        }),
    }
}

/// `1.5` → 1 500 000 000
pub(crate) fn nano_cpus(text: &str) -> Result<i64, Failure> {
    let cpus: f64 =
        text.parse().ok().filter(|cpus: &f64| cpus.is_finite() && *cpus >= 0.0).ok_or_else(|| {
            Failure::usage(format!(
                "invalid argument \"{text}\" for \"--cpus\" flag: failed to parse {text} as a rational number"
            ))
        })?;
    Ok((cpus * 1e9).round() as i64)
}

/// `no`, `always`, `unless-stopped`, `on-failure[:n]`
pub(crate) fn restart_policy(text: &str) -> Result<Value, Failure> {
    let (name, count) = text.split_once(':').unwrap_or((text, "0"));
    let count: i64 =
        count.parse().map_err(|_| Failure::usage("maximum retry count must be an integer".to_owned()))?;
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
        "VolumesFrom": args.volumes_from,
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
        "ShmSize": size("shm-size", &args.shm_size)?,
        "Sysctls": key_values(&args.sysctl),
        "Annotations": key_values(&args.annotation),
    });
    let limits = json!({
        "CpuShares": args.cpu_shares.unwrap_or(0),
        "Memory": size("memory", &args.memory)?,
        "NanoCpus": cpus,
        "CgroupParent": args.cgroup_parent.clone().unwrap_or_default(),
        "BlkioWeight": args.blkio_weight.unwrap_or(0),
        "CpuPeriod": args.cpu_period.unwrap_or(0),
        "CpuQuota": args.cpu_quota.unwrap_or(0),
        "CpusetCpus": args.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": args.cpuset_mems.clone().unwrap_or_default(),
        "Devices": args.device.iter().map(|spec| device(spec)).collect::<Result<Vec<_>, _>>()?,
        "DeviceCgroupRules": args.device_cgroup_rule,
        "MemoryReservation": size("memory-reservation", &args.memory_reservation)?,
        "MemorySwap": size("memory-swap", &args.memory_swap)?,
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

/// `name=soft[:hard]`
fn ulimit(spec: &str) -> Result<Value, Failure> {
    let invalid = || Failure::usage(format!("invalid ulimit argument: {spec}"));
    let (name, limits) = spec.split_once('=').ok_or_else(invalid)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| invalid());
    Ok(json!({"Name": name, "Soft": number(soft)?, "Hard": number(hard)?}))
}

fn networking(args: &CreateArgs) -> Value {
    let mut endpoints = Map::new();
    for network in &args.network {
        let mut endpoint = json!({});
        if let Some(address) = &args.ip {
            endpoint["IPAMConfig"] = json!({"IPv4Address": address});
        }
        if !args.network_alias.is_empty() {
            endpoint["Aliases"] = json!(args.network_alias);
        }
        if !matches!(network.as_str(), "none" | "host") && !network.starts_with("container:") {
            endpoints.insert(network.clone(), endpoint);
        }
    }
    json!({"EndpointsConfig": endpoints})
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
