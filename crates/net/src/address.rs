//! Addresses as checked values: an IPv4 subnet in CIDR form and an Ethernet address.

use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr, str::FromStr};
use tare_types::InvalidValue;

/// An IPv4 network: the address has no bits beyond the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network of `prefix` bits that holds `address`; bits beyond the prefix are dropped.
    ///
    /// # Panics
    /// When `prefix` is above 32.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Self {
        assert!(prefix <= 32, "an IPv4 prefix has at most 32 bits");
        Self { address: Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix }
    }

    /// The first address.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The number of leading bits that name the network.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The last address, where broadcasts go.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !mask(self.prefix))
    }

    /// Whether `address` lies in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.address)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |reason| InvalidValue { what: "subnet", value: text.chars().take(64).collect(), reason };
        let (address, prefix) = text.split_once('/').ok_or_else(|| wrong("it must be ADDRESS/PREFIX"))?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong("the address is not IPv4"))?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong("the prefix is not a number"))?;
        if prefix > 32 {
            return Err(wrong("the prefix is above 32"));
        }
        let subnet = Self::containing(address, prefix);
        if subnet.address != address {
            return Err(wrong("the address has bits beyond the prefix"));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address docker gives an interface: `02:42` and the IPv4 address.
    ///
    /// An address that follows from the IP keeps neighbour caches right when the IP is given again.
    pub fn from_ip(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong =
            |reason| InvalidValue { what: "mac address", value: text.chars().take(64).collect(), reason };
        let mut bytes = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = part
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or_else(|| wrong("it must be six pairs of hex digits"))?;
        }
        if parts.next().is_some() {
            return Err(wrong("it must be six pairs of hex digits"));
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(wrong("it is not an address of one interface (multicast or zero)"));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_parsed_strictly() {
        let subnet: Subnet = "172.17.0.0/16".parse().unwrap();
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(172, 17, 255, 255));
        assert!(subnet.contains(Ipv4Addr::new(172, 17, 3, 4)));
        assert!(!subnet.contains(Ipv4Addr::new(172, 18, 0, 0)));
        for bad in ["", "172.17.0.0", "172.17.0.1/16", "172.17.0.0/33", "172.17.0.0/-1", "::/0", "a/8"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
        assert!("0.0.0.0/0".parse::<Subnet>().unwrap().contains(Ipv4Addr::BROADCAST));
    }

    #[test]
    fn overlap_is_symmetric() {
        let of = |text: &str| text.parse::<Subnet>().unwrap();
        for (a, b, expected) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "10.1.0.0/16", true),
            ("10.0.0.1/32", "10.0.0.1/32", true),
        ] {
            assert_eq!(of(a).overlaps(of(b)), expected, "{a} {b}");
            assert_eq!(of(b).overlaps(of(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn mac_addresses() {
        let ip = Ipv4Addr::new(172, 17, 0, 2);
        assert_eq!(MacAddress::from_ip(ip).to_string(), "02:42:ac:11:00:02");
        assert_eq!("02-42-AC-11-00-02".parse::<MacAddress>().unwrap(), MacAddress::from_ip(ip));
        for bad in [
            "",
            "02:42",
            "02:42:ac:11:00:0",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "02:42:ac:11:00:02:03",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
