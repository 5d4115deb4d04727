//! Networks that are reached outside the tunnel.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::container::Container;
use crate::failure::Failure;
use crate::underlay::interfaces;

/// Networks that are reached outside the tunnel, each with its interface.
pub(super) struct Networks {
    /// Those of the interfaces themselves.
    pub(super) attached: Vec<(String, Ipv4Net)>,
    /// `LOCAL_NETWORK`, by the default route.
    pub(super) local: Vec<(String, Ipv4Net)>,
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
        let mut all = self.attached.iter().chain(&self.local);
        all.any(|(_, network)| network.contains(&address))
    }

    pub(super) fn find(container: &Container) -> Result<Self, Failure> {
        let attached = interfaces::attached_networks()?;
        let ranges = &container.settings.local_network;
        let way_out = interfaces::default_routes()?
            .into_iter()
            .next()
            .map(|route| route.interface);
        if way_out.is_none() && !ranges.is_empty() {
            log::warn!(
                "LOCAL_NETWORK: there is no default route, so there is no way to those ranges"
            );
        }
        Ok(Self {
            attached: attached
                .into_iter()
                .map(|found| (found.interface, found.network))
                .collect(),
            local: way_out.map_or(Vec::new(), |interface| {
                ranges
                    .iter()
                    .map(|range| (interface.clone(), *range))
                    .collect()
            }),
        })
    }
}
