//! Routing rules around the tunnel: ranges of the LAN that bypass it, addresses that must not.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths;

/// Marks a rule as ours, as ip-rule(8)'s `protocol`: what others have under our numbers stays.
pub(super) const PROTOCOL: &str = "51";
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
    /// `main`, or the tunnel's table by number.
    table: String,
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
            "{selector} lookup {table} pref {preference} protocol {PROTOCOL}"
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
            table: mark.to_string(),
        });
    let ranges = local.iter().map(|range| RoutingRule {
        preference: LOCAL_PREFERENCE,
        selector: Selector::To(*range),
        table: "main".into(),
    });
    let past_others = (mark != paths::FWMARK).then(|| RoutingRule {
        preference: MARK_PREFERENCE,
        selector: Selector::Mark(mark),
        table: "main".into(),
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
    let shown = Command::new("ip", ["-4", "rule", "show", "protocol", PROTOCOL]).run(stop)?;
    Ok(shown.lines().filter_map(parse).collect())
}

/// One of [`rules`] among those of our protocol; wg-quick's are not.
pub(super) fn parse(line: &str) -> Option<RoutingRule> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [
        preference,
        "from",
        "all",
        kind,
        value,
        "lookup",
        table,
        "proto",
        _,
    ] = words.as_slice()
    else {
        return None;
    };
    let selector = match *kind {
        "to" => Selector::To(
            value
                .parse::<Ipv4Net>()
                .or_else(|_| value.parse::<Ipv4Addr>().map(Ipv4Net::from))
                .ok()?,
        ),
        "fwmark" => {
            let digits = value.strip_prefix("0x")?;
            Selector::Mark(u32::from_str_radix(digits, 16).ok()?)
        }
        _ => return None,
    };
    Some(RoutingRule {
        preference: preference.strip_suffix(':')?.parse().ok()?,
        selector,
        table: (*table).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "9:\tfrom all to 10.0.0.243 lookup 51820 proto 51\n\
        10:\tfrom all to 192.168.77.0/24 lookup main proto 51\n\
        8:\tfrom all fwmark 0xca6d lookup main proto 51\n\
        32764:\tfrom all lookup main suppress_prefixlength 0 proto 51\n\
        32765:\tnot from all fwmark 0xca6c lookup 51820 proto 51\n";

    fn shown(rules: Vec<RoutingRule>) -> Vec<String> {
        rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_shown_is_what_was_added() {
        assert_eq!(
            shown(SHOWN.lines().filter_map(parse).collect()),
            [
                "to 10.0.0.243/32 lookup 51820 pref 9 protocol 51",
                "to 192.168.77.0/24 lookup main pref 10 protocol 51",
                "fwmark 0xca6d lookup main pref 8 protocol 51",
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
        let lan = "to 10.0.0.0/8 lookup main pref 10 protocol 51";
        assert_eq!(of(&[range], &[]), [pin, lan]);
        assert_eq!(of(&[], &[range]), [pin]);
        assert_eq!(of(&[], &[]), [""; 0]);
    }

    #[test]
    fn beside_another_tunnel_our_packets_go_past_it() {
        assert_eq!(
            shown(rules(&[], &[], &[], 51821)),
            ["fwmark 0xca6d lookup main pref 8 protocol 51"]
        );
    }
}
