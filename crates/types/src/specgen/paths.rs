//! Parts of /proc and /sys that a container must not see or change.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

/// Docker's masked paths.
pub fn default_masked_paths() -> Vec<String> {
    [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ]
    .map(ToString::to_string)
    .to_vec()
}

/// Docker's and runc's read-only paths.
pub fn default_readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        .map(ToString::to_string)
        .to_vec()
}
