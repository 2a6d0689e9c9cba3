//! What an instance of the networks is opened with. Plain data; nothing is read from the environment.

use crate::{Error, Result, address::Subnet};
use std::path::PathBuf;
use tare_types::ErrorKind;

/// Where the networks of one daemon live and what they may use.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory for what survives a reboot (definitions of networks); made when missing.
    /// The daemon's is `ROOT/network`.
    pub root: PathBuf,
    /// The directory for what dies with a reboot: the journal of addresses and releases and the pinned
    /// namespaces; made when missing. The daemon's is `STATE/network`.
    pub state: PathBuf,
    /// The instance of the daemon, 8 lower-case hex digits: names the bridge and the nftables table
    /// (both `tare-<instance>`) and the interfaces (`v<instance><6 hex digits>`).
    pub instance: String,
    /// A file of the host that is locked while a subnet is chosen and claimed, the same for all daemons.
    pub host_lock: PathBuf,
    /// A fixed subnet of the built-in bridge; `None` chooses the first free one of `pools`.
    pub bridge_subnet: Option<Subnet>,
    /// What subnets are chosen from, in order.
    pub pools: Vec<Pool>,
    /// How many network namespaces are kept ready; each takes some 100 KB of the kernel's memory.
    pub ready_namespaces: usize,
}

/// A range of addresses that is cut into subnets of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The whole range.
    pub base: Subnet,
    /// The prefix of the subnets cut from it, not shorter than that of the range and at most 30.
    pub size: u8,
}

/// The lock file all daemons of a host share, unless the configuration says otherwise.
pub const DEFAULT_HOST_LOCK: &str = "/run/tare-subnets.lock";

impl Config {
    /// Checks what the file system and the kernel would refuse late and unclearly.
    pub(crate) fn check(&self) -> Result<()> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if self.instance.len() != 8 || !self.instance.bytes().all(hex) {
            return Err(Error::new(ErrorKind::InvalidArgument, "open networks of instance", &self.instance)
                .with_hint("an instance is 8 lower-case hex digits"));
        }
        for pool in &self.pools {
            if pool.size < pool.base.prefix() || pool.size > 30 {
                let object = format!("{} size {}", pool.base, pool.size);
                return Err(Error::new(ErrorKind::InvalidArgument, "use address pool", object)
                    .with_hint("the size lies between the prefix of the range and 30"));
            }
        }
        match self.bridge_subnet {
            Some(subnet) if subnet.prefix() > 30 => {
                Err(Error::new(ErrorKind::InvalidArgument, "use bridge subnet", subnet.to_string())
                    .with_hint("the prefix is at most 30"))
            }
            _ => Ok(()),
        }
    }

    /// The directory of the namespace files.
    pub(crate) fn namespaces(&self) -> PathBuf {
        self.state.join("netns")
    }

    /// What the names of the interfaces of containers begin with.
    pub(crate) fn interface_prefix(&self) -> String {
        format!("v{}", self.instance)
    }

    /// What the names of the bridges of networks that a person defined begin with.
    pub(crate) fn bridge_prefix(&self) -> String {
        format!("n{}", self.instance)
    }

    /// The name of the built-in bridge and of the nftables table.
    pub(crate) fn object_name(&self) -> String {
        format!("tare-{}", self.instance)
    }
}

/// Docker's default local pools: 172.17 to 172.31 as /16, then 192.168.0.0/16 in parts of /20.
///
/// Source: the daemon documentation of Docker, "default-address-pools".
pub fn default_pools() -> Vec<Pool> {
    let mut pools: Vec<Pool> = (17..=31)
        .map(|second| Pool { base: Subnet::containing([172, second, 0, 0].into(), 16), size: 16 })
        .collect();
    pools.push(Pool { base: Subnet::containing([192, 168, 0, 0].into(), 16), size: 20 });
    pools
}
