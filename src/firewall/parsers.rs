//! What reads the output of `iptables-save` and `nft`, and what iptables-restore is given, as
//! functions of the text alone: for the fuzzer (`tests/fuzz`).

use std::net::Ipv4Addr;

use super::arrivals;
use super::cleanup::{self, InUse};
use super::dropped;
use super::error::FirewallError;
use super::policy::Policy;
use super::rules;
use super::tables::Family;
use super::wg_quick_rule;
use super::wire::Stamping;

/// What iptables-restore is told to take away of an earlier life's rules.
pub fn removal(saved: &str, interface: &str) -> String {
    cleanup::removal(saved, &InUse::default(), Some(interface))
}

/// What has come in by a forwarded port.
pub fn arrived(saved: &str, port: u16) -> Option<u64> {
    arrivals::arrivals_in(saved, port)
}

/// How many packets were dropped, by what `iptables-save -c` and `nft list` may say.
pub fn dropped(saved: &str) -> u64 {
    let counts = [dropped::in_filter(saved), dropped::in_egress(saved)];
    let counts = counts.iter().flat_map(|counts| counts.values());
    counts.fold(0, |sum, count| sum.saturating_add(*count))
}

/// What iptables-restore and nft are told where the tunnel's address changes.
pub fn moved(saved: &str, interface: &str, old: Ipv4Addr, new: Ipv4Addr) -> [Option<String>; 2] {
    [
        wg_quick_rule::moved(saved, interface, old, new),
        wg_quick_rule::moved_in_nft(saved, interface, old, new),
    ]
}

/// The whole rule set of both families, as iptables-restore reads it.
///
/// # Errors
/// When an interface has a name that cannot stand in a rule.
pub fn rule_set(policy: &Policy, strict_rp_filter: bool) -> Result<String, FirewallError> {
    let mut text = String::new();
    for family in [Family::V4, Family::V6] {
        for table in rules::render(policy, family, strict_rp_filter, Stamping::default())? {
            text.push_str(&table.to_string());
        }
    }
    Ok(text)
}
