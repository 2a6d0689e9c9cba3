//! Namespaces to make, to join, and the maps of a user namespace.

use crate::{Error, Result};
use alloc::{format, string::String, vec::Vec};
use core::fmt::Write;
use tare_types::spec::{Linux, LinuxIdMapping};

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pid,
    Network,
    Mount,
    Ipc,
    Uts,
    User,
    Cgroup,
    Time,
}

impl Kind {
    /// All kinds, in the order in which they are joined.
    pub(crate) const ALL: [Self; 8] =
        [Self::Ipc, Self::Uts, Self::Network, Self::Pid, Self::Mount, Self::Cgroup, Self::Time, Self::User];

    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "pid" => Self::Pid,
            "network" => Self::Network,
            "mount" => Self::Mount,
            "ipc" => Self::Ipc,
            "uts" => Self::Uts,
            "user" => Self::User,
            "cgroup" => Self::Cgroup,
            "time" => Self::Time,
            _ => return None,
        })
    }

    /// `CLONE_NEW*`.
    pub(crate) fn flag(self) -> u32 {
        match self {
            Self::Pid => 0x2000_0000,
            Self::Network => 0x4000_0000,
            Self::Mount => 0x0002_0000,
            Self::Ipc => 0x0800_0000,
            Self::Uts => 0x0400_0000,
            Self::User => 0x1000_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Time => 0x0000_0080,
        }
    }

    /// The name in `/proc/<pid>/ns`.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Mount => "mnt",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The name in runc's state file.
    pub(crate) fn state_name(self) -> &'static str {
        match self {
            Self::Pid => "NEWPID",
            Self::Network => "NEWNET",
            Self::Mount => "NEWNS",
            Self::Ipc => "NEWIPC",
            Self::Uts => "NEWUTS",
            Self::User => "NEWUSER",
            Self::Cgroup => "NEWCGROUP",
            Self::Time => "NEWTIME",
        }
    }
}

/// The maps of a new user namespace, in the kernel's text form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UserMapping {
    pub(crate) uid: String,
    pub(crate) gid: String,
}

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    new: Vec<Kind>,
    joined: Vec<(Kind, String)>,
    pub(crate) mapping: UserMapping,
}

impl Namespaces {
    pub(crate) fn plan(linux: &Linux) -> Result<Self> {
        let mut plan = Self::default();
        for namespace in &linux.namespaces {
            let kind = Kind::parse(&namespace.kind).ok_or_else(|| {
                Error::invalid("linux.namespaces", format!("{:?} is not known", namespace.kind))
            })?;
            if plan.has(kind) {
                let twice = format!("malformed spec file: duplicated ns {:?}", namespace.kind);
                return Err(Error::invalid("linux.namespaces", twice));
            }
            if namespace.path.is_empty() {
                plan.new.push(kind);
            } else if namespace.path.starts_with('/') {
                plan.joined.push((kind, namespace.path.clone()));
            } else {
                let path = format!("path {:?} of {:?} is not absolute", namespace.path, namespace.kind);
                return Err(Error::invalid("linux.namespaces", path));
            }
        }
        plan.joined.sort_by_key(|(kind, _)| Kind::ALL.iter().position(|known| known == kind));
        if plan.is_new(Kind::User) {
            if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() {
                let missing = "a new user namespace needs uidMappings and gidMappings";
                return Err(Error::invalid("linux.namespaces", missing));
            }
            plan.mapping = UserMapping { uid: lines(&linux.uid_mappings), gid: lines(&linux.gid_mappings) };
        }
        Ok(plan)
    }

    /// Whether the container has a namespace of this kind that is not the runtime's.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether a new one is made.
    pub(crate) fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    /// Whether one that exists is joined.
    pub(crate) fn joins(&self, kind: Kind) -> bool {
        self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Those to join, the user namespace last.
    pub(crate) fn joined(&self) -> &[(Kind, String)] {
        &self.joined
    }

    /// Flags of clone3: all new ones but two. The cgroup namespace takes the caller's group as its root, so it
    /// is made when the child has entered its own; the time namespace takes offsets only while it is empty.
    pub(crate) fn clone_flags(&self) -> u64 {
        let at_once = |kind: &&Kind| !matches!(kind, Kind::Cgroup | Kind::Time);
        self.new.iter().filter(at_once).fold(0, |flags, kind| flags | u64::from(kind.flag()))
    }

    /// Kinds that the container does not share with the runtime.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        Kind::ALL.into_iter().filter(|kind| self.has(*kind))
    }
}

/// A map in the kernel's text form.
pub(crate) fn lines(mappings: &[LinuxIdMapping]) -> String {
    let mut text = String::new();
    for mapping in mappings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", mapping.container_id, mapping.host_id, mapping.size);
    }
    text
}
