//! One program a container, and one a network: two would fight over the tunnel.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket,
    sockopt::PeerCredentials,
};
use nix::unistd::geteuid;

use crate::failure::{Failure, FailureKind, Retry};
use crate::system::{files, paths};

/// What is wrong where another program holds the lock.
pub const HELD: &str = "another wireguard-pia is running in this container";

/// What is wrong where a program in another container has the tunnel of this network.
pub const NETWORK_HELD: &str = "another container that shares this network runs wireguard-pia, and \
    its wg0 is left alone: give each of them a network of its own";

/// What is told where nothing but the name speaks for a life in this network.
pub const NAME_TAKEN: &str = "a program in this network has the name of a wireguard-pia, and \
    nothing else of one (`grep @wireguard-pia /proc/net/unix`): it is passed over";

/// The name of an abstract socket, which exists once in a network namespace, until its owner ends.
const NETWORK_CLAIM: &[u8] = b"wireguard-pia";

const MAX_LOCK_TRIES: u32 = 10;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Whether another program holds it: then its rules are in force, and are not to be touched.
pub fn is_held() -> bool {
    // A health check that looks at this moment holds it too, very shortly.
    (0..MAX_LOCK_TRIES).all(|_| {
        let is_held = files::is_locked(Path::new(paths::LOCK));
        if is_held {
            std::thread::park_timeout(LOCK_RETRY_INTERVAL);
        }
        is_held
    })
}

/// Claims this network for as long as the returned value lives; `None` if somebody else has. That
/// alone proves nothing, as everybody in the network can use the name: see [`is_claim_roots`].
pub fn claim_network() -> Option<UnixListener> {
    claim(NETWORK_CLAIM)
}

/// Whether a program of root's, or of our own user, has claimed this network. Root of a container
/// without capabilities is one, too: a life has left more in the network than a name.
pub fn is_claim_roots() -> bool {
    listener_of(NETWORK_CLAIM).is_some_and(|user| user == 0 || user == geteuid().as_raw())
}

/// Bound and listened to, so that the kernel tells whose it is.
fn claim(name: &[u8]) -> Option<UnixListener> {
    let address = SocketAddr::from_abstract_name(name).ok()?;
    UnixListener::bind_addr(&address).ok()
}

/// The user who listens there, as the kernel tells; `None` where nobody does, or where so many ask
/// that it is not known.
fn listener_of(name: &[u8]) -> Option<u32> {
    let address = UnixAddr::new_abstract(name).ok()?;
    // With a full queue a connection would be waited for.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    connect(socket.as_raw_fd(), &address).ok()?;
    let credentials = getsockopt(&socket, PeerCredentials).ok()?;
    Some(credentials.uid())
}

/// Takes the lock; it lasts as long as the file is kept open.
///
/// # Errors
/// When the directory for it cannot be made, or another program was faster.
pub fn take() -> Result<File, Failure> {
    files::make_directory(Path::new(paths::RUN))?;
    for _ in 0..MAX_LOCK_TRIES {
        if let Some(lock) = files::lock_if_free(Path::new(paths::LOCK))? {
            return Ok(lock);
        }
        std::thread::park_timeout(LOCK_RETRY_INTERVAL);
    }
    Err(Failure::new(FailureKind::Local, Retry::Never, HELD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_somebodys_who_listens_there() {
        let name = format!("wireguard-pia test of a claim {}", std::process::id());
        let name = name.as_bytes();
        assert_eq!(listener_of(name), None);
        let ours = claim(name);
        assert!(ours.is_some() && claim(name).is_none());
        assert_eq!(listener_of(name), Some(geteuid().as_raw()));

        let silent = format!("wireguard-pia test of a name {}", std::process::id());
        let silent = silent.as_bytes();
        let flags = SockFlag::SOCK_CLOEXEC;
        let bound = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let address = UnixAddr::new_abstract(silent).unwrap();
        nix::sys::socket::bind(bound.as_raw_fd(), &address).unwrap();
        assert!(claim(silent).is_none());
        assert_eq!(listener_of(silent), None, "it does not listen");
    }
}
