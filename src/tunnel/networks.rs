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
