//! Death at any line: what the next start makes of it.
//!
//! A child process of the test does the work and is killed; the parent opens the same directories afterwards.
