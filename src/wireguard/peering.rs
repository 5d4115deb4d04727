//! Changing the live interface to another registration, so that those who share the network notice
//! no new interface.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::WireGuardError;
use super::set::set;
use crate::system::cancellation::CancellationToken;
use crate::system::interface_address;
use crate::system::paths::INTERFACE;
use crate::system::secret::Secret;

/// What of a registration is on the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peering {
    pub private_key: Secret,
    /// The tunnel's own address.
    pub address: Ipv4Addr,
    /// The server's public key.
    pub peer: String,
    pub endpoint: SocketAddrV4,
    pub keepalive: Option<u16>,
}

impl Peering {
    /// Makes the interface's key, peer and address those of `self`; it had those of `old`. Running
    /// it again, also after a failure half way, ends in the same state; so does running it the
    /// other way round.
    ///
    /// # Errors
    /// When `wg` fails or nobody answers it, or the interface does not take the address.
    pub fn replace(&self, old: &Self, stop: &CancellationToken) -> Result<(), WireGuardError> {
        // First, so that there is no moment in which the tunnel has no address.
        interface_address::replace(INTERFACE, self.address).map_err(of_address(self.address))?;
        let key = format!("{}\n", self.private_key.expose());
        set(self.wg_set(old), Some(key), stop)
    }

    /// Makes WireGuard shake hands with the next packet, where the last try was in vain: by itself
    /// it waits for five seconds. The peer is taken away and added again in one call.
    ///
    /// # Errors
    /// When `wg` fails, or nobody answers it.
    pub fn shake_hands_anew(&self, stop: &CancellationToken) -> Result<(), WireGuardError> {
        let taken_away = ["peer", &self.peer, "remove"].map(str::to_owned);
        set(taken_away.into_iter().chain(self.peer_words()), None, stop)
    }

    /// Takes the address of `old` away, unless it is ours too or gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drop_address_of(&self, old: &Self) -> Result<(), WireGuardError> {
        if old.address == self.address {
            return Ok(());
        }
        interface_address::remove(INTERFACE, old.address).map_err(of_address(old.address))
    }

    /// One call changes all, the new peer in before the old is out. The key comes from standard
    /// input.
    fn wg_set(&self, old: &Self) -> Vec<String> {
        let mut words: Vec<String> = ["private-key", "/dev/stdin"].map(str::to_owned).into();
        words.extend(self.peer_words());
        if old.peer != self.peer {
            words.extend(["peer", &old.peer, "remove"].map(str::to_owned));
        }
        words
    }

    fn peer_words(&self) -> [String; 8] {
        let keepalive = self
            .keepalive
            .map_or_else(|| "off".to_owned(), |seconds| seconds.to_string());
        [
            "peer",
            &self.peer,
            "endpoint",
            &self.endpoint.to_string(),
            "persistent-keepalive",
            &keepalive,
            "allowed-ips",
            "0.0.0.0/0",
        ]
        .map(str::to_owned)
    }
}

fn of_address(address: Ipv4Addr) -> impl FnOnce(io::Error) -> WireGuardError {
    move |source| WireGuardError::Address { address, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peering(peer: &str, last: u8) -> Peering {
        Peering {
            private_key: Secret::new("PRIVATE"),
            address: Ipv4Addr::new(10, 0, 0, last),
            peer: peer.into(),
            endpoint: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, last), 1337),
            keepalive: None,
        }
    }

    #[test]
    fn the_new_peer_is_in_before_the_old_is_out_and_the_key_is_no_argument() {
        assert_eq!(
            peering("NEW", 2).wg_set(&peering("OLD", 1)).join(" "),
            "private-key /dev/stdin peer NEW endpoint 192.0.2.2:1337 persistent-keepalive \
             off \
             allowed-ips 0.0.0.0/0 peer OLD remove"
        );
    }

    #[test]
    fn the_same_peer_is_not_removed() {
        assert!(
            !peering("SAME", 2)
                .wg_set(&peering("SAME", 1))
                .contains(&"remove".to_owned())
        );
    }
}
