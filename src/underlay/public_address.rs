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
    let is_special = match address.octets() {
        [0 | 127, ..] | [224..=255, ..] => true,
        [100, 64..=127, ..] => true,
        _ => address.is_private() || address.is_link_local(),
    };
    !is_special && !attached.iter().any(|network| network.contains(&address))
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
    }
}
