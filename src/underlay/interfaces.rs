//! Interfaces, addresses and default routes of the network below the tunnel, as the kernel lists
//! them. What the firewall makes of them is not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::{Ipv4Net, Ipv6Net};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::if_nametoindex;

use crate::system::files::{self, FileError};
use crate::system::paths;

/// The kernel's main routing table, IPv4; wg-quick's own table is not in it.
const ROUTES: &str = "/proc/net/route";
/// All routing tables, IPv6.
const ROUTES_V6: &str = "/proc/net/ipv6_route";
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
    interfaces: Vec<(String, usize)>,
    attached: Vec<AttachedNetwork>,
    default_routes: Vec<DefaultRoute>,
    attached_v6: Vec<(String, Ipv6Net)>,
    default_route_v6: Option<String>,
}

/// What there is now below the tunnel; of IPv6 only where that is asked for.
///
/// # Errors
/// As [`attached_networks`] and [`default_routes`].
pub fn snapshot(ipv6: bool) -> Result<Snapshot, InterfacesError> {
    let entries = entries()?;
    let interfaces = entries.iter().filter_map(|entry| {
        let index = match &entry.address {
            Some(address) => address.as_link_addr()?.ifindex(),
            // Such as a tun device, which has no link address.
            None => {
                let index = if_nametoindex(entry.interface_name.as_str()).ok()?;
                usize::try_from(index).ok()?
            }
        };
        Some((entry.interface_name.clone(), index))
    });
    Ok(Snapshot {
        interfaces: interfaces.collect(),
        attached: entries.iter().filter_map(attached_network).collect(),
        default_routes: default_routes()?,
        attached_v6: match ipv6 {
            true => each_network_v6(&entries),
            false => Vec::new(),
        },
        default_route_v6: match ipv6 {
            true => default_route_v6()?,
            false => None,
        },
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
    Ok(entries()?.iter().filter_map(attached_network).collect())
}

/// The IPv6 networks of all interfaces except `lo` and the tunnel, but for the link-local ones that
/// each has.
///
/// # Errors
/// When the addresses cannot be listed.
pub fn attached_networks_v6() -> Result<Vec<(String, Ipv6Net)>, InterfacesError> {
    Ok(each_network_v6(&entries()?))
}

/// One for each interface below the tunnel, and one for each of its addresses.
fn entries() -> Result<Vec<InterfaceAddress>, InterfacesError> {
    let entries = getifaddrs()?.filter(|entry| is_underlay(&entry.interface_name));
    Ok(entries.collect())
}

fn each_network_v6(entries: &[InterfaceAddress]) -> Vec<(String, Ipv6Net)> {
    let mut attached = Vec::new();
    for entry in entries {
        let network = ipv6_of(entry).map(|network| (entry.interface_name.clone(), network));
        attached.extend(network.filter(|network| !attached.contains(network)));
    }
    attached
}

/// The interface of the kernel's default route of IPv6.
///
/// # Errors
/// When the routes cannot be read.
pub fn default_route_v6() -> Result<Option<String>, InterfacesError> {
    let table = files::read_if_present(Path::new(ROUTES_V6))?.unwrap_or_default();
    Ok(parse_default_route_v6(&table))
}

fn ipv6_of(entry: &InterfaceAddress) -> Option<Ipv6Net> {
    let address = entry.address.as_ref()?.as_sockaddr_in6()?.ip();
    let mask = entry.netmask.as_ref()?.as_sockaddr_in6()?.ip();
    let prefix = ipnet::ip_mask_to_prefix(IpAddr::V6(mask)).ok()?;
    let network = Ipv6Net::new(address, prefix).ok()?.trunc();
    (!address.is_unicast_link_local()).then_some(network)
}

/// Columns: destination, its prefix length, source, its prefix length, next hop, metric, two
/// counters, flags, interface. Numbers are hexadecimal, in the order of the network.
pub(super) fn parse_default_route_v6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, _, _, _, metric, _, _, flags, interface] = columns[..] else {
            return None;
        };
        let address = u128::from_str_radix(destination, 16).ok()?;
        let is_default = Ipv6Addr::from(address).is_unspecified() && length == "00";
        let metric = u32::from_str_radix(metric, 16).ok()?;
        (is_default && is_usable(flags)? && is_underlay(interface)).then_some((metric, interface))
    });
    let (_, interface) = routes.min_by_key(|(metric, _)| *metric)?;
    Some(interface.to_owned())
}

