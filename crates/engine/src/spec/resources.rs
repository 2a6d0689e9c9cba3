//! Docker's limits → the runtime specification's.

use crate::{
    Error, Result,
    request::{DeviceRequest, Resources},
};
use rustix::fs::FileType;
use tare_types::{
    ErrorKind,
    spec::{
        LinuxBlockIo, LinuxCpu, LinuxDevice, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources,
        LinuxThrottleDevice,
    },
};

/// Bytes of memory below which a container cannot start (Docker's bound).
const MIN_MEMORY: i64 = 6 << 20;
/// Microseconds of the period in which CPUs are counted.
const CPU_PERIOD: u64 = 100_000;

fn invalid(what: &'static str, value: impl ToString, detail: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "use", what, value.to_string(), detail)
}

/// The limits of a request, without devices.
///
/// # Errors
/// `InvalidArgument` for limits that contradict each other.
pub(crate) fn limits(resources: &Resources) -> Result<LinuxResources> {
    let limits = LinuxResources {
        memory: memory(resources)?,
        cpu: cpu(resources)?,
        pids: resources.pids_limit.filter(|limit| *limit != 0).map(|limit| LinuxPids { limit: Some(limit) }),
        block_io: block_io(resources)?,
        ..LinuxResources::default()
    };
    Ok(limits)
}

fn memory(resources: &Resources) -> Result<Option<LinuxMemory>> {
    let positive = |value: Option<i64>| value.filter(|value| *value != 0);
    let limit = positive(resources.memory);
    let reservation = positive(resources.memory_reservation);
    let mut swap = positive(resources.memory_swap);
    if let Some(limit) = limit.filter(|limit| *limit < MIN_MEMORY) {
        return Err(invalid("memory limit", limit, "minimum memory limit allowed is 6MB"));
    }
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap > 0
        && swap < limit
    {
        return Err(invalid(
            "memory swap",
            swap,
            "minimum memoryswap limit should be larger than memory limit",
        ));
    }
    if swap.is_some_and(|swap| swap > 0) && limit.is_none() {
        return Err(invalid(
            "memory swap",
            "",
            "you should always set the memory limit when using memoryswap limit",
        ));
    }
    if let (Some(limit), Some(reservation)) = (limit, reservation)
        && reservation > limit
    {
        let detail = "minimum memory limit can not be less than memory reservation limit";
        return Err(invalid("memory reservation", reservation, detail));
    }
    // Docker: as much swap as memory, when a limit is set and nothing is said of swap.
    if let (Some(limit), None) = (limit, swap) {
        swap = limit.checked_mul(2);
    }
    let swappiness = resources.memory_swappiness;
    if let Some(swappiness) = swappiness.filter(|value| *value > 100) {
        return Err(invalid("memory swappiness", swappiness, "valid memory swappiness range is 0-100"));
    }
    let any = limit.is_some() || reservation.is_some() || swap.is_some() || swappiness.is_some();
    Ok((any || resources.oom_kill_disable).then(|| LinuxMemory {
        limit,
        reservation,
        swap,
        swappiness,
        disable_oom_killer: resources.oom_kill_disable.then_some(true),
        ..LinuxMemory::default()
    }))
}

