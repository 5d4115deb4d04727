//! Networks that are reached outside the tunnel.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::container::Container;
use crate::failure::Failure;
use crate::firewall::LocalAccess;
use crate::underlay::interfaces;

/// Networks that are reached outside the tunnel, each with its interface.
pub(super) struct Networks {
    /// Those of the interfaces themselves.
    pub(super) attached: Vec<(String, IpNet)>,
    /// `LOCAL_NETWORK`, by the default route.
    pub(super) local: Vec<(String, LocalAccess)>,
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (interface, network)) in self.attached.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{network} via {interface}")?;
        }
        Ok(())
    }
}

impl Networks {
    /// Whether the address lies in one of them.
    pub(super) fn cover(&self, address: Ipv4Addr) -> bool {
        let attached = self.attached.iter().map(|(_, network)| network);
        let local = self.local.iter().map(|(_, access)| &access.range);
        let address = IpAddr::V4(address);
        attached.chain(local).any(|range| range.contains(&address))
    }

    /// Entries of `LOCAL_NETWORK` that hold something back of a range, with the attached network by
    /// which all of it is reached nevertheless.
    pub(super) fn narrowed_in_vain(&self) -> Vec<(LocalAccess, IpNet)> {
        let mut found = Vec::new();
        for (_, access) in self.local.iter().filter(|(_, access)| access.is_narrowed()) {
            let range = access.range;
            let overlaps = |network: &IpNet| network.contains(&range) || range.contains(network);
            let mut attached = self.attached.iter().map(|(_, network)| *network);
            found.extend(attached.find(overlaps).map(|network| (*access, network)));
        }
        found
    }

    pub(super) fn find(container: &Container) -> Result<Self, Failure> {
        let settings = &container.settings;
        let attached = interfaces::attached_networks()?;
        let mut networks = Self {
            attached: attached
                .into_iter()
                .map(|found| (found.interface, IpNet::V4(found.network)))
                .collect(),
            local: Vec::new(),
        };
        let way_out = interfaces::default_routes()?
            .into_iter()
            .next()
            .map(|route| route.interface);
        let mut way_out_v6 = None;
        if settings.opens_ipv6() {
            let attached = interfaces::attached_networks_v6()?;
            if attached.is_empty() {
                log::warn!(
                    "LOCAL_NETWORK: this container has no IPv6 address, so there is no way to IPv6 \
                     ranges: give its network IPv6 (`enable_ipv6: true` in compose), and set no \
                     disable_ipv6"
                );
            }
            let attached = attached.into_iter();
            networks
                .attached
                .extend(attached.map(|(name, network)| (name, IpNet::V6(network))));
            // Without a route of its own it is reached where the rest of the LAN is.
            let route = interfaces::default_route_v6()?;
            way_out_v6 = route.or_else(|| way_out.clone());
        }
        let ways_out = (way_out, way_out_v6);
        let entries = &settings.local_network;
        if ways_out == (None, None) && !entries.is_empty() {
            log::warn!(
                "LOCAL_NETWORK: there is no default route, so there is no way to those ranges"
            );
        }
        for access in entries {
            let way_out = match access.range {
                IpNet::V4(_) => &ways_out.0,
                IpNet::V6(_) => &ways_out.1,
            };
            let with_way = way_out.iter().map(|interface| (interface.clone(), *access));
            networks.local.extend(with_way);
        }
        Ok(networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attached_network_opens_no_entry_narrows() {
        let in_vain = |entries: &[&str]| {
            let of_eth0 = |entry: &&str| ("eth0".to_owned(), entry.parse().unwrap());
            let networks = Networks {
                attached: ["192.168.1.0/24", "fd77::/64"]
                    .map(|network| ("eth0".to_owned(), network.parse().unwrap()))
                    .into(),
                local: entries.iter().map(of_eth0).collect(),
            };
            let found = networks.narrowed_in_vain();
            let shown = found
                .iter()
                .map(|(access, network)| format!("{access} in {network}"));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(
            in_vain(&[
                "in:192.168.1.7",
                "192.168.0.0/16:80",
                "[fd77::1]:80",
                "fd00::/8/tcp"
            ]),
            [
                "in:192.168.1.7/32 in 192.168.1.0/24",
                "192.168.0.0/16:80 in 192.168.1.0/24",
                "[fd77::1/128]:80 in fd77::/64",
                "fd00::/8/tcp in fd77::/64",
            ]
        );
        assert_eq!(
            in_vain(&["192.168.1.0/24", "out:192.168.2.0/24", "fd00::/8"]),
            [""; 0]
        );
    }
}
