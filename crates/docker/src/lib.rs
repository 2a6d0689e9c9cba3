//! The Docker Engine API, versions 1.24 to 1.51, over the engine.
//!
//! Requests become the engine's values, its answers become Docker's documents, with dockerd's status codes and
//! sentences, because clients read them. What the interface promises and is not done here answers 501 and names
//! itself.
//!
//! What is not here: state (all of it is the engine's; what only Docker knows of a container sits in its record
//! under `tare.docker`), files, processes, the socket's path and mode.
//!
//! Start at [`Docker::serve`]; `routes` says which request means which operation, `handlers` does it, `wire`
//! holds the documents and `convert` stands between them and the engine.

mod body;
mod convert;
mod detach;
mod door;
mod error;
mod filters;
mod handlers;
mod hijack;
mod host;
mod pattern;
mod query;
mod request;
mod routes;
mod server;
mod stdcopy;
mod units;
mod version;
mod wire;

pub use door::{Docker, DockerConfig};
pub use version::ApiVersion;
