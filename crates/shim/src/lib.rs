//! containerd-shim-tare-v2.
