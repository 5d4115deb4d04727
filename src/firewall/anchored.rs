//! How a life knows that an anchor holds its network closed, in whichever container that runs.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The name of an abstract socket, which exists once in a network namespace, until its owner ends.
const SIGN: &[u8] = b"wireguard-pia anchor";

/// Tells all in this network that an anchor holds it, for as long as the returned value lives;
/// `None` where another one says so already.
///
/// # Errors
/// When there can be no such socket.
pub fn announce() -> io::Result<Option<UnixDatagram>> {
    put_up(SIGN)
}

/// Whether an anchor holds this network. Everybody in it can use the name; whoever does so without
/// being one has a kill switch kept, and opens nothing.
pub fn is_anchored() -> bool {
    is_up(SIGN)
}

fn put_up(sign: &[u8]) -> io::Result<Option<UnixDatagram>> {
    match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(sign)?) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
        bound => bound.map(Some),
    }
}

fn is_up(sign: &[u8]) -> bool {
    let name = SocketAddr::from_abstract_name(sign);
    let reached = name.and_then(|name| UnixDatagram::unbound()?.connect_addr(&name));
    // A name that nobody has is refused before anything else is looked at.
    !matches!(reached, Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_there_for_as_long_as_its_owner_and_once() {
        let sign = format!("wireguard-pia test {}", std::process::id());
        let sign = sign.as_bytes();
        assert!(!is_up(sign));
        let first = put_up(sign).unwrap();
        assert!(first.is_some() && is_up(sign));
        assert!(put_up(sign).unwrap().is_none());
        drop(first);
        // What another test starts holds our sockets until it has become another program.
        while is_up(sign) {
            std::thread::yield_now();
        }
    }
}
