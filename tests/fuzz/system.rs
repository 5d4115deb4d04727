//! What `wg` and iptables print, and what the kernel answers.

use std::net::Ipv4Addr;

use wireguard_pia::parser_internals::{
    firewall, netlink, nf_tables, route, routing_policy, wireguard,
};

use super::engine;

#[test]
fn wg_dump() {
    engine::run("wg_dump", |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let _ = wireguard::wg_dump(&text);
        let _ = wireguard::is_of_the_original(&text, "");
        let _ = wireguard::user_space_answer(&text);
    });
}

/// The kernel's own bytes: a reader that ends.
#[test]
fn kernel_answer() {
    engine::run("kernel_answer", |bytes, _| {
        let mut messages = 0;
        let _ = netlink::read(bytes, &mut |message: &[u8]| {
            messages += 1;
            let _ = routing_policy::parse(message);
            let _ = route::parse(message);
            let _ = nf_tables::parse(message);
            let _ = wireguard::kernel_answer(message);
            Ok(())
        });
        // Each has a head of 16 bytes.
        assert!(messages <= bytes.len() / 16);
        let mut hearing = nf_tables::Hearing::of(4711, &["filter".to_owned()]);
        let _ = hearing.take(bytes);
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
        // No line can make it count what is no number.
        let _ = firewall::arrived(&text, 4711);
        let _ = firewall::dropped(&text);
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
