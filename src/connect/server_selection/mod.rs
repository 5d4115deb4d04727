//! Which servers are to be tried: of locations, near ones, a dedicated IP's, one chosen by hand.
//!
//! Pure decisions are in `locations` and `candidates`; here are the requests that they need.

pub mod candidates;
pub mod latency;
mod location_names;
pub mod locations;
mod steered;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use self::candidates::Candidate;
use self::locations::{Choice, LocationProblem};
use super::api_hosts::{ApiHosts, Service};
use super::progress::Progress;
use super::search_token::SearchToken;
use super::server_lists::ServerLists;
use crate::failure::{Failure, FailureKind, Retry};
use crate::firewall::Destination;
use crate::pia::account::{self, ListVersion};
use crate::pia::regions::{Location, REGISTRATION_PORT, Server, ServerList};
use crate::pia::retry::RetryPolicy;
use crate::settings::ServerChoice;
use crate::system::cancellation::CancellationToken;
use crate::system::secret::Secret;

pub use super::server_lists::ListFiles;

/// How long the list's host may take when a stored list could serve.
const LIST_TIMEOUT_IF_STORED: Duration = Duration::from_secs(15);
/// The same where a list of this life could: a reconnect is under way.
const LIST_TIMEOUT_IF_AT_HAND: Duration = Duration::from_secs(4);
/// What was asked for no longer ago than this would be the same if it were asked for again.
const NEW_FOR: Duration = Duration::from_secs(30);
/// Further downloads in search of a server with a stable address.
const MAX_STABLE_IP_DOWNLOADS: usize = 5;
/// More locations than that are not named one by one in a message.
const MAX_NAMED: usize = 20;
/// The nearest locations that `LOC=auto` tries.
const MAX_NEAREST: usize = 5;

/// What the user wants of a server.
#[derive(Debug, Clone)]
pub struct Selection {
    pub choice: ServerChoice,
    /// `STABLE_IP`
    pub stable_ip: bool,
    /// Among the nearest, only locations where ports can be forwarded.
    pub port_forwarding: bool,
    pub retry: RetryPolicy,
    pub files: ListFiles,
    /// Ranges of the LAN, in which no tunnel's addresses lie.
    pub local_network: Vec<Ipv4Net>,
    /// A person may be waiting before a terminal.
    pub shows_progress: bool,
}

/// Where a list comes from.
#[derive(PartialEq, Eq)]
enum ListOrigin {
    /// Just now from its host.
    Fetched,
    /// Earlier in this life, or from an earlier one.
    Remembered,
}

/// Chooses servers, and remembers what it learnt for the next time.
pub struct ServerSelection {
    selection: Selection,
    hosts: Arc<ApiHosts>,
    lists: ServerLists,
    /// The server of the dedicated IP with this token, once known.
    dedicated: Option<(Secret, Candidate)>,
    /// Nothing that is known led to a server the last time: ask again.
    in_doubt: bool,
    /// Until then the list at hand has to serve: its host answered, but with no list.
    no_list_before: Option<Instant>,
    /// The same of the newer list, which may be asked for in vain as well.
    no_newer_before: Option<Instant>,
    /// When what is known was last asked for with success.
    learnt_at: Option<Instant>,
    /// When more was last asked for than is known.
    furthered_at: Option<Instant>,
    /// When the newer list was last had as those at hand lacked something or were in doubt, or was
    /// asked for in vain while another location served.
    newer_at: Option<Instant>,
    /// No server with a stable address was in as many lists as are fetched at once.
    lacks_stable: bool,
    /// The ids of locations, the nearest first, if that was measured.
    nearness: Vec<String>,
}

impl ServerSelection {
    /// Nothing is asked before it is needed.
    pub fn new(hosts: Arc<ApiHosts>, selection: Selection) -> Self {
        Self {
            lists: ServerLists::new(selection.files.clone()),
            selection,
            hosts,
            dedicated: None,
            in_doubt: false,
            no_list_before: None,
            no_newer_before: None,
            learnt_at: None,
            furthered_at: None,
            newer_at: None,
            lacks_stable: false,
            nearness: Vec::new(),
        }
    }

    pub(super) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// What is known did not lead to a server: the next time it is asked for anew.
    pub(super) fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// The same, unless it is new: while all servers are away, PIA is not asked for the list
    /// between any two attempts.
    pub(super) fn doubt_unless_new(&mut self) {
        if !self.learnt_at.is_some_and(is_new) {
            self.doubt();
        }
    }

