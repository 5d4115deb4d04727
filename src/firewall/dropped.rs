//! How many packets each wall dropped, as what lists its rules says.

use std::collections::BTreeMap;

/// The packets dropped, by wall (`iptables`, `ip6tables`, `egress`), and there by chain or network
/// card.
pub type DroppedPackets = BTreeMap<String, BTreeMap<String, u64>>;

/// Where rules of ours dropped. They are counted apart, for each load begins their counters anew,
/// and those of the policies go on.
const RULES: &str = "rules";

/// By the policies of the built-in chains, and by rules of ours: `:OUTPUT DROP [12:840]` and
/// `[3:180] -A PIA_OUTPUT … -j DROP`.
pub(super) fn in_filter(saved: &str) -> BTreeMap<String, u64> {
    let mut dropped = BTreeMap::new();
    for line in saved.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (place, counters) = match words.as_slice() {
            [chain, "DROP", counters] => (chain.strip_prefix(':'), *counters),
            [counters, "-A", chain, .., "-j", "DROP"] => {
                (chain.strip_prefix("PIA_").map(|_| RULES), *counters)
            }
            _ => continue,
        };
        if let (Some(place), Some(packets)) = (place, packets(counters)) {
            let total: &mut u64 = dropped.entry(place.to_ascii_lowercase()).or_default();
            *total = total.saturating_add(packets);
        }
    }
    dropped
}

/// Of `[packets:bytes]`.
fn packets(counters: &str) -> Option<u64> {
    let (packets, _) = counters.strip_prefix('[')?.split_once(':')?;
    packets.parse().ok()
}

/// By the last rule of each chain, `counter packets 3 bytes 180 drop`, under the name of the
/// interface before it.
pub(super) fn in_egress(listed: &str) -> BTreeMap<String, u64> {
    let mut dropped = BTreeMap::new();
    let mut interface = None;
    for line in listed.lines() {
        if let Some((_, rest)) = line.split_once("device \"") {
            interface = rest.split('"').next().map(str::to_owned);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["counter", "packets", packets, "bytes", _, "drop"] = words.as_slice()
            && let (Some(interface), Ok(packets)) = (interface.take(), packets.parse())
        {
            dropped.insert(interface, packets);
        }
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let pairs = pairs
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        pairs.collect()
    }

    #[test]
    fn policies_and_our_own_rules_drop() {
        let saved = "*filter\n:INPUT DROP [12:840]\n:FORWARD ACCEPT [5:9]\n:OUTPUT DROP [7:1]\n\
            :PIA_OUTPUT - [0:0]\n[9:540] -A PIA_OUTPUT -o lo -j ACCEPT\n\
            [3:180] -A PIA_OUTPUT -d 127.0.0.11/32 -j DROP\n[4:1] -A OUTPUT -j DROP\nCOMMIT\n";
        let expected = counts(&[("input", 12), ("output", 7), ("rules", 3)]);
        assert_eq!(in_filter(saved), expected);
        assert_eq!(in_filter(":INPUT DROP [é:\n:\n["), counts(&[]));
    }

    #[test]
    fn each_card_has_its_own_counter() {
        let listed = "table netdev wireguard-pia {\n\tchain egress7 {\n\
            \t\ttype filter hook egress device \"eth0\" priority filter; policy drop;\n\
            \t\tmeta mark 0x0000abcd meta mark set 0x00000000 accept\n\
            \t\tcounter packets 3 bytes 180 drop\n\t}\n\tchain egress9 {\n\
            \t\ttype filter hook egress device \"eth1\" priority filter; policy drop;\n\
            \t\tcounter packets 0 bytes 0 drop\n\t}\n}\n";
        assert_eq!(in_egress(listed), counts(&[("eth0", 3), ("eth1", 0)]));
        assert_eq!(in_egress("counter packets 3 bytes 180 drop"), counts(&[]));
    }
}
