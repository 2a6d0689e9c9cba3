//! Safe, typed Linux: descriptors, openat2, the mount API, clone3, pidfd, cgroup files, netlink.
#![no_std]
