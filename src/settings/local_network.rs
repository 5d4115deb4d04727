//! `LOCAL_NETWORK` and `LOCAL_PORTS`: what is reached outside the tunnel, and what is reached here.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::read::{Read, list};
use super::variable::Variable;
use super::warning::Warning;
use crate::firewall::{self, LocalAccess, TrafficKind};

/// A range with a shorter prefix is no local network: much of the internet would be reached
/// outside the tunnel, with nothing to show for it in the container's health.
const MIN_PREFIX: u8 = 8;
/// The same of IPv6, where the range is not private: what providers give to one site.
const MIN_PREFIX_V6: u8 = 48;

/// Ranges that no host of the internet has: private, shared by providers, link-local.
const PRIVATE: [IpNet; 7] = [
    private(10, 0, 8),
    private(172, 16, 12),
    private(192, 168, 16),
    private(100, 64, 10),
    private(169, 254, 16),
    private_v6(0xfc00, 7),
    private_v6(0xfe80, 10),
];

const fn private(first: u8, second: u8, bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(
        Ipv4Addr::new(first, second, 0, 0),
        bits,
    ))
}

const fn private_v6(first: u16, bits: u8) -> IpNet {
    let address = Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0);
    IpNet::V6(Ipv6Net::new_assert(address, bits))
}

/// The entries of `LOCAL_NETWORK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNetwork(pub Vec<LocalAccess>);

impl Read for LocalNetwork {
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let mut entries = Vec::new();
        let is_entry = |text: &str| text.parse::<LocalAccess>().is_ok();
        for part in whole_entries(text.unwrap_or_default(), is_entry) {
            let part = part.as_str();
            let Ok(typed) = part.parse::<LocalAccess>() else {
                let expected = "a range such as 192.168.1.0/24 or fd00::/8, or what of it, such as \
                                out:192.168.1.5:53/udp";
                warnings.push(variable.unfit(part, expected, "it is left out"));
                continue;
            };
            let range = typed.range.trunc();
            if is_too_wide(range) {
                let problem =
                    format!("with {part}, which is {range}, too much would go outside the tunnel");
                warnings.push(variable.warning(problem, "it is left out"));
                continue;
            }
            warnings.extend(doubts(part, typed.range, variable));
            let entry = LocalAccess { range, ..typed };
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        Self(entries)
    }
}

/// A range of IPv4, as `LOCAL_NETWORK` takes it.
pub(super) fn parse(text: &str) -> Option<Ipv4Net> {
    match firewall::parse_range(text)? {
        IpNet::V4(range) => Some(range),
        IpNet::V6(_) => None,
    }
}

/// The parts of the list. What is typed as `in: RANGE` or `RANGE :PORT` is one: left alone, the
/// range would be open both ways, and by all ports.
fn whole_entries(text: &str, is_entry: impl Fn(&str) -> bool) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    let mut parts = list(text).peekable();
    while let Some(part) = parts.next() {
        // A sign alone belongs to what comes after it, too.
        let sign = matches!(part, ":" | "/").then_some(part);
        let with_next = sign.and_then(|sign| Some(format!("{sign}{}", parts.peek()?)));
        match (entries.last_mut(), with_next) {
            (Some(last), Some(more))
                if is_continued(last, &more, &is_entry) && is_entry(&format!("{last}{more}")) =>
            {
                last.push_str(&more);
                parts.next();
            }
            (Some(last), _) if is_continued(last, part, &is_entry) => last.push_str(part),
            _ => entries.push(part.to_owned()),
        }
    }
    entries
}

/// Whether the next part belongs to this one: behind a direction always, and where it begins with
/// ports; else where that makes an entry. Any other text costs no range its place.
fn is_continued(part: &str, next: &str, is_entry: impl Fn(&str) -> bool) -> bool {
    let ends_in_colon = part.ends_with(':') && !part.ends_with("::");
    let word = part.split(':').next().unwrap_or_default();
    let mut directions = ["in", "out"].iter();
    if ends_in_colon && directions.any(|direction| word.eq_ignore_ascii_case(direction)) {
        return true;
    }
    // One more colon makes another address of it.
    let is_bare_v6 = part.contains("::") && !part.contains(']');
    match next.strip_prefix(':') {
        Some(ports) if !ports.starts_with(':') && !is_bare_v6 => !ports.is_empty(),
        Some(_) => false,
        None => {
            let may_be = next.starts_with('/') || ends_in_colon && !is_bare_v6;
            may_be && is_entry(&format!("{part}{next}"))
        }
    }
}

fn is_private(range: IpNet) -> bool {
    PRIVATE.iter().any(|private| private.contains(&range))
}

fn is_too_wide(range: IpNet) -> bool {
    match range {
        IpNet::V4(range) => range.prefix_len() < MIN_PREFIX,
        IpNet::V6(v6) => v6.prefix_len() < MIN_PREFIX_V6 && !is_private(range),
    }
}

/// What is said of a range that is used.
fn doubts(part: &str, typed: IpNet, variable: &Variable) -> Option<Warning> {
    let range = typed.trunc();
    if !is_private(range) {
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

/// The ports of `LOCAL_PORTS`; `None` where it is unset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPorts(pub Option<Vec<TrafficKind>>);

impl Read for LocalPorts {
    /// What cannot be read opens nothing, as the variable is there to close.
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let Some(text) = text else {
            return Self(None);
        };
        let mut ports = Vec::new();
        let is_entry = |text: &str| TrafficKind::of_ports(text).is_ok();
        let parts = whole_entries(text, is_entry);
        for part in parts.iter().filter(|part| *part != "0") {
            match TrafficKind::of_ports(part) {
                Ok(traffic) if ports.contains(&traffic) => {}
                Ok(traffic) => ports.push(traffic),
                Err(_) => {
                    let expected = "a port or a range, such as 8080, 9091/tcp or 6881-6889/udp";
                    warnings.push(variable.unfit(part, expected, "it is left out"));
                }
            }
        }
        Self(Some(ports))
    }
}
