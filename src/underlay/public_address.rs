//! Whether an address can be a public host's. DNS filters answer with others for names that they
//! block. Pure.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// `false` for unspecified, loopback, private, shared (RFC 6598), link-local, multicast and
/// reserved addresses, and for those of the networks in which we are ourselves.
///
/// Ranges for documentation and benchmarks count as possible: proxies that answer in the place of
/// every host use them, and so do laboratories.
pub fn is_possible(address: Ipv4Addr, attached: &[Ipv4Net]) -> bool {
    let is_shared = matches!(address.octets(), [100, 64..=127, ..]);
    may_be_reached(address)
        && !is_shared
        && !address.is_private()
        && !attached.iter().any(|network| network.contains(&address))
}

/// Whether a host can have it at all, be it in a private network: `false` for unspecified,
/// loopback, link-local, multicast and reserved addresses.
pub fn may_be_reached(address: Ipv4Addr) -> bool {
    !matches!(address.octets(), [0 | 127 | 224..=255, ..]) && !address.is_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_filters_answer_is_impossible() {
        let attached = ["198.51.100.0/28".parse().unwrap()];
        let judge = |text: &str| is_possible(text.parse().unwrap(), &attached);
        for possible in [
            "104.16.1.1",
            "192.0.2.7",
            "198.51.100.16",
            "198.18.0.1",
            "100.128.0.1",
        ] {
            assert!(judge(possible), "{possible}");
        }
        for impossible in [
            "0.0.0.0",
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.51.100.3",
        ] {
            assert!(!judge(impossible), "{impossible}");
        }
        let reached = |text: &str| may_be_reached(text.parse().unwrap());
        assert!(
            ["10.0.0.1", "192.168.1.1", "100.64.0.1"]
                .into_iter()
                .all(reached)
        );
        let nobodys = [
            "0.0.0.0",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
        ];
        assert!(!nobodys.into_iter().any(reached));
    }
}
