//! Limits: checked in dockerd's words, then the engine's values.

use crate::error::ApiError;
use crate::wire::host_config::{self as wire, ThrottleDevice};
use tare_engine::request::{DeviceRequest, Resources, Ulimit};

/// The least memory a container may be limited to, in bytes.
const LEAST_MEMORY: i64 = 6 << 20;

/// Refuses what can never work. `update`: a change of a container that has limits already.
pub(crate) fn check(resources: &wire::Resources, cpus: usize, update: bool) -> Result<(), ApiError> {
    check_memory(resources, update)?;
    check_cpu(resources, cpus)?;
    if resources.blkio_weight != 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    if resources.io_maximum_bandwidth != 0 || resources.io_maximum_iops != 0 {
        return refuse(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps",
        );
    }
    if resources.device_requests.iter().flatten().next().is_some() {
        // No driver is there that could answer one.
        let devices = resources.device_requests.iter().flatten();
        let text: Vec<String> = devices.map(could_not_select).collect();
        return Err(ApiError::internal(text.join("\n")));
    }
    Ok(())
}

fn could_not_select(device: &wire::DeviceRequest) -> String {
    let sets: Vec<String> =
        device.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" "))).collect();
    let driver = crate::query::quote(&device.driver);
    format!("could not select device driver {driver} with capabilities: [{}]", sets.join(" "))
}

/// Processors and memory nodes of a list that the host does not have. `available` is a list of the kernel's form.
pub(crate) fn check_sets(resources: &wire::Resources, cpus: &str, nodes: &str) -> Result<(), ApiError> {
    for (wanted, available, what, name) in [
        (&resources.cpuset_cpus, cpus, "cpuset cpus", "CPUs"),
        (&resources.cpuset_mems, nodes, "cpuset mems", "memory nodes"),
    ] {
        let Some(numbers) = parse_list(wanted) else {
            return refuse(format!("Invalid value {wanted} for {what}: invalid format: {wanted}"));
        };
        // A host that does not tell what it has is asked by the kernel later.
        let has = parse_list(available).filter(|has| !has.is_empty());
        if has.is_some_and(|has| !numbers.is_subset(&has)) {
            return refuse(format!(
                "Requested {name} are not available - requested {wanted}, available: {available}"
            ));
        }
    }
    Ok(())
}

/// `0-3,5`: the numbers; `None` for what is no list. A list is short: the kernel knows at most some thousands.
fn parse_list(text: &str) -> Option<std::collections::BTreeSet<u16>> {
    let mut numbers = std::collections::BTreeSet::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
        if first > last || last > 8192 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// What the kernel of this host does not do of what was asked for; the request goes on without it.
pub(crate) fn discard_unsupported(resources: &mut wire::Resources, has_weight: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !has_weight && resources.blkio_weight != 0 {
        resources.blkio_weight = 0;
        warnings.push(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
                .to_owned(),
        );
    }
    if !has_weight && resources.blkio_weight_device.iter().flatten().next().is_some() {
        resources.blkio_weight_device = None;
        warnings.push("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.".to_owned());
    }
    if resources.oom_kill_disable == Some(true) && resources.memory == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned());
    }
    warnings
}

