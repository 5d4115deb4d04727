//! From an account to a registration: token, server list, a server that takes our key.
//!
//! The same way is gone for the first connect and for each reconnect; what was learnt once is
//! remembered, so that a reconnect needs neither DNS nor the host of the server list.

pub mod account;
pub mod hosts;
pub mod location_table;
mod register;
mod server_lists;
pub mod server_selection;

use std::path::Path;

use self::account::Account;
use self::hosts::{Hosts, Service};
use self::server_lists::Directory;
use self::server_selection::candidates::{self, Candidate};
use crate::connect::server_selection::locations;
use crate::container::Container;
use crate::failure::Failure;
use crate::firewall::Destination;
use crate::firewall::kill_switch::KillSwitch;
use crate::pia::account as pia_account;
use crate::pia::credentials::Token;
use crate::pia::error::{ApiError, Remedy};
use crate::pia::regions::Server;
use crate::pia::registration::Registration;
use crate::pia::retry::RetryPolicy;
use crate::settings::ServerChoice;
use crate::system::cancellation::CancellationToken;
use crate::system::paths;
use crate::underlay::name_servers::NameServers;
use crate::underlay::resolver::Resolver;
use crate::underlay::socket::Via;
use crate::wireguard::keys::KeyPair;

/// A server that took our key.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its location's id; `manual` or the dedicated IP's own where none was chosen.
    pub location: String,
    pub server: Server,
    /// Whether ports can be forwarded there, as far as PIA says.
    pub port_forwarding: bool,
    pub keys: KeyPair,
    pub registration: Registration,
}

/// Finds a server and registers there.
pub struct Connector {
    destination: ServerChoice,
    stable_ip: bool,
    retry: RetryPolicy,
    account: Account,
    hosts: Hosts,
    directory: Directory,
    /// The server of the dedicated IP, once known.
    dedicated: Option<Candidate>,
    /// Nothing that is known led to a server the last time: ask again.
    in_doubt: bool,
    wants_port_forwarding: bool,
    /// The ids of locations, the nearest first, if that was measured.
    nearness: Vec<String>,
    stop: CancellationToken,
}

impl Connector {
    /// For the container's settings; `servers` are the name servers below the tunnel.
    pub fn new(container: &Container, servers: NameServers) -> Self {
        let settings = &container.settings;
        let via = Via::Mark(paths::FWMARK);
        let resolver = Resolver::new(servers, via.clone());
        Self {
            destination: settings.destination.clone(),
            stable_ip: settings.stable_ip,
            retry: settings.retry,
            account: Account::new(settings.credentials.clone(), Path::new(paths::TOKEN)),
            hosts: Hosts::new(
                settings.meta.as_ref(),
                resolver,
                via,
                settings.pia_ca_file.clone(),
            ),
            directory: Directory::new(
                settings.server_list_key_file.clone(),
                Path::new(paths::SERVER_LIST),
            ),
            dedicated: None,
            in_doubt: false,
            wants_port_forwarding: settings.port_forwarding.enabled,
            nearness: Vec::new(),
            stop: container.stop.clone(),
        }
    }

    /// Finds a server that takes our key. Those that were `left` of late because they did not
    /// respond, the latest at the end, are tried after all others.
    ///
    /// # Errors
    /// When no server could be registered at, with what was tried.
    pub fn join(&mut self, left: &[Server], kill_switch: &KillSwitch) -> Result<Joined, Failure> {
        if self.destination == ServerChoice::Unset {
            return Err(self.print_locations(kill_switch));
        }
        let mut search_token = match self.account.stored_token() {
            Some(token) => SearchToken {
                token,
                is_new: false,
            },
            None => SearchToken {
                token: self.log_in(kill_switch, &self.stop.clone())?,
                is_new: true,
            },
        };
        let mut candidates = self.candidates(&mut search_token, kill_switch)?;
        if !left.is_empty()
            && candidates
                .iter()
                .all(|candidate| left.contains(&candidate.server))
        {
            // Another download names other servers; should it fail, these will do.
            self.in_doubt = true;
            candidates = self.candidates(&mut search_token, kill_switch)?;
        }
        let candidates = candidates::left_ones_last(candidates, left);
        let openings = candidates
            .iter()
            .map(|candidate| Destination::tcp(candidate.server.ip, candidate.port));
        kill_switch.admit(openings)?;
        self.register(candidates, search_token, kill_switch)
    }

    /// The account token in use, if there is one.
    pub fn token(&mut self) -> Option<Token> {
        self.account.stored_token()
    }

    /// Gets a new token while the tunnel is up; the old one is kept until the new one is there. The
    /// way to PIA is open meanwhile.
    ///
    /// # Errors
    /// When the credentials are missing or refused, or PIA cannot be reached.
    pub fn renew_token(
        &mut self,
        kill_switch: &KillSwitch,
        stop: &CancellationToken,
    ) -> Result<Token, Failure> {
        let token = self.log_in(kill_switch, stop);
        kill_switch.settle()?;
        token
    }

    /// Ids of locations with port forwarding, as far as lists are at hand.
    pub fn locations_with_port_forwarding(&self) -> Vec<String> {
        let lists = self.directory.lists();
        let ids = lists
            .first()
            .map(|list| locations::locations_with_port_forwarding(list))
            .unwrap_or_default();
        candidates::nearest_first(ids, &self.nearness)
    }

    fn log_in(
        &mut self,
        kill_switch: &KillSwitch,
        stop: &CancellationToken,
    ) -> Result<Token, Failure> {
        let credentials = self.account.credentials()?;
        log::info!("Logging in to PIA");
        self.hosts.open(&[Service::Account], kill_switch, stop)?;
        let host = self.hosts.service(Service::Account)?;
        let token = pia_account::log_in(&host, &credentials, &self.retry, stop)
            .inspect_err(|_| self.hosts.doubt(Service::Account))?;
        log::info!("Got a new token");
        self.account.keep(token.clone());
        Ok(token)
    }

    /// Gets a new token in place of a refused one, if this search has not got one already: an
    /// account whose tokens are refused would be locked by more logins. Says whether it did.
    fn renew(
        &mut self,
        search_token: &mut SearchToken,
        kill_switch: &KillSwitch,
    ) -> Result<bool, Failure> {
        if search_token.is_new {
            return Ok(false);
        }
        log::info!("The token is refused; logging in again");
        *search_token = SearchToken {
            token: self.log_in(kill_switch, &self.stop.clone())?,
            is_new: true,
        };
        Ok(true)
    }

    fn candidates(
        &mut self,
        search_token: &mut SearchToken,
        kill_switch: &KillSwitch,
    ) -> Result<Vec<Candidate>, Failure> {
        match self.destination.clone() {
            ServerChoice::Manual { ip, cn, port } => Ok(vec![Candidate {
                location: "manual".into(),
                server: Server { cn, ip },
                port,
                // PIA does not say; the attempt will.
                port_forwarding: true,
            }]),
            ServerChoice::DedicatedIp(dip) => {
                Ok(vec![self.dedicated_ip(&dip, search_token, kill_switch)?])
            }
            ServerChoice::Locations(ids) => self.of_locations(&ids, kill_switch),
            ServerChoice::Nearest => self.nearest(kill_switch),
            ServerChoice::Unset => Ok(Vec::new()),
        }
    }
}

/// The token that registrations are made with.
struct SearchToken {
    token: Token,
    /// Whether it was got for this search, rather than stored.
    is_new: bool,
}

fn is_refusal_of_token<T>(outcome: &Result<T, ApiError>) -> bool {
    matches!(outcome, Err(error) if error.remedy() == Remedy::LogInAgain)
}
