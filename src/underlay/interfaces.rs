//! Interfaces, addresses and default routes of the network below the tunnel, as the kernel lists
//! them. What the firewall makes of them is not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::Ipv4Net;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::if_nameindex;

use crate::system::files::{self, FileError};
use crate::system::paths;

/// The kernel's main routing table, IPv4; wg-quick's own table is not in it.
const ROUTES: &str = "/proc/net/route";
const LOOPBACK: &str = "lo";

/// The interfaces could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum InterfacesError {
    #[error("default route: {0}")]
    Routes(#[from] FileError),
    #[error("addresses of the network interfaces: {0}")]
    Addresses(#[from] nix::errno::Errno),
}

/// A default route that does not lead into the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    pub interface: String,
    pub metric: u32,
}

/// A network in which an interface has an address: a Docker network, as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedNetwork {
    pub interface: String,
    pub address: Ipv4Addr,
    pub network: Ipv4Net,
}

/// All of it at one moment, to be compared with another.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    interfaces: Vec<(String, u32)>,
    attached: Vec<AttachedNetwork>,
    default_routes: Vec<DefaultRoute>,
}

/// What there is now below the tunnel.
///
/// # Errors
/// As [`attached_networks`] and [`default_routes`].
pub fn snapshot() -> Result<Snapshot, InterfacesError> {
    let interfaces = if_nameindex()?
        .iter()
        .map(|interface| {
            let name = interface.name().to_string_lossy().into_owned();
            (name, interface.index())
        })
        .filter(|(name, _)| is_underlay(name))
        .collect();
    Ok(Snapshot {
        interfaces,
        attached: attached_networks()?,
        default_routes: default_routes()?,
    })
}

/// The default routes, the kernel's choice first; there may be several, or none.
pub fn default_routes() -> Result<Vec<DefaultRoute>, InterfacesError> {
    let table = files::read_if_present(Path::new(ROUTES))?.unwrap_or_default();
    Ok(parse_default_routes(&table))
}

/// The interface's MTU, where the kernel tells it.
pub fn mtu(interface: &str) -> Option<u32> {
    let file = Path::new("/sys/class/net").join(interface).join("mtu");
    files::read_if_present(&file).ok()??.trim().parse().ok()
}

/// The IPv4 networks of all interfaces except `lo` and the tunnel.
pub fn attached_networks() -> Result<Vec<AttachedNetwork>, InterfacesError> {
    let attached = getifaddrs()?
        .filter(|entry| is_underlay(&entry.interface_name))
        .filter_map(|entry| {
            let (address, mask) = ipv4_of(&entry)?;
            attached_network(entry.interface_name, address, mask)
        });
    Ok(attached.collect())
}

fn is_underlay(interface: &str) -> bool {
    interface != LOOPBACK && interface != paths::INTERFACE
}

fn ipv4_of(entry: &InterfaceAddress) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let address = entry.address.as_ref()?.as_sockaddr_in()?.ip();
    let mask = entry.netmask.as_ref()?.as_sockaddr_in()?.ip();
    Some((address, mask))
}

fn attached_network(
    interface: String,
    address: Ipv4Addr,
    mask: Ipv4Addr,
) -> Option<AttachedNetwork> {
    let prefix = ipnet::ip_mask_to_prefix(IpAddr::V4(mask)).ok()?;
    let network = Ipv4Net::new(address, prefix).ok()?.trunc();
    Some(AttachedNetwork {
        interface,
        address,
        network,
    })
}

/// Columns of the table: interface, destination, gateway, flags, …, metric (seventh), mask
/// (eighth). Numbers are hexadecimal, addresses as the machine stores them.
pub(super) fn parse_default_routes(table: &str) -> Vec<DefaultRoute> {
    let mut routes: Vec<DefaultRoute> = table.lines().filter_map(parse_default_route).collect();
    routes.sort_by_key(|route| route.metric);
    routes
}

fn parse_default_route(line: &str) -> Option<DefaultRoute> {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [
        interface,
        destination,
        _gateway,
        flags,
        _,
        _,
        metric,
        mask,
        ..,
    ] = columns.as_slice()
    else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let is_default =
        parse_address(destination)?.is_unspecified() && parse_address(mask)?.is_unspecified();
    if !is_default || flags & UP == 0 || flags & REJECT != 0 || !is_underlay(interface) {
        return None;
    }
    Some(DefaultRoute {
        interface: (*interface).to_owned(),
        metric: metric.parse().ok()?,
    })
}

fn parse_address(hexadecimal: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(hexadecimal, 16)
        .ok()
        .map(|number| Ipv4Addr::from(number.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn hexadecimal(address: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(address))
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_comes_first() {
        let gateway = hexadecimal([172, 17, 0, 1]);
        let table = format!(
            "{HEADER}eth1\t00000000\t00000000\t0001\t0\t0\t200\t00000000\t0\t0\t0\n\
             eth0\t00000000\t{gateway}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n",
            hexadecimal([172, 17, 0, 0]),
            hexadecimal([255, 255, 0, 0]),
        );
        let routes = parse_default_routes(&table);
        assert_eq!(
            routes,
            [
                DefaultRoute {
                    interface: "eth0".into(),
                    metric: 0
                },
                DefaultRoute {
                    interface: "eth1".into(),
                    metric: 200
                },
            ]
        );
    }

    #[test]
    fn rejecting_and_tunnelled_routes_and_halves_do_not_count() {
        let table = format!(
            "{HEADER}lo\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n\
             *\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n\
             wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
             tun0\t00000000\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n",
            hexadecimal([128, 0, 0, 0])
        );
        assert_eq!(parse_default_routes(&table), []);
    }

    #[test]
    fn a_network_is_the_address_without_its_host_part() {
        let attached = attached_network(
            "eth0".into(),
            Ipv4Addr::new(172, 18, 3, 4),
            Ipv4Addr::new(255, 255, 0, 0),
        )
        .unwrap();
        assert_eq!(attached.network.to_string(), "172.18.0.0/16");
        assert_eq!(
            attached_network(
                "eth0".into(),
                Ipv4Addr::LOCALHOST,
                Ipv4Addr::new(255, 0, 255, 0)
            ),
            None
        );
    }

    #[test]
    fn the_real_tables_can_be_read() {
        default_routes().unwrap();
        assert!(
            attached_networks()
                .unwrap()
                .iter()
                .all(|attached| attached.interface != "lo")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(eth0|[0-9A-F ]|\t|\n|\\PC){0,200}") {
            parse_default_routes(&text);
        }
    }
}
