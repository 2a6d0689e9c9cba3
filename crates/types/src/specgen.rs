//! Policy of runtime specifications as pure functions: the document of `runc spec`, and what Docker gives a container
//! that asks for nothing (capabilities, masked paths, system call filter).
//!
//! Nothing is read from the host. The defaults are Docker's, because images are built and tested under them. Not
//! here: putting a container's specification together from a request, which is the engine's.

mod capabilities;
mod paths;
mod profile;
mod runc;
mod seccomp;

pub use capabilities::{ALL_CAPABILITIES, DEFAULT_CAPABILITIES, adjust_capabilities, normalize_capability};
pub use paths::{default_masked_paths, default_readonly_paths};
pub use profile::resolve_profile;
pub use runc::{default_spec, make_rootless};
pub use seccomp::{NativeArch, default_seccomp};

#[cfg(test)]
mod tests;
