//! Routes, name servers, the clock: what the first request needs.

use std::time::{Duration, SystemTime};

use super::finding::Finding;
use super::subject::Subject;
use crate::pia::host::ACCOUNT_HOST;
use crate::system::capabilities;
use crate::system::parallel;
use crate::underlay::interfaces::{self, AttachedNetwork, DefaultRoute};
use crate::underlay::name_servers::{NameServer, NameServers};
use crate::underlay::resolver::Resolver;
use crate::underlay::socket::Via;
use crate::underlay::way_out::NoWayOut;

/// 2026-01-01: this program is younger.
const EARLIEST_SINCE_1970: Duration = Duration::from_secs(1_767_225_600);
/// 2034-04-12: the end of PIA's certificate authority.
const LATEST_SINCE_1970: Duration = Duration::from_secs(2_028_412_800);
const DNS_CURE: &str = "set one that answers with `dns:` in compose, or `--dns` of docker run";

pub(super) fn check(subject: &Subject, report: &mut impl FnMut(Finding)) {
    let routes = interfaces::default_routes().unwrap_or_default();
    let attached = interfaces::attached_networks().unwrap_or_default();
    report(judge_routes(&attached, &routes));
    report(judge_servers(
        &subject.dns,
        &ask_all(subject),
        subject.is_shut_off,
    ));
    report(judge_clock(SystemTime::now()));
}

fn judge_routes(attached: &[AttachedNetwork], routes: &[DefaultRoute]) -> Finding {
    const CHECK: &str = "route";
    if let Some(why) = NoWayOut::judge(attached, routes) {
        return Finding::failure(CHECK, why.to_string(), why.cure());
    }
    let first = routes.first().map_or("", |route| &route.interface);
    match routes.len() {
        0 | 1 => Finding::ok(CHECK, format!("out by {first}")),
        all => Finding::ok(CHECK, format!("out by {first}, the first of {all}")),
    }
}

/// What became of a question to one server; the reason as it is.
type Asked = (NameServer, Result<(), String>);

fn ask_all(subject: &Subject) -> Vec<Asked> {
    if subject.is_shut_off {
        return Vec::new();
    }
    let ask = |server: NameServer| {
        let alone = NameServers {
            servers: vec![server],
            skipped: Vec::new(),
        };
        let resolver = Resolver::new(alone, via_to(server, subject.mark));
        let answer = resolver.public_addresses(ACCOUNT_HOST, &subject.stop);
        (server, answer.map(drop).map_err(|error| error.to_string()))
    };
    parallel::map(&subject.dns.servers, ask)
}

/// The kill switch lets only the program ask Docker's resolver.
fn via_to(server: NameServer, mark: u32) -> Via {
    let is_embedded = matches!(server, NameServer::Embedded | NameServer::EmbeddedUnmarked);
    match is_embedded && capabilities::from_process().has_net_admin() {
        true => Via::Mark(mark),
        false => Via::Routing,
    }
}

fn judge_servers(servers: &NameServers, asked: &[Asked], is_shut_off: bool) -> Finding {
    const CHECK: &str = "name servers";
    if servers.servers.is_empty() {
        let skipped = match servers.skipped.as_slice() {
            [] => String::new(),
            skipped => format!(
                " (only {}, which are no addresses, or lead no further than the link)",
                skipped.join(", ")
            ),
        };
        return Finding::failure(
            CHECK,
            format!("/etc/resolv.conf names none that can be asked{skipped}"),
            DNS_CURE,
        );
    }
    let named: Vec<String> = servers.servers.iter().map(in_words).collect();
    if is_shut_off {
        return Finding::skipped(
            CHECK,
            format!(
                "{}: not asked, as the kill switch is shut",
                named.join(", ")
            ),
        );
    }
    let silent: Vec<&str> = asked
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().err().map(String::as_str))
        .collect();
    if silent.len() == asked.len() {
        return Finding::failure(CHECK, silent.join("; "), DNS_CURE);
    }
    if !silent.is_empty() {
        return Finding::warning(
            CHECK,
            silent.join("; "),
            format!("take it out, or {DNS_CURE}"),
        );
    }
    Finding::ok(
        CHECK,
        format!(
            "{} answer{}",
            named.join(", "),
            if named.len() == 1 { "s" } else { "" }
        ),
    )
}

fn in_words(server: &NameServer) -> String {
    match server {
        NameServer::Direct(_) | NameServer::DirectV6(_) => server.to_string(),
        NameServer::Loopback(address) => format!("{address} (in this container)"),
        NameServer::Embedded => "Docker's, by way of the host".to_owned(),
        NameServer::EmbeddedUnmarked => "Docker's (before version 26)".to_owned(),
    }
}

fn judge_clock(now: SystemTime) -> Finding {
    const CHECK: &str = "clock";
    let since_1970 = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let shown = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_1970);
    if since_1970 < EARLIEST_SINCE_1970 || since_1970 > LATEST_SINCE_1970 {
        return Finding::failure(
            CHECK,
            format!("it is {shown} here, which cannot be: no certificate is valid then"),
            "set the host's clock (timedatectl set-ntp true)",
        );
    }
    Finding::ok(CHECK, shown.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;
    use crate::underlay::name_servers;

    #[test]
    fn a_clock_without_a_battery_is_found_out() {
        let at = |seconds| judge_clock(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0).level, Level::Failure);
        assert_eq!(at(4_000_000_000).level, Level::Failure);
        assert_eq!(at(1_795_000_000).level, Level::Ok);
        assert!(at(0).cure.unwrap().contains("timedatectl"));
    }

    #[test]
    fn name_servers_are_judged_by_their_answers() {
        let servers = name_servers::in_force("nameserver 192.0.2.53\nnameserver 192.0.2.54\n");
        let [one, other] = servers.servers[..] else {
            panic!()
        };
        let silent = || Err("192.0.2.54 did not answer".to_owned());
        assert_eq!(
            judge_servers(&servers, &[(one, Ok(())), (other, Ok(()))], false).level,
            Level::Ok
        );
        assert_eq!(
            judge_servers(&servers, &[(one, Ok(())), (other, silent())], false).level,
            Level::Warning
        );
        assert_eq!(
            judge_servers(&servers, &[(one, silent()), (other, silent())], false).level,
            Level::Failure
        );
        assert_eq!(judge_servers(&servers, &[], true).level, Level::Skipped);
    }

    #[test]
    fn only_one_that_leads_no_further_than_the_link_is_none() {
        let found = judge_servers(&name_servers::in_force("nameserver fe80::1\n"), &[], false);
        assert!(
            found.level == Level::Failure && found.what.contains("fe80::1"),
            "{found:?}"
        );
    }

    #[test]
    fn without_a_route_nothing_works() {
        let link = AttachedNetwork {
            interface: "eth0".into(),
            address: "172.18.0.2".parse().unwrap(),
            network: "172.18.0.0/16".parse().unwrap(),
        };
        assert!(judge_routes(&[], &[]).what.contains("no link"));
        let unrouted = judge_routes(std::slice::from_ref(&link), &[]);
        assert_eq!(unrouted.level, Level::Failure);
        assert!(unrouted.what.contains("no default route"));
        let route = DefaultRoute {
            interface: "eth0".into(),
            metric: 0,
        };
        assert_eq!(judge_routes(&[link], &[route]).what, "out by eth0");
    }
}
