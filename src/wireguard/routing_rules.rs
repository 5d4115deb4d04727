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

impl RoutingRule {
    /// Whether preference and shape together are nobody else's.
    fn is_unmistakable(&self) -> bool {
        let is_tunnels = |number: u32| number >= paths::FWMARK;
        match self.selector {
            Selector::Mark(mark) => {
                self.preference == MARK_PREFERENCE && is_tunnels(mark) && self.table == MAIN_TABLE
            }
            Selector::To(range) => {
                self.preference == PINNED_PREFERENCE
                    && range.prefix_len() == 32
                    && is_tunnels(self.table)
            }
        }
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
    let batch = changes(wanted, &routing_policy::rules(AddressFamily::Inet)?);
    if batch.is_empty() {
        return Ok(());
    }
    Command::new("ip", ["-4", "-batch", "-"])
        .input(batch)
        .run(stop)?;
    Ok(())
}

/// What makes `wanted` of the rules that the kernel lists, for `ip -batch`.
fn changes(wanted: &[RoutingRule], listed: &[KernelRule]) -> String {
    let kept = routing_policy::keep_protocols(listed);
    let is_candidate = |rule: &&KernelRule| !kept || rule.protocol == RULE_PROTOCOL;
    let candidates = listed.iter().filter(is_candidate);
    let present: Vec<RoutingRule> = candidates.filter_map(by_shape).collect();
    let mut batch = String::new();
    // First in, then out: a range that stays never has a moment without its rule.
    for rule in wanted.iter().filter(|rule| !present.contains(rule)) {
        batch.push_str(&format!("rule add {rule}\n"));
    }
    let is_ours = |rule: &&RoutingRule| kept || rule.is_unmistakable();
    let surplus = present.iter().filter(|rule| !wanted.contains(rule));
    for rule in surplus.filter(is_ours) {
        batch.push_str(&format!("rule del {rule}\n"));
    }
    batch
}

/// One of [`rules`], if it is ours; wg-quick's and the firewall's, of our protocol too, are not.
fn by_shape(rule: &KernelRule) -> Option<RoutingRule> {
    let selector = match (rule.to, rule.mark) {
        (Some(IpNet::V4(range)), None) => Selector::To(range),
        (None, Some(mark)) => Selector::Mark(mark),
        _ => return None,
    };
    let is_one = !rule.is_inverted && !rule.is_blackhole && !rule.has_other_selectors;
    is_one.then_some(RoutingRule {
        preference: rule.preference,
        selector,
        table: rule.table,
    })
}

/// The same where the kernel keeps no protocol: one that nobody else makes. For a range of
/// `LOCAL_NETWORK` others have such rules, too.
pub(super) fn unmistakable(rule: &KernelRule) -> Option<RoutingRule> {
    by_shape(rule).filter(RoutingRule::is_unmistakable)
}

/// Whether wg-quick's rule is there that leads into the tunnel with this mark. `wg-quick down`
/// takes it away before the interface; it stays where the interface is deleted, or the program that
/// carries it ends. Where the kernel does not tell, it is taken to be there.
pub fn lead_into_tunnel(mark: u32) -> bool {
    routing_policy::rules(AddressFamily::Inet).map_or(true, |rules| do_lead(&rules, mark))
}

fn do_lead(rules: &[KernelRule], mark: u32) -> bool {
    let kept = routing_policy::keep_protocols(rules);
    rules.iter().any(|rule| {
        rule.is_inverted
            && rule.mark == Some(mark)
            && rule.table == mark
            && (!kept || rule.protocol == RULE_PROTOCOL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rules: Vec<RoutingRule>) -> Vec<String> {
        rules.iter().map(ToString::to_string).collect()
    }

    fn added(to: Option<&str>, mark: Option<u32>, table: u32) -> KernelRule {
        KernelRule {
            preference: 9,
            to: to.map(|range| range.parse().unwrap()),
            mark,
            table,
            protocol: RULE_PROTOCOL,
            ..KernelRule::default()
        }
    }

    #[test]
    fn what_is_listed_is_what_was_added() {
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
            changes(&[], &listed),
            "rule del to 10.0.0.243/32 lookup 51820 pref 9 protocol 51\n\
             rule del fwmark 0xca6d lookup 254 pref 9 protocol 51\n"
        );
    }

    /// As Linux lists them before 4.17.
    #[test]
    fn where_the_kernel_keeps_no_protocol_rules_are_known_by_their_shape() {
        let range: Ipv4Net = "192.168.1.0/24".parse().unwrap();
        let dns = Ipv4Addr::new(192, 168, 1, 243);
        let wanted = rules(&[range], &[], &[dns], 51821);
        let listed = |of_ours: &[KernelRule]| {
            let of_kernel = added(None, None, MAIN_TABLE);
            let rules = of_ours.iter().cloned().chain([of_kernel]);
            let rules = rules.map(|rule| KernelRule {
                protocol: 0,
                ..rule
            });
            rules.collect::<Vec<_>>()
        };
        let at = |preference: u32, rule: KernelRule| KernelRule { preference, ..rule };
        let pin = at(9, added(Some("192.168.1.243/32"), None, 51821));
        let local = at(10, added(Some("192.168.1.0/24"), None, MAIN_TABLE));
        let marked = at(8, added(None, Some(51821), MAIN_TABLE));
        assert_eq!(changes(&wanted, &listed(&[])).matches("add").count(), 3);
        let all = listed(&[marked.clone(), pin.clone(), local.clone()]);
        assert_eq!(changes(&wanted, &all), "");
        // What may be a user's own stays.
        let to_host = at(9, added(Some("192.168.1.5/32"), None, 100));
        let past = at(8, added(None, Some(1), MAIN_TABLE));
        let listed = listed(&[marked, past, pin, to_host, local]);
        assert_eq!(
            changes(&[], &listed),
            "rule del fwmark 0xca6d lookup 254 pref 8 protocol 51\n\
             rule del to 192.168.1.243/32 lookup 51821 pref 9 protocol 51\n"
        );
    }

    #[test]
    fn wg_quick_s_rule_is_known_also_where_the_kernel_keeps_no_protocol() {
        let of = |protocol: u8| KernelRule {
            is_inverted: true,
            protocol,
            ..added(None, Some(51820), 51820)
        };
        let of_kernel = KernelRule {
            protocol: 2,
            ..added(None, None, MAIN_TABLE)
        };
        assert!(do_lead(&[of(0)], 51820));
        assert!(!do_lead(&[of(0)], 51821));
        assert!(do_lead(&[of(RULE_PROTOCOL), of_kernel.clone()], 51820));
        assert!(!do_lead(&[of(0), of_kernel], 51820));
        assert!(!do_lead(&[], 51820));
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
