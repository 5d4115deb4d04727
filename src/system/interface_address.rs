//! IPv4 addresses of interfaces, given and taken without a process, as `ip address` would.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST};
use nix::errno::Errno;
use nix::libc::AF_INET;
use nix::net::if_::if_nametoindex;

use super::netlink::{self, attribute};

// From linux/rtnetlink.h and linux/if_addr.h.
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const WHOLE_ADDRESS: u8 = 32;

/// Gives the interface this address and no network around it; it may have it already.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn replace(interface: &str, address: Ipv4Addr) -> io::Result<()> {
    change(
        RTM_NEWADDR,
        NLM_F_CREATE | NLM_F_REPLACE,
        interface,
        address,
    )
}

/// Takes such an address from the interface; it may be gone already.
///
/// # Errors
/// As [`replace`].
pub fn remove(interface: &str, address: Ipv4Addr) -> io::Result<()> {
    match change(RTM_DELADDR, 0, interface, address) {
        Err(error) if error.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32) => Ok(()),
        result => result,
    }
}

fn change(kind: u16, flags: u16, interface: &str, address: Ipv4Addr) -> io::Result<()> {
    let index = if_nametoindex(interface)?;
    let family = u8::try_from(AF_INET).unwrap_or_default();
    let mut question = vec![family, WHOLE_ADDRESS, 0, 0];
    question.extend(index.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        question.extend(attribute(kind, &address.octets()));
    }
    let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    netlink::ask(kind, flags, &question, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_has_no_address() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        assert!(replace("no-interface", address).is_err());
        assert!(remove("no-interface", address).is_err());
    }
}
