//! Asks the server, step by step as the machine says, and hands the effects on.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use super::lease_machine::LeaseMachine;
use super::step::{Effect, Step};
use super::timekeeper::Now;
use crate::connect::account::Account;
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::credentials::Token;
use crate::pia::error::ApiError;
use crate::pia::forwarding;
use crate::pia::host::Host;
use crate::pia::lease::Lease;
use crate::pia::trust;
use crate::system::cancellation::CancellationToken;
use crate::underlay::socket::Via;

/// For one request: with the time for another address ten seconds, by which failures are judged. A
/// third address is there only where the server calls itself by another one than the list.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);
/// The same at another address, after the first was given its time.
const OTHER_ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a pause may be before the clocks are looked at again: one of them stands still while
/// the machine sleeps.
const MAX_PAUSE_SLICE: Duration = Duration::from_secs(30);

/// Where ports are asked for, through the tunnel.
#[derive(Debug, Clone)]
pub struct PortService {
    /// The server's common name.
    pub cn: String,
    /// The address inside the tunnel first; where that does not serve, the server's own, as it says
    /// itself and as the list says, has worked.
    pub addresses: Vec<Ipv4Addr>,
    /// PIA's own authority.
    pub ca_file: PathBuf,
    pub via: Via,
    /// Whether PIA says that this server forwards ports.
    pub is_supported: bool,
}

/// Keeps a port at one server.
pub struct Worker {
    service: PortService,
    account: Account,
    /// The server by each of its addresses; empty before the first request.
    hosts: Vec<Host>,
    /// The number of the one that served last.
    serving: usize,
    /// The token that the last lease was asked for with.
    token: Option<Token>,
}

impl Worker {
    /// `account` must be the one that the tunnel was registered with.
    pub fn new(service: PortService, account: Account) -> Self {
        Self {
            service,
            account,
            hosts: Vec::new(),
            serving: 0,
            token: None,
        }
    }

    /// From now on the machine's server is this one.
    pub fn take_over(&self, machine: &mut LeaseMachine) {
        machine.move_to_server(self.service.is_supported, Now::read());
    }

    /// The machine's server, with the same key, answers again.
    pub fn come_back(machine: &mut LeaseMachine) {
        machine.return_to_server(Now::read());
    }

    /// Takes one step after the other until it is cancelled, or `handle` wants no more. It must be
    /// the machine's server.
    pub fn run<T>(
        mut self,
        machine: &mut LeaseMachine,
        mut handle: impl FnMut(Effect) -> ControlFlow<T>,
        stop: &CancellationToken,
    ) -> Option<T> {
        loop {
            let effects = self.take_step(machine, stop)?;
            for effect in effects {
                if let ControlFlow::Break(end) = handle(effect) {
                    return Some(end);
                }
            }
        }
    }

    /// `None` where the step was cancelled.
    fn take_step(
        &mut self,
        machine: &mut LeaseMachine,
        stop: &CancellationToken,
    ) -> Option<Vec<Effect>> {
        let effects = match machine.next(Now::read()) {
            Step::Wait(pause) => {
                stop.pause(pause.min(MAX_PAUSE_SLICE)).ok()?;
                Vec::new()
            }
            Step::Withdraw => machine.lapsed(),
            Step::DeclareFatal => machine.declare_fatal(),
            Step::Lease => {
                let answer = self.lease(stop);
                machine.leased(unless_cancelled(answer)?, Now::read())
            }
            Step::Bind(lease) => {
                let answer = self.bind(&lease, stop);
                machine.bound(&lease, unless_cancelled(answer)?, Now::read())
            }
            Step::LogIn => {
                log::info!("Port forwarding: the account token is refused; logging in again");
                let answer = self.account.renew(self.token.as_ref(), stop).map(drop);
                machine.logged_in(unless_cancelled(answer)?, Now::read())
            }
        };
        Some(effects)
    }

    fn lease(&mut self, stop: &CancellationToken) -> Result<Lease, Failure> {
        self.token = self.account.token();
        let Some(token) = self.token.clone() else {
            return Err(Failure::new(
                FailureKind::PortForwarding,
                Retry::Later(None),
                "there is no account token",
            ));
        };
        self.ask(|host, timeout| forwarding::lease(host, &token, timeout, stop))
    }

    fn bind(&mut self, lease: &Lease, stop: &CancellationToken) -> Result<(), Failure> {
        self.ask(|host, timeout| {
            let answer = forwarding::bind_port(host, lease, timeout, stop)?;
            log::debug!("bindPort: {answer}");
            Ok(())
        })
    }

    /// Asks each address of the server until one answers as its port service, beginning with the
    /// one that did so last. What a later one refuses counts only where nobody listens at those
    /// before; and that we are not authorized, which some say to everybody, counts beside the first
    /// address only of one that has served, and where nobody serves there.
    fn ask<T>(
        &mut self,
        request: impl Fn(&Host, Duration) -> Result<T, ApiError>,
    ) -> Result<T, Failure> {
        self.find_hosts()?;
        let (mut failure, mut doubtful): (Option<ApiError>, Option<ApiError>) = (None, None);
        let others = (0..self.hosts.len()).filter(|number| *number != self.serving);
        for number in std::iter::once(self.serving).chain(others) {
            let Some(host) = self.hosts.get(number) else {
                continue;
            };
            let timeout = match number == self.serving {
                true => REQUEST_TIMEOUT,
                false => OTHER_ADDRESS_TIMEOUT,
            };
            let error = match request(host, timeout) {
                Ok(answer) => {
                    self.serving = number;
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if number > 0 && error.is_unauthorized() {
                doubtful = doubtful.or_else(|| (number == self.serving).then_some(error));
                continue;
            }
            let counts = failure.as_ref().is_none_or(ApiError::is_nobody_there);
            if error.is_stopped() || (counts && !error.is_of_address()) {
                return Err(error.into());
            }
            if counts {
                failure = Some(error);
            }
        }
        if failure.as_ref().is_none_or(ApiError::is_of_address)
            && let Some(doubtful) = doubtful
        {
            return Err(doubtful.into());
        }
        let no_address = || {
            let text = "the server has no address for port forwarding";
            Failure::new(FailureKind::NoPortForwarding, Retry::NextServer, text)
        };
        Err(failure.map_or_else(no_address, Failure::from))
    }

    fn find_hosts(&mut self) -> Result<(), Failure> {
        if !self.hosts.is_empty() {
            return Ok(());
        }
        let PortService {
            cn, ca_file, via, ..
        } = &self.service;
        let pia = trust::pia(ca_file)?;
        for address in &self.service.addresses {
            self.hosts
                .push(Host::forwarding(cn, *address, &pia, via.clone()));
        }
        Ok(())
    }
}

fn unless_cancelled<T>(answer: Result<T, Failure>) -> Option<Result<T, Failure>> {
    match answer {
        Err(failure) if failure.is_cancelled() => None,
        answer => Some(answer),
    }
}
