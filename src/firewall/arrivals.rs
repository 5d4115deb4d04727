//! Whether anything ever came in by a forwarded port, as the counter of its own rule says: for
//! `status`.

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths;

/// Connections and first datagrams that came to `port` out of the tunnel since the rules were
/// loaded last; `None` where no rule of ours lets any in.
///
/// # Errors
/// When `iptables-save` fails.
pub fn arrivals(port: u16, stop: &CancellationToken) -> Result<Option<u64>, CommandError> {
    let rules = Command::new("iptables-save", ["-c"]).run(stop)?;
    Ok(arrivals_in(&rules, port))
}

/// The first rule that a packet from outside meets: where it is led elsewhere, in the nat table.
pub(super) fn arrivals_in(rules: &str, port: u16) -> Option<u64> {
    ["PIA_PREROUTING", "PIA_INPUT"]
        .into_iter()
        .find_map(|chain| {
            rules
                .lines()
                .filter_map(|line| counted(line, chain, port))
                .reduce(u64::saturating_add)
        })
}

/// The packets of a line such as `[3:180] -A PIA_INPUT -i wg0 -p tcp --dport 4711 -j ACCEPT`.
fn counted(line: &str, chain: &str, port: u16) -> Option<u64> {
    let (counters, rule) = line.strip_prefix('[')?.split_once("] ")?;
    let words: Vec<&str> = rule.split(' ').collect();
    let has = |option: &str, value: &str| words.windows(2).any(|pair| pair == [option, value]);
    let is_it = has("-A", chain)
        && has("-i", paths::INTERFACE)
        && has("--dport", &port.to_string())
        && !words.contains(&"--ctorigdstport");
    if !is_it {
        return None;
    }
    counters.split_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_count_and_other_rules_do_not() {
        let rules = "*filter\n:PIA_INPUT - [0:0]\n\
            [9:540] -A PIA_INPUT -i lo -j ACCEPT\n\
            [2:120] -A PIA_INPUT -i wg0 -p tcp -m tcp --dport 4711 -j ACCEPT\n\
            [5:140] -A PIA_INPUT -i wg0 -p udp -m udp --dport 4711 -j ACCEPT\n\
            [7:140] -A PIA_INPUT -i eth0 -p udp -m udp --dport 4711 -j ACCEPT\n";
        assert_eq!(arrivals_in(rules, 4711), Some(7));
        assert_eq!(arrivals_in(rules, 471), None);
        assert_eq!(arrivals_in("[x:y] -A é\n[", 4711), None);
    }

    #[test]
    fn where_the_port_leads_elsewhere_what_is_led_counts() {
        let rules = "[1:60] -A PIA_INPUT -i wg0 -p tcp -m conntrack --ctorigdstport 4711 \
             -m tcp --dport 4711 -j ACCEPT\n\
            [3:180] -A PIA_PREROUTING -i wg0 -p tcp -m tcp --dport 4711 -j REDIRECT --to-ports 9\n";
        assert_eq!(arrivals_in(rules, 4711), Some(3));
    }
}
