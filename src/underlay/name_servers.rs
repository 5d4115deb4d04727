//! Which name servers our own resolver asks, read from a resolv.conf as Docker, Podman or
//! Kubernetes writes it. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::resolv_conf;
use crate::system::docker::DOCKER_RESOLVER;
use crate::system::invisible::is_invisible;

/// A name server and how it can be reached past the kill switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameServer {
    /// Asked from marked sockets; needs a firewall rule for its address.
    Direct(Ipv4Addr),
    /// Likewise, by IPv6: only where there is no other.
    DirectV6(Ipv6Addr),
    /// Docker's, which forwards the question from the host's own network: needs no rule.
    Embedded,
    /// Docker's before version 26, which asks from our namespace, as root and without a mark: needs
    /// the one rule that lets root's UDP port 53 out.
    EmbeddedUnmarked,
    /// Another one on a loopback address, asked as it is.
    Loopback(Ipv4Addr),
}

impl NameServer {
    /// Where the question goes.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Direct(address) | Self::Loopback(address) => (*address).into(),
            Self::DirectV6(address) => (*address).into(),
            Self::Embedded | Self::EmbeddedUnmarked => DOCKER_RESOLVER.into(),
        }
    }

    /// Whether the question leaves the namespace on a socket of ours, which then needs the mark.
    pub fn is_direct(&self) -> bool {
        matches!(self, Self::Direct(_) | Self::DirectV6(_))
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

/// The name servers of a resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameServers {
    /// In the order of the file, each once.
    pub servers: Vec<NameServer>,
    /// Those that are not asked: IPv6 beside others (so that the kill switch need let none of it
    /// out), on the link alone, or unreadable. For messages.
    pub skipped: Vec<String>,
}

impl NameServers {
    fn add(&mut self, server: NameServer) {
        if !self.servers.contains(&server) {
            self.servers.push(server);
        }
    }

    fn skip(&mut self, text: &str) {
        // It goes into messages: visible letters alone, and cut short.
        let text: String = text
            .chars()
            .filter(|letter| !is_invisible(*letter))
            .take(60)
            .collect();
        if !self.skipped.contains(&text) {
            self.skipped.push(text);
        }
    }
}

/// The name servers of `text`; of a file that we wrote, those of the former content kept in it.
pub fn parse(text: &str) -> NameServers {
    in_force(&resolv_conf::original_of(text))
}

/// The name servers that `text` names now: the tunnel's, once we have written the file.
pub fn in_force(text: &str) -> NameServers {
    let mut found = with_ipv4(text);
    if found.servers.is_empty() {
        found = take_ipv6(found);
    }
    found
}

/// Those by IPv4 that `text` names now, asked as any program here asks them: Docker's resolver
/// itself, too, which alone knows the names of other containers.
pub fn as_named(text: &str) -> NameServers {
    named(text, add_plain)
}

/// Those by IPv4 that `text` names, each added by `add`.
fn named(text: &str, add: impl Fn(Ipv4Addr, &mut NameServers)) -> NameServers {
    let mut found = NameServers::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let Some(word) = words.next() else { continue };
        match word.parse() {
            Ok(address) => add(address, &mut found),
            Err(_) => found.skip(word),
        }
    }
    found
}

/// Takes those by IPv6 that were skipped before.
fn take_ipv6(found: NameServers) -> NameServers {
    let mut taken = NameServers::default();
    for text in found.skipped {
        match text.parse::<Ipv6Addr>() {
            Ok(address) if is_routed(address) => taken.add(NameServer::DirectV6(address)),
            _ => taken.skip(&text),
        }
    }
    taken
}

/// Whether it can be reached without naming an interface, and not only on this host.
fn is_routed(address: Ipv6Addr) -> bool {
    let is_here = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    !is_here && !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none()
}

fn with_ipv4(text: &str) -> NameServers {
    named(text, |address, found| match address {
        DOCKER_RESOLVER => add_behind_embedded(text, found),
        _ => add_plain(address, found),
    })
}

fn add_plain(address: Ipv4Addr, found: &mut NameServers) {
    if address.is_unspecified() {
        // As the C library takes it.
        found.add(NameServer::Loopback(Ipv4Addr::LOCALHOST));
    } else if address.is_loopback() {
        found.add(NameServer::Loopback(address));
    } else {
        found.add(NameServer::Direct(address));
    }
}

/// Since version 26 Docker says in a comment whom its resolver asks: `# ExtServers: [host(10.0.0.1)
/// 8.8.8.8]`. Those in `host(…)` are asked by the host, the others from our namespace, where the
/// kill switch is: those we ask.
fn add_behind_embedded(text: &str, found: &mut NameServers) {
    let comments = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('#'))
        .map(str::trim);
    for comment in comments {
        if comment.starts_with("NO EXTERNAL NAMESERVERS DEFINED") {
            // It forwards nothing, but knows the names of other containers.
            return found.add(NameServer::Embedded);
        }
        if let Some(list) = comment.strip_prefix("ExtServers:") {
            return add_external(list, found);
        }
    }
    found.add(NameServer::EmbeddedUnmarked);
}

