//! `FWD_IFACE`, `FWD_SOURCES`, `FWD_DNS` and `PF_DEST_IP`: others that use the tunnel.

use super::allowed_sources::AllowedSources;
use super::dns::VpnDns;
use super::variables::{Variables, entry};
use super::warning::Warning;
use crate::firewall::{Gateway, GatewayDns};

/// The gateway that these variables ask for.
pub(super) fn of(variables: &Variables, warnings: &mut Vec<Warning>) -> Option<Gateway> {
    let interfaces: Vec<String> = variables
        .fwd_iface
        .iter()
        .map(|name| name.0.clone())
        .collect();
    if interfaces.is_empty() {
        let without = [
            (variables.pf_dest_ip.is_some(), entry::pf_dest_ip),
            (
                variables.fwd_sources != AllowedSources::all(),
                entry::fwd_sources,
            ),
            (variables.fwd_dns, entry::fwd_dns),
        ];
        for (_, variable) in without.into_iter().filter(|(is_set, _)| *is_set) {
            let problem = format!("{} is not set", entry::fwd_iface.name);
            warnings.push(variable.warning(problem, "it has no effect"));
        }
        return None;
    }
    let mut dns = GatewayDns::Untouched;
    if variables.fwd_dns {
        if variables.vpndns == VpnDns::Unchanged {
            let problem = format!("{}=0 leaves name servers alone", entry::vpndns.name);
            warnings.push(entry::fwd_dns.warning(problem, "it has no effect"));
        } else {
            dns = GatewayDns::Wanted;
        }
    }
    Some(Gateway {
        interfaces,
        sources: variables.fwd_sources.0.clone(),
        dns,
        destination: variables.pf_dest_ip,
    })
}
