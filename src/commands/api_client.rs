//! PIA's API as a command reaches it: names looked up by whoever resolves them now, connections as
//! the routing tables have them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::connect::hosts::{Hosts, Service};
use crate::failure::Failure;
use crate::pia::account::{self, ListVersion};
use crate::pia::error::ApiError;
use crate::pia::host::Host;
use crate::pia::regions::{ListKey, Server, ServerList};
use crate::pia::retry::RetryPolicy;
use crate::settings::{Environment, Meta, Settings};
use crate::system::cancellation::CancellationToken;
use crate::system::{files, paths};
use crate::underlay::name_servers;
use crate::underlay::resolver::Resolver;
use crate::underlay::socket::Via;

use super::{Problem, pia_files};

/// Somebody waits before the screen, so the patience is not that of a container.
const DEFAULT_RETRY_POLICY: RetryPolicy = RetryPolicy {
    retries: 2,
    delay: Duration::from_secs(2),
    max_time: Duration::from_secs(30),
};

/// Access to PIA's API.
pub struct ApiClient {
    hosts: Hosts,
    via: Via,
    pub retry: RetryPolicy,
    pub stop: CancellationToken,
}

impl ApiClient {
    /// `ca` is PIA's authority; it is read only where it is needed.
    ///
    /// # Errors
    /// When `/etc/resolv.conf` cannot be read.
    pub fn new(
        environment: &Environment,
        meta: Option<&Meta>,
        ca: PathBuf,
        via: Via,
        stop: &CancellationToken,
    ) -> Result<Self, Problem> {
        let text = files::read_if_present(Path::new(paths::RESOLV_CONF))
            .map_err(|error| Problem::Other(error.to_string()))?
            .unwrap_or_default();
        let resolver = Resolver::new(name_servers::in_force(&text), via.clone());
        let hosts = Hosts::new(meta, resolver, via.clone(), ca);
        Ok(Self {
            hosts,
            via,
            retry: patience(environment),
            stop: stop.clone(),
        })
    }

    /// As `environment` has it: meta server and PIA's authority, `ca` first.
    ///
    /// # Errors
    /// As [`Self::new`], and when a meta server is set and PIA's authority is nowhere.
    pub fn from_environment(
        environment: &Environment,
        ca: Option<&Path>,
        stop: &CancellationToken,
    ) -> Result<Self, Problem> {
        let (settings, warnings) = Settings::from_environment(environment);
        // Those of the container's other settings are none of a command's business.
        let concerns = |name: &str| {
            name.starts_with("PIA_") || name.starts_with("META_") || name.starts_with("CURL_")
        };
        warnings
            .iter()
            .filter(|warning| concerns(&warning.variable))
            .for_each(|warning| log::warn!("{warning}"));
        let meta = settings.meta.as_ref();
        let ca = match pia_files::AUTHORITY.find(ca, environment) {
            Err(problem) if meta.is_some() => return Err(problem),
            found => found.unwrap_or_default(),
        };
        Self::new(environment, meta, ca, Via::Routing, stop)
    }

    /// The host of this service.
    ///
    /// # Errors
    /// When it cannot be resolved, or the certificates to trust cannot be read.
    pub fn service(&mut self, service: Service) -> Result<Host, Failure> {
        self.hosts.look_up(&[service], &self.stop)?;
        self.hosts.service(service)
    }

    /// A VPN server.
    ///
    /// # Errors
    /// When PIA's authority cannot be read.
    pub fn server(&mut self, server: &Server, port: u16) -> Result<Host, Failure> {
        self.hosts.server(server, port)
    }

    /// PIA's own authority.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pia(&mut self) -> Result<Arc<ClientConfig>, Failure> {
        self.hosts.pia()
    }

    /// The way out.
    pub fn via(&self) -> &Via {
        &self.via
    }

    /// A server list, fetched and verified.
    ///
    /// # Errors
    /// When the key is nowhere, or no good list can be had.
    pub fn server_list(&mut self, version: ListVersion, key: &Path) -> Result<ServerList, Problem> {
        let key = ListKey::read(key).map_err(|error| Problem::ServerList(error.to_string()))?;
        let host = self
            .service(Service::ServerList)
            .map_err(|failure| Problem::ServerList(failure.to_string()))?;
        let signed: Result<_, ApiError> =
            account::server_list(&host, version, &key, &self.retry, &self.stop);
        signed
            .map(|signed| signed.list)
            .map_err(|error| Problem::from_server_list(&error))
    }
}

/// As `CURL_RETRY` and its siblings say, where they say anything.
fn patience(environment: &Environment) -> RetryPolicy {
    let (settings, _) = Settings::from_environment(environment);
    let set = |name| environment.text(name).is_some();
    RetryPolicy {
        retries: if set("CURL_RETRY") {
            settings.retry.retries
        } else {
            DEFAULT_RETRY_POLICY.retries
        },
        delay: if set("CURL_RETRY_DELAY") {
            settings.retry.delay
        } else {
            DEFAULT_RETRY_POLICY.delay
        },
        max_time: if set("CURL_MAX_TIME") {
            settings.retry.max_time
        } else {
            DEFAULT_RETRY_POLICY.max_time
        },
    }
}
