//! The largest packet that comes through to an address, as routers on the way tell the kernel.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};

use super::socket::{self, Via};
use crate::system::cancellation::CancellationToken;

/// IPv4 and UDP headers.
const HEADERS_LENGTH: usize = 28;
/// Routers answer within that, and a tunnel is up by then.
const REPORT_TIMEOUT: Duration = Duration::from_millis(400);
/// Several narrow links in a row are reported one after the other.
const MAX_ROUNDS: usize = 4;

/// What was found on the way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// Of the interface, as far as known before anything was sent.
    pub first: u32,
    /// Of the whole path.
    pub path: u32,
}

/// Sends packets as large as they may be, which routers must not cut, and reads what the kernel
/// learns from that.
///
/// A router that drops them in silence is not found out.
///
/// # Errors
/// When there is no way to `peer`.
pub fn measure(via: &Via, peer: SocketAddrV4, stop: &CancellationToken) -> io::Result<PathMtu> {
    let connection = socket::udp(via, peer, stop).map_err(io::Error::other)?;
    let socket = &*connection.socket;
    let known = || -> io::Result<u32> {
        Ok(u32::try_from(getsockopt(&socket, sockopt::IpMtu)?).unwrap_or_default())
    };
    let first = known()?;
    let mut path = first;
    for _ in 0..MAX_ROUNDS {
        let size = usize::try_from(path)
            .unwrap_or_default()
            .saturating_sub(HEADERS_LENGTH);
        match socket.send(&vec![0; size]) {
            // A report from the packet before.
            Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {}
            sent => drop(sent?),
        }
        if stop.pause(REPORT_TIMEOUT).is_err() {
            break;
        }
        let now = known()?;
        if now >= path {
            break;
        }
        path = now;
    }
    Ok(PathMtu { first, path })
}
