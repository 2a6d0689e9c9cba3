//! The files that the daemon gives a container: /etc/hostname, /etc/hosts, /etc/resolv.conf.
//!
//! They lie in the container's directory below the root, not on the state's tmpfs: a container can write to them, and
//! must not fill the memory of the host. Written anew at each start, as Docker does; nothing is synced.

use crate::{Error, Result, network::EndpointState, record::EngineFields, request::NetworkMode};
use std::{fs, io, net::IpAddr, os::unix::fs::DirBuilderExt, path::Path};
use tare_net::files;
use tare_types::ErrorKind;

/// Names of the files, and where they appear in the container.
pub(crate) const FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// Makes the container's directory, 0710 as Docker's.
pub(crate) fn make_directory(directory: &Path) -> Result<()> {
    let made = match fs::DirBuilder::new().mode(0o710).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().mode(0o710).recursive(true).create(directory)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    made.map_err(|error| failed("make", directory, error))
}

/// Writes `/etc/hosts` of a container, with lines for its neighbours.
pub(crate) fn write_hosts(
    directory: &Path,
    fields: &EngineFields,
    endpoint: &EndpointState,
    neighbours: &[files::HostEntry],
) -> Result<()> {
    let mut extra = extra_hosts(fields, endpoint)?;
    let hosts = if endpoint.network == "host" {
        files::host_network_hosts(&read_host("/etc/hosts"), &extra)
    } else {
        let own: Vec<_> = std::iter::once(endpoint)
            .chain(&endpoint.others)
            .filter_map(|one| {
                let mut names = own_names(fields, &fields.domainname);
                names.extend(one.aliases.iter().filter(|alias| !alias.is_empty()).cloned());
                Some(files::HostEntry { address: one.ip_address?, names })
            })
            .collect();
        extra.extend(neighbours.iter().cloned());
        files::hosts(&extra, &own)
    };
    put(directory, "hosts", &hosts)
}

/// Writes the files for a run.
pub(crate) fn write(
    directory: &Path,
    fields: &EngineFields,
    endpoint: &EndpointState,
    neighbours: &[files::HostEntry],
) -> Result<()> {
    let host_network = endpoint.network == "host";
    let resolver = files::ResolverOptions {
        servers: fields.network.dns.clone(),
        search: fields.network.dns_search.clone(),
        options: fields.network.dns_options.clone(),
    };
    let resolv = if host_network {
        files::host_network_resolv_conf(&read_host("/etc/resolv.conf"), &resolver)
    } else {
        files::resolv_conf(&host_resolver(), &resolver)
    };
    write_hosts(directory, fields, endpoint, neighbours)?;
    put(directory, "hostname", &files::hostname(&fields.hostname))?;
    put(directory, "resolv.conf", &resolv)
}

/// A file of the host; one that cannot be read says nothing.
fn read_host(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The host's resolv.conf; that of systemd-resolved behind its stub, whose address is of no use inside.
fn host_resolver() -> String {
    let text = read_host("/etc/resolv.conf");
    if files::names_stub_resolver(&text) {
        return fs::read_to_string(files::RESOLVED_SERVERS).unwrap_or(text);
    }
    text
}

/// Host name with its domain, its first label, and the container's name, each once.
fn own_names(fields: &EngineFields, domain: &str) -> Vec<String> {
    let short = fields.hostname.split('.').next().unwrap_or_default();
    let mut names = vec![match domain {
        "" => fields.hostname.clone(),
        domain => format!("{}.{domain}", fields.hostname),
    }];
    // One that joined another's network is not who answers at the address.
    let joined = matches!(fields.network.mode, NetworkMode::Container(_));
    for name in [short, if joined { "" } else { fields.name.as_str() }] {
        if !name.is_empty() && names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// `name:address` as the user gave them; `host-gateway` is the bridge.
fn extra_hosts(fields: &EngineFields, endpoint: &EndpointState) -> Result<Vec<files::HostEntry>> {
    let invalid = |entry: &str| {
        Error::new(ErrorKind::InvalidArgument, "use", "extra host", entry, "it must be NAME:ADDRESS")
    };
    fields
        .network
        .extra_hosts
        .iter()
        .map(|entry| {
            let (name, address) = entry.split_once([':', '=']).ok_or_else(|| invalid(entry))?;
            let address: IpAddr = match address {
                "host-gateway" => endpoint.gateway.unwrap_or(IpAddr::from([127, 0, 0, 1])),
                text => {
                    text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| invalid(entry))?
                }
            };
            Ok(files::HostEntry { address, names: vec![name.to_owned()] })
        })
        .collect()
}

/// Writes one file in place: it may be bind-mounted where another container shares this one's network.
fn put(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    fs::write(&path, text).map_err(|error| failed("write", &path, error))
}

fn failed(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, operation, "file", path.display().to_string(), "").with_source(error)
}
