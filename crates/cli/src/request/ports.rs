//! `-p` and `--expose`: `[[ip:]host[-host]:]container[-container][/proto]`.

use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// The ports of a container: what is exposed, and what is bound where.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// `80/tcp` → `{}`
    pub(crate) exposed: Map<String, Value>,
    /// `80/tcp` → `[{"HostIp", "HostPort"}]`
    pub(crate) bindings: Map<String, Value>,
}

/// Parses all flags.
pub(crate) fn parse(publish: &[String], expose: &[String]) -> Result<Ports, Failure> {
    let mut ports = Ports::default();
    for spec in publish {
        publish_one(spec, &mut ports)?;
    }
    for spec in expose {
        let (range, protocol) = protocol_of(spec)?;
        let (first, last) = range_of(range).ok_or_else(|| invalid("--expose", spec))?;
        for port in first..=last {
            ports.exposed.insert(format!("{port}/{protocol}"), json!({}));
        }
    }
    Ok(ports)
}

fn publish_one(spec: &str, ports: &mut Ports) -> Result<(), Failure> {
    if spec.contains('=') {
        return publish_long(spec, ports);
    }
    let (rest, protocol) = protocol_of(spec)?;
    let (address, host, container) = split(rest);
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(Failure::usage(format!("invalid IP address: {address}")));
    }
    bind(spec, ports, (address, host, container), protocol)
}

/// `published=8080,target=80,protocol=tcp`
fn publish_long(spec: &str, ports: &mut Ports) -> Result<(), Failure> {
    let (mut host, mut container, mut protocol) = ("", "", "tcp");
    for field in spec.split(',') {
        match field.split_once('=') {
            Some(("published" | "publish" | "source" | "src", value)) => host = value,
            Some(("target" | "destination" | "dst", value)) => container = value,
            Some(("protocol", value)) => protocol = value,
            Some(("mode", _)) => {}
            _ => return Err(invalid("-p, --publish", spec)),
        }
    }
    bind(spec, ports, ("", host, container), protocol)
}

fn bind(
    spec: &str,
    ports: &mut Ports,
    (address, host, container): (&str, &str, &str),
    protocol: &str,
) -> Result<(), Failure> {
    let (first, last) =
        range_of(container).ok_or_else(|| Failure::usage(format!("invalid containerPort: {container}")))?;
    let host_range = match host {
        "" => None,
        host => Some(range_of(host).ok_or_else(|| Failure::usage(format!("invalid hostPort: {host}")))?),
    };
    if let Some((low, high)) = host_range
        && high - low != last - first
        // A range of host ports for one container port means: any of them.
        && last != first
    {
        return Err(Failure::usage(format!("invalid ranges specified for container and host Ports: {spec}")));
    }
    for port in first..=last {
        let host_port = match host_range {
            None => String::new(),
            Some((low, high)) if first == last && low != high => format!("{low}-{high}"),
            Some((low, _)) => (low + port - first).to_string(),
        };
        let key = format!("{port}/{protocol}");
        ports.exposed.insert(key.clone(), json!({}));
        if let Value::Array(bindings) = ports.bindings.entry(key).or_insert_with(|| json!([])) {
            bindings.push(json!({"HostIp": address, "HostPort": host_port}));
        }
    }
    Ok(())
}

fn protocol_of(spec: &str) -> Result<(&str, &str), Failure> {
    match spec.split_once('/') {
        None => Ok((spec, "tcp")),
        Some((rest, protocol @ ("tcp" | "udp" | "sctp"))) => Ok((rest, protocol)),
        Some((_, protocol)) => Err(Failure::usage(format!("invalid proto: {protocol}"))),
    }
}

/// Address, host ports, container ports; the address may be `[v6]`.
fn split(text: &str) -> (&str, &str, &str) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        let (host, container) = rest.split_once(':').unwrap_or(("", rest));
        return (address, host, container);
    }
    let Some((before, container)) = text.rsplit_once(':') else { return ("", "", text) };
    match before.rsplit_once(':') {
        Some((address, host)) => (address, host, container),
        // `ip::container` has been handled above; a bare address stands before an empty host port.
        None => ("", before, container),
    }
}

fn range_of(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

fn invalid(flag: &str, spec: &str) -> Failure {
    Failure::usage(format!("invalid argument \"{spec}\" for \"{flag}\" flag: invalid port specification"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: &str, expected: Value) {
        assert_eq!(Value::Object(parse(&[spec.to_owned()], &[]).unwrap().bindings), expected, "{spec}");
    }

    #[test]
    fn publish_forms() {
        check("80", json!({"80/tcp": [{"HostIp": "", "HostPort": ""}]}));
        check("8080:80", json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}));
        check("127.0.0.1:8080:80/udp", json!({"80/udp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}));
        check("127.0.0.1::80", json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}));
        check("[::1]:8080:80", json!({"80/tcp": [{"HostIp": "::1", "HostPort": "8080"}]}));
        check(
            "8000-8001:80-81",
            json!({"80/tcp": [{"HostIp": "", "HostPort": "8000"}], "81/tcp": [{"HostIp": "", "HostPort": "8001"}]}),
        );
        check("8000-8010:80", json!({"80/tcp": [{"HostIp": "", "HostPort": "8000-8010"}]}));
        for bad in ["x", "1:2:3:4:5:6", "80/foo", "70000:80", "300.1.1.1:80:80", "1-3:80-81"] {
            assert!(parse(&[bad.to_owned()], &[]).is_err(), "{bad}");
        }
    }
}