fn add_external(list: &str, found: &mut NameServers) {
    let list = list.trim().trim_start_matches('[').trim_end_matches(']');
    // Docker prints an address that it could not parse as these two words.
    let list = list.replace("invalid IP", "");
    let mut any_readable = false;
    for entry in list.split_whitespace() {
        let by_host = entry
            .strip_prefix("host(")
            .and_then(|rest| rest.strip_suffix(')'));
        any_readable |= by_host.is_some() || without_scope(entry).parse::<IpAddr>().is_ok();
        match (by_host, entry.parse()) {
            (Some(_), _) => found.add(NameServer::Embedded),
            (None, Ok(DOCKER_RESOLVER)) => found.add(NameServer::EmbeddedUnmarked),
            (None, Ok(address)) => add_plain(address, found),
            (None, Err(_)) => found.skip(entry),
        }
    }
    if !any_readable {
        found.add(NameServer::EmbeddedUnmarked);
    }
}

fn without_scope(address: &str) -> &str {
    address.split('%').next().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn direct(address: &str) -> NameServer {
        NameServer::Direct(address.parse().unwrap())
    }

    #[test]
    fn dockers_resolver_is_asked_itself_where_all_programs_ask_it() {
        let text = "nameserver 127.0.0.11\nnameserver fe80::1\n# ExtServers: [8.8.8.8]\n";
        let found = as_named(text);
        assert_eq!(found.servers, [NameServer::Loopback(DOCKER_RESOLVER)]);
        assert_eq!(found.skipped, ["fe80::1"]);
    }

    #[test]
    fn plain_files() {
        let found = parse(
            "# made by hand\nsearch lan\n\tnameserver\t192.168.1.1\nnameserver 8.8.8.8 # \
             g\nnameserver 8.8.8.8\n",
        );
        assert_eq!(found.servers, [direct("192.168.1.1"), direct("8.8.8.8")]);
        assert_eq!(found.skipped, [""; 0]);
    }

    #[test]
    fn kubernetes() {
        let found = parse(
            "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions \
             ndots:5\n",
        );
        assert_eq!(found.servers, [direct("10.96.0.10")]);
    }

    #[test]
    fn docker_26_asked_by_the_host_or_by_us() {
        let found = parse(
            "nameserver 127.0.0.11\noptions ndots:0\n\n# Based on host file\n# ExtServers: \
             [host(10.0.0.1) 8.8.8.8 host(10.0.0.2)]\n",
        );
        assert_eq!(found.servers, [NameServer::Embedded, direct("8.8.8.8")]);
    }

    #[test]
    fn docker_26_with_servers_that_it_could_not_read() {
        let found = parse("nameserver 127.0.0.11\n# ExtServers: [invalid IP invalid IP]\n");
        assert_eq!(found.servers, [NameServer::EmbeddedUnmarked]);
        let found = parse("nameserver 127.0.0.11\n# ExtServers: [invalid IP 9.9.9.9]\n");
        assert_eq!(found.servers, [direct("9.9.9.9")]);
    }

    #[test]
    fn docker_26_without_external_servers() {
        let found = parse("nameserver 127.0.0.11\n# NO EXTERNAL NAMESERVERS DEFINED\n");
        assert_eq!(found.servers, [NameServer::Embedded]);
    }

    #[test]
    fn an_entry_that_cannot_be_read_turns_no_message_round() {
        let found = parse("nameserver 192.0.2.1\u{202e}\u{200b}\u{7}x\n");
        assert_eq!(found.skipped, ["192.0.2.1x"]);
    }

    #[test]
    fn docker_before_26() {
        assert_eq!(
            parse("nameserver 127.0.0.11\noptions ndots:0\n").servers,
            [NameServer::EmbeddedUnmarked]
        );
    }

    #[test]
    fn ipv6_alone_is_asked_where_it_is_routed() {
        let found = parse("nameserver ::1\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n");
        let expected = NameServer::DirectV6("2001:db8::53".parse().unwrap());
        assert_eq!(found.servers, [expected]);
        assert_eq!(found.skipped, ["::1", "fe80::1%eth0"]);
    }

    #[test]
    fn ipv6_is_skipped_and_reported() {
        let found = parse("nameserver fe80::1%eth0\nnameserver 2001:db8::53\nnameserver 1.1.1.1\n");
        assert_eq!(found.servers, [direct("1.1.1.1")]);
        assert_eq!(found.skipped, ["fe80::1%eth0", "2001:db8::53"]);
        let found = parse("nameserver 127.0.0.11\n# ExtServers: [fe80::1%eth0]\n");
        assert_eq!((found.servers.len(), found.skipped.len()), (0, 1));
    }

    #[test]
    fn loopback_is_asked_as_it_is() {
        let found = parse("nameserver 127.0.0.53\nnameserver 0.0.0.0\n");
        let loopback = |last| NameServer::Loopback(Ipv4Addr::new(127, 0, 0, last));
        assert_eq!(found.servers, [loopback(53), loopback(1)]);
    }

    #[test]
    fn in_our_own_file_the_former_lines_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        std::fs::write(
            &path,
            "nameserver 127.0.0.11\n# ExtServers: [host(127.0.0.53)]\n",
        )
        .unwrap();
        resolv_conf::take_over(&path, &["10.0.0.243".parse().unwrap()], &[]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(parse(&text).servers, [NameServer::Embedded]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(nameserver |127.0.0.11|# ExtServers: \
                                         \\[|host\\(|\\)|\\]|\\PC|\n){0,60}") {
            parse(&text);
        }

        #[test]
        fn every_address_is_found(bytes in any::<[u8; 4]>()) {
            let address = Ipv4Addr::from(bytes);
            prop_assume!(address != DOCKER_RESOLVER && !address.is_unspecified());
            let found = parse(&format!("nameserver {address}\r\n"));
            prop_assert_eq!(found.servers[0].address(), address);
        }
    }
}
