//! What a life finds around it: its capabilities, the name servers of the network.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::failure::{Failure, FailureKind, Retry};
use crate::firewall::EmbeddedDns;
use crate::firewall::kill_switch::NameServerAccess;
use crate::settings::VpnDns;
use crate::system::capabilities::{self, Capabilities};
use crate::system::files::FileError;
use crate::system::paths;
use crate::underlay::interfaces;
use crate::underlay::name_servers::{self, NameServer, NameServers};
use crate::underlay::resolv_conf;

/// `purpose` is what cannot be done without them.
pub(super) fn check_capabilities(purpose: &str) -> Result<(), Failure> {
    let capabilities = capabilities::from_process();
    if let Some(cure) = capabilities.cure() {
        let text = format!("the capability NET_ADMIN is missing, without which {purpose}: {cure}");
        return Err(Failure::new(FailureKind::Local, Retry::Never, text));
    }
    if capabilities == Capabilities::All {
        log::info!("The container has every capability (privileged?); NET_ADMIN alone is enough");
    }
    Ok(())
}

/// What the kill switch must let through for these name servers to be asked.
pub(super) fn access_to(servers: &NameServers, dns: &VpnDns) -> NameServerAccess {
    let mut access = NameServerAccess {
        embedded_for_all: *dns == VpnDns::Unchanged,
        ..NameServerAccess::default()
    };
    for server in &servers.servers {
        match server {
            NameServer::Direct(address) => access.addresses.push(*address),
            NameServer::DirectV6(address) => access.addresses_v6.push(*address),
            NameServer::EmbeddedUnmarked => access.embedded = EmbeddedDns::FromHere,
            NameServer::Embedded if access.embedded == EmbeddedDns::Unused => {
                access.embedded = EmbeddedDns::ByHost;
            }
            NameServer::Embedded | NameServer::Loopback(_) => {}
        }
    }
    access
}

/// The name servers that the container had before any tunnel.
pub(super) fn name_servers_below() -> Result<NameServers, FileError> {
    let text = resolv_conf::original(Path::new(paths::RESOLV_CONF))?;
    Ok(name_servers::parse(&text))
}

/// The interface of the kernel's default route, and our address on it.
pub(super) fn way_out() -> Option<(String, Ipv4Addr)> {
    let route = interfaces::default_routes().ok()?.into_iter().next()?;
    let attached = interfaces::attached_networks().ok()?;
    let network = attached
        .into_iter()
        .find(|network| network.interface == route.interface)?;
    Some((network.interface, network.address))
}
