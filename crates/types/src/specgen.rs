//! Runtime specifications made from scratch: what `runc spec` writes, and what Docker gives its containers.
//!
//! Pure functions: nothing is read from the host. Whoever calls them brings users already looked up, devices already
//! found, paths already made. The defaults are Docker's, because images are built and tested under them.

mod capabilities;
mod container;
mod mounts;
mod profile;
mod runc;
mod seccomp;

pub use capabilities::{ALL_CAPABILITIES, DEFAULT_CAPABILITIES, adjust_capabilities, normalize_capability};
pub use container::{
    DEFAULT_PATH, NamespaceChoice, Namespaces, SeccompChoice, SpecOptions, container_spec,
    default_masked_paths, default_readonly_paths, environment,
};
pub use mounts::{bind_mount, default_mounts, merge_mounts, tmpfs_mount};
pub use profile::resolve_profile;
pub use runc::{default_spec, make_rootless};
pub use seccomp::{NativeArch, default_seccomp};

#[cfg(test)]
mod tests;
