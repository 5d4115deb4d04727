//! Does anything get out beside the tunnel? Packets are sent as a sibling container would send
//! them.
//!
//! The kernel itself says whether the packet filter let a datagram go, so that nothing has to
//! answer: the target is an address that is kept for documentation.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    self as nix_socket, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike,
};
use socket2::{Domain, Socket, Type};

use super::finding::Finding;
use super::subject::Subject;
use crate::system::cancellation::CancellationToken;
use crate::underlay::interfaces;
use crate::underlay::socket::{self, SocketError, Via};

/// RFC 5737; nobody's.
const UNUSED_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// RFC 3849.
const UNUSED_ADDRESS_V6: &str = "[2001:db8::254]:53";
/// A real host for TCP, whose filter does not say what it let go.
const PUBLIC_HOST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(1, 1, 1, 1), 443);
const DNS_PORT: u16 = 53;
const DISCARD_PORT: u16 = 9;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the packet filter stops an ordinary datagram.
pub(super) fn is_blocked() -> bool {
    send(&Via::Routing, DISCARD_PORT)
        .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The interface of a default route by which an ordinary datagram gets out, if any does: for an
/// anchor, which has no tunnel of its own. It goes to an address that nobody has.
pub fn way_beside_the_tunnel() -> Option<String> {
    default_interfaces()
        .into_iter()
        .find(|name| send(&Via::Interface(name.clone()), DISCARD_PORT).is_ok())
}

pub(super) fn check(subject: &Subject) -> Finding {
    let frames = match default_interfaces().as_slice() {
        [] => Frames::Unknown,
        names => Frames::judge(names.iter().map(|name| send_frame(name))),
    };
    judge(&escapes(subject), frames, subject.settings.firewall)
}

/// The ways by which something got out.
fn escapes(subject: &Subject) -> Vec<String> {
    let stop = &subject.stop;
    let mut escapes = Vec::new();
    for name in default_interfaces() {
        let via = Via::Interface(name.clone());
        for port in [DISCARD_PORT, DNS_PORT] {
            if send(&via, port).is_ok() {
                escapes.push(format!("UDP to port {port} by {name}"));
            }
        }
        if reaches(&via, stop) {
            escapes.push(format!("TCP to port {} by {name}", PUBLIC_HOST.port()));
        }
        if send_v6(&name).is_ok() {
            escapes.push(format!("IPv6 by {name}"));
        }
    }
    // Any container that shares this network may set the mark.
    if send(&Via::Mark(subject.mark), DISCARD_PORT).is_ok() {
        escapes.push("UDP with the tunnel's mark".to_owned());
    }
    escapes
}

fn default_interfaces() -> Vec<String> {
    let routes = interfaces::default_routes().unwrap_or_default();
    let mut names: Vec<String> = routes.into_iter().map(|route| route.interface).collect();
    names.dedup();
    names
}

/// What becomes of frames that a program writes to the network card by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frames {
    Dropped,
    Pass,
    /// We may not write any.
    Unknown,
}

impl Frames {
    fn judge(sent: impl Iterator<Item = nix::Result<()>>) -> Self {
        let mut frames = Self::Dropped;
        for result in sent {
            match result {
                Ok(()) => return Self::Pass,
                // The chain at the egress hook drops it.
                Err(Errno::ENOBUFS) => {}
                Err(_) => frames = Self::Unknown,
            }
        }
        frames
    }
}

/// Sends a frame of an experimental kind to the interface's own hardware address.
fn send_frame(interface: &str) -> nix::Result<()> {
    const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
    let device = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| entry.address?.as_link_addr().copied())
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .ok_or(Errno::ENODEV)?;
    let own = device.addr().unwrap_or_default();
    let frame = [&own[..], &own, &EXPERIMENTAL, &[0; 46]].concat();
    let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
    let socket = nix_socket::socket(AddressFamily::Packet, kind, flags, None)?;
    let none = MsgFlags::empty();
    nix_socket::sendto(socket.as_raw_fd(), &frame, &device, none).map(drop)
}

fn send(via: &Via, port: u16) -> io::Result<()> {
    let connection = socket::udp(
        via,
        SocketAddrV4::new(UNUSED_ADDRESS, port),
        &CancellationToken::never(),
    )
    .map_err(io::Error::other)?;
    connection.socket.send(b"wireguard-pia leak test").map(drop)
}

fn reaches(via: &Via, stop: &CancellationToken) -> bool {
    match socket::connect(via, PUBLIC_HOST, CONNECT_TIMEOUT, stop) {
        Ok(_) => true,
        Err(SocketError::NotConnected { source, .. }) => {
            source.kind() == io::ErrorKind::ConnectionRefused
        }
        Err(_) => false,
    }
}

fn send_v6(interface: &str) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    let nobody: SocketAddrV6 = UNUSED_ADDRESS_V6.parse().map_err(io::Error::other)?;
    UdpSocket::from(socket)
        .send_to(b"wireguard-pia leak test", SocketAddr::V6(nobody))
        .map(drop)
}

fn judge(escapes: &[String], frames: Frames, firewall: bool) -> Finding {
    const CHECK: &str = "leaks";
    let frames = match frames {
        Frames::Dropped => {
            "frames that a program writes by itself (AF_PACKET) are dropped at the network card; \
             `cap_drop: [NET_RAW]` on containers that share this network keeps them from trying"
        }
        Frames::Pass => {
            "add `cap_drop: [NET_RAW]` to containers that share this network: with it they can \
             write frames (AF_PACKET) that no packet filter sees, for there is no chain at the \
             egress hook here"
        }
        Frames::Unknown => {
            "add `cap_drop: [NET_RAW]` to containers that share this network: whether frames \
             that they write by themselves (AF_PACKET) are dropped cannot be tried without NET_RAW"
        }
    };
    match (escapes, firewall) {
        (_, false) => Finding::warning(
            CHECK,
            "FIREWALL=0: there is no kill switch, and everything leaves untunnelled whenever the \
             tunnel is down",
            "unset FIREWALL",
        ),
        ([], true) => Finding::ok(
            CHECK,
            format!("nothing got out beside the tunnel; {frames}"),
        ),
        (escapes, true) => Finding::failure(
            CHECK,
            format!("this gets out beside the tunnel: {}", escapes.join(", ")),
            "look for rules of others in `iptables -S` and `ip6tables -S` (a hook's?), and \
             restart the container",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn any_escape_is_a_failure() {
        assert_eq!(judge(&[], Frames::Pass, true).level, Level::Ok);
        for frames in [Frames::Pass, Frames::Unknown, Frames::Dropped] {
            assert!(judge(&[], frames, true).what.contains("NET_RAW"));
        }
        assert_eq!(
            judge(&["IPv6 by eth0".into()], Frames::Dropped, true).level,
            Level::Failure
        );
        assert_eq!(
            judge(&["IPv6 by eth0".into()], Frames::Dropped, false).level,
            Level::Warning
        );
    }

    #[test]
    fn one_frame_that_passes_is_enough() {
        let (dropped, refused) = (Err(Errno::ENOBUFS), Err(Errno::EPERM));
        assert_eq!(Frames::judge([dropped].into_iter()), Frames::Dropped);
        assert_eq!(
            Frames::judge([dropped, refused].into_iter()),
            Frames::Unknown
        );
        assert_eq!(Frames::judge([dropped, Ok(())].into_iter()), Frames::Pass);
    }
}
