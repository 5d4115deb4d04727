//! The kernel's WireGuard, asked by generic netlink as linux/wireguard.h has it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::{Peer, time};
use crate::system::netlink::{attributes, text_attribute};
use crate::system::{generic_netlink, paths};

const FAMILY: &str = "wireguard";
const VERSION: u8 = 1;
const GET_DEVICE: u8 = 0;
const DEVICE_IFNAME: u16 = 2;
const DEVICE_PEERS: u16 = 8;
const PEER_PUBLIC_KEY: u16 = 1;
const PEER_ENDPOINT: u16 = 4;
const PEER_LAST_HANDSHAKE: u16 = 6;
const PEER_RX_BYTES: u16 = 7;
const PEER_TX_BYTES: u16 = 8;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The peers of the interface.
///
/// # Errors
/// When the kernel has no WireGuard, the interface is none, or the capability `NET_ADMIN` is
/// missing.
pub(super) fn peers() -> io::Result<Vec<Peer>> {
    let name = text_attribute(DEVICE_IFNAME, paths::INTERFACE);
    let mut listing = Listing::default();
    generic_netlink::list(FAMILY, VERSION, GET_DEVICE, &name, |answer| {
        listing.add(answer)
    })?;
    Ok(listing.peers)
}

/// What several messages say together: one that has many ranges is continued in the next.
#[derive(Debug, Default)]
pub(in crate::wireguard) struct Listing {
    pub peers: Vec<Peer>,
    last_key: Vec<u8>,
}

impl Listing {
    /// Adds a message, without its headers.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn add(&mut self, message: &[u8]) -> io::Result<()> {
        for attribute in attributes(message) {
            let attribute = attribute?;
            if attribute.kind() == DEVICE_PEERS {
                for peer in attributes(attribute.value()) {
                    self.add_peer(peer?.value())?;
                }
            }
        }
        Ok(())
    }

    fn add_peer(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut peer = Peer::default();
        let mut key = Vec::new();
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            let value = attribute.value();
            match attribute.kind() {
                PEER_PUBLIC_KEY => value.clone_into(&mut key),
                PEER_ENDPOINT => peer.endpoint = endpoint(value).map(|it| it.to_string()),
                PEER_LAST_HANDSHAKE => peer.last_handshake = number(value).and_then(time),
                PEER_RX_BYTES => peer.received = number(value).unwrap_or_default(),
                PEER_TX_BYTES => peer.sent = number(value).unwrap_or_default(),
                _ => {}
            }
        }
        if key != self.last_key {
            self.peers.push(peer);
            self.last_key = key;
        }
        Ok(())
    }
}

/// The first eight bytes: a counter, or the seconds of a time.
fn number(value: &[u8]) -> Option<u64> {
    value.first_chunk().copied().map(u64::from_ne_bytes)
}

/// A `struct sockaddr_in` or `sockaddr_in6`.
fn endpoint(value: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = value.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    match u16::from_ne_bytes(*family) {
        AF_INET => {
            let address: [u8; 4] = *rest.first_chunk()?;
            Some((Ipv4Addr::from(address), port).into())
        }
        AF_INET6 => {
            let (_flow, rest) = rest.split_first_chunk::<4>()?;
            let (address, rest) = rest.split_first_chunk::<16>()?;
            let scope = u32::from_ne_bytes(*rest.first_chunk()?);
            let address = Ipv6Addr::from(*address);
            Some(SocketAddrV6::new(address, port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::system::netlink::attribute;

    const NESTED: u16 = 1 << 15;

    fn peer(key: u8, endpoint: &[u8]) -> Vec<u8> {
        let handshake = [1_700_000_000_i64.to_ne_bytes(), 5_i64.to_ne_bytes()].concat();
        [
            attribute(PEER_PUBLIC_KEY, &[key; 32]),
            attribute(2, &[0; 32]),
            attribute(PEER_ENDPOINT, endpoint),
            attribute(5, &25_u16.to_ne_bytes()),
            attribute(PEER_LAST_HANDSHAKE, &handshake),
            attribute(PEER_RX_BYTES, &92_u64.to_ne_bytes()),
            attribute(PEER_TX_BYTES, &180_u64.to_ne_bytes()),
            attribute(9 | NESTED, &attribute(NESTED, &[0; 8])),
            attribute(10, &1_u32.to_ne_bytes()),
        ]
        .concat()
    }

    fn message(peers: &[Vec<u8>]) -> Vec<u8> {
        let peers: Vec<u8> = peers
            .iter()
            .flat_map(|peer| attribute(NESTED, peer))
            .collect();
        [
            attribute(1, &7_u32.to_ne_bytes()),
            attribute(DEVICE_IFNAME, b"wg0\0"),
            attribute(3, &[0x77; 32]),
            attribute(DEVICE_PEERS | NESTED, &peers),
        ]
        .concat()
    }

    /// As the kernel's header describes it: this machine's may have no WireGuard.
    #[test]
    fn a_device_gives_its_peers_over_several_messages() {
        let mut v4 = AF_INET.to_ne_bytes().to_vec();
        v4.extend(1337_u16.to_be_bytes());
        v4.extend([192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut v6 = AF_INET6.to_ne_bytes().to_vec();
        v6.extend(51820_u16.to_be_bytes());
        v6.extend([0; 4]);
        v6.extend(Ipv6Addr::LOCALHOST.octets());
        v6.extend([0; 4]);
        let mut listing = Listing::default();
        listing
            .add(&message(&[peer(1, &v4), peer(2, &v6)]))
            .unwrap();
        let continued = attribute(PEER_PUBLIC_KEY, &[2; 32]);
        listing.add(&message(&[continued])).unwrap();
        let [first, second] = listing.peers.as_slice() else {
            panic!("{:?}", listing.peers);
        };
        assert_eq!(first.endpoint.as_deref(), Some("192.0.2.7:1337"));
        assert_eq!((first.received, first.sent), (92, 180));
        let handshake = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(first.last_handshake, Some(handshake));
        assert_eq!(second.endpoint.as_deref(), Some("[::1]:51820"));
    }

    #[test]
    fn what_is_cut_off_is_an_error_or_less() {
        let whole = message(&[peer(1, &[2, 0, 5, 57, 192, 0, 2, 7])]);
        for length in 0..whole.len() {
            let mut listing = Listing::default();
            let _ = listing.add(&whole[..length]);
            assert!(listing.peers.len() <= 1);
        }
    }

    #[test]
    fn an_interface_that_is_none_is_refused() {
        assert!(peers().is_err());
    }
}
