//! What an earlier life left of the tunnel, told from what is others'.
//!
//! Ours has marks of its own: an alias on the interface, a protocol number on the routing rules. A
//! name or a number that others use too proves nothing: wg0, table and mark 51820 are what every
//! wg-quick takes first.

use std::fs;
use std::path::Path;

use super::{WireGuardError, routing_rules, show};
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::paths::{self, FWMARK, RULE_PROTOCOL};
use crate::system::routing_policy::{self, AddressFamily, KernelRule, MAIN_TABLE};

/// On our interface, from its first moment: see `scripts/wg-quick.bash`.
pub(super) const ALIAS: &str = "wireguard-pia";
const INTERFACES: &str = "/sys/class/net";
/// Where PIA's servers have WireGuard, as a rule.
const PIA_PORT: &str = "1337";

/// Takes away the interface and the rules of an earlier life that ended without its shutdown, and
/// returns the number that the tunnel can have as its mark and table.
///
/// # Errors
/// When an interface of our name is somebody else's, which is left as it is, or `ip` fails.
pub fn remove(stop: &CancellationToken) -> Result<u32, WireGuardError> {
    if !is_interface_ours(stop) {
        return Err(WireGuardError::ForeignInterface);
    }
    if show::exists() {
        log::info!("Removing {} of an earlier life", paths::INTERFACE);
        Command::new("ip", ["link", "delete", "dev", paths::INTERFACE]).run(stop)?;
    }
    for name in renamed() {
        log::info!("Removing {name}, which was {}", paths::INTERFACE);
        Command::new("ip", ["link", "delete", "dev", &name]).run(stop)?;
    }
    let mut of_others = Vec::new();
    for (flag, family) in [("-4", AddressFamily::Inet), ("-6", AddressFamily::Inet6)] {
        // The kernel may not have IPv6.
        let Ok(rules) = routing_policy::rules(family) else {
            continue;
        };
        let is_stale = rules.iter().any(is_tunnel_rule_of_others) && !has_routes(flag, stop);
        let kept = routing_policy::keep_protocols(&rules);
        let (leftovers, others): (Vec<_>, Vec<_>) = rules
            .into_iter()
            .partition(|rule| is_leftover(rule, is_stale, kept));
        if !leftovers.is_empty() {
            Command::new("ip", [flag, "-force", "-batch", "-"])
                .input(deletion(&leftovers))
                .run(stop)?;
        }
        of_others.extend(others);
    }
    let mark = free_number(&of_others);
    if mark != FWMARK {
        log::info!("Table and mark {FWMARK} are another tunnel's; ours are {mark}");
    }
    Ok(mark)
}

/// Interfaces with our mark that somebody has given another name: each has our routes still, which
/// keeps the next from getting them.
fn renamed() -> Vec<String> {
    let mut names = Vec::new();
    for interface in fs::read_dir(INTERFACES).into_iter().flatten().flatten() {
        let alias = fs::read_to_string(interface.path().join("ifalias"));
        let name = interface.file_name().to_string_lossy().into_owned();
        if name != paths::INTERFACE && alias.is_ok_and(|alias| alias.trim() == ALIAS) {
            names.push(name);
        }
    }
    names
}

/// The mark of the tunnel that is up, else the usual one.
pub fn mark_in_use(stop: &CancellationToken) -> u32 {
    let shown = Command::new("wg", ["show", paths::INTERFACE, "fwmark"]);
    match show::exists() {
        true => shown
            .run(stop)
            .ok()
            .and_then(|text| parse_mark(text.trim())),
        false => None,
    }
    .unwrap_or(FWMARK)
}

