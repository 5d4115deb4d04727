//! Finds a server that takes our key, again and again over a life.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, Builder};

use super::account::Account;
use super::api_hosts::ApiHosts;
use super::places::Places;
use super::register::{Joined, Registrar, Tried};
use super::round;
use super::search_token::SearchToken;
use super::server_selection::candidates::{self, Candidate};
use super::server_selection::{Selection, ServerSelection};
use crate::failure::{Failure, FailureKind, Retry};
use crate::firewall::Destination;
use crate::pia::account::{ListVersion, SignedList};
use crate::pia::regions::{Server, ServerList};
use crate::settings::ServerChoice;
use crate::system::cancellation::CancellationToken;
use crate::underlay::way_out::NoWayOut;

/// How many lists more are fetched where another container has the place at each server that one
/// names: a list names a few of a location's servers.
const MAX_FURTHER_LISTS: usize = 4;

/// Finds a server and registers there.
pub struct Connector {
    account: Account,
    hosts: Arc<ApiHosts>,
    servers: ServerSelection,
    places: Arc<Places>,
    /// A server that was chosen by its name is left to another container, too.
    leaves_named: bool,
}

impl Connector {
    /// Nothing is read or asked before it is needed.
    pub fn new(hosts: Arc<ApiHosts>, account: Account, selection: Selection) -> Self {
        Self {
            account,
            servers: ServerSelection::new(Arc::clone(&hosts), selection),
            hosts,
            places: Arc::default(),
            leaves_named: false,
        }
    }

    /// Leaves servers to other containers as these places say.
    #[must_use]
    pub fn beside(mut self, places: Arc<Places>) -> Self {
        self.places = places;
        self
    }

    /// Whether a server that was chosen by its name is left to another container with this volume,
    /// as there is another choice to go by.
    pub fn leave_named(&mut self, so: bool) {
        self.leaves_named = so;
    }

    /// The account, which others may use at the same time.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Finds a server that takes our key. Those to `avoid`, because they did not respond of late,
    /// the latest at the end, are tried after all others, and where another container with this
    /// volume is, last of all; those that were `tried` in vain are not. The one `in_use`, whose
    /// tunnel a reconnect may go back to, is asked when no answer is to come from others.
    /// In the container the way to PIA is open afterwards, for whoever brings up the tunnel; after
    /// a failure it is shut.
    ///
    /// # Errors
    /// When no server could be registered at, with all that was tried.
    pub fn join(
        &mut self,
        avoid: &[Server],
        tried: &Tried,
        in_use: Option<&Server>,
        stop: &CancellationToken,
    ) -> Result<Joined, Failure> {
        let found = self.find(avoid, tried, in_use, stop);
        self.servers.store_fetched();
        self.rest();
        found.map_err(told_with_way_out)
    }

    fn find(
        &mut self,
        avoid: &[Server],
        tried: &Tried,
        in_use: Option<&Server>,
        stop: &CancellationToken,
    ) -> Result<Joined, Failure> {
        let hosts = Arc::clone(&self.hosts);
        let opening = hosts.gate().open();
        let mut token = log_in(&self.account, &mut self.servers, stop)?;
        let found = find_candidates(&mut self.servers, &self.places, avoid, &mut token, stop)?;
        let mut found = candidates::avoided_last(found, avoid);
        found.retain(|one| !tried.has(&one.server));
        // WireGuard has the API's number at nearly all of them: then the tunnel's way is open as
        // soon as one has taken the key, without another load.
        let destinations = found.iter().flat_map(|one| {
            let (ip, port) = (one.server.ip, one.port);
            [Destination::tcp(ip, port), Destination::udp(ip, port)]
        });
        hosts.gate().admit(destinations)?;
        let selection = self.servers.selection();
        let registrar = Registrar {
            hosts: &hosts,
            places: &self.places,
            in_use,
            avoid,
            leaves_all: self.leaves_named
                && matches!(selection.choice, ServerChoice::Server { .. }),
            retry: selection.retry,
            local_network: &selection.local_network,
            choice: &selection.choice,
        };
        let outcome = round::register_at_any(&registrar, found, tried.clone(), &mut token, stop);
        match &outcome {
            Ok(_) => opening.keep(),
            Err(_) => self.servers.doubt_unless_new(),
        }
        outcome.map_err(|failure| self.servers.told_if_unlisted(failure))
    }

