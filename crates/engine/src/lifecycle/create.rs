//! Creation of a driven container: everything is checked first, then snapshot and record become durable in one commit.

use crate::{
    Any, ContainerRecord, Engine, Error, Result, clock,
    containers::{Created, RemoveOptions},
    entry::Entry,
    events::Body,
    images::Image,
    key::Key,
    lifecycle::{links, remove},
    naming,
    record::{Desired, EngineFields, MountPoint, RuntimeRef},
    request::{CreateContainer, NetworkMode, RestartPolicy},
    shim::{options, resolve},
    signal, spec, stores,
    stores::blocking,
    volumes::{self, Pins},
};
use std::{collections::BTreeMap, sync::Arc};
use tare_store::snapshot::{Kind, PrepareRequest};
use tare_types::{ContainerId, ErrorKind, SnapshotKey};

/// Seconds between the stop signal and SIGKILL, unless the container says otherwise.
const STOP_TIMEOUT: i64 = 10;
/// Bytes of /dev/shm, unless the container says otherwise.
const SHM_SIZE: u64 = 64 << 20;

/// Makes a container of an image.
pub(crate) async fn create(engine: &Engine, mut request: CreateContainer, image: Image) -> Result<Created> {
    check(&request)?;
    links::resolve(engine, &mut request)?;
    // Fetched only, by a client of the content service: its snapshots are made now.
    engine.images().ensure_unpacked(&request.namespace, &image, None).await?;
    let id = naming::random_container_id()?;
    let name = reserve_name(engine, &request, &id)?;
    let namespace = request.namespace.clone();
    let made = make(engine, request, image, &id, &name).await;
    if made.is_err() {
        engine.inner().roster.release(&namespace, &name);
    }
    made
}

fn check(request: &CreateContainer) -> Result<()> {
    let conflict = |detail: &str| Error::new(ErrorKind::InvalidArgument, "create", "container", "", detail);
    if request.auto_remove && request.restart != RestartPolicy::No {
        return Err(conflict("can't create 'AutoRemove' container with restart policy"));
    }
    if let Some(log) = &request.log {
        options::check_log(log)?;
    }
    if let Some(signal) = request.stop_signal.as_deref().filter(|text| !text.is_empty()) {
        signal::parse(signal)?;
    }
    if !request.process.cwd.is_empty() && !request.process.cwd.starts_with('/') {
        let detail = format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            request.process.cwd
        );
        return Err(conflict(&detail));
    }
    let shares_network = matches!(request.network.mode, NetworkMode::Host | NetworkMode::Container(_));
    if matches!(request.network.mode, NetworkMode::Container(_)) && request.hostname.is_some() {
        return Err(conflict("conflicting options: hostname and the network mode"));
    }
    if shares_network && !request.network.aliases.is_empty() {
        return Err(conflict(
            "network-scoped alias is supported only for containers in user defined networks",
        ));
    }
    Ok(())
}

fn reserve_name(engine: &Engine, request: &CreateContainer, id: &ContainerId) -> Result<String> {
    let roster = &engine.inner().roster;
    if let Some(name) = &request.name {
        let name = naming::check_name(name)?;
        roster.reserve(&request.namespace, name, id)?;
        return Ok(name.to_owned());
    }
    loop {
        let name = naming::random_name(|name| roster.is_taken(&request.namespace, name))?;
        if roster.reserve(&request.namespace, &name, id).is_ok() {
            return Ok(name);
        }
    }
}

async fn make(
    engine: &Engine,
    request: CreateContainer,
    image: Image,
    id: &ContainerId,
    name: &str,
) -> Result<Created> {
    let runtime = request.runtime.clone().unwrap_or_else(|| engine.config().default_runtime.clone());
    resolve::choose(engine.config(), &runtime, None)?;
    let argv = spec::command_line(&request.process, &image.config.config)?;
    let mut pins = Pins::new(engine);
    let mounts = spec::mounts::resolve(engine, &request, &image, &mut pins).await?;
    let fields = fields(engine, &request, &image, id, name, argv, mounts)?;
    let now = clock::now();
    let mut record = ContainerRecord {
        namespace: request.namespace.clone(),
        id: id.clone(),
        labels: labels(&request, &image),
        image: image.names.first().map_or_else(|| request.image.clone(), |name| name.to_string()),
        runtime: RuntimeRef { name: runtime, options: None },
        spec: Any::default(),
        snapshotter: engine.config().snapshotter.clone(),
        snapshot_key: id.to_string(),
        created_at: now,
        updated_at: now,
        extensions: request.extensions.clone(),
        sandbox: String::new(),
        engine: Some(fields),
    };
    let (generated, warnings) = spec::generate(engine, &request, &image, &record)?;
    record.spec = generated;
    let entry = commit(engine, record, &image).await?;
    pins.keep();
    if let Err(error) = volumes::populate(engine, &entry).await {
        let options = RemoveOptions { force: true, volumes: true };
        if let Err(second) = remove::remove(engine, &entry, options).await {
            tracing::error!(container = %entry.key, error = %second, "a container that was not made stays");
        }
        return Err(error);
    }
    let body = Body::ContainerCreated {
        id: id.to_string(),
        image: entry.record().image.clone(),
        runtime: entry.record().runtime.name.clone(),
    };
    engine.publish(&entry, body);
    Ok(Created { id: id.clone(), warnings })
}

