//! A new registration on the live interface, or on a new one where that is gone or of no use.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::networks::Networks;
use super::trial::TunnelTrial;
use super::{Tunnel, dns_servers};
use crate::connect::register::Joined;
use crate::container::Container;
use crate::failure::Failure;
use crate::system::cancellation::CancellationToken;
use crate::system::{parallel, paths, tcp_connections};
use crate::wireguard::hung;
use crate::wireguard::peering::Peering;

/// How often a change of the interface is tried before it is taken back.
const MAX_TRIES: usize = 3;

impl Tunnel {
    /// Changes the tunnel to `joined`. The old one is given up only once the new one has carried
    /// something; should the change fail, it is taken back. An interface that somebody took away or
    /// set down, that has lost its route, or whose program hangs, is brought up anew.
    ///
    /// # Errors
    /// When the change failed, or the new server carries nothing: the tunnel is then as it was
    /// before, or, where the interface was gone, still gone. A stop leaves it as it is.
    pub fn reconnect(&mut self, container: &Container, joined: Joined) -> Result<(), Failure> {
        let former = self.peering(container).address;
        hung::end();
        if let Some(lack) = self.way_in.lack() {
            log::warn!("{lack}; bringing it up anew");
            self.remove_interface();
            *self = Self::bring_up(container, self.kill_switch.clone(), joined)?;
        } else {
            self.replace(container, joined)?;
        }
        if former != self.peering(container).address {
            end_connections_from(former);
        }
        Ok(())
    }

    fn replace(&mut self, container: &Container, joined: Joined) -> Result<(), Failure> {
        let next = Self {
            dns: dns_servers(&container.settings.dns, &joined.registration.dns_servers),
            wg_quick: self.wg_quick.clone(),
            kill_switch: self.kill_switch.clone(),
            has_answered: Arc::default(),
            owes_dns: AtomicBool::default(),
            way_in: self.way_in(),
            joined,
        };
        let networks = Networks::find(container)?;
        let own_servers = next.own_name_servers(container).collect();
        self.kill_switch
            .admit_next(next.joined.endpoint(), &own_servers)?;
        // A change that has begun is brought to an end: a stop waits for it, which takes a tenth of
        // a second, and seconds where a WireGuard in user space hangs just now.
        let uninterrupted = CancellationToken::never();
        let mut outcome = self.change_to(&next, container, &uninterrupted);
        for _ in 1..MAX_TRIES {
            let Err(failure) = outcome else { break };
            log::warn!(
                "changing {} to the new server: {failure}; trying again",
                paths::INTERFACE
            );
            outcome = self.change_to(&next, container, &uninterrupted);
        }
        // What wg-quick has made for the former address follows meanwhile.
        let outcome = outcome.and_then(|()| {
            let follow = || self.have_rule_follow(&next, container);
            let ((), outcome) = parallel::both(follow, || next.take_over(container, &networks));
            outcome
        });
        if let Err(failure) = outcome {
            if failure.is_cancelled() {
                return Err(failure);
            }
            log::debug!("{} goes back to the former server", paths::INTERFACE);
            let is_back = next.change_to(self, container, &uninterrupted);
            // Also where peer and key could not be set: it would be the source of what is sent.
            if let Err(error) = self
                .peering(container)
                .drop_address_of(&next.peering(container))
            {
                log::warn!("{error}");
            }
            is_back?;
            if let Err(error) = self.kill_switch.drop_next() {
                log::warn!("{error}; it is shut as soon as that can be done");
            }
            next.have_rule_follow(self, container);
            return Err(failure);
        }
        *self = next;
        if let Err(failure) = self.set_routes(container, &networks) {
            log::warn!("routes: {failure}");
        }
        Ok(())
    }

    fn change_to(
        &self,
        next: &Self,
        container: &Container,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let (old, new) = (self.peering(container), next.peering(container));
        new.replace(&old, stop)?;
        new.drop_address_of(&old)?;
        // The interface needs no file.
        if let Err(error) = next.conf(container).write(Path::new(paths::WG_CONF)) {
            log::warn!("{error}; the tunnel goes on without it");
        }
        if next.dns != self.dns || self.owes_dns() {
            next.set_dns(container);
        }
        Ok(())
    }

    /// Once the changed interface has carried something, nothing else is let out any more.
    fn take_over(&self, container: &Container, networks: &Networks) -> Result<(), Failure> {
        let trial = TunnelTrial::begin(&self.joined);
        self.pass(&trial, container)?;
        let policy = self.policy(container, networks);
        if let Err(error) = self.kill_switch.moved(self.joined.endpoint(), policy) {
            log::warn!("{error}; they are narrowed as soon as that can be done");
        }
        Ok(())
    }

    /// Moves wg-quick's rule against spoofed packets to the address of `next`.
    fn have_rule_follow(&self, next: &Self, container: &Container) {
        let (old, new) = (self.peering(container), next.peering(container));
        let rule = self.kill_switch.with(|firewall| firewall.wg_quick_rule());
        if let Err(error) = rule.follow(paths::INTERFACE, old.address, new.address) {
            log::warn!("{error}");
        }
    }

    pub(super) fn peering(&self, container: &Container) -> Peering {
        Peering {
            private_key: self.joined.keys.private.clone(),
            address: self.joined.registration.peer_ip.into(),
            peer: self.joined.registration.server_public_key.clone(),
            endpoint: self.joined.endpoint(),
            keepalive: container.settings.keepalive,
        }
    }
}

/// No answer can come to an address that the tunnel has no longer, and nothing else would tell the
/// programs that wait for one, for a quarter of an hour or for good.
fn end_connections_from(former: Ipv4Addr) {
    match tcp_connections::end_those_from(former) {
        Ok(0) => {}
        Ok(count) => log::info!("Ended {count} TCP connections of the tunnel's former address"),
        Err(error) => log::debug!("TCP connections from {former} are left to time out: {error}"),
    }
}
