//! What may flow now: a plain value, decided by the life's steps and rendered whole by `rules`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use ipnet::{IpNet, Ipv4Net};

use super::local_access::LocalAccess;
use super::traffic::{Protocol, TrafficKind};

/// Where untunnelled traffic of ours may go: one port of one address, nothing wider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    pub protocol: Protocol,
    pub address: Ipv4Addr,
    pub port: u16,
}

impl Destination {
    /// A TCP service: PIA's API.
    pub fn tcp(address: Ipv4Addr, port: u16) -> Self {
        Self {
            protocol: Protocol::Tcp,
            address,
            port,
        }
    }

    /// A UDP service: a name server, the endpoint.
    pub fn udp(address: Ipv4Addr, port: u16) -> Self {
        Self {
            protocol: Protocol::Udp,
            address,
            port,
        }
    }
}

/// What Docker's resolver at 127.0.0.11 does with a question of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmbeddedDns {
    /// It gets none.
    #[default]
    Unused,
    /// It passes it on from the host's network, which no rule here sees.
    ByHost,
    /// It passes it on from this network, as root and without a mark, as Docker did before version
    /// 26.
    FromHere,
}

/// Who may ask Docker's resolver: what it forwards leaves outside the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddedDnsAskers {
    Nobody,
    /// Whoever has our mark.
    Us,
    All,
}

/// What may flow now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The kill switch, `FIREWALL=1`. Without it only the rules that make things work are set
    /// (gateway, redirects).
    pub sealed: bool,
    /// The fwmark of our own untunnelled traffic.
    pub mark: u32,
    /// Where marked traffic may go outside the tunnel.
    pub untunnelled: BTreeSet<Destination>,
    /// Name servers that marked questions may go to by IPv6.
    pub name_servers_v6: Vec<Ipv6Addr>,
    pub embedded_dns_askers: EmbeddedDnsAskers,
    /// Whom Docker's resolver is asking for us at this moment.
    pub embedded_dns: EmbeddedDns,
    /// What the tunnel adds, once it is there.
    pub tunnel: Option<TunnelPolicy>,
}

impl Policy {
    /// Nothing but lo.
    pub fn closed(mark: u32) -> Self {
        Self {
            sealed: true,
            mark,
            untunnelled: BTreeSet::new(),
            name_servers_v6: Vec::new(),
            embedded_dns_askers: EmbeddedDnsAskers::Nobody,
            embedded_dns: EmbeddedDns::Unused,
            tunnel: None,
        }
    }

    /// Before the tunnel: only what is needed to get one.
    pub fn bootstrap(mark: u32, to: impl IntoIterator<Item = Destination>) -> Self {
        Self::closed(mark).reconnecting(to)
    }

    /// As this one, while Docker's resolver is asked.
    pub fn asking(self, embedded_dns: EmbeddedDns) -> Self {
        Self {
            embedded_dns,
            embedded_dns_askers: EmbeddedDnsAskers::Us,
            ..self
        }
    }

    /// The tunnel carries: of untunnelled traffic only its own packets to the endpoint.
    pub fn connected(mark: u32, endpoint: SocketAddrV4, tunnel: TunnelPolicy) -> Self {
        let endpoint = Destination::udp(*endpoint.ip(), endpoint.port());
        Self {
            untunnelled: [endpoint].into(),
            tunnel: Some(tunnel),
            ..Self::closed(mark)
        }
    }

    /// As this one, and the way to a new server (API addresses, candidates, the new endpoint) is
    /// open too.
    pub fn reconnecting(mut self, to: impl IntoIterator<Item = Destination>) -> Self {
        self.untunnelled.extend(to);
        self.embedded_dns_askers = EmbeddedDnsAskers::Us;
        self
    }

    /// The same with `FIREWALL=0`.
    pub fn unsealed(self) -> Self {
        Self {
            sealed: false,
            ..self
        }
    }
}

/// What the tunnel adds to a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelPolicy {
    /// `wg0`.
    pub interface: String,
    /// The VPN's own name servers, which are asked through the tunnel or not at all: their
    /// addresses may lie in a network that is open.
    pub name_servers: BTreeSet<Ipv4Addr>,
    /// The subnets of attached Docker networks, with the interface each is on.
    pub attached: Vec<(String, IpNet)>,
    /// `LOCAL_NETWORK`, with the interface of the default route.
    pub local: Vec<(String, LocalAccess)>,
    /// `LOCAL_PORTS`: what the former two reach here, where an entry does not say it; `None` for
    /// everything.
    pub local_ports: Option<Vec<TrafficKind>>,
    /// The port that the VPN server forwards to us.
    pub forwarded: Option<ForwardedPort>,
    /// Gateway mode.
    pub gateway: Option<Gateway>,
}

/// The forwarded port and where connections to it go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardedPort {
    pub port: u16,
    /// `PORT_REDIRECT`: the port on which the application really listens.
    pub redirect: Option<u16>,
}

/// Others use our tunnel: `FWD_IFACE`, `FWD_SOURCES`, `FWD_DNS`, `PF_DEST_IP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Where they come from.
    pub interfaces: Vec<String>,
    /// Who of them may: `0.0.0.0/0` for all.
    pub sources: Vec<Ipv4Net>,
    /// Who answers their questions for names, whomever they ask.
    pub dns: GatewayDns,
    /// Who gets the forwarded port.
    pub destination: Option<Ipv4Addr>,
}

impl Gateway {
    /// For all who come from there.
    pub fn of_all(interfaces: &[&str]) -> Self {
        Self {
            interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
            sources: vec![Ipv4Net::default()],
            dns: GatewayDns::Untouched,
            destination: None,
        }
    }
}

/// `FWD_DNS`: what becomes of name look-ups of those who use our tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GatewayDns {
    /// They go where they are sent to.
    #[default]
    Untouched,
    /// They go to a name server of the tunnel, which is not known yet.
    Wanted,
    /// They go to this one.
    Server(Ipv4Addr),
}

/// Where a connection to the forwarded port ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Nowhere,
    Here {
        port: u16,
    },
    Redirected {
        port: u16,
        to: u16,
    },
    Handed {
        port: u16,
        address: Ipv4Addr,
        to: u16,
    },
}

impl TunnelPolicy {
    pub(super) fn arrival(&self) -> Arrival {
        let Some(ForwardedPort { port, redirect }) = self.forwarded else {
            return Arrival::Nowhere;
        };
        let to = redirect.unwrap_or(port);
        match self
            .gateway
            .as_ref()
            .and_then(|gateway| gateway.destination)
        {
            Some(address) => Arrival::Handed { port, address, to },
            None if to == port => Arrival::Here { port },
            None => Arrival::Redirected { port, to },
        }
    }

    /// Every interface that a rule of this policy names.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &str> {
        let attached = self.attached.iter().map(|(interface, _)| interface);
        let local = self.local.iter().map(|(interface, _)| interface);
        let gateway = self.gateway.iter().flat_map(|gateway| &gateway.interfaces);
        std::iter::once(&self.interface)
            .chain(attached)
            .chain(local)
            .chain(gateway)
            .map(String::as_str)
    }
}
