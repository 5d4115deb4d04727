//! An entry of `LOCAL_NETWORK`: who may talk to whom outside the tunnel, and about what.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::traffic::TrafficKind;

/// Who may begin a connection; answers always come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both sides.
    #[default]
    Both,
    /// `in:`, those of the range.
    In,
    /// `out:`, we.
    Out,
}

/// A range of the LAN and what may flow between it and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAccess {
    /// As typed: it may have host bits.
    pub range: IpNet,
    pub direction: Direction,
    pub traffic: TrafficKind,
}

/// All of it, both ways.
impl From<IpNet> for LocalAccess {
    fn from(range: IpNet) -> Self {
        Self {
            range,
            direction: Direction::Both,
            traffic: TrafficKind::default(),
        }
    }
}

impl LocalAccess {
    /// Whether it holds something back of its range.
    pub fn is_narrowed(&self) -> bool {
        *self != Self::from(self.range)
    }
}

/// The text is no entry of `LOCAL_NETWORK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLocalAccess;

impl FromStr for LocalAccess {
    type Err = NotLocalAccess;

    /// `[in:|out:]RANGE[:PORTS][/tcp|/udp]`; an IPv6 range with ports stands in brackets.
    fn from_str(text: &str) -> Result<Self, NotLocalAccess> {
        let (direction, rest) = if let Some(rest) = text.strip_prefix("in:") {
            (Direction::In, rest)
        } else if let Some(rest) = text.strip_prefix("out:") {
            (Direction::Out, rest)
        } else {
            (Direction::Both, text)
        };
        let (rest, protocol) = match rest.rsplit_once('/') {
            Some((rest, protocol)) if protocol.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let protocol = protocol.parse().map_err(|_| NotLocalAccess)?;
                (rest, Some(protocol))
            }
            _ => (rest, None),
        };
        let (range, ports) = split_ports(rest);
        let ports = match ports {
            Some(ports) => Some(ports.parse().map_err(|_| NotLocalAccess)?),
            None => None,
        };
        Ok(Self {
            range: parse_range(range).ok_or(NotLocalAccess)?,
            direction,
            traffic: TrafficKind { protocol, ports },
        })
    }
}

/// What stands before and behind the colon that parts the ports from the range.
fn split_ports(text: &str) -> (&str, Option<&str>) {
    let in_brackets = || {
        let (range, rest) = text.strip_prefix('[')?.split_once(']')?;
        match rest {
            "" => Some((range, None)),
            _ => Some((range, Some(rest.strip_prefix(':')?))),
        }
    };
    if let Some(parts) = in_brackets() {
        return parts;
    }
    match text.split_once(':') {
        // One colon alone is none of an IPv6 address.
        Some((range, ports)) if !ports.contains(':') => (range, Some(ports)),
        _ => (text, None),
    }
}

/// A range as iptables and `ip` take it: `192.168.1.0/24`, `192.168.1.0/255.255.255.0`, `10/8`,
/// `fd00::/8`, or an address alone.
pub fn parse_range(text: &str) -> Option<IpNet> {
    let Some((network, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    let bits = length.parse().ok().filter(|_| is_number);
    if let Ok(network) = network.parse::<Ipv6Addr>() {
        return Ipv6Net::new(network, bits?).ok().map(IpNet::V6);
    }
    let network = with_missing_zeros(network)?;
    if let Ok(mask) = length.parse() {
        return Ipv4Net::with_netmask(network, mask).ok().map(IpNet::V4);
    }
    Ipv4Net::new(network, bits?).ok().map(IpNet::V4)
}

/// `10` and `10.1` before a prefix are `10.0.0.0` and `10.1.0.0`.
fn with_missing_zeros(network: &str) -> Option<Ipv4Addr> {
    let given = network.split('.').count();
    let missing = 4_usize.checked_sub(given)?;
    format!("{network}{}", ".0".repeat(missing)).parse().ok()
}

/// As it is read.
impl fmt::Display for LocalAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.direction {
            Direction::Both => "",
            Direction::In => "in:",
            Direction::Out => "out:",
        })?;
        match (self.range, self.traffic.ports) {
            (IpNet::V6(range), Some(ports)) => write!(f, "[{range}]:{ports}")?,
            (range, Some(ports)) => write!(f, "{range}:{ports}")?,
            (range, None) => write!(f, "{range}")?,
        }
        match self.traffic.protocol {
            Some(protocol) => write!(f, "/{protocol}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read_and_shown_as_it_is_read() {
        for (text, shown) in [
            ("192.168.1.0/24", "192.168.1.0/24"),
            ("192.168.1.10", "192.168.1.10/32"),
            ("10/8", "10.0.0.0/8"),
            ("192.168.1.0/255.255.255.0", "192.168.1.0/24"),
            ("in:192.168.1.0/24", "in:192.168.1.0/24"),
            ("192.168.1.10:8096/tcp", "192.168.1.10/32:8096/tcp"),
            ("out:192.168.1.5:53/udp", "out:192.168.1.5/32:53/udp"),
            ("in:192.168.1.0/24:6881-6889", "in:192.168.1.0/24:6881-6889"),
            ("10/8:80", "10.0.0.0/8:80"),
            ("192.168.1.0/24/udp", "192.168.1.0/24/udp"),
            ("fd00::/8", "fd00::/8"),
            ("fd00::1", "fd00::1/128"),
            ("[fd00::1]", "fd00::1/128"),
            ("in:[fd00::1]:80/tcp", "in:[fd00::1/128]:80/tcp"),
            ("out:[fd00::/64]:53", "out:[fd00::/64]:53"),
            ("fe80::/10/tcp", "fe80::/10/tcp"),
        ] {
            let access: LocalAccess = text.parse().expect(text);
            assert_eq!(access.to_string(), shown);
            assert_eq!(shown.parse(), Ok(access), "{shown}");
        }
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for text in [
            "",
            "lan",
            "in:",
            "in:in:10.0.0.1",
            "IN:10.0.0.1",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:70000",
            "10.0.0.1:80-70",
            "10.0.0.1:http",
            "10.0.0.1:80/sctp",
            "10.0.0.1:80/",
            "10.0.0.1:80:81",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "[10.0.0.1",
            "[fd00::1]80",
            "fd00::1]:80",
            "fd00::/129",
            "fd00::1%eth0",
        ] {
            assert_eq!(text.parse::<LocalAccess>(), Err(NotLocalAccess), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_what_is_read_comes_back(
            text in "(in:|out:)?[0-9a-f.:\\[\\]]{0,20}(/[0-9]{1,3})?(:[0-9-]{0,6})?(/(tcp|\\PC))?"
        ) {
            if let Ok(access) = text.parse::<LocalAccess>() {
                prop_assert_eq!(access.to_string().parse(), Ok(access));
            }
        }
    }
}
