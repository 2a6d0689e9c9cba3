//! Shims: the processes that own containers and outlive the daemon.
//!
//! [`Shim`] is a connection to one, with a deadline and a name on every call. [`bundle`] is its directory,
//! [`bootstrap`] starts one and cleans up after a dead one, [`launch`] starts
//! Tare's own without a detour, [`holder`] is the one beside a foreign one, [`diagnostics`] reads what a foreign one says, [`listener`] takes the events that shims send.
//! Wire types are named only in [`client`] and [`convert`].

pub(crate) mod attach;
pub(crate) mod bootstrap;
pub(crate) mod bundle;
pub(crate) mod client;
pub(crate) mod convert;
pub(crate) mod diagnostics;
pub(crate) mod holder;
pub(crate) mod launch;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod resolve;

pub(crate) use client::Shim;
