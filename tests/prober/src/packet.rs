//! Packets and frames written byte by byte.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::{fs, io};

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::sockopt::SetBool;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, send,
    setsockopt, socket,
};
use prober::Kind;

const UDP: u8 = 17;
/// The hardware address of all.
const EVERYBODY: [u8; 6] = [0xff; 6];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const VLAN_1: [u8; 4] = [0x81, 0x00, 0, 1];

/// An IP packet with a datagram in it.
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = |header: usize| u16::try_from(header + payload.len()).map_err(io::Error::other);
    let datagram = [
        &from.port().to_be_bytes()[..],
        &to.port().to_be_bytes(),
        &length(8)?.to_be_bytes(),
        // No checksum, which IPv4 allows; IPv6 does not, but nobody on the way looks.
        &[0, 0],
        payload,
    ]
    .concat();
    let (from, to) = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => (*from.ip(), *to.ip()),
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            let before = [0x60, 0, 0, 0];
            let next = [UDP, 64];
            let addresses = [from.ip().octets(), to.ip().octets()].concat();
            let length = length(8)?.to_be_bytes();
            return Ok([&before[..], &length, &next, &addresses, &datagram].concat());
        }
        _ => return Err(io::Error::other("addresses of two families")),
    };
    let before = [
        &[0x45, 0][..],
        &length(28)?.to_be_bytes(),
        &[0, 1, 0, 0, 64, UDP],
    ]
    .concat();
    let after = [from.octets(), to.octets()].concat();
    let header = [&before[..], &[0, 0], &after].concat();
    let sum = checksum(&header).to_be_bytes();
    Ok([before, sum.to_vec(), after, datagram].concat())
}

/// A question by ARP for the hardware address of a host, with more in the frame than it needs.
pub fn who_has(interface: &str, host: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    const ETHERNET_ASKS_FOR_IPV4: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    let SocketAddr::V4(host) = host else {
        return Err(io::Error::other("ARP is IPv4's"));
    };
    let (own, device) = (address(interface)?, device(interface)?);
    let hardware = device.addr().unwrap_or_default();
    let host = host.ip().octets();
    Ok([
        &ETHERNET_ASKS_FOR_IPV4[..],
        &hardware,
        &own.octets(),
        &[0; 6],
        &host,
        payload,
    ]
    .concat())
}

/// Fills in the checksum of an ICMP message.
pub fn checked_icmp(mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&message).to_be_bytes();
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&sum);
    }
    message
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |two: &[u8]| match two {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    };
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[derive(Debug, Clone, Copy)]
struct QdiscBypass;

nix::setsockopt_impl!(
    QdiscBypass,
    libc::SOL_PACKET,
    libc::PACKET_QDISC_BYPASS,
    bool,
    SetBool
);

/// Sends a packet as a frame to the gateway's hardware address, or to everybody's.
pub fn send_frame(interface: &str, kind: Kind, packet: &[u8]) -> io::Result<usize> {
    let device = device(interface)?;
    let own = device.addr().unwrap_or_default();
    let (to, ethertype) = match kind {
        Kind::Arp => (None, ETHERTYPE_ARP),
        Kind::FrameV6 => (gateway(interface), ETHERTYPE_IPV6),
        _ => (gateway(interface), ETHERTYPE_IPV4),
    };
    let to = match interface {
        "lo" => own,
        _ => to.unwrap_or(EVERYBODY),
    };
    let tag: &[u8] = match kind {
        Kind::FrameVlan => &VLAN_1,
        _ => &[],
    };
    let frame = [&to[..], &own, tag, &ethertype, packet].concat();
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    if kind == Kind::FrameBypass {
        setsockopt(&socket, QdiscBypass, &true)?;
    }
    bind(socket.as_raw_fd(), &device)?;
    Ok(send(socket.as_raw_fd(), &frame, MsgFlags::empty())?)
}

fn device(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| entry.address?.as_link_addr().copied())
        .find(|address: &LinkAddr| address.family() == Some(AddressFamily::Packet))
        .ok_or_else(|| io::Error::other(format!("{interface} has no hardware address")))
}

/// The first neighbour that is known on this interface.
pub fn gateway(interface: &str) -> Option<[u8; 6]> {
    let table = fs::read_to_string("/proc/self/net/arp").unwrap_or_default();
    let mut rows = table.lines().map(|row| row.split_whitespace().collect());
    rows.find_map(|row: Vec<&str>| match row.as_slice() {
        [_, _, _, hardware, _, device] if *device == interface => hardware_address(hardware),
        _ => None,
    })
}

fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let bytes = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    bytes.try_into().ok().filter(|bytes| *bytes != [0; 6])
}

/// The interface's global address; without one, none is as good.
pub fn address_v6(interface: &str) -> io::Result<Ipv6Addr> {
    let mut addresses = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| Some(entry.address?.as_sockaddr_in6()?.ip()));
    let global = addresses.find(|address| !address.is_unicast_link_local());
    Ok(global.unwrap_or(Ipv6Addr::UNSPECIFIED))
}

pub fn address(interface: &str) -> io::Result<Ipv4Addr> {
    let mut addresses = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip()));
    addresses
        .next()
        .ok_or_else(|| io::Error::other(format!("{interface} has no IPv4 address")))
}
