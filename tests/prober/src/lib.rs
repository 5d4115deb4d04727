//! The sorts of packets that must not leave past the tunnel, and how each is known on a wire.
//!
//! The program of this name sends them. It is one of its own as capabilities and users belong to
//! processes, and a small one, so that any container can be given it.

mod kinds;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::sync::OnceLock;

use self::kinds::{KINDS, SENDERS};
pub use self::kinds::{Kind, Sender, Way};

/// Each probe has a port of its own, from here: below those that the kernel gives to others.
const FIRST_PORT: u16 = 20_000;
/// Docker's resolver, which asks others outside.
const DOCKERS_RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Before the port in a payload.
const MARKER: &[u8] = b"~";
const REGISTRATION_PORT: u16 = 1337;
const MULTICAST: Ipv4Addr = Ipv4Addr::new(239, 255, 66, 66);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Where probes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The name server that the container was given.
    pub name_server: Ipv4Addr,
    /// A host that nobody has a reason to talk to.
    pub elsewhere: Ipv4Addr,
    pub elsewhere_v6: Ipv6Addr,
    /// The account API.
    pub api: Ipv4Addr,
    /// The gateway of the container's network.
    pub gateway: Ipv4Addr,
    pub gateway_v6: Ipv6Addr,
    /// The VPN server's endpoint.
    pub endpoint: SocketAddrV4,
}

/// One sort of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    pub kind: Kind,
    pub way: Way,
    pub sender: Sender,
}

impl Probe {
    /// Every sort, by every sender, also those that this one may not send.
    pub fn every() -> impl Iterator<Item = Self> {
        KINDS.into_iter().flat_map(|kind| {
            kind.ways().iter().flat_map(move |way| {
                SENDERS.map(|sender| Self {
                    kind,
                    way: *way,
                    sender,
                })
            })
        })
    }

    /// Those that need nothing but hosts which any network has, and that somebody may send: when
    /// the tunnel is up, none of it may leave but the frame, which no packet filter sees.
    pub fn common() -> BTreeSet<Self> {
        let common = |probe: &Self| {
            probe.kind.is_common() && probe.sender != Sender::Bare && probe.is_possible()
        };
        Self::every().filter(common).collect()
    }

    /// Of these, what is sent all the time: none of it may leave in any state of the program.
    /// While it registers, the mark opens the way to the name server and the API.
    pub fn steady() -> BTreeSet<Self> {
        let mut probes = Self::common();
        probes.retain(|probe| match probe.kind {
            Kind::Dns => !probe.way.is_marked(),
            Kind::Api | Kind::Frame => false,
            _ => true,
        });
        probes
    }

    /// Marks, raw sockets and frames need NET_RAW.
    pub fn is_possible(self) -> bool {
        let needs_raw = matches!(
            self.kind,
            Kind::Icmp | Kind::Raw | Kind::IcmpV6 | Kind::SixInFour
        );
        let needs_raw = needs_raw || self.kind.is_frame() || self.way.is_marked();
        self.sender == Sender::Root || !needs_raw
    }

    /// Whether the routes lead it into a tunnel that is there.
    pub fn follows_routes(self) -> bool {
        let local = self.kind.is_resolvers() || self.kind == Kind::Attached;
        let by_card = self.kind.is_frame() && self.kind != Kind::FrameLo;
        let unrouted = self.kind.is_v6() || by_card || local;
        matches!(self.way, Way::Routed | Way::Addressed) && !unrouted
    }

    /// The one that a packet on the wire is, by where it goes and what is in it.
    pub fn on_wire(ports: Option<(u16, u16)>, payload: &[u8]) -> Option<Self> {
        static EVERY: OnceLock<BTreeMap<u16, Probe>> = OnceLock::new();
        let every = EVERY.get_or_init(|| {
            Self::every()
                .map(|probe| (probe.own_port(), probe))
                .collect()
        });
        let (from, to) = ports.unzip();
        let marker = payload
            .windows(MARKER.len() + 5)
            .find_map(|text| text.strip_prefix(MARKER));
        let inside = marker.and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        let mut candidates = [to, inside, from].into_iter().flatten();
        candidates.find_map(|port| every.get(&port).copied())
    }

    pub fn target(self, targets: &Targets) -> SocketAddr {
        match self.kind {
            Kind::Dns | Kind::DnsTcp => (targets.name_server, 53).into(),
            Kind::Resolver | Kind::ResolverTcp => (DOCKERS_RESOLVER, 53).into(),
            Kind::Attached => (targets.gateway, 53).into(),
            Kind::AttachedV6 => (targets.gateway_v6, self.own_port()).into(),
            Kind::Api => (targets.api, 443).into(),
            Kind::Endpoint => targets.endpoint.into(),
            Kind::Registration => (*targets.endpoint.ip(), REGISTRATION_PORT).into(),
            Kind::Multicast => (MULTICAST, self.own_port()).into(),
            Kind::LinkV6 => (ALL_NODES, self.own_port()).into(),
            Kind::UdpV6 | Kind::TcpV6 | Kind::IcmpV6 | Kind::FrameV6 => {
                (targets.elsewhere_v6, self.own_port()).into()
            }
            _ => (targets.elsewhere, self.own_port()).into(),
        }
    }

    /// Where it is on its way to when it is seen outside.
    pub fn destination(self, targets: &Targets) -> IpAddr {
        match self.kind {
            Kind::Resolver | Kind::ResolverTcp => targets.name_server.into(),
            _ => self.target(targets).ip(),
        }
    }

    /// No other probe is sent to or from it.
    pub fn own_port(self) -> u16 {
        FIRST_PORT + (self.kind as u16 * 8 + self.way as u16) * 4 + self.sender as u16
    }

    /// Holds its own port, by which it is known.
    pub fn payload(self) -> Vec<u8> {
        let name: String = self.to_string().replace(' ', "-");
        let label = format!(
            "{name}{}{}",
            String::from_utf8_lossy(MARKER),
            self.own_port()
        );
        match self.kind {
            Kind::Dns | Kind::Resolver | Kind::Attached => question(&label),
            Kind::ResolverTcp => {
                let question = question(&label);
                let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
                [&length.to_be_bytes()[..], &question].concat()
            }
            Kind::Icmp | Kind::Ping => echo_request(8, &label),
            Kind::IcmpV6 => echo_request(128, &label),
            _ => label.into_bytes(),
        }
    }
}

impl fmt::Display for Probe {
    /// `udp marked root`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, way, sender } = self;
        write!(
            f,
            "{}",
            format!("{kind:?} {way:?} {sender:?}").to_lowercase()
        )
    }
}

fn echo_request(kind: u8, label: &str) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 1][..], label.as_bytes()].concat()
}

/// A question for the address of `LABEL.test`.
fn question(label: &str) -> Vec<u8> {
    let length = u8::try_from(label.len()).unwrap_or(u8::MAX);
    let head = [0x50, 0x52, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, length];
    [&head, label.as_bytes(), b"\x04test\0\0\x01\0\x01"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_its_own_is_nobody_elses() {
        let ports: BTreeSet<u16> = Probe::every().map(Probe::own_port).collect();
        assert_eq!(ports.len(), Probe::every().count());
    }

    #[test]
    fn each_is_known_by_its_payload() {
        for probe in Probe::every() {
            assert_eq!(Probe::on_wire(None, &probe.payload()), Some(probe));
        }
    }
}
