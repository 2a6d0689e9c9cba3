//! Names of units and where systemd puts their cgroups.

use crate::{Error, Result};
use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt::Write;

/// The slice of containers that name none: of the machine's manager and of a user's.
const SYSTEM: &str = "system.slice";
const USER: &str = "user.slice";
/// The prefix of a container that names no cgroup.
const PREFIX: &str = "tare";
/// systemd's limit.
const LONGEST: usize = 255;

/// What `cgroupsPath` says in the form `slice:prefix:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitPath {
    /// The slice as it was given; may be empty.
    pub(crate) parent: String,
    pub(crate) prefix: String,
    pub(crate) name: String,
}

impl UnitPath {
    /// Reads a `cgroupsPath`; an empty one stands for the container's id.
    pub(super) fn parse(path: &str, id: &str) -> Result<Self> {
        let text = |text: &str| text.to_string();
        if path.is_empty() {
            return Ok(Self { parent: String::new(), prefix: text(PREFIX), name: escape(id) });
        }
        let mut parts = path.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(parent), Some(prefix), Some(name), None) => {
                Ok(Self { parent: text(parent), prefix: text(prefix), name: text(name) })
            }
            _ => Err(Error::invalid(
                "cgroupsPath",
                format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                ),
            )),
        }
    }

    /// The name of the scope.
    pub(super) fn unit(&self) -> Result<String> {
        if self.name.ends_with(".slice") {
            let detail = format!("{:?} would be a slice, which holds no processes", self.name);
            return Err(Error::invalid("cgroupsPath", detail));
        }
        let unit = format!("{}-{}.scope", self.prefix, self.name);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if unit.len() > LONGEST || !unit.bytes().all(allowed) {
            return Err(Error::invalid("cgroupsPath", format!("{unit:?} is no name of a unit")));
        }
        Ok(unit)
    }

    /// The slice of the scope.
    pub(super) fn slice(&self, user: bool) -> &str {
        match (self.parent.as_str(), user) {
            ("", true) => USER,
            ("", false) => SYSTEM,
            (parent, _) => parent,
        }
    }
}

/// Letters that no unit's name may have, as systemd writes them.
fn escape(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b":-_.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "\\x{byte:02x}");
        }
    }
    name
}

/// The directory of a slice below the manager's own: `a-b.slice` is in `a.slice`. Begins with a slash; empty for `-.slice`.
pub(super) fn expand(slice: &str) -> Result<String> {
    let invalid = || Error::invalid("cgroupsPath", format!("invalid slice name: {slice}"));
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty()).ok_or_else(invalid)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if slice.len() > LONGEST || !slice.bytes().all(allowed) {
        return Err(invalid());
    }
    if name == "-" {
        return Ok(String::new());
    }
    let (mut path, mut prefix) = (String::new(), String::new());
    for part in name.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        prefix += part;
        path = path + "/" + &directory(&format!("{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}

/// The directory of a unit: its name, unless that could be a file of the cgroup's.
pub(super) fn directory(unit: &str) -> String {
    const CONTROLLERS: [&str; 8] = ["cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids"];
    let of_controller = unit.rsplit_once('.').is_some_and(|(name, _)| CONTROLLERS.contains(&name));
    let underscore = unit.starts_with(['_', '.']) || unit.starts_with("cgroup.") || of_controller;
    if underscore { format!("_{unit}") } else { unit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_expanded() {
        for (slice, path) in [
            ("system.slice", "/system.slice"),
            ("a-b.slice", "/a.slice/a-b.slice"),
            (
                "kubepods-burstable-pod1_2.slice",
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
            ),
            ("-.slice", ""),
            ("memory.slice", "/_memory.slice"),
        ] {
            assert_eq!(expand(slice).unwrap(), path);
        }
        for bad in [
            "",
            ".slice",
            "a",
            "a.scope",
            "/a.slice",
            "a/b.slice",
            "-a.slice",
            "a-.slice",
            "a--b.slice",
            "ä.slice",
        ] {
            let error = expand(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("invalid slice name: {bad}")), "{error}");
        }
    }

    #[test]
    fn units_are_scopes() {
        let path = UnitPath::parse("system.slice:docker:1234", "id").unwrap();
        assert_eq!((path.unit().unwrap().as_str(), path.slice(false)), ("docker-1234.scope", "system.slice"));
        let path = UnitPath::parse(":crio:x", "id").unwrap();
        assert_eq!((path.slice(false), path.slice(true)), ("system.slice", "user.slice"));
        let path = UnitPath::parse("", "a+b_c.d").unwrap();
        assert_eq!(path.unit().unwrap(), "tare-a\\x2bb_c.d.scope");
        assert_eq!(directory("tare-x.scope"), "tare-x.scope");
        assert_eq!(directory("_x-y.scope"), "__x-y.scope");
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for bad in ["/a/b", "a", "a:b", "a:b:c:d", ":::"] {
            let error = UnitPath::parse(bad, "id").unwrap_err().to_string();
            assert!(error.contains("expected cgroupsPath to be of format") && error.contains(bad), "{error}");
        }
        for bad in [":a:../../x", ":a:b/c", ":a b:c", ":a:b\0", &format!(":a:{}", "x".repeat(300))] {
            let error = UnitPath::parse(bad, "id").unwrap().unit().unwrap_err().to_string();
            assert!(error.contains("is no name of a unit"), "{error}");
        }
        let slice = UnitPath::parse("a.slice:b:c.slice", "id").unwrap().unit().unwrap_err();
        assert!(slice.to_string().contains("holds no processes"), "{slice}");
    }
}
