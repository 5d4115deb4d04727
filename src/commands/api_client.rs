//! PIA's API as a command by hand reaches it: names looked up by whoever resolves them now,
//! connections as the routing tables have them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::pia_files;
use crate::connect::api_hosts::ApiHosts;
use crate::connect::gate::Gate;
use crate::connect::server_selection::{ListFiles, Selection, ServerSelection};
use crate::failure::Failure;
use crate::pia::retry::RetryPolicy;
use crate::settings::{Environment, Meta, ServerChoice, Settings};
use crate::system::{files, paths};
use crate::underlay::name_servers;
use crate::underlay::resolver::Resolver;
use crate::underlay::socket::Via;

/// Somebody waits before the screen, so the patience is not that of a container.
const DEFAULT_RETRY_POLICY: RetryPolicy = RetryPolicy {
    retries: 2,
    delay: Duration::from_secs(2),
    max_time: Duration::from_secs(30),
};

/// Access to PIA's API.
pub struct ApiClient {
    pub hosts: Arc<ApiHosts>,
    pub retry: RetryPolicy,
}

impl ApiClient {
    /// `ca` is PIA's authority; it is read only where it is needed.
    ///
    /// # Errors
    /// When `/etc/resolv.conf` cannot be read.
    pub fn new(
        environment: &Environment,
        meta: Option<Meta>,
        ca: PathBuf,
        via: Via,
    ) -> Result<Self, Failure> {
        let text = files::read_shared(Path::new(paths::RESOLV_CONF))?.unwrap_or_default();
        let resolver = Resolver::new(name_servers::in_force(&text), via.clone());
        Ok(Self {
            hosts: Arc::new(ApiHosts::new(meta, resolver, via, ca, Gate::Open)),
            retry: retry_policy(environment),
        })
    }

    /// As `environment` has it: meta server and PIA's authority, `ca` first.
    ///
    /// # Errors
    /// As [`Self::new`], and when a meta server is set and PIA's authority is nowhere.
    pub fn from_environment(environment: &Environment, ca: Option<&Path>) -> Result<Self, Failure> {
        let (settings, warnings) = Settings::from_environment(environment);
        for warning in warnings {
            // Those of the container's other settings are none of a command's business.
            let concerns = ["PIA_", "META_", "CURL_"];
            if concerns
                .iter()
                .any(|start| warning.variable.starts_with(start))
            {
                log::warn!("{warning}");
            }
        }
        let ca = match pia_files::AUTHORITY.find(ca, environment) {
            Err(failure) if settings.meta.is_some() => return Err(failure),
            found => found.unwrap_or_default(),
        };
        Self::new(environment, settings.meta, ca, Via::Routing)
    }

    /// What chooses servers, with the list's key in this file.
    pub fn server_selection(&self, key: &Path) -> ServerSelection {
        ServerSelection::new(Arc::clone(&self.hosts), self.selection(key))
    }

    /// Any server; the list's key is in this file, and no list is stored.
    pub fn selection(&self, key: &Path) -> Selection {
        Selection {
            choice: ServerChoice::Unset,
            stable_ip: false,
            port_forwarding: false,
            retry: self.retry,
            files: ListFiles {
                key: key.to_owned(),
                stored: None,
            },
            local_network: Vec::new(),
            shows_progress: true,
        }
    }
}

/// As `CURL_RETRY` and its siblings say, where they say anything.
fn retry_policy(environment: &Environment) -> RetryPolicy {
    let (settings, _) = Settings::from_environment(environment);
    let is_set = |name| environment.text(name).is_some();
    let mut policy = DEFAULT_RETRY_POLICY;
    if is_set("CURL_RETRY") {
        policy.retries = settings.retry.retries;
    }
    if is_set("CURL_RETRY_DELAY") {
        policy.delay = settings.retry.delay;
    }
    if is_set("CURL_MAX_TIME") {
        policy.max_time = settings.retry.max_time;
    }
    policy
}
