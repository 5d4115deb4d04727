//! Whether anything answers through an interface: ICMP echo to several targets at the same time.
//! What an answer, or its absence, means for the tunnel is not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::Builder;
use std::time::Duration;

use super::deadline::Deadline;
use super::icmp_echo;
use super::name_servers::NameServers;
use super::resolver::Resolver;
use super::socket::Via;
use crate::system::cancellation::{CancellationToken, Cancelled};

/// Whom to ask, by which interface.
#[derive(Debug, Clone)]
pub struct Prober {
    interface: String,
    targets: Vec<String>,
    resolver: Resolver,
    /// Where each target answered last.
    answered_at: Arc<Mutex<BTreeMap<String, Ipv4Addr>>>,
}

/// How a target that is a name is found.
#[derive(Debug, Clone, Copy)]
enum Lookup {
    Afresh,
    Remembered,
}

/// Nothing answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// What became of each target.
    #[error("no answer through {interface}: {}", .failures.join("; "))]
    Silent {
        interface: String,
        failures: Vec<String>,
    },
    /// A stop was asked for.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Prober {
    /// `servers` resolve the targets that are names; they are asked as everybody here asks them,
    /// for they may be in the LAN. Only the echo itself has to go through the interface.
    pub fn new(interface: &str, targets: &[String], servers: NameServers) -> Self {
        let resolver = Resolver::new(servers, Via::Routing);
        Self {
            interface: interface.to_owned(),
            targets: targets.to_vec(),
            resolver,
            answered_at: Arc::default(),
        }
    }

    /// The first target that answers; all are asked at the same time, and again until one does.
    pub fn any_answers(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        self.first_answer(Lookup::Afresh, timeout, stop)
    }

    /// The same, each target at the address that answered last: where the tunnel may be dead, its
    /// name servers would only take up the time.
    pub fn any_still_answers(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        self.first_answer(Lookup::Remembered, timeout, stop)
    }

    fn first_answer(
        &self,
        lookup: Lookup,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        let deadline = Deadline::after(timeout);
        // Ends the questions that are still open when one is answered or time is up.
        let (enough, _guard) = stop.child();
        let (sender, answers) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut unasked = Vec::new();
            for target in &self.targets {
                let (sender, enough) = (sender.clone(), enough.clone());
                // Nobody listens any more once one has answered.
                let ask = move || {
                    drop(sender.send((target, self.ask(target, lookup, deadline, &enough))));
                };
                if Builder::new().spawn_scoped(scope, ask).is_err() {
                    unasked.push(target);
                }
            }
            // Where threads are refused, as `pids_limit` does, one after the other.
            for target in unasked {
                drop(sender.send((target, self.ask(target, lookup, deadline, &enough))));
            }
            drop(sender);
            let mut failures = Vec::new();
            while let Ok((target, answer)) = answers.recv_timeout(deadline.left()) {
                match answer {
                    Ok(()) => {
                        enough.cancel();
                        return Ok(target.clone());
                    }
                    Err(why) => failures.push(format!("{target}: {why}")),
                }
            }
            enough.cancel();
            stop.check()?;
            if failures.is_empty() {
                failures.push(format!(
                    "{}: no answer in {} s",
                    self.targets.join(", "),
                    timeout.as_secs_f32()
                ));
            }
            Err(Unanswered::Silent {
                interface: self.interface.clone(),
                failures,
            })
        })
    }

    fn ask(
        &self,
        target: &str,
        lookup: Lookup,
        deadline: Deadline,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        // What another thread's panic left behind is still a map of addresses.
        let memory = || {
            self.answered_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let remembered = match lookup {
            Lookup::Afresh => None,
            Lookup::Remembered => memory().get(target).copied(),
        };
        let address = match remembered {
            Some(address) => address,
            None => self.address_of(target, stop)?,
        };
        icmp_echo::answered(&self.interface, address, deadline, stop)
            .map_err(|error| error.to_string())?;
        memory().insert(target.to_owned(), address);
        Ok(())
    }

    fn address_of(&self, target: &str, stop: &CancellationToken) -> Result<Ipv4Addr, String> {
        if let Ok(address) = target.parse() {
            return Ok(address);
        }
        let addresses = self
            .resolver
            .addresses(target, stop)
            .map_err(|error| error.to_string())?;
        addresses
            .first()
            .copied()
            .ok_or_else(|| "no address".to_owned())
    }
}
