//! `LOCAL_NETWORK`: ranges that are reached outside the tunnel.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::read::{Read, list};
use super::variable::Variable;
use super::warning::Warning;

/// A range with a shorter prefix is no local network: much of the internet would be reached
/// outside the tunnel, with nothing to show for it in the container's health.
const MIN_PREFIX: u8 = 8;

/// Ranges that no host of the internet has: private, shared by providers, link-local.
const PRIVATE: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
];

/// The ranges of `LOCAL_NETWORK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRanges(pub Vec<Ipv4Net>);

impl Read for LocalRanges {
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let mut ranges = Vec::new();
        for part in list(text.unwrap_or_default()) {
            let Some(typed) = parse(part) else {
                let expected = "an IPv4 range such as 192.168.1.0/24";
                warnings.push(variable.unfit(part, expected, "it is left out"));
                continue;
            };
            let range = typed.trunc();
            if range.prefix_len() < MIN_PREFIX {
                let problem =
                    format!("with {part}, which is {range}, too much would go outside the tunnel");
                warnings.push(variable.warning(problem, "it is left out"));
                continue;
            }
            warnings.extend(doubts(part, typed, variable));
            ranges.push(range);
        }
        Self(ranges)
    }
}

/// What is said of a range that is used.
fn doubts(part: &str, typed: Ipv4Net, variable: &Variable) -> Option<Warning> {
    let range = typed.trunc();
    let is_private = PRIVATE.iter().any(|(network, prefix)| {
        Ipv4Net::new(*network, *prefix).is_ok_and(|private| private.contains(&range))
    });
    if !is_private {
        let problem = format!("{range} is no private range");
        let consequence = "it is reached outside the tunnel all the same";
        return Some(variable.warning(problem, consequence));
    }
    (typed != range).then(|| {
        variable.warning(
            format!("{part} is one host of a range"),
            format!("the whole range, {range}, is reached outside the tunnel"),
        )
    })
}

/// A range as iptables and `ip` take it: `192.168.1.0/24`, `192.168.1.0/255.255.255.0`, `10/8`, or
/// an address alone.
pub(super) fn parse(text: &str) -> Option<Ipv4Net> {
    let Some((network, length)) = text.split_once('/') else {
        return text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from);
    };
    let network = with_missing_zeros(network)?;
    if let Ok(mask) = length.parse() {
        return Ipv4Net::with_netmask(network, mask).ok();
    }
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    Ipv4Net::new(network, length.parse().ok().filter(|_| is_number)?).ok()
}

/// `10` and `10.1` before a prefix are `10.0.0.0` and `10.1.0.0`.
fn with_missing_zeros(network: &str) -> Option<Ipv4Addr> {
    let given = network.split('.').count();
    let missing = 4_usize.checked_sub(given)?;
    format!("{network}{}", ".0".repeat(missing)).parse().ok()
}
