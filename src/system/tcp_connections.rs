//! TCP connections of this network, ended from outside as `ss --kill` would, by sock_diag(7): whose
//! program they are does not matter.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use nix::libc::{AF_INET, AF_INET6, IPPROTO_TCP};
use nix::sys::socket::SockProtocol;

use super::netlink;

// From linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// All states of net/tcp_states.h but two: a socket that listens has no connection, and one in
/// TIME_WAIT none any more.
const CONNECTED: u32 = !(1 << 10 | 1 << 6);
/// `struct inet_diag_sockid` (linux/inet_diag.h): ports, addresses, interface, cookie.
const ID_LENGTH: usize = 48;
/// Where it is in an answer, a `struct inet_diag_msg`: after family, state and timers.
const ID_OFFSET: usize = 4;
/// Where the local address is in it: after the two ports.
const SOURCE_OFFSET: usize = 4;

/// Ends all TCP connections that have this address here, and returns how many. Their programs get
/// an error (ECONNABORTED) with the next thing that they do, or at once where they wait.
///
/// # Errors
/// When the kernel cannot (it needs `CONFIG_INET_DIAG_DESTROY`), or the capability `NET_ADMIN` is
/// missing.
pub fn end_those_from(address: Ipv4Addr) -> io::Result<usize> {
    let mut ended = 0;
    for family in [AF_INET, AF_INET6] {
        let family = u8::try_from(family).unwrap_or_default();
        for id in connections_from(family, address)? {
            match ask(SOCK_DESTROY, NLM_F_ACK, family, &id, |_| Ok(())) {
                Ok(()) => ended += 1,
                // It has ended by itself meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(ended)
}

fn connections_from(family: u8, address: Ipv4Addr) -> io::Result<Vec<[u8; ID_LENGTH]>> {
    let mut found = Vec::new();
    let all = [0; ID_LENGTH];
    ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, &all, |answer| {
        let id = answer.get(ID_OFFSET..).and_then(|rest| rest.first_chunk());
        if let Some(id) = id
            && source(family, id) == Some(address.into())
        {
            found.push(*id);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The local address; that of IPv4 where a socket of IPv6 speaks it.
fn source(family: u8, id: &[u8; ID_LENGTH]) -> Option<IpAddr> {
    let bytes = id.get(SOURCE_OFFSET..)?;
    if i32::from(family) == AF_INET {
        Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into())
    } else {
        Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).to_canonical())
    }
}

/// A `struct inet_diag_req_v2`.
fn ask(
    kind: u16,
    flags: u16,
    family: u8,
    id: &[u8; ID_LENGTH],
    each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let protocol = u8::try_from(IPPROTO_TCP).unwrap_or_default();
    let mut question = vec![family, protocol, 0, 0];
    question.extend(CONNECTED.to_ne_bytes());
    question.extend(id);
    netlink::ask_by(
        SockProtocol::NetlinkSockDiag,
        kind,
        NLM_F_REQUEST | flags,
        &question,
        each,
    )
}
