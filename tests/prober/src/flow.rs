//! A probe and the socket that it is sent by.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use prober::{Kind, Probe, Targets};
use socket2::{Domain, Protocol, Socket, Type};

use crate::packet;

/// The mark of wg-quick, which anyone can read in `ip rule`.
const MARK: u32 = 51820;

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
        let target = probe.target(&place.targets);
        let socket = match probe.kind {
            Kind::Tcp | Kind::TcpV6 | Kind::Api | Kind::Frame => Sending::Anew,
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
            Kind::Udp | Kind::Dns | Kind::Icmp | Kind::UdpV6 => Sending::By(socket(probe, place)?),
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
            (Sending::By(socket), Kind::Icmp) => {
                socket.send_to(&packet::checked_icmp(payload), &target)?
            }
            (Sending::By(socket), _) => socket.send_to(&payload, &target)?,
            (Sending::Raw(socket, answers), _) => {
                let from = answers.local_addr()?.port();
                let whole = packet::udp(&self.place.interface, from, self.target, &payload)?;
                socket.send_to(&whole, &target)?
            }
            (Sending::Anew, Kind::Frame) => {
                let whole = packet::udp(&self.place.interface, 40_000, self.target, &payload)?;
                packet::send_frame(&self.place.interface, &whole)?
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
}

fn socket(probe: Probe, place: &Place) -> io::Result<Socket> {
    const HEADER_INCLUDED: i32 = 255;
    let (domain, kind, protocol) = match probe.kind {
        Kind::Tcp | Kind::Api => (Domain::IPV4, Type::STREAM, None),
        Kind::TcpV6 => (Domain::IPV6, Type::STREAM, None),
        Kind::UdpV6 => (Domain::IPV6, Type::DGRAM, None),
        Kind::Icmp => (Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)),
        Kind::Raw => (Domain::IPV4, Type::RAW, Some(HEADER_INCLUDED.into())),
        _ => (Domain::IPV4, Type::DGRAM, None),
    };
    let socket = Socket::new(domain, kind, protocol)?;
    if probe.way.is_marked() {
        socket.set_mark(MARK)?;
    }
    if probe.way.is_bound() {
        socket.bind_device(Some(place.interface.as_bytes()))?;
    }
    Ok(socket)
}
