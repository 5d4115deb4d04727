//! The thread that asks the server, step by step as the machine says, and reports to the main loop.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

use super::Report;
use super::lease_machine::LeaseMachine;
use super::steps::{Effect, LoginSetback, Setback, Step};
use super::timekeeper::Now;
use crate::connect::Connector;
use crate::failure::Failure;
use crate::firewall::kill_switch::KillSwitch;
use crate::lifecycle::supervisor::Event;
use crate::pia::credentials::Token;
use crate::pia::error::{ApiError, ApiErrorKind};
use crate::pia::forwarding;
use crate::pia::host::Host;
use crate::pia::lease::Lease;
use crate::pia::trust;
use crate::system::cancellation::{CancellationToken, Cancelled};
use crate::system::{files, paths};
use crate::underlay::socket::Via;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a pause may be before the clocks are looked at again: one of them stands still while
/// the machine sleeps.
const MAX_PAUSE_SLICE: Duration = Duration::from_secs(5);

/// Asks the server of the tunnel in use, through the tunnel.
pub struct Worker {
    pub server: ForwardingServer,
    /// Whether PIA says that it forwards ports.
    pub supported: bool,
    pub connector: Arc<Mutex<Connector>>,
    pub kill_switch: KillSwitch,
    /// Where the lease is kept from life to life, if it is.
    pub lease_file: Option<PathBuf>,
    pub events: Sender<Event>,
}

/// Where ports are asked for.
pub struct ForwardingServer {
    pub cn: String,
    /// The address inside the tunnel first; where that refuses, the server's own has worked.
    pub addresses: Vec<Ipv4Addr>,
    pub ca_file: PathBuf,
}

impl Worker {
    /// Takes one step after the other until the stop.
    pub fn run(self, machine: &Mutex<LeaseMachine>, stop: &CancellationToken) {
        let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
        machine.move_to_server(self.supported, Now::read());
        let mut client = LeaseClient {
            worker: &self,
            stop,
            hosts: Vec::new(),
            token: None,
        };
        // The only way out is the stop.
        while client.take_step(&mut machine).is_ok() {}
    }
}

/// One run of the worker.
struct LeaseClient<'a> {
    worker: &'a Worker,
    stop: &'a CancellationToken,
    /// The server by each of its addresses, the one that worked last first.
    hosts: Vec<Host>,
    /// The token that the last signature was asked with.
    token: Option<Token>,
}