    /// Whether it is time to ask for more than is known, which is not so between any two attempts
    /// either. Whoever is told so asks: the next time comes later.
    pub(super) fn turn_to_ask_further(&mut self) -> bool {
        let may = !self.furthered_at.is_some_and(is_new);
        if may {
            self.furthered_at = Some(Instant::now());
        }
        may
    }

    fn note_learnt(&mut self) {
        self.in_doubt = false;
        self.learnt_at = Some(Instant::now());
    }

    /// Ids of locations with port forwarding, the nearest first if that was measured.
    pub(super) fn with_port_forwarding(&self) -> Vec<String> {
        let Some(list) = self.lists.first() else {
            return Vec::new();
        };
        let ids = locations::locations_with_port_forwarding(list);
        candidates::nearest_first(ids, &self.nearness)
    }

    /// The servers to try, in this order.
    pub(super) fn candidates(
        &mut self,
        token: &mut SearchToken<'_>,
        stop: &CancellationToken,
    ) -> Result<Vec<Candidate>, Failure> {
        let choice = self.selection.choice.clone();
        if self.chooses_from_list() {
            self.have_list_said(stop)?;
        }
        match choice {
            ServerChoice::Manual { ip, cn, port } => Ok(vec![Candidate {
                location: "manual".into(),
                server: Server { cn, ip },
                port,
                // PIA does not say; the attempt will.
                port_forwarding: true,
            }]),
            ServerChoice::DedicatedIp(dip) => Ok(vec![self.dedicated_ip(&dip, token, stop)?]),
            ServerChoice::Locations(ids) => self.of_locations(&ids, stop),
            ServerChoice::Nearest => self.nearest(stop),
            ServerChoice::NearestOf(ids) => self.nearest_of(&ids, stop),
            ServerChoice::Server { cn, seen } => self.named(&cn, seen, stop),
            ServerChoice::Unset => Err(Failure::new(
                FailureKind::Location,
                Retry::Never,
                "which location? None is chosen",
            )),
        }
    }

    fn dedicated_ip(
        &mut self,
        dip: &Secret,
        token: &mut SearchToken<'_>,
        stop: &CancellationToken,
    ) -> Result<Candidate, Failure> {
        let mut retry = self.selection.retry;
        // A hook may have chosen another one since.
        let known = self.dedicated.as_ref().filter(|(of, _)| of == dip);
        let known = known.map(|(_, candidate)| candidate.clone());
        if let Some(known) = &known {
            if !self.in_doubt {
                return Ok(known.clone());
            }
            retry = retry.briefly(LIST_TIMEOUT_IF_AT_HAND);
        }
        match self.ask_dedicated_ip(dip, token, &retry, stop) {
            Ok(candidate) => {
                self.note_learnt();
                self.dedicated = Some((dip.clone(), candidate.clone()));
                Ok(candidate)
            }
            Err(failure) if failure.is_cancelled() => Err(failure),
            // Its server would refuse it as well, for good.
            Err(failure) if failure.kind == FailureKind::DedicatedIp => Err(failure),
            Err(failure) => known.ok_or(failure),
        }
    }

    fn ask_dedicated_ip(
        &self,
        dip: &Secret,
        token: &mut SearchToken<'_>,
        retry: &RetryPolicy,
        stop: &CancellationToken,
    ) -> Result<Candidate, Failure> {
        let host = self
            .hosts
            .service_patiently(Service::Account, retry, stop)?;
        log::info!("Asking for the server of the dedicated IP");
        let answer = token.request(stop, |token| {
            let host = self.hosts.at_each_try(Service::Account, host.clone(), stop);
            let answer = account::dedicated_ip(host, token, dip, retry, stop);
            Ok(answer.inspect_err(|error| self.hosts.doubt_after(error, Service::Account))?)
        });
        let found = answer.map_err(|failure| token.for_want_of_token(failure))?;
        Ok(Candidate {
            location: found.id,
            port_forwarding: found.port_forward,
            server: found.server,
            port: REGISTRATION_PORT,
        })
    }

    fn of_locations(
        &mut self,
        ids: &[String],
        stop: &CancellationToken,
    ) -> Result<Vec<Candidate>, Failure> {
        let chosen = self.chosen(ids, stop)?;
        Ok(self.in_order(&chosen))
    }

    fn in_order(&self, locations: &[Location]) -> Vec<Candidate> {
        let port = self.registration_port();
        candidates::of_locations(locations, port, &mut fastrand::Rng::new())
    }

