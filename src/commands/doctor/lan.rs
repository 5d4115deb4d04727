//! Ranges that hide one another: the LAN, attached networks, the VPN's own addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::finding::Finding;
use super::subject::Subject;
use crate::underlay::interfaces;

/// PIA's name servers inside the tunnel, as its servers name them.
const PIA_DNS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 243), Ipv4Addr::new(10, 0, 0, 242)];
const CHECK: &str = "LAN";

pub(super) fn check(subject: &Subject, report: &mut impl FnMut(Finding)) {
    // Servers that the user chose may be in the LAN.
    let dns: &[Ipv4Addr] = if subject.settings.dns.uses_pia() {
        &PIA_DNS
    } else {
        &[]
    };
    let attached: Vec<Ipv4Net> = interfaces::attached_networks()
        .unwrap_or_default()
        .into_iter()
        .map(|attached| attached.network)
        .collect();
    let ranges = subject.settings.local_ranges();
    // What is of IPv6 hides nothing.
    if !(ranges.is_empty() && subject.settings.opens_ipv6()) {
        report(judge(&ranges, &attached, dns));
    }
    if subject.settings.opens_ipv6() {
        let attached = interfaces::attached_networks_v6().unwrap_or_default();
        report(judge_v6(attached.is_empty()));
    }
}

fn judge(local: &[Ipv4Net], attached: &[Ipv4Net], dns: &[Ipv4Addr]) -> Finding {
    let hides = |ranges: &[Ipv4Net]| {
        ranges.iter().find_map(|range| {
            dns.iter()
                .find(|server| range.contains(*server))
                .map(|server| (*range, *server))
        })
    };
    if let Some((range, server)) = hides(local) {
        return Finding::warning(
            CHECK,
            format!(
                "LOCAL_NETWORK {range} holds the VPN's DNS server {server}, which is routed into \
                 the tunnel all the \
                 same: a host of that address on the LAN cannot be reached"
            ),
            "name a smaller range, or set VPNDNS to other servers",
        );
    }
    if let Some((range, server)) = hides(attached) {
        return Finding::warning(
            CHECK,
            format!("the attached network {range} holds the VPN's DNS server {server}"),
            "give that network another range (`ipam` in compose), or set VPNDNS to other servers",
        );
    }
    match local {
        [] => Finding::ok(
            CHECK,
            "LOCAL_NETWORK is empty; attached networks do not hide the VPN's DNS",
        ),
        ranges => {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            Finding::ok(
                CHECK,
                format!("{} does not hide the VPN's DNS", ranges.join(", ")),
            )
        }
    }
}

fn judge_v6(has_no_address: bool) -> Finding {
    match has_no_address {
        true => Finding::warning(
            CHECK,
            "LOCAL_NETWORK opens IPv6, and this container has no IPv6 address",
            "give its network IPv6 (`enable_ipv6: true` in compose), and take `disable_ipv6` out \
             of its sysctls",
        ),
        false => Finding::ok(CHECK, "IPv6 is open to LOCAL_NETWORK and attached networks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    fn level(local: &str, attached: &str) -> Level {
        let ranges = |text: &str| {
            text.split_whitespace()
                .map(|range| range.parse().unwrap())
                .collect::<Vec<_>>()
        };
        judge(&ranges(local), &ranges(attached), &PIA_DNS).level
    }

    #[test]
    fn ranges_that_hide_the_dns_are_told() {
        assert_eq!(level("192.168.1.0/24", "172.18.0.0/16"), Level::Ok);
        assert_eq!(level("10.0.0.0/8", ""), Level::Warning);
        assert_eq!(level("", "10.0.0.0/24"), Level::Warning);
    }
}