fn cpu(resources: &Resources) -> Result<Option<LinuxCpu>> {
    let positive = |value: Option<i64>| value.filter(|value| *value > 0);
    let mut quota = resources.cpu_quota.filter(|value| *value != 0);
    let mut period = positive(resources.cpu_period).map(i64::unsigned_abs);
    if let Some(nano) = resources.nano_cpus.filter(|nano| *nano != 0) {
        if quota.is_some() || period.is_some() {
            return Err(invalid("cpus", nano, "Nano CPUs and CPU Period or Quota cannot both be set"));
        }
        let available = std::thread::available_parallelism().map_or(1, usize::from) as i64;
        if nano < 0 || nano > available * 1_000_000_000 {
            let most = format!(
                "range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
            );
            return Err(invalid("cpus", nano as f64 / 1e9, &most));
        }
        quota = Some(nano * CPU_PERIOD as i64 / 1_000_000_000);
        period = Some(CPU_PERIOD);
    }
    if let Some(period) = period.filter(|period| !(1_000..=1_000_000).contains(period)) {
        return Err(invalid(
            "cpu period",
            period,
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if let Some(quota) = quota.filter(|quota| *quota > 0 && *quota < 1_000) {
        return Err(invalid("cpu quota", quota, "CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    let cpu = LinuxCpu {
        shares: positive(resources.cpu_shares).map(i64::unsigned_abs),
        quota,
        period,
        realtime_period: positive(resources.cpu_realtime_period).map(i64::unsigned_abs),
        realtime_runtime: positive(resources.cpu_realtime_runtime),
        cpus: resources.cpuset_cpus.clone(),
        mems: resources.cpuset_mems.clone(),
        ..LinuxCpu::default()
    };
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn block_io(resources: &Resources) -> Result<Option<LinuxBlockIo>> {
    let throttles = |rates: &[(String, u64)]| -> Result<Vec<LinuxThrottleDevice>> {
        let one = |(path, rate): &(String, u64)| {
            let (_, major, minor, _) = device_numbers(path)?;
            Ok(LinuxThrottleDevice { major, minor, rate: *rate })
        };
        rates.iter().map(one).collect()
    };
    let weight = resources.blkio_weight.filter(|weight| *weight != 0);
    if let Some(weight) = weight.filter(|weight| !(10..=1000).contains(weight)) {
        return Err(invalid("blkio weight", weight, "range of blkio weight is from 10 to 1000"));
    }
    let block_io = LinuxBlockIo {
        weight,
        throttle_read_bps_device: throttles(&resources.device_read_bps)?,
        throttle_write_bps_device: throttles(&resources.device_write_bps)?,
        throttle_read_iops_device: throttles(&resources.device_read_iops)?,
        throttle_write_iops_device: throttles(&resources.device_write_iops)?,
        ..LinuxBlockIo::default()
    };
    Ok((block_io != LinuxBlockIo::default()).then_some(block_io))
}

/// Kind (`c`, `b`) and numbers of a device of the host, and what is known of its file.
fn device_numbers(path: &str) -> Result<(&'static str, i64, i64, rustix::fs::Stat)> {
    let status = rustix::fs::stat(path).map_err(|errno| {
        let detail = format!("error gathering device information while adding custom device \"{path}\"");
        invalid("device", path, &detail).with_source(std::io::Error::from(errno))
    })?;
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => return Err(invalid("device", path, "not a device node")),
    };
    let (major, minor) = (rustix::fs::major(status.st_rdev), rustix::fs::minor(status.st_rdev));
    Ok((kind, major.into(), minor.into(), status))
}

/// The nodes of a device request and the rules that allow them. A directory stands for the devices in it.
pub(crate) fn device(request: &DeviceRequest) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>)> {
    let mut nodes = Vec::new();
    let mut add = |host: &str, container: &str| -> Result<()> {
        let (kind, major, minor, status) = device_numbers(host)?;
        nodes.push(LinuxDevice {
            path: container.to_owned(),
            kind: kind.to_owned(),
            major,
            minor,
            file_mode: Some(status.st_mode & 0o7777),
            uid: Some(status.st_uid),
            gid: Some(status.st_gid),
        });
        Ok(())
    };
    let container = if request.container.is_empty() { &request.host } else { &request.container };
    if std::fs::metadata(&request.host).is_ok_and(|metadata| metadata.is_dir()) {
        for entry in std::fs::read_dir(&request.host).into_iter().flatten().flatten() {
            let (host, name) = (entry.path(), entry.file_name());
            // What is no device in there is passed over, as Docker does.
            if let (Some(host), Some(name)) = (host.to_str(), name.to_str()) {
                add(host, &format!("{container}/{name}")).unwrap_or_default();
            }
        }
    } else {
        add(&request.host, container)?;
    }
    let access = if request.permissions.is_empty() { "rwm" } else { &request.permissions };
    if !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(invalid("device", &request.host, "invalid device mode: it must be of r, w, m"));
    }
    let rules =
        nodes.iter().map(|node| allow(&node.kind, Some(node.major), Some(node.minor), access)).collect();
    Ok((nodes, rules))
}

/// A rule that allows.
pub(crate) fn allow(kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    LinuxDeviceCgroup { allow: true, kind: kind.to_owned(), major, minor, access: access.to_owned() }
}

/// A rule in the form of the devices controller: `c 1:3 mr`, `*` for any number.
pub(crate) fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let bad = || invalid("device cgroup rule", text, "invalid device cgroup rule format");
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = parts[..] else { return Err(bad()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| if text == "*" { Ok(None) } else { text.parse().map(Some).map_err(|_| bad()) };
    if access.is_empty() || !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(bad());
    }
    Ok(allow(kind, number(major)?, number(minor)?, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_docker() {
        let resources = Resources {
            memory: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            pids_limit: Some(9),
            ..Resources::default()
        };
        let limits = limits(&resources).unwrap();
        let (memory, cpu) = (limits.memory.unwrap(), limits.cpu.unwrap());
        assert_eq!((memory.limit, memory.swap), (Some(64 << 20), Some(128 << 20)));
        assert_eq!((cpu.quota, cpu.period), (Some(50_000), Some(100_000)));
        assert_eq!(limits.pids.unwrap().limit, Some(9));
        for bad in [
            Resources { memory: Some(1), ..Resources::default() },
            Resources { memory_swap: Some(1 << 30), ..Resources::default() },
            Resources { nano_cpus: Some(i64::MAX), ..Resources::default() },
            Resources { nano_cpus: Some(1), cpu_quota: Some(5000), ..Resources::default() },
        ] {
            assert!(super::limits(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn device_rules() {
        let rule = parse_rule("c 10:* rw").unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_str()), (Some(10), None, "rw"));
        for bad in ["", "c", "d 1:1 r", "c 1 r", "c 1:x r", "c 1:1 q", "c 1:1 r x"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
        let request =
            DeviceRequest { host: "/dev/null".into(), container: String::new(), permissions: String::new() };
        let (nodes, rules) = device(&request).unwrap();
        assert_eq!((nodes[0].major, nodes[0].minor, rules[0].access.as_str()), (1, 3, "rwm"));
    }
}
