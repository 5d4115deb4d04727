//! One program a container, and one a network: two would fight over the tunnel.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, UnixAddr, connect, getsockopt, shutdown, socket,
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

/// Of the thread that only accepts.
const STACK_SIZE: usize = 64 * 1024;

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
pub fn claim_network() -> Option<NetworkClaim> {
    NetworkClaim::make(NETWORK_CLAIM)
}

/// Whether a program of root's, or of our own user, has claimed this network. Root of a container
/// without capabilities is one, too: a life has left more in the network than a name.
pub fn is_claim_roots() -> bool {
    listener_of(NETWORK_CLAIM).is_some_and(|user| user == 0 || user == geteuid().as_raw())
}

/// A name in this network that is taken for as long as this lives. It is listened to, so that the
/// kernel tells whose it is.
pub struct NetworkClaim {
    listener: Arc<UnixListener>,
    accepting: Option<JoinHandle<()>>,
}

impl NetworkClaim {
    fn make(name: &[u8]) -> Option<Self> {
        let address = SocketAddr::from_abstract_name(name).ok()?;
        let listener = Arc::new(UnixListener::bind_addr(&address).ok()?);
        let accepting = Arc::clone(&listener);
        // Whoever asks whose the name is leaves a connection behind, a container that is restarted
        // over and over one each time, and with a full queue nobody could tell any more. Without
        // this thread that takes thousands of them.
        let accepting = Builder::new()
            .name("claim".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || while accepting.accept().is_ok() {})
            .ok();
        Some(Self {
            listener,
            accepting,
        })
    }
}

impl Drop for NetworkClaim {
    fn drop(&mut self) {
        // Nothing is accepted any more.
        let ended = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(accepting) = self.accepting.take().filter(|_| ended.is_ok()) {
            let _ = accepting.join();
        }
    }
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
        let ours = NetworkClaim::make(name);
        assert!(ours.is_some() && NetworkClaim::make(name).is_none());
        let own = Some(geteuid().as_raw());
        assert_eq!(listener_of(name), own);
        // More than fit into the queue.
        for _ in 0..10_000 {
            let _ = listener_of(name);
        }
        let soon = |is_so: &dyn Fn() -> bool| {
            (0..200).any(|_| {
                std::thread::sleep(Duration::from_millis(100));
                is_so()
            })
        };
        assert!(soon(&|| listener_of(name) == own));
        drop(ours);
        // Between fork and exec a program that another test starts holds the name as well.
        assert!(soon(&|| NetworkClaim::make(name).is_some()));

        let silent = format!("wireguard-pia test of a name {}", std::process::id());
        let silent = silent.as_bytes();
        let flags = SockFlag::SOCK_CLOEXEC;
        let bound = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let address = UnixAddr::new_abstract(silent).unwrap();
        nix::sys::socket::bind(bound.as_raw_fd(), &address).unwrap();
        assert!(NetworkClaim::make(silent).is_none());
        assert_eq!(listener_of(silent), None, "it does not listen");
    }
}
