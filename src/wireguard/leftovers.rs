//! What an earlier life left of the tunnel, told from what is others'.
//!
//! Ours has marks of its own: an alias on the interface, a protocol number on the routing rules. A
//! name or a number that others use too proves nothing: wg0, table and mark 51820 are what every
//! wg-quick takes first.

use std::fs;
use std::path::Path;

use super::routing_rules::PROTOCOL;
use super::{WireGuardError, show};
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::paths;

/// On our interface, from its first moment: see `scripts/wg-quick.bash`.
pub(super) const ALIAS: &str = "wireguard-pia";
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
    let mut listed = String::new();
    for family in ["-4", "-6"] {
        let Ok(rules) = Command::new("ip", [family, "rule", "show"]).run(stop) else {
            continue;
        };
        let is_stale = is_tunnel_rule_of_others(&rules) && !has_routes(family, stop);
        let (leftovers, others) = sort_out(&rules, is_stale);
        if !leftovers.is_empty() {
            Command::new("ip", [family, "-force", "-batch", "-"])
                .input(leftovers)
                .run(stop)?;
        }
        listed.push_str(&others);
    }
    let mark = free_number(&listed);
    if mark != paths::FWMARK {
        log::info!(
            "Table and mark {} are another tunnel's; ours are {mark}",
            paths::FWMARK
        );
    }
    Ok(mark)
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
    .unwrap_or(paths::FWMARK)
}

fn parse_mark(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Whether the interface of our name is ours: by its alias, or, without any, by the shape that the
/// original gives it. Where there is none, the name is ours to take.
pub fn is_interface_ours(stop: &CancellationToken) -> bool {
    if !show::exists() {
        return true;
    }
    let alias = Path::new("/sys/class/net")
        .join(paths::INTERFACE)
        .join("ifalias");
    match fs::read_to_string(alias).unwrap_or_default().trim() {
        ALIAS => true,
        "" => {
            let dump = Command::new("wg", ["show", paths::INTERFACE, "dump"]).run(stop);
            let conf = fs::read_to_string(paths::WG_CONF).unwrap_or_default();
            dump.is_ok_and(|dump| has_shape_of_the_original(&dump, &conf))
        }
        _ => false,
    }
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
    parse_mark(mark) == Some(paths::FWMARK) && *allowed == "0.0.0.0/0" && is_pias
}

fn is_tunnel_rule_of_others(rules: &str) -> bool {
    rules
        .lines()
        .any(|line| shape(line) == Some(Shape::Tunnel) && !is_marked(line))
}

/// Whether the usual table has routes, so that somebody's tunnel uses it.
fn has_routes(family: &str, stop: &CancellationToken) -> bool {
    let table = paths::FWMARK.to_string();
    let routes = Command::new("ip", [family, "route", "show", "table", &table]);
    // A table that never had a route is an error.
    routes.run(stop).is_ok_and(|text| !text.trim().is_empty())
}

/// wg-quick's two rules a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// What is not the tunnel's goes into it.
    Tunnel,
    /// But for what has a route of its own.
    Suppress,
}

fn shape(line: &str) -> Option<Shape> {
    let table = paths::FWMARK.to_string();
    let mark = format!("{:#x}", paths::FWMARK);
    let (_, rule) = line.split_once(':')?;
    let words: Vec<&str> = rule.split_whitespace().collect();
    match words.as_slice() {
        [
            "not",
            "from",
            "all",
            "fwmark",
            found,
            "lookup",
            in_table,
            ..,
        ] if *found == mark && *in_table == table => Some(Shape::Tunnel),
        [
            "from",
            "all",
            "lookup",
            "main",
            "suppress_prefixlength",
            "0",
            ..,
        ] => Some(Shape::Suppress),
        _ => None,
    }
}

fn is_marked(line: &str) -> bool {
    line.split_once(" proto ")
        .is_some_and(|(_, protocol)| protocol.trim() == PROTOCOL)
}

/// What `ip -batch` needs to delete our rules, and the others' as they are listed. `is_stale` is
/// whether wg-quick's unmarked rules are those of a tunnel that is gone.
pub(super) fn sort_out(rules: &str, is_stale: bool) -> (String, String) {
    let (mut ours, mut others) = (String::new(), String::new());
    for line in rules.lines() {
        let Some((preference, rule)) = line.split_once(':') else {
            continue;
        };
        let Ok(preference) = preference.parse::<u32>() else {
            continue;
        };
        // The blackhole is the firewall's, which takes it back itself.
        let is_tunnels = is_marked(line) && !rule.contains("blackhole");
        if is_tunnels {
            ours.push_str(&format!("rule del pref {preference} protocol {PROTOCOL}\n"));
        } else if is_stale && shape(line).is_some() {
            ours.push_str(&format!("rule del pref {preference}\n"));
        } else {
            others.push_str(line);
            others.push('\n');
        }
    }
    (ours, others)
}

/// The first number, from the usual one on, that no rule names as a table or mark.
pub(super) fn free_number(rules: &str) -> u32 {
    let is_taken = |number: u32| {
        let (table, mark) = (number.to_string(), format!("{number:#x}"));
        rules
            .split([' ', '\n', '/'])
            .any(|word| word == table || word == mark)
    };
    (paths::FWMARK..)
        .find(|number| !is_taken(*number))
        .unwrap_or(paths::FWMARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: &str = "0:\tfrom all lookup local\n\
        10:\tfrom all to 10.1.0.0/16 lookup 100\n\
        32764:\tfrom all lookup main suppress_prefixlength 0\n\
        32765:\tnot from all fwmark 0xca6c lookup 51820\n\
        32766:\tfrom all lookup main\n";
    const OURS: &str = "1:\tfrom all blackhole proto 51\n\
        9:\tfrom all to 10.0.0.243 lookup 51821 proto 51\n\
        32762:\tfrom all lookup main suppress_prefixlength 0 proto 51\n\
        32763:\tnot from all fwmark 0xca6d lookup 51821 proto 51\n";

    #[test]
    fn only_rules_of_our_protocol_are_ours() {
        let (ours, others) = sort_out(&format!("{OURS}{OTHERS}"), false);
        assert_eq!(
            ours,
            "rule del pref 9 protocol 51\nrule del pref 32762 protocol 51\n\
             rule del pref 32763 protocol 51\n"
        );
        assert_eq!(
            others,
            format!("{}{OTHERS}", "1:\tfrom all blackhole proto 51\n")
        );
    }

    #[test]
    fn rules_of_a_tunnel_that_is_gone_are_taken_away() {
        assert!(is_tunnel_rule_of_others(OTHERS) && !is_tunnel_rule_of_others(OURS));
        let (ours, others) = sort_out(OTHERS, true);
        assert_eq!(ours, "rule del pref 32764\nrule del pref 32765\n");
        assert_eq!(free_number(&others), 51820);
    }

    #[test]
    fn what_has_no_number_in_front_is_no_rule() {
        let odd = "9 lookup 7:\tfrom all lookup main proto 51\n:\tfrom all proto 51\n";
        assert_eq!(sort_out(odd, true), (String::new(), String::new()));
    }

    #[test]
    fn a_number_that_another_tunnel_has_is_not_taken() {
        assert_eq!(free_number(OTHERS), 51821);
        assert_eq!(free_number("0:\tfrom all lookup local\n"), 51820);
        let two = format!("{OTHERS}5:\tfrom all fwmark 0xca6d/0xffff lookup 7\n");
        assert_eq!(free_number(&two), 51822);
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
