//! Routing rules around the tunnel: ranges of the LAN that bypass it, addresses that must not.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::WireGuardError;
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::paths::{self, RULE_PROTOCOL};
use crate::system::routing_policy::{self, AddressFamily, KernelRule, MAIN_TABLE};

/// Preference of the rules for `LOCAL_NETWORK`, as in the original.
const LOCAL_PREFERENCE: u32 = 10;
/// Preference of the rules that keep the VPN's own addresses in the tunnel: before the former.
const PINNED_PREFERENCE: u32 = 9;
/// Preference of the rule that keeps the tunnel's own packets out of another tunnel: before all.
const MARK_PREFERENCE: u32 = 8;

/// One `ip rule` of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoutingRule {
    preference: u32,
    selector: Selector,
    /// The main one, or the tunnel's.
    table: u32,
}

/// Which packets a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Selector {
    Mark(u32),
    To(Ipv4Net),
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mark(mark) => write!(f, "fwmark {mark:#x}"),
            Self::To(range) => write!(f, "to {range}"),
        }
    }
}

impl std::fmt::Display for RoutingRule {
    /// As `ip rule add` and `del` take it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            preference,
            selector,
            table,
        } = self;
        write!(
            f,
            "{selector} lookup {table} pref {preference} protocol {RULE_PROTOCOL}"
        )
    }
}

/// The rules for these ranges. An address among `inside` (DNS servers of the VPN, the port
/// forwarding gateway) that a range or an attached network covers is routed into the tunnel all the
/// same. `mark` is the tunnel's, and its table; where it is not the usual one, there is another
/// tunnel, and ours must not lead through it while it leads through ours.
pub fn rules(
    local: &[Ipv4Net],
    attached: &[Ipv4Net],
    inside: &[Ipv4Addr],
    mark: u32,
) -> Vec<RoutingRule> {
    let covered = |address: &Ipv4Addr| {
        local
            .iter()
            .chain(attached)
            .any(|range| range.contains(address))
    };
    let pinned = inside
        .iter()
        .filter(|address| covered(address))
        .map(|address| RoutingRule {
            preference: PINNED_PREFERENCE,
            selector: Selector::To(Ipv4Net::from(*address)),
            table: mark,
        });
    let ranges = local.iter().map(|range| RoutingRule {
        preference: LOCAL_PREFERENCE,
        selector: Selector::To(*range),
        table: MAIN_TABLE,
    });
    let past_others = (mark != paths::FWMARK).then_some(RoutingRule {
        preference: MARK_PREFERENCE,
        selector: Selector::Mark(mark),
        table: MAIN_TABLE,
    });
    let mut rules: Vec<RoutingRule> = pinned.chain(ranges).chain(past_others).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Makes exactly `wanted` of our rules hold: rules of an earlier life or of the last server go,
/// missing ones come.
///
/// # Errors
/// When the kernel does not list its rules, or `ip` fails.
pub fn apply(wanted: &[RoutingRule], stop: &CancellationToken) -> Result<(), WireGuardError> {
    let listed = routing_policy::rules(AddressFamily::Inet)?;
    let present: Vec<RoutingRule> = listed.iter().filter_map(ours).collect();
    let mut batch = String::new();
    // First in, then out: a range that stays never has a moment without its rule.
    for rule in wanted.iter().filter(|rule| !present.contains(rule)) {
        batch.push_str(&format!("rule add {rule}\n"));
    }
    for rule in present.iter().filter(|rule| !wanted.contains(rule)) {
        batch.push_str(&format!("rule del {rule}\n"));
    }
    if batch.is_empty() {
        return Ok(());
    }
    Command::new("ip", ["-4", "-batch", "-"])
        .input(batch)
        .run(stop)?;
    Ok(())
}

/// One of [`rules`]; wg-quick's and the firewall's, of our protocol too, are not.
fn ours(rule: &KernelRule) -> Option<RoutingRule> {
    let selector = match (rule.to, rule.mark) {
        (Some(IpNet::V4(range)), None) => Selector::To(range),
        (None, Some(mark)) => Selector::Mark(mark),
        _ => return None,
    };
    let is_ours = rule.protocol == RULE_PROTOCOL && !rule.is_inverted && !rule.has_other_selectors;
    is_ours.then_some(RoutingRule {
        preference: rule.preference,
        selector,
        table: rule.table,
    })
}

/// Whether wg-quick's rule is there that leads into the tunnel with this mark. `wg-quick down`
/// takes it away before the interface; it stays where the interface is deleted, or the program that
/// carries it ends. Where the kernel does not tell, it is taken to be there.
pub fn lead_into_tunnel(mark: u32) -> bool {
    let is_it = |rule: &KernelRule| {
        rule.is_inverted
            && rule.mark == Some(mark)
            && rule.table == mark
            && rule.protocol == RULE_PROTOCOL
    };
    routing_policy::rules(AddressFamily::Inet).map_or(true, |rules| rules.iter().any(is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rules: Vec<RoutingRule>) -> Vec<String> {
        rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_listed_is_what_was_added() {
        let added = |to: Option<&str>, mark: Option<u32>, table: u32| KernelRule {
            preference: 9,
            to: to.map(|range| range.parse().unwrap()),
            mark,
            table,
            protocol: RULE_PROTOCOL,
            ..KernelRule::default()
        };
        let pin = added(Some("10.0.0.243/32"), None, 51820);
        let marked = added(None, Some(51821), MAIN_TABLE);
        let tunnel = KernelRule {
            is_inverted: true,
            ..added(None, Some(51820), 51820)
        };
        let others = KernelRule {
            protocol: 0,
            ..pin.clone()
        };
        let plain = added(None, None, MAIN_TABLE);
        let listed = [pin, marked, tunnel, others, plain];
        assert_eq!(
            shown(listed.iter().filter_map(ours).collect()),
            [
                "to 10.0.0.243/32 lookup 51820 pref 9 protocol 51",
                "fwmark 0xca6d lookup 254 pref 9 protocol 51",
            ]
        );
    }

    #[test]
    fn an_address_of_the_vpn_is_pinned_where_a_range_covers_it() {
        let range: Ipv4Net = "10.0.0.0/8".parse().unwrap();
        let dns = Ipv4Addr::new(10, 0, 0, 243);
        let of = |local: &[Ipv4Net], attached: &[Ipv4Net]| {
            shown(rules(local, attached, &[dns], paths::FWMARK))
        };
        let pin = "to 10.0.0.243/32 lookup 51820 pref 9 protocol 51";
        let lan = "to 10.0.0.0/8 lookup 254 pref 10 protocol 51";
        assert_eq!(of(&[range], &[]), [pin, lan]);
        assert_eq!(of(&[], &[range]), [pin]);
        assert_eq!(of(&[], &[]), [""; 0]);
    }

    #[test]
    fn beside_another_tunnel_our_packets_go_past_it() {
        assert_eq!(
            shown(rules(&[], &[], &[], 51821)),
            ["fwmark 0xca6d lookup 254 pref 8 protocol 51"]
        );
    }
}
