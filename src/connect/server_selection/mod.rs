//! Which servers there are: of locations, near ones, a dedicated IP's; and the lists that say so.

pub mod candidates;
pub mod latency;
pub mod locations;

use std::time::Duration;

use self::candidates::Candidate;
use self::locations::LocationProblem;
use super::hosts::Service;
use super::{Connector, SearchToken, is_refusal_of_token, location_table};
use crate::failure::Failure;
use crate::firewall::Destination;
use crate::firewall::kill_switch::KillSwitch;
use crate::pia::account::{self as pia_account, ListVersion};
use crate::pia::error::{ApiError, Remedy};
use crate::pia::host::REGISTRATION_PORT;
use crate::pia::regions::Location;
use crate::pia::retry::RetryPolicy;
use crate::system::secret::Secret;

/// How long the list's host may take when a stored list could serve.
const LIST_TIMEOUT_IF_STORED: Duration = Duration::from_secs(15);
/// The same where a list of this life could: a reconnect is under way.
const LIST_TIMEOUT_IF_AT_HAND: Duration = Duration::from_secs(4);
/// Further downloads in search of a server with a stable address.
const MAX_STABLE_IP_DOWNLOADS: usize = 5;
/// The nearest locations that `LOC=auto` tries.
const MAX_NEAREST: usize = 5;

impl Connector {
    pub(super) fn dedicated_ip(
        &mut self,
        dip: &Secret,
        search_token: &mut SearchToken,
        kill_switch: &KillSwitch,
    ) -> Result<Candidate, Failure> {
        let known = self.dedicated.clone();
        let retry = if known.is_some() {
            self.retry.briefly(LIST_TIMEOUT_IF_AT_HAND)
        } else {
            self.retry
        };
        match (known, self.in_doubt) {
            (Some(known), false) => Ok(known),
            (known, _) => match self.ask_dedicated_ip(dip, search_token, &retry, kill_switch) {
                Ok(candidate) => {
                    self.in_doubt = false;
                    self.dedicated = Some(candidate.clone());
                    Ok(candidate)
                }
                Err(Failure::Stopped) => Err(Failure::Stopped),
                Err(failure) => known.ok_or(failure),
            },
        }
    }

    pub(super) fn ask_dedicated_ip(
        &mut self,
        dip: &Secret,
        search_token: &mut SearchToken,
        retry: &RetryPolicy,
        kill_switch: &KillSwitch,
    ) -> Result<Candidate, Failure> {
        self.hosts
            .open(&[Service::Account], kill_switch, &self.stop)?;
        let host = self.hosts.service(Service::Account)?;
        log::info!("Asking for the server of the dedicated IP");
        let mut answer =
            pia_account::dedicated_ip(&host, &search_token.token, dip, retry, &self.stop);
        if is_refusal_of_token(&answer) && self.renew(search_token, kill_switch)? {
            answer = pia_account::dedicated_ip(&host, &search_token.token, dip, retry, &self.stop);
        }
        let found = answer.inspect_err(|_| self.hosts.doubt(Service::Account))?;
        Ok(Candidate {
            location: found.id.clone(),
            port_forwarding: found.port_forward,
            server: found.server,
            port: REGISTRATION_PORT,
        })
    }

    pub(super) fn of_locations(
        &mut self,
        ids: &[String],
        kill_switch: &KillSwitch,
    ) -> Result<Vec<Candidate>, Failure> {
        self.have_list(kill_switch)?;
        let mut choice = locations::choose(ids, &self.directory.lists());
        let lacks = |problem: &LocationProblem| !matches!(problem, LocationProblem::Offline { .. });
        if choice.problems.iter().any(lacks) {
            // The newer list knows more; and a location can be missing from one download and be
            // back in the next.
            self.fetch(
                ListVersion::V7,
                self.retry.briefly(LIST_TIMEOUT_IF_STORED),
                kill_switch,
            )?;
            self.directory.recall()?;
            choice = locations::choose(ids, &self.directory.lists());
        }
        for problem in &choice.problems {
            log::warn!("{problem}");
        }
        if choice.locations.is_empty() {
            let what = choice
                .problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            let unknown =
                |problem: &LocationProblem| matches!(problem, LocationProblem::Unknown { .. });
            let for_good = self.directory.is_fresh() && choice.problems.iter().all(unknown);
            return Err(if for_good {
                Failure::lasting(what)
            } else {
                Failure::passing(what)
            });
        }
        let locations = if self.stable_ip {
            self.stable(choice.locations, kill_switch)?
        } else {
            candidates::with_all_servers(&choice.locations, &self.directory.lists())
        };
        Ok(candidates::of_locations(
            &locations,
            self.registration_port(),
            &mut fastrand::Rng::new(),
        ))
    }

