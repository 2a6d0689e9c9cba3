//! Device rules: the list of the configuration plus the devices every container may use, for either version.
//!
//! The rules are applied in order to a container that may use nothing, as runc does. What comes out is "nothing
//! but these" or "everything but these"; version 1 takes it as lines, version 2 as a program that the kernel asks.

mod program;

use crate::{During, Error, Result};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::{fd::OwnedFd, fs::OFlags};
use tare_sys::cgroup::device as bpf;
use tare_types::spec::LinuxDeviceCgroup;

/// Kinds of access.
const OPERATION: &str = "limit devices";
const READ: u8 = 1;
const WRITE: u8 = 2;
const MAKE_NODE: u8 = 4;

/// Which devices; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) block: bool,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

/// The outcome of a list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    /// Whether devices without an exception are allowed.
    pub(super) allow: bool,
    /// Devices with accesses for which the contrary holds.
    pub(super) exceptions: Vec<(Device, u8)>,
}

/// What every container may use: making nodes (their use is another matter), null, zero, full, random, urandom,
/// tty, ptmx, terminals, and tun, which runc keeps for the programs that relied on it.
const ALWAYS: [(bool, Option<u32>, Option<u32>, u8); 11] = {
    const ALL: u8 = READ | WRITE | MAKE_NODE;
    [
        (false, None, None, MAKE_NODE),
        (true, None, None, MAKE_NODE),
        (false, Some(1), Some(3), ALL),
        (false, Some(1), Some(8), ALL),
        (false, Some(1), Some(7), ALL),
        (false, Some(5), Some(0), ALL),
        (false, Some(1), Some(5), ALL),
        (false, Some(1), Some(9), ALL),
        (false, Some(136), None, ALL),
        (false, Some(5), Some(2), ALL),
        (false, Some(10), Some(200), ALL),
    ]
};

impl Policy {
    /// The rules of a configuration, then those that always hold.
    pub(super) fn from_rules(rules: &[LinuxDeviceCgroup]) -> Result<Self> {
        let mut policy = Self { allow: false, exceptions: Vec::with_capacity(rules.len() + ALWAYS.len()) };
        for rule in rules {
            policy.apply(rule)?;
        }
        for (block, major, minor, access) in ALWAYS {
            policy.set(Device { block, major, minor }, access, true);
        }
        Ok(policy)
    }

    fn apply(&mut self, rule: &LinuxDeviceCgroup) -> Result<()> {
        let access = parse_access(&rule.access)?;
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => u32::try_from(number).map(Some).map_err(|_| {
                Error::invalid("device rule", format!("device number {number} is out of range"))
            }),
        };
        let (major, minor) = (number(rule.major)?, number(rule.minor)?);
        let blocks: &[bool] = match rule.kind.as_str() {
            // For all kinds the kernel looks at nothing else: the list starts anew.
            "" | "a" => {
                self.allow = rule.allow;
                self.exceptions.clear();
                return Ok(());
            }
            "b" => &[true],
            "c" | "u" => &[false],
            other => return Err(Error::invalid("device rule", format!("invalid device type {other:?}"))),
        };
        for block in blocks {
            self.set(Device { block: *block, major, minor }, access, rule.allow);
        }
        Ok(())
    }

    /// Allows or denies accesses to a device. A rule that agrees with the default takes its accesses out of the
    /// exception for exactly these numbers, as the kernel does; others stay.
    fn set(&mut self, device: Device, access: u8, allow: bool) {
        let known = self.exceptions.iter_mut().find(|(known, _)| *known == device);
        match (known, allow == self.allow) {
            (Some((_, exception)), true) => *exception &= !access,
            (Some((_, exception)), false) => *exception |= access,
            (None, true) => {}
            (None, false) => self.exceptions.push((device, access)),
        }
        self.exceptions.retain(|(_, access)| *access != 0);
    }

    /// What is allowed, in the words of systemd's `DeviceAllow` (systemd.resource-control(5)): device and access; and
    /// whether that is the whole policy.
    pub(super) fn allow_list(&self) -> (Vec<(String, String)>, bool) {
        if self.allow {
            return (Vec::new(), self.exceptions.is_empty());
        }
        let word = |(device, access): &(Device, u8)| {
            let kind = if device.block { "block" } else { "char" };
            let name = match (device.major, device.minor) {
                (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
                (Some(major), None) => format!("{kind}-{major}"),
                (None, None) => format!("{kind}-*"),
                (None, Some(_)) => return None,
            };
            Some((name, letters(*access)))
        };
        let list: Vec<_> = self.exceptions.iter().filter_map(word).collect();
        let whole = list.len() == self.exceptions.len();
        (list, whole)
    }

    /// Version 1: sets the rules of a fresh cgroup.
    pub(super) fn write(&self, directory: &str) -> Result<()> {
        let (all, contrary) =
            if self.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
        let open = |name: &str| {
            tare_sys::file::open(&format!("{directory}/{name}"), OFlags::WRONLY, 0).during("limit devices")
        };
        let write = |fd: &rustix::fd::OwnedFd, name: &str, line: &str| {
            tare_sys::file::write_fd(fd, line.as_bytes()).map_err(|errno| {
                let object = format!("{directory}/{name} (value {line:?})");
                Error::system("limit devices", tare_sys::Error::new("write", object, errno))
            })
        };
        write(&open(all)?, all, "a")?;
        if self.exceptions.is_empty() {
            return Ok(());
        }
        // One line a write, on one descriptor.
        let fd = open(contrary)?;
        self.exceptions.iter().try_for_each(|(device, access)| write(&fd, contrary, &line(*device, *access)))
    }

    /// Version 2: attaches the program beside what systemd attaches: each access needs the consent of both.
    pub(super) fn attach_beside(&self, directory: &str) -> Result<()> {
        let Some((directory, program)) = self.load(directory)? else { return Ok(()) };
        bpf::attach(&directory, &program, None).during(OPERATION)
    }

    /// The opened directory and the program for it; nothing where nothing is forbidden.
    fn load(&self, directory: &str) -> Result<Option<(OwnedFd, OwnedFd)>> {
        if self.allow && self.exceptions.is_empty() {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = tare_sys::file::open(directory, flags, 0).during(OPERATION)?;
        let program = bpf::load(&program::assemble(self)).during(OPERATION)?;
        Ok(Some((directory, program)))
    }

    /// Version 2: attaches the program; one that was there before is replaced without a moment between.
    pub(super) fn attach(&self, directory: &str) -> Result<()> {
        let Some((directory, program)) = self.load(directory)? else { return Ok(()) };
        let mut before = bpf::attached(&directory).during(OPERATION)?;
        let replaced = if before.len() == 1 { before.pop() } else { None };
        bpf::attach(&directory, &program, replaced.as_ref()).during(OPERATION)?;
        // Several programs are not of this runtime's making; each would still have to consent.
        before.iter().try_for_each(|old| bpf::detach(&directory, old)).during(OPERATION)
    }
}

fn line(device: Device, access: u8) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "*".to_string(), |number| number.to_string());
    let kind = if device.block { 'b' } else { 'c' };
    format!("{kind} {}:{} {}", number(device.major), number(device.minor), letters(access))
}

