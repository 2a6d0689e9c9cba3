//! Fixtures and suites that run against any implementation.

pub mod alone;
pub mod bench;
pub mod ctr_events;
pub mod disk;
pub mod docker_registry;
pub mod fake_registry;
pub mod image;
pub mod numbers;
pub mod pull_bench;
pub mod skip;
pub mod soak;
