//! What a kernel may lack, what is lost with it, and how to find out.

use super::tables::TableName;

/// A match or target that needs a kernel module of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KernelModule {
    Ports,
    Conntrack,
    Mark,
    Owner,
    AddressType,
    Connmark,
    Masquerade,
    Redirect,
    Dnat,
    TcpMss,
}

impl KernelModule {
    /// What every policy with the kill switch needs.
    pub const ALWAYS_USED: [Self; 3] = [Self::Ports, Self::Conntrack, Self::Mark];

    /// What `-m NAME` needs.
    pub fn of_match(name: &str) -> Option<Self> {
        match name {
            "conntrack" => Some(Self::Conntrack),
            "mark" => Some(Self::Mark),
            "owner" => Some(Self::Owner),
            "addrtype" => Some(Self::AddressType),
            _ => None,
        }
    }

    /// What `-j NAME` needs.
    pub fn of_target(name: &str) -> Option<Self> {
        match name {
            "CONNMARK" => Some(Self::Connmark),
            "MASQUERADE" => Some(Self::Masquerade),
            "REDIRECT" => Some(Self::Redirect),
            "DNAT" => Some(Self::Dnat),
            "TCPMSS" => Some(Self::TcpMss),
            _ => None,
        }
    }

    /// How much is lost without these; without the first two no tunnel comes up at all.
    pub fn weight(missing: &[Self]) -> usize {
        let mut weight = 0;
        for module in missing {
            weight += match module {
                Self::Ports | Self::Conntrack => 100,
                _ => 1,
            };
        }
        weight
    }

    /// The kernel module that offers it.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Self::Ports => "xt_tcpudp",
            Self::Conntrack => "xt_conntrack",
            Self::Mark => "xt_mark",
            Self::Owner => "xt_owner",
            Self::AddressType => "xt_addrtype",
            Self::Connmark => "xt_connmark",
            Self::Masquerade => "xt_MASQUERADE",
            Self::Redirect => "xt_REDIRECT",
            Self::Dnat => "xt_nat",
            Self::TcpMss => "xt_TCPMSS",
        }
    }

    /// What is given up without it.
    pub fn consequence(self) -> &'static str {
        match self {
            Self::Ports => {
                "no rule can name a port, so everything of the API's hosts and of the endpoint can \
                 be reached, and the forwarded port cannot"
            }
            Self::Conntrack => {
                "no answer can be told from other incoming traffic, so all of it stays blocked"
            }
            Self::Mark => {
                "the API and the endpoint can be reached by everything in this network, not by us \
                 alone"
            }
            Self::Owner => {
                "while Docker's resolver looks a name up for us, everything in this network can \
                 reach port 53 outside"
            }
            Self::AddressType => {
                "whoever has NET_RAW in this network can talk to the ranges of LOCAL_NETWORK that \
                 may only come in, and answer our look-ups in the place of name servers"
            }
            Self::Connmark => {
                "with strict rp_filter, PIA's API cannot be reached while the tunnel is up"
            }
            Self::Masquerade => "FWD_IFACE does not work",
            Self::Redirect => "PORT_REDIRECT does not work",
            Self::Dnat => "PF_DEST_IP and FWD_DNS do not work",
            Self::TcpMss => {
                "large packets of machines behind FWD_IFACE may stall where something on their way \
                 drops ICMP: set their MTU to the tunnel's"
            }
        }
    }

    /// Conditions and target of a rule that shows whether it is there, and the table that the rule
    /// needs.
    pub fn probe(self) -> (TableName, &'static str) {
        match self {
            Self::Ports => (TableName::Filter, "-p tcp --dport 1"),
            Self::Conntrack => (
                TableName::Filter,
                "-m conntrack --ctstate RELATED,ESTABLISHED",
            ),
            Self::Mark => (TableName::Filter, "-m mark --mark 0x1"),
            Self::Owner => (TableName::Filter, "-m owner --uid-owner 0"),
            Self::AddressType => (TableName::Filter, "-m addrtype ! --src-type LOCAL"),
            Self::Connmark => (TableName::Mangle, "-p tcp -j CONNMARK --restore-mark"),
            Self::Masquerade => (TableName::Nat, "-j MASQUERADE"),
            Self::Redirect => (TableName::Nat, "-p tcp -j REDIRECT --to-ports 1"),
            Self::Dnat => (
                TableName::Nat,
                "-p tcp -j DNAT --to-destination 192.0.2.1:1",
            ),
            Self::TcpMss => (
                TableName::Filter,
                "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
            ),
        }
    }
}
