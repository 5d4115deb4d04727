//! The tunnel's MTU: chosen when it is brought up, and made to fit the way to the endpoint once
//! that can be tried.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use super::Tunnel;
use crate::container::Container;
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::{paths, route};
use crate::underlay::socket::Via;
use crate::underlay::{interfaces, path_mtu};
use crate::wireguard::overhead::{self, OVER_IPV4, USUAL_LINK, inside};

/// Packets inside that are tried where those of the interface's MTU get lost. WireGuard fills them
/// up to multiples of 16 bytes.
const SIZES: [u32; 14] = [
    1408, 1392, 1376, 1360, 1344, 1312, 1280, 1248, 1216, 1168, 1088, 960, 800, 656,
];

/// The MTU to set: the user's; else the interface's own, where there is one; else what the way to
/// the endpoint leaves, as wg-quick would find by itself with three processes. But a link that
/// takes more than is usual says nothing of the way behind it, where large packets vanish. None
/// where no way is known: then wg-quick has its own means.
pub(super) fn choose(wanted: Option<u32>, endpoint: Ipv4Addr) -> Option<u32> {
    wanted
        .or_else(|| interfaces::mtu(paths::INTERFACE))
        .or_else(|| {
            let route = route::to(endpoint).ok()?;
            let link = || interfaces::mtu(&route.interface?);
            inside(route.mtu.or_else(link)?)
        })
}

/// The way to the endpoint of a tunnel that is up, and who answers at its other end.
pub struct Way {
    endpoint: SocketAddrV4,
    mark: u32,
    host: Option<Ipv4Addr>,
}

impl Way {
    /// Tries which packets get through, and calls `takes` with the size of the largest, where it is
    /// less than the link's: at once where a router on the way says so, and in a few seconds where
    /// large packets are lost without a word.
    pub fn measure(&self, stop: &CancellationToken, takes: impl Fn(u32)) {
        let Some(mut mtu) = interfaces::mtu(paths::INTERFACE) else {
            return;
        };
        let via = Via::Mark(self.mark);
        match path_mtu::measure(&via, self.endpoint, USUAL_LINK, stop) {
            Ok(found) => {
                log::debug!("the way to {} takes {found:?}", self.endpoint);
                if let Some(fitting) = inside(found.path).filter(|fitting| *fitting < mtu) {
                    takes(found.path);
                    mtu = fitting;
                }
            }
            Err(error) => log::debug!("the way to {}: {error}", self.endpoint),
        }
        match self.largest_echo(mtu, stop) {
            Ok(Some(largest)) if largest < mtu => takes(largest.saturating_add(OVER_IPV4)),
            Ok(largest) => log::debug!("packets of {mtu} in the tunnel: {largest:?} come back"),
            Err(error) => log::debug!("packets of {mtu} in the tunnel: {error}"),
        }
    }

    /// Up to `mtu`; `None` where it cannot be told, as nobody answers.
    fn largest_echo(&self, mtu: u32, stop: &CancellationToken) -> std::io::Result<Option<u32>> {
        let Some(host) = self.host else {
            return Ok(None);
        };
        let echo = |sizes: &[u32]| path_mtu::largest_echo(paths::INTERFACE, host, sizes, stop);
        if let Some(largest) = echo(&[mtu])? {
            return Ok(Some(largest));
        }
        let smaller = SIZES.into_iter().filter(|size| *size < mtu);
        echo(&[mtu].into_iter().chain(smaller).collect::<Vec<_>>())
    }
}

impl Tunnel {
    /// The way to its endpoint, where its MTU is not the user's.
    pub fn way(&self, container: &Container) -> Option<Way> {
        container.settings.mtu.is_none().then(|| Way {
            endpoint: self.joined.endpoint(),
            mark: container.mark,
            host: self.witnesses().host,
        })
    }

    /// Gives the interface the MTU that fits a way which takes packets of this size, if it is less
    /// than it has. It is never raised: what lies near this end makes all ways narrow.
    pub fn fit(&self, way: u32, container: &Container) {
        let mtu = overhead::fitting(way);
        if interfaces::mtu(paths::INTERFACE).is_none_or(|now| now <= mtu) {
            return;
        }
        let text = mtu.to_string();
        let words = ["link", "set", "dev", paths::INTERFACE, "mtu", &text];
        if let Err(error) = Command::new("ip", words).run(&container.stop) {
            log::warn!("the MTU of {}: {error}", paths::INTERFACE);
            return;
        }
        log::info!(
            "The largest packets that were seen to get through to {} have {way} bytes: the MTU of \
             {} is {mtu} now",
            self.joined.server.cn,
            paths::INTERFACE
        );
        if let Err(error) = self.conf(container).write(Path::new(paths::WG_CONF)) {
            log::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_wants_holds() {
        assert_eq!(choose(Some(8920), Ipv4Addr::LOCALHOST), Some(8920));
    }

    #[test]
    fn sizes_that_are_tried_are_those_that_wireguard_sends() {
        assert!(SIZES.is_sorted_by(|larger, smaller| larger > smaller));
        assert!(SIZES.iter().all(|size| size.is_multiple_of(16)));
        assert!(
            SIZES
                .iter()
                .all(|size| overhead::fitting(size + OVER_IPV4) > overhead::LEAST)
        );
    }
}