    pub(super) fn nearest(&mut self, kill_switch: &KillSwitch) -> Result<Vec<Candidate>, Failure> {
        self.have_list(kill_switch)?;
        let mut locations: Vec<Location> = self
            .directory
            .lists()
            .first()
            .map(|list| {
                list.locations
                    .iter()
                    .filter(|location| locations::is_usable(location))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default();
        if self.wants_port_forwarding {
            locations.retain(|location| location.port_forward);
        }
        if self.stable_ip {
            locations = candidates::with_stable_ip(&locations, &self.directory.lists());
        }
        let port = self.registration_port();
        let first = |location: &Location| {
            location
                .servers
                .first()
                .map(|server| Destination::tcp(server.ip, port))
        };
        kill_switch.admit(locations.iter().filter_map(first))?;
        let measured =
            latency::nearest_first(locations, port, self.hosts.via(), &self.stop, |_| ());
        self.stop.check()?;
        let shown = measured
            .iter()
            .take(MAX_NEAREST)
            .map(|(location, latency)| format!("{} {} ms", location.id, latency.as_millis()));
        log::info!(
            "Nearest locations: {}",
            shown.collect::<Vec<_>>().join(", ")
        );
        self.nearness = measured
            .iter()
            .map(|(location, _)| location.id.clone())
            .collect();
        let near: Vec<Location> = measured
            .into_iter()
            .take(MAX_NEAREST)
            .map(|(location, _)| location)
            .collect();
        if near.is_empty() {
            return Err(Failure::passing(
                "LOC=auto: no location answered; check that the network is up, or name a location",
            ));
        }
        Ok(candidates::of_locations(
            &near,
            port,
            &mut fastrand::Rng::new(),
        ))
    }

    /// Only servers that keep their public address; each download names a few, so more are asked
    /// for.
    pub(super) fn stable(
        &mut self,
        locations: Vec<Location>,
        kill_switch: &KillSwitch,
    ) -> Result<Vec<Location>, Failure> {
        for download in 0..=MAX_STABLE_IP_DOWNLOADS {
            let found = candidates::with_stable_ip(&locations, &self.directory.lists());
            if !found.is_empty() || download == MAX_STABLE_IP_DOWNLOADS {
                break;
            }
            let version = if download % 2 == 0 {
                ListVersion::V6
            } else {
                ListVersion::V7
            };
            self.fetch(
                version,
                self.retry.briefly(LIST_TIMEOUT_IF_STORED),
                kill_switch,
            )?;
        }
        let lists = self.directory.lists();
        let found = candidates::with_stable_ip(&locations, &lists);
        if found.is_empty() {
            let mut elsewhere: Vec<&str> = lists
                .iter()
                .flat_map(|list| locations::locations_with(list, locations::has_stable_ip))
                .collect();
            elsewhere.sort_unstable();
            elsewhere.dedup();
            let wanted = locations
                .iter()
                .map(|location| location.id.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            let others = match elsewhere.as_slice() {
                [] => "no location has one in the lists of today".to_owned(),
                ids => format!("these locations have one: {}", ids.join(", ")),
            };
            return Err(Failure::passing(format!(
                "STABLE_IP=1: none of the server lists names a server with a stable address for \
                 {wanted}; {others}"
            )));
        }
        Ok(found)
    }

    /// Makes sure that there is a list: one from before that is not in doubt, else fetched, else
    /// the stored one.
    pub(super) fn have_list(&mut self, kill_switch: &KillSwitch) -> Result<(), Failure> {
        let at_hand = !self.directory.lists().is_empty();
        if at_hand && !self.in_doubt {
            return Ok(());
        }
        let retry = match (at_hand, self.directory.has_stored()) {
            (true, _) => self.retry.briefly(LIST_TIMEOUT_IF_AT_HAND),
            (false, true) => self.retry.briefly(LIST_TIMEOUT_IF_STORED),
            (false, false) => self.retry,
        };
        let failure = match self.fetch(ListVersion::V6, retry, kill_switch) {
            Ok(None) => {
                self.in_doubt = false;
                return Ok(());
            }
            Ok(Some(error)) if error.is_bad_signature() && !at_hand => {
                return Err(Failure::passing(format!(
                    "{error}; if this does not pass, something on the way changes it, or \
                     PIA_SERVERLIST_KEY_FILE is wrong"
                )));
            }
            Ok(Some(error)) => Failure::from(error),
            Err(failure) => failure,
        };
        if failure == Failure::Stopped || !(at_hand || self.directory.recall()?) {
            return Err(failure);
        }
        log::warn!("{failure}; using the stored server list");
        Ok(())
    }

    /// `Some` is the reason why the list could not be had.
    pub(super) fn fetch(
        &mut self,
        version: ListVersion,
        retry: RetryPolicy,
        kill_switch: &KillSwitch,
    ) -> Result<Option<ApiError>, Failure> {
        self.hosts
            .open(&[Service::ServerList], kill_switch, &self.stop)?;
        let host = self.hosts.service(Service::ServerList)?;
        let fetched = self.directory.fetch(&host, version, &retry, &self.stop)?;
        match fetched {
            Ok(()) => Ok(None),
            Err(error) if error.remedy() == Remedy::Stopped => Err(Failure::Stopped),
            Err(error) => {
                self.hosts.doubt(Service::ServerList);
                Ok(Some(error))
            }
        }
    }

    pub(super) fn print_locations(&mut self, kill_switch: &KillSwitch) -> Failure {
        if let Err(failure) = self.have_list(kill_switch) {
            return failure;
        }
        if let Some(list) = self.directory.lists().first() {
            log::info!("LOC is empty; set it to one of these locations (or to auto):");
            print!("{}", location_table::short(list));
        }
        Failure::Listed
    }

    pub(super) fn registration_port(&self) -> u16 {
        self.directory
            .lists()
            .first()
            .map_or(REGISTRATION_PORT, |list| list.ports.registration)
    }
}