fn parse_mark(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Whether the interface of our name is ours: by its alias, or, without any, by the shape that the
/// original gives it. Where there is none, or one that nobody has set up, the name is ours to take.
pub fn is_interface_ours(stop: &CancellationToken) -> bool {
    if !show::exists() {
        return true;
    }
    let alias = Path::new(INTERFACES).join(paths::INTERFACE).join("ifalias");
    match fs::read_to_string(alias).unwrap_or_default().trim() {
        ALIAS => true,
        "" => {
            let dump = Command::new("wg", ["show", paths::INTERFACE, "dump"]).run(stop);
            let conf = fs::read_to_string(paths::WG_CONF).unwrap_or_default();
            dump.is_ok_and(|dump| is_empty(&dump) || has_shape_of_the_original(&dump, &conf))
        }
        _ => false,
    }
}

/// Nothing was set yet: a life ended while wg-quick made the interface.
fn is_empty(dump: &str) -> bool {
    let fields: Vec<&str> = dump.trim_end().split('\t').collect();
    matches!(fields.as_slice(), ["(none)", "(none)", _port, "off"])
}

/// The usual mark, and one peer for everything, which is at a port of PIA's or stands in the
/// configuration here.
pub(super) fn has_shape_of_the_original(dump: &str, conf: &str) -> bool {
    let lines: Vec<Vec<&str>> = dump
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let [interface, peer] = lines.as_slice() else {
        return false;
    };
    let (Some(mark), [key, _, endpoint, allowed, ..]) = (interface.get(3), peer.as_slice()) else {
        return false;
    };
    let is_pias = endpoint.rsplit(':').next() == Some(PIA_PORT) || conf.contains(key);
    parse_mark(mark) == Some(FWMARK) && *allowed == "0.0.0.0/0" && is_pias
}

fn is_tunnel_rule_of_others(rule: &KernelRule) -> bool {
    is_tunnel_rule(rule) && rule.protocol != RULE_PROTOCOL
}

/// Whether the usual table has routes, so that somebody's tunnel uses it.
fn has_routes(family: &str, stop: &CancellationToken) -> bool {
    let table = FWMARK.to_string();
    let routes = Command::new("ip", [family, "route", "show", "table", &table]);
    // A table that never had a route is an error.
    routes.run(stop).is_ok_and(|text| !text.trim().is_empty())
}

/// wg-quick's first rule: what is not the tunnel's goes into it.
fn is_tunnel_rule(rule: &KernelRule) -> bool {
    rule.is_inverted && rule.mark == Some(FWMARK) && rule.table == FWMARK
}

/// wg-quick's second rule: but for what has a route of its own.
fn is_suppress_rule(rule: &KernelRule) -> bool {
    rule.table == MAIN_TABLE && rule.suppressed_prefix_length == Some(0)
}

/// Whether a rule is one of an earlier life's tunnel. `is_stale` is whether wg-quick's unmarked
/// rules are those of a tunnel that is gone, `kept` whether the kernel keeps protocols.
fn is_leftover(rule: &KernelRule, is_stale: bool, kept: bool) -> bool {
    match rule.protocol {
        // The blackhole is the firewall's, which takes it back itself.
        RULE_PROTOCOL => !rule.is_blackhole,
        _ if !kept && routing_rules::unmistakable(rule).is_some() => true,
        _ => is_stale && (is_tunnel_rule(rule) || is_suppress_rule(rule)),
    }
}

/// For `ip -batch`.
fn deletion(rules: &[KernelRule]) -> String {
    let mut batch = String::new();
    for rule in rules {
        let which = match (rule.protocol, routing_rules::unmistakable(rule)) {
            (RULE_PROTOCOL, _) => format!("pref {} protocol {RULE_PROTOCOL}", rule.preference),
            // Others may have one of its preference.
            (_, Some(ours)) => ours.to_string(),
            (_, None) => format!("pref {}", rule.preference),
        };
        batch.push_str(&format!("rule del {which}\n"));
    }
    batch
}

/// The first number, from the usual one on, that no rule names as a table or mark.
fn free_number(rules: &[KernelRule]) -> u32 {
    let is_taken = |number: &u32| {
        rules
            .iter()
            .any(|rule| rule.table == *number || rule.mark == Some(*number))
    };
    (FWMARK..)
        .find(|number| !is_taken(number))
        .unwrap_or(FWMARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(preference: u32, table: u32, protocol: u8) -> KernelRule {
        KernelRule {
            preference,
            table,
            protocol,
            ..KernelRule::default()
        }
    }

    /// As wg-quick makes them.
    fn tunnel(number: u32, protocol: u8) -> [KernelRule; 2] {
        [
            KernelRule {
                suppressed_prefix_length: Some(0),
                ..rule(32764, MAIN_TABLE, protocol)
            },
            KernelRule {
                is_inverted: true,
                mark: Some(number),
                ..rule(32765, number, protocol)
            },
        ]
    }

    fn leftovers(rules: &[KernelRule], is_stale: bool) -> String {
        let kept = routing_policy::keep_protocols(rules);
        let found = rules
            .iter()
            .filter(|rule| is_leftover(rule, is_stale, kept));
        deletion(&found.cloned().collect::<Vec<_>>())
    }

    #[test]
    fn only_rules_of_our_protocol_are_ours() {
        let block = KernelRule {
            is_blackhole: true,
            ..rule(1, 0, RULE_PROTOCOL)
        };
        let pin = rule(9, 51821, RULE_PROTOCOL);
        let mut rules = vec![rule(0, 255, 2), block, pin, rule(10, 100, 0)];
        rules.extend(tunnel(51821, RULE_PROTOCOL));
        rules.extend(tunnel(51820, 0));
        assert_eq!(
            leftovers(&rules, false),
            "rule del pref 9 protocol 51\nrule del pref 32764 protocol 51\n\
             rule del pref 32765 protocol 51\n"
        );
    }

    /// As Linux lists them before 4.17.
    #[test]
    fn where_the_kernel_keeps_no_protocol_pins_are_known_by_their_shape() {
        let to = |address: &str, rule: KernelRule| KernelRule {
            to: Some(address.parse().unwrap()),
            ..rule
        };
        let block = KernelRule {
            is_blackhole: true,
            ..rule(1, 0, 0)
        };
        let mut rules = vec![
            rule(0, 255, 0),
            block,
            to("10.0.0.5/32", rule(9, 100, 0)),
            to("10.0.0.243/32", rule(9, 51820, 0)),
            to("10.0.0.0/8", rule(10, MAIN_TABLE, 0)),
        ];
        rules.extend(tunnel(51820, 0));
        let pin = "rule del to 10.0.0.243/32 lookup 51820 pref 9 protocol 51\n";
        assert_eq!(leftovers(&rules, false), pin);
        assert_eq!(
            leftovers(&rules, true),
            format!("{pin}rule del pref 32764\nrule del pref 32765\n")
        );
        // Where it keeps them, it is somebody else's.
        rules.push(rule(32766, MAIN_TABLE, 2));
        assert_eq!(leftovers(&rules, false), "");
    }

    #[test]
    fn rules_of_a_tunnel_that_is_gone_are_taken_away() {
        let others = [tunnel(51820, 0).to_vec(), vec![rule(0, 255, 2)]].concat();
        assert!(others.iter().any(is_tunnel_rule_of_others));
        assert!(
            !tunnel(51820, RULE_PROTOCOL)
                .iter()
                .any(is_tunnel_rule_of_others)
        );
        assert_eq!(
            leftovers(&others, true),
            "rule del pref 32764\nrule del pref 32765\n"
        );
        assert_eq!(leftovers(&others, false), "");
    }

    #[test]
    fn a_number_that_another_tunnel_has_is_not_taken() {
        let mut rules = tunnel(51820, 0).to_vec();
        assert_eq!(free_number(&rules), 51821);
        assert_eq!(free_number(&[rule(0, 255, 2)]), 51820);
        rules.push(KernelRule {
            mark: Some(51821),
            ..rule(5, 7, 0)
        });
        assert_eq!(free_number(&rules), 51822);
    }

    #[test]
    fn an_interface_that_nobody_has_set_up_is_anybodys() {
        assert!(is_empty("(none)\t(none)\t38304\toff\n"));
        assert!(!is_empty("PRIVATE\tPUBLIC\t0\toff\n"));
        assert!(!is_empty(
            "(none)\t(none)\t0\toff\nKEY=\t(none)\t(none)\t(none)\t0\t0\t0\toff\n"
        ));
    }

    #[test]
    fn an_interface_without_alias_is_known_by_the_original_s_shape() {
        let dump = |mark: &str, allowed: &str, endpoint: &str| {
            format!(
                "PRIVATE\tPUBLIC\t49152\t{mark}\n\
                 KEY=\t(none)\t{endpoint}\t{allowed}\t0\t0\t0\toff\n"
            )
        };
        let whole = "0.0.0.0/0";
        let original = dump("0xca6c", whole, "192.0.2.1:1337");
        assert!(has_shape_of_the_original(&original, ""));
        let elsewhere = dump("0xca6c", whole, "192.0.2.1:51820");
        assert!(!has_shape_of_the_original(&elsewhere, ""));
        assert!(has_shape_of_the_original(&elsewhere, "PublicKey = KEY="));
        for foreign in [
            dump("off", whole, "192.0.2.1:1337"),
            dump("0xca6c", "10.0.0.0/8", "192.0.2.1:1337"),
            "PRIVATE\tPUBLIC\t51820\toff\n".to_owned(),
            format!("{original}OTHER=\t(none)\t(none)\t10.0.0.2/32\t0\t0\t0\toff\n"),
        ] {
            assert!(!has_shape_of_the_original(&foreign, ""), "{foreign}");
        }
    }
}
