//! The networks of one daemon: attach, publish, release, reconcile.

use crate::{
    AttachRequest, Config, ContainerKey, Error, Leftover, Network, ReconcileReport, Result, Sandbox,
};
use std::time::Duration;
use tare_types::{ErrorKind, port::PublishedPort};

/// The networks of one daemon.
///
/// Synchronous and shared by reference between threads. States of a container here:
/// unknown → attached (`attach`) → published (`publish`, any number of times) → releasing (`release`) → unknown.
/// All of it is in the journal of the state directory before it is in the kernel, so that after kill -9 at any
/// line `open` and `reconcile` leave exactly what the records say.
#[derive(Debug)]
pub struct Networks {
    _config: Config,
}

fn not_yet<T>(operation: &'static str, object: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Unimplemented, operation, object))
}

impl Networks {
    /// Reads the records of an instance and resumes its unfinished releases in the background.
    ///
    /// Touches nothing in the kernel but what was being released and the ready namespaces; the bridge comes with
    /// [`Networks::prepare`] or the first container. One process per state directory: a second gets
    /// `FailedPrecondition`.
    pub fn open(config: Config) -> Result<Self> {
        config.check()?;
        not_yet("open networks", config.instance)
    }

    /// Makes the built-in bridge, its table and the forwarding switch, if they are not there.
    ///
    /// Idempotent. [`Networks::attach`] does it when needed; a daemon calls it after its start so that the first
    /// container does not wait for it.
    pub fn prepare(&self) -> Result<()> {
        not_yet("prepare network", "bridge")
    }

    /// All networks, sorted by name (`docker network ls`).
    pub fn list(&self) -> Vec<Network> {
        Vec::new()
    }

    /// One network by name, full id or unambiguous beginning of the id; `NotFound` otherwise.
    pub fn inspect(&self, name: &str) -> Result<Network> {
        not_yet("inspect network", name)
    }

    /// The containers that are on a network now, by its id, sorted by container.
    pub fn containers(&self, _network_id: &str) -> Vec<Sandbox> {
        Vec::new()
    }

    /// Gives a container a ready network namespace (loopback up) and, on a bridge, an interface in it.
    ///
    /// A container that is attached gets `AlreadyExists`; one whose release still runs is waited for.
    pub fn attach(&self, request: &AttachRequest) -> Result<Sandbox> {
        not_yet("attach container", request.container.to_string())
    }

    /// What a container has now, `None` when it is not attached.
    pub fn sandbox(&self, _container: &ContainerKey) -> Option<Sandbox> {
        None
    }

    /// Publishes ports of an attached container, in one transaction of the kernel, beside those it has.
    ///
    /// To be called when the holder has bound the sockets ([`tare_types::port::holder_sockets`]), with the
    /// host ports it got (none is 0). A port that another container of this instance holds is `AlreadyExists`.
    /// A container without an endpoint publishes nothing and this is no error, as with docker.
    pub fn publish(&self, container: &ContainerKey, _ports: &[PublishedPort]) -> Result<()> {
        not_yet("publish ports of container", container.to_string())
    }

    /// Enters the release in the journal and returns; the kernel's part follows in the background.
    ///
    /// Idempotent: an unknown container is released already. Address and ports are given again only after the
    /// kernel has let go of them.
    pub fn release(&self, container: &ContainerKey) -> Result<()> {
        not_yet("release container", container.to_string())
    }

    /// Makes the kernel agree with the records, where `live` are the containers whose task exists.
    ///
    /// Everything else is released; bridge, table, elements of the live are made again where they are missing;
    /// interfaces and namespace files of this instance without a record are removed. Published ports of the
    /// live answer all the while.
    pub fn reconcile(&self, _live: &[ContainerKey]) -> Result<ReconcileReport> {
        not_yet("reconcile networks", "all")
    }

    /// Waits until nothing is left to be released, at most `deadline`; `DeadlineExceeded` names what remains.
    pub fn settle(&self, _deadline: Duration) -> Result<()> {
        not_yet("settle networks", "all")
    }

    /// Ends the background work; removes bridge and table when no container is attached.
    pub fn shutdown(self) -> Result<()> {
        not_yet("shut down networks", "all")
    }
}

/// What an instance left in the kernel and in its state directory, whether or not its daemon runs.
pub fn leftovers(_config: &Config) -> Result<Vec<Leftover>> {
    not_yet("look for leftovers", "")
}

/// Removes leftovers; to be called while no daemon of the instance runs.
pub fn repair(_leftovers: &[Leftover]) -> Result<()> {
    not_yet("repair", "")
}
