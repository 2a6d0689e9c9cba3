//! What the cloned child does until execve: no allocation, no logging, no panic.
#![no_std]
