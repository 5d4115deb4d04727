//! `VPNDNS`: the container's name servers while the tunnel is up.

use std::net::Ipv4Addr;

use super::read::{Read, Value, list};
use super::variable::Variable;
use super::warning::Warning;

/// The container's name servers while the tunnel is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VpnDns {
    /// Those that the registration names.
    Pia,
    /// `VPNDNS=0`: leave `/etc/resolv.conf` alone.
    Unchanged,
    /// These.
    Custom(Vec<Ipv4Addr>),
}

impl Read for VpnDns {
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let Some(text) = text else { return Self::Pia };
        if text.trim() == "0" {
            return Self::Unchanged;
        }
        let mut servers = Vec::new();
        for part in list(text) {
            match part.parse() {
                Ok(server) => servers.push(server),
                Err(_) => {
                    warnings.push(variable.unfit(part, Ipv4Addr::EXPECTED, "it is left out"));
                }
            }
        }
        if servers.is_empty() {
            warnings.push(variable.warning("no usable address", "PIA's DNS servers are used"));
            return Self::Pia;
        }
        Self::Custom(servers)
    }
}
