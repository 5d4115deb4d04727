//! The sorts of packets that must not leave past the tunnel, and how each is known on a wire.
//!
//! The program of this name sends them. It is one of its own as capabilities and users belong to
//! processes, and a small one, so that any container can be given it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most sorts have a destination port of their own, from here.
const FIRST_PORT: u16 = 40_000;

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
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Udp,
    Tcp,
    /// A question to the name server.
    Dns,
    Icmp,
    UdpV6,
    TcpV6,
    /// From a flow that existed before the prober's start was over.
    OldUdp,
    OldTcp,
    /// An IPv4 packet whose header we write, too.
    Raw,
    /// A connection to the account API.
    Api,
    /// An Ethernet frame, past all of IP.
    Frame,
}

const KINDS: [Kind; 11] = [
    Kind::Udp,
    Kind::Tcp,
    Kind::Dns,
    Kind::Icmp,
    Kind::UdpV6,
    Kind::TcpV6,
    Kind::OldUdp,
    Kind::OldTcp,
    Kind::Raw,
    Kind::Api,
    Kind::Frame,
];

/// How its socket tries to get round the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Not at all: as the routes say.
    Routed,
    /// With the fwmark of the tunnel's own packets.
    Marked,
    /// Bound to the container's interface.
    Bound,
    MarkedAndBound,
}

const WAYS: [Way; 4] = [Way::Routed, Way::Marked, Way::Bound, Way::MarkedAndBound];

impl Way {
    pub fn is_marked(self) -> bool {
        matches!(self, Self::Marked | Self::MarkedAndBound)
    }

    pub fn is_bound(self) -> bool {
        matches!(self, Self::Bound | Self::MarkedAndBound)
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// Root with Docker's default capabilities: NET_RAW, but not NET_ADMIN.
    Root,
    /// User 1000.
    User,
}

/// One sort of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    pub kind: Kind,
    pub way: Way,
    pub sender: Sender,
}

impl Probe {
    /// Everything that is sent once: when the tunnel is up, none of it may leave but the frame,
    /// which no packet filter sees.
    pub fn all() -> BTreeSet<Self> {
        let mut probes = BTreeSet::new();
        for sender in [Sender::Root, Sender::User] {
            for kind in KINDS {
                for way in WAYS {
                    let probe = Self { kind, way, sender };
                    if probe.exists() && probe.is_possible() {
                        probes.insert(probe);
                    }
                }
            }
        }
        probes
    }

    /// Everything that is sent all the time: none of it may leave in any state of the program.
    /// While it registers, the mark opens the way to the name server and the API.
    pub fn steady() -> BTreeSet<Self> {
        let mut probes = Self::all();
        probes.retain(|probe| match probe.kind {
            Kind::Dns => !probe.way.is_marked(),
            Kind::Api | Kind::Frame => false,
            _ => true,
        });
        probes
    }

    fn exists(self) -> bool {
        match self.kind {
            Kind::Udp | Kind::Dns | Kind::UdpV6 | Kind::Raw => true,
            Kind::Tcp => self.way != Way::MarkedAndBound,
            Kind::Icmp | Kind::TcpV6 | Kind::OldUdp | Kind::OldTcp | Kind::Frame => {
                self.way == Way::Routed
            }
            Kind::Api => self.way == Way::Marked,
        }
    }

    /// Marks, raw sockets and frames need NET_RAW.
    fn is_possible(self) -> bool {
        let needs_raw = matches!(self.kind, Kind::Icmp | Kind::Raw | Kind::Frame);
        self.sender == Sender::Root || !(needs_raw || self.way.is_marked())
    }

    /// Whether it goes to a port that no other sort goes to.
    pub fn has_own_port(self) -> bool {
        !matches!(self.kind, Kind::Dns | Kind::Icmp | Kind::Api)
    }

    pub fn target(self, targets: &Targets) -> SocketAddr {
        match self.kind {
            Kind::Dns => (targets.name_server, 53).into(),
            Kind::Api => (targets.api, 443).into(),
            Kind::UdpV6 | Kind::TcpV6 => (targets.elsewhere_v6, self.own_port()).into(),
            _ => (targets.elsewhere, self.own_port()).into(),
        }
    }

    fn own_port(self) -> u16 {
        FIRST_PORT + self.kind as u16 * 8 + self.way as u16 * 2 + self.sender as u16
    }

    pub fn payload(self) -> Vec<u8> {
        let label: String = self.to_string().replace(' ', "-");
        match self.kind {
            Kind::Dns => question(&label),
            Kind::Icmp => [&[8, 0, 0, 0, 0, 0, 0, 1][..], label.as_bytes()].concat(),
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
        let own = |probe: &Probe| probe.has_own_port();
        let probes: Vec<Probe> = Probe::all().into_iter().filter(own).collect();
        let ports: BTreeSet<u16> = probes.iter().map(|probe| probe.own_port()).collect();
        assert_eq!(ports.len(), probes.len());
    }
}
