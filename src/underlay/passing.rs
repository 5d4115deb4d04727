//! The next packet that passes an interface, either way: it is waited for, so that nobody has to
//! look at counters again and again where nothing passes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::libc::{RTMGRP_IPV4_ROUTE, RTMGRP_LINK};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use socket2::{SockFilter, SockRef};

use crate::system::cancellation::{CancellationToken, Cancelled};
use crate::system::readiness;

/// Sees every packet of an interface until it is dropped, which costs each of them a little: not
/// to be kept where there are many.
#[derive(Debug)]
pub struct Passing {
    packets: OwnedFd,
    /// Interfaces that come, change or go, and routes of IPv4.
    changes: OwnedFd,
}

impl Passing {
    /// From now on no packet is missed.
    ///
    /// # Errors
    /// Without NET_RAW, or such an interface.
    pub fn watch(interface: &str) -> io::Result<Self> {
        let index = if_nametoindex(interface)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (packet, every_kind) = (AddressFamily::Packet, SockProtocol::EthAll);
        let packets = socket(packet, SockType::Datagram, flags, every_kind)?;
        SockRef::from(&packets).attach_filter(&only_of(index))?;
        // Until then it saw those of other interfaces.
        while recv(packets.as_raw_fd(), &mut [0], MsgFlags::empty()).is_ok() {}
        let (netlink, routes) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
        let changes = socket(netlink, SockType::Raw, flags, routes)?;
        let groups = (RTMGRP_LINK | RTMGRP_IPV4_ROUTE).cast_unsigned();
        bind(changes.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { packets, changes })
    }

    /// Waits for a packet, for `timeout` at most; an interface or a route that comes or
    /// goes counts as one.
    ///
    /// # Errors
    /// When a stop is asked for.
    pub fn wait(&self, timeout: Duration, stop: &CancellationToken) -> Result<(), Cancelled> {
        let both = [self.packets.as_fd(), self.changes.as_fd()];
        readiness::wait(&both, timeout, stop)
    }
}

/// A program for the kernel, as of socket(7): packets of this interface are kept, others are not.
fn only_of(index: u32) -> [SockFilter; 4] {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// `SKF_AD_OFF + SKF_AD_IFINDEX` of linux/filter.h.
    const INTERFACE: u32 = (-0x1000_i32 + 8).cast_unsigned();
    [
        SockFilter::new(LOAD_WORD, 0, 0, INTERFACE),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, index),
        SockFilter::new(RETURN, 0, 0, 1),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// Others than root may not look.
    #[test]
    fn what_passes_ends_the_wait() {
        let passing = match Passing::watch("lo") {
            Ok(passing) => passing,
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        let stop = CancellationToken::never();
        assert_eq!(passing.wait(Duration::MAX, &stop), Ok(()));
    }

    #[test]
    fn there_has_to_be_such_an_interface() {
        assert!(Passing::watch("no-such-one").is_err());
    }
}
