//! From a runtime name to a shim binary.
//!
//! Entries of `[runtimes]` come first. `io.containerd.runc.v2`, `io.containerd.tare.v2`, `runc` and `tare` mean Tare's shim;
//! other names follow containerd's rule: `io.containerd.<name>.<version>` is `containerd-shim-<name>-<version>`, looked up
//! beside Tare's shim and in the usual directories; an absolute path is the binary itself.

use crate::{Any, EngineConfig, Error, Result};
use prost::Message;
use std::path::{Path, PathBuf};
use tare_api::containerd::runc::v1::Options;
use tare_types::ErrorKind;

/// Type URL of the options of the Go shim.
const RUNC_OPTIONS: &str = "containerd.runc.v1.Options";
/// Type URL of the options of containerd's first Linux runtime, which clients of 1.x still send.
const LINUX_OPTIONS: &str = "containerd.linux.runc.RuncOptions";
/// Names that mean Tare's shim.
const NATIVE: [&str; 5] =
    ["io.containerd.runc.v2", "io.containerd.tare.v2", "runc", "tare", "io.containerd.runtime.v1.linux"];
/// Where shims are looked for besides the directory of Tare's own; the environment is not read.
const DIRECTORIES: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"];

/// A shim to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Its binary.
    pub(crate) binary: PathBuf,
    /// Whether it is Tare's.
    pub(crate) native: bool,
    /// Options to hand to it.
    pub(crate) options: Option<Any>,
}

/// Chooses the shim for a runtime name.
///
/// # Errors
/// `NotFound` with `what() == "runtime"` for a name that leads to no binary.
pub(crate) fn choose(config: &EngineConfig, name: &str, options: Option<Any>) -> Result<Chosen> {
    let name = if name.is_empty() { &config.default_runtime } else { name };
    if let Some(entry) = config.runtimes.get(name) {
        let options = match &entry.binary_name {
            Some(binary) if options.is_none() => Some(with_binary(binary)),
            _ => options,
        };
        let binary = match (&entry.shim, &entry.binary_name) {
            (Some(shim), _) => shim.clone(),
            // Tare's shim runs containers in its own process; a runc-compatible command is the Go shim's matter.
            (None, Some(_)) => find(config, "containerd-shim-runc-v2").ok_or_else(|| missing(name))?,
            (None, None) => config.shim.clone(),
        };
        return Ok(Chosen { native: is_native(config, &binary), binary, options });
    }
    if names_command(options.as_ref()) {
        let binary = find(config, "containerd-shim-runc-v2").ok_or_else(|| missing(name))?;
        return Ok(Chosen { native: false, binary, options });
    }
    if NATIVE.contains(&name) {
        return Ok(Chosen { binary: config.shim.clone(), native: true, options });
    }
    let binary = if name.starts_with('/') {
        Some(PathBuf::from(name)).filter(|path| path.is_file())
    } else {
        let mut parts = name.rsplit('.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(version), Some(kind), Some(_)) => {
                find(config, &format!("containerd-shim-{kind}-{version}"))
            }
            _ => None,
        }
    };
    let binary = binary.ok_or_else(|| missing(name))?;
    Ok(Chosen { native: is_native(config, &binary), binary, options })
}

fn is_native(config: &EngineConfig, binary: &Path) -> bool {
    binary == config.shim || binary.file_name().is_some_and(|name| name == "containerd-shim-tare-v2")
}

fn find(config: &EngineConfig, name: &str) -> Option<PathBuf> {
    let own = config.shim.parent().map(Path::to_path_buf);
    let known = DIRECTORIES.iter().map(PathBuf::from);
    own.into_iter().chain(known).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// Whether options of the Go shim name another command than its default.
fn names_command(options: Option<&Any>) -> bool {
    let Some(options) = options.filter(|options| options.type_url == RUNC_OPTIONS) else { return false };
    Options::decode(options.value.as_slice())
        .is_ok_and(|options| !matches!(options.binary_name.as_str(), "" | "runc" | "tare-oci"))
}

/// `containerd.linux.runc.RuncOptions`.
#[derive(Clone, PartialEq, prost::Message)]
struct LinuxOptions {
    /// Path or name of the runtime's command.
    #[prost(string, tag = "1")]
    runtime: String,
    /// Directory of its states.
    #[prost(string, tag = "2")]
    runtime_root: String,
    #[prost(bool, tag = "4")]
    systemd_cgroup: bool,
}

/// Options in the form that shims of version 2 know.
pub(crate) fn modern(options: Any) -> Result<Any> {
    if options.type_url != LINUX_OPTIONS {
        return Ok(options);
    }
    let old = LinuxOptions::decode(options.value.as_slice()).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, "use", "runtime options", LINUX_OPTIONS, "").with_source(error)
    })?;
    let new = Options {
        binary_name: old.runtime,
        root: old.runtime_root,
        systemd_cgroup: old.systemd_cgroup,
        ..Options::default()
    };
    Ok(Any::new(RUNC_OPTIONS, new.encode_to_vec()))
}

fn with_binary(binary: &str) -> Any {
    let options = Options { binary_name: binary.to_owned(), ..Options::default() };
    Any::new(RUNC_OPTIONS, options.encode_to_vec())
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, "use", "runtime", name, "no shim of that name is known")
        .with_hint("name it in [runtimes] of the configuration, or install its containerd-shim binary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_first_linux_runtime_name_the_same_command() {
        let old = LinuxOptions { runtime: "crun".into(), runtime_root: "/r".into(), systemd_cgroup: false };
        let new = modern(Any::new(LINUX_OPTIONS, old.encode_to_vec())).unwrap();
        assert!(names_command(Some(&new)));
        let options = Options::decode(new.value.as_slice()).unwrap();
        assert_eq!((options.binary_name.as_str(), options.root.as_str()), ("crun", "/r"));
        assert!(modern(Any::new(LINUX_OPTIONS, vec![0xff])).is_err());
        let other = Any::new("x.Y", vec![0xff]);
        assert_eq!(modern(other.clone()).unwrap(), other);
    }
}
