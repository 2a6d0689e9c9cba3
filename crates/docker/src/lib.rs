//! The Docker Engine API over the engine.

mod detach;
mod error;
mod filters;
mod pattern;
mod query;
mod routes;
mod stdcopy;
mod units;
mod version;
mod wire;