fn check_memory(resources: &wire::Resources, update: bool) -> Result<(), ApiError> {
    let (memory, swap, soft) = (resources.memory, resources.memory_swap, resources.memory_reservation);
    if memory != 0 && memory < LEAST_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && swap > 0 && swap < memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 && !update {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(swappiness) = resources.memory_swappiness.filter(|value| !(-1..=100).contains(value)) {
        return refuse(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    if soft > 0 && soft < LEAST_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && soft > memory {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    Ok(())
}

fn check_cpu(resources: &wire::Resources, cpus: usize) -> Result<(), ApiError> {
    let nano = resources.nano_cpus;
    if nano > 0 && resources.cpu_period > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if nano > 0 && resources.cpu_quota > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if nano < 0 || nano > i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000) {
        return refuse(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if resources.cpu_period != 0 && !(1000..=1_000_000).contains(&resources.cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < 1000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    Ok(())
}

fn refuse(message: impl Into<String>) -> Result<(), ApiError> {
    Err(ApiError::bad_parameter(message))
}

/// The engine's limits.
pub(crate) fn to_resources(wire: &wire::Resources) -> Resources {
    let some = |value: i64| Some(value).filter(|value| *value != 0);
    Resources {
        memory: some(wire.memory),
        memory_reservation: some(wire.memory_reservation),
        memory_swap: some(wire.memory_swap),
        memory_swappiness: wire.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        nano_cpus: some(wire.nano_cpus),
        cpu_shares: some(wire.cpu_shares),
        cpu_period: some(wire.cpu_period),
        cpu_quota: some(wire.cpu_quota),
        cpu_realtime_period: some(wire.cpu_realtime_period),
        cpu_realtime_runtime: some(wire.cpu_realtime_runtime),
        cpuset_cpus: wire.cpuset_cpus.clone(),
        cpuset_mems: wire.cpuset_mems.clone(),
        pids_limit: wire.pids_limit,
        blkio_weight: Some(wire.blkio_weight).filter(|weight| *weight != 0),
        device_read_bps: rates(&wire.blkio_device_read_bps),
        device_write_bps: rates(&wire.blkio_device_write_bps),
        device_read_iops: rates(&wire.blkio_device_read_iops),
        device_write_iops: rates(&wire.blkio_device_write_iops),
        oom_kill_disable: wire.oom_kill_disable.unwrap_or_default(),
        cgroup_parent: wire.cgroup_parent.clone(),
        ulimits: wire.ulimits.iter().flatten().map(to_ulimit).collect(),
        devices: wire.devices.iter().flatten().map(to_device).collect(),
        device_cgroup_rules: wire.device_cgroup_rules.clone().unwrap_or_default(),
    }
}

fn rates(devices: &Option<Vec<ThrottleDevice>>) -> Vec<(String, u64)> {
    devices.iter().flatten().map(|device| (device.path.clone(), device.rate)).collect()
}

fn to_ulimit(wire: &wire::Ulimit) -> Ulimit {
    Ulimit { name: wire.name.clone(), soft: wire.soft, hard: wire.hard }
}

fn to_device(wire: &wire::DeviceMapping) -> DeviceRequest {
    let or = |text: &String, other: &str| if text.is_empty() { other.to_owned() } else { text.clone() };
    DeviceRequest {
        host: wire.path_on_host.clone(),
        container: or(&wire.path_in_container, &wire.path_on_host),
        permissions: or(&wire.cgroup_permissions, "rwm"),
    }
}

/// The limits of a container after an update: what the change says replaces what was asked for before.
pub(crate) fn merge(into: &mut wire::Resources, change: &wire::Resources) {
    let replace = |old: &mut i64, new: i64| {
        if new != 0 {
            *old = new;
        }
    };
    replace(&mut into.memory, change.memory);
    replace(&mut into.memory_reservation, change.memory_reservation);
    replace(&mut into.memory_swap, change.memory_swap);
    replace(&mut into.nano_cpus, change.nano_cpus);
    replace(&mut into.cpu_shares, change.cpu_shares);
    replace(&mut into.cpu_period, change.cpu_period);
    replace(&mut into.cpu_quota, change.cpu_quota);
    replace(&mut into.cpu_realtime_period, change.cpu_realtime_period);
    replace(&mut into.cpu_realtime_runtime, change.cpu_realtime_runtime);
    for (old, new) in
        [(&mut into.cpuset_cpus, &change.cpuset_cpus), (&mut into.cpuset_mems, &change.cpuset_mems)]
    {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    if change.blkio_weight != 0 {
        into.blkio_weight = change.blkio_weight;
    }
    if change.pids_limit.is_some() {
        into.pids_limit = change.pids_limit;
    }
    // A quota replaces the older way to say it, and the reverse.
    if change.nano_cpus != 0 {
        (into.cpu_period, into.cpu_quota) = (0, 0);
    } else if change.cpu_quota != 0 || change.cpu_period != 0 {
        into.nano_cpus = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> Option<String> {
        let resources = crate::wire::parse(json.as_bytes()).unwrap();
        check(&resources, 2, false).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn impossible_limits_are_refused_in_dockerds_words() {
        let table = [
            (r#"{"Memory":1}"#, "Minimum memory limit allowed is 6MB"),
            (r#"{"Memory":-5}"#, "Minimum memory limit allowed is 6MB"),
            (
                r#"{"MemorySwap":10000000}"#,
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ),
            (
                r#"{"NanoCpus":3000000000}"#,
                "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            ),
            (
                r#"{"CpuPeriod":1}"#,
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ),
            (r#"{"BlkioWeight":5}"#, "Range of blkio weight is from 10 to 1000"),
            (r#"{"MemorySwappiness":101}"#, "Invalid value: 101, valid memory swappiness range is 0-100"),
        ];
        for (json, expected) in table {
            assert_eq!(message(json).as_deref(), Some(expected), "{json}");
        }
        assert_eq!(message(r#"{"Memory":8388608,"NanoCpus":500000000,"MemorySwap":-1}"#), None);
    }

    #[test]
    fn sets_are_compared_with_what_the_host_has() {
        let message = |json: &str| {
            let resources = crate::wire::parse(json.as_bytes()).unwrap();
            check_sets(&resources, "0-1", "0").err().map(|error| error.message().to_owned())
        };
        assert_eq!(message(r#"{"CpusetCpus":"0,1","CpusetMems":"0"}"#), None);
        assert_eq!(
            message(r#"{"CpusetCpus":"0-7"}"#).unwrap(),
            "Requested CPUs are not available - requested 0-7, available: 0-1"
        );
        assert_eq!(
            message(r#"{"CpusetMems":"1"}"#).unwrap(),
            "Requested memory nodes are not available - requested 1, available: 0"
        );
        for bad in ["x", "1-", "3-1", "0-99999999"] {
            let error = message(&format!(r#"{{"CpusetCpus":"{bad}"}}"#)).unwrap();
            assert!(error.starts_with("Invalid value"), "{error}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_do_is_said_and_discarded() {
        let mut resources: wire::Resources = crate::wire::parse(
            br#"{"BlkioWeight":100,"BlkioWeightDevice":[{"Path":"/dev/null","Weight":1}],"OomKillDisable":true}"#,
        )
        .unwrap();
        assert_eq!(discard_unsupported(&mut resources, false).len(), 3);
        assert_eq!((resources.blkio_weight, resources.blkio_weight_device), (0, None));
    }

    #[test]
    fn zero_is_no_limit() {
        let wire: wire::Resources =
            crate::wire::parse(br#"{"Memory":8388608,"Devices":[{"PathOnHost":"/dev/null"}]}"#).unwrap();
        let resources = to_resources(&wire);
        assert_eq!((resources.memory, resources.cpu_shares), (Some(8 << 20), None));
        assert_eq!(resources.devices[0].container, "/dev/null");
        assert_eq!(resources.devices[0].permissions, "rwm");
    }

    #[test]
    fn an_update_replaces_what_it_says() {
        let mut old: wire::Resources = crate::wire::parse(br#"{"Memory":8388608,"CpuQuota":5000}"#).unwrap();
        merge(&mut old, &crate::wire::parse(br#"{"NanoCpus":5,"CpusetCpus":"0"}"#).unwrap());
        assert_eq!(
            (old.memory, old.nano_cpus, old.cpu_quota, old.cpuset_cpus.as_str()),
            (8 << 20, 5, 0, "0")
        );
    }
}
