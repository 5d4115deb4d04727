//! Our own resolver: it asks given name servers by a chosen way, and a stop ends it at once. Which
//! name servers those are is not known here.
//!
//! The C library's resolver would ask whatever resolv.conf names now, from sockets without our
//! mark, and cannot be interrupted.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use simple_dns::Name;

use super::deadline::Deadline;
use super::dns_exchange::{ask_by_tcp, ask_by_udp};
pub use super::dns_message::DnsFailure;
use super::dns_message::{Answer, LookupResult};
use super::hosts_file;
use super::interfaces;
use super::name_servers::{NameServer, NameServers};
use super::public_address;
use super::socket::{SocketError, Via};
use crate::system::cancellation::CancellationToken;
use crate::system::files;

/// For all servers and rounds of one look-up together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// For one server in the first round, so that one that does not answer soon gives way to the next.
const FIRST_ROUND_TIMEOUT: Duration = Duration::from_secs(1);
const ROUNDS: usize = 2;
const DNS_PORT: u16 = 53;
const HOSTS: &str = "/etc/hosts";

/// A name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("resolving {host}: this is no host name")]
    BadName { host: String },
    #[error("resolving {host}: /etc/resolv.conf names no name server that can be asked{}; set one \
             with `dns:` or `--dns`", skipped_in_words(.skipped))]
    NoServers { host: String, skipped: Vec<String> },
    #[error("resolving {host}: {}{}; check the container's \
             DNS", failures_in_words(.failures), skipped_in_words(.skipped))]
    Failed {
        host: String,
        failures: Vec<(NameServer, DnsFailure)>,
        skipped: Vec<String>,
    },
    #[error("resolving {host}: interrupted by a request to stop")]
    Interrupted { host: String },
}

impl ResolveError {
    /// Whether the same question may be answered within seconds: a server was silent or of no use,
    /// as a router's is that has no way out yet. One that lies has been told to.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Failed { failures, .. } => failures
                .iter()
                .any(|(_, failure)| !matches!(failure, DnsFailure::Untrue(_))),
            Self::BadName { .. } | Self::NoServers { .. } | Self::Interrupted { .. } => false,
        }
    }
}

fn failures_in_words(failures: &[(NameServer, DnsFailure)]) -> String {
    let failures: Vec<String> = failures
        .iter()
        .map(|(server, failure)| format!("{server} {failure}"))
        .collect();
    failures.join(", ")
}

fn skipped_in_words(skipped: &[String]) -> String {
    match skipped {
        [] => String::new(),
        _ => format!(" (not asked: {})", skipped.join(", ")),
    }
}

/// Asks the given name servers.
#[derive(Debug, Clone)]
pub struct Resolver {
    servers: NameServers,
    /// `/etc/hosts` as it was when this was made: containers that share the network can write the
    /// file, and are not to lead us anywhere later.
    by_hand: Arc<str>,
    via: Via,
    port: u16,
}

impl Resolver {
    /// `via` is the way to servers outside; Docker's resolver gets the mark too; others
    /// on loopback are asked as they are.
    pub fn new(servers: NameServers, via: Via) -> Self {
        // If the file cannot be read, the name servers are asked.
        let by_hand = files::read_shared(Path::new(HOSTS))
            .inspect_err(|error| log::warn!("{error}; what it names counts for nothing"));
        let by_hand = by_hand.ok().flatten().unwrap_or_default();
        Self {
            servers,
            by_hand: by_hand.into(),
            via,
            port: DNS_PORT,
        }
    }

    /// The IPv4 addresses of `host`: from `/etc/hosts`, else asked for, within about five seconds.
    ///
    /// # Errors
    /// Says which servers were asked and what each said.
    pub fn addresses(
        &self,
        host: &str,
        stop: &CancellationToken,
    ) -> Result<Vec<Ipv4Addr>, ResolveError> {
        self.look_up(host, &|_| true, stop)
    }

    /// As [`Self::addresses`], for a host of the public internet: addresses that cannot be true do
    /// not count, and the next server is asked.
    pub fn public_addresses(
        &self,
        host: &str,
        stop: &CancellationToken,
    ) -> Result<Vec<Ipv4Addr>, ResolveError> {
        // Without the list, the kinds of addresses that are never public are known all the same.
        let attached: Vec<Ipv4Net> = interfaces::attached_networks()
            .unwrap_or_default()
            .into_iter()
            .map(|attached| attached.network)
            .collect();
        let is_possible = |address| public_address::is_possible(address, &attached);
        self.look_up(host, &is_possible, stop).or_else(believe)
    }

    fn look_up(
        &self,
        host: &str,
        is_possible: &dyn Fn(Ipv4Addr) -> bool,
        stop: &CancellationToken,
    ) -> Result<Vec<Ipv4Addr>, ResolveError> {
        let host = host.trim_end_matches('.');
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        if !Name::new(host).is_ok_and(|name| name.is_valid_hostname()) {
            return Err(ResolveError::BadName {
                host: host.to_owned(),
            });
        }
        // Whoever writes it there means it.
        let may_be = |address| is_possible(address) || public_address::may_be_reached(address);
        match possible_of(hosts_file::addresses_in(&self.by_hand, host), &may_be) {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => (),
            Err(untrue) => log::warn!("{HOSTS} on {host}: it {untrue}"),
        }
        let skipped = self.servers.skipped.clone();
        if self.servers.servers.is_empty() {
            return Err(ResolveError::NoServers {
                host: host.to_owned(),
                skipped,
            });
        }
        let failures = match self.ask_all(host, is_possible, stop) {
            Ok(addresses) => return Ok(addresses),
            Err(failures) => failures,
        };
        let host = host.to_owned();
        Err(if stop.is_cancelled() {
            ResolveError::Interrupted { host }
        } else {
            ResolveError::Failed {
                host,
                failures,
                skipped,
            }
        })
    }

