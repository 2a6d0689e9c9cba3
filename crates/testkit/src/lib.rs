//! Fixtures and suites that run against any implementation.
