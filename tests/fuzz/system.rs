//! What `wg`, `ip` and iptables print.

use std::net::Ipv4Addr;

use wireguard_pia::parser_internals::{firewall, wireguard};

use super::engine;

#[test]
fn wg_dump() {
    engine::run("wg_dump", |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let _ = wireguard::wg_dump(&text);
        let _ = wireguard::is_of_the_original(&text, "");
    });
}

/// `ip -batch` is told to delete single rules, by their preference, and nothing else.
#[test]
fn ip_rules() {
    engine::run("ip_rules", |bytes, rng| {
        let text = String::from_utf8_lossy(bytes);
        for rule in wireguard::routing_rules(&text) {
            assert_eq!(rule.to_string().lines().count(), 1);
        }
        let (ours, others) = wireguard::leftover_rules(&text, rng.bool());
        for line in ours.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (["rule", "del", "pref", preference]
            | ["rule", "del", "pref", preference, "protocol", "51"]) = words.as_slice()
            else {
                panic!("{line:?}");
            };
            assert!(preference.parse::<u32>().is_ok(), "{line:?}");
        }
        let _ = wireguard::free_number(&others);
    });
}

/// iptables-restore is told to take away what is ours, and adds nothing.
#[test]
fn iptables_save() {
    engine::run("iptables_save", |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let removal = firewall::removal(&text, "wg0");
        for line in removal.lines() {
            let is_policy = line.starts_with(':') && line.ends_with(" ACCEPT [0:0]");
            let is_removal = ["-D ", "-F PIA_", "-X PIA_"]
                .iter()
                .any(|it| line.starts_with(it));
            let is_frame = line.starts_with('*') || line == "COMMIT";
            assert!(is_policy || is_removal || is_frame, "{line:?}");
        }
        let [old, new] = [Ipv4Addr::new(10, 4, 5, 6), Ipv4Addr::new(10, 7, 8, 9)];
        let [saved, nft] = firewall::moved(&text, "wg0", old, new);
        if let Some(text) = &saved {
            assert_eq!(text.lines().next(), Some("*raw"));
            assert!(text.matches("\n-I ").count() <= 1, "{text:?}");
        }
        for line in nft.iter().flat_map(|text| text.lines()) {
            let is_ours = [
                "add rule ip wg-quick-wg0 preraw ",
                "delete rule ip wg-quick-wg0 preraw ",
            ];
            assert!(
                is_ours.iter().any(|start| line.starts_with(start)),
                "{line:?}"
            );
        }
    });
}