impl LeaseClient<'_> {
    fn take_step(&mut self, machine: &mut LeaseMachine) -> Result<(), Cancelled> {
        let effects = match machine.next(Now::read()) {
            Step::Wait(pause) => return self.stop.pause(pause.min(MAX_PAUSE_SLICE)),
            Step::Withdraw => machine.given_up(),
            Step::Sign => {
                let answer = self.sign()?;
                machine.signed(answer, Now::read())
            }
            Step::Bind(lease) => {
                let answer = self.bind(&lease)?;
                machine.bound(&lease, answer, Now::read())
            }
            Step::LogIn => {
                let answer = self.log_in()?;
                machine.logged_in(answer, Now::read())
            }
        };
        effects
            .into_iter()
            .try_for_each(|effect| self.apply(effect))
    }

    fn apply(&self, effect: Effect) -> Result<(), Cancelled> {
        let report = match effect {
            Effect::Keep(lease) => {
                self.keep(&lease);
                return Ok(());
            }
            Effect::Bound { port } => Report::Bound {
                port,
                at: SystemTime::now(),
            },
            Effect::Withdraw { why } => Report::Lost { why },
            Effect::Failing { why, again } => Report::Failing { why, again },
            Effect::NotHere { why } => Report::NotHere { why },
            Effect::AskAnotherServer { why } => Report::AnotherServer { why },
            Effect::Fatal { why } => Report::Fatal { why },
        };
        // Nobody listens any more once the life is over.
        self.worker
            .events
            .send(Event::PortForward(report))
            .map_err(|_| Cancelled)
    }

    fn keep(&self, lease: &Lease) {
        let Some(file) = &self.worker.lease_file else {
            return;
        };
        let written = file
            .parent()
            .map_or(Ok(()), files::make_directory)
            .and_then(|()| files::replace(file, lease.answer(), 0o600));
        if let Err(error) = written {
            log::warn!("PORT_PERSIST: {error}; the next start gets another port");
        }
    }

    fn sign(&mut self) -> Result<Result<Lease, Setback>, Cancelled> {
        if let Err(setback) = self.refresh_token() {
            return Ok(Err(setback));
        }
        let Some(token) = self.token.clone() else {
            return Ok(Err(Setback::Passing {
                why: "there is no account token".into(),
                not_before: None,
            }));
        };
        let stop = self.stop;
        self.ask(|host| forwarding::lease(host, &token, REQUEST_TIMEOUT, stop))
    }

    fn bind(&mut self, lease: &Lease) -> Result<Result<(), Setback>, Cancelled> {
        let stop = self.stop;
        self.ask(|host| {
            let answer = forwarding::bind_port(host, lease, REQUEST_TIMEOUT, stop)?;
            log::debug!("bindPort: {answer}");
            Ok(())
        })
    }

    /// Asks each address of the server until one has somebody listening.
    fn ask<T>(
        &mut self,
        request: impl Fn(&Host) -> Result<T, ApiError>,
    ) -> Result<Result<T, Setback>, Cancelled> {
        if let Err(setback) = self.find_hosts() {
            return Ok(Err(setback));
        }
        let mut outcome = Err(Setback::Closed {
            why: "the server has no address for it".into(),
        });
        for (number, host) in self.hosts.iter().enumerate() {
            outcome = match request(host) {
                Ok(answer) => {
                    self.hosts.swap(0, number);
                    return Ok(Ok(answer));
                }
                Err(ApiError {
                    kind: ApiErrorKind::Stopped,
                    ..
                }) => return Err(Cancelled),
                Err(error) => Err(setback(&error)),
            };
            if !matches!(outcome, Err(Setback::Closed { .. })) {
                break;
            }
        }
        self.stop.check()?;
        Ok(outcome)
    }

    fn find_hosts(&mut self) -> Result<(), Setback> {
        if !self.hosts.is_empty() {
            return Ok(());
        }
        let ForwardingServer {
            cn,
            addresses,
            ca_file,
        } = &self.worker.server;
        let pia = trust::pia(ca_file).map_err(|error| Setback::Passing {
            why: error.to_string(),
            not_before: None,
        })?;
        let via = Via::Interface(paths::INTERFACE.to_owned());
        self.hosts = addresses
            .iter()
            .map(|address| Host::forwarding(cn, *address, &pia, via.clone()))
            .collect();
        Ok(())
    }

    /// Takes the account's token as it is now. A reconnect that holds the connector may be busy
    /// with it for long: the token from before serves meanwhile.
    fn refresh_token(&mut self) -> Result<(), Setback> {
        match self.worker.connector.try_lock() {
            Ok(mut connector) => self.token = connector.token(),
            Err(TryLockError::Poisoned(poisoned)) => self.token = poisoned.into_inner().token(),
            Err(TryLockError::WouldBlock) if self.token.is_some() => (),
            Err(TryLockError::WouldBlock) => {
                return Err(Setback::Passing {
                    why: "a reconnect is under way".into(),
                    not_before: None,
                });
            }
        }
        Ok(())
    }

    /// Gets a new token, unless somebody else has got one since ours was refused.
    fn log_in(&mut self) -> Result<Result<(), LoginSetback>, Cancelled> {
        let mut connector = match self.worker.connector.try_lock() {
            Ok(connector) => connector,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let why = "a reconnect is under way".to_owned();
                return Ok(Err(LoginSetback::Passing {
                    why,
                    not_before: None,
                }));
            }
        };
        let present = connector.token();
        if present.is_some() && present != self.token {
            return Ok(Ok(()));
        }
        log::info!("Port forwarding: the account token is refused; logging in again");
        match connector.renew_token(&self.worker.kill_switch, self.stop) {
            Ok(_) => Ok(Ok(())),
            Err(Failure::Stopped) => Err(Cancelled),
            Err(Failure::Passing { what, not_before }) => Ok(Err(LoginSetback::Passing {
                why: what,
                not_before,
            })),
            Err(other) => Ok(Err(LoginSetback::Lasting {
                why: other.to_string(),
            })),
        }
    }
}

/// What a failure of the API means for the lease.
fn setback(error: &ApiError) -> Setback {
    let why = error.to_string();
    match &error.kind {
        ApiErrorKind::NoPortForwarding(_) => Setback::Closed { why },
        ApiErrorKind::LeaseRefused { reason, .. } => Setback::Refused {
            why,
            reason: *reason,
        },
        _ => Setback::Passing {
            why,
            not_before: error.retry_after(),
        },
    }
}

/// The lease of an earlier life, if there is a good one.
pub fn stored_lease(file: &Path) -> Option<Lease> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            log::warn!(
                "PORT_PERSIST: {}: {error}; a new port is asked for",
                file.display()
            );
            return None;
        }
    };
    match Lease::parse(&text) {
        Ok(lease) => {
            let left = lease
                .expires_at
                .duration_since(SystemTime::now())
                .unwrap_or_default();
            if lease.is_due_for_renewal(SystemTime::now()) {
                log::info!(
                    "The stored lease of port {} has expired or soon will; a new one is asked for",
                    lease.port
                );
            } else {
                log::info!(
                    "Using the stored lease of port {}, good for {} days",
                    lease.port,
                    left.as_secs() / 86_400
                );
            }
            Some(lease)
        }
        Err(error) => {
            log::warn!("{}: {error}; a new port is asked for", file.display());
            None
        }
    }
}
