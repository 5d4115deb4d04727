//! Packets and frames written byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::{fs, io};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, send,
    socket,
};

const UDP: u8 = 17;
/// The hardware address of all.
const EVERYBODY: [u8; 6] = [0xff; 6];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// An IPv4 packet with a datagram in it, from this interface's address.
pub fn udp(interface: &str, from: u16, to: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    let SocketAddr::V4(to) = to else {
        return Err(io::Error::other("only IPv4 packets are written by hand"));
    };
    let source = address(interface)?;
    let length = |header: usize| u16::try_from(header + payload.len()).map_err(io::Error::other);
    let datagram = [
        &from.to_be_bytes()[..],
        &to.port().to_be_bytes(),
        &length(8)?.to_be_bytes(),
        // No checksum, which IPv4 allows.
        &[0, 0],
        payload,
    ]
    .concat();
    let before = [
        &[0x45, 0][..],
        &length(28)?.to_be_bytes(),
        &[0, 1, 0, 0, 64, UDP],
    ]
    .concat();
    let after = [source.octets(), to.ip().octets()].concat();
    let header = [&before[..], &[0, 0], &after].concat();
    let sum = checksum(&header).to_be_bytes();
    Ok([before, sum.to_vec(), after, datagram].concat())
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

/// Sends a packet as a frame to the gateway's hardware address, or to everybody's.
pub fn send_frame(interface: &str, packet: &[u8]) -> io::Result<usize> {
    let device = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| entry.address?.as_link_addr().copied())
        .find(|address: &LinkAddr| address.family() == Some(AddressFamily::Packet))
        .ok_or_else(|| io::Error::other(format!("{interface} has no hardware address")))?;
    let own = device.addr().unwrap_or_default();
    let gateway = gateway(interface).unwrap_or(EVERYBODY);
    let frame = [&gateway[..], &own, &ETHERTYPE_IPV4, packet].concat();
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    bind(socket.as_raw_fd(), &device)?;
    Ok(send(socket.as_raw_fd(), &frame, MsgFlags::empty())?)
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

fn address(interface: &str) -> io::Result<Ipv4Addr> {
    let mut addresses = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip()));
    addresses
        .next()
        .ok_or_else(|| io::Error::other(format!("{interface} has no IPv4 address")))
}
