//! tare-oci, the runc-compatible command.
#![no_std]
