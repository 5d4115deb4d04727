//! The hosts of PIA's API: looked up once, remembered, and let through the kill switch.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::failure::Failure;
use crate::firewall::Destination;
use crate::firewall::kill_switch::KillSwitch;
use crate::pia::host::{self, Host};
use crate::pia::regions::Server;
use crate::pia::trust;
use crate::settings::Meta;
use crate::system::cancellation::CancellationToken;
use crate::underlay::resolver::{ResolveError, Resolver};
use crate::underlay::socket::Via;

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
}

/// Addresses and certificates of the API's hosts.
pub struct Hosts {
    meta: Option<(Server, u16)>,
    resolver: Resolver,
    via: Via,
    ca_file: PathBuf,
    web: Option<Arc<ClientConfig>>,
    pia: Option<Arc<ClientConfig>>,
    account: Known,
    server_list: Known,
}

impl Hosts {
    /// Nothing is looked up or read before it is needed.
    pub fn new(meta: Option<&Meta>, resolver: Resolver, via: Via, ca_file: PathBuf) -> Self {
        Self {
            meta: meta.map(|meta| {
                (
                    Server {
                        cn: meta.cn.clone(),
                        ip: meta.ip,
                    },
                    meta.port,
                )
            }),
            resolver,
            via,
            ca_file,
            web: None,
            pia: None,
            account: Known::default(),
            server_list: Known::default(),
        }
    }

    /// Looks these services up, unless their addresses are known and not in doubt, and lets
    /// requests to them through.
    ///
    /// # Errors
    /// When a name cannot be resolved and no address is known from before.
    pub fn open(
        &mut self,
        services: &[Service],
        kill_switch: &KillSwitch,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        if let Some((server, port)) = &self.meta {
            return Ok(kill_switch.admit([Destination::tcp(server.ip, *port)])?);
        }
        // The way to the name servers may be shut since the last connect.
        kill_switch.admit([])?;
        self.look_up(services, stop)?;
        let addresses = services
            .iter()
            .flat_map(|service| &self.known(*service).addresses);
        Ok(kill_switch
            .admit(addresses.map(|address| Destination::tcp(*address, host::WEB_PORT)))?)
    }

    /// Looks these services up, unless their addresses are known and not in doubt.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look_up(
        &mut self,
        services: &[Service],
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        if self.meta.is_some() {
            return Ok(());
        }
        let unsure = |service: &Service| !self.known(*service).is_sure();
        if !services.iter().any(unsure) {
            return Ok(());
        }
        // What is not asked for now is looked up at the same time: a reconnect may need it when no
        // name server answers.
        let wanted: Vec<Service> = Service::ALL.into_iter().filter(unsure).collect();
        let resolver = &self.resolver;
        let answers: Vec<(Service, Result<Vec<Ipv4Addr>, ResolveError>)> =
            std::thread::scope(|scope| {
                let lookups: Vec<_> = wanted
                    .into_iter()
                    .map(|service| {
                        (
                            service,
                            scope.spawn(move || resolver.addresses(service.name(), stop)),
                        )
                    })
                    .collect();
                lookups
                    .into_iter()
                    .filter_map(|(service, lookup)| Some((service, lookup.join().ok()?)))
                    .collect()
            });
        for (service, answer) in answers {
            match answer {
                Ok(addresses) => {
                    *self.known_mut(service) = Known {
                        addresses,
                        is_in_doubt: false,
                    }
                }
                Err(error) if !self.known(service).addresses.is_empty() => {
                    log::warn!("{error}; using the addresses known from before");
                }
                Err(error) if !services.contains(&service) => log::debug!("{error}"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A request to this service failed on the way: its name is looked up again before the next.
    pub fn doubt(&mut self, service: Service) {
        self.known_mut(service).is_in_doubt = true;
    }

    fn known(&self, service: Service) -> &Known {
        match service {
            Service::Account => &self.account,
            Service::ServerList => &self.server_list,
        }
    }

    fn known_mut(&mut self, service: Service) -> &mut Known {
        match service {
            Service::Account => &mut self.account,
            Service::ServerList => &mut self.server_list,
        }
    }

    /// The way to all of them.
    pub fn via(&self) -> &Via {
        &self.via
    }

    /// The host of a service that was opened.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read.
    pub fn service(&mut self, service: Service) -> Result<Host, Failure> {
        if let Some((server, port)) = self.meta.clone() {
            return Ok(Host::meta(&server, port, &self.pia()?, self.via.clone()));
        }
        let addresses = self.known(service).addresses.clone();
        let web = self.web()?;
        Ok(match service {
            Service::Account => Host::account(addresses, &web, self.via.clone()),
            Service::ServerList => Host::server_list(addresses, &web, self.via.clone()),
        })
    }

    /// A VPN server, to register there.
    ///
    /// # Errors
    /// When PIA's authority cannot be read.
    pub fn server(&mut self, server: &Server, port: u16) -> Result<Host, Failure> {
        Ok(Host::server(server, port, &self.pia()?, self.via.clone()))
    }

    /// PIA's own authority.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pia(&mut self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(pia) = &self.pia {
            return Ok(Arc::clone(pia));
        }
        let pia = trust::pia(&self.ca_file)?;
        self.pia = Some(Arc::clone(&pia));
        Ok(pia)
    }

    fn web(&mut self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(web) = &self.web {
            return Ok(Arc::clone(web));
        }
        let web = trust::web()?;
        self.web = Some(Arc::clone(&web));
        Ok(web)
    }
}
