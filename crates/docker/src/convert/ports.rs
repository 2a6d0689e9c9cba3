//! Published and exposed ports: `80/tcp` → `[{HostIp, HostPort}]`.

use crate::error::ApiError;
use crate::query::quote;
use crate::wire::container::Port;
use crate::wire::network::{PortBinding, PortMap};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tare_engine::request::{PortMapping, Protocol};

/// Reads `80`, `80/udp`.
pub(crate) fn parse_port(text: &str) -> Result<(u16, Protocol), ApiError> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(ApiError::bad_parameter(format!("invalid proto: {protocol}"))),
    };
    let number = number.parse().map_err(|_| invalid(number))?;
    Ok((number, protocol))
}

/// `8000-8010` or `8000`; empty chooses a free one.
fn parse_range(text: &str) -> Result<(u16, u16), ApiError> {
    if text.is_empty() {
        return Ok((0, 0));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = (first.parse().map_err(|_| invalid(text))?, last.parse().map_err(|_| invalid(text))?);
    if range.0 > range.1 { Err(invalid(text)) } else { Ok(range) }
}

fn invalid(text: &str) -> ApiError {
    ApiError::bad_parameter(format!("invalid port specification: {}", quote(text)))
}

/// What is to be published.
pub(crate) fn to_mappings(map: &PortMap) -> Result<Vec<PortMapping>, ApiError> {
    let mut mappings = Vec::new();
    for (port, bindings) in map {
        let (container_port, protocol) = parse_port(port)?;
        for binding in bindings.iter().flatten() {
            let host_ip = match binding.host_ip.as_str() {
                "" => None,
                text => Some(parse_ip(text)?),
            };
            let host_ports = parse_range(&binding.host_port)?;
            mappings.push(PortMapping { host_ip, host_ports, container_port, protocol });
        }
    }
    Ok(mappings)
}

fn parse_ip(text: &str) -> Result<IpAddr, ApiError> {
    // The brackets of an IPv6 address in a port specification.
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| ApiError::bad_parameter(format!("invalid IP address: {text}")))
}

/// What is published, and with `null` what is only exposed. Without an address of the host a port is published
/// on all of IPv4 and of IPv6: two bindings.
pub(crate) fn from_mappings(mappings: &[PortMapping], exposed: &[String]) -> PortMap {
    let mut map: PortMap = exposed.iter().map(|port| (port.clone(), None)).collect();
    for mapping in mappings {
        let port = format!("{}/{}", mapping.container_port, mapping.protocol.as_str());
        let bindings = map.entry(port).or_default().get_or_insert_default();
        for host_ip in host_ips(mapping) {
            bindings.push(PortBinding { host_ip, host_port: mapping.host_ports.0.to_string() });
        }
    }
    map
}

fn host_ips(mapping: &PortMapping) -> Vec<String> {
    match mapping.host_ip {
        Some(ip) => vec![ip.to_string()],
        None => vec!["0.0.0.0".to_owned(), "::".to_owned()],
    }
}

/// The ports of a row of the container list.
pub(crate) fn to_rows(map: &PortMap) -> Vec<Port> {
    let mut rows = Vec::new();
    for (port, bindings) in map {
        // The keys were made by this module; a foreign one is not shown.
        let Ok((private_port, protocol)) = parse_port(port) else { continue };
        let kind = protocol.as_str().to_owned();
        match bindings {
            None => rows.push(Port { private_port, kind, ..Port::default() }),
            Some(bindings) => rows.extend(bindings.iter().map(|binding| Port {
                ip: binding.host_ip.clone(),
                private_port,
                public_port: binding.host_port.parse().unwrap_or(0),
                kind: kind.clone(),
            })),
        }
    }
    rows
}

/// `80/tcp` with the protocol always there.
pub(crate) fn canonical(ports: impl IntoIterator<Item = (u16, Protocol)>) -> BTreeMap<String, ()> {
    ports.into_iter().map(|(port, protocol)| (format!("{port}/{}", protocol.as_str()), ())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> PortMap {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn bindings_become_mappings() {
        let mappings = to_mappings(&map(
            r#"{"80/tcp":[{"HostIp":"","HostPort":"8080"},{"HostIp":"127.0.0.1","HostPort":""}],
                "53/udp":[{"HostIp":"::1","HostPort":"5000-5009"}],"443/tcp":null}"#,
        ))
        .unwrap();
        let udp = PortMapping {
            host_ip: Some("::1".parse().unwrap()),
            host_ports: (5000, 5009),
            container_port: 53,
            protocol: Protocol::Udp,
        };
        assert_eq!(mappings[0], udp);
        assert_eq!(mappings[1].host_ports, (8080, 8080));
        assert_eq!((mappings[2].host_ports, mappings.len()), ((0, 0), 3));
    }

    #[test]
    fn nonsense_is_refused() {
        for json in [
            r#"{"a/tcp":[]}"#,
            r#"{"80/icmp":[]}"#,
            r#"{"80/tcp":[{"HostIp":"","HostPort":"x"}]}"#,
            r#"{"80/tcp":[{"HostIp":"","HostPort":"9-1"}]}"#,
            r#"{"80/tcp":[{"HostIp":"host","HostPort":"1"}]}"#,
            r#"{"70000/tcp":[]}"#,
        ] {
            assert!(to_mappings(&map(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn mappings_become_bindings_and_rows() {
        let mapping = PortMapping {
            host_ip: None,
            host_ports: (8080, 8080),
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let shown = from_mappings(&[mapping], &["80/tcp".into(), "443/tcp".into()]);
        assert_eq!(
            serde_json::to_string(&shown).unwrap(),
            r#"{"443/tcp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]}"#
        );
        let rows = to_rows(&shown);
        assert_eq!(
            serde_json::to_string(&rows).unwrap(),
            r#"[{"PrivatePort":443,"Type":"tcp"},{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}]"#
        );
    }
}
