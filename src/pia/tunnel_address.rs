//! Addresses inside PIA's tunnels, as servers name them. A server may be wrong, or lie: an address
//! that cannot be true must reach neither routes nor resolv.conf. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

/// PIA's name servers, at every server.
pub const PIA_DNS: [TunnelAddress; 2] = [
    TunnelAddress(Ipv4Addr::new(10, 0, 0, 243)),
    TunnelAddress(Ipv4Addr::new(10, 0, 0, 242)),
];

/// An address that a host inside a tunnel can have: private (RFC 1918), or shared (RFC 6598).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelAddress(Ipv4Addr);

/// An address that no host inside a tunnel can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImpossibleAddress {
    #[error("{field} is {address}, which no tunnel has")]
    NotInATunnel {
        field: &'static str,
        address: Ipv4Addr,
    },
    #[error("{field} is {address}, an address of this container")]
    Own {
        field: &'static str,
        address: Ipv4Addr,
    },
    #[error("{field} is {address}, which lies in {range}, a network of this container or its LAN")]
    Outside {
        field: &'static str,
        address: Ipv4Addr,
        range: Ipv4Net,
    },
}

impl TunnelAddress {
    /// `None` for an address of another kind: public, loopback, unspecified, multicast.
    pub fn new(address: Ipv4Addr) -> Option<Self> {
        let is_shared = matches!(address.octets(), [100, 64..=127, _, _]);
        (address.is_private() || is_shared).then_some(Self(address))
    }

    /// Whether it can be true next to these networks: `attached` are the container's own, each with
    /// its own address and prefix, `local` the ranges of its LAN.
    ///
    /// A range as wide as the block from which PIA takes its addresses says nothing: every server's
    /// address lies in it. Nor does a range of the LAN in such a block: what PIA names there is
    /// routed into the tunnel all the same.
    pub(super) fn check(
        self,
        field: &'static str,
        attached: &[Ipv4Net],
        local: &[Ipv4Net],
    ) -> Result<(), ImpossibleAddress> {
        let address = self.0;
        if attached.iter().any(|own| own.addr() == address) {
            return Err(ImpossibleAddress::Own { field, address });
        }
        let local = local.iter().filter(|_| !self.is_of_pias_blocks());
        for range in attached.iter().chain(local) {
            if range.contains(&address) && !is_a_whole_block(range) {
                let range = range.trunc();
                return Err(ImpossibleAddress::Outside {
                    field,
                    address,
                    range,
                });
            }
        }
        Ok(())
    }

    fn is_of_pias_blocks(self) -> bool {
        PIAS_BLOCKS.iter().any(|block| block.contains(&self.0))
    }
}

/// From which PIA takes the addresses inside its tunnels.
const PIAS_BLOCKS: [Ipv4Net; 2] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
];

fn is_a_whole_block(range: &Ipv4Net) -> bool {
    PIAS_BLOCKS.iter().any(|block| range.contains(block))
}

impl From<TunnelAddress> for Ipv4Addr {
    fn from(address: TunnelAddress) -> Self {
        address.0
    }
}

impl fmt::Display for TunnelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no address, or none of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotATunnelAddress;

impl FromStr for TunnelAddress {
    type Err = NotATunnelAddress;

    fn from_str(text: &str) -> Result<Self, NotATunnelAddress> {
        let address = text.trim().parse().map_err(|_| NotATunnelAddress)?;
        Self::new(address).ok_or(NotATunnelAddress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_shared_addresses_are_possible() {
        for good in [
            "10.7.128.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "100.127.255.1",
        ] {
            assert_eq!(good.parse::<TunnelAddress>().unwrap().to_string(), good);
        }
        for bad in [
            "0.0.0.0",
            "127.0.0.1",
            "127.0.0.11",
            "8.8.8.8",
            "224.0.0.1",
            "255.255.255.255",
            "169.254.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.1",
            "",
            "10.0.0",
        ] {
            assert!(bad.parse::<TunnelAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_lies_next_door_is_not_in_the_tunnel() {
        let verdict = |address: &str, attached: &[&str], local: &[&str]| {
            let nets = |texts: &[&str]| -> Vec<Ipv4Net> {
                texts.iter().map(|text| text.parse().unwrap()).collect()
            };
            let address: TunnelAddress = address.parse().unwrap();
            let verdict = address.check("peer_ip", &nets(attached), &nets(local));
            verdict.map_err(|error| error.to_string())
        };
        let docker = ["172.18.0.2/16"];
        assert_eq!(verdict("10.7.128.1", &docker, &["192.168.1.0/24"]), Ok(()));
        assert_eq!(
            verdict("172.18.0.2", &docker, &[]).unwrap_err(),
            "peer_ip is 172.18.0.2, an address of this container"
        );
        assert_eq!(
            verdict("172.18.0.1", &docker, &[]).unwrap_err(),
            "peer_ip is 172.18.0.1, which lies in 172.18.0.0/16, a network of this container or \
             its LAN"
        );
        assert!(verdict("192.168.1.7", &docker, &["192.168.1.0/24"]).is_err());
        assert!(verdict("10.7.128.1", &["10.7.0.1/16"], &[]).is_err());
        // Every server's address lies in these, or may.
        assert_eq!(verdict("10.7.128.1", &[], &["10.7.0.0/16"]), Ok(()));
        assert_eq!(verdict("10.7.128.1", &[], &["10.0.0.0/8"]), Ok(()));
        assert_eq!(verdict("10.7.128.1", &["10.9.9.9/8"], &[]), Ok(()));
        assert!(verdict("10.9.9.9", &["10.9.9.9/8"], &[]).is_err());
    }
}