    /// Of those that were named, nearest first; those that did not answer are tried last.
    fn nearest_of(
        &mut self,
        ids: &[String],
        stop: &CancellationToken,
    ) -> Result<Vec<Candidate>, Failure> {
        let chosen = self.chosen(ids, stop)?;
        let mut sorted = self.measured(chosen.clone(), stop)?;
        let is_silent = |location: &Location| !self.nearness.contains(&location.id);
        sorted.extend(chosen.into_iter().filter(is_silent));
        Ok(self.in_order(&sorted))
    }

    /// The locations that were named, as far as they can be used.
    fn chosen(
        &mut self,
        ids: &[String],
        stop: &CancellationToken,
    ) -> Result<Vec<Location>, Failure> {
        let mut choice = locations::choose(ids, &self.lists.all());
        let lacks = |problem: &LocationProblem| !matches!(problem, LocationProblem::Offline { .. });
        if choice.problems.iter().any(lacks) {
            self.look_further(!choice.locations.is_empty(), stop)?;
            choice = locations::choose(ids, &self.lists.all());
        }
        for problem in &choice.problems {
            log::warn!("{problem}");
        }
        if choice.locations.is_empty() {
            let knows_all = self.lists.is_fresh() && self.newer_at.is_some_and(is_new);
            let left = |end: Instant| end.saturating_duration_since(Instant::now());
            let not_before = self.no_newer_before.map(left);
            let failure = no_location(&choice, knows_all, not_before);
            // Whether it is back, only another download can tell.
            if failure.retry == Retry::Seldom {
                self.doubt();
                self.newer_at = None;
            } else {
                self.doubt_unless_new();
            }
            return Err(failure);
        }
        // What earlier lists alone name may be there no more.
        let is_of_earlier = |location: &Location| !self.lists.name_today(&location.id);
        choice.locations.sort_by_key(is_of_earlier);
        if self.selection.stable_ip {
            return self.stable(choice.locations, stop);
        }
        Ok(candidates::with_all_servers(
            &choice.locations,
            &self.lists.all(),
        ))
    }

    fn nearest(&mut self, stop: &CancellationToken) -> Result<Vec<Candidate>, Failure> {
        let mut usable = match self.lists.first() {
            Some(list) => list.locations.clone(),
            None => Vec::new(),
        };
        usable.retain(locations::is_usable);
        if self.selection.port_forwarding {
            usable.retain(|location| location.port_forward);
        }
        if self.selection.stable_ip {
            usable = self.stable(usable, stop)?;
        }
        if usable.is_empty() && self.selection.port_forwarding {
            self.doubt_unless_new();
            let text = "LOC=auto: no location in the server list forwards ports";
            return Err(answered(Retry::Later(None), text.to_owned()));
        }
        let mut near = self.measured(usable, stop)?;
        near.truncate(MAX_NEAREST);
        if near.is_empty() {
            // The servers of an old list may all be gone.
            self.doubt_unless_new();
            return Err(Failure::new(
                FailureKind::Location,
                Retry::Later(None),
                "LOC=auto: no location answered; check that the network is up, or name a location",
            ));
        }
        Ok(self.in_order(&near))
    }

    /// Those that answer, nearest first; says so, and remembers it.
    fn measured(
        &mut self,
        locations: Vec<Location>,
        stop: &CancellationToken,
    ) -> Result<Vec<Location>, Failure> {
        let port = self.registration_port();
        let asked = locations.iter().flat_map(latency::asked);
        let destinations = asked.map(|server| Destination::tcp(server.ip, port));
        self.hosts.gate().admit(destinations)?;
        let progress = Progress::of(locations.len(), self.selection.shows_progress);
        let show = |left| progress.show(left);
        let measured = latency::nearest_first(locations, port, self.hosts.via(), stop, show);
        drop(progress);
        stop.check()?;
        let shown: Vec<String> = measured
            .iter()
            .take(MAX_NEAREST)
            .map(|(location, latency)| format!("{} {} ms", location.id, latency.as_millis()))
            .collect();
        log::info!("Nearest locations: {}", shown.join(", "));
        let near: Vec<Location> = measured.into_iter().map(|(location, _)| location).collect();
        self.nearness = near.iter().map(|location| location.id.clone()).collect();
        Ok(near)
    }

