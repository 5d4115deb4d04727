//! Asking which address the world sees: of PIA, after each connect, through the tunnel and by no
//! other way, in the background. What is not known is not held against anybody.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::event::Event;
use super::exit_address::ExitFinding;
use crate::connect::api_hosts::ApiHosts;
use crate::connect::register::Joined;
use crate::pia::exit_address;
use crate::pia::host::{self, Host};
use crate::system::backoff::Backoff;
use crate::system::cancellation::CancellationToken;
use crate::system::paths;
use crate::underlay::interfaces;
use crate::underlay::name_servers::{NameServer, NameServers};
use crate::underlay::resolver::Resolver;
use crate::underlay::socket::Via;

/// What makes a tunnel useful comes first.
const HEAD_START: Duration = Duration::from_secs(1);
/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Questions without an answer, after which it is left unknown.
const TRIES: u32 = 4;
/// Between two questions: until there is an answer, and as long as the answer is bad.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(5),
    ceiling: Duration::from_secs(300),
};

/// One tunnel whose address is to be found out.
pub(super) struct ExitWatch {
    /// Of PIA, inside the tunnel: the user's own may be outside.
    name_servers: NameServers,
    hosts: Arc<ApiHosts>,
    events: Sender<Event>,
}

impl ExitWatch {
    pub(super) fn new(joined: &Joined, hosts: Arc<ApiHosts>, events: Sender<Event>) -> Self {
        let servers = joined.registration.dns_servers.iter();
        let servers = servers.map(|server| NameServer::Direct(Ipv4Addr::from(*server)));
        Self {
            name_servers: NameServers {
                servers: servers.collect(),
                ..NameServers::default()
            },
            hosts,
            events,
        }
    }

    /// Asks until there is a good answer, or several times in vain.
    pub(super) fn run(&self, stop: &CancellationToken) {
        let mut rng = fastrand::Rng::new();
        let (mut failures, mut bad) = (0, 0_u32);
        let mut pause = HEAD_START;
        while stop.pause(pause).is_ok() {
            pause = match self.ask(stop) {
                Ok(finding) => {
                    let is_good = finding.trouble.is_none();
                    // The loop may be gone already.
                    let _ = self.events.send(Event::ExitAddress(finding));
                    if is_good {
                        return;
                    }
                    bad = bad.saturating_add(1);
                    BACKOFF.pause(bad, &mut rng)
                }
                Err(why) => {
                    failures += 1;
                    log::debug!("exit address: {why}");
                    // A bad answer is not left standing for want of another.
                    if failures >= TRIES && bad == 0 {
                        return;
                    }
                    BACKOFF.pause(failures, &mut rng)
                }
            };
        }
    }

    /// Over two connections, as some servers let each leave by another address.
    fn ask(&self, stop: &CancellationToken) -> Result<ExitFinding, String> {
        let via = Via::Interface(paths::INTERFACE.to_owned());
        let resolver = Resolver::new(self.name_servers.clone(), via.clone());
        let addresses = resolver
            .public_addresses(host::ACCOUNT_HOST, stop)
            .map_err(|error| error.to_string())?;
        let web = self.hosts.web().map_err(|failure| failure.to_string())?;
        let host = Host::account(addresses, &web, via);
        let ask = || exit_address::ask(&host, TIMEOUT, stop).map_err(|error| error.to_string());
        let seen = [ask()?, ask()?];
        let attached = interfaces::attached_networks().unwrap_or_default();
        let own: Vec<Ipv4Addr> = attached.iter().map(|network| network.address).collect();
        Ok(ExitFinding::of(seen, &own))
    }
}
