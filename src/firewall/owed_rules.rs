//! Rules that take ways away: they hold from the moment that they are wanted, and where they cannot
//! be loaded then, they are owed. So is what else a load has left to be done.

use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::time::Duration;

use super::error::FirewallError;
use super::kill_switch::{Inner, KillSwitch, Parts};
use crate::system::backoff::Backoff;

/// Between two tries.
const OWED_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(60),
};

impl Inner {
    /// Loads the policy in force.
    pub(super) fn load(&mut self) -> Result<(), FirewallError> {
        self.firewall.apply(&self.parts.policy())?;
        self.is_owed &= !self.firewall.is_settled();
        self.tell_openings();
        Ok(())
    }
}

impl KillSwitch {
    /// For what takes ways away: it holds from now on, and if it cannot be loaded now, then later.
    pub(super) fn narrow(&self, change: impl FnOnce(&mut Parts)) -> Result<(), FirewallError> {
        let mut inner = self.lock();
        change(&mut inner.parts);
        let loaded = inner.load();
        if loaded.is_err() || !inner.firewall.is_settled() {
            self.owe(&mut inner);
        }
        loaded
    }

    /// Loads the policy in force as soon as that can be done, on a thread of its own; without one
    /// [`Self::pay`] does it.
    pub(super) fn owe(&self, inner: &mut Inner) {
        let has_payer = inner.is_owed && !self.lacks_payer();
        inner.is_owed = true;
        if has_payer {
            return;
        }
        let (kill_switch, stop) = (self.clone(), inner.firewall.stop().clone());
        let pay = move || {
            let mut rng = fastrand::Rng::new();
            for failures in 1.. {
                let pause = OWED_BACKOFF.pause(failures, &mut rng);
                if stop.pause(pause).is_err() || kill_switch.is_paid() {
                    return;
                }
            }
        };
        match Builder::new().name("owed-rules".to_owned()).spawn(pay) {
            Ok(_) => self.lacks_payer.store(false, Ordering::Relaxed),
            // It comes where processes are refused, as the load did that is owed.
            Err(error) => {
                log::debug!("firewall: no thread for what is owed: {error}");
                self.lacks_payer.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether rules are owed that nobody loads unless [`Self::pay`] is called.
    pub fn lacks_payer(&self) -> bool {
        self.lacks_payer.load(Ordering::Relaxed)
    }

    /// Loads what is owed, if no thread does.
    pub fn pay(&self) {
        if self.lacks_payer() && self.is_paid() {
            self.lacks_payer.store(false, Ordering::Relaxed);
        }
    }

    /// Whether what was owed is loaded, now if not before.
    fn is_paid(&self) -> bool {
        let mut inner = self.lock();
        if !inner.is_owed {
            return true;
        }
        let is_paid = inner.load().is_ok() && inner.firewall.is_settled();
        if is_paid {
            log::info!("firewall: the rules that could not be loaded before are in force");
        }
        is_paid
    }
}
