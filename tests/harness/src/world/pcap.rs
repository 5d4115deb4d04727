//! Reading what tcpdump wrote: the packets of a capture file, as far as tests judge them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime};

/// A packet on a wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    pub at: Instant,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub transport: Transport,
    /// What follows the transport's header.
    pub payload: Vec<u8>,
}

impl fmt::Debug for Packet {
    /// One line, for the message of a test that found a leak.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            destination,
            transport,
            payload,
            ..
        } = self;
        write!(
            f,
            "{source} > {destination} {transport:?}, {} bytes",
            payload.len()
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        from: u16,
        to: u16,
        flags: u8,
    },
    Udp {
        from: u16,
        to: u16,
    },
    Icmp {
        kind: u8,
    },
    /// Another IP protocol of this number.
    Other(u8),
    /// No packet of IP's.
    Arp,
}

impl Packet {
    /// The port it is sent to.
    pub fn to_port(&self) -> Option<u16> {
        match self.transport {
            Transport::Tcp { to, .. } | Transport::Udp { to, .. } => Some(to),
            Transport::Icmp { .. } | Transport::Other(_) | Transport::Arp => None,
        }
    }

    /// The port that it comes from, and that it is sent to.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            Transport::Tcp { from, to, .. } | Transport::Udp { from, to } => Some((from, to)),
            Transport::Icmp { .. } | Transport::Other(_) | Transport::Arp => None,
        }
    }

    pub fn is_udp(&self) -> bool {
        matches!(self.transport, Transport::Udp { .. })
    }

    pub fn is_tcp(&self) -> bool {
        matches!(self.transport, Transport::Tcp { .. })
    }

    pub fn is_icmp(&self) -> bool {
        matches!(self.transport, Transport::Icmp { .. })
    }

    /// Whether it only keeps an IPv6 link going: neighbours, routers, multicast groups.
    pub fn is_ipv6_housekeeping(&self) -> bool {
        let housekeeping = matches!(self.transport, Transport::Icmp { kind: 130..=143 });
        self.source.is_ipv6() && housekeeping
    }
}

/// The packets of a capture file, IP's and ARP's; one that the file ends in the middle of is left
/// out.
pub fn parse(file: &[u8]) -> Vec<Packet> {
    // Files count from 1970, everything else here by the monotonic clock.
    let (now, since_1970) = (
        Instant::now(),
        SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
    );
    let mut packets = Vec::new();
    let mut rest = file.get(24..).unwrap_or_default();
    while let Some((head, tail)) = rest.split_at_checked(16) {
        let number = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let length = number(8) as usize;
        let Some((frame, next)) = tail.split_at_checked(length) else {
            break;
        };
        rest = next;
        let at = Duration::from_secs(number(0).into()) + Duration::from_micros(number(4).into());
        packets.extend(ethernet(now - since_1970.saturating_sub(at), frame));
    }
    packets
}

fn ethernet(at: Instant, frame: &[u8]) -> Option<Packet> {
    let of_vlan = frame.get(12..14)? == [0x81, 0x00];
    let (ethertype, packet) = frame
        .get(if of_vlan { 16 } else { 12 }..)?
        .split_at_checked(2)?;
    match ethertype {
        [0x08, 0x00] => ipv4(at, packet),
        [0x86, 0xdd] => ipv6(at, packet),
        [0x08, 0x06] => arp(at, packet),
        _ => None,
    }
}

/// The payload is what follows the question or the answer.
fn arp(at: Instant, packet: &[u8]) -> Option<Packet> {
    let (body, rest) = packet.split_at_checked(28)?;
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = body.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::from(octets))
    };
    Some(Packet {
        at,
        source: address(14)?,
        destination: address(24)?,
        transport: Transport::Arp,
        payload: rest.to_vec(),
    })
}

fn ipv4(at: Instant, packet: &[u8]) -> Option<Packet> {
    let header = packet.first_chunk::<20>()?;
    let address = |at: usize| {
        let octets: [u8; 4] = header[at..at + 4].try_into().expect("4 bytes");
        IpAddr::V4(Ipv4Addr::from(octets))
    };
    let length = usize::from(header[0] & 0x0f) * 4;
    // Frames are padded to the wire's smallest length.
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let body = packet.get(length..total.clamp(length, packet.len()))?;
    // Only the first fragment of a packet has a transport header.
    let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    let protocol = if first { header[9] } else { 255 };
    Some(transport(at, address(12), address(16), protocol, body))
}

fn ipv6(at: Instant, packet: &[u8]) -> Option<Packet> {
    let header = packet.first_chunk::<40>()?;
    let address = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().expect("16 bytes");
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let (mut protocol, mut body) = (header[6], &packet[40..]);
    // Multicast listener reports hide behind a hop-by-hop header.
    if protocol == 0 {
        let length = usize::from(*body.get(1)?) * 8 + 8;
        (protocol, body) = (body[0], body.get(length..)?);
    }
    Some(transport(at, address(8), address(24), protocol, body))
}

fn transport(
    at: Instant,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    body: &[u8],
) -> Packet {
    let port = |at: usize| {
        body.get(at..at + 2)
            .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
    };
    let byte = |at: usize| body.get(at).copied().unwrap_or_default();
    let (transport, header) = match protocol {
        6 => {
            let length = usize::from(byte(12) >> 4) * 4;
            (
                Transport::Tcp {
                    from: port(0),
                    to: port(2),
                    flags: byte(13),
                },
                length,
            )
        }
        17 => (
            Transport::Udp {
                from: port(0),
                to: port(2),
            },
            8,
        ),
        1 | 58 => (Transport::Icmp { kind: byte(0) }, 8),
        other => (Transport::Other(other), 0),
    };
    let payload = body.get(header..).unwrap_or_default().to_vec();
    Packet {
        at,
        source,
        destination,
        transport,
        payload,
    }
}
