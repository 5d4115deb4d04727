//! The hosts of PIA's API: their names, ports and certificates. Addresses come from the caller, who
//! resolves names and opens the kill switch; nothing is sent from here.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::regions::Server;
use crate::underlay::http::Remote;
use crate::underlay::socket::Via;

/// The account API.
pub const ACCOUNT_HOST: &str = "www.privateinternetaccess.com";
/// The server list.
pub const SERVER_LIST_HOST: &str = "serverlist.piaservers.net";
/// The port of both.
pub const WEB_PORT: u16 = 443;
/// The port-forwarding service, inside the tunnel.
pub const FORWARDING_PORT: u16 = 19999;

/// Whose host it is, as far as it changes what a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKind {
    /// On the public web, found by its name.
    Web,
    /// Chosen by the user as a meta server.
    Meta,
    /// A VPN server.
    Server,
}

/// A host of the API.
#[derive(Debug, Clone)]
pub struct Host {
    pub(super) remote: Remote,
    pub(super) kind: HostKind,
}

impl Host {
    /// The account API, by the public web's certificates.
    pub fn account(addresses: Vec<Ipv4Addr>, web: &Arc<ClientConfig>, via: Via) -> Self {
        Self::web(ACCOUNT_HOST, addresses, web, via)
    }

    /// The server list, likewise.
    pub fn server_list(addresses: Vec<Ipv4Addr>, web: &Arc<ClientConfig>, via: Via) -> Self {
        Self::web(SERVER_LIST_HOST, addresses, web, via)
    }

    fn web(name: &str, addresses: Vec<Ipv4Addr>, web: &Arc<ClientConfig>, via: Via) -> Self {
        Self {
            kind: HostKind::Web,
            ..Self::new(name, WEB_PORT, addresses, web, via)
        }
    }

    /// A meta server, which serves both the account API and the server list.
    pub fn meta(server: &Server, port: u16, pia: &Arc<ClientConfig>, via: Via) -> Self {
        Self {
            kind: HostKind::Meta,
            ..Self::new(&server.cn, port, vec![server.ip], pia, via)
        }
    }

    /// A VPN server, to register there.
    pub fn server(server: &Server, port: u16, pia: &Arc<ClientConfig>, via: Via) -> Self {
        Self::new(&server.cn, port, vec![server.ip], pia, via)
    }

    /// Where the connected server `cn` forwards ports: `address` is the registration's
    /// `server_vip`, or, where that refuses, the server's own address. `via` is the tunnel's
    /// interface.
    pub fn forwarding(cn: &str, address: Ipv4Addr, pia: &Arc<ClientConfig>, via: Via) -> Self {
        Self::new(cn, FORWARDING_PORT, vec![address], pia, via)
    }

    fn new(
        name: &str,
        port: u16,
        addresses: Vec<Ipv4Addr>,
        tls: &Arc<ClientConfig>,
        via: Via,
    ) -> Self {
        let remote = Remote {
            name: name.to_owned(),
            port,
            addresses,
            via,
            tls: Some(Arc::clone(tls)),
        };
        Self {
            remote,
            kind: HostKind::Server,
        }
    }
}
