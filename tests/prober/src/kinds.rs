//! What is sent, how, and by whom.

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
    /// The same past the queues of the interface (`PACKET_QDISC_BYPASS`).
    FrameBypass,
    FrameV6,
    /// With the tag of a VLAN.
    FrameVlan,
    Arp,
    /// A frame on `lo` from somewhere else, which the kernel would forward.
    FrameLo,
    /// An ICMP socket that needs no privilege.
    Ping,
    IcmpV6,
    /// An IPv4 address by a socket of IPv6.
    Mapped,
    /// IPv6 in packets of IPv4's protocol 41.
    SixInFour,
    Multicast,
    /// To all nodes of the link.
    LinkV6,
    /// A question to Docker's resolver at 127.0.0.11.
    Resolver,
    /// A question to the gateway of the container's network.
    Attached,
    /// A datagram to the VPN server's endpoint.
    Endpoint,
    /// A connection to where the VPN server registers keys.
    Registration,
    /// A connection to the name server.
    DnsTcp,
    /// A question to Docker's resolver by TCP.
    ResolverTcp,
    /// To the gateway of the container's network, by IPv6.
    AttachedV6,
}

pub(crate) const KINDS: [Kind; 29] = [
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
    Kind::FrameBypass,
    Kind::FrameV6,
    Kind::FrameVlan,
    Kind::Arp,
    Kind::FrameLo,
    Kind::Ping,
    Kind::IcmpV6,
    Kind::Mapped,
    Kind::SixInFour,
    Kind::Multicast,
    Kind::LinkV6,
    Kind::Resolver,
    Kind::Attached,
    Kind::Endpoint,
    Kind::Registration,
    Kind::DnsTcp,
    Kind::ResolverTcp,
    Kind::AttachedV6,
];

impl Kind {
    /// Whether it is an Ethernet frame of ours.
    pub fn is_frame(self) -> bool {
        matches!(
            self,
            Self::Frame
                | Self::FrameBypass
                | Self::FrameV6
                | Self::FrameVlan
                | Self::Arp
                | Self::FrameLo
        )
    }

    /// Whether it asks Docker's resolver, which asks others from the host.
    pub fn is_resolvers(self) -> bool {
        matches!(self, Self::Resolver | Self::ResolverTcp)
    }

    /// Whether nothing but the port that it comes from tells it from connections of others.
    pub fn is_known_by_source(self) -> bool {
        matches!(self, Self::Api | Self::Registration | Self::DnsTcp)
    }

    /// Whether any network has what it goes to.
    pub(crate) fn is_common(self) -> bool {
        self <= Self::Frame
    }

    /// Whether it leaves by an IPv6 address.
    pub(crate) fn is_v6(self) -> bool {
        matches!(
            self,
            Self::UdpV6
                | Self::TcpV6
                | Self::FrameV6
                | Self::IcmpV6
                | Self::LinkV6
                | Self::AttachedV6
        )
    }

    pub(crate) fn ways(self) -> &'static [Way] {
        use Way::{Addressed, Bound, Marked, MarkedAndBound, Routed};
        match self {
            Self::Udp => &WAYS,
            Self::Tcp => &[Routed, Addressed, Marked, Bound],
            Self::Dns | Self::DnsTcp | Self::UdpV6 | Self::Raw => {
                &[Routed, Marked, Bound, MarkedAndBound]
            }
            Self::TcpV6 | Self::Mapped | Self::Multicast | Self::Ping => &[Routed, Bound],
            Self::Api | Self::Registration | Self::Endpoint => &[Marked, Bound],
            Self::Resolver | Self::ResolverTcp => &[Routed, Marked],
            Self::Icmp | Self::IcmpV6 | Self::SixInFour => &[Routed, Bound],
            _ => &[Routed],
        }
    }
}

/// How its socket tries to get round the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Not at all: as the routes say.
    Routed,
    /// Bound to the container's own address.
    Addressed,
    /// With the fwmark of the tunnel's own packets.
    Marked,
    /// Bound to the container's interface.
    Bound,
    MarkedAndBound,
}

const WAYS: [Way; 5] = [
    Way::Routed,
    Way::Addressed,
    Way::Marked,
    Way::Bound,
    Way::MarkedAndBound,
];

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
    /// Root without any capability.
    Bare,
}

pub(crate) const SENDERS: [Sender; 3] = [Sender::Root, Sender::User, Sender::Bare];
