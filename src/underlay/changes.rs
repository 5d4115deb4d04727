//! Word from the kernel that the network below the tunnel has changed, or `/etc/resolv.conf`:
//! nobody has to look again and again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{
    RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE, RTMGRP_LINK,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use nix::unistd::read;

use crate::system::cancellation::CancellationToken;
use crate::system::paths;

/// What is told: interfaces, IPv4 addresses and IPv4 routes that come, change or go; rtnetlink(7).
const GROUPS: u32 = (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE).cast_unsigned();
/// The same of IPv6, which says much more: each router advertisement is a change.
const GROUPS_V6: u32 = (RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE).cast_unsigned();

/// A subscription to changes of this network namespace. What has changed is read elsewhere, so what
/// the messages say does not matter.
#[derive(Debug)]
pub struct Changes {
    networks: OwnedFd,
    /// Writers of `/etc/resolv.conf`; there may be no such file.
    resolv_conf: Option<Inotify>,
}

impl Changes {
    /// From now on no change is missed; those of IPv6 only where they are asked for.
    ///
    /// # Errors
    /// When the kernel gives no socket for it.
    pub fn subscribe(ipv6: bool) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )?;
        let groups = if ipv6 { GROUPS | GROUPS_V6 } else { GROUPS };
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        let resolv_conf = watch(paths::RESOLV_CONF)
            .inspect_err(|error| log::debug!("{}: {error}", paths::RESOLV_CONF));
        Ok(Self {
            networks: socket,
            resolv_conf: resolv_conf.ok(),
        })
    }

    /// Waits for a change since the last call, or for a stop; several at a time count as one.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&self, stop: &CancellationToken) -> io::Result<()> {
        let (stopped, stopping) = io::pipe()?;
        let _guard = stop.on_cancel(move || drop(stopping));
        let mut any = vec![
            PollFd::new(self.networks.as_fd(), PollFlags::POLLIN),
            // Its other end is closed by a stop, which is always waited for.
            PollFd::new(stopped.as_fd(), PollFlags::empty()),
        ];
        if let Some(writers) = &self.resolv_conf {
            any.push(PollFd::new(writers.as_fd(), PollFlags::POLLIN));
        }
        while let Err(error) = poll(&mut any, PollTimeout::NONE) {
            if error != Errno::EINTR {
                return Err(error.into());
            }
        }
        self.take_all()
    }

    fn take_all(&self) -> io::Result<()> {
        // Small, as it stays resident with the thread's stack: of a file's watch an event is 16
        // bytes, and of a netlink message the rest is dropped.
        let mut message = [0; 64];
        if let Some(writers) = &self.resolv_conf {
            while read(writers, &mut message).is_ok() {}
        }
        loop {
            match recv(self.networks.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => return Ok(()),
                // More than the kernel keeps: something has changed.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn watch(path: &str) -> nix::Result<Inotify> {
    let writers = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    writers.add_watch(path, AddWatchFlags::IN_CLOSE_WRITE)?;
    Ok(writers)
}
