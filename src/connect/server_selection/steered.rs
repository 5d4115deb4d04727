//! A choice that is made while a tunnel stands: what can be said against it, and the one server
//! that it may name.

use std::sync::Arc;

use super::candidates::Candidate;
use super::locations::{self, LocationProblem};
use super::{ListVersion, ServerSelection, answered};
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::account::SignedList;
use crate::pia::regions::Server;
use crate::settings::{SeenServer, ServerChoice};
use crate::system::cancellation::CancellationToken;

impl ServerSelection {
    /// From now on servers are chosen so.
    pub(in crate::connect) fn choose(&mut self, choice: ServerChoice) {
        self.selection.choice = choice;
        self.lacks_stable = false;
    }

    /// Takes a list that was fetched elsewhere, while a tunnel stands.
    pub(in crate::connect) fn learn(&mut self, version: ListVersion, list: SignedList) {
        self.lists.take(version, list);
        self.store_fetched();
        self.lists.forget_old();
        self.rest();
        self.note_learnt();
    }

    /// What the lists at hand say against this choice: a name that none of them has, or that none
    /// of the locations can be used. `None` as well where there is no list.
    pub(in crate::connect) fn objection(&mut self, choice: &ServerChoice) -> Option<String> {
        if !self.has_list() {
            return None;
        }
        let lists = self.lists.all();
        let ids = match choice {
            ServerChoice::Locations(ids) | ServerChoice::NearestOf(ids) => ids,
            ServerChoice::Server { cn, seen } => {
                let is_known = seen.is_some() || locations::server_named(cn, &lists).is_some();
                return (!is_known).then(|| locations::no_such_server(cn, &lists));
            }
            _ => return None,
        };
        let chosen = locations::choose(ids, &lists);
        let is_typo =
            |problem: &LocationProblem| matches!(problem, LocationProblem::Unknown { .. });
        let objections = chosen
            .problems
            .iter()
            .filter(|problem| chosen.locations.is_empty() || is_typo(problem));
        let words: Vec<String> = objections.map(ToString::to_string).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Why this choice, without which another serves, names no location that can be used: by the
    /// lists at hand, which may be old, and by the newer one. `None` where it names one, or there
    /// is no list.
    pub(in crate::connect) fn names_nothing(
        &mut self,
        choice: &ServerChoice,
        stop: &CancellationToken,
    ) -> Option<String> {
        let (ServerChoice::Locations(ids) | ServerChoice::NearestOf(ids)) = choice else {
            return None;
        };
        if !self.has_list() {
            return None;
        }
        let why = self.why_none_of(ids)?;
        // Only now, as to shut it takes a load of rules.
        let hosts = Arc::clone(&self.hosts);
        let _opening = hosts.gate().open();
        match self.ask_newer(true, stop) {
            Ok(()) => self.why_none_of(ids),
            Err(_) => Some(why),
        }
    }

    fn why_none_of(&self, ids: &[String]) -> Option<String> {
        let chosen = locations::choose(ids, &self.lists.all());
        let words: Vec<String> = chosen.problems.iter().map(ToString::to_string).collect();
        chosen.locations.is_empty().then(|| words.join("; "))
    }

    fn has_list(&mut self) -> bool {
        !self.lists.is_empty() || self.lists.recall().unwrap_or_default()
    }

    /// A failure to register with a server that was chosen by its name, and that no new list names:
    /// it may be there no more.
    pub(in crate::connect) fn told_if_unlisted(&self, failure: Failure) -> Failure {
        let ServerChoice::Server { cn, .. } = &self.selection.choice else {
            return failure;
        };
        let is_listed = locations::server_named(cn, &self.lists.all()).is_some();
        if is_listed || !self.lists.is_fresh() || failure.kind != FailureKind::Registration {
            return failure;
        }
        let text = format!("server {cn}: no server list at hand names it any more; {failure}");
        failure.with_kind(FailureKind::Location).with_text(text)
    }

    /// The server of this name alone.
    pub(super) fn named(
        &mut self,
        cn: &str,
        seen: Option<SeenServer>,
        stop: &CancellationToken,
    ) -> Result<Vec<Candidate>, Failure> {
        let is_listed = locations::server_named(cn, &self.lists.all()).is_some();
        if let (Some(seen), false) = (seen, is_listed) {
            return Ok(vec![Candidate {
                location: seen.location,
                server: Server {
                    cn: cn.to_owned(),
                    ip: seen.ip,
                },
                port: self.registration_port(),
                port_forwarding: seen.port_forwarding,
            }]);
        }
        if !is_listed {
            self.look_further(false, stop)?;
        }
        let lists = self.lists.all();
        let Some((location, server)) = locations::server_named(cn, &lists) else {
            let text = locations::no_such_server(cn, &lists);
            self.doubt_unless_new();
            return Err(answered(Retry::Later(None), text));
        };
        Ok(vec![Candidate {
            location: location.id.clone(),
            server: server.clone(),
            port: self.registration_port(),
            port_forwarding: location.port_forward,
        }])
    }
}
