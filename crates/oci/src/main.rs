//! tare-oci, the runc-compatible command.

fn main() {}
