//! The largest packet that gets through to an address, as routers on the way report it to the
//! kernel.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};

use super::socket::{self, Via};
use crate::system::cancellation::CancellationToken;

/// IPv4 and UDP headers.
const HEADERS_LENGTH: usize = 28;
/// How long to wait for a router's report.
const REPORT_TIMEOUT: Duration = Duration::from_millis(400);
/// Each of several narrow links on the way is reported by a packet of its own.
const MAX_ROUNDS: usize = 4;

/// What was found on the way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// Of the interface, as far as known before anything was sent.
    pub first: u32,
    /// Of the whole path.
    pub path: u32,
}

/// Sends packets of the largest known size, which routers may not fragment, and reads what the
/// kernel learns from their reports. A router that drops packets without a report goes unnoticed.
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
            // The kernel has learnt a smaller size from the report of the packet before.
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
