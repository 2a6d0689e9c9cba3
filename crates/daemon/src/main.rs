//! tared: configuration, assembly, sockets, containerd's gRPC services.

fn main() {}