    /// Asks one server after the other, and in a second round those that may yet answer.
    fn ask_all(
        &self,
        host: &str,
        is_possible: &dyn Fn(Ipv4Addr) -> bool,
        stop: &CancellationToken,
    ) -> Result<Vec<Ipv4Addr>, Vec<(NameServer, DnsFailure)>> {
        let deadline = Deadline::after(LOOKUP_TIMEOUT);
        let mut failures = Vec::new();
        for server in &self.servers.servers {
            failures.push((*server, DnsFailure::Silent));
        }
        for round in 0..ROUNDS {
            let is_unasked = |(_, failure): &&(NameServer, DnsFailure)| is_worth_asking(failure);
            let mut unasked = failures.iter().filter(is_unasked).count();
            for (server, failure) in &mut failures {
                if !is_worth_asking(failure) {
                    continue;
                }
                let wait = wait_for_one(round, deadline.left(), unasked);
                unasked = unasked.saturating_sub(1);
                let answer = self.ask(*server, host, wait, stop);
                match answer.and_then(|addresses| possible_of(addresses, is_possible)) {
                    Ok(addresses) => {
                        log::debug!("{server} resolves {host}: {addresses:?}");
                        return Ok(addresses);
                    }
                    Err(answer) => *failure = answer,
                }
                if stop.is_cancelled() {
                    return Err(failures);
                }
                if matches!(failure, DnsFailure::Untrue(_)) {
                    log::warn!("resolving {host}: {server} {failure}");
                } else {
                    log::debug!("{server} does not resolve {host}: it {failure}");
                }
            }
        }
        Err(failures)
    }

    fn ask(
        &self,
        server: NameServer,
        host: &str,
        wait: Duration,
        stop: &CancellationToken,
    ) -> LookupResult {
        let via = self.via_to(server);
        let peer = SocketAddr::new(server.address(), self.port);
        let deadline = Deadline::after(wait);
        match ask_by_udp(via, peer, host, deadline, stop) {
            Ok(Answer::Whole(outcome)) => outcome,
            // Where TCP does not get through, the addresses that did fit serve.
            Ok(Answer::Cut(outcome)) => {
                ask_by_tcp(via, peer, host, deadline, stop).unwrap_or(outcome)
            }
            Err(failure) => Err(failure_of(&failure)),
        }
    }

    /// The kill switch lets nobody else ask Docker's.
    fn via_to(&self, server: NameServer) -> &Via {
        let is_embedded = matches!(server, NameServer::Embedded | NameServer::EmbeddedUnmarked);
        let marks_embedded = is_embedded && matches!(self.via, Via::Mark(_));
        if server.is_direct() || marks_embedded {
            &self.via
        } else {
            &Via::Routing
        }
    }
}

/// Where nobody answers otherwise, an address of a private network is taken: PIA's hosts may be
/// reached by a proxy there, and whoever else it is fails at the certificate.
fn believe(error: ResolveError) -> Result<Vec<Ipv4Addr>, ResolveError> {
    let ResolveError::Failed { failures, .. } = &error else {
        return Err(error);
    };
    for (_, failure) in failures {
        if let DnsFailure::Untrue(addresses) = failure {
            let addresses = addresses.iter().copied();
            let reached: Vec<Ipv4Addr> = addresses
                .filter(|it| public_address::may_be_reached(*it))
                .collect();
            if !reached.is_empty() {
                log::warn!("{error}. No name server names another address, so it is asked there");
                return Ok(reached);
            }
        }
    }
    Err(error)
}

/// Those addresses that can be true; an error if there are some and none can.
fn possible_of(addresses: Vec<Ipv4Addr>, is_possible: &dyn Fn(Ipv4Addr) -> bool) -> LookupResult {
    let (possible, untrue): (Vec<Ipv4Addr>, Vec<Ipv4Addr>) = addresses
        .into_iter()
        .partition(|address| is_possible(*address));
    if possible.is_empty() && !untrue.is_empty() {
        Err(DnsFailure::Untrue(untrue))
    } else {
        Ok(possible)
    }
}

/// A server that gave a definite answer gives the same one in the next round.
fn is_worth_asking(failure: &DnsFailure) -> bool {
    matches!(
        failure,
        DnsFailure::Silent | DnsFailure::Failure(_) | DnsFailure::Unreachable(_)
    )
}

/// How long to wait for one server, with `left` for the rest of the look-up and `unasked` servers
/// in this round.
fn wait_for_one(round: usize, left: Duration, unasked: usize) -> Duration {
    let rounds_left = ROUNDS.saturating_sub(round).max(1);
    let shares = unasked.max(1).saturating_mul(rounds_left);
    let shares = u32::try_from(shares).unwrap_or(u32::MAX);
    let share = left.checked_div(shares).unwrap_or_default();
    if rounds_left > 1 {
        share.min(FIRST_ROUND_TIMEOUT)
    } else {
        share
    }
}

fn failure_of(failure: &SocketError) -> DnsFailure {
    let source = match failure {
        SocketError::NotConnected { source, .. } => source,
        other => return DnsFailure::Unreachable(other.to_string()),
    };
    match source.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => DnsFailure::Silent,
        // The kill switch has no rule for it.
        io::ErrorKind::PermissionDenied => {
            DnsFailure::Unreachable("blocked by the firewall".to_owned())
        }
        _ => DnsFailure::Unreachable(source.to_string()),
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