/// Labels of the image below those of the request. The image's are data, never policy: reserved names are dropped.
fn labels(request: &CreateContainer, image: &Image) -> BTreeMap<String, String> {
    let reserved = |key: &str| key.starts_with("containerd.io/") || key.starts_with("io.containerd.");
    let of_image = image.config.config.labels.iter().filter(|(key, _)| !reserved(key));
    let mut labels: BTreeMap<String, String> =
        of_image.map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.extend(request.labels.clone());
    labels
}

fn fields(
    engine: &Engine,
    request: &CreateContainer,
    image: &Image,
    id: &ContainerId,
    name: &str,
    argv: Vec<String>,
    mounts: Vec<MountPoint>,
) -> Result<EngineFields> {
    let config = &image.config.config;
    let stop_signal = match request.stop_signal.as_deref() {
        Some(text) if !text.is_empty() => signal::parse(text)?,
        // An image with nonsense here must still run.
        _ => signal::parse(&config.stop_signal).unwrap_or(signal::SIGTERM),
    };
    let hostname = match (&request.hostname, &request.network.mode) {
        (Some(hostname), _) if !hostname.is_empty() => hostname.clone(),
        (_, NetworkMode::Host) => host_name(),
        (_, NetworkMode::Container(reference)) => {
            // One that does not exist is told at the start, as docker does.
            let other = engine.entry("join network of", &request.namespace, reference);
            let record = other.ok().map(|other| other.record());
            let theirs = record.and_then(|record| record.engine.as_ref().map(|o| o.hostname.clone()));
            theirs.unwrap_or_else(|| id.as_str()[..12].to_owned())
        }
        _ => id.as_str()[..12].to_owned(),
    };
    let mut exposed: Vec<String> = config.exposed_ports.keys().cloned().collect();
    let port = |port: u16, protocol: crate::request::Protocol| format!("{port}/{}", protocol.as_str());
    exposed.extend(request.network.exposed.iter().map(|(number, protocol)| port(*number, *protocol)));
    exposed.extend(request.network.ports.iter().map(|p| port(p.container_port, p.protocol)));
    exposed.sort();
    exposed.dedup();
    Ok(EngineFields {
        name: name.to_owned(),
        image_request: request.image.clone(),
        image_id: image.id.clone(),
        image_manifest: Some(image.target.clone()),
        argv,
        env: spec::environment(&request.process, config),
        process: request.process.clone(),
        hostname,
        domainname: request.domainname.clone().unwrap_or_default(),
        resources: request.resources.clone(),
        security: request.security.clone(),
        network: request.network.clone(),
        exposed,
        mounts,
        restart: request.restart,
        health: request.health.clone(),
        log: request.log.clone().unwrap_or_else(|| engine.config().log.clone()),
        stop_signal,
        stop_timeout: request.stop_timeout.unwrap_or(STOP_TIMEOUT),
        auto_remove: request.auto_remove,
        shm_size: request.shm_size.unwrap_or(SHM_SIZE),
        desired: Desired::Created,
        last_exit: None,
    })
}

/// The name of the host, which a container in its network shares.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".into(), |name| name.trim().into())
}

/// Makes the snapshot's directories, then both rows durable in one commit, then shows the container.
async fn commit(engine: &Engine, record: ContainerRecord, image: &Image) -> Result<Arc<Entry>> {
    let stores = engine.stores().clone();
    let parent = image.top_snapshot();
    let record = blocking("write record of container", move || {
        let snapshotter = stores.snapshotter(&record.snapshotter)?;
        let key = SnapshotKey::new(record.snapshot_key.as_str())?;
        let request = PrepareRequest {
            namespace: &record.namespace,
            key: &key,
            parent: parent.as_ref(),
            labels: Default::default(),
            lease: None,
            now: record.created_at,
        };
        let staged = snapshotter.stage(Kind::Active, &request)?;
        let row = stores::row_of(&record)?;
        stores.metadata.update(|tx| {
            staged.record(tx)?;
            stores::put(tx, &record, &row)
        })?;
        Ok(record)
    })
    .await?;
    let key = Key::new(&record.namespace, &record.id);
    let entry = Arc::new(Entry::new(key, record));
    if !engine.inner().roster.insert(entry.clone()) {
        // 256 random bits.
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            "create",
            "container",
            entry.key.id.as_str(),
            "its id is taken",
        ));
    }
    Ok(entry)
}
