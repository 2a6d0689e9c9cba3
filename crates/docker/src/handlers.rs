//! One function per operation: reads the request, calls the engine, writes the answer.

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod containers;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod lifecycle;
pub(crate) mod logs;
pub(crate) mod networks;
pub(crate) mod pull;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod transfer;
pub(crate) mod volumes;
pub(crate) mod websocket;
