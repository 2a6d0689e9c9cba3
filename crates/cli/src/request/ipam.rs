//! The address pools of `network create`: which gateway, range and reserved address belongs to which subnet.

use crate::failure::Failure;
use serde_json::{Value, json};
use std::net::IpAddr;

/// An address with a prefix, as it was given.
fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= if address.is_ipv4() { 32 } else { 128 })?;
    Some((address, prefix))
}

/// The bits of an address in front, on the left of 128.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

fn contains(subnet: &str, address: IpAddr) -> bool {
    cidr(subnet).is_some_and(|(base, prefix)| {
        let differ = bits(base) ^ bits(address);
        base.is_ipv4() == address.is_ipv4() && (prefix == 0 || differ >> (128 - u32::from(prefix)) == 0)
    })
}

/// `IPAM.Config` of the flags.
pub(crate) fn pools(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    reserved: &[String],
) -> Result<Value, Failure> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err(Failure::new("every ip-range or gateway must have a corresponding subnet"));
    }
    let mut pools: Vec<Value> = subnets.iter().map(|subnet| json!({"Subnet": subnet})).collect();
    let place = |what: &str, shown: &str, address: Option<IpAddr>| {
        let at = address.and_then(|address| subnets.iter().position(|subnet| contains(subnet, address)));
        at.ok_or_else(|| Failure::new(format!("no matching subnet for {what} {shown}")))
    };
    for range in ranges {
        let at = place("range", range, cidr(range).map(|(address, _)| address))?;
        pools[at]["IPRange"] = json!(range);
    }
    for gateway in gateways {
        let at = place("gateway", gateway, gateway.parse().ok())?;
        pools[at]["Gateway"] = json!(gateway);
    }
    for entry in reserved {
        let (name, address) = entry.split_once('=').unwrap_or((entry, ""));
        let at = place("aux-address", address, address.parse().ok())?;
        pools[at]["AuxiliaryAddresses"][name] = json!(address);
    }
    Ok(Value::from(pools))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: [&[&str]; 4]) -> Result<Value, String> {
        let [subnets, ranges, gateways, reserved] =
            flags.map(|flag| flag.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        pools(&subnets, &ranges, &gateways, &reserved).map_err(|failure| failure.message)
    }

    #[test]
    fn each_belongs_to_the_subnet_it_lies_in() {
        assert_eq!(read([&[], &[], &[], &[]]).unwrap(), json!([]));
        let both = ["10.1.0.0/16", "fd00::/64"];
        let given = read([&both, &["10.1.5.0/24"], &["fd00::1", "10.1.0.9"], &["r=10.1.0.2"]]).unwrap();
        let first = json!({"Subnet": "10.1.0.0/16", "IPRange": "10.1.5.0/24", "Gateway": "10.1.0.9",
            "AuxiliaryAddresses": {"r": "10.1.0.2"}});
        assert_eq!(given, json!([first, {"Subnet": "fd00::/64", "Gateway": "fd00::1"}]));
    }

    #[test]
    fn what_lies_in_none_is_refused_in_dockers_words() {
        let every = "every ip-range or gateway must have a corresponding subnet";
        assert_eq!(read([&[], &["10.1.0.0/24"], &[], &[]]).unwrap_err(), every);
        let subnet: &[&str] = &["10.1.0.0/16"];
        for (flags, message) in [
            ([subnet, &["10.2.0.0/24"], &[], &[]], "no matching subnet for range 10.2.0.0/24"),
            ([subnet, &[], &["10.2.0.1"], &[]], "no matching subnet for gateway 10.2.0.1"),
            ([subnet, &[], &[], &["foo"]], "no matching subnet for aux-address "),
        ] {
            assert_eq!(read(flags).unwrap_err(), message);
        }
    }
}
