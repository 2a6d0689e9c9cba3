//! containerd-shim-tare-v2.

fn main() {}
