//! Whether anything answers through an interface: ICMP echo to several targets at the same time.
//! What an answer, or its absence, means for the tunnel is not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use super::deadline::Deadline;
use super::icmp_echo;
use super::name_servers::NameServers;
use super::resolver::Resolver;
use super::socket::Via;
use crate::system::cancellation::{CancellationToken, Cancelled};

/// So long only one target is asked, by the caller's own thread: most questions are answered by
/// then, and who asks once a minute, for years, is to make no threads for it.
const HEAD_START: Duration = Duration::from_millis(300);

/// Whom to ask, by which interface.
#[derive(Debug, Clone)]
pub struct Prober {
    interface: String,
    targets: Vec<String>,
    resolver: Resolver,
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
    /// Nobody could be asked, as this machine's own packet filter lets nothing out: that says
    /// nothing of the other end.
    #[error("nothing can be asked through {interface}: {why}")]
    NotAsked { interface: String, why: String },
    /// A stop was asked for.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Why one target was not heard.
enum Unheard {
    /// Nothing could be asked.
    Refused(String),
    Silent(String),
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
        }
    }

    /// The first target that answers. One whose address is known has a head start; then all are
    /// asked at the same time, and again until one does.
    ///
    /// # Errors
    /// When none does, could be asked, or a stop is asked for.
    pub fn any_answers(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        let deadline = Deadline::after(timeout);
        let mut addresses = self.targets.iter().filter_map(|target| target.parse().ok());
        if let Some(first) = addresses.next() {
            let head_start = Deadline::after(HEAD_START.min(timeout));
            if icmp_echo::answered(&self.interface, first, head_start, stop).is_ok() {
                return Ok(first.to_string());
            }
            stop.check()?;
        }
        self.any_of_all_answers(timeout, deadline, stop)
    }

    fn any_of_all_answers(
        &self,
        timeout: Duration,
        deadline: Deadline,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        // Ends the questions that are still open when one is answered or time is up.
        let (enough, _guard) = stop.child();
        let (sender, answers) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut unasked = Vec::new();
            for target in &self.targets {
                let (sender, enough) = (sender.clone(), enough.clone());
                // Nobody listens any more once one has answered.
                let ask = move || {
                    drop(sender.send((target, self.ask(target, deadline, &enough))));
                };
                if Builder::new().spawn_scoped(scope, ask).is_err() {
                    unasked.push(target);
                }
            }
            // Where threads are refused, as `pids_limit` does, one after the other.
            for target in unasked {
                drop(sender.send((target, self.ask(target, deadline, &enough))));
            }
            drop(sender);
            let mut failures = Vec::new();
            let mut refused = None;
            while let Ok((target, answer)) = answers.recv_timeout(deadline.left()) {
                match answer {
                    Ok(()) => {
                        enough.cancel();
                        return Ok(target.clone());
                    }
                    Err(Unheard::Refused(why)) => refused = Some(why),
                    Err(Unheard::Silent(why)) => failures.push(format!("{target}: {why}")),
                }
            }
            // All of them say now what they know.
            enough.cancel();
            for (_, answer) in &answers {
                if let Err(Unheard::Refused(why)) = answer {
                    refused = Some(why);
                }
            }
            stop.check()?;
            if let (Some(why), true) = (refused, failures.is_empty()) {
                let interface = self.interface.clone();
                return Err(Unanswered::NotAsked { interface, why });
            }
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
        deadline: Deadline,
        stop: &CancellationToken,
    ) -> Result<(), Unheard> {
        let address = self.address_of(target, stop).map_err(Unheard::Silent)?;
        icmp_echo::answered(&self.interface, address, deadline, stop).map_err(|error| {
            match error.kind() {
                ErrorKind::PermissionDenied => Unheard::Refused(error.to_string()),
                _ => Unheard::Silent(error.to_string()),
            }
        })
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
