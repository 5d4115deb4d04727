//! What the world sees of the tunnel, and what follows from it.

use std::net::Ipv4Addr;

use crate::container::Container;
use crate::pia::exit_address::SeenAddress;
use crate::status::ExitAddress;

/// For hooks.
const VARIABLE: &str = "VPN_EXIT_IP";

/// What the world sees of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitFinding {
    address: ExitAddress,
    /// By which another connection left, if it was another one.
    other: Option<Ipv4Addr>,
    /// Why that is not what the tunnel is for, and what to do.
    pub(super) trouble: Option<String>,
}

impl ExitFinding {
    /// From what two connections showed; `own` are the addresses of this machine below the tunnel.
    /// Pure.
    pub(super) fn of([first, second]: [SeenAddress; 2], own: &[Ipv4Addr]) -> Self {
        let other = (first.ip != second.ip).then_some(second.ip);
        let seen_own = [first.ip, second.ip]
            .into_iter()
            .find(|ip| own.contains(ip));
        // One that PIA does not know yet may be among many that it does.
        let trouble = match seen_own {
            Some(ip) => Some(format!(
                "the world sees {ip}, which is this machine's own address, so the tunnel hides \
                 nothing: the server does not do its work; `wireguard-pia reconnect` takes \
                 another one, unless a single one is chosen"
            )),
            None if !first.is_pias && !second.is_pias => Some(format!(
                "the world sees {}, which is none of PIA's addresses, as PIA says: \
                 `wireguard-pia reconnect` takes another server, unless a single one is chosen; \
                 if PIA errs, set EXIT_ADDRESS_CHECK=0",
                first.ip
            )),
            None => None,
        };
        Self {
            address: ExitAddress {
                ip: first.ip,
                rotates: other.is_some(),
            },
            other,
            trouble,
        }
    }

    /// Tells people, hooks and the status.
    pub(super) fn publish(self, container: &mut Container) {
        let before = container.reporter.current();
        match &self.trouble {
            Some(why) if before.exit_error.is_none() => log::error!("Exit address: {why}"),
            None if before.exit_error.is_some() => {
                log::info!("Exit address: {} is one of PIA's", self.address.ip);
            }
            _ => log::debug!("exit address: {:?}", self.address),
        }
        let is_known = before.exit.is_some_and(|exit| exit.rotates);
        if let Some(other) = self.other.filter(|_| !is_known) {
            let cure = if container.settings.stable_ip {
                "`wireguard-pia reconnect` takes another server, unless a single one is chosen"
            } else {
                "where a location is chosen, STABLE_IP=1 keeps to servers whose address stays"
            };
            log::info!(
                "This server's public address rotates ({}, then {other}), which private trackers \
                 may take for the sharing of an account; {cure}",
                self.address.ip
            );
        }
        container.set_env(VARIABLE, self.address.ip.to_string());
        container.reporter.update(|status| {
            status.exit = Some(self.address);
            status.exit_error = self.trouble;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(first: (&str, bool), second: (&str, bool)) -> ExitFinding {
        let seen = |(ip, is_pias): (&str, bool)| SeenAddress {
            ip: ip.parse().unwrap(),
            is_pias,
        };
        let own = ["192.0.2.2".parse().unwrap()];
        ExitFinding::of([seen(first), seen(second)], &own)
    }

    #[test]
    fn an_address_that_is_not_pias_or_is_our_own_is_trouble() {
        let good = found(("203.0.113.9", true), ("203.0.113.9", true));
        assert_eq!(
            (good.address.rotates, good.other, good.trouble),
            (false, None, None)
        );
        let rotating = found(("203.0.113.9", true), ("203.0.113.10", false));
        assert!(rotating.address.rotates && rotating.trouble.is_none());
        let trouble = |first, second| found(first, second).trouble.unwrap_or_default();
        let foreign = trouble(("203.0.113.9", false), ("203.0.113.9", false));
        assert!(foreign.contains("EXIT_ADDRESS_CHECK=0"), "{foreign}");
        let own = trouble(("203.0.113.9", true), ("192.0.2.2", true));
        assert!(own.contains("192.0.2.2"), "{own}");
        for why in [foreign, own] {
            assert!(why.contains("`wireguard-pia reconnect`"), "{why}");
        }
    }
}
