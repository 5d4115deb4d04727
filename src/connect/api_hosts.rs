//! The hosts of PIA's API: looked up once, remembered, and let through the gate.

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::gate::Gate;
use crate::failure::Failure;
use crate::firewall::Destination;
use crate::pia::error::ApiError;
use crate::pia::host::{self, Host};
use crate::pia::regions::Server;
use crate::pia::retry::RetryPolicy;
use crate::pia::trust;
use crate::settings::Meta;
use crate::system::backoff::pause_in_outage;
use crate::system::cancellation::CancellationToken;
use crate::system::parallel;
use crate::underlay::public_address;
use crate::underlay::resolver::{ResolveError, Resolver};
use crate::underlay::socket::Via;

/// The shortest pause between two look-ups in an outage of the name servers.
const MIN_PAUSE: Duration = Duration::from_millis(800);

/// What is asked of PIA outside a VPN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Account,
    ServerList,
}

impl Service {
    const ALL: [Self; 2] = [Self::Account, Self::ServerList];

    fn name(self) -> &'static str {
        match self {
            Self::Account => host::ACCOUNT_HOST,
            Self::ServerList => host::SERVER_LIST_HOST,
        }
    }
}

/// What is known of a service's name.
#[derive(Default)]
struct Known {
    /// Empty before it was looked up.
    addresses: Vec<Ipv4Addr>,
    is_in_doubt: bool,
}

impl Known {
    fn is_sure(&self) -> bool {
        !self.addresses.is_empty() && !self.is_in_doubt
    }

    /// A router that answers every question by itself while its own way out is down does not have
    /// what was true forgotten.
    fn is_truer_than(&self, addresses: &[Ipv4Addr]) -> bool {
        let is_public = |address: &Ipv4Addr| public_address::is_possible(*address, &[]);
        self.addresses.iter().any(is_public) && !addresses.iter().any(is_public)
    }
}

/// What was learnt, by whichever thread; the lock is held for moments only.
#[derive(Default)]
struct Learnt {
    pia: Option<Arc<ClientConfig>>,
    account: Known,
    server_list: Known,
}

impl Learnt {
    fn known(&mut self, service: Service) -> &mut Known {
        match service {
            Service::Account => &mut self.account,
            Service::ServerList => &mut self.server_list,
        }
    }
}

/// Addresses and certificates of the API's hosts.
pub struct ApiHosts {
    meta: Option<Meta>,
    resolver: Resolver,
    via: Via,
    ca_file: PathBuf,
    gate: Gate,
    learnt: Mutex<Learnt>,
    /// The public web's authorities, which are many: locked while they are read, so that it is done
    /// once.
    web: Mutex<Option<Arc<ClientConfig>>>,
    /// Held while names are looked up, so that who comes meanwhile takes what that brings.
    looking_up: Mutex<()>,
}

impl ApiHosts {
    /// Nothing is looked up or read before it is needed. `ca_file` is PIA's own authority.
    pub fn new(
        meta: Option<Meta>,
        resolver: Resolver,
        via: Via,
        ca_file: PathBuf,
        gate: Gate,
    ) -> Self {
        Self {
            meta,
            resolver,
            via,
            ca_file,
            gate,
            learnt: Mutex::default(),
            web: Mutex::default(),
            looking_up: Mutex::default(),
        }
    }

    /// The way to all of them.
    pub fn via(&self) -> &Via {
        &self.via
    }

    /// What requests have to pass.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The host of a service: looked up, unless its address is known and not in doubt, and admitted
    /// by the gate.
    ///
    /// # Errors
    /// When the name cannot be resolved and no address is known from before, or the certificates to
    /// trust cannot be read.
    pub fn service(&self, service: Service, stop: &CancellationToken) -> Result<Host, Failure> {
        if let Some(meta) = &self.meta {
            self.gate.admit([Destination::tcp(meta.ip, meta.port)])?;
            let server = Server {
                cn: meta.cn.clone(),
                ip: meta.ip,
            };
            return Ok(Host::meta(
                &server,
                meta.port,
                &self.pia()?,
                self.via.clone(),
            ));
        }
        // The way to the name servers may be shut since the last connect.
        self.gate.admit([])?;
        let (web, known) = parallel::both(|| self.web(), || self.look_up(service, stop));
        known?;
        // The other one is likely to be asked too, and each load of rules takes time.
        let mut destinations = Vec::new();
        for known in Service::ALL {
            let addresses = self.lock().known(known).addresses.clone();
            destinations.extend(
                addresses
                    .iter()
                    .map(|ip| Destination::tcp(*ip, host::WEB_PORT)),
            );
        }
        self.gate.admit(destinations)?;
        let addresses = self.lock().known(service).addresses.clone();
        let web = web?;
        Ok(match service {
            Service::Account => Host::account(addresses, &web, self.via.clone()),
            Service::ServerList => Host::server_list(addresses, &web, self.via.clone()),
        })
    }

