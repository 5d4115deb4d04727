//! The tunnel's MTU.

use std::net::Ipv4Addr;

use crate::system::route;
use crate::underlay::interfaces;

/// Ethernet's.
const USUAL_LINK: u32 = 1500;

/// What WireGuard adds to a packet.
const OVERHEAD: u32 = 80;

/// The MTU to set: the user's, else what the way to the endpoint leaves, as wg-quick would find by
/// itself with three processes. But a link that takes more than is usual says nothing of the way
/// behind it, where large packets vanish. None where no way is known: then wg-quick has its own
/// means.
pub(super) fn choose(wanted: Option<u32>, endpoint: Ipv4Addr) -> Option<u32> {
    wanted.or_else(|| {
        let route = route::to(endpoint).ok()?;
        let link = || interfaces::mtu(&route.interface?);
        inside(route.mtu.or_else(link)?)
    })
}

fn inside(way: u32) -> Option<u32> {
    way.min(USUAL_LINK).checked_sub(OVERHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_beyond_the_usual_is_not_trusted() {
        assert_eq!(inside(1500), Some(1420));
        assert_eq!(inside(1400), Some(1320));
        assert_eq!(inside(9000), Some(1420));
        assert_eq!(inside(0), None);
    }

    #[test]
    fn what_the_user_wants_holds() {
        assert_eq!(choose(Some(8920), Ipv4Addr::LOCALHOST), Some(8920));
    }
}
