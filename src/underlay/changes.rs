//! Word from the kernel that the network below the tunnel has changed: nobody has to look again and
//! again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_LINK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::system::cancellation::CancellationToken;

/// What is told: interfaces, IPv4 addresses and IPv4 routes that come, change or go; rtnetlink(7).
const GROUPS: u32 = (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE).cast_unsigned();

/// A subscription to changes of this network namespace. What has changed is read elsewhere, so what
/// the messages say does not matter.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// From now on no change is missed.
    ///
    /// # Errors
    /// When the kernel gives no socket for it.
    pub fn subscribe() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Waits for a change since the last call, or for a stop; several at a time count as one.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&self, stop: &CancellationToken) -> io::Result<()> {
        let (stopped, stopping) = io::pipe()?;
        let _guard = stop.on_cancel(move || drop(stopping));
        let mut either = [
            PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
            // Its other end is closed by a stop, which is always waited for.
            PollFd::new(stopped.as_fd(), PollFlags::empty()),
        ];
        while let Err(error) = poll(&mut either, PollTimeout::NONE) {
            if error != Errno::EINTR {
                return Err(error.into());
            }
        }
        self.take_all()
    }

    fn take_all(&self) -> io::Result<()> {
        let mut message = [0; 4096];
        loop {
            match recv(self.0.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => return Ok(()),
                // More than the kernel keeps: something has changed.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
