//! The tunnel's MTU.

use crate::underlay::interfaces;

/// What WireGuard carries over a link of [`USUAL_LINK`].
const USUAL: u32 = 1420;
/// Ethernet's.
const USUAL_LINK: u32 = 1500;

/// The MTU to set: the user's, else none, as wg-quick takes the link's less 80. But a link that
/// takes more than is usual says nothing of the way behind it, where large packets vanish.
pub(super) fn choose(wanted: Option<u32>) -> Option<u32> {
    let routes = interfaces::default_routes().unwrap_or_default();
    let link = routes
        .first()
        .and_then(|route| interfaces::mtu(&route.interface));
    decide(wanted, link)
}

fn decide(wanted: Option<u32>, link: Option<u32>) -> Option<u32> {
    let is_jumbo = link.is_some_and(|link| link > USUAL_LINK);
    wanted.or_else(|| is_jumbo.then_some(USUAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_beyond_the_usual_is_not_trusted() {
        assert_eq!(decide(None, Some(1500)), None);
        assert_eq!(decide(None, Some(1400)), None);
        assert_eq!(decide(None, None), None);
        assert_eq!(decide(None, Some(9000)), Some(1420));
        assert_eq!(decide(Some(8920), Some(9000)), Some(8920));
    }
}
