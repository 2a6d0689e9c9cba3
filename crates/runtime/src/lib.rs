//! The OCI runtime as a library.
#![no_std]
