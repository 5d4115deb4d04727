//! The policy in force, shared by the main loop and its long tasks, and the firewall that enforces
//! it.
//!
//! Whoever needs the policy changed says what is to be true; the whole policy is then rendered and
//! loaded in one step.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use super::apply::{Firewall, Sealing};
use super::backend::Backend;
use super::cut_off;
use super::error::FirewallError;
use super::local_access::LocalAccess;
use super::openings::{Openings, OpeningsListener};
use super::policy::{
    Destination, EmbeddedDns, EmbeddedDnsAskers, ForwardedPort, Policy, TunnelPolicy,
};
use crate::system::paths;

const DNS_PORT: u16 = 53;
/// The way to the name servers that the container had before the tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameServerAccess {
    /// Those that are asked from marked sockets.
    pub addresses: Vec<Ipv4Addr>,
    /// Likewise.
    pub addresses_v6: Vec<Ipv6Addr>,
    /// What Docker's resolver does, if it is one of them.
    pub embedded: EmbeddedDns,
    /// Everybody may ask Docker's resolver, because the user leaves `/etc/resolv.conf` to it
    /// (`VPNDNS=0`).
    pub embedded_for_all: bool,
}

/// Clones are the same switch.
#[derive(Debug, Clone)]
pub struct KillSwitch {
    inner: Arc<Mutex<Inner>>,
    /// Rules are owed, and no thread could be had that would load them.
    pub(super) lacks_payer: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) firewall: Firewall,
    /// What the policy is made of.
    pub(super) parts: Parts,
    /// The rules in force admit more than the policy, or a load has left something to be done,
    /// which is loaded as soon as it can be.
    pub(super) is_owed: bool,
    /// Is told what is open after each load.
    listener: Option<OpeningsListener>,
}

/// What is to be true, from which the policy follows.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// That of the tunnel's own packets and of our untunnelled requests.
    mark: u32,
    sealed: bool,
    /// The way to PIA is open: bootstrap or reconnecting.
    searching: bool,
    /// Name servers that are asked from marked sockets.
    name_servers: Vec<Destination>,
    name_servers_v6: Vec<Ipv6Addr>,
    embedded: EmbeddedDns,
    embedded_for_all: bool,
    /// Look-ups that are under way.
    lookups: usize,
    /// API hosts and candidate servers, as they became known.
    api: BTreeSet<Destination>,
    endpoint: Option<SocketAddrV4>,
    /// That of a tunnel which is on trial in the place of ours.
    next: Option<SocketAddrV4>,
    tunnel: Option<TunnelPolicy>,
}

impl Inner {
    /// Tells who wants to know it what is open now.
    pub(super) fn tell_openings(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.tell(Openings::of(&self.firewall, self.parts.sealed));
        }
    }

    /// Loads what a look-up that begins or ends changes. While the way to PIA is open, and with
    /// marks, a question to Docker's resolver passes as it is if the host passes it on.
    fn apply_lookups(&mut self) -> Result<(), FirewallError> {
        let needs_rule = match self.parts.embedded_dns() {
            EmbeddedDns::Unused => false,
            EmbeddedDns::ByHost => {
                let passes = self.parts.searching && !self.firewall.lacks_marks();
                !(passes || self.parts.embedded_for_all)
            }
            EmbeddedDns::FromHere => true,
        };
        match needs_rule {
            true => self.load(),
            false => Ok(()),
        }
    }
}

/// A look-up that is under way.
#[derive(Debug)]
#[must_use]
pub struct OpenLookup(KillSwitch);

impl Drop for OpenLookup {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.parts.lookups = inner.parts.lookups.saturating_sub(1);
        if let Err(error) = inner.apply_lookups() {
            log::warn!("after a look-up: {error}");
            self.0.owe(&mut inner);
        }
    }
}

impl Parts {
    pub(super) fn policy(&self) -> Policy {
        let mut policy = match (self.endpoint, self.tunnel.clone()) {
            (Some(endpoint), Some(tunnel)) => Policy::connected(self.mark, endpoint, tunnel),
            (_, tunnel) => Policy {
                tunnel,
                ..Policy::closed(self.mark)
            },
        };
        let next = self
            .next
            .map(|next| Destination::udp(*next.ip(), next.port()));
        policy.untunnelled.extend(next);
        if self.searching {
            policy.untunnelled.extend(&self.name_servers);
            policy.name_servers_v6.clone_from(&self.name_servers_v6);
            policy.untunnelled.extend(&self.api);
        }
        if self.lookups > 0 {
            policy.embedded_dns = self.embedded_dns();
        }
        policy.embedded_dns_askers = match self.embedded_for_all {
            true => EmbeddedDnsAskers::All,
            false if self.searching || self.lookups > 0 => EmbeddedDnsAskers::Us,
            false => EmbeddedDnsAskers::Nobody,
        };
        policy.sealed = self.sealed;
        policy
    }

