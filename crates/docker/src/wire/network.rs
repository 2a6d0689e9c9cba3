//! Networks, endpoints and published ports.

use super::StringMap;
use std::collections::BTreeMap;

/// `80/tcp` → where it is published; `null` for an exposed port that is not.
pub(crate) type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

wire! {
    /// One end of a published port on the host.
    pub(crate) struct PortBinding {
        host_ip: String,
        host_port: String,
    }

    /// Endpoints asked for at creation, by network name.
    pub(crate) struct NetworkingConfig {
        endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
    }

    /// One endpoint: the first half is asked for, the second reported.
    pub(crate) struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        ipam_config: Option<EndpointIpam>,
        links: Option<Vec<String>>,
        aliases: Option<Vec<String>>,
        mac_address: String,
        driver_opts: Option<StringMap>,
        gw_priority: i64,
        #[serde(rename = "NetworkID")]
        network_id: String,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        gateway: String,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        ip_prefix_len: u8,
        #[serde(rename = "IPv6Gateway")]
        ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        global_ipv6_prefix_len: u8,
        #[serde(rename = "DNSNames")]
        dns_names: Option<Vec<String>>,
    }

    /// Addresses asked for.
    pub(crate) struct EndpointIpam {
        #[serde(rename = "IPv4Address", skip_serializing_if = "super::is_zero")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "super::is_zero")]
        ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "super::is_empty_list")]
        link_local_ips: Option<Vec<String>>,
    }

    /// `NetworkSettings` of an inspected container; the flat members repeat the endpoint on `bridge`.
    pub(crate) struct NetworkSettings {
        bridge: String,
        #[serde(rename = "SandboxID")]
        sandbox_id: String,
        sandbox_key: String,
        ports: PortMap,
        hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        link_local_ipv6_prefix_len: u8,
        #[serde(rename = "SecondaryIPAddresses")]
        secondary_ip_addresses: Option<Vec<String>>,
        #[serde(rename = "SecondaryIPv6Addresses")]
        secondary_ipv6_addresses: Option<Vec<String>>,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        global_ipv6_prefix_len: u8,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        ip_prefix_len: u8,
        #[serde(rename = "IPv6Gateway")]
        ipv6_gateway: String,
        mac_address: String,
        networks: BTreeMap<String, EndpointSettings>,
    }

    /// A network as `network ls` and `network inspect` show it.
    pub(crate) struct Network {
        name: String,
        id: String,
        created: String,
        scope: String,
        driver: String,
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        ipam: Ipam,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_from: ConfigReference,
        config_only: bool,
        containers: BTreeMap<String, EndpointResource>,
        options: Option<StringMap>,
        labels: StringMap,
    }

    /// The network another one takes its configuration from.
    pub(crate) struct ConfigReference {
        network: String,
    }

    /// Address management of a network.
    pub(crate) struct Ipam {
        driver: String,
        options: Option<StringMap>,
        config: Option<Vec<IpamPool>>,
    }

    /// One pool of addresses.
    pub(crate) struct IpamPool {
        #[serde(skip_serializing_if = "super::is_zero")]
        subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "super::is_zero")]
        ip_range: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        gateway: String,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        auxiliary_addresses: Option<StringMap>,
    }

    /// A container on a network.
    pub(crate) struct EndpointResource {
        name: String,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        mac_address: String,
        #[serde(rename = "IPv4Address")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        ipv6_address: String,
    }

    /// What `network create` sends.
    pub(crate) struct CreateNetwork {
        name: String,
        driver: String,
        scope: String,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_only: bool,
        config_from: Option<ConfigReference>,
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6")]
        enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        ipam: Option<CreateIpam>,
        options: Option<StringMap>,
        labels: Option<StringMap>,
    }

    /// Address management that `network create` asks for.
    pub(crate) struct CreateIpam {
        driver: String,
        options: Option<StringMap>,
        config: Option<Vec<CreatePool>>,
    }

    /// One pool of it.
    pub(crate) struct CreatePool {
        subnet: String,
        #[serde(rename = "IPRange")]
        ip_range: String,
        gateway: String,
        auxiliary_addresses: Option<StringMap>,
    }

    /// The answer to it.
    pub(crate) struct NetworkCreated {
        id: String,
        warning: String,
    }

    /// What `network connect` and `network disconnect` send.
    pub(crate) struct Membership {
        container: String,
        endpoint_config: Option<EndpointSettings>,
        force: bool,
    }

    /// The answer to `network prune`.
    pub(crate) struct NetworksPruned {
        networks_deleted: Option<Vec<String>>,
    }
}
