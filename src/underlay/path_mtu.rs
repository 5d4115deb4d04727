//! The largest packet that gets through to an address: as routers on the way report it to the
//! kernel, or as is seen by which echoes come back.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::Socket;

use super::deadline::Deadline;
use super::icmp_echo;
use super::socket::{self, Via};
use crate::system::cancellation::CancellationToken;

/// IPv4 and UDP headers.
const HEADERS_LENGTH: usize = 28;
/// How long to wait for a router's report.
const REPORT_TIMEOUT: Duration = Duration::from_millis(400);
/// Each of several narrow links on the way is reported by a packet of its own.
const MAX_ROUNDS: usize = 4;

/// Of an echo, before its payload: headers of IPv4 and ICMP.
const ECHO_HEADERS_LENGTH: u32 = 28;
/// Longer than most ways there and back; what is lost is asked for again.
const ECHO_INTERVAL: Duration = Duration::from_millis(400);
const ECHO_ROUNDS: usize = 3;
/// How soon a stop is noticed.
const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// What was found on the way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// Of the interface, as far as known before anything was sent, and up to what was to be tried.
    pub first: u32,
    /// Of the whole path.
    pub path: u32,
}

/// Sends packets of the largest known size, up to `at_most`, which routers may not fragment, and
/// reads what the kernel learns from their reports. A router that drops packets without a report
/// goes unnoticed.
pub fn measure(
    via: &Via,
    peer: SocketAddrV4,
    at_most: u32,
    stop: &CancellationToken,
) -> io::Result<PathMtu> {
    let connection = socket::udp(via, peer, stop).map_err(io::Error::other)?;
    let socket = &*connection.socket;
    let known = || -> io::Result<u32> {
        let known = u32::try_from(getsockopt(&socket, sockopt::IpMtu)?).unwrap_or_default();
        Ok(known.min(at_most))
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

/// The largest of these packets to which `host` sends one of the same size back by `interface`.
/// `sizes` are those of whole IPv4 packets, the largest first; `None` where it answers none.
///
/// # Errors
/// When no socket for the question can be had, or a stop is asked for.
pub fn largest_echo(
    interface: &str,
    host: Ipv4Addr,
    sizes: &[u32],
    stop: &CancellationToken,
) -> io::Result<Option<u32>> {
    let (socket, raw) = icmp_echo::socket(interface)?;
    socket.connect(&SocketAddrV4::new(host, 0).into())?;
    let identifier = fastrand::u16(..);
    let mut largest = None;
    for _ in 0..ECHO_ROUNDS {
        for (size, sequence) in sizes.iter().zip(0..) {
            let mut packet = icmp_echo::request(identifier, sequence).to_vec();
            // Zeros change nothing about its checksum.
            let payload = size.saturating_sub(ECHO_HEADERS_LENGTH);
            packet.extend(std::iter::repeat_n(
                0,
                usize::try_from(payload).unwrap_or_default(),
            ));
            if let Err(error) = (&socket).write_all(&packet) {
                log::debug!("an echo of {size} bytes to {host}: {error}");
            }
        }
        let end = Deadline::after(ECHO_INTERVAL);
        while let Some(sequence) = next_echo(&socket, raw.then_some(identifier), end, stop)? {
            largest = largest.max(sizes.get(usize::from(sequence)).copied());
        }
        if largest == sizes.first().copied() {
            break;
        }
    }
    Ok(largest)
}

/// `None` where there is none until `end`.
fn next_echo(
    mut socket: &Socket,
    identifier: Option<u16>,
    end: Deadline,
    stop: &CancellationToken,
) -> io::Result<Option<u16>> {
    let mut buffer = [0; 512];
    loop {
        stop.check().map_err(|_| ErrorKind::Interrupted)?;
        let left = end.left();
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(CANCEL_CHECK_INTERVAL.min(left)))?;
        // Errors are no answers: a report from the way, or that there is nothing yet.
        let length = socket.read(&mut buffer).unwrap_or_default();
        let datagram = buffer.get(..length).unwrap_or_default();
        if let Some(sequence) = icmp_echo::reply(datagram, identifier) {
            return Ok(Some(sequence));
        }
    }
}
