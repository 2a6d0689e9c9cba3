//! `update`.

use super::{Failure, Outcome, id};
use crate::{
    Context,
    arguments::{Arguments, Flags},
    bundle,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use tare_types::spec::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

pub(crate) static FLAGS: Flags = Flags {
    values: &[
        "resources",
        "blkio-weight",
        "cpu-period",
        "cpu-quota",
        "cpu-burst",
        "cpu-rt-period",
        "cpu-rt-runtime",
        "cpu-share",
        "cpuset-cpus",
        "cpuset-mems",
        "kernel-memory",
        "kernel-memory-tcp",
        "memory",
        "memory-reservation",
        "memory-swap",
        "pids-limit",
        "cpu-idle",
        "l3-cache-schema",
        "mem-bw-schema",
    ],
    switches: &["help"],
    short: &[("r", "resources"), ("h", "help")],
    stop_after: None,
};

pub(crate) fn update(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    let mut container = context.runtime().load(id("update", arguments)?)?;
    let resources = match arguments.value("resources") {
        Some(path) => bundle::read_document(path)?,
        None => from_flags(context, arguments)?,
    };
    container.update(&resources)?;
    let schemas = ["l3-cache-schema", "mem-bw-schema"].into_iter().filter_map(|flag| arguments.value(flag));
    let schemas: Vec<String> = schemas.filter(|line| !line.is_empty()).map(ToString::to_string).collect();
    if !schemas.is_empty() {
        container.update_rdt(&schemas)?;
    }
    Ok(0)
}

fn from_flags(context: &Context<'_>, arguments: &Arguments) -> Result<LinuxResources, Failure> {
    for ignored in ["kernel-memory", "kernel-memory-tcp"] {
        if arguments.has(ignored) {
            context.log.warning(&format!("--{ignored} is ignored: the kernel no longer has that limit"));
        }
    }
    let text = |name: &str| arguments.value(name).unwrap_or_default().to_string();
    let cpu = LinuxCpu {
        shares: arguments.number("cpu-share")?,
        quota: arguments.number("cpu-quota")?,
        burst: arguments.number("cpu-burst")?,
        period: arguments.number("cpu-period")?,
        realtime_runtime: arguments.number("cpu-rt-runtime")?,
        realtime_period: arguments.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: arguments.number("cpu-idle")?,
    };
    let bytes = |name: &str| arguments.value(name).map(|value| bytes(name, value)).transpose();
    let memory = LinuxMemory {
        limit: bytes("memory")?,
        reservation: bytes("memory-reservation")?,
        swap: bytes("memory-swap")?,
        ..LinuxMemory::default()
    };
    let weight = arguments.number("blkio-weight")?;
    let pids = arguments.number("pids-limit")?;
    Ok(LinuxResources {
        cpu: (cpu != LinuxCpu::default()).then_some(cpu),
        memory: (memory != LinuxMemory::default()).then_some(memory),
        block_io: weight.map(|weight| LinuxBlockIo { weight: Some(weight), ..LinuxBlockIo::default() }),
        pids: pids.map(|limit| LinuxPids { limit: Some(limit) }),
        ..LinuxResources::default()
    })
}

/// A number of bytes, with a unit of powers of 1024 (`32M`, `1g`, `512kb`), or -1.
fn bytes(name: &str, value: &str) -> Result<i64, Failure> {
    let wrong = || Failure::from(format!("invalid value for {name}: {value:?}"));
    if value == "-1" {
        return Ok(-1);
    }
    let lower = value.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let number: i64 = lower[..end].parse().map_err(|_| wrong())?;
    let shift = match lower[end..].trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes() {
        for (text, size) in
            [("-1", -1), ("0", 0), ("32M", 32 << 20), ("1gb", 1 << 30), ("5KiB", 5 << 10), ("7b", 7)]
        {
            assert_eq!(bytes("memory", text).unwrap(), size, "{text}");
        }
        for text in ["", "x", "1x", "-2", "9999999999G"] {
            assert!(bytes("memory", text).is_err(), "{text}");
        }
    }
}
