//! Routing rules around the tunnel: ranges of the LAN that bypass it, addresses that must not.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths;

/// Preference of the rules for `LOCAL_NETWORK`, as in the original.
const LOCAL_PREFERENCE: u32 = 10;
/// Preference of the rules that keep the VPN's own addresses in the tunnel: before the former.
const PINNED_PREFERENCE: u32 = 9;

/// One `ip rule` of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoutingRule {
    preference: u32,
    to: Ipv4Net,
    /// `main`, or the tunnel's table by number.
    table: String,
}

impl std::fmt::Display for RoutingRule {
    /// As `ip rule add` and `del` take it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "to {} lookup {} pref {}",
            self.to, self.table, self.preference
        )
    }
}

/// The rules for these ranges. An address among `inside` (DNS servers of the VPN, the port
/// forwarding gateway) that a range or an attached network covers is routed into the tunnel all the
/// same.
pub fn rules(local: &[Ipv4Net], attached: &[Ipv4Net], inside: &[Ipv4Addr]) -> Vec<RoutingRule> {
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
            to: Ipv4Net::from(*address),
            table: paths::FWMARK.to_string(),
        });
    let ranges = local.iter().map(|range| RoutingRule {
        preference: LOCAL_PREFERENCE,
        to: *range,
        table: "main".into(),
    });
    let mut rules: Vec<RoutingRule> = pinned.chain(ranges).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Makes exactly `wanted` of our rules hold: rules of an earlier life or of the last server go,
/// missing ones come.
///
/// # Errors
/// When `ip` fails.
pub fn apply(wanted: &[RoutingRule], stop: &CancellationToken) -> Result<(), CommandError> {
    let present = present(stop)?;
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
        .run(stop)
        .map(drop)
}

fn present(stop: &CancellationToken) -> Result<Vec<RoutingRule>, CommandError> {
    Ok(parse(
        &Command::new("ip", ["-4", "rule", "show"]).run(stop)?,
    ))
}

/// Ours among the rules that `ip -4 rule show` lists: of our preferences and our shape.
fn parse(text: &str) -> Vec<RoutingRule> {
    text.lines().filter_map(parse_rule).collect()
}

fn parse_rule(line: &str) -> Option<RoutingRule> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [preference, "from", "all", "to", to, "lookup", table] = words.as_slice() else {
        return None;
    };
    let preference = preference.strip_suffix(':')?.parse().ok()?;
    let to = to
        .parse::<Ipv4Net>()
        .or_else(|_| to.parse::<Ipv4Addr>().map(Ipv4Net::from))
        .ok()?;
    let ours = match preference {
        LOCAL_PREFERENCE => *table == "main",
        PINNED_PREFERENCE => *table == paths::FWMARK.to_string(),
        _ => false,
    };
    ours.then(|| RoutingRule {
        preference,
        to,
        table: (*table).to_owned(),
    })
}

/// Takes away wg0 and wg-quick's routing rules of an earlier life that ended without its shutdown.
///
/// # Errors
/// When `ip` fails.
pub fn remove_leftovers(stop: &CancellationToken) -> Result<(), CommandError> {
    if super::show::exists() {
        log::info!("Removing {} of an earlier life", paths::INTERFACE);
        Command::new("ip", ["link", "delete", "dev", paths::INTERFACE]).run(stop)?;
    }
    for family in ["-4", "-6"] {
        let Ok(text) = Command::new("ip", [family, "rule", "show"]).run(stop) else {
            continue;
        };
        let batch: String = leftover_rules(&text)
            .iter()
            .map(|rule| format!("rule del {rule}\n"))
            .collect();
        if !batch.is_empty() {
            Command::new("ip", [family, "-force", "-batch", "-"])
                .input(batch)
                .run(stop)?;
        }
    }
    Ok(())
}

/// wg-quick's two rules a family, as `ip rule del` takes them.
fn leftover_rules(text: &str) -> Vec<String> {
    let table = paths::FWMARK.to_string();
    let mark = format!("{:#x}", paths::FWMARK);
    text.lines()
        .filter_map(|line| {
            let (preference, rule) = line.split_once(':')?;
            let words: Vec<&str> = rule.split_whitespace().collect();
            match words.as_slice() {
                ["not", "from", "all", "fwmark", found, "lookup", in_table]
                    if *found == mark && *in_table == table =>
                {
                    Some(format!("pref {preference} not fwmark {mark} table {table}"))
                }
                [
                    "from",
                    "all",
                    "lookup",
                    "main",
                    "suppress_prefixlength",
                    "0",
                ] => Some(format!(
                    "pref {preference} table main suppress_prefixlength 0"
                )),
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "0:\tfrom all lookup local\n9:\tfrom all to 10.0.0.243 lookup 51820\n\
        10:\tfrom all to 192.168.77.0/24 lookup main\n10:\tfrom all to 10.1.0.0/16 lookup 100\n\
        32764:\tfrom all lookup main suppress_prefixlength 0\n32765:\tnot from all fwmark 0xca6c \
        lookup 51820\n\
        32766:\tfrom all lookup main\n";

    #[test]
    fn only_rules_of_our_shape_are_ours() {
        let rules: Vec<String> = parse(SHOWN).iter().map(ToString::to_string).collect();
        assert_eq!(
            rules,
            [
                "to 10.0.0.243/32 lookup 51820 pref 9",
                "to 192.168.77.0/24 lookup main pref 10"
            ]
        );
    }

    #[test]
    fn wg_quicks_rules_are_recognised() {
        assert_eq!(
            leftover_rules(SHOWN),
            [
                "pref 32764 table main suppress_prefixlength 0",
                "pref 32765 not fwmark 0xca6c table 51820"
            ]
        );
    }

    #[test]
    fn an_address_of_the_vpn_is_pinned_where_a_range_covers_it() {
        let range: Ipv4Net = "10.0.0.0/8".parse().unwrap();
        let dns = Ipv4Addr::new(10, 0, 0, 243);
        let shown =
            |rules: Vec<RoutingRule>| rules.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            shown(rules(&[range], &[], &[dns])),
            [
                "to 10.0.0.243/32 lookup 51820 pref 9",
                "to 10.0.0.0/8 lookup main pref 10"
            ]
        );
        assert_eq!(
            shown(rules(&[], &[range], &[dns])),
            ["to 10.0.0.243/32 lookup 51820 pref 9"]
        );
        assert_eq!(shown(rules(&[], &[], &[dns])), [""; 0]);
    }
}
