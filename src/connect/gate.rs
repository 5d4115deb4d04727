//! The gate that our own untunnelled requests pass: the kill switch in the container, nothing by
//! hand.

use std::sync::{Arc, Mutex, PoisonError};

use crate::firewall::kill_switch::{KillSwitch, OpenLookup};
use crate::firewall::{Destination, FirewallError};

/// What has to be told about a destination before a request to it. Clones are the same gate.
#[derive(Clone)]
pub enum Gate {
    /// By hand, and through the tunnel: requests go as their sockets do.
    Open,
    /// In the container: nothing gets out that was not admitted. With the number of those who have
    /// the way to PIA open at the moment.
    KillSwitch(KillSwitch, Arc<Mutex<u32>>),
}

/// The way to PIA is open; dropping the last of these shuts it again.
#[must_use]
pub struct Opening<'a> {
    gate: &'a Gate,
    is_kept: bool,
}

impl Gate {
    /// The gate that is this kill switch.
    pub fn of(kill_switch: KillSwitch) -> Self {
        Self::KillSwitch(kill_switch, Arc::default())
    }

    /// Begins to use the way to PIA: name servers, API hosts and candidates as they are admitted.
    pub fn open(&self) -> Opening<'_> {
        if let Self::KillSwitch(_, users) = self {
            *users.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        Opening {
            gate: self,
            is_kept: false,
        }
    }

    /// Lets requests to these destinations, and to the name servers, through.
    ///
    /// # Errors
    /// When the rules cannot be loaded; the former ones are then still in force.
    pub fn admit(
        &self,
        destinations: impl IntoIterator<Item = Destination>,
    ) -> Result<(), FirewallError> {
        match self {
            Self::Open => Ok(()),
            Self::KillSwitch(kill_switch, _) => kill_switch.admit(destinations),
        }
    }

    /// Lets Docker's resolver look names up, for as long as the returned value lives.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn open_lookup(&self) -> Result<Option<OpenLookup>, FirewallError> {
        match self {
            Self::Open => Ok(None),
            Self::KillSwitch(kill_switch, _) => kill_switch.open_lookup().map(Some),
        }
    }
}

impl Opening<'_> {
    /// Leaves the way open: the caller's next step sets the policy itself.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let Gate::KillSwitch(kill_switch, users) = self.gate else {
            return;
        };
        // Held during the load, so that nobody's new opening is shut by it.
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        *users = users.saturating_sub(1);
        if *users == 0
            && !self.is_kept
            && let Err(error) = kill_switch.end_requests()
        {
            log::warn!("{error}");
        }
    }
}
