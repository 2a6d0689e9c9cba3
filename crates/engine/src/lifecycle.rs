//! What happens to a container from its creation to its removal, in the order in which it is recorded, prepared
//! and used. The table of these orders is `docs/formats/lifecycle.md`.
//!
//! The verbs of [`crate::containers`] and [`crate::tasks`] come down to these functions. Whoever changes a container
//! holds its turn ([`crate::entry::Entry::turn`]); the end of a program is recorded without it, so that nobody who
//! waits for that end with the turn in hand waits for himself.

pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod exit;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod holder;
pub(crate) mod links;
pub(crate) mod members;
pub(crate) mod names;
pub(crate) mod remove;
pub(crate) mod restore;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod takeup;
pub(crate) mod task;
