//! A probe and the socket that it is sent by.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use prober::{Kind, Probe, Targets, Way};
use socket2::{Domain, Protocol, Socket, Type};

use crate::packet;

/// The mark of wg-quick, which anyone can read in `ip rule`.
const MARK: u32 = 51820;
/// Where datagrams in frames of ours come from.
const SOURCE: u16 = 9;
/// Somebody who is not here, in packets that are to be forwarded.
const STRANGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 99, 99), SOURCE);
/// For a connection to this host.
const NEARBY: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Whence and where to.
#[derive(Debug, Clone)]
pub struct Place {
    pub interface: String,
    pub targets: Targets,
}

/// A probe and what it is sent by.
#[derive(Debug)]
pub struct Flow {
    pub probe: Probe,
    target: SocketAddr,
    place: Place,
    socket: Sending,
}

#[derive(Debug)]
enum Sending {
    /// Each time by a socket of its own: a connection begins with its first packet.
    Anew,
    By(Socket),
    /// The second one has the port that answers come to.
    Raw(Socket, UdpSocket),
    /// There can be no old flow where nothing gets out any more.
    Nothing,
}

impl Flow {
    pub fn open(probe: Probe, place: &Place) -> io::Result<Self> {
        let mut target = probe.target(&place.targets);
        match &mut target {
            SocketAddr::V6(to) if to.ip().is_multicast() => {
                to.set_scope_id(if_nametoindex(place.interface.as_str())?);
            }
            SocketAddr::V4(to) if probe.kind == Kind::Mapped => {
                target = (to.ip().to_ipv6_mapped(), to.port()).into();
            }
            // The port means nothing to these.
            SocketAddr::V6(to) if probe.kind == Kind::IcmpV6 => to.set_port(0),
            _ => (),
        }
        let socket = match probe.kind {
            Kind::Tcp | Kind::TcpV6 => Sending::Anew,
            kind if kind.is_frame() || kind.is_resolvers() || kind.is_known_by_source() => {
                Sending::Anew
            }
            Kind::OldTcp => match TcpStream::connect_timeout(&target, Duration::from_secs(2)) {
                Ok(stream) => Sending::By(stream.into()),
                Err(_) => Sending::Nothing,
            },
            Kind::OldUdp => {
                let socket = socket(probe, place)?;
                // A refusal is as good as silence.
                let _ = socket.connect(&target.into());
                let _ = socket.send(&probe.payload());
                Sending::By(socket)
            }
            Kind::Raw => Sending::Raw(
                socket(probe, place)?,
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            ),
            _ => Sending::By(socket(probe, place)?),
        };
        if let Sending::By(socket) | Sending::Raw(socket, _) = &socket {
            socket.set_nonblocking(true)?;
        }
        Ok(Self {
            probe,
            target,
            place: place.clone(),
            socket,
        })
    }

    /// Sends once. What it returns must be kept until the packet has left.
    pub fn send(&self) -> io::Result<Option<Socket>> {
        let payload = self.probe.payload();
        let target = self.target.into();
        match (&self.socket, self.probe.kind) {
            (Sending::By(socket), Kind::OldUdp | Kind::OldTcp) => socket.send(&payload)?,
            (Sending::By(socket), Kind::Icmp | Kind::Ping) => {
                socket.send_to(&packet::checked_icmp(payload), &target)?
            }
            (Sending::By(socket), Kind::SixInFour) => {
                let inner = (self.place.targets.elsewhere_v6, self.target.port()).into();
                let inner = packet::udp(self.own(SOURCE, inner)?, inner, &payload)?;
                socket.send_to(&inner, &target)?
            }
            (Sending::By(socket), _) => socket.send_to(&payload, &target)?,
            (Sending::Raw(socket, answers), _) => {
                let from = answers.local_addr()?.port();
                let whole = packet::udp(self.own(from, self.target)?, self.target, &payload)?;
                socket.send_to(&whole, &target)?
            }
            (Sending::Anew, kind) if kind.is_frame() => {
                let (mut interface, mut from) = (
                    self.place.interface.as_str(),
                    self.own(SOURCE, self.target)?,
                );
                if kind == Kind::FrameLo {
                    (interface, from) = ("lo", STRANGER.into());
                }
                let content = match kind {
                    Kind::Arp => packet::who_has(interface, self.target, &payload)?,
                    _ => packet::udp(from, self.target, &payload)?,
                };
                packet::send_frame(interface, kind, &content)?
            }
            (Sending::Anew, kind) if kind.is_resolvers() => {
                let socket = socket(self.probe, &self.place)?;
                socket.connect_timeout(&target, NEARBY)?;
                socket.send(&payload)?;
                // What it has answered it does not pass on later.
                socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                let _ = socket.recv(&mut [MaybeUninit::uninit(); 512]);
                0
            }
            (Sending::Anew, _) => {
                let socket = socket(self.probe, &self.place)?;
                socket.set_nonblocking(true)?;
                return match socket.connect(&target) {
                    Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
                        Err(error)
                    }
                    _ => Ok(Some(socket)),
                };
            }
            (Sending::Nothing, _) => 0,
        };
        Ok(None)
    }

    /// The interface's own address of the target's family.
    fn own(&self, port: u16, target: SocketAddr) -> io::Result<SocketAddr> {
        let interface = &self.place.interface;
        Ok(match target {
            SocketAddr::V4(_) => (packet::address(interface)?, port).into(),
            SocketAddr::V6(_) => (packet::address_v6(interface)?, port).into(),
        })
    }
}

fn socket(probe: Probe, place: &Place) -> io::Result<Socket> {
    const HEADER_INCLUDED: i32 = 255;
    const SIX_IN_FOUR: i32 = 41;
    let (domain, kind, protocol) = match probe.kind {
        Kind::Tcp | Kind::ResolverTcp => (Domain::IPV4, Type::STREAM, None),
        kind if kind.is_known_by_source() => (Domain::IPV4, Type::STREAM, None),
        Kind::TcpV6 => (Domain::IPV6, Type::STREAM, None),
        Kind::UdpV6 | Kind::LinkV6 | Kind::AttachedV6 | Kind::Mapped => {
            (Domain::IPV6, Type::DGRAM, None)
        }
        Kind::Icmp => (Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)),
        Kind::IcmpV6 => (Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)),
        Kind::Ping => (Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)),
        Kind::Raw => (Domain::IPV4, Type::RAW, Some(HEADER_INCLUDED.into())),
        Kind::SixInFour => (Domain::IPV4, Type::RAW, Some(SIX_IN_FOUR.into())),
        _ => (Domain::IPV4, Type::DGRAM, None),
    };
    let socket = Socket::new(domain, kind, protocol)?;
    if probe.way.is_marked() {
        socket.set_mark(MARK)?;
    }
    if probe.way.is_bound() {
        socket.bind_device(Some(place.interface.as_bytes()))?;
    }
    if probe.way == Way::Addressed {
        let own = SocketAddr::from((packet::address(&place.interface)?, 0));
        socket.bind(&own.into())?;
    }
    if probe.kind.is_known_by_source() {
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, probe.own_port())).into())?;
    }
    Ok(socket)
}
