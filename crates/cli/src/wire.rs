//! The Docker Engine API as a client: where the daemon is, requests, streams and hijacked connections.

pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod frames;