    /// What is known will not be looked at soon.
    pub fn rest(&mut self) {
        self.servers.rest();
    }

    /// The server list, for those who want to see it.
    ///
    /// # Errors
    /// When none can be had.
    pub fn server_list(&mut self, stop: &CancellationToken) -> Result<&ServerList, Failure> {
        let hosts = Arc::clone(&self.hosts);
        let _opening = hosts.gate().open();
        self.servers.server_list(stop).map_err(told_with_way_out)
    }

    /// From now on servers are chosen so.
    pub fn choose(&mut self, choice: ServerChoice) {
        self.servers.choose(choice);
    }

    /// What the lists at hand say against this choice.
    pub fn objection(&mut self, choice: &ServerChoice) -> Option<String> {
        self.servers.objection(choice)
    }

    /// Why this choice names no location that can be used, by the lists at hand and, where they
    /// say so, by the newer one, which is asked for briefly.
    pub fn names_nothing(
        &mut self,
        choice: &ServerChoice,
        stop: &CancellationToken,
    ) -> Option<String> {
        self.servers.names_nothing(choice, stop)
    }

    /// Whether the newer list is in use, too.
    pub fn has_newer_list(&self) -> bool {
        self.servers.has_newer()
    }

    /// Takes a list that was fetched elsewhere.
    pub fn learn(&mut self, version: ListVersion, list: SignedList) {
        self.servers.learn(version, list);
    }

    /// Ids of locations with port forwarding, as far as a list is at hand.
    pub fn locations_with_port_forwarding(&self) -> Vec<String> {
        self.servers.with_port_forwarding()
    }
}

/// Where nothing can leave at all, that is the reason for whatever may pass.
fn told_with_way_out(failure: Failure) -> Failure {
    if !matches!(failure.retry, Retry::Later(_)) || failure.kind == FailureKind::Local {
        return failure;
    }
    match NoWayOut::look() {
        Some(why) => {
            let text = format!("{why}; {} ({failure})", why.cure());
            failure.with_kind(FailureKind::Network).with_text(text)
        }
        None => failure,
    }
}

/// The token; where it takes a login, the server list is fetched at the same time, if need be.
///
/// # Errors
/// That there is no token, else that there is no list.
fn log_in<'a>(
    account: &'a Account,
    servers: &mut ServerSelection,
    stop: &CancellationToken,
) -> Result<SearchToken<'a>, Failure> {
    if account.token().is_some() || !servers.needs_list() {
        return SearchToken::of(account, stop);
    }
    let (search, _guard) = stop.child();
    thread::scope(|scope| {
        let list = Builder::new().spawn_scoped(scope, || servers.have_list_said(&search));
        let token = SearchToken::of(account, stop).inspect_err(|_| search.cancel())?;
        if let Ok(list) = list {
            list.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        Ok(token)
    })
}

/// Another download names other servers, so where all are poor more is fetched; should that fail,
/// these will do.
fn find_candidates(
    servers: &mut ServerSelection,
    places: &Places,
    avoid: &[Server],
    token: &mut SearchToken<'_>,
    stop: &CancellationToken,
) -> Result<Vec<Candidate>, Failure> {
    let mut found = servers.candidates(token, stop)?;
    let choice = &servers.selection().choice;
    if matches!(choice, ServerChoice::Server { .. }) || found.is_empty() {
        return Ok(found);
    }
    let is_listed = choice.is_from_list();
    for further in 0..MAX_FURTHER_LISTS {
        let is_poor = |Candidate { server, .. }: &Candidate| {
            is_listed && places.is_others(server.ip) || further == 0 && avoid.contains(server)
        };
        if !found.iter().all(is_poor) || further == 0 && !servers.turn_to_ask_further() {
            break;
        }
        servers.doubt();
        found = servers.candidates(token, stop)?;
    }
    Ok(found)
}
