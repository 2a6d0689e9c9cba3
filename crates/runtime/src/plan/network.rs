//! Network interfaces that move into the container (specification, `linux.netDevices`).

use super::{Kind, Namespaces};
use crate::{Error, Result};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use tare_types::spec::LinuxNetDevice;

/// One interface: its name in the runtime's namespace and in the container's.
#[derive(Debug)]
pub(crate) struct DeviceMove {
    pub(crate) name: String,
    pub(crate) target: String,
}

pub(super) fn plan(
    devices: &BTreeMap<String, LinuxNetDevice>,
    namespaces: &Namespaces,
) -> Result<Vec<DeviceMove>> {
    if !devices.is_empty() && !namespaces.has(Kind::Network) {
        let text = "unable to move network devices without a private network namespace";
        return Err(Error::invalid("linux.netDevices", text));
    }
    let mut moves: Vec<DeviceMove> = Vec::with_capacity(devices.len());
    for (name, device) in devices {
        let target = if device.name.is_empty() { name } else { &device.name };
        for name in [name, target] {
            if !is_valid(name) {
                let text = format!("invalid network device name {name:?}");
                return Err(Error::invalid("linux.netDevices", text));
            }
        }
        if moves.iter().any(|other| other.target == *target) {
            let text = format!("two network devices become {target:?}");
            return Err(Error::invalid("linux.netDevices", text));
        }
        moves.push(DeviceMove { name: name.to_string(), target: target.to_string() });
    }
    Ok(moves)
}

/// The kernel's rule (`dev_valid_name`).
fn is_valid(name: &str) -> bool {
    let allowed = |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b':' | 0 | 0x0b);
    !matches!(name, "" | "." | "..")
        && name.len() <= tare_sys::netlink::route::MAX_INTERFACE_NAME
        && name.bytes().all(allowed)
}
