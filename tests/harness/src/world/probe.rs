//! The sorts of packets that must not leave, and how to tell them apart on a wire.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::network::{DNS, ELSEWHERE, ELSEWHERE_V6};
use super::pcap::{Packet, Transport};

/// Each sort has a destination port of its own, from here.
const FIRST_PORT: u16 = 40_000;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Udp,
    Tcp,
    /// A question to the name server that the container knows.
    Dns,
    Icmp,
    UdpV6,
    TcpV6,
    /// From a flow that existed before the prober's start was over.
    OldUdp,
    OldTcp,
    /// With the fwmark of the tunnel's own packets.
    MarkedUdp,
    MarkedTcp,
    /// Bound to the container's interface, past the routing.
    BoundUdp,
    BoundTcp,
}

const KINDS: [Kind; 12] = [
    Kind::Udp,
    Kind::Tcp,
    Kind::Dns,
    Kind::Icmp,
    Kind::UdpV6,
    Kind::TcpV6,
    Kind::OldUdp,
    Kind::OldTcp,
    Kind::MarkedUdp,
    Kind::MarkedTcp,
    Kind::BoundUdp,
    Kind::BoundTcp,
];

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
    pub sender: Sender,
}

impl Probe {
    /// Everything that is sent.
    pub fn all() -> BTreeSet<Self> {
        let senders = [Sender::Root, Sender::User].into_iter();
        let probes = senders.flat_map(|sender| KINDS.map(|kind| Self { kind, sender }));
        probes.filter(|probe| probe.is_possible()).collect()
    }

    /// The probe that a packet is.
    pub fn of(packet: &Packet) -> Option<Self> {
        Self::all().into_iter().find(|probe| probe.is(packet))
    }

    /// The probes among these packets.
    pub fn among(packets: &[Packet]) -> BTreeSet<Self> {
        packets.iter().filter_map(Self::of).collect()
    }

    /// Raw sockets and marks need NET_RAW.
    fn is_possible(self) -> bool {
        let raw = matches!(self.kind, Kind::Icmp | Kind::MarkedUdp | Kind::MarkedTcp);
        self.sender == Sender::Root || !raw
    }

    fn port(self) -> u16 {
        match self.kind {
            Kind::Dns => 53,
            kind => FIRST_PORT + kind as u16 * 2 + self.sender as u16,
        }
    }

    pub fn target(self) -> SocketAddr {
        let v6: Ipv6Addr = ELSEWHERE_V6.parse().expect("the constant is an address");
        let address: IpAddr = match self.kind {
            Kind::Dns => DNS.into(),
            Kind::UdpV6 | Kind::TcpV6 => v6.into(),
            _ => ELSEWHERE.into(),
        };
        (address, self.port()).into()
    }

    pub fn payload(self) -> Vec<u8> {
        let name = format!("{self:?}").to_lowercase();
        let label: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match self.kind {
            Kind::Dns => question(&label),
            Kind::Icmp => [&[8, 0, 0, 0, 0, 0, 0, 1][..], label.as_bytes()].concat(),
            _ => label.into_bytes(),
        }
    }

    fn is(self, packet: &Packet) -> bool {
        if packet.destination != self.target().ip() {
            return false;
        }
        match packet.transport {
            Transport::Icmp { kind } => kind == 8 && self.kind == Kind::Icmp,
            Transport::Udp { to, .. } if self.kind == Kind::Dns => {
                to == 53 && packet.payload == self.payload()
            }
            Transport::Udp { to, .. } | Transport::Tcp { to, .. } => to == self.port(),
            Transport::Other(_) => false,
        }
    }
}

/// A question for the address of `LABEL.test`.
fn question(label: &str) -> Vec<u8> {
    let length = u8::try_from(label.len()).expect("labels are short");
    let head = [0x50, 0x52, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, length];
    [&head, label.as_bytes(), b"\x04test\0\0\x01\0\x01"].concat()
}
