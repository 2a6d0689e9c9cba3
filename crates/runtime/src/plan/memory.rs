//! NUMA memory policies, and lists of processors and nodes (cpuset(7), "List format").

use crate::{Error, Result};
use alloc::{format, vec::Vec};
use tare_types::spec::LinuxMemoryPolicy;

/// Highest processor or node that is accepted: what the largest kernels are built for.
const HIGHEST: usize = 8191;

/// Mode with flags, and one bit per node, for set_mempolicy(2).
pub(super) fn policy(wanted: &LinuxMemoryPolicy) -> Result<(u32, Vec<u64>)> {
    let object = "linux.memoryPolicy";
    let mut mode: u32 = match wanted.mode.as_str() {
        "MPOL_DEFAULT" => 0,
        "MPOL_PREFERRED" => 1,
        "MPOL_BIND" => 2,
        "MPOL_INTERLEAVE" => 3,
        "MPOL_LOCAL" => 4,
        "MPOL_PREFERRED_MANY" => 5,
        "MPOL_WEIGHTED_INTERLEAVE" => 6,
        mode => return Err(Error::invalid(object, format!("invalid memory policy mode {mode:?}"))),
    };
    for flag in &wanted.flags {
        mode |= match flag.as_str() {
            "MPOL_F_STATIC_NODES" => 1 << 15,
            "MPOL_F_RELATIVE_NODES" => 1 << 14,
            "MPOL_F_NUMA_BALANCING" => 1 << 13,
            flag => return Err(Error::invalid(object, format!("invalid memory policy flag {flag:?}"))),
        };
    }
    let refuse = |detail: &str| {
        Error::invalid(object, format!("invalid memory policy nodes {:?}: {detail}", wanted.nodes))
    };
    let nodes = match wanted.nodes.as_str() {
        "" => Vec::new(),
        nodes => mask(object, nodes).map_err(|_| refuse("it is no list of nodes below 8192"))?,
    };
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    match mode & 0xfff {
        0 | 4 if count > 0 => {
            Err(Error::invalid(object, format!("memory policy mode requires 0 nodes but got {count}")))
        }
        2 | 3 | 5 | 6 if count == 0 => {
            Err(Error::invalid(object, "memory policy mode requires at least one node but got 0"))
        }
        _ => Ok((mode, nodes)),
    }
}

/// A list such as `0-3,7` as one bit per number.
pub(super) fn mask(object: &str, list: &str) -> Result<Vec<u64>> {
    let wrong = || Error::invalid(object, format!("invalid list {list:?}"));
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number <= HIGHEST);
    let mut mask = Vec::new();
    for part in list.split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
        if first > last {
            return Err(wrong());
        }
        if mask.len() <= last / 64 {
            mask.resize(last / 64 + 1, 0);
        }
        (first..=last).for_each(|bit| mask[bit / 64] |= 1 << (bit % 64));
    }
    if mask.is_empty() { Err(wrong()) } else { Ok(mask) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn lists() {
        assert_eq!(mask("x", "0").unwrap(), vec![1]);
        assert_eq!(mask("x", "1-3, 5").unwrap(), vec![0b10_1110]);
        assert_eq!(mask("x", "64").unwrap(), vec![0, 1]);
        for list in ["", ",", "3-1", "x", "-1", "1-", "8192", "1--2"] {
            assert!(mask("x", list).is_err(), "{list}");
        }
    }

    #[test]
    fn modes_and_flags() {
        let wanted = |mode: &str, flag: &str| LinuxMemoryPolicy {
            mode: mode.into(),
            nodes: "0".into(),
            flags: vec![flag.into()],
        };
        assert_eq!(policy(&wanted("MPOL_BIND", "MPOL_F_STATIC_NODES")).unwrap(), (2 | 1 << 15, vec![1]));
        assert!(policy(&wanted("MPOL_NONE", "MPOL_F_STATIC_NODES")).is_err());
        assert!(policy(&wanted("MPOL_BIND", "MPOL_F_NONE")).is_err());
        assert!(policy(&LinuxMemoryPolicy::default()).is_err());
    }
}