    /// What has to be open for a look-up by Docker's resolver. Once there is a tunnel, what it asks
    /// from here goes into the tunnel, and our own addresses are remembered.
    fn embedded_dns(&self) -> EmbeddedDns {
        match (self.embedded, &self.tunnel) {
            (EmbeddedDns::FromHere, Some(_)) => EmbeddedDns::ByHost,
            (embedded, _) => embedded,
        }
    }
}

/// The policy before a tunnel: nothing but the way to these name servers.
pub fn first_policy(sealed: bool, servers: &NameServerAccess) -> Policy {
    Parts::new(sealed, servers).policy()
}

impl Parts {
    fn connect(&mut self, endpoint: SocketAddrV4, tunnel: TunnelPolicy) {
        let forwarded = self.tunnel.as_ref().and_then(|before| before.forwarded);
        self.end_requests();
        self.next = None;
        self.endpoint = Some(endpoint);
        self.tunnel = Some(TunnelPolicy {
            forwarded,
            ..tunnel
        });
    }

    fn try_next(&mut self, endpoint: SocketAddrV4, name_servers: &BTreeSet<Ipv4Addr>) {
        self.next = Some(endpoint);
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.name_servers.extend(name_servers);
        }
    }

    fn end_requests(&mut self) {
        self.searching = false;
        self.api.clear();
    }

    fn new(sealed: bool, servers: &NameServerAccess) -> Self {
        let mut name_servers = Vec::new();
        for address in &servers.addresses {
            name_servers.push(Destination::udp(*address, DNS_PORT));
            name_servers.push(Destination::tcp(*address, DNS_PORT));
        }
        Self {
            mark: paths::FWMARK,
            sealed,
            searching: true,
            name_servers,
            name_servers_v6: servers.addresses_v6.clone(),
            embedded: servers.embedded,
            embedded_for_all: servers.embedded_for_all,
            lookups: 0,
            api: BTreeSet::new(),
            endpoint: None,
            next: None,
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
    pub fn restart(&self, sealed: bool, servers: &NameServerAccess) -> Result<(), FirewallError> {
        self.change(|parts| *parts = Parts::new(sealed, servers))
    }

    /// Uses another mark than the usual one from now on, which another tunnel has.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn use_mark(&self, mark: u32) -> Result<(), FirewallError> {
        if self.lock().parts.mark == mark {
            return Ok(());
        }
        self.change(|parts| parts.mark = mark)
    }

    /// `firewall` has [`first_policy`] loaded already, or loads it with the first change.
    pub fn new(firewall: Firewall, sealed: bool, servers: &NameServerAccess) -> Self {
        let inner = Inner {
            firewall,
            parts: Parts::new(sealed, servers),
            is_owed: false,
            listener: None,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            lacks_payer: Arc::default(),
        }
    }

    /// Has `tell` be told what is open although it should be closed: now, and whenever that
    /// changes. It must not ask this switch.
    pub fn tell_openings(&self, tell: impl Fn(&Openings) + Send + 'static) {
        let mut inner = self.lock();
        let openings = Openings::of(&inner.firewall, inner.parts.sealed);
        inner.listener = Some(OpeningsListener::new(openings, tell));
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

    /// Opens the way to the endpoint of a tunnel that is to take the place of ours, whose own name
    /// servers are `name_servers`, whatever requests begin or end meanwhile.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_next(
        &self,
        endpoint: SocketAddrV4,
        name_servers: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), FirewallError> {
        self.change(|parts| parts.try_next(endpoint, name_servers))
    }

    /// The tunnel that was on trial is given up.
    ///
    /// # Errors
    /// As [`Self::moved`].
    pub fn drop_next(&self) -> Result<(), FirewallError> {
        self.narrow(|parts| parts.next = None)
    }

    /// Whether the rules in force let our packets out to `destination`.
    pub fn admits(&self, destination: Destination) -> bool {
        let inner = self.lock();
        let is_admitted = inner.parts.policy().untunnelled.contains(&destination);
        is_admitted && inner.firewall.is_loaded() && !inner.is_owed
    }

    /// Whether rules can be loaded while other programs load theirs: with the legacy backend
    /// there is a lock, at which wg-quick would fail.
    pub fn loads_beside_others(&self) -> bool {
        self.lock().firewall.backend() == Backend::NfTables
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
        self.change(|parts| parts.connect(endpoint, tunnel))
    }

    /// The tunnel has moved to `endpoint`, which was admitted, and nothing else is let out now.
    ///
    /// # Errors
    /// When the rules cannot be loaded now: it is tried again until they are.
    pub fn moved(&self, endpoint: SocketAddrV4, tunnel: TunnelPolicy) -> Result<(), FirewallError> {
        self.narrow(|parts| parts.connect(endpoint, tunnel))
    }

    /// Whether there is or was a tunnel, so that attached networks and the LAN are open.
    pub fn has_tunnel(&self) -> bool {
        self.lock().parts.tunnel.is_some()
    }

    /// The tunnel has never carried anything: what it would open is closed again.
    ///
    /// # Errors
    /// As [`Self::moved`].
    pub fn forget_tunnel(&self) -> Result<(), FirewallError> {
        self.narrow(|parts| {
            parts.endpoint = None;
            parts.next = None;
            parts.tunnel = None;
        })
    }

    /// Nobody has anything to ask PIA now: the endpoints in use and on trial keep their rules, the
    /// rest goes.
    ///
    /// # Errors
    /// As [`Self::moved`].
    pub fn end_requests(&self) -> Result<(), FirewallError> {
        self.narrow(Parts::end_requests)
    }

    /// The search ended without a new server: the endpoint in use keeps its rule, the rest goes.
    ///
    /// # Errors
    /// As [`Self::moved`].
    pub fn settle(&self) -> Result<(), FirewallError> {
        self.narrow(|parts| {
            parts.end_requests();
            parts.next = None;
        })
    }

    /// Does what interfaces that came since the last load call for.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn renew(&self) -> Result<(), FirewallError> {
        self.change(|_| {})
    }

    /// The networks beside the tunnel are these now.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn attach(
        &self,
        attached: Vec<(String, IpNet)>,
        local: Vec<(String, LocalAccess)>,
    ) -> Result<(), FirewallError> {
        self.change(|parts| {
            if let Some(tunnel) = &mut parts.tunnel {
                tunnel.attached = attached;
                tunnel.local = local;
            }
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

    /// Opens what Docker's resolver needs for a look-up of ours, for as long as the returned value
    /// lives.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn open_lookup(&self) -> Result<OpenLookup, FirewallError> {
        // Made before the lock is taken, so that it is dropped after it is given back.
        let open = OpenLookup(self.clone());
        let mut inner = self.lock();
        inner.parts.lookups += 1;
        inner.apply_lookups()?;
        Ok(open)
    }

    /// No tunnel and no way to one. Attached networks and the LAN stay as they are, for those who
    /// share the network. The policies of the built-in chains are set again, which a user may have
    /// opened; what the kernel was found to lack is asked anew by the next load. Where none of our
    /// rules has ever been loaded, the network is cut off by other means if they cannot be now.
    ///
    /// # Errors
    /// As [`Self::moved`].
    pub fn close(&self) -> Result<(), FirewallError> {
        self.lock().firewall.set_policies_again();
        let closed = self.narrow(|parts| {
            parts.end_requests();
            parts.endpoint = None;
            parts.next = None;
            if let Some(tunnel) = &mut parts.tunnel {
                tunnel.forwarded = None;
            }
        });
        let mut inner = self.lock();
        match &closed {
            Ok(()) => inner.firewall.forget_missing(),
            Err(_) if inner.parts.sealed && !inner.firewall.is_loaded() => cut_off(),
            Err(_) => {}
        }
        closed
    }

    /// Whether the rules close all that they should.
    pub fn sealing(&self) -> Sealing {
        self.lock().firewall.sealing().clone()
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
        inner.is_owed &= !inner.firewall.is_settled();
        if !inner.firewall.is_settled() {
            self.owe(&mut inner);
        }
        inner.tell_openings();
        Ok(())
    }

    // A panic elsewhere must not open anything, so a poisoned lock is used all the same.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_on_trial_keeps_its_way_whoever_ends_a_request() {
        let endpoint = |last| SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, last), 1337);
        let way = |last| Destination::udp(Ipv4Addr::new(192, 0, 2, last), 1337);
        let mut parts = Parts::new(true, &NameServerAccess::default());
        parts.searching = true;
        parts.api.insert(way(9));
        parts.connect(endpoint(1), TunnelPolicy::default());
        let open = |parts: &Parts| parts.policy().untunnelled.into_iter().collect::<Vec<_>>();
        assert_eq!(open(&parts), [way(1)]);
        parts.searching = true;
        parts.api.insert(way(9));
        parts.try_next(endpoint(2), &BTreeSet::new());
        assert_eq!(open(&parts), [way(1), way(2), way(9)]);
        parts.end_requests();
        assert_eq!(open(&parts), [way(1), way(2)]);
        parts.connect(endpoint(2), TunnelPolicy::default());
        assert_eq!(open(&parts), [way(2)]);
    }
}
