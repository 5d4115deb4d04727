//! A router that announces itself: its neighbours give themselves IPv6 addresses, and send by it
//! what is for elsewhere.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::thread;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Nobody believes a router advertisement that came by another router.
const HOP_LIMIT: u32 = 255;
const INTERVAL: Duration = Duration::from_millis(100);

/// Sends router advertisements with a prefix of 64 bits until killed; says "ready" after the first.
pub fn announce(interface: &str, prefix: Ipv6Addr) -> io::Result<Infallible> {
    let index = if_nametoindex(interface)?;
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_multicast_hops_v6(HOP_LIMIT)?;
    socket.set_multicast_if_v6(index)?;
    let to = SocketAddrV6::new(ALL_NODES, 0, 0, index).into();
    let message = router_advertisement(prefix);
    let mut told = false;
    loop {
        // In vain as long as the interface has no address of the link's.
        if socket.send_to(&message, &to).is_ok() && !told {
            told = true;
            println!("ready");
            io::stdout().flush()?;
        }
        thread::sleep(INTERVAL);
    }
}

/// As RFC 4861 has it; the kernel fills in the checksum.
fn router_advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    const HALF_AN_HOUR: [u8; 4] = 1800_u32.to_be_bytes();
    // Type, code, checksum, hop limit, flags, seconds as default router, two times left open.
    let header = [
        134,
        0,
        0,
        0,
        64,
        0,
        HALF_AN_HOUR[2],
        HALF_AN_HOUR[3],
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    // Prefix information, four words long: on the link, and for addresses of one's own.
    let before = [3, 4, 64, 0xc0];
    let reserved = [0; 4];
    let option = [before, HALF_AN_HOUR, HALF_AN_HOUR, reserved].concat();
    [&header[..], &option, &prefix.octets()].concat()
}
