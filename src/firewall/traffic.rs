//! What a connection may be for: a protocol, ports of it, or anything.

use std::fmt;
use std::str::FromStr;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// As iptables writes it.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The text says something else than was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTraffic;

impl FromStr for Protocol {
    type Err = NotTraffic;

    fn from_str(text: &str) -> Result<Self, NotTraffic> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(NotTraffic),
        }
    }
}

/// A port, or all from the first to the last; none is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// As users write it: `8096`, `6881-6889`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for PortRange {
    type Err = NotTraffic;

    fn from_str(text: &str) -> Result<Self, NotTraffic> {
        let port = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u16>().ok().filter(|port| *port > 0),
            false => None,
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(NotTraffic),
        }
    }
}

/// What a connection may be for. The port is that of whoever is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrafficKind {
    /// `None` for both; without ports for all that there are.
    pub protocol: Option<Protocol>,
    /// `None` for all.
    pub ports: Option<PortRange>,
}

/// The same for one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched {
    All,
    Protocol {
        protocol: Protocol,
    },
    Ports {
        protocol: Protocol,
        ports: RulePorts,
    },
}

/// As iptables takes them: `8096`, `6881:6889`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RulePorts(PortRange);

impl fmt::Display for RulePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortRange { first, last } = self.0;
        match first == last {
            true => write!(f, "{first}"),
            false => write!(f, "{first}:{last}"),
        }
    }
}

impl TrafficKind {
    /// What rules match it: one for each protocol where it names ports.
    pub(super) fn matched(self) -> Vec<Matched> {
        let with_ports = |protocol, ports| Matched::Ports {
            protocol,
            ports: RulePorts(ports),
        };
        match (self.protocol, self.ports) {
            (None, None) => vec![Matched::All],
            (Some(protocol), None) => vec![Matched::Protocol { protocol }],
            (Some(protocol), Some(ports)) => vec![with_ports(protocol, ports)],
            (None, Some(ports)) => [Protocol::Tcp, Protocol::Udp]
                .map(|protocol| with_ports(protocol, ports))
                .into(),
        }
    }

    /// Reads `8096`, `8096/tcp`, `6881-6889/udp`: at least ports are named.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn of_ports(text: &str) -> Result<Self, NotTraffic> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, Some(protocol.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            protocol,
            ports: Some(ports.parse()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_strictly() {
        for good in ["1", "65535", "6881-6889", "80-80"] {
            assert!(good.parse::<PortRange>().is_ok(), "{good}");
        }
        for bad in [
            "", "0", "+1", "65536", "9-8", "1-", "-1", "1-2-3", "http", "1 2",
        ] {
            assert_eq!(bad.parse::<PortRange>(), Err(NotTraffic), "{bad}");
        }
        let range: PortRange = "6881-6889".parse().unwrap();
        assert_eq!(range.to_string(), "6881-6889");
        assert_eq!(RulePorts(range).to_string(), "6881:6889");
        assert!(
            TrafficKind::of_ports("80/sctp").is_err() && TrafficKind::of_ports("/tcp").is_err()
        );
    }
}
