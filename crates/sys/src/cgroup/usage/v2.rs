//! Version 2: one directory.

use super::{
    BlockIo, BlockIoEntry, Counter, Cpu, HugePages, Memory, Pids, Pressure, Stall, Usage, number, optional,
};
use crate::Result;
use crate::cgroup::{flat, value_of};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

pub(super) fn read(at: &str) -> Result<Usage> {
    let limit = match number(at, "pids.max")? {
        u64::MAX => 0,
        limit => limit,
    };
    Ok(Usage {
        cpu: read_cpu(at)?,
        memory: read_memory(at)?,
        pids: Pids { current: number(at, "pids.current")?, limit },
        block_io: optional(at, "io.stat")?.map(|text| parse_io(&text)).unwrap_or_default(),
        huge_pages: read_hugetlb(at)?,
        pressure: [pressure(at, "cpu")?, pressure(at, "memory")?, pressure(at, "io")?],
    })
}

fn read_cpu(at: &str) -> Result<Cpu> {
    let Some(text) = optional(at, "cpu.stat")? else { return Ok(Cpu::default()) };
    let value = |key| value_of(&text, key).unwrap_or(0);
    Ok(Cpu {
        total: value("usage_usec") * 1000,
        user: value("user_usec") * 1000,
        kernel: value("system_usec") * 1000,
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_time: value("throttled_usec") * 1000,
        ..Cpu::default()
    })
}

fn read_memory(at: &str) -> Result<Memory> {
    let details = optional(at, "memory.stat")?.map(|text| flat(&text)).unwrap_or_default();
    let cache = details.iter().find(|(key, _)| key == "file").map_or(0, |(_, value)| *value);
    let Some(usage) = optional(at, "memory.current")? else {
        return Ok(Memory { cache, details, ..Memory::default() });
    };
    let events = optional(at, "memory.events")?.unwrap_or_default();
    let usage = Counter {
        usage: crate::cgroup::number(&usage).unwrap_or(0),
        peak: number(at, "memory.peak")?,
        limit: number(at, "memory.max")?,
        failures: value_of(&events, "max").unwrap_or(0),
    };
    // Version 1 counts memory and swap together; its readers expect that.
    let swap = Counter {
        usage: usage.usage + number(at, "memory.swap.current")?,
        peak: 0,
        limit: number(at, "memory.swap.max")?.saturating_add(usage.limit),
        failures: 0,
    };
    Ok(Memory { usage, swap, cache, details, ..Memory::default() })
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn parse_io(text: &str) -> BlockIo {
    let mut io = BlockIo::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let device = fields.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (list, operation) = match key {
                "rbytes" => (&mut io.bytes, "Read"),
                "wbytes" => (&mut io.bytes, "Write"),
                "rios" => (&mut io.operations, "Read"),
                "wios" => (&mut io.operations, "Write"),
                _ => continue,
            };
            list.push(BlockIoEntry { major, minor, operation: operation.to_string(), value });
        }
    }
    io
}

fn read_hugetlb(at: &str) -> Result<Vec<(String, HugePages)>> {
    let mut all = Vec::new();
    for size in super::huge_page_sizes() {
        let Some(usage) = optional(at, &format!("hugetlb.{size}.current"))? else { continue };
        let events = optional(at, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let pages = HugePages {
            usage: crate::cgroup::number(&usage).unwrap_or(0),
            peak: 0,
            failures: value_of(&events, "max").unwrap_or(0),
        };
        all.push((size, pages));
    }
    Ok(all)
}

fn pressure(at: &str, resource: &str) -> Result<Option<Pressure>> {
    Ok(optional(at, &format!("{resource}.pressure"))?.map(|text| parse_pressure(&text)))
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let stall = match fields.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        *stall = parse_stall(fields);
    }
    pressure
}

fn parse_stall<'a>(fields: impl Iterator<Item = &'a str>) -> Stall {
    let hundredths = |text: &str| -> u32 {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        whole.parse::<u32>().unwrap_or(0) * 100 + part.parse::<u32>().unwrap_or(0)
    };
    let mut stall = Stall::default();
    for (key, value) in fields.filter_map(|field| field.split_once('=')) {
        match key {
            "avg10" => stall.average[0] = hundredths(value),
            "avg60" => stall.average[1] = hundredths(value),
            "avg300" => stall.average[2] = hundredths(value),
            "total" => stall.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    stall
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_lines() {
        let io = parse_io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n(unknown) rbytes=1\n");
        assert_eq!(io.bytes.iter().map(|e| e.value).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(io.operations.iter().map(|e| e.operation.as_str()).collect::<Vec<_>>(), ["Read", "Write"]);
    }

    #[test]
    fn pressure_lines() {
        let pressure = parse_pressure(
            "some avg10=1.25 avg60=0.50 avg300=0.00 total=77\nfull avg10=0.01 avg60=0.00 avg300=0.00 total=8\n",
        );
        assert_eq!(pressure.some, Stall { average: [125, 50, 0], total: 77 });
        assert_eq!(pressure.full.average[0], 1);
    }
}