/// Whether a route with these flags leads somewhere; `None` where they are none.
fn is_usable(flags: &str) -> Option<bool> {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    Some(flags & UP != 0 && flags & REJECT == 0)
}

fn is_underlay(interface: &str) -> bool {
    interface != LOOPBACK && interface != paths::INTERFACE
}

fn attached_network(entry: &InterfaceAddress) -> Option<AttachedNetwork> {
    let address = entry.address.as_ref()?.as_sockaddr_in()?.ip();
    let mask = entry.netmask.as_ref()?.as_sockaddr_in()?.ip();
    attached_by(&entry.interface_name, address, mask)
}

fn attached_by(interface: &str, address: Ipv4Addr, mask: Ipv4Addr) -> Option<AttachedNetwork> {
    let prefix = ipnet::ip_mask_to_prefix(IpAddr::V4(mask)).ok()?;
    let network = Ipv4Net::new(address, prefix).ok()?.trunc();
    Some(AttachedNetwork {
        interface: interface.to_owned(),
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
    let is_default =
        parse_address(destination)?.is_unspecified() && parse_address(mask)?.is_unspecified();
    if !is_default || !is_usable(flags)? || !is_underlay(interface) {
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
    use nix::net::if_::if_nameindex;
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
    fn the_default_route_of_ipv6_is_the_one_that_leads_somewhere() {
        let zeros = "0".repeat(32);
        let line = |length: &str, metric: &str, flags: &str, interface: &str| {
            let rest = format!("{metric} 00000001 00000000 {flags}     {interface}");
            format!("{zeros} {length} {zeros} 00 {zeros} {rest}\n")
        };
        let reject = line("00", "ffffffff", "00200200", "lo");
        let far = line("00", "00000400", "00450003", "eth1");
        let near = line("00", "00000100", "00450003", "eth0");
        let tunnel = line("00", "00000001", "00000001", "wg0");
        let half = line("01", "00000001", "00000001", "tun0");
        let all = format!("{reject}{tunnel}{half}{far}{near}");
        assert_eq!(parse_default_route_v6(&all), Some("eth0".to_owned()));
        assert_eq!(
            parse_default_route_v6(&format!("{reject}{half}{tunnel}")),
            None
        );
    }

    #[test]
    fn a_network_is_the_address_without_its_host_part() {
        let attached = attached_by(
            "eth0",
            Ipv4Addr::new(172, 18, 3, 4),
            Ipv4Addr::new(255, 255, 0, 0),
        )
        .unwrap();
        assert_eq!(attached.network.to_string(), "172.18.0.0/16");
        assert_eq!(
            attached_by("eth0", Ipv4Addr::LOCALHOST, Ipv4Addr::new(255, 0, 255, 0)),
            None
        );
    }

    /// Sorted; an address may have a label that is no interface's name.
    fn each_interface() -> Vec<(String, usize)> {
        let all = if_nameindex().unwrap();
        let all = all.iter().map(|interface| {
            let name = interface.name().to_string_lossy().into_owned();
            (name, usize::try_from(interface.index()).unwrap())
        });
        let is_interface = |name: &str| is_underlay(name) && !name.contains(':');
        let mut all: Vec<_> = all.filter(|(name, _)| is_interface(name)).collect();
        all.sort();
        all
    }

    #[test]
    fn a_snapshot_has_each_interface_by_its_index() {
        loop {
            let before = each_interface();
            let mut interfaces = snapshot(true).unwrap().interfaces;
            interfaces.sort();
            // Others may make and remove some at any moment.
            if each_interface() == before {
                assert_eq!(interfaces, before);
                return;
            }
        }
    }

    #[test]
    fn the_real_tables_can_be_read() {
        default_routes().unwrap();
        default_route_v6().unwrap();
        attached_networks_v6().unwrap();
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
            parse_default_route_v6(&text);
        }
    }
}