    /// Only servers that keep their public address; each download names a few, so more are asked
    /// for: many at once, and should that be in vain, one at a time, as of all that is in doubt.
    fn stable(
        &mut self,
        wanted: Vec<Location>,
        stop: &CancellationToken,
    ) -> Result<Vec<Location>, Failure> {
        let versions = [ListVersion::V6, ListVersion::V7].into_iter().cycle();
        let more = if self.lacks_stable {
            0
        } else {
            MAX_STABLE_IP_DOWNLOADS
        };
        let mut found = candidates::with_stable_ip(&wanted, &self.lists.all());
        for version in versions.take(more) {
            if !found.is_empty() || !self.fetch_more(version, LIST_TIMEOUT_IF_STORED, stop)? {
                break;
            }
            self.lacks_stable = true;
            found = candidates::with_stable_ip(&wanted, &self.lists.all());
        }
        if found.is_empty() {
            self.doubt_unless_new();
            return Err(no_stable_server(&wanted, &self.lists.all()));
        }
        self.lacks_stable = false;
        Ok(found)
    }

    /// The best list: one from before that is not in doubt, else fetched, else the stored one.
    ///
    /// # Errors
    /// When none can be had.
    pub fn server_list(&mut self, stop: &CancellationToken) -> Result<&ServerList, Failure> {
        self.have_list(stop)?;
        self.store_fetched();
        self.lists.first().ok_or_else(|| {
            Failure::new(
                FailureKind::ServerList,
                Retry::Later(None),
                "there is no server list",
            )
        })
    }

    /// Stores what was fetched. Until then the stored list is one of an earlier day, which may name
    /// a location that is away today.
    pub(super) fn store_fetched(&mut self) {
        let ids = match &self.selection.choice {
            ServerChoice::Locations(ids) | ServerChoice::NearestOf(ids) => ids.as_slice(),
            _ => &[],
        };
        let lacks = |list: &ServerList| locations::choose(ids, &[list]).problems.len();
        self.lists.store_fetched(lacks);
    }

    /// The lists are not looked at until the next search.
    pub(super) fn rest(&mut self) {
        self.lists.rest();
    }

    /// Whether a list will have to be fetched.
    pub(super) fn needs_list(&self) -> bool {
        let is_at_hand = !self.lists.is_empty() && !self.in_doubt;
        self.chooses_from_list() && !is_at_hand
    }

    pub(super) fn chooses_from_list(&self) -> bool {
        self.selection.choice.is_from_list()
    }

    /// Makes sure that there is a list, and says so of a new one.
    pub(super) fn have_list_said(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        if self.have_list(stop)? == ListOrigin::Fetched
            && let Some(list) = self.lists.first()
        {
            let count = list.locations.len();
            log::info!("Verified server list ({count} locations)");
        }
        Ok(())
    }

    fn have_list(&mut self, stop: &CancellationToken) -> Result<ListOrigin, Failure> {
        let is_at_hand = !self.lists.is_empty();
        let must_wait = self.no_list_before.is_some_and(|end| Instant::now() < end);
        if is_at_hand && (!self.in_doubt || must_wait) {
            return Ok(ListOrigin::Remembered);
        }
        let mut retry = self.selection.retry;
        if is_at_hand {
            retry = retry.briefly(LIST_TIMEOUT_IF_AT_HAND);
        } else if self.lists.has_stored() {
            retry = retry.briefly(LIST_TIMEOUT_IF_STORED);
        }
        let failure = match self.fetch(ListVersion::V6, &retry, stop) {
            Ok(()) => {
                self.note_learnt();
                self.renew_newer(stop)?;
                return Ok(ListOrigin::Fetched);
            }
            Err(failure) if failure.is_cancelled() => return Err(failure),
            Err(failure) => failure,
        };
        if failure.kind == FailureKind::ListSignature && !is_at_hand {
            let text = format!(
                "{failure}; if this does not pass, something on the way changes it, or \
                 PIA_SERVERLIST_KEY_FILE is wrong"
            );
            return Err(failure.with_text(text));
        }
        if !is_at_hand && !self.lists.recall()? {
            return Err(failure);
        }
        if failure.is_answer() {
            self.no_list_before = Instant::now().checked_add(failure.least_pause(NEW_FOR));
        }
        log::warn!("{failure}; using the stored server list");
        Ok(ListOrigin::Remembered)
    }