fn letters(access: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MAKE_NODE, 'm')]
        .into_iter()
        .filter_map(|(bit, letter)| (access & bit != 0).then_some(letter))
        .collect()
}

/// Letters that mean nothing are passed over, as runc does; at least one must mean something.
fn parse_access(text: &str) -> Result<u8> {
    let bit = |letter| match letter {
        'r' => READ,
        'w' => WRITE,
        'm' => MAKE_NODE,
        _ => 0,
    };
    match text.chars().fold(0, |access, letter| access | bit(letter)) {
        0 if text.is_empty() => Err(Error::invalid("device rule", "device access cannot be empty")),
        0 => Err(Error::invalid("device rule", format!("invalid device access {text:?}"))),
        access => Ok(access),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
        LinuxDeviceCgroup {
            allow,
            kind: kind.to_string(),
            major: Some(major),
            minor: Some(minor),
            access: access.to_string(),
        }
    }

    #[test]
    fn the_usual_configuration_allows_the_usual_devices() {
        let policy = Policy::from_rules(&[rule(false, "", -1, -1, "rwm")]).unwrap();
        assert!(!policy.allow);
        assert_eq!(policy.exceptions.len(), ALWAYS.len());
        assert_eq!(line(policy.exceptions[0].0, policy.exceptions[0].1), "c *:* m");
        assert_eq!(line(policy.exceptions[8].0, policy.exceptions[8].1), "c 136:* rwm");
    }

    #[test]
    fn privileged_is_everything() {
        let policy =
            Policy::from_rules(&[rule(false, "a", -1, -1, "rwm"), rule(true, "a", -1, -1, "rwm")]).unwrap();
        assert_eq!(policy, Policy { allow: true, exceptions: Vec::new() });
    }

    #[test]
    fn later_rules_take_back() {
        let rules = [rule(true, "c", 10, 1, "rw"), rule(false, "c", 10, 1, "w"), rule(true, "b", 8, -1, "r")];
        let policy = Policy::from_rules(&rules).unwrap();
        let lines: Vec<_> = policy.exceptions.iter().take(2).map(|(d, a)| line(*d, *a)).collect();
        assert_eq!(lines, ["c 10:1 r", "b 8:* r"]);
    }

    #[test]
    fn bad_rules_are_named() {
        for (bad, word) in [
            (rule(true, "x", 1, 1, "r"), "\"x\""),
            (rule(true, "c", 1, 1, "q"), "\"q\""),
            (rule(true, "c", 1, 1, ""), "empty"),
            (rule(true, "c", -7, 1, "r"), "-7"),
        ] {
            let error = Policy::from_rules(&[bad]).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