    /// [`Self::service`], looked up again where name servers may yet answer, for as long as `retry`
    /// would ask the host itself.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub fn service_patiently(
        &self,
        service: Service,
        retry: &RetryPolicy,
        stop: &CancellationToken,
    ) -> Result<Host, Failure> {
        let patience = retry.patience();
        let begun = Instant::now();
        let mut rng = fastrand::Rng::new();
        let mut is_said = false;
        loop {
            let failure = match self.service(service, stop) {
                Err(failure) if may_pass(&failure) => failure,
                outcome => return outcome,
            };
            let pause = pause_in_outage(begun.elapsed(), MIN_PAUSE..=retry.delay, &mut rng);
            let left = patience.saturating_sub(begun.elapsed());
            if left <= pause {
                return Err(failure);
            }
            if !is_said {
                is_said = true;
                log::warn!("{failure}. Trying again for {} s", left.as_secs().max(1));
            }
            stop.pause(pause)?;
        }
    }

    /// This host of a service, for one try after the other: after a failure on the way it is looked
    /// up again, as a name server may have lied.
    pub fn at_each_try(
        &self,
        service: Service,
        host: Host,
        stop: &CancellationToken,
    ) -> impl FnMut(Option<&ApiError>) -> Host {
        let mut host = host;
        move |before| {
            if before.is_some_and(|error| !error.is_answer()) {
                self.doubt(service);
                if let Ok(found) = self.service(service, stop) {
                    host = found;
                }
            }
            host.clone()
        }
    }

    /// A request to this service failed on the way: its name is looked up again before the next.
    pub fn doubt(&self, service: Service) {
        self.lock().known(service).is_in_doubt = true;
    }

    /// The same, unless the failure is an answer of the right host: what a name server says next
    /// is no truer than its address.
    pub fn doubt_after(&self, error: &ApiError, service: Service) {
        if !error.is_of_right_host() {
            self.doubt(service);
        }
    }

    /// A VPN server, to register there.
    ///
    /// # Errors
    /// When PIA's authority cannot be read.
    pub fn server(&self, server: &Server, port: u16) -> Result<Host, Failure> {
        Ok(Host::server(server, port, &self.pia()?, self.via.clone()))
    }

    /// PIA's own authority.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pia(&self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(pia) = &self.lock().pia {
            return Ok(Arc::clone(pia));
        }
        let pia = trust::pia(&self.ca_file)?;
        self.lock().pia = Some(Arc::clone(&pia));
        Ok(pia)
    }

    /// The authorities of the public web.
    ///
    /// # Errors
    /// When none can be read.
    pub fn web(&self) -> Result<Arc<ClientConfig>, Failure> {
        let mut known = self.web.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(web) = &*known {
            return Ok(Arc::clone(web));
        }
        let web = trust::web()?;
        *known = Some(Arc::clone(&web));
        Ok(web)
    }

    fn look_up(&self, wanted: Service, stop: &CancellationToken) -> Result<(), Failure> {
        // Whoever looks up obeys the same stop as who waits here.
        let _turn = self
            .looking_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.lock().known(wanted).is_sure() {
            return Ok(());
        }
        // The other one is looked up at the same time: a reconnect may need it when no name server
        // answers.
        let mut unsure = Vec::new();
        for service in Service::ALL {
            if !self.lock().known(service).is_sure() {
                unsure.push(service);
            }
        }
        let lookup = self.gate.open_lookup()?;
        let answers = self.resolve(&unsure, stop);
        drop(lookup);
        for (service, answer) in answers {
            let mut learnt = self.lock();
            let known = learnt.known(service);
            match answer {
                Ok(addresses) if known.is_truer_than(&addresses) => {
                    log::warn!("{}: using the addresses known from before", service.name());
                }
                Ok(addresses) => {
                    *known = Known {
                        addresses,
                        is_in_doubt: false,
                    };
                }
                Err(error) if !known.addresses.is_empty() => {
                    log::warn!("{error}; using the addresses known from before");
                }
                Err(error) if service != wanted => log::debug!("{error}"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn resolve(
        &self,
        services: &[Service],
        stop: &CancellationToken,
    ) -> Vec<(Service, Result<Vec<Ipv4Addr>, ResolveError>)> {
        parallel::map(services, |service| {
            (
                service,
                self.resolver.public_addresses(service.name(), stop),
            )
        })
    }

    fn lock(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether only name servers failed, and may yet answer.
fn may_pass(failure: &Failure) -> bool {
    let source = failure.source();
    let resolve = source.and_then(|source| source.downcast_ref::<ResolveError>());
    resolve.is_some_and(ResolveError::may_pass)
}
