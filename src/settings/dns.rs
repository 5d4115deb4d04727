//! `VPNDNS`: the container's name servers while the tunnel is up.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::read::{Read, list};
use super::values::is_domain_name;
use super::variable::Variable;
use super::warning::Warning;

/// The container's name servers while the tunnel is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VpnDns {
    /// Those that the registration names.
    Pia,
    /// `VPNDNS=0`: leave `/etc/resolv.conf` alone.
    Unchanged,
    /// These, and domains in which short names are looked up. Without a server those of
    /// [`Self::Pia`] hold.
    Custom {
        servers: Vec<Ipv4Addr>,
        search: Vec<String>,
    },
}

impl VpnDns {
    /// Whether the servers are those that the registration names, which lie inside the tunnel.
    pub fn uses_pia(&self) -> bool {
        match self {
            Self::Pia => true,
            Self::Custom { servers, .. } => servers.is_empty(),
            Self::Unchanged => false,
        }
    }

    /// The domains in which short names are looked up.
    pub fn search(&self) -> &[String] {
        match self {
            Self::Custom { search, .. } => search,
            Self::Pia | Self::Unchanged => &[],
        }
    }
}

impl Read for VpnDns {
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let Some(text) = text else { return Self::Pia };
        if text.trim() == "0" {
            return Self::Unchanged;
        }
        let (mut servers, mut search) = (Vec::new(), Vec::new());
        for part in list(text) {
            if let Ok(server) = part.parse() {
                servers.push(server);
            } else if part.parse::<Ipv6Addr>().is_ok() {
                let problem =
                    format!("{part} is an IPv6 address, and the tunnel carries IPv4 alone");
                warnings.push(variable.warning(problem, "it is left out"));
            } else if is_domain_name(part) {
                search.push(part.to_owned());
            } else {
                let expected = "an IPv4 address or a search domain";
                warnings.push(variable.unfit(part, expected, "it is left out"));
            }
        }
        if servers.is_empty() && search.is_empty() {
            let consequence = "PIA's DNS servers are used";
            warnings.push(variable.warning("no usable address", consequence));
            return Self::Pia;
        }
        Self::Custom { servers, search }
    }
}