    /// Where the newer list is at hand, its servers are in doubt as well: a location may be in that
    /// one alone.
    fn renew_newer(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        if self.has_newer()
            && !self.newer_at.is_some_and(is_new)
            && self.fetch_more(ListVersion::V7, LIST_TIMEOUT_IF_AT_HAND, stop)?
        {
            self.newer_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Whether the newer list is at hand, as the other one lacked something.
    pub(in crate::connect) fn has_newer(&self) -> bool {
        self.lists.has(ListVersion::V7)
    }

    /// Looks into the newer list, which knows more, and into the stored one: a location can be
    /// missing from one download and be back in the next. Not where that was done just now, and
    /// where something at hand `serves` as well, only for a newer list that was never had: a
    /// reconnect needs no list.
    fn look_further(&mut self, serves: bool, stop: &CancellationToken) -> Result<(), Failure> {
        if serves && self.has_newer() {
            return Ok(());
        }
        self.ask_newer(serves, stop)
    }

    /// Looks into the stored list, which may be of a better day, and into a new download of the
    /// newer one, unless that was done just now; only briefly where something else `serves`.
    fn ask_newer(&mut self, serves: bool, stop: &CancellationToken) -> Result<(), Failure> {
        if self.newer_at.is_some_and(is_new) {
            return Ok(());
        }
        self.lists.recall()?;
        if self.no_newer_before.is_some_and(|end| Instant::now() < end) {
            return Ok(());
        }
        let mut retry = self.selection.retry;
        if serves {
            retry = retry.briefly(LIST_TIMEOUT_IF_AT_HAND);
        }
        let failure = match self.fetch(ListVersion::V7, &retry, stop) {
            Ok(()) => {
                self.newer_at = Some(Instant::now());
                self.no_newer_before = None;
                return Ok(());
            }
            Err(failure) if failure.is_cancelled() => return Err(failure),
            Err(failure) => failure,
        };
        self.no_newer_before = Instant::now().checked_add(failure.least_pause(NEW_FOR));
        if serves {
            log::debug!("{failure}");
        } else {
            log::warn!("{failure}; whether the newer list names the location is not known");
        }
        Ok(())
    }

    /// Fetches another list in addition; that it cannot be had is no failure where there is one.
    /// Whether it was had.
    fn fetch_more(
        &mut self,
        version: ListVersion,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<bool, Failure> {
        let retry = self.selection.retry.briefly(timeout);
        match self.fetch(version, &retry, stop) {
            Err(failure) if failure.is_cancelled() => Err(failure),
            Err(failure) => {
                log::debug!("{failure}");
                Ok(false)
            }
            Ok(()) => Ok(true),
        }
    }

    fn fetch(
        &mut self,
        version: ListVersion,
        retry: &RetryPolicy,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let host = self
            .hosts
            .service_patiently(Service::ServerList, retry, stop)?;
        let host = self.hosts.at_each_try(Service::ServerList, host, stop);
        let fetched = self.lists.fetch(host, version, retry, stop);
        fetched.inspect_err(|_| self.hosts.doubt(Service::ServerList))
    }

    fn registration_port(&self) -> u16 {
        self.lists
            .first()
            .map_or(REGISTRATION_PORT, |list| list.registration_port)
    }
}

fn is_new(at: Instant) -> bool {
    at.elapsed() < NEW_FOR
}

/// `knows_all` is whether all lists are at hand as they are today; else not before the newer one
/// may be asked for.
fn no_location(choice: &Choice, knows_all: bool, not_before: Option<Duration>) -> Failure {
    let problems: Vec<String> = choice.problems.iter().map(ToString::to_string).collect();
    let is_unknown = |problem: &LocationProblem| matches!(problem, LocationProblem::Unknown { .. });
    let retry = if knows_all && choice.problems.iter().all(is_unknown) {
        Retry::Seldom
    } else {
        Retry::Later(not_before)
    };
    answered(retry, problems.join("; "))
}

fn no_stable_server(wanted: &[Location], lists: &[&ServerList]) -> Failure {
    let mut elsewhere = Vec::new();
    for list in lists {
        elsewhere.extend(locations::locations_with(list, locations::has_stable_ip));
    }
    elsewhere.sort_unstable();
    elsewhere.dedup();
    let others = match elsewhere.as_slice() {
        [] => "no location has one in the lists of today".to_owned(),
        ids => format!("these locations have one: {}", ids.join(", ")),
    };
    let wanted: Vec<&str> = wanted.iter().map(|location| location.id.as_str()).collect();
    let wanted = match wanted.len() {
        // `LOC=auto` wants all that there are.
        0 | MAX_NAMED.. => "any location that may be chosen".to_owned(),
        _ => wanted.join(", "),
    };
    let text = format!(
        "STABLE_IP=1: none of the server lists names a server with a stable address for {wanted}; \
         {others}"
    );
    answered(Retry::Later(None), text)
}

/// The lists say so, and would say the same a moment later.
fn answered(retry: Retry, text: String) -> Failure {
    Failure::new(FailureKind::Location, retry, text).with_answer(true)
}
