//! One program a container, and one a network: two would fight over the tunnel.

use std::fs::File;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, FailureKind, Retry};
use crate::system::{files, paths};

/// What is wrong where another program holds the lock.
pub const HELD: &str = "another wireguard-pia is running in this container";

/// What is wrong where a program in another container has the tunnel of this network.
pub const NETWORK_HELD: &str = "another container that shares this network runs wireguard-pia, and \
    its wg0 is left alone: give each of them a network of its own";

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
/// alone proves nothing, as everybody in the network can use the name.
pub fn claim_network() -> Option<UnixListener> {
    let address = SocketAddr::from_abstract_name(NETWORK_CLAIM).ok()?;
    UnixListener::bind_addr(&address).ok()
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
