//! Does anything get out beside the tunnel? Packets are sent as a sibling container would send
//! them.
//!
//! The kernel itself says whether the packet filter let a datagram go, so that nothing has to
//! answer: the target is an address that is kept for documentation.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::time::Duration;

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

pub(super) fn check(subject: &Subject) -> Finding {
    judge(&escapes(subject), subject.settings.firewall)
}

/// The ways by which something got out.
fn escapes(subject: &Subject) -> Vec<String> {
    let stop = &subject.stop;
    let mut escapes = Vec::new();
    let mut names: Vec<String> = interfaces::default_routes()
        .unwrap_or_default()
        .into_iter()
        .map(|route| route.interface)
        .collect();
    names.dedup();
    for name in names {
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

fn judge(escapes: &[String], firewall: bool) -> Finding {
    const CHECK: &str = "leaks";
    const FRAMES: &str = "add `cap_drop: [NET_RAW]` to containers that share this network: with \
                          it they can write frames \
         (AF_PACKET) that no packet filter sees";
    match (escapes, firewall) {
        (_, false) => Finding::warning(
            CHECK,
            "FIREWALL=0: there is no kill switch, and everything leaves untunnelled whenever the \
             tunnel is down",
            "unset FIREWALL",
        ),
        ([], true) => Finding::ok(
            CHECK,
            format!("nothing got out beside the tunnel; {FRAMES}"),
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
        assert_eq!(judge(&[], true).level, Level::Ok);
        assert!(judge(&[], true).what.contains("NET_RAW"));
        assert_eq!(judge(&["IPv6 by eth0".into()], true).level, Level::Failure);
        assert_eq!(judge(&["IPv6 by eth0".into()], false).level, Level::Warning);
    }
}
