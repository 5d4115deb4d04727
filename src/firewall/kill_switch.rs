//! The policy in force, shared by the story and its long tasks, and the firewall that enforces it.
//!
//! Whoever needs the policy changed says what is to be true; the whole policy is then rendered and
//! loaded in one step.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::firewall::{Destination, Firewall, FirewallError, ForwardedPort, Policy, TunnelPolicy};
use crate::system::paths;
use crate::underlay::name_servers::{NameServer, NameServers};

/// Clones are the same switch.
#[derive(Clone)]
pub struct KillSwitch(Arc<Mutex<Inner>>);

struct Inner {
    firewall: Firewall,
    /// What the policy is made of.
    parts: Parts,
}

/// What is to be true, from which the policy follows.
#[derive(Debug, Clone)]
struct Parts {
    sealed: bool,
    /// The way to PIA is open: bootstrap or reconnecting.
    searching: bool,
    /// Name servers that are asked from marked sockets.
    name_servers: Vec<Destination>,
    embedded_dns: bool,
    /// API hosts and candidate servers, as they became known.
    api: BTreeSet<Destination>,
    endpoint: Option<SocketAddrV4>,
    tunnel: Option<TunnelPolicy>,
}

impl Parts {
    fn policy(&self) -> Policy {
        let way_to_pia = self
            .name_servers
            .iter()
            .chain(&self.api)
            .copied()
            .filter(|_| self.searching);
        let embedded_dns = self.embedded_dns && self.searching;
        let policy = match (self.endpoint, self.tunnel.clone()) {
            (Some(endpoint), Some(tunnel)) => Policy {
                embedded_dns,
                ..Policy::connected(paths::FWMARK, endpoint, tunnel).reconnecting(way_to_pia)
            },
            (_, tunnel) => Policy {
                tunnel,
                ..Policy::bootstrap(paths::FWMARK, way_to_pia, embedded_dns)
            },
        };
        if self.sealed {
            policy
        } else {
            policy.unsealed()
        }
    }
}

/// The policy before a tunnel: nothing but the way to these name servers.
pub fn first_policy(sealed: bool, servers: &NameServers) -> Policy {
    Parts::new(sealed, servers).policy()
}

impl Parts {
    fn new(sealed: bool, servers: &NameServers) -> Self {
        let direct = servers
            .servers
            .iter()
            .filter(|server| server.is_direct())
            .map(NameServer::address);
        Self {
            sealed,
            searching: true,
            name_servers: direct
                .flat_map(|address| [Destination::udp(address, 53), Destination::tcp(address, 53)])
                .collect(),
            embedded_dns: servers.servers.contains(&NameServer::EmbeddedUnmarked),
            api: BTreeSet::new(),
            endpoint: None,
            tunnel: None,
        }
    }
}

impl KillSwitch {
    /// Starts over, before a tunnel, with these name servers; `PRE_UP` may have changed what was
    /// known.
    ///
    /// # Errors
    /// When the rules cannot be loaded.
    pub fn restart(&self, sealed: bool, servers: &NameServers) -> Result<(), FirewallError> {
        self.change(|parts| *parts = Parts::new(sealed, servers))
    }

    /// `firewall` has [`first_policy`] loaded already, or loads it with the first change.
    pub fn new(firewall: Firewall, sealed: bool, servers: &NameServers) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            firewall,
            parts: Parts::new(sealed, servers),
        })))
    }

    /// Opens the way to PIA, which is the name servers, what was admitted before, and these
    /// destinations.
    ///
    /// # Errors
    /// When the rules cannot be loaded; the former ones are then still in force.
    pub fn admit(
        &self,
        destinations: impl IntoIterator<Item = Destination>,
    ) -> Result<(), FirewallError> {
        self.change(|parts| {
            parts.searching = true;
            parts.api.extend(destinations);
        })
    }

    /// A tunnel to `endpoint`, and nothing else of ours outside it.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn connected(
        &self,
        endpoint: SocketAddrV4,
        tunnel: TunnelPolicy,
    ) -> Result<(), FirewallError> {
        self.change(|parts| {
            let forwarded = parts.tunnel.as_ref().and_then(|before| before.forwarded);
            parts.searching = false;
            parts.api.clear();
            parts.endpoint = Some(endpoint);
            parts.tunnel = Some(TunnelPolicy {
                forwarded,
                ..tunnel
            });
        })
    }

    /// The search ended without a new server: the endpoint in use keeps its rule, the rest goes.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn settle(&self) -> Result<(), FirewallError> {
        self.change(|parts| {
            parts.searching = false;
            parts.api.clear();
        })
    }

    /// The port that is forwarded now, with where it leads.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn forward(&self, port: Option<ForwardedPort>) -> Result<(), FirewallError> {
        self.change(|parts| {
            if let Some(tunnel) = &mut parts.tunnel {
                tunnel.forwarded = port;
            }
        })
    }

    /// No tunnel and no way to one. Attached networks and the LAN stay as they are, for those who
    /// share the network.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn close(&self) -> Result<(), FirewallError> {
        self.change(|parts| {
            parts.searching = false;
            parts.api.clear();
            parts.endpoint = None;
            if let Some(tunnel) = &mut parts.tunnel {
                tunnel.forwarded = None;
            }
        })
    }

    /// Whether rules are in force by which nothing but what the policy names gets out.
    pub fn is_sealed(&self) -> bool {
        let inner = self.lock();
        inner.parts.sealed && inner.firewall.is_loaded()
    }

    /// For what else the firewall can do.
    pub fn with<T>(&self, act: impl FnOnce(&mut Firewall) -> T) -> T {
        act(&mut self.lock().firewall)
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) -> Result<(), FirewallError> {
        let mut inner = self.lock();
        let mut parts = inner.parts.clone();
        change(&mut parts);
        inner.firewall.apply(&parts.policy())?;
        inner.parts = parts;
        Ok(())
    }

    // A panic elsewhere must not open anything, so a poisoned lock is used all the same.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
